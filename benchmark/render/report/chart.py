"""The report's picture of a dataset: NDCG@10 of every row under both protocols, as bars."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.render.document import ValueKey, number
from benchmark.render.report.provenance import cell_id
from benchmark.render.tables.build import BuiltTable
from benchmark.render.tables.definitions import category


@dataclass(frozen=True)
class Bar:
    """One method under one protocol in the first page's picture of NDCG@10; lengths are shares of
    the widest."""

    protocol: str
    text: str
    share: float
    low: float
    high: float
    paper: float
    cell: str


@dataclass(frozen=True)
class Bars:
    """One method under both protocols."""

    method: str
    control: bool
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Chart:
    """The picture of one dataset: best first, controls after the others."""

    rows: tuple[Bars, ...]
    """Of those that have runs."""
    missing: tuple[str, ...]
    """Names of the rows that have none."""
    ticks: tuple[tuple[str, float], ...]
    """(text, place as a share of the widest) of the axis"""

    @property
    def printed(self) -> bool:
        """Whether it shows any number of the paper."""
        return any(bar.paper > 0 for row in self.rows for bar in row.bars)


def chart(table: BuiltTable, dataset: str) -> Chart:
    """NDCG@10 of every row of Table 2 under both protocols, best first with the history kept."""
    cells = {
        ValueKey(*(r[name] for name in ValueKey._fields)): r for r in table.cells.to_dict("records")
    }
    own = [
        cell_spec
        for cell_spec in table.cell_specs
        if cell_spec.run_key.dataset == dataset and cell_spec.run_key.variant == "base"
    ]
    keys = [[ValueKey("2", *c.key, RULES.metric, p) for p in PROTOCOLS] for c in own]
    values = [
        cells[key][name] for pair in keys for key in pair for name in ("mean", "paper", "ci_high")
    ]
    widest = max((v for v in values if v == v), default=1.0) * 1.02 or 1.0  # where all are 0

    def bar(key: ValueKey) -> Bar:
        c = cells[key]
        return Bar(
            protocol=key.protocol,
            text=number(c["mean"]),
            share=_share(c["mean"], widest),
            low=_share(c["ci_low"], widest),
            high=_share(c["ci_high"], widest),
            paper=_share(c["paper"], widest),
            cell=cell_id(key),
        )

    ranked = sorted(
        zip(own, keys, strict=True),
        key=lambda pair: (category(pair[0].run_key) == "control", -_or_zero(cells[pair[1][0]])),
    )
    rows = tuple(
        Bars(c.row, category(c.run_key) == "control", tuple(map(bar, pair)))
        for c, pair in ranked
        if table.shown[c.run_key]
    )
    missing = tuple(c.row for c in own if not table.shown[c.run_key])
    marks = tuple((f"{tick:g}", _share(tick, widest)) for tick in ticks(widest))
    return Chart(rows, missing, marks)


def _or_zero(cell: Mapping[Any, Any]) -> float:
    mean = float(cell["mean"])
    return mean if mean == mean else 0.0


def ticks(widest: float) -> list[float]:
    """Round places of an axis from 0 to `widest` (above 0), three to six of them."""
    power = 10.0 ** math.floor(math.log10(widest))
    step = next(s * power for s in (0.2, 0.25, 0.5, 1.0, 2.0) if widest / (s * power) < 6)
    return [round(step * at, 12) for at in range(math.floor(widest / step * (1 + 1e-9)) + 1)]


def _share(value: float, widest: float) -> float:
    return round(100 * value / widest, 2) if value == value else 0.0
