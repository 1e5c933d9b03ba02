"""The table of alignment: measures of `benchmark/analyse/alignment.py` as blocks and cells."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from benchmark.analyse import alignment
from benchmark.analyse.cells import COLUMNS
from benchmark.plan import Planned
from benchmark.render.document import Block, Entry, TableRow, ValueKey, number, p_value
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.counts import CountTable
from benchmark.runs.schema import RunResult

NAME = "alignment"

_HEADINGS = ("before", "after", "chance, after", "p, after")

_NOTES = (
    "E[K]: mean kernel of the two states of a position, eq. 1; chance is the mean over states of "
    "different positions. MMD: squared distance of the two distributions; 0 where they are equal. "
    "CKA: similarity of distances between positions, debiased; 0 for unrelated states, 1 for equal "
    "ones up to rotation and scale.",
    "One position a user, the last one, of at most 400 users; one seed. ± is half of the 95 % "
    "interval over positions: what other seeds would give is not in it. p: of a value so high by "
    "chance, from permutations.",
    "E[K] and MMD compare coordinates and need equal widths; that the ID stream shares the "
    "coordinates of the others is asked of it by nothing, so of its pairs CKA alone says much.",
)


def layout(
    planned: Sequence[Planned], runs: Mapping[str, RunResult], notes: Mapping[str, DatasetNote]
) -> CountTable:
    """A block a dataset and pair of streams, a row a value of lambda.

    runs: variant -> its run, of those that are there. notes: by dataset.
    """
    found = alignment.alignment_table(list(runs.values()))
    cells: list[tuple[object, ...]] = []
    blocks = []
    for dataset, note in notes.items():
        own = [p for p in planned if p.key.dataset == dataset]
        for pair in dict.fromkeys(found["pair"]):
            here = found[(found["dataset"] == dataset) & (found["pair"] == pair)]
            rows: list[TableRow] = []
            for measure in dict.fromkeys(here["measure"]):
                of_measure = here[here["measure"] == measure]
                for at, p in enumerate(own):
                    of_run = of_measure[of_measure["variant"] == p.key.variant]
                    entries = _row(p, measure, pair, of_run, note, cells)
                    rows.append(TableRow(_label(p), entries, "" if at else measure))
            title = f"{note.title}: {pair.replace('-', ' and ')} states"
            blocks.append(Block(title, "λ", _HEADINGS, tuple(rows)))
    return CountTable(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), _NOTES)


def _row(
    planned: Planned,
    measure: str,
    pair: str,
    found: pd.DataFrame,
    note: DatasetNote,
    cells: list[tuple[object, ...]],
) -> tuple[Entry, ...]:
    """The entries of one run; their cells are added to `cells`."""
    lines = {line["when"]: line for line in found.to_dict("records")}
    if not lines:
        return (Entry("no current run"), *(Entry("") for _ in _HEADINGS[1:]))

    def cell(column: str, value: float, low: float = math.nan, high: float = math.nan) -> ValueKey:
        name = f"{pair}, {column}"
        key = ValueKey(NAME, f"λ = {_label(planned)}", name, note.name, measure)
        nan = math.nan
        cells.append((*key, value, nan, 1, nan, note.grade, low, high, nan, "ok"))
        return key

    entries = []
    for when in ("before", "after"):
        line = lines[when]
        key = cell(when, line["value"], line["low"], line["high"])
        half = number((line["high"] - line["low"]) / 2, 3)
        entries.append(Entry(number(line["value"], 3), half, key=key))
    after = lines["after"]
    for column, name, text in (
        (_HEADINGS[2], "chance", number(after["chance"], 3)),
        (_HEADINGS[3], "p", p_value(after["p"])),
    ):
        entries.append(Entry(text, key=cell(column, after[name])))
    return tuple(entries)


def _label(planned: Planned) -> str:
    """lambda, as it is swept."""
    return planned.key.variant.removeprefix("alignment-lambda=")
