"""Where figures lie, how they are written, and the split that both sides read.

Used in every environment of this folder: standard library, NumPy and torch alone.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

FIGURES = Path(__file__).resolve().parent / "figures"


@dataclass(frozen=True)
class Split:
    """This project's leave-one-out split without its test items; items are 1 .. N, users from 0.

    What is trained on is the whole history of the validation target as well.
    """

    n_items: int
    items: np.ndarray
    """Items that users are trained on, user after user, in the order of time."""
    offsets: np.ndarray
    """[U + 1]; user u's are items[offsets[u]:offsets[u + 1]]."""
    windows: np.ndarray
    """[W, L + 1], the training windows, padded with 0 at the right."""
    first_target: np.ndarray
    """[W], index of the first input of a window whose target counts."""
    target: np.ndarray
    """[U], the validation targets."""


def split_path(scratch: Path, dataset: str) -> Path:
    return scratch / f"{dataset}.npz"


def write_split(split: Split, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **asdict(split))


def read_split(scratch: Path, dataset: str) -> Split:
    path = split_path(scratch, dataset)
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run rectools_ours.py split --scratch {scratch} first")
    with np.load(path) as stored:
        fields = {name: stored[name] for name in stored.files}
    return Split(**(fields | {"n_items": int(fields["n_items"])}))


def write_json(path: Path, value: object) -> None:
    """Write `value` atomically: a kill leaves the previous file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as handle:
        json.dump(value, handle, indent=1)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.chmod(handle.name, 0o644)
    os.replace(handle.name, path)


def machine() -> dict[str, Any]:
    """What the seconds were measured on and with, allocator settings included (README.md)."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "niceness": os.nice(0),
        "malloc": {k: v for k, v in sorted(os.environ.items()) if k.startswith("MALLOC_")},
    }
