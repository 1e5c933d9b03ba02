"""One run spec, whole: bundle -> split -> training -> ranks -> store.

Read this and `benchmark/core.py` to see how a number comes to be. The core turns a loaded bundle
into ranks and is what the code hash covers; here stands what surrounds it: loading, hashes,
records, memory, failures.
"""

import dataclasses
import logging
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.analyse.rules import RULES_HASH
from benchmark.core import (
    Outcome,
    builder,
    compute,
    one_by_one,
    split,
)
from benchmark.data.bundle import load_bundle
from benchmark.data.config import has_times
from benchmark.data.content import Bundle
from benchmark.errors import InputError, OutOfMemory, lacks_memory
from benchmark.feature_controls import apply_feature_control
from benchmark.preflight.contract import check_contract
from benchmark.runs.checkpoint import CheckpointFile, Owner, sweep_checkpoints
from benchmark.runs.code import code_of, digest
from benchmark.runs.identity import hashes, identity, trunk_identity
from benchmark.runs.imports import ImportWatch
from benchmark.runs.schema import Curves, Environment, Hashes, RunRecord, RunResult, Timings
from benchmark.runs.spec import RunKey, RunSpec
from benchmark.runs.store import FinishedRunKept, Store
from benchmark.train.engine import Progress
from findrec.ops import recorded_scan_backend


class UnhashedImport(ImportError):
    """A run used a module that its code hash does not cover."""


