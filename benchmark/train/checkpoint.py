"""The state of a training run on disk, so that a killed run goes on where it was."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import InputError

SECONDS_BETWEEN = 30.0
"""A checkpoint is written at an evaluation when the last one is at least this old."""


def is_due(path: Path, *, every: float = SECONDS_BETWEEN) -> bool:
    """Whether there is no checkpoint yet, or one that is at least `every` seconds old."""
    return not path.exists() or time.time() - path.stat().st_mtime >= every


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state atomically. Raises InputError where the folder is read-only or full."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file of our own: torch's writer answers a full disk with an error of its own kind
        with temporary.open("wb") as file:
            torch.save(state, file)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot write the checkpoint {path}: {error.strerror}; free space or choose another "
            "folder for runs"
        ) from error


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state that was saved; None where there is none or where the file is damaged."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # the reader raises whatever the damage leads it to
        path.unlink()
        return None
    return state
