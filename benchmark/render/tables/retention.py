"""The table of retention: what history items cost each row, with a constant against them and
without (`benchmark/analyse/retention.py`), as blocks and cells."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.analyse.bootstrap import Interval
from benchmark.analyse.cells import COLUMNS
from benchmark.analyse.dose import MOST
from benchmark.analyse.retention import STATES, RetainedRow, State, retained_rows
from benchmark.analyse.rules import RULES
from benchmark.plan import OWN_MODEL, Planned
from benchmark.render.document import (
    Block,
    Entry,
    TableRow,
    ValueKey,
    number,
    percent,
    percent_range,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.contrasts import arms_of
from benchmark.render.tables.counts import CountTable
from benchmark.runs.ranks import PENALTIES
from benchmark.settings.registry import Profile

NAME = "retention"

HEADINGS: Mapping[State, str] = {
    "kept": "history kept",
    "with constant": "kept, with constant",
    "left out": "history left out",
}

_MOST = f"{100 * MOST:.0f} %"

RECOVERED = f"{_MOST} of the gap at"
"""Column of the smallest constant that recovers most of what the history costs."""

NOTES = (
    "Descriptive: this table decides nothing. What decides is in `primary`.",
    "Constant: taken from the scores of all history items, in standard deviations of a query's "
    "scores; one a row, chosen on validation with the history kept, ∞ where leaving the history "
    "out is best. It is no new model: what a row gains by it is what history items still cost it. "
    "Where no user meets an item twice, lowering the history more never hurts: the best constant "
    "is then ∞ for every row and says nothing of it. Intervals take it as given.",
    f"What a row needs: the smallest constant that recovers {_MOST} of the gap between kept and "
    "left out, interpolated between those that were counted, with the middle 95 % of the resamples "
    "of users and seeds. It is small where the row ranks its history little above other items, and "
    "large where history items stand out. No gap is shown where the interval of kept / left out "
    "holds 1.",
    "± is half of the 95 % interval over users and seeds (crossed bootstrap); other intervals are "
    "of 95 % too. Kept / left out: the share of its score that a row keeps when its users' history "
    "competes with the targets.",
)


def retained(
    planned: Sequence[Planned], *, reuse_stale: bool
) -> dict[str, tuple[list[str], list[RetainedRow]]]:
    """dataset -> the names of all its rows, and those of them that have finished runs."""
    return {
        dataset: (list(arms), retained_rows(arms, OWN_MODEL))
        for dataset, arms in arms_of(planned, reuse_stale=reuse_stale).items()
    }


def layout(
    found: Mapping[str, tuple[Sequence[str], Sequence[RetainedRow]]],
    profile: Profile,
    notes: Mapping[str, DatasetNote],
) -> CountTable:
    """Three blocks a dataset: what every row scores, the lead of the paper's method, and the scores
    at every constant.

    found: as `retained` gives it. notes: by dataset.
    """
    cells: list[tuple[object, ...]] = []
    blocks: list[Block] = []
    lacking: list[str] = []
    for dataset, (names, rows) in found.items():
        note, by_name = notes[dataset], {row.name: row for row in rows}
        columns = (
            *(HEADINGS["kept"], "constant", HEADINGS["with constant"], HEADINGS["left out"]),
            *("kept / left out", "its 95 % interval"),
        )
        lines = tuple(
            TableRow(name, _scores(by_name[name], note, cells))
            if name in by_name
            else TableRow(name, (Entry("no current run"), *[Entry("")] * (len(columns) - 1)))
            for name in names
        )
        blocks.append(Block(f"{note.heading}: {RULES.metric}", "row", columns, lines))
        headings = tuple(h for s in STATES for h in (HEADINGS[s], "95 % interval"))
        leads = tuple(
            TableRow(row.name, _leads(row, note, cells)) for row in rows if row.name != OWN_MODEL
        )
        title = f"{note.title}: {OWN_MODEL} / row − 1, {RULES.metric}"
        blocks.append(Block(title, "row", headings, leads))
        doses = tuple(
            TableRow(row.name, _doses(row, note, cells)) for row in rows if row.response is not None
        )
        if not doses and rows:
            lacking.append(note.title)
            continue
        title = f"{note.title}: {RULES.metric}, history's scores lowered by a constant"
        constants = (*(f"{c:g} sd" for c in PENALTIES), RECOVERED, "its 95 % interval")
        blocks.append(Block(title, "row", constants, doses))
    seeds = max((row.n_seeds for _, rows in found.values() for row in rows), default=0)
    said = f"Profile `{profile.name}`: {profile.title}; up to {seeds} seeds a row are finished."
    lines_below = [*NOTES, said]
    if lacking:
        lines_below.append(
            f"Lowered scores of {' and '.join(lacking)} are not stored: references of rolling "
            "splits, of slices and of datasets that their profile does not run on leave them out; "
            "runs of one's own (`--anew`) have them."
        )
    return CountTable(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), tuple(lines_below))


def _scores(
    row: RetainedRow, note: DatasetNote, cells: list[tuple[object, ...]]
) -> tuple[Entry, ...]:
    entries = {
        state: _entry(row, HEADINGS[state], RULES.metric, row.scores[state], note, cells)
        for state in STATES
    }
    constant = Entry(
        constant_text(row.penalty),
        key=_cell(row, "constant", RULES.metric, note, cells, row.penalty),
    )
    value, low, high = (
        float(v) for v in np.exp([row.retention.value, row.retention.low, row.retention.high])
    )
    key = _cell(row, "kept / left out", RULES.metric, note, cells, value, low, high)
    interval = "" if math.isnan(low) else f"{number(low, 3)} to {number(high, 3)}"
    return (
        entries["kept"],
        constant,
        entries["with constant"],
        entries["left out"],
        Entry(number(value, 3), key=key),
        Entry(interval),
    )


def constant_text(penalty: float) -> str:
    """As tables and pictures print it: 0.25, 0 of a row that needs none, ∞."""
    return "∞" if math.isinf(penalty) else f"{penalty:g}"


def _doses(
    row: RetainedRow, note: DatasetNote, cells: list[tuple[object, ...]]
) -> tuple[Entry, ...]:
    """The score at every constant, and the one that recovers most of the gap."""
    assert row.response is not None
    entries = [
        _entry(row, f"lowered by {c:g} sd", RULES.metric, row.response.scores[c], note, cells)
        for c in PENALTIES
    ]
    recovery = row.response.recovery
    if recovery is None:
        return (*entries, Entry("no gap shown"), Entry(""))
    ends = (recovery.constant, recovery.low, recovery.high)
    key = _cell(row, RECOVERED, RULES.metric, note, cells, *ends)
    own, low, high = map(dose_text, ends)
    return (*entries, Entry(own, key=key), Entry(f"{low} to {high}"))


def dose_text(constant: float) -> str:
    """A constant that was interpolated, or one that is larger than all that were counted."""
    return f"> {PENALTIES[-1]:g}" if math.isinf(constant) else f"{constant:.2f}"


def _entry(
    row: RetainedRow,
    column: str,
    metric: str,
    interval: Interval,
    note: DatasetNote,
    cells: list[tuple[object, ...]],
) -> Entry:
    key = _cell(row, column, metric, note, cells, interval.mean, interval.low, interval.high)
    return Entry(number(interval.mean), number((interval.high - interval.low) / 2), key=key)


def _leads(
    row: RetainedRow, note: DatasetNote, cells: list[tuple[object, ...]]
) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for state in STATES:
        effect = row.lead.get(state)
        if effect is None:
            entries += [Entry(""), Entry("")]
            continue
        value, low, high = effect.relative
        metric = f"{RULES.metric} of {OWN_MODEL} / row - 1"
        key = _cell(row, HEADINGS[state], metric, note, cells, value, low, high)
        entries += [Entry(percent(value), key=key), Entry(percent_range(low, high))]
    return tuple(entries)


def _cell(
    row: RetainedRow,
    column: str,
    metric: str,
    note: DatasetNote,
    cells: list[tuple[object, ...]],
    value: float,
    low: float = math.nan,
    high: float = math.nan,
) -> ValueKey:
    """Adds a cell to `cells`, and gives the name under which it stands there."""
    key = ValueKey(NAME, row.name, column, note.name, metric)
    nan = math.nan
    cells.append((*key, value, nan, row.n_seeds, nan, note.grade, low, high, nan, "ok"))
    return key
