"""Tables and figures -> the specs that they need, and which of those the store lacks.

Tables share specs: the base configuration of Tables 2, 5-9 and Figure 3 is one spec, trained once.
Results from elsewhere are planned from their own records, without resolving settings.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmark.analyse.analysis_plan import Contrast, analysis_plan, split_arm
from benchmark.costs import estimate
from benchmark.data.config import dataset_names, has_times
from benchmark.data.meta import BundleMeta, bundle_meta, dataset_facts
from benchmark.errors import InputError
from benchmark.paper.readings import readings
from benchmark.runs.code import code_of
from benchmark.runs.identity import config_hash, hashes
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import Protocol, RunKey, RunSpec
from benchmark.runs.store import Status, Stored
from benchmark.settings.registry import CONFIGS, Profile, methods, pick
from benchmark.settings.resolve import resolve
from benchmark.yaml_files import read_model

OWN_MODEL = "FindRec"
FAVOURABLE = "favourable"
"""The variant of `OWN_MODEL` that holds the reading which validation prefers
(benchmark/tune/favourable.py), dataset by dataset."""
_BETWEEN_MODALITIES = frozenset(
    (
        *("attention", "iicm_weight", "iicm_sign", "iicm_entropy", "iicm_kl", "iicm_positions"),
        *("iicm_pairs", "iicm_bandwidth", "iicm_samples", "iicm_ridge"),
    )
)
"""Settings of `OWN_MODEL` that act between text and image alone where `iicm_align` is unchanged."""
FEATURE_CONTROL_VARIANTS = ("permuted-features", "no-features")
"""Variants that every multimodal method has."""


class Experiment(BaseModel):
    """What a table or figure shows: an entry of `configs/experiments.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    models: tuple[str, ...] | Literal["all"] = "all"
    variants: tuple[str, ...] = ("base",)
    """Variants of FindRec, in the order of the table's rows."""
    row_variants: tuple[str, ...] = ()
    """Variants of every row that has them, in place of `variants`."""
    times: bool = False
    """Whether it shows datasets with times alone."""
    both_modalities: bool = False
    """Whether it shows the first dataset with text and image features, and no other."""
    modality_controls: bool = False
    """Whether it shows every multimodal row with permuted and without features too, and no other
    row."""
    contrasts: Literal["all", "primary", "readings", "base"] | None = None
    """Whether it shows what contrasts compare, beside `models`: those of the analysis plan, all of
    them or the primary ones; every arm of the readings of the paper; or every row and variant that
    it shows, each against its base (`against_base`)."""
    arms: tuple[tuple[str, str], ...] = ()
    """(row, variant), shown below the rows."""
    profile: str | None = None
    """The profile that is meant where none is named; None for that of the machine."""
    one_target: bool = False
    """Whether it needs a profile with one test target a user."""
    on_request: bool = False
    """Whether `all` leaves it out until it has been asked for by its name."""


class _Experiments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    experiments: dict[str, Experiment]


@dataclass(frozen=True)
class Planned:
    """What one place of a table needs, and how each of its seeds stands in the store."""

    key: RunKey
    spec: RunSpec | None
    """None where results from elsewhere are taken as they are and hold no run of the key."""
    runs: Mapping[int, Stored]
    """By seed."""
    seconds: float = 0.0
    """Estimated time of one seed on one CPU core."""
    problem: str = ""
    """Why the spec cannot be run here: its dataset cannot be had."""
    idle: str = ""
    """Why the spec is not run at all: on its dataset it has nothing to act on."""

    @property
    def states(self) -> dict[int, Status]:
        """How each seed stands."""
        return {seed: stored.status for seed, stored in self.runs.items()}

    def to_run(self, *, reuse_stale: bool = False) -> list[int]:
        """Seeds that have no run to use; failed ones are tried again."""
        if self.problem or self.spec is None:
            return []
        usable = self.usable(reuse_stale=reuse_stale)
        return [seed for seed in self.runs if seed not in usable]

    def usable(self, *, reuse_stale: bool) -> tuple[int, ...]:
        """Seeds whose finished runs a request shows: current ones, and stale ones if it asks so."""
        wanted = ("complete", "stale") if reuse_stale else ("complete",)
        return tuple(seed for seed, state in self.states.items() if state in wanted)

    def results(self, *, reuse_stale: bool) -> list[RunResult]:
        """The runs of the usable seeds."""
        stored = [self.runs[seed].result for seed in self.usable(reuse_stale=reuse_stale)]
        return [result for result in stored if result is not None]


@cache
def experiments() -> dict[str, Experiment]:
    """All experiments by name (table2 ... fig3, curves)."""
    return read_model(CONFIGS / "experiments.yaml", _Experiments).experiments


def shown_in(profile: Profile) -> list[str]:
    """The experiments that a profile has: all but those that belong to another one, that it cannot
    show, and that are made on request alone."""
    return [
        name
        for name, e in experiments().items()
        if e.profile in (None, profile.name) and not e.on_request and not unfit(name, profile)
    ]


def unfit(name: str, profile: Profile) -> str:
    """Why an experiment says nothing under a profile; "" where it can."""
    several = max((s.protocol.get("test_targets", 1) for s in profile.datasets.values()), default=1)
    if experiments()[name].one_target and several > 1:
        return (
            f"it needs one test target a user (leave-one-out), and profile {profile.name} has "
            f"up to {several}"
        )
    return ""


def specs(
    names: Sequence[str],
    profile: Profile,
    *,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    data: Path | None = None,
) -> list[RunSpec]:
    """The specs that the named experiments need, each once, in the order of the tables' rows.

    Raises InputError for an unknown experiment, model or dataset.
    """
    found: dict[tuple[str, str, str], RunSpec] = {}
    for name in names:
        experiment = pick(name, experiments(), "table or figure")
        for dataset in shown_datasets(experiment, datasets or profile.run_on, data):
            for model, variant in _members(experiment, models):
                spec = spec_of(model, dataset, profile, variant)
                base = spec_of(model, dataset, profile)
                if config_hash(spec) == config_hash(base):
                    spec = base  # a swept value that the base has already
                found.setdefault((dataset, model, spec.variant), spec)
    return list(found.values())


def without_effect(model: str, variant: str, dataset: str, data: Path | None) -> str:
    """Why a variant has nothing to act on where a dataset has one modality, or a control that only
    compares features where it has none; "" where it acts."""
    method = methods()[model]
    if method.category == "control" and method.modalities:
        there = dataset_facts(dataset, root=data).encoders
        return "" if there else "there are no features to compare items by"
    change = method.variants.get(variant)
    if change is None:
        return ""
    if change.protocol.get("features") == "permuted-images":
        reason = "there is nothing to permute images against"
    elif change.model and _BETWEEN_MODALITIES.issuperset(change.model):
        reason = "there is no cross-attention and no alignment"
    else:
        return ""
    return reason if len(dataset_facts(dataset, root=data).encoders) < 2 else ""


def shown_datasets(
    experiment: Experiment, datasets: Sequence[str], data: Path | None
) -> Sequence[str]:
    """Those of the datasets that the experiment shows. Raises InputError for an unknown one."""
    if experiment.times:
        datasets = [dataset for dataset in datasets if has_times(dataset)]
    if not experiment.both_modalities:
        return datasets
    with_both = [
        dataset
        for dataset in datasets
        if {"text", "image"} <= set(dataset_facts(dataset, root=data).encoders)
    ]
    return with_both[:1]


def _members(experiment: Experiment, models: Sequence[str] | None) -> list[tuple[str, str]]:
    """(model, variant) pairs of an experiment, restricted to `models` if given."""
    arms = [
        split_arm(arm, methods())
        for contrast in contrasts_of(experiment)
        for arm in (*contrast.plus, *contrast.minus)
    ]
    arms += experiment.arms
    arms = [arm for arm in dict.fromkeys(arms) if models is None or arm[0] in models]
    if experiment.contrasts in ("all", "readings"):
        return arms
    shown = list(methods()) if experiment.models == "all" else list(experiment.models)
    if models is not None:
        wanted = [name for name in models if pick(name, methods(), "model").name in shown]
    elif experiment.models == "all":
        wanted = [name for name in shown if not methods()[name].by_name_alone]
    else:
        wanted = shown
    if experiment.modality_controls:
        wanted = [name for name in wanted if methods()[name].modalities]
    if experiment.row_variants:
        return [
            (name, variant)
            for name in wanted
            for variant in experiment.row_variants
            if variant == "base" or variant in methods()[name].variants
        ]
    members = []
    for name in wanted:
        for variant in experiment.variants if name == OWN_MODEL else ("base",):
            members.append((name, variant))
        if experiment.modality_controls:
            members += [
                (name, v) for v in FEATURE_CONTROL_VARIANTS if v in methods()[name].variants
            ]
    return list(dict.fromkeys([*members, *arms]))


def contrasts_of(experiment: Experiment) -> tuple[Contrast, ...]:
    """What the experiment's arms are compared in; none where it judges no contrast."""
    match experiment.contrasts:
        case "all":
            return analysis_plan().contrasts
        case "primary":
            return tuple(c for c in analysis_plan().contrasts if c.claim == "primary")
        case "readings":
            return against_base(arm for reading in readings() for arm in reading.arms)
        case "base":
            return against_base(
                name if variant == "base" else f"{name} {variant}"
                for name in experiment.models
                for variant in (experiment.variants if name == OWN_MODEL else ("base",))
            )
        case _:
            return ()


def against_base(arms: Iterable[str]) -> tuple[Contrast, ...]:
    """Each arm, once, against its row's base, and the base of another row against FindRec."""
    found = []
    for arm in dict.fromkeys(arms):
        row, variant = split_arm(arm, methods())
        if arm == OWN_MODEL:
            continue
        other = row if variant != "base" else OWN_MODEL
        own = f"{arm}: does it change the score?"
        found.append(Contrast(id=arm, claim="secondary", asks=own, plus=(arm,), minus=(other,)))
    return tuple(found)


def other_readings() -> tuple[str, ...]:
    """The arms of `four-ways` beside the base: FindRec in reading A, in reading B, as released, and
    as validation prefers it."""
    return tuple(one.id for one in contrasts_of(experiments()["four-ways"]))


def favourable_reading(dataset: str) -> Literal["not chosen", "base", "another"]:
    """What stands in FindRec's file for the dataset as the reading that validation prefers; an
    entry that changes nothing is the base."""
    layer = methods()[OWN_MODEL].variants[FAVOURABLE].datasets.get(dataset)
    if layer is None:
        return "not chosen"
    return "another" if layer.model or layer.training or layer.protocol else "base"


def spec_of(model: str, dataset: str, profile: Profile, variant: str = "base") -> RunSpec:
    """The spec with all its settings resolved. Raises InputError as `resolve` does."""
    return resolve(model, dataset, profile, variant).spec


def plan(
    wanted: Sequence[RunSpec],
    seeds: Sequence[int],
    runs: RunSet,
    *,
    data: Path | None = None,
    as_stored: bool = False,
) -> list[Planned]:
    """How each spec stands in the store. Controls have one seed, since nothing in them is random,
    and a snapshot is taken of one.

    as_stored: take runs as they are, whatever code and data they were made with; needs no bundle.
    """
    metas: dict[str, BundleMeta] = {}
    problems: dict[str, str] = {}
    if not as_stored:
        metas, problems = _metas(list(dict.fromkeys(spec.dataset for spec in wanted)), data)
    planned, code = [], cache(code_of)
    for spec in wanted:
        meta = metas.get(spec.dataset)
        parts = hashes(spec, meta.data_hash, code=code) if meta is not None else None
        known = spec.dataset not in problems
        if known and (idle := without_effect(spec.model, spec.variant, spec.dataset, data)):
            planned.append(Planned(spec.key, spec, {}, idle=idle))
            continue
        own = _seeds(seeds, spec.protocol)
        stored = {seed: runs.status(spec.key, seed, parts) for seed in own}
        seconds = 0.0
        if meta is not None:
            base = spec.key._replace(variant="base")
            timed = runs.timed(spec.key, own) or runs.timed(base, own)
            seconds = estimate(spec, meta.counts, timed)
        problem = problems.get(spec.dataset, "")
        planned.append(Planned(spec.key, spec, stored, seconds, problem))
    return planned


def plan_stored(
    names: Sequence[str],
    profile: Profile,
    seeds: Sequence[int],
    runs: RunSet,
    *,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    data: Path | None = None,
) -> list[Planned]:
    """What the named experiments show of results from elsewhere, taken as they are.

    A spec is the one that the stored records hold: no setting is resolved, no class imported, and
    no bundle needed. Rows and variants are those of the YAML files. Seeds whose settings differ
    from those of the first are stale. Raises InputError for an unknown experiment or model.
    """
    found: dict[RunKey, Planned] = {}
    for name in names:
        experiment = pick(name, experiments(), "table or figure")
        for dataset in shown_datasets(experiment, datasets or profile.run_on, data):
            for model, variant in _members(experiment, models):
                key = RunKey(profile.name, dataset, model, variant)
                idle = without_effect(model, variant, dataset, data)
                spec = None if idle else runs.spec(key, seeds)
                base = key._replace(variant="base")
                if spec is None and _is_as_base(key, runs.spec(base, seeds)):
                    key, spec, idle = base, runs.spec(base, seeds), ""
                if key not in found:
                    found[key] = (
                        Planned(key, spec, {}, idle=idle)
                        if idle
                        else _as_stored(key, spec, seeds, runs)
                    )
    return list(found.values())


def _as_stored(key: RunKey, spec: RunSpec | None, seeds: Sequence[int], runs: RunSet) -> Planned:
    method = methods()[key.model]
    change = method.variants.get(key.variant)
    own = seeds
    if spec is not None:
        own = _seeds(seeds, spec.protocol)
    elif method.category == "control" or (change and change.protocol.get("snapshot")):
        own = seeds[:1]
    stored = {seed: runs.status(key, seed) for seed in own}
    for seed, run in stored.items():
        if run.status == "complete" and run.record is not None and run.record.spec != spec:
            problem = "made with other settings than the first seed"
            stored[seed] = replace(run, status="stale", problem=problem)
    return Planned(key, spec, stored)


def _is_as_base(key: RunKey, base: RunSpec | None) -> bool:
    """Whether a variant sweeps a value that the stored base has already."""
    change = methods()[key.model].variants.get(key.variant)
    if change is None or base is None:
        return False
    only_model = not (change.training or change.protocol or change.datasets or change.profiles)
    return only_model and change.model.items() <= base.config.items()


def _seeds(seeds: Sequence[int], protocol: Protocol) -> Sequence[int]:
    """Those of the seeds that a spec is run with."""
    return seeds[:1] if protocol.control or protocol.snapshot else seeds


def _metas(
    datasets: Sequence[str], data: Path | None
) -> tuple[dict[str, BundleMeta], dict[str, str]]:
    """Each dataset's metadata, and why a dataset that exists cannot be had here.

    Raises InputError for an unknown dataset, and where none of them can be had.
    """
    metas, problems = {}, {}
    for dataset in datasets:
        try:
            metas[dataset] = bundle_meta(dataset, root=data)
        except InputError as error:
            if dataset not in dataset_names():
                raise
            problems[dataset] = str(error)
    if problems and not metas:
        raise InputError("; ".join(problems.values()))
    return metas, problems
