"""A run set's runs -> the cells of a table, in the long form that every table has.

    table,row,column,dataset,metric,protocol,mean,sd,n,paper,grade,ci_low,ci_high,p_best,status

Every cell stands there under both protocols: history "kept", beside the printed number, and "left
out". mean and sd (n - 1) are over the n seeds that finished; ci_low and ci_high are the crossed
bootstrap's interval of the mean, over users and seeds. p_best is the adjusted p of "no other cell
of the same family is better" (the rows of one column; the values of one sweep), for cells that may
be compared: all seeds finished, and enough of them (`Rules.minimum_seeds`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.columns import stacked
from benchmark.analyse.comparisons import (
    NAMES,
    CellKey,
    ComparisonFamily,
    decompositions,
    find_best,
    judge,
)
from benchmark.analyse.decomposition import retention
from benchmark.analyse.rules import RULES, Bucket, Rules
from benchmark.analyse.statistics import FloatArray, summarise
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, SHOWN_METRICS, History, per_user
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import Convergence, RunKey, RunSpec
from benchmark.runs.store import Status, Stored

Grade = Literal["A", "B", "C"]
CellStatus = Literal["ok", "missing", "failed", "stale", "idle"]

COLUMNS = (
    *(*NAMES, "mean", "sd", "n", "paper", "grade"),
    *("ci_low", "ci_high", "p_best", "status"),
)


RETENTION_COLUMNS = (
    *("table", "row", "column", "dataset", "metric"),
    *("retention", "low", "high"),
)

Population = tuple[str, Bucket | None, str]
"""What has the same users: dataset, bucket, split."""


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
    subject: bool = False
    """Whether its comparison with every other compared cell of the family was fixed beforehand."""
    paper_row: str | None = None
    """The row of the paper's cells to print beside it; None for the cell's own."""
    spec: RunSpec | None = None
    """The settings of its runs, where they are known; for provenance alone."""

    @property
    def key(self) -> CellKey:
        column = self.bucket.label if self.bucket is not None else self.column
        return CellKey(self.row, column, self.run_key.dataset)

    @property
    def convergence(self) -> Convergence | None:
        """What is known of its budget: it marks the cell and blocks no comparison. None of what is
        not trained, or where the settings are not known."""
        return self.spec.convergence if self.spec is not None and self.spec.training else None

    @property
    def fixed(self) -> bool:
        """Whether nothing in its runs is random, so that one seed is all there is."""
        return self.spec is not None and self.spec.protocol.control

    def score(self, metric: str, protocol: History) -> Score:
        """Its name in its bootstrap. The method's part seeds the draws of seeds, so it says nothing
        of the table: a spec has the same interval wherever it is printed."""
        return Score(str(self.run_key), metric, protocol)


@dataclass(frozen=True)
class Table:
    """A table's numbers."""

    cells: pd.DataFrame
    """Long form, `COLUMNS`, in the order of the specs and metrics."""
    best: pd.DataFrame
    """Which cells may be the best of their family (`benchmark.analyse.comparisons.find_best`)."""
    verdicts: pd.DataFrame
    """Comparisons that were fixed beforehand (`benchmark.analyse.comparisons.judge`)."""
    decompositions: pd.DataFrame
    """The same, taken apart by protocol (`benchmark.analyse.comparisons.decompositions`)."""
    retentions: pd.DataFrame
    """What each cell keeps of its score when history items compete, columns `RETENTION_COLUMNS`."""
    scores: Mapping[Population, CrossedBootstrap]
    """Per-user scores of all cells, by population, from which any two of them can be compared."""
    problems: tuple[str, ...]
    """Runs that are missing, failed, stale or damaged, each with its reason."""


@dataclass(frozen=True)
class _Loaded:
    """A spec with its usable runs."""

    cell_spec: CellSpec
    runs: tuple[RunResult, ...]
    status: CellStatus

    def values(self, metric: str, protocol: History) -> FloatArray:
        """[U, S] of the spec's split and bucket. Raises InputError for unequal users."""
        columns = []
        for run in self.runs:
            ranks = run.validation if self.cell_spec.split == "validation" else run.test
            if ranks is None or run.length is None:
                raise ValueError("a run without ranks was taken for a finished one")
            values = per_user(ranks, metric, masked=protocol == "left out")
            if self.cell_spec.bucket is not None:
                values = values[self.cell_spec.bucket.holds(run.length)]
            columns.append(values)
        return stacked(columns, self.runs)

    @property
    def comparable(self) -> bool:
        """Whether every seed asked for is there."""
        return self.cell_spec.compared and 0 < len(self.runs) == len(self.cell_spec.runs)


