"""Kind `proportional_rows`: two rows in one constant ratio, and how rare that is.

The finding is a regularity of the printed digits, never a cause. How rare it would be by chance is
simulated under two nulls, both built to favour it (equal shapes, so that the expected ratio is
constant, and fresh rankings in every run):
  independent hits   both rows draw their outcomes independently;
  dropped hits       one row is the other with each hit dropped at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import scipy  # loads `optimize` at first use: it takes longer than the rest of rankaudit
from numpy.typing import NDArray

from rankaudit.feasibility import slack
from rankaudit.findings import Outcome, ProportionalRows, Skipped
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, quotient_interval
from rankaudit.rankings import Protocol
from rankaudit.rows import Row

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sample:
    """How many rankings stand behind a printed mean: users times averaged runs."""

    users: int
    runs: int

    @property
    def rankings(self) -> int:
        """Rankings behind one mean."""
        return self.users * self.runs


MOST_METHODS = 3000  # of one table: four and a half million pairs

Cells = dict[tuple[str, Metric], tuple[Printed, Printed]]


def proportional_rows(
    rows: Sequence[Row],
    samples: dict[str, Sample],
    own_runs: pd.DataFrame | None = None,
    least_cells: int = 4,
    least_shift: float = 0.01,
    rare: float = 0.05,
    draws: int = 2000,
) -> Outcome:
    """Find pairs of methods of one table whose cells have one ratio within rounding.

    A pair is tested on every set of its datasets and reported on the largest ones that hold. Of a
    table with more than `MOST_METHODS` methods the first ones are compared.

    samples: rankings per dataset, for the nulls; pairs on other datasets get none, nor pairs of
        rows with several targets per ranking.
    own_runs: columns `dataset`, `row`, `metric`, `mean`: means of real runs, whose spreads of
        ratios over the same metrics are the third comparison.
    least_cells: pairs with fewer common cells are not tested. least_shift: ratios within this of 1
        are skipped, since rows that nearly tie are constant within rounding by themselves.
    rare: pairs that independent hits would print as often as this are not reported.
    """
    tables: dict[tuple[str, str], dict[str, dict[str, Row]]] = {}
    for row in rows:
        if row.role != "improvement":
            tables.setdefault((row.table, row.group), {}).setdefault(row.name, {})[row.dataset] = (
                row
            )
    examined, findings, skipped = 0, [], []
    for (table, group), methods in tables.items():
        names = list(methods)
        if len(names) > MOST_METHODS:
            why = f"{len(names)} methods; the first {MOST_METHODS} were compared with each other"
            skipped.append(Skipped(what=f"constant ratios in table {table}", why=why))
            names = names[:MOST_METHODS]
        pairs, likely = _promising([methods[name] for name in names], least_cells)
        examined += pairs
        for i, j in likely:
            a, b = names[i], names[j]
            cells: Cells = {}
            for dataset in methods[a]:
                if dataset in methods[b]:
                    cells |= _common_cells(methods[a][dataset], methods[b][dataset])
            if len(cells) < least_cells:
                continue
            for part, ratio in _largest_constant(cells, least_cells):
                if ratio[1] <= 1.0 - least_shift:
                    pair = (a, b)
                elif ratio[0] >= 1.0 + least_shift:  # tell it as the smaller row over the larger
                    pair, ratio = (b, a), (1.0 / ratio[1], 1.0 / ratio[0])
                    part = {key: (q, p) for key, (p, q) in part.items()}
                else:
                    continue
                one_target = all(
                    methods[name][dataset].protocol.one_target
                    for name in (a, b)
                    for dataset in dict.fromkeys(dataset for dataset, _ in part)
                )
                finding = _describe(
                    table, group, pair, part, ratio, samples if one_target else {}, own_runs, draws
                )
                if finding.chance_independent is None or finding.chance_independent < rare:
                    findings.append(finding)
    return Outcome(
        kind="proportional_rows",
        unit="pairs of rows",
        examined=examined,
        findings=findings,
        skipped=skipped,
    )


def _promising(
    methods: Sequence[dict[str, Row]], least_cells: int
) -> tuple[int, list[tuple[int, int]]]:
    """How many pairs have enough common cells, and those that one ratio may fit on some dataset.

    All pairs at once, with arrays: a dataset on which no ratio fits rules itself out of every set,
    so that a pair is worth a closer look only if the others have enough cells.
    """
    places = list(dict.fromkeys((d, m) for rows in methods for d, row in rows.items()
                                for m in row.cells))  # fmt: skip
    low = np.full((len(methods), len(places)), np.nan)
    high = np.full((len(methods), len(places)), np.nan)
    for i, rows in enumerate(methods):
        for j, (dataset, metric) in enumerate(places):
            cell = _told_once(rows[dataset]).get(metric) if dataset in rows else None
            if cell is not None and cell.value > 0:
                low[i, j], high[i, j] = cell.interval()
    low = np.maximum(low, 0.0)
    datasets = [dataset for dataset, _ in places]
    pairs, likely = 0, []
    for i in range(len(methods) - 1):
        with np.errstate(divide="ignore", invalid="ignore"):
            least = low[i] / high[i + 1 :]
            most = np.where(low[i + 1 :] > 0, high[i] / low[i + 1 :], np.inf)
        shared = ~np.isnan(least)
        common = np.zeros(len(shared), dtype=int)
        fitting = np.zeros(len(shared), dtype=int)
        for dataset in dict.fromkeys(datasets):
            mine = np.array([d == dataset for d in datasets])
            count = shared[:, mine].sum(axis=1)
            above = np.where(shared[:, mine], least[:, mine], -np.inf).max(axis=1)
            below = np.where(shared[:, mine], most[:, mine], np.inf).min(axis=1)
            common += count
            fitting += np.where(above <= below, count, 0)
        pairs += int((common >= least_cells).sum())
        likely += [(i, i + 1 + int(j)) for j in np.flatnonzero(fitting >= least_cells)]
    return pairs, likely


def _common_cells(a: Row, b: Row) -> Cells:
    """Cells that both rows have above zero, without those that repeat another one."""
    mine, his = _told_once(a), _told_once(b)
    return {
        (a.dataset, metric): (cell, his[metric])
        for metric, cell in mine.items()
        if metric in his and cell.value > 0 and his[metric].value > 0
    }


def _told_once(row: Row) -> dict[Metric, Printed]:
    """Cells of a row; with one target Recall and Precision are HR times a constant, MAP is MRR."""
    if not row.protocol.one_target:
        return row.cells
    same = {"Recall": "HR", "Precision": "HR", "MAP": "MRR"}
    taken = set()
    cells = {}
    for metric, cell in row.cells.items():
        key = (same.get(metric.kind, metric.kind), metric.cutoff)
        if key not in taken:
            taken.add(key)
            cells[metric] = cell
    return cells


def _common_ratio(cells: Cells) -> tuple[float, float] | None:
    """Ratios that fit every cell within one rounding, or None."""
    intervals = [quotient_interval(a, b) for a, b in cells.values()]
    low, high = max(i[0] for i in intervals), min(i[1] for i in intervals)
    return (low, high) if low <= high else None


def _largest_constant(
    cells: Cells, least_cells: int
) -> Iterator[tuple[Cells, tuple[float, float]]]:
    """The sets of datasets, none inside another, on which the cells have a common ratio."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in cells))
    taken: list[set[str]] = []
    # All subsets of a few datasets; of many, the whole and the single ones.
    sizes = range(len(datasets), 0, -1) if len(datasets) <= 4 else (len(datasets), 1)
    for size in sizes:
        for chosen in combinations(datasets, size):
            part = {key: pair for key, pair in cells.items() if key[0] in chosen}
            ratio = _common_ratio(part) if len(part) >= least_cells else None
            if ratio is not None and not any(set(chosen) <= other for other in taken):
                taken.append(set(chosen))
                yield part, ratio


