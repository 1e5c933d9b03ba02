"""The state of a training run on disk, so that a killed run goes on where it was."""

import time
from pathlib import Path
from typing import Any

import torch

from benchmark.files import atomic_file

SECONDS_BETWEEN = 30.0
"""A checkpoint is written at an evaluation when the last one is at least this old."""


class CheckpointFile:
    """One file; what `benchmark/train/engine.py` asks of a checkpoint."""

    def __init__(self, path: Path, *, every: float = SECONDS_BETWEEN) -> None:
        self.path, self.every = path, every

    def is_due(self) -> bool:
        """Whether there is no checkpoint yet, or one that is at least `every` seconds old."""
        return not self.path.exists() or time.time() - self.path.stat().st_mtime >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Write the state atomically. Raises InputError where the folder is read-only or full."""
        # a file of our own: torch's writer answers a full disk with an error of its own kind
        with atomic_file(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was saved; None where there is none or where the file is damaged."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except Exception:  # the reader raises whatever the damage leads it to
            self.path.unlink()
            return None
        return state

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)