def derive_cells(
    table: str,
    cell_specs: Sequence[CellSpec],
    *,
    paper_cells: pd.DataFrame | None = None,
    metrics: Sequence[str] = SHOWN_METRICS,
    reuse_stale: bool = False,
    rules: Rules = RULES,
) -> Table:
    """Every cell of a table under both protocols, from stored runs alone.

    reuse_stale: use stale runs too; the status of their cells says so.
    paper_cells: as `benchmark.paper.load_cells` gives them; printed values of the same table, row,
    bucket, dataset and metric are put beside ours with the history kept.
    Raises InputError if runs of one dataset were ranked on different users.
    """
    loaded: list[_Loaded] = []
    problems: list[str] = []
    for cell_spec in cell_specs:
        entry, notes = _load(cell_spec, reuse_stale)
        loaded.append(entry)
        problems += notes
    bootstraps = _bootstraps(loaded, metrics, rules)
    families = _comparison_families(loaded, bootstraps, metrics)
    best = find_best(table, families)
    printed = _printed(table, paper_cells)

    lines = [
        _line(table, entry, metric, protocol, bootstraps, printed)
        for entry in loaded
        for metric in metrics
        for protocol in PROTOCOLS
    ]
    frame = pd.DataFrame(lines, columns=[c for c in COLUMNS if c != "p_best"])
    tested = best[[*NAMES, "p_best"]]
    frame = frame.merge(tested, on=list(NAMES), how="left", validate="one_to_one")
    return Table(
        frame[list(COLUMNS)],
        best,
        judge(table, families),
        decompositions(table, families),
        _retentions(table, loaded, bootstraps, metrics),
        bootstraps,
        tuple(dict.fromkeys(problems)),
    )


def _line(
    table: str,
    entry: _Loaded,
    metric: str,
    protocol: History,
    bootstraps: Mapping[Population, CrossedBootstrap],
    printed: Mapping[tuple[str, str, str, str], float],
) -> tuple[object, ...]:
    """One cell, without p_best."""
    cell_spec = entry.cell_spec
    low = high = np.nan
    over_seeds: FloatArray = np.empty(0)
    if entry.runs:
        bootstrap, score = bootstraps[_population(cell_spec)], cell_spec.score(metric, protocol)
        over_seeds = bootstrap.over_seeds(score)
        interval = bootstrap.interval(score)
        low, high = interval.low, interval.high
    summary = summarise(over_seeds)
    group = cell_spec.bucket.label if cell_spec.bucket is not None else ""
    key = (cell_spec.paper_row or cell_spec.row, group, cell_spec.run_key.dataset, metric)
    paper = printed.get(key, np.nan) if protocol == "kept" else np.nan
    names = (table, *cell_spec.key, metric, protocol)
    numbers = (summary.mean, summary.sd, summary.n, paper)
    return (*names, *numbers, cell_spec.grade, low, high, entry.status)


def _retentions(
    table: str,
    loaded: Sequence[_Loaded],
    bootstraps: Mapping[Population, CrossedBootstrap],
    metrics: Sequence[str],
) -> pd.DataFrame:
    records = []
    for entry in loaded:
        if not entry.runs:
            continue
        scores = bootstraps[_population(entry.cell_spec)]
        for metric in metrics:
            found = retention(scores, str(entry.cell_spec.run_key), metric)
            ends = np.exp([found.value, found.low, found.high])
            records.append((table, *entry.cell_spec.key, metric, *ends.tolist()))
    return pd.DataFrame(records, columns=list(RETENTION_COLUMNS))


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
    return _Loaded(cell_spec, tuple(runs), _status(statuses)), problems


def _status(statuses: set[Status]) -> CellStatus:
    if "failed" in statuses:
        return "failed"
    if not statuses:
        return "idle"
    if statuses & {"missing", "damaged"}:
        return "missing"
    return "stale" if "stale" in statuses else "ok"


def _population(cell_spec: CellSpec) -> Population:
    return cell_spec.run_key.dataset, cell_spec.bucket, cell_spec.split


def _bootstraps(
    loaded: Sequence[_Loaded], metrics: Sequence[str], rules: Rules
) -> dict[Population, CrossedBootstrap]:
    populations: dict[Population, list[_Loaded]] = defaultdict(list)
    for entry in loaded:
        if entry.runs:
            populations[_population(entry.cell_spec)].append(entry)
    bootstraps = {}
    for population, entries in populations.items():
        try:
            values = {
                entry.cell_spec.score(metric, protocol): entry.values(metric, protocol)
                for entry in entries
                for metric in metrics
                for protocol in PROTOCOLS
            }
            controls = {str(entry.cell_spec.run_key) for entry in entries if entry.cell_spec.fixed}
            fixed = [score for score in values if score.method in controls]
            bootstraps[population] = CrossedBootstrap(values, rules, fixed)
        except ValueError as error:
            raise InputError(
                f"runs on {population[0]} cannot stand in one table: {error}"
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
            protocol,
            {cell_spec.key: cell_spec.score(metric, protocol) for cell_spec in cell_specs},
            next((cell_spec.key for cell_spec in cell_specs if cell_spec.subject), None),
            frozenset(c.key for c in cell_specs if c.convergence == "gaining"),
        )
        for (population, _), cell_specs in families.items()
        for metric in metrics
        for protocol in PROTOCOLS
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
