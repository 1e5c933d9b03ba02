"""What is kept of a run: its spec, its ranks, and the record of how it came to be.

Plain data without torch, so that tables render from stored runs alone. Written by
`benchmark/evaluate/ranks.py` and `benchmark/run.py`, kept on disk by `benchmark/runs/store.py`.

Glossary
    U   users of a split, one held-out target each (leave-one-out)
    N   items in the catalogue
    K   length of a stored top list
"""

import os
import platform
import re
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import InputError

SCHEMA_VERSION = 1
"""Raised by any change after which an older reader would misunderstand a record."""

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

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Ranks:
    """Where each user's target stands among all items: everything that a rank metric needs.

    The target's score is compared with every other item's. With ties the target's position is
    uniform on above + 1 ... above + equal + 1; metrics take the expectation over it.
    """

    above: IntArray
    """[U] int32: items that score strictly above the target."""
    equal: IntArray
    """[U] int32: other items that score the same."""
    above_masked: IntArray
    """[U] int32: as `above`, the user's history removed from the competitors."""
    equal_masked: IntArray
    """[U] int32: as `equal`, the user's history removed from the competitors."""
    n_candidates_masked: IntArray
    """[U] int32: items that are ranked once the history is removed, the target among them. A target
    that the user has met before is never removed."""
    n_items: int
    """N, the items that are ranked when nothing is masked, the target among them."""
    top: IntArray | None = None
    """[U, K] int32: ids (1..N) of the best K items, history not masked, ties by smaller id first;
    None where it was not kept."""

    def __len__(self) -> int:
        return len(self.above)


class _Schema(BaseModel):
    """Frozen, and strict about fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class RunKey(NamedTuple):
    """Names that a spec goes by; its folder on disk."""

    profile: str
    dataset: str
    model: str
    variant: str

    def __str__(self) -> str:
        variant = "" if self.variant == "base" else f" [{self.variant}]"
        return f"{self.model}{variant} on {self.dataset} ({self.profile})"


class RunSpec(_Schema):
    """One method on one dataset in one variant, with every setting resolved; seeds are its runs."""

    dataset: str
    model: str
    """Name in the registry, as tables print it."""
    variant: str = "base"
    """"base", a named variant, or a swept value such as "lambda=0.01"."""
    profile: str
    implementation: str
    """Class of the model, "baselines.sasrec:SASRec"; its file belongs to the code hash."""
    modalities: tuple[str, ...] = ()
    """Modalities that the row is fed."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Resolved fields of the model's config."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Resolved settings of optimiser, schedule and budget."""
    protocol: dict[str, Any] = Field(default_factory=dict)
    """Resolved settings of split, windows and evaluation."""

    @property
    def key(self) -> RunKey:
        return RunKey(self.profile, self.dataset, self.model, self.variant)

    @property
    def trial(self) -> bool:
        """Whether it is a trial of `benchmark/tune.py`: ranked on validation and never on test."""
        return bool(self.protocol.get("trial", False))


class Hashes(_Schema):
    """What a run depends on besides its seed (see `benchmark/runs/identity.py`)."""

    config: str
    code: str
    data: str

    def differing(self, other: "Hashes") -> tuple[str, ...]:
        """Names of the parts in which two differ: why a stored run is stale."""
        return tuple(
            part
            for part in ("config", "code", "data")
            if getattr(self, part) != getattr(other, part)
        )


class Environment(_Schema):
    """Where a run was made."""

    python: str
    platform: str
    device: str
    """"cpu" or the accelerator's name."""
    scan_backend: str
    threads: int
    packages: dict[str, str]

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


class Curves(_Schema):
    """Training as it went, at the steps that were logged."""

    loss_steps: list[int] = Field(default_factory=list)
    losses: dict[str, list[float]] = Field(default_factory=dict)
    """Name of a term -> its value at each of `loss_steps`."""
    validation_steps: list[int] = Field(default_factory=list)
    validation: list[float] = Field(default_factory=list)
    """NDCG@10 at each of `validation_steps`, full ranking."""


class Timings(_Schema):
    """Seconds. A stack's time is shared evenly by its seeds."""

    training: float = 0.0
    evaluation: float = 0.0


class RunRecord(_Schema):
    """How one run came to be and how it ended; stored as JSON beside the ranks."""

    schema_version: int = SCHEMA_VERSION
    spec: RunSpec
    seed: int
    hashes: Hashes
    identity: str
    """Hash of the hashes and the seed: `benchmark.runs.identity.identity`."""
    status: Literal["ok", "failed"]
    message: str = ""
    """Why a run failed; empty for one that did not."""
    plateau: bool = False
    """Whether the run ended by patience with its best step in the first 70 % of its steps."""
    best_step: int = 0
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

    def __post_init__(self) -> None:
        trial = self.record.spec.trial
        if trial and self.test is not None:
            raise ValueError("a trial has no ranks of the test split: settings are chosen with it")
        needed = (self.validation, self.length, *(() if trial else (self.test,)))
        if self.record.status == "ok" and any(part is None for part in needed):
            raise ValueError(
                "a finished run needs the ranks of both splits (a trial, of validation) and the "
                "users' lengths"
            )
        if self.record.status == "failed" and not self.record.message:
            raise ValueError("a failed run needs a message that says why")


def slug(name: str) -> str:
    """A file name for a registry name, dataset or variant: "SASRec (MM)" -> "sasrec-mm".

    Raises InputError where nothing printable is left.
    """
    text = re.sub(r"[^a-z0-9._=]+", "-", name.lower()).strip("-.")
    if not text or os.sep in text:
        raise InputError(f"the name {name!r} has no letter or digit to make a folder's name from")
    return text
