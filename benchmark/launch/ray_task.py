"""A job as a task on a node of a Ray cluster; `benchmark/launch/ray.py` gives it out."""

import contextlib
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.data.bundle import load_bundle
from benchmark.errors import InputError, OutOfMemory
from benchmark.files import atomic_folder, locked
from benchmark.run import run_seeds
from benchmark.runs.checkpoint import Stopped
from benchmark.runs.identity import hashes
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.train.engine import Progress

_BETWEEN_WORDS = 0.5
"""Seconds between two messages of a task on its steps."""


@dataclass
class Answer:
    """What a task returns."""

    results: list[RunResult] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)
    """Name -> content of the checkpoints of a task that was told to stop."""
    no_memory: str = ""
    """Why it could not work beside others, in one line."""
    refused: str = ""
    """Why it could not work at all, in one line."""
    traceback: str = ""


def train(
    spec: str,
    seeds: tuple[int, ...],
    device: str,
    code: str,
    files: dict[str, bytes],
    data_hash: str,
    states: dict[str, bytes],
    board: Any,
    number: int,
    retry: str,
) -> Answer:
    """A task: train the seeds of a spec. files: the dataset's. code: the hash of the driver's.
    retry: as `run_seeds` takes it."""
    import ray

    wanted = RunSpec.model_validate_json(spec)
    if device == "cpu":
        torch.set_num_threads(1)
    stopping, pending, spoken = False, None, 0.0

    def tell(progress: Progress) -> None:
        nonlocal stopping, pending, spoken
        if pending is not None and ray.wait([pending], timeout=0)[0]:
            stopping = ray.get(pending)
            pending = None
        now = time.monotonic()
        if pending is None and (now - spoken >= _BETWEEN_WORDS or progress.step == progress.steps):
            spoken, pending = now, board.step.remote(number, progress.step)

    def note(line: str) -> None:
        board.note.remote(number, line)

    try:
        own = hashes(wanted, data_hash).code
        if own != code:
            node = os.uname().nodename if hasattr(os, "uname") else "a node"
            raise InputError(f"{node} has another version of the code: install the driver's there")
        with _own_store(states) as store:
            run_seeds(
                wanted,
                seeds,
                store,
                data=_placed(wanted.dataset, files, data_hash),
                device=torch.device(device),
                watch=tell,
                note=note,
                stop=lambda: stopping,
                retry=retry,
            )
            stored = [store.status(wanted.key, seed).result for seed in seeds]
            return Answer(results=[result for result in stored if result is not None])
    except Stopped as stopped:
        return Answer(states=dict(stopped.args[1]))
    except OutOfMemory as error:
        return Answer(no_memory=str(error))
    except InputError as error:
        return Answer(refused=str(error))
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return Answer(refused=message, traceback=traceback.format_exc())


@contextlib.contextmanager
def _own_store(states: dict[str, bytes]) -> Iterator[Store]:
    """A store that goes with the task. Where training is stopped, Stopped is raised with the states
    that it has saved, since the folder is gone by then."""
    with tempfile.TemporaryDirectory(prefix="findrec-task-") as scratch:
        folder = Path(scratch) / ".checkpoints"
        folder.mkdir()
        for name, data in states.items():
            (folder / name).write_bytes(data)
        try:
            yield Store(Path(scratch))
        except Stopped as stopped:
            kept = {path.name: path.read_bytes() for path in folder.glob("*.pt")}
            raise Stopped(str(stopped), kept) from None


def _placed(name: str, files: dict[str, bytes], data_hash: str) -> Path:
    """A folder of this node that holds the dataset; written by the first task that needs it, and
    verified whenever it is read."""
    owner = os.getuid() if hasattr(os, "getuid") else 0
    root = Path(tempfile.gettempdir()) / f"findrec-data-{owner}" / data_hash[:16]
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(root / ".lock"):
        with contextlib.suppress(InputError):
            if (root / name).is_dir():
                load_bundle(name, root=root)
                return root
        with atomic_folder(root / name) as folder:
            for file, data in files.items():
                (folder / file).write_bytes(data)
    return root
