"""Writes that a crash cannot leave half done, with errors that a user can mend."""

import errno
import os
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

    A kill at any moment leaves the previous file or the new one. Raises InputError, which ends in
    `advice`, where the folder is read-only or full.
    """
    with writing(path.parent, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, advice: str = "choose another folder") -> None:
    """Write a UTF-8 text file whole or not at all; errors as `atomic_file`'s."""
    with atomic_file(path, advice) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
