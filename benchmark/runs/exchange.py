"""Runs out of one store and into another: `export` and `import`.

A finished run is never replaced by another one that is as good: what is equal is passed over, what
differs is named and refused, unless what stands here is stale and what comes is not.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.errors import InputError
from benchmark.files import sweep, temporary_prefix, writing
from benchmark.runs.archive import (
    Member,
    Parts,
    changed_meanwhile,
    extract,
    is_state,
    of_bytes,
    of_file,
    write_parts,
)
from benchmark.runs.code import digest
from benchmark.runs.identity import identity
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunRecord, RunResult
from benchmark.runs.store import (
    Store,
    Stored,
    array_files,
    packed,
    record_text,
)

STATES = ".checkpoints"
"""Folder of unfinished runs' states in a store."""


@dataclass
class Exported:
    """What `export_runs` wrote."""

    paths: list[Path]
    runs: int = 0
    states: int = 0
    left_out: list[str] = field(default_factory=list)
    """A line on each file that did not fit, or that was damaged."""


def export_runs(
    store: Store,
    path: Path,
    *,
    profile: str | None = None,
    keep_top: bool = True,
    checkpoints: bool = False,
    max_size: int = 1 << 40,
    max_parts: int | None = None,
) -> Exported:
    """Write a store's finished runs, and if asked the states of unfinished ones, into archives.

    max_size: bytes of one archive. Raises InputError where there is nothing to export, or where the
    folder cannot be written.
    """
    parts, done = Parts(max_size, max_parts), Exported([])
    for run in store.scan():
        if run.record is None:
            if store.may_be_of(run.path, profile):
                done.left_out.append(run.problem)
        elif run.status == "complete" and profile in (None, run.record.spec.profile):
            if parts.add(_members(store, run, keep_top)):
                done.runs += 1
            else:
                done.left_out.append(f"{run.path}: does not fit")
    pieces: dict[str, dict[str, Any]] = {}
    for state in _states(store, profile) if checkpoints else ():
        name = f"checkpoints/{state.name}"
        member = Member.of(name, of_file(state))
        before = sum(map(len, parts.parts))
        if not parts.add_in_pieces(member):
            done.left_out.append(f"{state}: does not fit")
            continue
        done.states += 1
        number = sum(map(len, parts.parts)) - before
        if number > 1:
            pieces[name] = {"pieces": number, "sha256": member.sha256}
    if not parts.parts:
        why = f" ({done.left_out[0]})" if done.left_out else ""
        raise InputError(f"no finished run in {store.root} to export{why}")
    done.paths = write_parts(path, parts, pieces)
    return done


def _states(store: Store, profile: str | None) -> list[Path]:
    """Of a profile's unfinished runs; what trials of several budgets share (`trunk-...`) is of none
    of them, and stays."""
    from benchmark.runs.checkpoint import read_owner  # it needs torch

    def whose(state: Path) -> str | None:
        owner = read_owner(state)
        return None if owner is None or owner.key is None else owner.key.profile

    found = (store.root / STATES).glob("*.pt")
    states = sorted(path for path in found if is_state(f"checkpoints/{path.name}"))
    return [path for path in states if profile is None or whose(path) in (None, profile)]


def _members(store: Store, run: Stored, keep_top: bool) -> list[Member]:
    """The files of a run."""
    assert run.result is not None
    place = f"runs/{run.path.parent.relative_to(store.root).as_posix()}"
    record = run.result.record
    if (keep_top or run.result.test is None) and record.split_sha256 is None:
        text = Member.of(f"{place}/{run.path.name}", of_bytes(record_text(record)))
        return [text, *_as_they_are(run.path, place, record)]
    # written anew: a reference leaves to its store what it needs elsewhere
    files = packed(run.result if keep_top else run.result.without_top())
    return [Member.of(f"{place}/{name}", of_bytes(data)) for name, data in files.items()]


