"""A run set's runs -> the cells of a table, in the long form that every table has.

    table,row,column,dataset,metric,mean,sd,n,paper,grade,ci_low,ci_high,p,p_holm,status

mean and sd (n - 1) are over the n seeds that finished; ci_low and ci_high are the crossed
bootstrap's interval of the mean, over users and seeds. p is the crossed bootstrap's, of no
difference from the best other cell of the same family (the rows of one column; the values of one
sweep), for cells that may be compared: all seeds finished and at their plateau, and enough of them
(`Rules.minimum_seeds`). p_holm is Holm's over the whole table.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.comparisons import NAMES, CellKey, ComparisonFamily, compare_families
from benchmark.analyse.statistics import RULES, Bucket, FloatArray, Rules, summarise
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PAPER_METRICS, per_user
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunKey, RunSpec
from benchmark.runs.store import Status, Stored

Grade = Literal["A", "B", "C"]
CellStatus = Literal["ok", "budget", "missing", "failed", "stale"]

COLUMNS = (
    *(*NAMES, "mean", "sd", "n", "paper", "grade"),
    *("ci_low", "ci_high", "p", "p_holm", "status"),
)


@dataclass(frozen=True)
class CellSpec:
    """One place of a table: which runs stand behind it, for all metrics."""

    row: str
    run_key: RunKey
    runs: Mapping[int, Stored]
    """By seed, every one that was asked for: how it stands, with its ranks."""
    grade: Grade
    column: str = ""
    """A swept value; a bucket's label stands here by itself."""
    bucket: Bucket | None = None
    split: Literal["validation", "test"] = "test"
    family: str = ""
    """Cells of one dataset, family and bucket are compared with one another."""
    compared: bool = True
    """False for controls, which are shown and never judged."""
    paper_row: str | None = None
    """The row of the paper's cells to print beside it; None for the cell's own."""
    spec: RunSpec | None = None
    """The settings of its runs, where they are known; for provenance alone."""

    @property
    def key(self) -> CellKey:
        column = self.bucket.label if self.bucket is not None else self.column
        return CellKey(self.row, column, self.run_key.dataset)


@dataclass(frozen=True)
class Table:
    """A table's numbers."""

    cells: pd.DataFrame
    """Long form, `COLUMNS`, in the order of the specs and metrics."""
    comparisons: pd.DataFrame
    """Why: one line for each compared cell (`benchmark.analyse.comparisons.compare_families`)."""
    problems: tuple[str, ...]
    """Runs that are missing, failed, stale or damaged, each with its reason."""


@dataclass(frozen=True)
class _Loaded:
    """A spec with its usable runs."""

    cell_spec: CellSpec
    runs: tuple[RunResult, ...]
    status: CellStatus

    def values(self, metric: str, masked: bool) -> FloatArray:
        """[U, S] of the spec's split and bucket. Raises ValueError for unequal users."""
        columns = []
        for run in self.runs:
            ranks = run.validation if self.cell_spec.split == "validation" else run.test
            if ranks is None or run.length is None:
                raise ValueError("a run without ranks was taken for a finished one")
            values = per_user(ranks, metric, masked=masked)
            if self.cell_spec.bucket is not None:
                values = values[self.cell_spec.bucket.holds(run.length)]
            columns.append(values)
        return np.stack(columns, axis=1)

    @property
    def comparable(self) -> bool:
        """Whether every seed asked for is there."""
        whole = 0 < len(self.runs) == len(self.cell_spec.runs)
        return whole and self.cell_spec.compared


