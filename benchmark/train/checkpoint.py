"""A training run on disk, so that a killed run goes on where it was.

Data order and randomness are functions of seed and step, so parameters, optimiser moments and the
curves are all there is to keep; a continued run equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmark.errors import InputError

if TYPE_CHECKING:
    from benchmark.train.engine import TrainingRun

SECONDS_BETWEEN = 30.0
"""A checkpoint is written at an evaluation when the last one is at least this old."""


def save_checkpoint(path: Path, run: TrainingRun, *, every: float = SECONDS_BETWEEN) -> None:
    """Write the run's state, atomically, unless the last checkpoint is younger than `every` s."""
    if path.exists() and time.time() - path.stat().st_mtime < every:
        return
    state = {
        "step": run.step,
        "alive": run.alive,
        "parameters": {k: v.detach() for k, v in run.stack.parameters.items()},
        "moments": {k: dict(run.optimizer.state[p]) for k, p in run.stack.parameters.items()},
        "best": run.best,
        "curves": [asdict(curve) for curve in run.curves],
        "seconds": run.seconds,
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot write the checkpoint {path}: {error.strerror}; free space or choose another "
            "folder for runs"
        ) from error


def load_checkpoint(path: Path, run: TrainingRun) -> None:
    """Put the run where the checkpoint left it; a missing or damaged file starts it afresh."""
    from benchmark.train.engine import SeedCurve

    if not path.exists():
        return
    try:
        state = torch.load(path, map_location=run.device, weights_only=True)
    except Exception:  # the reader raises whatever the damage leads it to
        path.unlink()
        return
    run.step, run.alive, run.best = state["step"], state["alive"], state["best"]
    run.curves = [SeedCurve(**curve) for curve in state["curves"]]
    run.seconds = state["seconds"]
    run.stack.parameters = {k: v.requires_grad_() for k, v in state["parameters"].items()}
    run.optimizer = run.make_optimizer()
    for name, p in run.stack.parameters.items():
        run.optimizer.state[p] = state["moments"][name]
