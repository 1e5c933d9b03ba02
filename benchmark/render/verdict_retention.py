"""The section of docs/verdict.md on what rows keep when the history competes. It describes."""

from collections.abc import Mapping

import numpy as np

from benchmark.analyse.contrasts import Arm
from benchmark.analyse.retention import RetainedRow, retained_rows
from benchmark.plan import OWN_MODEL, experiments
from benchmark.render.document import number, percent
from benchmark.render.tables.retention import RECOVERED, constant_text, dose_text
from benchmark.render.tables.writers import markdown_table


def retention_section(arms: Mapping[str, Arm], title: str) -> list[str]:
    """What every row keeps, and what one constant taken from its history's scores gains."""
    experiment = experiments()["retention"]
    diagnostic = [f"{row} {variant}" for row, variant in experiment.arms]
    names = (*experiment.models, *diagnostic)
    shown = {name: arm for name, arm in arms.items() if name in names and arm.complete}
    found = retained_rows(shown, OWN_MODEL)
    if not found:
        return ["Not reached.", ""]
    columns: tuple[str, ...] = ("row", "kept / left out", "95 % interval")
    rows: list[tuple[str, ...]] = [(row.name, *_kept(row)) for row in found]
    note = (
        f"On {title}. This describes and decides nothing. To rank the history low is no fault, and "
        "no merit of itself: what is asked for depends on the protocol. "
    )
    if any(row.response for row in found):
        columns += (RECOVERED, "its 95 % interval", "constant of the plan", "kept with it / kept")
        rows = [
            (*cells, *_recovered(row), *_constant(row))
            for cells, row in zip(rows, found, strict=True)
        ]
        note += (
            "Constants are taken from the scores of history items, in standard deviations of a "
            "query's scores: how much it takes until most of what the history costs a row is "
            "recovered, and the plan's own, chosen on validation, which is ∞ for every row where "
            "no user meets an item twice. "
        )
    else:
        note += (
            "How much of it a constant taken from the history's scores would save needs lowered "
            "scores, which runs of one's own have and committed ones of rolling splits lack. "
        )
    note += (
        "Scores and FindRec's lead: `results/<profile>/tables/retention.md`, which "
        "`./reproduce.sh retention --from reference` writes."
    )
    lacking = [name for name in names if name not in shown]
    if lacking:
        note += f" Without all of its seeds: {', '.join(lacking)} (`retention` trains them)."
    return [*markdown_table(columns, rows), note, ""]


def _recovered(row: RetainedRow) -> tuple[str, str]:
    if row.response is None:
        return "not stored", ""
    recovery = row.response.recovery
    if recovery is None:
        return "no gap shown", ""
    return dose_text(recovery.constant), f"{dose_text(recovery.low)} to {dose_text(recovery.high)}"


def _kept(row: RetainedRow) -> tuple[str, str]:
    own = row.retention
    value, low, high = np.exp([own.value, own.low, own.high])
    interval = "" if np.isnan(low) else f"{number(float(low), 3)} to {number(float(high), 3)}"
    return number(float(value), 3), interval


def _constant(row: RetainedRow) -> tuple[str, str]:
    kept, lowered = (row.scores[state].mean for state in ("kept", "with constant"))
    return constant_text(row.penalty), percent(lowered / kept - 1 if kept else float("nan"))
