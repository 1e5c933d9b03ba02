"""From a loaded bundle to ranks: everything that decides a number, and what the code hash covers.

What is fed (modalities, permuted features) -> split -> training, or the fit of a control -> ranks
of the held-out items. Loading data, storing, records, inference and rendering stand above this file
and cannot change a rank. `benchmark/runs/code.py` hashes what is imported from here, so nothing is
imported here that has no part in a number.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark.data.content import Bundle
from benchmark.data.sequences import Ints, Queries, Sequences, hold_out
from benchmark.errors import InputError
from benchmark.evaluate.ranking import (
    NanScores,
    queries_at_once,
    rank_targets,
    rank_targets_stacked,
)
from benchmark.feature_controls import apply_feature_control
from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.spec import Protocol, RunSpec
from benchmark.train.engine import Checkpoint, Progress, SeedCurve, Trained, train
from findrec.recommender import Batch, Catalogue

TOP = 50
"""Length of the lists of best items that are kept of a query, where each user has one; several
lists of a user would be most of what is stored."""

SNAPSHOT_USERS = 400
"""Validation queries that a snapshot is taken of, at most."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one seed."""

    seed: int
    validation: Ranks | None
    test: Ranks | None
    """None of a trial, which is never ranked on test, and of a seed that failed."""
    length: IntArray
    """[U] int32: the users' full sequence lengths."""
    training_seconds: float
    evaluation_seconds: float
    inherited_seconds: float = 0.0
    """Of both, what another budget's run had spent already."""
    curve: SeedCurve | None = None
    """How training went; None of a control."""
    targets_per_step: float = 0.0
    parameters: int = 0
    """Trainable numbers of one seed's model."""
    peak_memory: int | None = None
    """Bytes."""
    execution: str = ""
    """How its training steps were run; "" of a control."""
    failure: str | None = None
    """Why there are no ranks."""
    snapshot: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)
    """"before.NAME" and "after.NAME" for every tensor NAME of the model's `snapshot`; empty where
    the protocol asks for none."""


def compute(
    spec: RunSpec,
    bundle: Bundle,
    seeds: Sequence[int],
    *,
    device: torch.device,
    watch: Callable[[Progress], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
    trunk: Checkpoint | None = None,
) -> list[Outcome]:
    """Train and rank the given seeds of a spec, one outcome a seed; a control is fitted once.

    Seeds that are fed different features (`one_by_one`) are to be given one by one. Raises
    InputError for settings or data that cannot work, torch.OutOfMemoryError where the seeds do not
    fit the device together.
    """
    sequences = split(bundle, spec.protocol)
    if one_by_one(spec) and len(seeds) > 1:
        raise ValueError(f"{spec.key}: each seed has features of its own; give one seed at a time")
    catalogue = apply_feature_control(bundle.catalogue(), spec, sequences.histories, seeds[0])
    build = builder(spec, catalogue)
    if spec.training is None:
        return _fit_control(build(), spec, catalogue, sequences, seeds)
    models = []
    if spec.protocol.snapshot:
        models = [initialised(build, seed) for seed in seeds]
    before = [take_snapshot(model, sequences.validation, "before") for model in models]
    trained = train(
        build,
        spec.training,
        sequences.train,
        sequences.validation,
        seeds,
        device=device,
        watch=watch,
        checkpoint=checkpoint,
        trunk=trunk,
    )
    outcomes = _rank(trained, spec, sequences, catalogue, device)
    for at, model in enumerate(models):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(trained.parameters[f"model.{name}"][at])
        after = take_snapshot(model, sequences.validation, "after")
        outcomes[at] = dataclasses.replace(outcomes[at], snapshot=before[at] | after)
    return outcomes


def initialised(build: Callable[[], Any], seed: int) -> Any:
    """The model as the training of a seed starts from it, on the CPU, in `eval` mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def take_snapshot(model: Any, queries: Queries, when: str) -> dict[str, npt.NDArray[Any]]:
    """Every tensor that the model's `snapshot` shows of the first `SNAPSHOT_USERS` queries, by
    "WHEN.NAME". Raises InputError for a class without such a method, ValueError where the model has
    nothing to show."""
    if not hasattr(model, "snapshot"):
        raise InputError(
            f"{type(model).__name__} has no method `snapshot`, which its protocol asks for; take "
            "`snapshot: true` out of its settings"
        )
    items = torch.as_tensor(queries.history[:SNAPSHOT_USERS])
    batch = Batch(items, torch.arange(len(items)), torch.zeros(2, dtype=torch.int64))
    return {f"{when}.{name}": shown.numpy() for name, shown in model.snapshot(batch).items()}


def split(bundle: Bundle, protocol: Protocol) -> Sequences:
    """Training windows, validation and test queries. Raises InputError where it is impossible."""
    sequences = hold_out(
        bundle,
        protocol.max_length,
        stride=protocol.stride,
        prefixes=protocol.prefixes,
        split=protocol.split,
        validation_targets=protocol.validation_targets,
        test_targets=protocol.test_targets,
        one_list=protocol.one_list,
        shuffled=protocol.order == "shuffled",
        leak=protocol.leak,
    )
    if protocol.max_users is not None:
        sequences = sequences.first_users(protocol.max_users)
    for name in ("validation",) if protocol.trial else ("validation", "test"):
        if not len(getattr(sequences, name).target):
            raise InputError(
                f"{bundle.path}: the split {protocol.split!r} leaves no {name} target to its "
                f"{len(sequences.histories.offsets) - 1} users; keep more users, or use another "
                "split"
            )
    return sequences


def load_class(path: str) -> Any:
    """The class that `module:Class` names. Raises InputError where there is none."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"cannot load class {path!r} ({error}); write it as module:Class in configs/models"
        ) from error


