"""Files: checksums, and writes that a crash cannot leave half done."""

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import rankaudit.files
from rankaudit.files import sync

_ADVICE = "choose another folder (option --data or environment variable FINDREC_DATA)"
writing = partial(rankaudit.files.writing, advice=_ADVICE)
atomic_file = partial(rankaudit.files.atomic_file, advice=_ADVICE)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place, whole, when the block ends."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            fresh, old = Path(scratch) / "new", Path(scratch) / "old"
            fresh.mkdir()
            yield fresh
            for file in fresh.iterdir():
                sync(file)
            if path.exists():
                path.rename(old)
            fresh.rename(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` alone, among processes and threads of one machine."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the file is closed, or the process dies
        yield
