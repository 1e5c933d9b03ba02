"""Writes that a crash cannot leave half done, with errors that a user can mend."""

import contextlib
import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rankaudit.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(folder: Path, advice: str = "choose another folder") -> Iterator[None]:
    """Turn the operating system's refusals to write below `folder` into InputError.

    advice: how the user chooses another folder, for the end of the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(f"{folder}: no space left to write; free some, or {advice}") from error
        if error.errno in _FORBIDDEN:
            raise InputError(
                f"{folder}: cannot be written ({error.strerror}); change its permissions, or "
                f"{advice}"
            ) from error
        if error.errno in {errno.ENOTDIR, errno.EEXIST}:
            raise InputError(
                f"{folder}: a file stands where a folder is needed; move it away, or {advice}"
            ) from error
        raise


@contextmanager
def atomic_file(path: Path, advice: str = "choose another folder") -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends, it is synced and renamed to `path`.

    A kill at any moment leaves the previous file or the new one; the temporary one that it may
    leave is deleted by the next write of the same file. Raises InputError, which ends in `advice`,
    where the folder is read-only or full.
    """
    with writing(path.parent, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name))
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, advice: str = "choose another folder") -> None:
    """Write a UTF-8 text file whole or not at all; errors as `atomic_file`'s."""
    with atomic_file(path, advice) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    # Windows syncs only what is open for writing, and only the owner can open a file so
    with path.open("r+b" if os.name == "nt" else "rb") as handle:
        os.fsync(handle.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_MACHINE = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:40]
_LONGEST = 40
"""Characters of a file's name that are kept in that of its temporary file."""


def temporary_prefix(name: str) -> str:
    """How the names of temporary files for `name` begin: hidden, with this machine and process."""
    return f".{name[:_LONGEST]}.{_MACHINE}-{os.getpid()}."


def sweep(folder: Path, name: str | None = None) -> None:
    """Delete temporary files and folders of this machine's dead processes: those for the file
    `name`, or all. What other machines left stays, since nobody here knows whether they live."""
    if os.name == "nt":  # where signal 0 ends a process
        return
    start = "" if name is None else re.escape(name[:_LONGEST])
    pattern = re.compile(rf"\.{start or '.+'}\.{re.escape(_MACHINE)}-(\d+)\.\w+")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            match = pattern.fullmatch(entry)
            if match is None or _lives(int(match[1])):
                continue
            path = Path(folder, entry)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
