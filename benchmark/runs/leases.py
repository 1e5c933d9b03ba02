"""Claims on units of work, so that several commands can share one store, on one machine or many.

A claim is a small file, a lease, in a folder that all of them see. Nobody coordinates, and the file
system needs no locks:

* A lease is made by `O_EXCL`: of all that try at once, one makes the file. Local file systems
  promise it, and NFS does since version 3.
* Its holder touches it every `BEAT` seconds. A lease that was not touched for `EXPIRES_AFTER`
  seconds is nobody's, and one whose process is known to be dead (same machine, boot and process
  namespace) at once.
* Its age is the difference of two times that the file system wrote: the lease's own, and that of a
  file touched just now. The clocks of the hosts may differ as they like. Files are opened before
  their times are read, because an NFS client asks the server again when a file is opened.
* An expired lease of generation n is taken over by making generation n + 1, again by `O_EXCL`. The
  maker then looks once more: where another live lease, or a higher generation, has come about in
  between, it gives way. Of two that overlap, the one made later sees the earlier, so that never
  both hold the unit; at worst neither does, until the next try.

A holder that was stopped for longer than `EXPIRES_AFTER` and goes on may do work that another has
taken over. That costs time and spoils nothing: results are put in place whole, and by identity.
"""

import contextlib
import json
import os
import platform
import re
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.files import writing

EXPIRES_AFTER = 150.0
"""Seconds without a touch, by the file system's clock, after which a lease is nobody's."""

BEAT = 25.0
"""Seconds between two touches."""


@dataclass(frozen=True)
class Holder:
    """Who made a lease; empty where the file does not say, as while it is being written."""

    host: str = ""
    space: str = ""
    """Boot and process namespace: within one, a process's number says whether it lives."""
    process: int = 0
    started: str = ""
    """When the process started, as the system counts, since numbers are used again."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" if self.host else "another command"

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be; of other machines nothing is known."""
        if not self.space or self.space != _space() or self.host != platform.node():
            return False
        return _started(self.process) != self.started


def this_process() -> Holder:
    """This process as a holder."""
    process = os.getpid()
    return Holder(platform.node(), _space(), process, _started(process))


class Leases:
    """What this command has claimed in a folder; a context manager that lets go of everything.

    expires_after, beat: seconds, as the module's constants, which tests shorten.
    """

    def __init__(
        self, folder: Path, *, expires_after: float = EXPIRES_AFTER, beat: float = BEAT
    ) -> None:
        self.folder, self.expires_after, self.beat = folder, expires_after, beat
        self._clock = folder.parent / ".lock"
        self._held: dict[str, Path] = {}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._touch_now_and_then, daemon=True)

    def __enter__(self) -> "Leases":
        """Raises InputError where the folder cannot be written."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for unit in list(self._held):
            self.release(unit)
        with contextlib.suppress(OSError):  # others hold leases in it
            self.folder.rmdir()

    def take(self, unit: str) -> bool:
        """Whether the unit is now this command's; False while another holds it.

        unit: its name, of letters, digits and ".-_=". Raises InputError where the folder cannot be
        written.
        """
        there = self._leases(unit)
        if self.is_held(unit):
            return False
        generation = max(there, default=-1) + 1
        own = self.folder / f"{unit}.{generation}"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(file, "w", encoding="utf-8") as handle:
                json.dump(vars(this_process()), handle)
        others = {g: path for g, path in self._leases(unit).items() if g != generation}
        if any(g > generation or self._lives(path) for g, path in others.items()):
            own.unlink(missing_ok=True)
            return False
        for path in others.values():
            path.unlink(missing_ok=True)
        with self._guard:
            self._held[unit] = own
        return True

    def release(self, unit: str) -> None:
        """Let go of a unit; nothing where it is not held."""
        with self._guard:
            path = self._held.pop(unit, None)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def is_held(self, unit: str) -> bool:
        """Whether anyone holds the unit now."""
        return any(self._lives(path) for path in self._leases(unit).values())

    def holder(self, unit: str) -> Holder:
        """Who holds a unit that `take` has refused."""
        there = self._leases(unit)
        return _holder(there[max(there)]) if there else Holder()

    def _leases(self, unit: str) -> dict[int, Path]:
        """Generation -> file, of all leases on a unit."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                name, _, generation = entry.name.rpartition(".")
                if name == unit and generation.isdecimal():
                    found[int(generation)] = Path(entry.path)
        return found

    def _lives(self, path: Path) -> bool:
        """Whether the lease binds; one that is gone does not."""
        try:
            with path.open("rb") as handle:
                touched = os.fstat(handle.fileno()).st_mtime
        except FileNotFoundError:
            return False
        if _holder(path).is_dead:
            return False
        # a time ahead of now was written before the clock was set back, or has just been touched
        return abs(self._now() - touched) <= self.expires_after

    def _now(self) -> float:
        """The file system's time: what it writes for a file that is touched now."""
        with writing(self._clock.parent), self._clock.open("ab") as handle:
            os.utime(self._clock)
            return os.fstat(handle.fileno()).st_mtime

    def _touch_now_and_then(self) -> None:
        while not self._ended.wait(self.beat):
            with self._guard:
                held = list(self._held.values())
            for path in held:
                # a lease that is gone was taken over: the work goes on, for its result is whole
                with contextlib.suppress(OSError):
                    os.utime(path)

    def _sweep(self) -> None:
        """Delete leases that bind no more, each under a lease of its own on the unit, so that none
        that has just been taken over goes with them."""
        for name in {match[1] for p in self.folder.iterdir() if (match := _NAME.fullmatch(p.name))}:
            if self.take(name):
                self.release(name)


_NAME = re.compile(r"(.+)\.\d+")


def _holder(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Holder()


@cache
def _space() -> str:
    """Names the boot and the process namespace, so that containers of one host are told apart; ""
    where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process of this machine started; "" for one that does not live."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