def _describe(
    table: str,
    group: str,
    pair: tuple[str, str],
    cells: Cells,
    ratio: tuple[float, float],
    samples: dict[str, Sample],
    own_runs: pd.DataFrame | None,
    draws: int,
) -> ProportionalRows:
    a, b = pair
    ratios = np.array([p.value / q.value for p, q in cells.values()])
    datasets = list(dict.fromkeys(dataset for dataset, _ in cells))
    independent = dropped = None
    simulated = {key: pair for key, pair in cells.items() if key[1].cutoff is not None}
    if all(dataset in samples and any(d == dataset for d, _ in simulated) for dataset in datasets):
        middle = (ratio[0] + ratio[1]) / 2
        independent = chance(simulated, middle, samples, dropped=False, draws=draws)
        dropped = chance(simulated, middle, samples, dropped=True, draws=draws)
    digits = 3 if ratio[1] - ratio[0] > 2e-3 else 4
    rarity = (
        ""
        if independent is None or dropped is None
        else f" Of {draws:,} simulated pairs with this expected ratio {independent:.1%} print so "
        f"if hits are independent, {dropped:.1%} if hits are dropped at random."
    )
    return ProportionalRows(
        table=table,
        row=f"{a} / {b}" + (f", {group}" if group else ""),
        dataset=", ".join(datasets),
        printed="; ".join(f"{p.text}/{q.text}" for p, q in cells.values()),
        why=f"All {len(cells)} printed cells of {a} are those of {b} times one number between "
        f"{ratio[0]:.{digits}f} and {ratio[1]:.{digits}f}, within rounding.{rarity}",
        severity="note",
        explanations=[
            "Two models that rank alike lose a similar share of every metric.",
            "With few digits many pairs of rows are proportional within rounding.",
        ],
        ratio=ratio,
        cells=len(cells),
        spread=float(ratios.max() / ratios.min() - 1.0),
        chance_independent=independent,
        chance_dropped=dropped,
        own_spreads=None if own_runs is None else own_spreads(own_runs),
    )