def _as_they_are(path: Path, place: str, record: RunRecord) -> list[Member]:
    """The arrays of the run whose json lies at `path`. Raises InputError where they are no longer
    those of the record: what is exported then could not be taken in."""
    members = []
    for file, wanted in array_files(path, record).items():
        try:
            members.append(Member.of(f"{place}/{file.name}", of_file(file)))
        except FileNotFoundError as error:
            raise changed_meanwhile(str(file)) from error
        if members[-1].sha256 != wanted:
            raise changed_meanwhile(str(file))
    return members


# ---------------------------------------------------------------- into a store

What = Literal["added", "replaced", "there", "refused"]


@dataclass(frozen=True)
class Taken:
    """What became of one run or state of an archive."""

    name: str
    what: What
    why: str = ""


def import_runs(
    paths: list[Path], store: Store, why_stale_now: Callable[[RunRecord], str | None]
) -> list[Taken]:
    """Take the runs and states of some archives into a store.

    All archives are verified before anything is taken in; each run is put in place whole.
    why_stale_now: why a finished run would come out otherwise if it were made now, "" if it would
    not, None where that cannot be told. Raises InputError for an archive that is not right in
    every respect, and where the folder cannot be written.
    """
    with writing(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        sweep(store.root, "import")
        prefix = temporary_prefix("import")
        with tempfile.TemporaryDirectory(dir=store.root, prefix=prefix) as scratch:
            stage = Path(scratch)
            pieces: dict[str, dict[str, Any]] = {}
            for path in paths:
                pieces |= extract(path, stage)
            runs = [_verified(run) for run in Store(stage / "runs").scan()]
            _refuse_others(stage / "runs", runs)
            lacking = [_join(stage, name, whole) for name, whole in pieces.items()]
            done = [_take(run, store, why_stale_now) for run in runs]
            done += [taken for taken in lacking if taken is not None]
            states = sorted((stage / "checkpoints").glob("*.pt"))
            if states:
                done += _take_states(states, store)
    return done


def _verified(run: Stored) -> RunResult:
    """A staged run whose identity is that of its hashes. Raises InputError."""
    if run.result is not None and run.status == "failed":
        record = run.result.record
        raise InputError(
            f"{record.spec.key}, seed {record.seed}: a failed run ({run.problem}), which `export` "
            "never writes; nothing was taken in"
        )
    if run.status != "complete" or run.result is None:
        raise InputError(f"{run.problem or f'{run.path}: not finished'}; nothing was taken in")
    record = run.result.record
    if record.identity != identity(record.hashes, record.seed):
        raise InputError(
            f"{record.spec.key}, seed {record.seed}: its identity is not that of its hashes; "
            "nothing was taken in"
        )
    return run.result


def _refuse_others(folder: Path, runs: list[RunResult]) -> None:
    """Raise InputError for a staged file that is part of none of the runs: what lost its record
    would be passed over without a word."""
    store = Store(folder)
    records = {store.path(run.record.spec.key, run.record.seed): run.record for run in runs}
    known = set(records)
    for path, record in records.items():
        known |= array_files(path, record).keys()
    others = sorted(path for path in folder.rglob("seed-*") if path not in known)
    if others:
        raise InputError(
            f"{others[0].relative_to(folder.parent)}: belongs to none of the runs in the archives; "
            "export again; nothing was taken in"
        )


def _take(
    result: RunResult, store: Store, why_stale_now: Callable[[RunRecord], str | None]
) -> Taken:
    record = result.record
    name = f"{record.spec.key}, seed {record.seed}"
    there = store.status(record.spec.key, record.seed)
    what, why = _decide(result, there, why_stale_now)
    if what in ("added", "replaced"):
        try:
            store.write(result)
        except InputError as error:  # another run's name gives the same file name
            return Taken(name, "refused", str(error))
    return Taken(name, what, why)


def _decide(
    result: RunResult, there: Stored, why_stale_now: Callable[[RunRecord], str | None]
) -> tuple[What, str]:
    """What becomes of a run, given the one that stands here."""
    record = result.record
    if there.status == "missing":
        stale = why_stale_now(record)
        return "added", f"stale: {stale}" if stale else ""
    if there.status != "complete" or there.result is None or there.record is None:
        return "replaced", f"the {there.status} one"
    if there.record.identity == record.identity:
        if not _same_ranks(result, there.result):
            return "refused", (
                "of the same settings, code and data with other ranks: made on "
                f"{record.environment.device} (torch {_torch(record)}), the one here on "
                f"{there.record.environment.device} (torch {_torch(there.record)})"
            )
        if _has_top(result) and not _has_top(there.result):
            return "replaced", "the same without top lists"
        return "there", ""
    why, why_there = why_stale_now(record), why_stale_now(there.record)
    if why == "" and why_there:
        return "replaced", f"one that is stale: {why_there}"
    if why and why_there == "":
        return "refused", f"{why}, and the one here is not"
    return "refused", (
        "it and the one here were made with different settings, code or data, and which is current "
        "cannot be told; build the dataset first, or delete the one here"
    )


def _torch(record: RunRecord) -> str:
    return record.environment.packages.get("torch", "unknown")


def _has_top(result: RunResult) -> bool:
    return result.test is not None and result.test.top is not None


def _same_ranks(one: RunResult, other: RunResult) -> bool:
    """Whether the ranks of both splits are equal; top lists are asked about only where both runs
    have them."""
    for a, b in ((one.validation, other.validation), (one.test, other.test)):
        if (a is None) != (b is None):
            return False
        if a is None or b is None:
            continue
        for name in (part.name for part in fields(Ranks)):
            left, right = getattr(a, name), getattr(b, name)
            if left is None or right is None:
                continue
            if not np.array_equal(left, right):
                return False
    return True


# ---------------------------------------------------------------- states of unfinished runs


def _join(stage: Path, name: str, whole: dict[str, Any]) -> Taken | None:
    """Put a state together from its pieces; says what is lacking."""
    parts = [stage / f"{name}.piece-{number:04}" for number in range(whole["pieces"])]
    missing = [part for part in parts if not part.is_file()]
    if missing:
        why = f"{len(missing)} of its {len(parts)} pieces are in other archives; give all at once"
        return Taken(name, "refused", why)
    with (stage / name).open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
            part.unlink()
    with (stage / name).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != whole["sha256"]:
            (stage / name).unlink()
            return Taken(name, "refused", "its pieces are not of one file")
    return None


def _take_states(staged: list[Path], store: Store) -> list[Taken]:
    """Put states in place, but those of finished runs, and those that are behind the one here."""
    import torch

    from benchmark.runs.checkpoint import CheckpointFile, Unusable, read_owner

    done = []
    for path in staged:
        owner = read_owner(path)
        if (
            owner is None
            or owner.key is None
            or digest(owner.identities.values())[:16] != path.stem
        ):
            done.append(Taken(path.name, "refused", "not a state of an unfinished run"))
            continue
        seeds = ", ".join(map(str, owner.identities))
        name = f"{owner.key}, seed {seeds}, unfinished"
        target = store.root / STATES / path.name
        try:
            step = CheckpointFile(path, owner).peek(torch.device("cpu"))["step"]
        except Unusable as reason:
            done.append(Taken(name, "refused", f"a state that {reason}"))
            continue
        runs = [(store.status(owner.key, s).record, i) for s, i in owner.identities.items()]
        if all(record is not None and record.identity == i for record, i in runs):
            done.append(Taken(name, "there", "its runs are finished"))
            continue
        here = 0
        if target.is_file():
            try:
                here = CheckpointFile(target, owner).peek(torch.device("cpu"))["step"]
            except Unusable:
                here = -1
        if here and here >= step:
            done.append(Taken(name, "there", f"at step {here}, that of the archive at {step}"))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        done.append(Taken(name, "replaced" if here else "added", f"at step {step}"))
    return done
