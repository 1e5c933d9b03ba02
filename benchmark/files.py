"""Files: checksums, and writes that a crash cannot leave half done."""

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `folder` into errors a user can mend."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"{folder}: no space left to write; free some, or choose another folder "
                "(option --data or environment variable FINDREC_DATA)"
            ) from error
        if error.errno in _FORBIDDEN:
            raise InputError(
                f"{folder}: cannot be written ({error.strerror}); change its permissions, or "
                "choose another folder (option --data or environment variable FINDREC_DATA)"
            ) from error
        if error.errno in {errno.ENOTDIR, errno.EEXIST}:
            raise InputError(
                f"{folder}: a file stands where a folder is needed; move it away, or choose "
                "another folder (option --data or environment variable FINDREC_DATA)"
            ) from error
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends, it is synced and renamed to `path`.

    A kill at any moment leaves the previous file or the new one. Raises InputError where the folder
    is read-only or full.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


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
                _sync(file)
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


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
