"""Tables 1 and 4: counts from the bundles against the printed ones, cell by cell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.analyse.cells import COLUMNS
from benchmark.analyse.statistics import RULES
from benchmark.data.config import Counts
from benchmark.data.content import Bundle
from benchmark.data.statistics import STATISTICS, statistics
from benchmark.data.statistics import table1 as statistics_table
from benchmark.paper import load_cells
from benchmark.render.document import Block, Entry, TableRow, ValueKey, count, number, signed

_DIGITS = {"sparsity": 2, "average_length": 2}
_LABELS = {"average_length": "average length", "sparsity": "sparsity, %"}


@dataclass(frozen=True)
class Counted:
    """A table of counts."""

    cells: pd.DataFrame
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]


def table1(bundles: Sequence[Bundle]) -> Counted:
    """Ours, printed, printed decoded (without the padding id), and whether they agree."""
    frame = statistics_table(bundles)
    cells: list[tuple[object, ...]] = []
    blocks: list[Block] = []
    for bundle in bundles:
        rows = []
        for r in frame[frame["dataset"] == bundle.name].to_dict("records"):
            name = str(r["statistic"])
            key = ValueKey("1", bundle.name, "", bundle.name, name)
            grade = bundle.meta.grade
            cells.append(_cell(key, r["ours"], r["printed"], grade))
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
        own = (bundle.meta.notes,) if bundle.meta.notes else ()
        blocks.append(Block(bundle.meta.title, "statistic", headings, tuple(rows), own))
    notes = (
        "decoded: printed users and items less one each, since they count a padding id; sparsity "
        "and average length recomputed from the counts so corrected.",
        "difference: ours less decoded. Counts agree if equal, the others within 0.005.",
    )
    return Counted(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), notes)


def table4(bundles: Sequence[Bundle]) -> Counted:
    """Counts of every length bucket, with a verdict on every printed cell."""
    printed = load_cells()
    printed = printed[printed["table"] == "4"]
    values = {
        (r["dataset"], r["row"], r["metric"]): float(r["value"]) for r in printed.to_dict("records")
    }
    metrics = [name for name in STATISTICS if name != "average_length"]
    cells: list[tuple[object, ...]] = []
    blocks: list[Block] = []
    for bundle in bundles:
        rows: list[TableRow] = []
        known = any(dataset == bundle.name for dataset, _, _ in values)
        for label, counts in _by_length(bundle).items():
            if not counts.users:
                continue
            ours = statistics(counts)
            entries: list[Entry] = []
            for name in metrics:
                key = ValueKey("4", label, "", bundle.name, name)
                paper = values.get((bundle.name, label, name), math.nan)
                cells.append(_cell(key, ours[name], paper, bundle.meta.grade))
                verdict = _verdict(ours[name], paper, name)
                printed_text = _shown(paper, name)
                entries.append(Entry(_shown(ours[name], name), "", printed_text, verdict, key=key))
            rows.append(TableRow(label, tuple(entries), rule=label == "Total"))
        headings = [_LABELS.get(name, name) for name in metrics]
        own = () if known else ("Not in the paper's table.",)
        blocks.append(Block(bundle.meta.title, "length", tuple(headings), tuple(rows), own))
    notes = (
        "Length is a user's full sequence after filtering; 5-10 is [5, 10), 10-30 is [10, 30), "
        ">30 is [30, inf).",
        "Under Δ: agrees, equal to the digit; padded, one more than ours, the padding id; "
        "otherwise the printed number less ours.",
    )
    return Counted(pd.DataFrame(cells, columns=list(COLUMNS)), tuple(blocks), notes)


def _by_length(bundle: Bundle) -> dict[str, Counts]:
    frame = bundle.interactions
    length = frame.groupby("user")["item"].transform("size").to_numpy(np.int32)
    found = {bucket.label: _counts(frame[bucket.holds(length)]) for bucket in RULES.buckets}
    return found | {"Total": _counts(frame)}


def _counts(frame: pd.DataFrame) -> Counts:
    users, items = int(frame["user"].nunique()), int(frame["item"].nunique())
    return Counts(users=users, items=items, interactions=len(frame))


def _verdict(ours: float, printed: float, name: str) -> str:
    if _missing(printed):
        return ""
    digits = _DIGITS.get(name, 0)
    gap = round(printed, digits) - round(ours, digits)
    if abs(gap) < 0.5 * 10**-digits:
        return "agrees"
    if gap == 1 and name in ("users", "items"):
        return "padded"
    return _difference(gap, name)


def _cell(key: ValueKey, ours: float, paper: float | None, grade: str) -> tuple[object, ...]:
    nan = math.nan
    printed = nan if _missing(paper) else paper
    return (*key, float(ours), nan, nan, printed, grade, nan, nan, nan, nan, "ok")


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _shown(value: float | None, name: str) -> str:
    if value is None or math.isnan(value):
        return ""
    return number(value, _DIGITS[name]) if name in _DIGITS else count(value)


def _difference(value: float | None, name: str) -> str:
    if value is None or math.isnan(value):
        return ""
    return signed(f"{value:+.{_DIGITS.get(name, 0)}f}")
