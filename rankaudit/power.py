"""What a pass is worth: the range that the other cells leave each cell, and the slips it catches.

A slip of s units in one cell of a row that passes is found exactly if it takes the cell out of the
range that the other cells leave it, rounding included. So the ranges give the power of the columns
at hand without simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankaudit.feasibility import TOLERANCE, range_of
from rankaudit.findings import CellRange, Power
from rankaudit.metrics import Metric
from rankaudit.printed import Printed
from rankaudit.rankings import TooManyKinds
from rankaudit.rows import Row

SLIPS = (5, 10, 20, 50, 100, 200)
"""Sizes of slips in units of the last digit."""
MOST_CELLS = 120
"""Cells whose ranges are worked out; of more, rows are taken at even distances."""
MOST_COLUMNS = 40
"""Metrics of a row whose ranges are worked out; the time grows with the cube of their number."""


def measure_power(rows: Sequence[Row]) -> tuple[list[CellRange], list[Power]]:
    """Ranges of the cells of rows that pass, and the share of slips that would be found.

    One `Power` for every set of columns that some row has. Rows with one cell are left out, as are
    those with more than `MOST_COLUMNS` and improvement rows.
    """
    able = [row for row in rows if row.role != "improvement" and 1 < len(row.cells) <= MOST_COLUMNS]
    total = sum(len(row.cells) for row in able)
    if total > MOST_CELLS:
        wanted = max(1, MOST_CELLS * len(able) // total)
        able = [able[i] for i in np.linspace(0, len(able) - 1, wanted).round().astype(int)]
    ranges: list[CellRange] = []
    caught: dict[tuple[Metric, ...], list[list[bool]]] = {}
    for row in able:
        for metric, cell in row.cells.items():
            try:
                ends = range_of(metric, row.cells, row.protocol, row.rounding)
            except TooManyKinds:
                continue
            if ends is None:
                continue
            ranges.append(
                CellRange(
                    table=row.table, dataset=row.dataset, row=row.label, metric=str(metric),
                    printed=cell.text, low=round(ends[0], 9), high=round(ends[1], 9),
                )
            )  # fmt: skip
            caught.setdefault(tuple(row.cells), []).extend(found_slips(cell, ends, row))
    power = [
        Power(
            columns=[str(metric) for metric in columns],
            cells=len(found) // 2,
            found={
                slip: float(share) for slip, share in zip(SLIPS, np.mean(found, 0), strict=True)
            },
        )
        for columns, found in caught.items()
    ]
    return ranges, power


def found_slips(cell: Printed, ends: tuple[float, float], row: Row) -> list[list[bool]]:
    """Whether slips of `SLIPS` units upwards, and downwards, leave the range: two lists."""
    margin = row.rounding.value * cell.unit + TOLERANCE * cell.unit
    return [
        [
            not ends[0] - margin <= cell.value + sign * slip * cell.step <= ends[1] + margin
            for slip in SLIPS
        ]
        for sign in (1, -1)
    ]
