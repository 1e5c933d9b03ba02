"""One spec, whole: bundle -> sequences -> training -> ranks -> store.

The one place to read how a number comes to be.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.controls import Control
from benchmark.analyse.statistics import RULES_HASH
from benchmark.data.bundle import load_bundle
from benchmark.data.sequences import Sequences, leave_one_out
from benchmark.errors import InputError
from benchmark.evaluate.ranking import NanScores, rank_targets, rank_targets_stacked
from benchmark.runs.identity import hashes, identity
from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.schema import Curves, Environment, Hashes, RunRecord, RunResult, Timings
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.train.engine import Progress, SeedCurve, Trained, train
from findrec.ops import scan_backend
from findrec.recommender import Attribute, Catalogue, Features, Recommender

PERMUTATION_SEED = 20250803
"""Of the one permutation of items under which the control with permuted features is trained."""


def run_seeds(
    spec: RunSpec,
    seeds: Sequence[int],
    store: Store,
    *,
    data: Path | None = None,
    device: torch.device | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> list[RunRecord]:
    """Train, rank and store the given seeds of a spec; one record a seed, failed ones included.

    A trial is ranked on validation alone; its test queries are not looked at.
    data: folder of bundles. Raises InputError for settings or data that cannot work; whatever else
    goes wrong in training is stored as a failed run with its message.
    """
    device = device or torch.device("cpu")
    bundle = load_bundle(spec.dataset, root=data)
    parts = hashes(spec, bundle.meta.data_hash)
    record = _Recorder(spec, parts, device)
    sequences = leave_one_out(
        bundle,
        spec.protocol.max_length,
        stride=spec.protocol.stride,
        prefixes=spec.protocol.prefixes,
    )
    if spec.protocol.max_users is not None:
        sequences = sequences.first_users(spec.protocol.max_users)
    catalogue = apply_feature_control(bundle.catalogue(), spec)
    make = _maker(spec, catalogue)
    try:
        results = (
            _fit_control(make(), catalogue, sequences, seeds, record)
            if spec.protocol.control
            else _train(make, spec, sequences, seeds, device, store, parts, watch, record)
        )
    except InputError:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        results = [RunResult(record(seed, status="failed", message=message)) for seed in seeds]
    for result in results:
        store.write(result)
    return [result.record for result in results]


def store_failure(
    spec: RunSpec, seeds: Sequence[int], store: Store, message: str, *, data: Path | None = None
) -> None:
    """Store failed runs of seeds whose process died, so that their cells say why."""
    parts = hashes(spec, load_bundle(spec.dataset, root=data).meta.data_hash)
    record = _Recorder(spec, parts, torch.device("cpu"))
    for seed in seeds:
        store.write(RunResult(record(seed, status="failed", message=message)))


class _Recorder:
    """Fills in what all records of a spec share."""

    def __init__(self, spec: RunSpec, parts: Hashes, device: torch.device) -> None:
        self.spec, self.parts, self.device = spec, parts, device
        self.started = datetime.now(UTC)

    def __call__(self, seed: int, **fields: Any) -> RunRecord:
        return RunRecord(
            spec=self.spec,
            seed=seed,
            hashes=self.parts,
            identity=identity(self.parts, seed),
            environment=Environment.current(
                device=_device_name(self.device),
                scan_backend=scan_backend(self.device),
                threads=torch.get_num_threads(),
            ),
            started=self.started,
            rules=RULES_HASH,
            **fields,
        )


def _train(
    make: Callable[[], Recommender],
    spec: RunSpec,
    sequences: Sequences,
    seeds: Sequence[int],
    device: torch.device,
    store: Store,
    parts: Hashes,
    watch: Callable[[Progress], None],
    record: _Recorder,
) -> list[RunResult]:
    """Train the seeds as one stack; where that does not fit the device's memory, as two halves,
    which changes no result (stack invariance)."""
    assert spec.training is not None
    name = identity(parts, seeds[0])[:16] + "-" + "-".join(map(str, seeds))
    checkpoint = store.root / ".checkpoints" / f"{name}.pt"
    try:
        trained = train(
            make,
            spec.training,
            sequences.train,
            sequences.validation,
            seeds,
            device=device,
            watch=watch,
            checkpoint=checkpoint,
        )
    except torch.OutOfMemoryError:
        if len(seeds) == 1:
            raise
        checkpoint.unlink(missing_ok=True)
        trained = None
    if trained is None:  # outside of the handler, whose traceback keeps the tensors alive
        torch.cuda.empty_cache()
        half = len(seeds) // 2
        return [
            result
            for part in (seeds[:half], seeds[half:])
            for result in _train(make, spec, sequences, part, device, store, parts, watch, record)
        ]
    started = time.perf_counter()
    score = trained.scorer()
    validation = rank_targets_stacked(score, sequences.validation, top=0, device=device)
    test: list[Ranks | NanScores] | list[None] = (
        [None] * len(seeds)
        if spec.protocol.trial
        else rank_targets_stacked(score, sequences.test, device=device)
    )
    ranking = time.perf_counter() - started
    length = sequences.validation.length.astype(np.int32)
    return [
        _result(curve, trained, validation[at], test[at], length, ranking, record)
        for at, curve in enumerate(trained.curves)
    ]


def _result(
    curve: SeedCurve,
    trained: Trained,
    validation: Ranks | NanScores,
    test: Ranks | NanScores | None,
    length: IntArray,
    ranking_seconds: float,
    record: _Recorder,
) -> RunResult:
    seeds = len(trained.curves)
    fields = {
        "plateau": curve.plateau,
        "best_step": curve.best_step,
        "steps": curve.stopped_at,
        "targets_seen": round(curve.stopped_at * trained.targets_per_step),
        "parameters": trained.stack.parameters_per_seed,
        "curves": Curves(
            loss_steps=curve.steps,
            losses=curve.terms,
            validation_steps=curve.steps,
            validation=curve.validation,
        ),
        "timings": Timings(
            training=trained.training_seconds / seeds,
            evaluation=(trained.evaluation_seconds + ranking_seconds) / seeds,
        ),
        "peak_memory": trained.peak_memory_bytes,
    }
    failure = curve.failure
    for ranks in (validation, test):
        if isinstance(ranks, NanScores):
            failure = failure or str(ranks)
    if failure:
        return RunResult(record(curve.seed, status="failed", message=failure, **fields))
    assert isinstance(validation, Ranks)
    assert not isinstance(test, NanScores)
    return RunResult(record(curve.seed, status="ok", **fields), validation, test, length)


def _fit_control(
    control: Control,
    catalogue: Catalogue,
    sequences: Sequences,
    seeds: Sequence[int],
    record: _Recorder,
) -> list[RunResult]:
    """A control has no seeds of its own; each asked for gets the same ranks."""
    started = time.perf_counter()
    control.fit(sequences.validation.seen_items, sequences.validation.seen_offsets, catalogue)
    fitting = time.perf_counter() - started

    def score(history: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(control.score(history))

    validation = rank_targets(score, sequences.validation, top=0)
    test = rank_targets(score, sequences.test)
    timings = Timings(training=fitting, evaluation=time.perf_counter() - started - fitting)
    length = sequences.test.length.astype(np.int32)
    return [
        RunResult(
            record(seed, status="ok", plateau=True, timings=timings), validation, test, length
        )
        for seed in seeds
    ]


def _maker(spec: RunSpec, catalogue: Catalogue) -> Callable[[], Any]:
    """Builds the model, or the control, that the spec names."""
    module, _, name = spec.implementation.partition(":")
    cls = getattr(importlib.import_module(module), name)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.config.items()}
    if spec.protocol.control:
        return lambda: cls(**fields)
    config = cls.Config(**fields)
    return lambda: cls(config, catalogue)


def apply_feature_control(catalogue: Catalogue, spec: RunSpec) -> Catalogue:
    """The catalogue that the row is fed: its modalities, as they are, permuted or not at all."""
    use = spec.protocol.features
    if use == "none":
        return Catalogue(catalogue.items)
    fed = dataclasses.replace(
        catalogue,
        text=catalogue.text if "text" in spec.modalities else None,
        image=catalogue.image if "image" in spec.modalities else None,
    )
    if use == "real":
        return fed
    generator = torch.Generator().manual_seed(PERMUTATION_SEED)
    order = torch.cat(
        [torch.zeros(1, dtype=torch.int64), torch.randperm(fed.items, generator=generator) + 1]
    )

    def permuted(features: Features | None) -> Features | None:
        if features is None:
            return None
        layers = features.layers[order] if features.layers is not None else None
        return Features(features.values[order], features.present[order], layers)

    return Catalogue(
        fed.items,
        permuted(fed.text),
        permuted(fed.image),
        {name: Attribute(a.values[order], a.size) for name, a in fed.attributes.items()},
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