def _log(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def run_seeds(
    spec: RunSpec,
    seeds: Sequence[int],
    store: Store,
    *,
    data: Path | None = None,
    device: torch.device | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = _log,
    stop: Callable[[], bool] = lambda: False,
    retry: str = "",
) -> list[RunRecord]:
    """Train, rank and store the given seeds of a spec; one record a seed, failed ones included.

    Seeds that do not fit the memory at once are trained in halves, which `note` and the records
    say. Where one seed alone does not fit, or the dataset, OutOfMemory is raised and nothing
    stored, so that a launcher can try again when nothing else runs. It then says so in `retry`,
    which the records keep, and a seed that does not fit is a failed run like any other.

    A trial is ranked on validation alone; its test queries are not looked at.
    data: folder of bundles. note: is given a line on whatever is worth one, such as a checkpoint
    that could not be used. stop: asked after every step whether training is to end; then its state
    is saved and Stopped (benchmark/runs/checkpoint.py) raised. Raises InputError for settings or
    data that cannot work; whatever else goes wrong in training is stored as a failed run with its
    message and traceback. A finished run is never replaced by a failed one.
    """
    device = device or torch.device("cpu")
    if spec.protocol.split == "global-time" and not has_times(spec.dataset):
        raise InputError(
            f"{spec.key}: no moment divides the users of {spec.dataset!r}, whose timestamps only "
            "number each user's interactions; choose a dataset with times"
        )
    try:
        bundle = load_bundle(spec.dataset, root=data)
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise OutOfMemory(_failure(error)["message"]) from error
    parts = hashes(spec, bundle.meta.data_hash)
    started = datetime.now(UTC)
    checkpoints = _Checkpoints(spec, parts, store, note, stop)
    checkpoints.sweep(seeds)
    try:
        outcomes = _watched(spec, bundle, seeds, checkpoints, parts, device, watch)
    except InputError:
        raise
    except Exception as error:
        failure = _failure(error)
        if lacks_memory(error) and not retry:
            raise OutOfMemory(failure["message"]) from error
        results = [_failed(spec, seed, parts, device, started, failure) for seed in seeds]
    else:
        results = [_result(spec, outcome, parts, device, started, retry) for outcome in outcomes]
    for result in results:
        _write(result, store, note)
    return [result.record for result in results]


def store_failure(
    spec: RunSpec,
    seeds: Sequence[int],
    store: Store,
    message: str,
    *,
    data: Path | None = None,
    note: Callable[[str], None] = _log,
) -> None:
    """Store failed runs of seeds whose process died, so that their cells say why."""
    parts = hashes(spec, load_bundle(spec.dataset, root=data).meta.data_hash)
    cpu, now = torch.device("cpu"), datetime.now(UTC)
    for seed in seeds:
        _write(_failed(spec, seed, parts, cpu, now, {"message": message}), store, note)


def _write(result: RunResult, store: Store, note: Callable[[str], None]) -> None:
    try:
        store.write(result)
    except FinishedRunKept as kept:
        note(str(kept))


class _Checkpoints:
    """Where a spec's runs keep their states while they are trained."""

    def __init__(
        self,
        spec: RunSpec,
        parts: Hashes,
        store: Store,
        note: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.spec, self.parts, self.store, self.note, self.stop = spec, parts, store, note, stop
        self.folder = store.root / ".checkpoints"

    def of(self, seeds: Sequence[int]) -> CheckpointFile:
        """Of seeds that are trained together."""
        owner = self._owner(seeds)
        name = digest(owner.identities.values())[:16]
        return CheckpointFile(self.folder / f"{name}.pt", owner, note=self.note, stop=self.stop)

    def trunk(self, seeds: Sequence[int]) -> CheckpointFile | None:
        """What a trial's seeds share with trials of other budgets, if they share anything."""
        names = [trunk_identity(self.parts, seed) for seed in seeds]
        shared = [name for name in names if name is not None]
        if not shared:
            return None
        owner = Owner(None, dict(zip(seeds, shared, strict=True)))
        path = self.folder / f"trunk-{digest(shared)[:16]}.pt"
        return CheckpointFile(path, owner, note=self.note)

    def sweep(self, seeds: Sequence[int]) -> None:
        """Delete those that nobody will go on from."""
        sweep_checkpoints(self.folder, self._owner(seeds), self._finished)

    def _owner(self, seeds: Sequence[int]) -> Owner:
        return Owner(self.spec.key, {seed: identity(self.parts, seed) for seed in seeds})

    def _finished(self, key: RunKey, seed: int) -> str | None:
        stored = self.store.status(key, seed)
        if stored.status != "complete" or stored.record is None:
            return None
        return stored.record.identity


def _watched(
    spec: RunSpec,
    bundle: Bundle,
    seeds: Sequence[int],
    checkpoints: _Checkpoints,
    parts: Hashes,
    device: torch.device,
    watch: Callable[[Progress], None],
) -> list[Outcome]:
    """The outcomes, if no module had a part in them that the code hash does not cover."""
    with ImportWatch(code_of(spec.implementation)) as imports:
        _preflight(spec, bundle, seeds[0], parts)
        outcomes = _in_memory(spec, bundle, seeds, checkpoints, device, watch, len(seeds))
        missing = imports.missing()
    if missing:
        raise UnhashedImport(
            f"{'; '.join(missing)}: the code hash does not cover it, so that a change of it would "
            "go unnoticed; import it by an import statement that names it"
        )
    return outcomes


_PASSED: set[tuple[str, str, str]] = set()
"""Hashes of what this process has checked; the seeds of a spec need it once."""


def _preflight(spec: RunSpec, bundle: Bundle, seed: int, parts: Hashes) -> None:
    """Raises ContractBroken, before the first step, for a model that breaks the contract."""
    checked = (parts.config, parts.code, parts.data)
    if spec.training is None or checked in _PASSED:
        return
    sequences = split(bundle, spec.protocol)
    fed = apply_feature_control(bundle.catalogue(), spec, sequences.histories, seed)
    build = builder(spec, fed)
    check_contract(spec.model, build, sequences.train, fed)
    _PASSED.add(checked)


def _in_memory(
    spec: RunSpec,
    bundle: Bundle,
    seeds: Sequence[int],
    checkpoints: _Checkpoints,
    device: torch.device,
    watch: Callable[[Progress], None],
    asked: int,
) -> list[Outcome]:
    """Train the seeds as one stack; where that does not fit the memory, as two halves, which
    changes no result (stack invariance). asked: how many seeds were to be trained at once."""
    if one_by_one(spec) and len(seeds) > 1:
        each = [_in_memory(spec, bundle, [s], checkpoints, device, watch, 1) for s in seeds]
        return [outcome for part in each for outcome in part]
    checkpoint = checkpoints.of(seeds)
    try:
        outcomes = compute(
            spec,
            bundle,
            seeds,
            device=device,
            watch=watch,
            checkpoint=checkpoint,
            trunk=checkpoints.trunk(seeds),
        )
    except Exception as error:
        if len(seeds) == 1 or not lacks_memory(error):
            raise
        checkpoint.remove()
    else:
        if len(seeds) == asked:
            return outcomes
        smaller = f"{len(seeds)} of {asked} seeds at once, for want of memory"
        return [dataclasses.replace(o, execution=_also(o.execution, smaller)) for o in outcomes]
    checkpoints.note(f"{len(seeds)} seeds at once do not fit the memory; half of them at a time")
    # outside of the handler, whose traceback keeps the tensors alive
    torch.cuda.empty_cache()
    half = len(seeds) // 2
    return [
        outcome
        for part in (seeds[:half], seeds[half:])
        for outcome in _in_memory(spec, bundle, part, checkpoints, device, watch, asked)
    ]


def _also(execution: str, more: str) -> str:
    """Both, of which either may be empty."""
    return "; ".join(filter(None, (execution, more)))


def _result(
    spec: RunSpec,
    outcome: Outcome,
    parts: Hashes,
    device: torch.device,
    started: datetime,
    retry: str,
) -> RunResult:
    made = _record(spec, outcome.seed, parts, device, started)
    execution = _also(outcome.execution, retry)
    environment = made.environment.model_copy(update={"execution": execution})
    record = made.model_copy(
        update={
            "environment": environment,
            "status": "failed" if outcome.failure else "ok",
            "message": outcome.failure or "",
            "parameters": outcome.parameters,
            "peak_memory": outcome.peak_memory,
            "timings": Timings(
                training=outcome.training_seconds,
                evaluation=outcome.evaluation_seconds,
                inherited=outcome.inherited_seconds,
            ),
        }
        | _course(outcome)
    )
    if outcome.failure:
        return RunResult(record)
    artefacts = {"snapshot": outcome.snapshot} if outcome.snapshot else {}
    return RunResult(record, outcome.validation, outcome.test, outcome.length, artefacts)


def _course(outcome: Outcome) -> dict[str, object]:
    """Fields of the record that say how training went."""
    curve = outcome.curve
    if curve is None:
        return {}
    steps = curve.steps[-1] if curve.steps else 0
    return {
        "steps": steps,
        "targets_seen": round(steps * outcome.targets_per_step),
        "curves": Curves(
            loss_steps=curve.steps,
            losses=curve.terms,
            validation_steps=curve.steps,
            validation=curve.validation,
            validation_left_out=curve.validation_left_out,
        ),
    }


def _failed(
    spec: RunSpec,
    seed: int,
    parts: Hashes,
    device: torch.device,
    started: datetime,
    failure: dict[str, str],
) -> RunResult:
    """failure: `message` and, of an exception, `traceback`."""
    record = _record(spec, seed, parts, device, started)
    return RunResult(record.model_copy(update={"status": "failed"} | failure))


def _failure(error: Exception) -> dict[str, str]:
    """The fields of a record that say what went wrong; the message is one line."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return {"message": message, "traceback": "".join(traceback.format_exception(error))}


def _record(
    spec: RunSpec, seed: int, parts: Hashes, device: torch.device, started: datetime
) -> RunRecord:
    """What all records of a run have."""
    return RunRecord(
        spec=spec,
        seed=seed,
        hashes=parts.model_copy(update={"spec": None}),
        identity=identity(parts, seed),
        status="ok",
        environment=Environment.current(
            device=_device_name(device),
            scan_backend=recorded_scan_backend(device),
            threads=torch.get_num_threads(),
        ),
        started=started,
        rules=RULES_HASH,
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
