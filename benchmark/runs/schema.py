"""What is kept of a run: its spec, its ranks, and the record of how it came to be.

Plain data without torch, so that tables render from stored runs alone. Written by
`benchmark/evaluate/ranking.py` and `benchmark/run.py`, kept on disk by `benchmark/runs/store.py`.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import metadata
from typing import Any, Literal

import numpy.typing as npt
from pydantic import Field

from benchmark.runs.ranks import IntArray, Ranks
from benchmark.runs.spec import Frozen, RunSpec

SCHEMA_VERSION = 7
"""Raised by any change after which an older reader would misunderstand a record."""

Artefacts = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""Name of an artefact -> name of an array -> the array."""

RECORDED_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "numba",
    "pandas",
    "triton",
    "mamba-ssm",
    "causal-conv1d",
    "transformers",
)


class Hashes(Frozen):
    """What a run depends on besides its seed (see `benchmark/runs/identity.py`)."""

    config: str
    code: str
    data: str
    files: dict[str, str] = Field(default_factory=dict)
    """Path -> hash of every file that `code` is over, so that a stale run can name what changed."""
    spec: RunSpec | None = Field(None, exclude=True, repr=False)
    """What `config` is over, where the hashes are of a run that would be made now; a record has it
    beside them."""

    def differing(self, other: "Hashes") -> tuple[str, ...]:
        """Names of the parts in which two differ: why a stored run is stale."""
        return tuple(
            part
            for part in ("config", "code", "data")
            if getattr(self, part) != getattr(other, part)
        )


class Environment(Frozen):
    """Where a run was made."""

    python: str
    platform: str
    device: str
    """"cpu" or the accelerator's name."""
    scan_backend: str
    threads: int
    packages: dict[str, str]
    execution: str = ""
    """How training steps were run: "op by op", "CUDA graph", or why it was not the latter; where
    memory ran out, also how many seeds were trained at once, or why the job was tried again. Else
    "" of a control, and where it was not recorded."""

    @classmethod
    def current(cls, *, device: str, scan_backend: str, threads: int) -> "Environment":
        """This process, with the versions of the packages that can change a number."""
        return cls(
            python=platform.python_version(),
            platform=f"{platform.system()}-{platform.machine()}",
            device=device,
            scan_backend=scan_backend,
            threads=threads,
            packages=_package_versions(),
        )


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


class Curves(Frozen):
    """Training as it went, at the steps that were logged."""

    loss_steps: list[int] = Field(default_factory=list)
    losses: dict[str, list[float]] = Field(default_factory=dict)
    """Name of a term -> its value at each of `loss_steps`."""
    validation_steps: list[int] = Field(default_factory=list)
    validation: list[float] = Field(default_factory=list)
    """NDCG@10 at each of `validation_steps`, full ranking, history kept."""
    validation_left_out: list[float] = Field(default_factory=list)
    """The same, history left out."""


class Timings(Frozen):
    """Seconds. A stack's time is shared evenly by its seeds."""

    training: float = 0.0
    evaluation: float = 0.0
    inherited: float = 0.0
    """Of both, what was taken over from the run of a shorter budget, which has it too."""


class RunRecord(Frozen):
    """How one run came to be and how it ended; stored as JSON beside the ranks."""

    schema_version: int = SCHEMA_VERSION
    spec: RunSpec
    seed: int
    hashes: Hashes
    identity: str
    """Hash of the hashes and the seed: `benchmark.runs.identity.identity`."""
    status: Literal["ok", "failed"]
    message: str = ""
    """Why a run failed, in one line; empty for one that did not."""
    traceback: str = ""
    """Of the exception that made a run fail, if one did."""
    steps: int = 0
    targets_seen: int = 0
    parameters: int = 0
    """Trainable numbers of one seed's model."""
    curves: Curves = Curves()
    timings: Timings = Timings()
    peak_memory: int | None = None
    """Bytes, of the whole process or device; None where it was not measured."""
    environment: Environment
    started: datetime
    rules: str = ""
    """Hash of the statistical rules in force when the run was made."""
    arrays_sha256: str | None = None
    """SHA-256 of the npz beside the record; set by the store, None for a failed run."""
    split_sha256: str | None = None
    """SHA-256 of the table of the split that the npz leans on (`benchmark/runs/split_table.py`);
    set by the store, None where the npz stands alone."""
    artefacts_sha256: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every artefact's npz, by the artefact's name; set by the store."""
    sha256: str = ""
    """SHA-256 of the record's other fields; set by the store."""


@dataclass(frozen=True)
class RunResult:
    """One seed's outcome. A failed run has a record alone, a trial no ranks of the test split."""

    record: RunRecord
    validation: Ranks | None = None
    test: Ranks | None = None
    length: IntArray | None = None
    """[U] int32: the user's full sequence length after filtering, so that length buckets need no
    bundle."""
    artefacts: Artefacts = field(default_factory=dict)
    """What is kept beside the ranks: the "snapshot" of a run whose protocol asks for one."""

    def __post_init__(self) -> None:
        trial = self.record.spec.protocol.trial
        if trial and self.test is not None:
            raise ValueError("a trial has no ranks of the test split: settings are chosen with it")
        needed = (self.validation, self.length, *(() if trial else (self.test,)))
        if self.record.status == "ok" and any(part is None for part in needed):
            raise ValueError(
                "a finished run needs the ranks of both splits (a trial, of validation) and the "
                "users' lengths"
            )
        snapshot = self.record.spec.protocol.snapshot
        if self.record.status == "ok" and snapshot and "snapshot" not in self.artefacts:
            raise ValueError("the protocol asks for a snapshot, and the finished run has none")
        if self.record.status == "failed" and not self.record.message:
            raise ValueError("a failed run needs a message that says why")

    def without_top(self) -> "RunResult":
        """The same run without its top lists."""
        validation, test = (
            None if ranks is None else replace(ranks, top=None, top_masked=None)
            for ranks in (self.validation, self.test)
        )
        return replace(self, validation=validation, test=test)