def own_spreads(runs: pd.DataFrame) -> tuple[float, float, float] | None:
    """Spread of ratios over metrics, for all pairs of real runs of one dataset.

    runs: columns `dataset`, `row`, `metric`, `mean`. Returns the 10, 50 and 90 % quantiles, None if
    there is no pair.
    """
    spreads = []
    for _, part in runs.groupby("dataset"):
        means = part.pivot_table(index="row", columns="metric", values="mean").dropna()
        for x, y in combinations(means.to_numpy(), 2):
            if (y > 0).all() and (x > 0).all():
                ratios = x / y
                spreads.append(ratios.max() / ratios.min() - 1.0)
    if not spreads:
        return None
    low, middle, high = np.quantile(spreads, [0.1, 0.5, 0.9])
    return float(low), float(middle), float(high)


def chance(
    cells: Cells, ratio: float, samples: dict[str, Sample], dropped: bool, draws: int
) -> float:
    """Share of simulated pairs that print one constant ratio (below 1) within rounding.

    cells: none without a cut-off, since the null has no ranks below the last one.
    Row b's outcomes follow the smoothest one-target distribution that fits its printed cells, row
    a's the same with hits thinned to `ratio` (dropped: by dropping b's own hits). Seeded, so that
    two audits of one page agree.
    """
    rng = np.random.default_rng(20250803)
    low = np.full(draws, 0.0)
    high = np.full(draws, np.inf)
    for dataset in dict.fromkeys(dataset for dataset, _ in cells):
        mine = {metric: pair for (name, metric), pair in cells.items() if name == dataset}
        shape = smoothest({metric: larger for metric, (_, larger) in mine.items()})
        gains = np.array(
            [[metric.of_hit(r, 0, 1) for metric in mine] for r in range(1, len(shape) + 1)]
        )
        n = samples[dataset].rankings
        base = rng.multinomial(n, np.append(shape, max(0.0, 1.0 - shape.sum())), draws)[:, :-1]
        if dropped:
            fewer = rng.binomial(base, ratio)
        else:
            scaled = shape * ratio
            fewer = rng.multinomial(n, np.append(scaled, 1.0 - scaled.sum()), draws)[:, :-1]
        units = np.array([[p.unit, q.unit] for p, q in mine.values()])
        mean_a = np.round(fewer @ gains / n / units[:, 0]) * units[:, 0]
        mean_b = np.round(base @ gains / n / units[:, 1]) * units[:, 1]
        half_a, half_b = units[:, 0] / 2, units[:, 1] / 2
        with np.errstate(divide="ignore"):
            low = np.maximum(low, ((mean_a - half_a) / (mean_b + half_b)).max(axis=1))
            above = (mean_a + half_a) / np.maximum(mean_b - half_b, 0.0)
            high = np.minimum(high, above.min(axis=1))
    return float(np.mean(low <= high))


def smoothest(row: dict[Metric, Printed]) -> NDArray[np.float64]:
    """The one-target distribution over ranks 1..K nearest to the row with the least curvature.

    A linear programme: smallest sum of absolute second differences among the distributions that
    fit the row as well as any does (within rounding, if the row is possible). Returns [K].
    """
    depth = max(metric.cutoff or 1 for metric in row)
    fit = max(0.5, slack(row, Protocol())) + 1e-6
    gains = np.array(
        [[metric.of_hit(r, 0, 1) / cell.unit for r in range(1, depth + 1)]
         for metric, cell in row.items()]
    )  # fmt: skip
    goal = np.array([cell.value / cell.unit for cell in row.values()])
    bends = max(depth - 2, 0)
    second = np.zeros((bends, depth))
    for i in range(bends):
        second[i, i : i + 3] = (1.0, -2.0, 1.0)
    none = np.zeros((len(goal), bends))
    eye = np.eye(bends)
    result = scipy.optimize.linprog(
        np.append(np.zeros(depth), np.ones(bends)),
        A_ub=np.vstack(
            [
                np.hstack([gains, none]),
                np.hstack([-gains, none]),
                np.hstack([second, -eye]),
                np.hstack([-second, -eye]),
                np.append(np.ones(depth), np.zeros(bends))[None],
            ]
        ),
        b_ub=np.concatenate([goal + fit, fit - goal, np.zeros(2 * bends), [1.0]]),
        method="highs",
    )
    assert result.x is not None  # feasible by the choice of `fit`
    return np.clip(np.asarray(result.x[:depth]), 0.0, None)