def builder(spec: RunSpec, catalogue: Catalogue) -> Callable[[], Any]:
    """Builds the model, or the control, that the spec names."""
    cls = load_class(spec.implementation)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.config.items()}
    if spec.protocol.control:
        return lambda: cls(**fields)
    config = cls.Config(**fields)
    return lambda: cls(config, catalogue)


def one_by_one(spec: RunSpec) -> bool:
    """Whether each seed of the spec is fed features of its own, so that no two share a stack."""
    return spec.protocol.features in ("permuted", "permuted-images")


def _rank(
    trained: Trained,
    spec: RunSpec,
    sequences: Sequences,
    catalogue: Catalogue,
    device: torch.device,
) -> list[Outcome]:
    started = time.perf_counter()
    popularity = _popularity(sequences, spec, catalogue)
    score = trained.scorer()
    seeds = len(trained.curves)
    together = queries_at_once(catalogue.items, seeds)
    validation = rank_targets_stacked(
        score, sequences.validation, top=0, lowered=True, batch_size=together, device=device
    )
    test: list[Ranks | NanScores] | list[None] = (
        [None] * seeds
        if spec.protocol.trial
        else rank_targets_stacked(
            score,
            sequences.test,
            top=_top(spec),
            popularity=popularity,
            lowered=True,
            batch_size=together,
            device=device,
        )
    )
    ranking_seconds = time.perf_counter() - started
    return [
        Outcome(
            curve.seed,
            **_ranks_or_failure(curve, validation[at], test[at]),
            length=_length_per_user(_last_ranked(sequences, spec)),
            training_seconds=trained.training_seconds / seeds,
            evaluation_seconds=(trained.evaluation_seconds + ranking_seconds) / seeds,
            inherited_seconds=trained.inherited_seconds / seeds,
            curve=curve,
            targets_per_step=trained.targets_per_step,
            parameters=trained.stack.parameters_per_seed,
            peak_memory=trained.peak_memory_bytes,
            execution=trained.execution,
        )
        for at, curve in enumerate(trained.curves)
    ]


def _popularity(sequences: Sequences, spec: RunSpec, catalogue: Catalogue) -> Ints | None:
    """[N + 1]: how often each item is trained on; None where it is not kept."""
    return sequences.histories.frequency(catalogue.items) if _one_target(spec) else None


def _ranks_or_failure(
    curve: SeedCurve, validation: Ranks | NanScores, test: Ranks | NanScores | None
) -> dict[str, Any]:
    failure = curve.failure
    for ranks in (validation, test):
        if isinstance(ranks, NanScores):
            failure = failure or str(ranks)
    if failure:
        return {"validation": None, "test": None, "failure": failure}
    return {"validation": validation, "test": test}


def _fit_control(
    control: Any,
    spec: RunSpec,
    catalogue: Catalogue,
    sequences: Sequences,
    seeds: Sequence[int],
) -> list[Outcome]:
    """A control has no seeds of its own; each asked for gets the same ranks."""
    started = time.perf_counter()
    control.fit(sequences.histories.items, sequences.histories.offsets, catalogue)
    fitting = time.perf_counter() - started

    def score(history: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(control.score(history))

    together = queries_at_once(catalogue.items)
    validation = rank_targets(score, sequences.validation, top=0, lowered=True, batch_size=together)
    test = None
    if not spec.protocol.trial:
        popularity = _popularity(sequences, spec, catalogue)
        test = rank_targets(
            score,
            sequences.test,
            top=_top(spec),
            popularity=popularity,
            lowered=True,
            batch_size=together,
        )
    length = _length_per_user(_last_ranked(sequences, spec))
    ranking = time.perf_counter() - started - fitting
    return [Outcome(seed, validation, test, length, fitting, ranking) for seed in seeds]


def _top(spec: RunSpec) -> int:
    return TOP if _one_target(spec) else 0


def _one_target(spec: RunSpec) -> bool:
    """Whether each user has one test target, so that more is kept of it than its rank."""
    return spec.protocol.split == "leave-one-out" and spec.protocol.test_targets == 1


def _last_ranked(sequences: Sequences, spec: RunSpec) -> Queries:
    """Of whose users the lengths are kept; a trial's test queries are not looked at."""
    return sequences.validation if spec.protocol.trial else sequences.test


def _length_per_user(queries: Queries) -> IntArray:
    """[U] int32"""
    first = np.flatnonzero(np.diff(queries.user, prepend=-1))
    return queries.length[first].astype(np.int32)
