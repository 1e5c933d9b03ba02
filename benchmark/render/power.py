"""The power table as Markdown: what each comparison can show, beside what the paper claims."""

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from benchmark.analyse.power import Pilot, Power, smallest_detectable
from benchmark.analyse.rules import RULES, Rules
from benchmark.render.document import Block, Entry, TableRow

SEEDS = (3, 6, 10)
TARGETS = (1, 2, 5, 10)

HEADER = """\
# What can be decided

The smallest relative difference in {metric} of two rows that is shown with
{power} power in a two-sided test at {alpha}, users and seeds crossed; known before
anything is trained. Leave-one-out has one target a user; a rolling split holds
out 2, 5 or 10 of the last items of each user. Beside it stands the improvement
that the paper prints. A verdict needs {minimum} seeds.

"""


def power_table(
    power: Power,
    claims: Mapping[str, float],
    rules: Rules = RULES,
    *,
    seeds: Sequence[int] = SEEDS,
    targets: Sequence[int] = TARGETS,
) -> str:
    """claims: dataset -> the improvement that the paper prints, as a share."""
    head = HEADER.format(
        metric=power.metric,
        power=_percent(rules.power, 0),
        alpha=_percent(rules.alpha, 0),
        minimum=rules.minimum_seeds,
    )
    columns, rows = _smallest(power, claims, rules, seeds, targets)
    return head + _markdown(columns, rows) + "\n" + _pilots(power)


def power_block(power: Power, claims: Mapping[str, float], rules: Rules = RULES) -> Block:
    """The same for the report. claims: as in `power_table`."""
    columns, rows = _smallest(power, claims, rules, SEEDS, TARGETS)
    notes = (
        f"The smallest relative difference in {power.metric} of two rows that is shown with "
        f"{_percent(rules.power, 0)} power, by the number of test targets a user has; the last "
        "column is the improvement that the paper prints.",
    )
    lines = tuple(
        TableRow(row[0], tuple(map(Entry, row[1:])), rule=at > 0 and row[0] != rows[at - 1][0])
        for at, row in enumerate(rows)
    )
    title = "Smallest differences that can be shown"
    return Block(title, columns[0], tuple(columns[1:]), lines, notes)


def _smallest(
    power: Power,
    claims: Mapping[str, float],
    rules: Rules,
    seeds: Sequence[int],
    targets: Sequence[int],
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows, as text."""
    first, *more = targets
    columns = ["dataset", "history", "seeds", f"{first} target{'s' * (first > 1)}", *map(str, more)]
    rows = [
        [
            dataset,
            history,
            str(n),
            *(
                _percent(
                    smallest_detectable(spread, users=pilot.users, seeds=n, targets=k, rules=rules)
                )
                for k in targets
            ),
            _percent(claims[dataset]) if dataset in claims else "",
        ]
        for dataset, pilot in power.pilots.items()
        for history, spread in pilot.histories.items()
        for n in seeds
    ]
    return [*columns, "paper"], rows


def _pilots(power: Power) -> str:
    """The inputs, so that nobody has to look for them."""
    rows = [
        [
            dataset + (" (provisional)" if pilot.provisional else ""),
            f"{pilot.users:,}",
            history,
            *(f"{value:.3g}" for value in (spread.taste, spread.noise, spread.level, spread.rho)),
        ]
        for dataset, pilot in power.pilots.items()
        for history, spread in pilot.histories.items()
    ]
    columns = ["dataset", "users", "history", "taste", "noise", "level", "rho"]
    lines = [
        "What it is computed from, relative to a row's mean: sd over targets of the",
        "difference of two rows (taste) and of one seed (noise), sd over seeds (level),",
        "correlation of a user's targets (rho).",
        "",
        _markdown(columns, rows),
        *(_source(dataset, pilot) for dataset, pilot in power.pilots.items()),
    ]
    return "\n".join(lines) + "\n"


def _source(dataset: str, pilot: Pilot) -> str:
    note = " Provisional: not the trials of the rows to be compared." if pilot.provisional else ""
    return f"* {dataset}: {pilot.source}.{note}"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
    text = ("dataset", "history")
    left = [name in text for name in columns]

    def line(cells: Sequence[str]) -> str:
        parts = [
            f"{cell:<{width}}" if is_left else f"{cell:>{width}}"
            for cell, width, is_left in zip(cells, widths, left, strict=True)
        ]
        return f"| {' | '.join(parts)} |"

    rule = [
        "-" * width if is_left else "-" * (width - 1) + ":"
        for width, is_left in zip(widths, left, strict=True)
    ]
    return "\n".join([line(columns), line(rule), *map(line, rows)]) + "\n"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def printed_improvements(paper_cells: pd.DataFrame, metric: str) -> dict[str, float]:
    """Dataset -> what the paper's Table 2 prints in its row "Improv.", as a share.

    paper_cells: as `benchmark.paper.load_cells` gives them.
    """
    own = paper_cells[
        (paper_cells["table"] == "2")
        & (paper_cells["row"] == "Improv.")
        & (paper_cells["metric"] == metric)
    ]
    return {d: v / 100 for d, v in zip(own["dataset"], own["value"].astype(float), strict=True)}


def power_yaml(power: Power) -> str:
    """The text of `configs/power.yaml`."""
    head = (
        "# Variances that `power` computes with, relative to a row's mean; what they are, says\n"
        "# benchmark/analyse/power.py. Made by `./reproduce.sh power --from runs --write` from\n"
        "# validation targets alone: no reported test rank has a part in them.\n"
    )
    body = yaml.safe_dump(power.model_dump(), sort_keys=False, width=100, allow_unicode=True)
    return head + body
