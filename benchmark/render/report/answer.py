"""What the report opens with: of every dataset and protocol, whether the paper's method holds up.

The method stands against the best other row and the best control. Both are chosen on validation, of
each protocol by itself, so that no test rank has a say in whom it is compared with. Means are those
of Table 2's cells, differences those of its comparisons (`CrossedBootstrap.compare` over the same
resamples); a verdict is one of the comparisons that were fixed beforehand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.analyse.bootstrap import Comparison
from benchmark.analyse.cells import CellSpec
from benchmark.analyse.rules import RULES
from benchmark.analyse.verdict import best_on_validation, verdict_verb
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.plan import OWN_MODEL
from benchmark.render.document import ValueKey, number, percent, percent_range, with_range
from benchmark.render.notes import DatasetNote
from benchmark.render.report.provenance import cell_id
from benchmark.render.tables.build import BuiltTable
from benchmark.render.tables.definitions import category
from benchmark.settings.registry import Profile

SAID: Mapping[History, str] = {
    "kept": "with the history kept",
    "left out": "with the history left out",
}


@dataclass(frozen=True)
class Standing:
    """A row as the first table shows it."""

    row: str
    mean: str
    cell: str
    """Its id on the page."""


@dataclass(frozen=True)
class AnswerLine:
    """One dataset under one protocol."""

    protocol: History
    own: Standing | None
    """The paper's method; None without finished runs."""
    other: Standing | None
    control: Standing | None
    paper: str
    """The method's printed number; "" where none can stand here."""
    paper_gain: str
    """Printed: over the paper's best other row."""
    difference: str
    interval: str
    detectable: str
    """Smallest true difference from the other row that is shown with the power of the rules."""
    from_control: str
    """Difference from the best control, with its interval."""


@dataclass(frozen=True)
class Answer:
    """One dataset."""

    note: DatasetNote
    lines: tuple[AnswerLine, ...]
    sentence: str
    """What is decided and what is not."""
    convergence: str
    """What is known of the budgets of the rows that are compared; "" of none."""

    @property
    def has_runs(self) -> bool:
        """Whether any row has a finished one."""
        return any(line.own or line.other or line.control for line in self.lines)


def answer(
    table: BuiltTable, note: DatasetNote, profile: Profile, printed_gain: float | None
) -> Answer:
    """Of one dataset, from Table 2. printed_gain: the improvement that the paper prints."""
    rows = {
        c.row: c
        for c in table.cell_specs
        if c.run_key.dataset == note.name and c.run_key.variant == "base"
    }
    finished = {name: c for name, c in rows.items() if table.shown[c.run_key]}
    own = finished.get(OWN_MODEL)
    controls = [c for c in finished.values() if category(c.run_key) == "control"]
    others = [c for c in finished.values() if c not in controls and c is not own]
    lines, said = [], []
    for protocol in PROTOCOLS:
        other, control = (_best(table, among, protocol) for among in (others, controls))
        result = _compared(table, own, other, protocol)
        against = _compared(table, own, control, protocol)
        printed = _cell(table, rows[OWN_MODEL], protocol)["paper"] if OWN_MODEL in rows else None
        kept = protocol == "kept"
        lines.append(
            AnswerLine(
                protocol,
                _standing(table, own, protocol),
                _standing(table, other, protocol),
                _standing(table, control, protocol),
                number(printed) if kept and printed is not None else "",
                percent(printed_gain) if kept and printed_gain is not None else "",
                percent(result.difference) if result else "",
                percent_range(result.low, result.high) if result else "",
                percent(result.smallest_detectable).lstrip("+") if result else "",
                with_range(against.difference, against.low, against.high) if against else "",
            )
        )
        if result and other:
            said.append((protocol, other, result))
    compared = [c for c in rows.values() if category(c.run_key) != "control"]
    reason = _why_nothing(table, compared, own, said, profile)
    sentence = f"Nothing is decided: {reason}." if reason else _decided(table, note, said)
    budgets = {c.key.label: c.convergence for c in (own, *(o for _, o, _ in said)) if c}
    known = "; ".join(f"{row} {found}" for row, found in budgets.items() if found)
    return Answer(note, tuple(lines), sentence, known)


