"""Parts of a check on borrowed time: the most important first, each kept as soon as it is done.

What is done lies in one JSON file a device and code, so that a check that was cut off goes on where
it was, on another day or another machine of the same kind.
"""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import InputError
from benchmark.files import write_bytes

Result = dict[str, Any]
"""What a part found: numbers, words, lists and dictionaries of them, as JSON has them."""


@dataclass
class Clock:
    """A budget of seconds that begins now."""

    budget: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        return self.budget - (time.perf_counter() - self.started)


@dataclass(frozen=True)
class Setting:
    """What every part is given."""

    device: torch.device
    clock: Clock
    small: bool
    """Tiny widths and two seeds for ten, so that all parts run on a CPU in a minute or two."""

    @property
    def seeds(self) -> int:
        """How many seeds stand for the paper's ten."""
        return 2 if self.small else 10

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Part:
    """One question and its answer."""

    name: str
    seconds: float
    """About how long it takes on a GPU; it is begun only where so much time is left."""
    run: Callable[[Setting], Result]


@dataclass(frozen=True)
class Report:
    """The parts that are done on one device with one code; a file of its own."""

    path: Path
    about: Result
    """Device, code and packages; what differs from the file's begins a new report."""
    parts: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def at(cls, path: Path, about: Result) -> "Report":
        """What is kept at a path, if it is of this device and code. Raises InputError for a file
        that is no report."""
        if not path.exists():
            return cls(path, about)
        try:
            kept = json.loads(path.read_text("utf-8"))
            same, parts = kept["about"] == about, dict(kept["parts"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no report of gpu-check; delete or move it") from error
        return cls(path, about, parts if same else {})

    def keep(self, part: str, result: Result) -> None:
        """Add a part and write the file; what was there stays if that is cut off."""
        self.parts[part] = result
        held = {"about": self.about, "parts": self.parts}
        write_bytes(self.path, json.dumps(held, indent=1).encode())


def run_parts(
    parts: Sequence[Part],
    report: Report,
    setting: Setting,
    *,
    say: Callable[[str], None],
    after: Callable[[Report], None] = lambda _: None,
) -> list[str]:
    """Run what is not in the report yet, in order, while the time lasts; the names of the parts
    that were left out for lack of it.

    A part that fails is kept as failed and tried again by the next call. say: is given a line a
    part; after: is called with the report after every part.
    """
    left_out = []
    for part in parts:
        if "error" not in report.parts.get(part.name, {"error": ""}):
            continue
        if setting.clock.left < part.seconds:
            left_out.append(part.name)
            continue
        started = time.perf_counter()
        try:
            result = part.run(setting)
            setting.wait()
        except Exception as error:
            trace = "".join(traceback.format_exception(error))[-4_000:]
            result = {"error": f"{type(error).__name__}: {error}", "traceback": trace}
        result["seconds"] = round(time.perf_counter() - started, 2)
        report.keep(part.name, result)
        after(report)
        outcome = result.get("error", "" if result.get("ok", True) else "NOT AS IT SHOULD BE")
        say(f"{part.name} ({result['seconds']:.1f} s){': ' + outcome if outcome else ''}")
    return left_out
