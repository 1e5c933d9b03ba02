"""Tables 1 and 4 laid out: what `benchmark/data/statistics.py` counts, as blocks and cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analyse.cells import COLUMNS
from benchmark.analyse.rules import RULES
from benchmark.data import statistics
from benchmark.data.meta import BundleMeta
from benchmark.render.document import Block, Entry, TableRow, ValueKey, count, number, signed

_LABELS = {"average_length": "average length", "sparsity": "sparsity, %"}


@dataclass(frozen=True)
class CountTable:
    """A table of counts."""

    cells: pd.DataFrame
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def table1(metas: Sequence[BundleMeta]) -> CountTable:
    """Ours, printed, printed decoded (without the padding id), and whether they agree."""
    frame = statistics.table1(metas)
    cells: list[tuple[object, ...]] = []
    blocks: list[Block] = []
    for meta in metas:
        rows = []
        for r in _rows(frame, meta):
            name = str(r["statistic"])
            key = ValueKey("1", meta.name, "", meta.name, name)
            cells.append(_cell(key, r["ours"], r["printed"], meta.grade))
            printed = _missing(r["printed"])
            rows.append(
                TableRow(
                    _LABELS.get(name, name),
                    (
                        Entry(_shown(r["ours"], name), key=key),
                        Entry(_shown(r["printed"], name)),
                        Entry(_shown(r["decoded"], name)),
                        Entry(_difference(r["difference"], name)),
                        Entry("not in the paper" if printed else "yes" if r["agrees"] else "no"),
                    ),
                )
            )
        headings = ("ours", "printed", "decoded", "difference", "agrees")
        own = (meta.notes,) if meta.notes else ()
        blocks.append(Block(meta.title, "statistic", headings, tuple(rows), own))
    notes = (
        "decoded: printed users and items less one each, since they count a padding id; sparsity "
        "and average length recomputed from the counts so corrected.",
        "difference: ours less decoded. Counts agree if equal, the others within 0.005.",
    )
    return CountTable(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), notes)


def table4(metas: Sequence[BundleMeta], root: Path | None) -> CountTable:
    """Counts of every length bucket, with a verdict on every printed cell. root: the bundles'."""
    buckets = {bucket.label: (bucket.low, bucket.high) for bucket in RULES.buckets}
    frame = statistics.table4(metas, buckets, root=root)
    cells: list[tuple[object, ...]] = []
    blocks: list[Block] = []
    for meta in metas:
        entries: dict[str, list[Entry]] = {}
        own = _rows(frame, meta)
        for r in own:
            name = r["statistic"]
            key = ValueKey("4", r["length"], "", meta.name, name)
            cells.append(_cell(key, r["ours"], r["printed"], meta.grade))
            verdict = r["verdict"]
            if verdict == "differs":
                verdict = _difference(r["gap"], name)
            entry = Entry(_shown(r["ours"], name), "", _shown(r["printed"], name), verdict, key=key)
            entries.setdefault(r["length"], []).append(entry)
        rows = [
            TableRow(label, tuple(shown), rule=label == "Total") for label, shown in entries.items()
        ]
        headings = tuple(_LABELS.get(name, name) for name in dict.fromkeys(frame["statistic"]))
        known = any(not _missing(r["printed"]) for r in own)
        notes_here = () if known else ("Not in the paper's table.",)
        blocks.append(Block(meta.title, "length", headings, tuple(rows), notes_here))
    notes = (
        "Length is a user's full sequence after filtering; 5-10 is [5, 10), 10-30 is [10, 30), "
        ">30 is [30, inf).",
        "Under Δ: agrees, equal to the digit; padded, one more than ours, the padding id; "
        "otherwise the printed number less ours.",
    )
    return CountTable(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), notes)


def _rows(frame: pd.DataFrame, meta: BundleMeta) -> list[dict[Any, Any]]:
    return frame[frame["dataset"] == meta.name].to_dict("records")


def _cell(key: ValueKey, ours: float, paper: float | None, grade: str) -> tuple[object, ...]:
    nan = math.nan
    printed = nan if _missing(paper) else paper
    return (*key, float(ours), nan, nan, printed, grade, nan, nan, nan, "ok")


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _shown(value: float | None, name: str) -> str:
    if value is None or math.isnan(value):
        return ""
    digits = statistics.DIGITS.get(name)
    return count(value) if digits is None else number(value, digits)


def _difference(value: float | None, name: str) -> str:
    if value is None or math.isnan(value):
        return ""
    return signed(f"{value:+.{statistics.DIGITS.get(name, 0)}f}")
