"""Files: checksums, locks, and writes that a crash cannot leave half done.

The one place where the harness writes, locks and replaces files; single files are written by
`rankaudit.files`, which works alone.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock

import rankaudit.files
from benchmark.errors import InputError
from rankaudit.files import sweep, sync, sync_folder, temporary_prefix

_ADVICE = "choose another folder (for datasets, option --data or environment variable FINDREC_DATA)"
writing = partial(rankaudit.files.writing, advice=_ADVICE)
atomic_file = partial(rankaudit.files.atomic_file, advice=_ADVICE)


def read_text(path: Path) -> str:
    """A file's text. Raises InputError naming file and line where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none. Raises InputError where the folder is read-only or full."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place, whole, when the block ends. What a
    kill leaves of it is deleted by the next write of the same folder. A link stays, and leads to
    the new folder."""
    path = path.resolve()
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        prefix = temporary_prefix(path.name)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as scratch:
            fresh, old = Path(scratch) / "new", Path(scratch) / "old"
            fresh.mkdir()
            yield fresh
            for file in fresh.iterdir():
                sync(file)
            if path.exists():
                path.rename(old)
            fresh.rename(path)
            sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone, among processes and threads; it stays when the lock is let
    go, which the system does for a process that dies.

    A file system that refuses locks, as some network ones do, is used without: every write is
    atomic, so what two writers at once can cost is work done twice. Raises InputError where the
    folder cannot be written.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # a soft lock, which is the file's existence, would wait for the file that was just made
    lock = FileLock(path, poll_interval=0.01, is_singleton=False, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(lock)
        yield
