"""Stored trials as the search sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.evaluate.metrics import PROTOCOLS, History, per_user
from benchmark.plan import plan
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunRecord
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Status, Stored
from benchmark.settings.registry import Profile, methods
from benchmark.tune.grid import (
    PREFIX,
    Point,
    Trial,
    Tuning,
    floor_spec,
    own_point,
    rungs,
    trial_spec,
)
from benchmark.tune.search import FloatArray, Search, Tried

METRIC = "NDCG@10"
"""On validation, full ranking."""

Pair = tuple[str, str]
"""Dataset and row."""


@dataclass(frozen=True)
class Row:
    """One row on one dataset: its search, and how each trial that has ended stands."""

    dataset: str
    model: str
    search: Search
    stored: dict[Trial, tuple[Status, RunRecord]]

    @property
    def cpu_seconds(self) -> float:
        """Spent on it; what a budget took over from a shorter one counts once."""
        times = [record.timings for _, record in self.stored.values()]
        return sum(t.training + t.evaluation - t.inherited for t in times)


def stored_trials(
    pairs: Sequence[Pair],
    profile: Profile,
    tuning: Tuning,
    runs: RunSet,
    *,
    data: Path | None,
    reuse_stale: bool,
    as_stored: bool,
) -> list[Row]:
    """The rows with what the store holds of them.

    A trial made with other code or data than today's counts only with `reuse_stale`; as_stored:
    trials are taken as they are, and no bundle is needed. Raises InputError as `trial_spec` does.
    """
    found: dict[Pair, dict[Trial, Stored]] = {pair: {} for pair in pairs}
    for stored in runs.scan():
        record = stored.record
        if record is None or record.spec.profile != profile.name:
            continue
        spec = record.spec
        pair = (spec.dataset, spec.model)
        if _of_a_search(spec) and spec.training is not None and pair in found:
            point = Point(spec.training.lr, spec.config["dropout"])
            trial = Trial(point, spec.training.steps, record.seed)
            if spec.variant == trial.variant:
                found[pair][trial] = stored
    usable = ("complete", "failed", *(("stale",) if reuse_stale or as_stored else ()))
    rows = []
    for (dataset, model), trials in found.items():
        ladder = rungs(model, dataset, tuning)
        known = [t for t in trials if t.seed in tuning.seeds and t.steps in ladder]
        specs = [trial_spec(model, dataset, profile, tuning, trial) for trial in known]
        status = _statuses(specs, known, runs, data, as_stored)
        ended = {t: trials[t] for t in known if status[t] in usable}
        found_values = {t: tried(stored) for t, stored in ended.items()}
        floor = _floor(dataset, profile, tuning, runs, data, as_stored)
        records = {t: (status[t], s.record) for t, s in ended.items() if s.record is not None}
        fixed = own_point(model, dataset, profile, tuning)
        rows.append(
            Row(dataset, model, Search(tuning, ladder, found_values, floor, fixed), records)
        )
    return rows


def stored_pairs(runs: RunSet, profile: Profile) -> list[Pair]:
    """(dataset, row) pairs that have a stored trial, in the order of the tables."""
    found = {
        (s.record.spec.dataset, s.record.spec.model)
        for s in runs.scan()
        if s.record is not None
        and _of_a_search(s.record.spec)
        and s.record.spec.profile == profile.name
        and s.record.spec.model in methods()
    }
    return sorted(found, key=place)


def _of_a_search(spec: RunSpec) -> bool:
    """Whether it is a trial of `tune`, not one of a variant (benchmark/tune/variants.py)."""
    return spec.protocol.trial and spec.variant.startswith(PREFIX)


def place(pair: Pair) -> tuple[str, int]:
    """Of a pair in a log; rows that are no more stand at the end."""
    order = list(methods())
    return pair[0], order.index(pair[1]) if pair[1] in order else len(order)


def _statuses(
    specs: Sequence[RunSpec],
    trials: Sequence[Trial],
    runs: RunSet,
    data: Path | None,
    as_stored: bool,
) -> dict[Trial, Status]:
    """One plan a seed, since a plan reads the bundle's metadata."""
    found: dict[Trial, Status] = {}
    for seed in {trial.seed for trial in trials}:
        own = {t: s for t, s in zip(trials, specs, strict=True) if t.seed == seed}
        planned = plan(list(own.values()), [seed], runs, data=data, as_stored=as_stored)
        found |= {t: p.states[seed] for t, p in zip(own, planned, strict=True)}
    return found


def tried(stored: Stored) -> Tried:
    """A stored trial's metric per user; nothing of one that has no ranks."""
    ranks = None if stored.result is None else stored.result.validation
    if ranks is None:
        return Tried()
    return Tried({p: per_user(ranks, METRIC, masked=p == "left out") for p in PROTOCOLS})


def _floor(
    dataset: str,
    profile: Profile,
    tuning: Tuning,
    runs: RunSet,
    data: Path | None,
    as_stored: bool,
) -> dict[History, FloatArray] | None:
    """Popularity's metric per user; None where it has not been ranked yet."""
    spec, seed = floor_spec(dataset, profile, tuning), tuning.seeds[0]
    (planned,) = plan([spec], [seed], runs, data=data, as_stored=as_stored)
    values = tried(planned.runs[seed]).values
    return None if values is None else dict(values)