def derive_cells(
    table: str,
    cell_specs: Sequence[CellSpec],
    *,
    paper_cells: pd.DataFrame | None = None,
    metrics: Sequence[str] = PAPER_METRICS,
    masked: bool = False,
    reuse_stale: bool = False,
    rules: Rules = RULES,
) -> Table:
    """Every cell of a table, from stored runs alone.

    reuse_stale: use stale runs too; the status of their cells says so.
    paper_cells: as `benchmark.paper.load_cells` gives them; printed values of the same table, row,
    bucket, dataset and metric are put beside ours.
    Raises InputError if runs of one dataset were ranked on different users.
    """
    loaded: list[_Loaded] = []
    problems: list[str] = []
    for cell_spec in cell_specs:
        entry, notes = _load(cell_spec, reuse_stale)
        loaded.append(entry)
        problems += notes
    bootstraps = _bootstraps(loaded, metrics, masked, rules)
    comparisons = compare_families(table, _comparison_families(loaded, bootstraps, metrics))
    printed = _printed(table, paper_cells)

    lines = []
    for entry in loaded:
        cell_spec = entry.cell_spec
        group = cell_spec.bucket.label if cell_spec.bucket is not None else ""
        for metric in metrics:
            low = high = np.nan
            over_seeds: FloatArray = np.empty(0)
            if entry.runs:
                bootstrap = bootstraps[_population(cell_spec)]
                over_seeds = bootstrap.over_seeds(_name(cell_spec, metric))
                interval = bootstrap.interval(_name(cell_spec, metric))
                low, high = interval.low, interval.high
            summary = summarise(over_seeds)
            key = (cell_spec.paper_row or cell_spec.row, group, cell_spec.run_key.dataset, metric)
            numbers = (summary.mean, summary.sd, summary.n, printed.get(key, np.nan))
            names = (table, *cell_spec.key, metric)
            lines.append((*names, *numbers, cell_spec.grade, low, high, entry.status))
    frame = pd.DataFrame(lines, columns=[c for c in COLUMNS if c not in ("p", "p_holm")])
    tested = comparisons[[*NAMES, "p", "p_holm"]]
    frame = frame.merge(tested, on=list(NAMES), how="left", validate="one_to_one")
    return Table(frame[list(COLUMNS)], comparisons, tuple(dict.fromkeys(problems)))


def _load(cell_spec: CellSpec, reuse_stale: bool) -> tuple[_Loaded, list[str]]:
    runs: list[RunResult] = []
    problems: list[str] = []
    for seed, stored in cell_spec.runs.items():
        usable = stored.status == "complete" or (stored.status == "stale" and reuse_stale)
        if usable and stored.result is not None:
            runs.append(stored.result)
        if stored.problem:
            name = f"{cell_spec.run_key}, seed {seed}"
            problems.append(f"{name}: {stored.status}: {stored.problem}")
    statuses = {stored.status for stored in cell_spec.runs.values()}
    return _Loaded(cell_spec, tuple(runs), _status(statuses, runs)), problems


def _status(statuses: set[Status], runs: Iterable[RunResult]) -> CellStatus:
    if "failed" in statuses:
        return "failed"
    if not statuses or statuses & {"missing", "damaged"}:
        return "missing"
    if "stale" in statuses:
        return "stale"
    return "ok"


Population = tuple[str, Bucket | None, str]


def _population(cell_spec: CellSpec) -> Population:
    """What has the same users: dataset, bucket, split."""
    return cell_spec.run_key.dataset, cell_spec.bucket, cell_spec.split


def _name(cell_spec: CellSpec, metric: str) -> str:
    """A cell's name in its bootstrap. It seeds the draws of seeds, so it says nothing of the table:
    a spec has the same interval wherever it is printed."""
    return f"{cell_spec.run_key} {metric}"


def _bootstraps(
    loaded: Sequence[_Loaded], metrics: Sequence[str], masked: bool, rules: Rules
) -> dict[Population, CrossedBootstrap]:
    populations: dict[Population, list[_Loaded]] = defaultdict(list)
    for entry in loaded:
        if entry.runs:
            populations[_population(entry.cell_spec)].append(entry)
    bootstraps = {}
    for population, entries in populations.items():
        try:
            values = {
                _name(entry.cell_spec, metric): entry.values(metric, masked)
                for entry in entries
                for metric in metrics
            }
            bootstraps[population] = CrossedBootstrap(values, rules)
        except ValueError as error:
            raise InputError(
                f"runs on {population[0]} cannot stand in one table: {error}; they come from "
                "different versions of the data"
            ) from error
    return bootstraps


def _comparison_families(
    loaded: Sequence[_Loaded],
    bootstraps: dict[Population, CrossedBootstrap],
    metrics: Sequence[str],
) -> list[ComparisonFamily]:
    families: dict[tuple[Population, str], list[CellSpec]] = defaultdict(list)
    for entry in loaded:
        if entry.comparable:
            families[_population(entry.cell_spec), entry.cell_spec.family].append(entry.cell_spec)
    return [
        ComparisonFamily(
            bootstraps[population],
            metric,
            {cell_spec.key: _name(cell_spec, metric) for cell_spec in cell_specs},
        )
        for (population, _), cell_specs in families.items()
        for metric in metrics
    ]


def _printed(
    table: str, paper_cells: pd.DataFrame | None
) -> dict[tuple[str, str, str, str], float]:
    """(row, group, dataset, metric) -> printed value"""
    if paper_cells is None:
        return {}
    own = paper_cells[paper_cells["table"] == table]
    keys = zip(own["row"], own["group"], own["dataset"], own["metric"], strict=True)
    return dict(zip(keys, own["value"].astype(float), strict=True))