def _best(table: BuiltTable, among: Sequence[CellSpec], protocol: History) -> CellSpec | None:
    if not among:
        return None
    name = best_on_validation({c.row: table.shown[c.run_key] for c in among}, protocol)
    return next(c for c in among if c.row == name)


def _compared(
    table: BuiltTable, own: CellSpec | None, other: CellSpec | None, protocol: History
) -> Comparison | None:
    if own is None or other is None or table.numbers is None:
        return None
    scores = table.numbers.scores[own.run_key.dataset, None, "test"]
    return scores.compare(*(c.score(RULES.metric, protocol) for c in (own, other)))


def _cell(table: BuiltTable, cell_spec: CellSpec, protocol: History) -> dict[Any, Any]:
    own = table.cells
    for name, wanted in zip(
        ("row", "column", "dataset", "metric", "protocol"),
        (*cell_spec.key, RULES.metric, protocol),
        strict=True,
    ):
        own = own[own[name] == wanted]
    return dict(own.iloc[0])


def _standing(table: BuiltTable, cell_spec: CellSpec | None, protocol: History) -> Standing | None:
    if cell_spec is None:
        return None
    cell = _cell(table, cell_spec, protocol)
    key = ValueKey(*(cell[name] for name in ValueKey._fields))
    return Standing(cell_spec.key.label, number(cell["mean"]), cell_id(key))


# ---- the sentence --------------------------------------------------------------------------------


def _why_nothing(
    table: BuiltTable,
    rows: Sequence[CellSpec],
    own: CellSpec | None,
    said: Sequence[tuple[History, CellSpec, Comparison]],
    profile: Profile,
) -> str:
    """Why no comparison of the dataset carries a verdict, "" where one may. rows: those compared,
    finished or not."""
    if own is None:
        return f"{OWN_MODEL} has no finished run there"
    if not said:
        return "no other row has a finished run there"
    if profile.max_users is not None:
        return f"only its first {profile.max_users} users take part, which tests the program alone"
    lacking = [c.key.label for c in rows if len(table.shown[c.run_key]) < len(c.runs)]
    if lacking:
        names = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if lacking[3:] else "")
        return f"{len(lacking)} {'rows lack' if lacking[1:] else 'row lacks'} seeds ({names})"
    fewest = min(min(result.n_seeds) for _, _, result in said)
    if fewest < RULES.minimum_seeds:
        seeds = "seed" if fewest == 1 else "seeds"
        return (
            f"a verdict needs {RULES.minimum_seeds} seeds, and {fewest} {seeds} of a row are there"
        )
    return ""


def _decided(
    table: BuiltTable,
    note: DatasetNote,
    said: Sequence[tuple[History, CellSpec, Comparison]],
) -> str:
    """A clause for each protocol, those that are decided first."""
    decided, undecided = [], []
    for protocol, other, result in said:
        if result.verdict == "inconclusive":
            undecided.append(
                f"{SAID[protocol]} {OWN_MODEL} and {other.key.label} are not told apart "
                f"({_figures(result)})"
            )
            continue
        verb = verdict_verb(result.verdict, result.high)
        decided.append(
            f"{SAID[protocol]} {OWN_MODEL} {verb} {other.key.label} ({_figures(result)})"
            f"{_reserve(table, note, protocol, other)}"
        )
    if not decided:
        return f"Nothing is decided: {'; '.join(undecided)}."
    open_ones = f"; not decided: {'; '.join(undecided)}" if undecided else ""
    return f"Decided: {'; '.join(decided)}{open_ones}."


def _reserve(table: BuiltTable, note: DatasetNote, protocol: History, other: CellSpec) -> str:
    """What qualifies the verdict, as the table says it."""
    assert table.numbers is not None
    frame = table.numbers.verdicts
    line = frame[
        (frame["dataset"] == note.name)
        & (frame["metric"] == RULES.metric)
        & (frame["protocol"] == protocol)
        & (frame["versus"] == other.key.label)
    ]
    text = str(line.iloc[0]["note"]) if len(line) else ""
    return f", but {text}" if text else ""


def _figures(result: Comparison) -> str:
    if math.isnan(result.low):
        return result.note
    text = f"{percent(result.difference)}, 95 % interval {percent_range(result.low, result.high)}"
    if result.verdict != "inconclusive":
        return text
    return f"{text}; smallest detectable {percent(result.smallest_detectable).lstrip('+')}"
