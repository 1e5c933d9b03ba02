"""The state of a training run on disk, so that a killed run goes on where it was.

A file is one line of ASCII (its format and the SHA-256 of all that follows), one line of JSON (the
run it is of), and the state as torch writes it. A state is loaded only if the checksum holds and
the run is the one that asks: a flipped bit would otherwise go on as a slightly different model.
"""

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from benchmark.errors import lacks_memory
from benchmark.files import atomic_file, sweep, writing
from benchmark.runs.spec import RunKey

SECONDS_BETWEEN = 30.0
"""A checkpoint is written after a step when the last one is at least this old."""

SET_ASIDE = ".unusable"
"""What is added to the name of a checkpoint that could not be used."""

DAYS_KEPT = 7
"""Checkpoints that could not be used, and trunks of trials, are deleted when they are so old."""

_FORMAT = "findrec-checkpoint-1"
_FIRST_LINE = len(_FORMAT) + 1 + 64 + 1
_LONGEST_LINE = 1 << 20


class Stopped(BaseException):
    """Training ended because it was asked to, its state saved. Not an Exception, which would be
    stored as a failed run."""


class Unusable(Exception):
    """Why a checkpoint cannot be used."""


@dataclass(frozen=True)
class Owner:
    """Which run a checkpoint is of."""

    key: RunKey | None = None
    identities: Mapping[int, str] = field(default_factory=dict)
    """Seed -> the run's identity (benchmark/runs/identity.py), of all seeds that are trained
    together."""

    def line(self) -> bytes:
        """One line of JSON."""
        fields = {"key": self.key, "seeds": list(self.identities.items())}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Owner":
        """What `line` wrote. Raises ValueError, TypeError, KeyError or IndexError for others."""
        fields = json.loads(line)
        key = None if fields["key"] is None else RunKey(*fields["key"])
        return cls(key, {int(seed): str(identity) for seed, identity in fields["seeds"]})


def _log(message: str) -> None:
    logging.getLogger(__name__).warning(message)


class CheckpointFile:
    """One file; what `benchmark/train/engine.py` asks of a checkpoint."""

    def __init__(
        self,
        path: Path,
        owner: Owner | None = None,
        *,
        every: float = SECONDS_BETWEEN,
        note: Callable[[str], None] = _log,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """owner: the run that it is of. note: is given a line on a file that cannot be used. stop:
        whether training is to end now, with its state saved."""
        self.path, self.owner, self.every, self.note = path, owner or Owner(), every, note
        self.stop = stop
        self._begun = time.monotonic()
        self._last: float | None = None

    def is_due(self, *, evaluated: bool = True) -> bool:
        """Whether nothing was saved or loaded in the last `every` seconds, by a clock that nobody
        sets, or whether training is to end. The first is due at the first evaluation, or `every`
        seconds after the beginning.

        evaluated: whether the step that has just been made was followed by an evaluation.
        """
        if self._last is None and evaluated:
            return True
        since = self._begun if self._last is None else self._last
        return self.stop() or time.monotonic() - since >= self.every

    def save(self, state: dict[str, Any]) -> None:
        """Write the state atomically and wait until it is on the disk. Raises InputError where the
        folder is read-only or full; Stopped, once the state is safe, where training is to end."""
        # a file of our own: torch's writer answers a full disk with an error of its own kind
        with atomic_file(self.path) as temporary, temporary.open("wb") as file:
            file.write(_first_line("0" * 64))
            hashing = _Hashing(file)
            hashing.write(self.owner.line())
            torch.save(state, cast(BinaryIO, hashing))
            file.seek(0)
            file.write(_first_line(hashing.sha256.hexdigest()))
        self._last = time.monotonic()
        if self.stop():
            raise Stopped(f"{self.path}: the state is saved")

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was saved; None where there is none. A file that cannot be used is set
        aside under another name and named in a note, and None is given. Raises InputError where it
        cannot be set aside."""
        try:
            state = _state(self.path, self.owner, device)
        except FileNotFoundError:
            return None
        except Unusable as reason:
            aside = self.path.with_name(self.path.name + SET_ASIDE)
            with writing(self.path.parent):
                self.path.replace(aside)
            self.note(f"{aside}: a checkpoint that {reason}; training starts anew")
            return None
        self._last = time.monotonic()
        return state

    def peek(self, device: torch.device) -> dict[str, Any]:
        """The state, for a look at it. Raises Unusable where the file cannot be used, and
        FileNotFoundError."""
        return _state(self.path, self.owner, device)

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


class _Hashing:
    """A file whose written bytes are also hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _first_line(digest: str) -> bytes:
    return f"{_FORMAT} {digest}\n".encode()


def _state(path: Path, owner: Owner, device: torch.device) -> dict[str, Any]:
    """The state in a file. Raises FileNotFoundError, Unusable, and what tells of memory that
    runs out (`lacks_memory`)."""
    try:
        with path.open("rb") as file:
            first, rest = file.read(_FIRST_LINE), file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror})") from error
    if first != _first_line(hashlib.sha256(rest).hexdigest()):
        raise Unusable("is damaged or of another version (its SHA-256 differs)")
    body = io.BytesIO(rest)
    if body.readline() != owner.line():
        raise Unusable("is of another run")
    try:
        # torch reads a zip archive from the beginning of its file
        state: dict[str, Any] = torch.load(
            io.BytesIO(rest[body.tell() :]), map_location=device, weights_only=True
        )
    except Exception as error:  # the reader raises whatever another version's file leads it to
        if lacks_memory(error):
            raise
        raise Unusable(f"this version of torch cannot read ({type(error).__name__})") from error
    return state


def sweep_checkpoints(
    folder: Path, ours: Owner, finished: Callable[[RunKey, int], str | None]
) -> None:
    """Delete what nobody will go on from.

    That is: checkpoints of runs that are finished, those of the same runs as `ours` that were made
    with other settings, code or data, temporary files of processes that were killed, and, after
    days, what could not be used and what trials of several budgets shared. finished: key, seed ->
    identity of the finished run that is stored; None where there is none.
    """
    if not folder.is_dir():
        return
    sweep(folder)
    for path in folder.iterdir():
        if path.name.endswith(SET_ASIDE) or path.name.startswith("trunk-"):
            if time.time() - _modified(path) > DAYS_KEPT * 86_400:
                path.unlink(missing_ok=True)
        elif (owner := read_owner(path)) is not None and owner.key is not None and owner.identities:
            done = all(finished(owner.key, s) == i for s, i in owner.identities.items())
            stale = owner.key == ours.key and any(
                ours.identities.get(s, i) != i for s, i in owner.identities.items()
            )
            if done or stale:
                path.unlink(missing_ok=True)


def begun_files(folder: Path, key: RunKey) -> list[Path]:
    """The checkpoints of a row, unverified."""
    owners = {path: read_owner(path) for path in folder.glob("*.pt")}
    return [path for path, owner in owners.items() if owner is not None and owner.key == key]


def begun(folder: Path) -> list[tuple[RunKey, frozenset[int]]]:
    """Row and seeds of every checkpoint in a folder, unverified: it may be stale."""
    owners = [read_owner(path) for path in folder.glob("*.pt")]
    return [(o.key, frozenset(o.identities)) for o in owners if o is not None and o.key is not None]


def read_owner(path: Path) -> Owner | None:
    """Which run a file is of, unverified; None where it does not say."""
    try:
        with path.open("rb") as file:
            first, second = file.read(_FIRST_LINE), file.readline(_LONGEST_LINE)
        return Owner.of(second) if first.startswith(_FORMAT.encode()) else None
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def _modified(path: Path) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return time.time()
