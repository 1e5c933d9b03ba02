"""Zip archives that carry a store's files from one machine to another, in parts of limited size.

A part holds whole runs, pieces of checkpoints where one is larger than a part, and a manifest with
the size and the SHA-256 of every member, so that each part can be taken in by itself. What is read
is not trusted: a member counts only with a name that this program would have given it, the size
and the checksum of the manifest, and a size within bounds. Links, paths and encryption are refused.
"""

import hashlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from benchmark.errors import InputError
from benchmark.files import atomic_file, sha256, writing

FORMAT = 1
MANIFEST = "findrec-export.json"

_RUN = re.compile(r"runs(/[a-z0-9._=-]+){4}/seed-\d{1,19}(\.[A-Za-z0-9_-]{1,64})?\.(json|npz)")
_STATE = re.compile(r"checkpoints/[0-9a-f]{16}\.pt(\.piece-\d{4})?")

_LARGEST = {"json": 64 << 20, "npz": 1 << 30, "pt": 64 << 30}
"""Bytes of a member, by kind."""

_MOST_MEMBERS = 1_000_000
_MOST_PIECES = 10_000
"""Their names have four digits."""

_FOR_A_MEMBER = 420
"""Bytes that a member takes beside its content and twice its name: headers, its manifest entry."""

_FOR_A_PART = 1 << 12
"""Bytes that a part takes beside its members."""

SMALLEST = 1 << 18
"""Bytes of the smallest part that may be asked for."""


def is_state(name: str) -> bool:
    """Whether a member of that name is the state of an unfinished run, or a piece of one."""
    return _STATE.fullmatch(name) is not None


Read = Callable[[int, int | None], bytes]
"""Bytes from a start up to an end, None for all that follow."""


def of_file(path: Path) -> Read:
    """Reads a file, whenever it is asked to."""

    def read(start: int, end: int | None) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)

    return read


def of_bytes(data: bytes) -> Read:
    """Reads what is in memory."""
    return lambda start, end: data[start:end]


@dataclass(frozen=True)
class Member:
    """One file for an archive, or a piece of one."""

    name: str
    read: Read
    """Reads it again when it is written, so that not all is in memory at once."""
    start: int
    end: int | None
    """Which of its bytes."""
    size: int
    sha256: str
    packed: int
    """Bytes in the archive."""

    @classmethod
    def of(cls, name: str, read: Read, start: int = 0, end: int | None = None) -> "Member":
        """A member with the content that it has now."""
        data = read(start, end)
        packed = len(zlib.compress(data)) if name.endswith(".json") else len(data)
        return cls(name, read, start, end, len(data), hashlib.sha256(data).hexdigest(), packed)

    @property
    def room(self) -> int:
        """Bytes that it takes of a part."""
        return self.packed + 2 * len(self.name) + _FOR_A_MEMBER


@dataclass
class Parts:
    """What goes into which part: whatever is added goes into the last, or begins a new one.

    max_size: bytes of a part. most: parts; None without a limit.
    """

    max_size: int
    most: int | None = None
    parts: list[list[Member]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.max_size < SMALLEST:
            raise InputError(f"--max-size: parts of at least {SMALLEST >> 10} kB, please")

    def add(self, members: Sequence[Member]) -> bool:
        """Put some files into one part; False where there is no room for them together."""
        needed = sum(member.room for member in members)
        if needed > self._whole:
            return False
        if needed > self._left:
            if self._may_not_begin:
                return False
            self.parts.append([])
        self.parts[-1] += members
        return True

    def add_in_pieces(self, member: Member) -> bool:
        """Put a file in, over several parts if need be; False where there is no room for it."""
        if self.add([member]):
            return True
        room, at = self._left, 0
        cut: list[tuple[int, int]] = []
        used = len(self.parts)
        while at < member.size:
            length = min(room - 2 * (len(member.name) + 11) - _FOR_A_MEMBER, member.size - at)
            if length > 0:
                cut.append((at, length))
                at += length
            if at < member.size:
                if self.most is not None and used >= self.most:
                    return False
                used, room = used + 1, self._whole
        for number, (start, length) in enumerate(cut):
            name = f"{member.name}.piece-{number:04}"
            piece = Member.of(name, member.read, start, start + length)
            if not self.add([piece]):
                raise AssertionError("a piece was cut to fit")
        return True

    @property
    def _whole(self) -> int:
        return self.max_size - _FOR_A_PART

    @property
    def _left(self) -> int:
        if not self.parts:
            return 0
        return self._whole - sum(member.room for member in self.parts[-1])

    @property
    def _may_not_begin(self) -> bool:
        return self.most is not None and len(self.parts) >= self.most


def write_parts(path: Path, parts: Parts, pieces: dict[str, dict[str, Any]]) -> list[Path]:
    """Write `name.zip`, or `name-1-of-3.zip` and so on; returns the paths.

    pieces: of files that are cut into pieces, how many there are and the SHA-256 of the whole.
    Raises InputError where a file has changed since it was added, or the folder cannot be written.
    """
    number = len(parts.parts)
    own = re.compile(
        rf"{re.escape(path.stem)}(-\d+-of-(?!{number}{re.escape(path.suffix)})\d+)"
        rf"{re.escape(path.suffix)}"
    )
    if path.parent.is_dir() and (
        older := sorted(p.name for p in path.parent.iterdir() if own.fullmatch(p.name))
    ):
        raise InputError(
            f"{path.parent / older[0]}: a part of another export, which would be imported with "
            "these; move it away, or choose another name"
        )
    written = []
    for at, members in enumerate(parts.parts, 1):
        name = path.name if number == 1 else f"{path.stem}-{at}-of-{number}{path.suffix}"
        here = {member.name.rpartition(".piece-")[0] for member in members}
        manifest = {
            "format": FORMAT,
            "part": at,
            "parts": number,
            "members": {m.name: {"size": m.size, "sha256": m.sha256} for m in members},
            "pieces": {name: whole for name, whole in pieces.items() if name in here},
        }
        with (
            atomic_file(path.with_name(name)) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        ):
            for member in members:
                data = member.read(member.start, member.end)
                if hashlib.sha256(data).hexdigest() != member.sha256:
                    raise changed_meanwhile(member.name)
                packed = member.name.endswith(".json")
                _put(archive, member.name, data, packed=packed)
            _put(archive, MANIFEST, json.dumps(manifest).encode(), packed=True)
        written.append(path.with_name(name))
    return written


def changed_meanwhile(name: str) -> InputError:
    """Of a file that is not what it was when the export began."""
    return InputError(
        f"{name} changed while it was exported: a command is training; export again when it has "
        "ended"
    )


def _put(archive: zipfile.ZipFile, name: str, data: bytes, *, packed: bool) -> None:
    """The same bytes at whatever time it is done."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


# ---------------------------------------------------------------- reading


def extract(path: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Write an archive's members, verified, below a folder of our own; returns its manifest's
    `pieces`. Raises InputError, which names archive and member, for whatever is not right."""
    with _opened(path) as archive:
        entries = _entries(path, archive)
        manifest = _manifest(path, archive, entries)
        for name, entry in entries.items():
            expected = manifest["members"][name]
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                if sha256(target) == expected["sha256"]:  # parts of two exports overlap
                    continue
                _refuse(path, f"{name} is in another of the archives too, with other content")
            _copy(path, archive, entry, expected, target)
            if name.endswith(".npz"):
                _check_arrays(path, name, target)
    pieces: dict[str, dict[str, Any]] = manifest["pieces"]
    return pieces


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{path}: {why}; nothing was taken in")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        UnicodeDecodeError,  # a name that is marked as UTF-8
    ) as error:
        raise InputError(
            f"{path}: not a whole archive of `export` ({error}); copy it again; nothing was taken "
            "in"
        ) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by name but the manifest, none of which is of a kind that `export` does not write."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if infos and min(entry.header_offset for entry in infos) > 0:
        # cut off, so that the last list of a zip in it is that of an npz, a zip itself
        raise zipfile.BadZipFile("its own list of members is missing")
    if len(infos) > _MOST_MEMBERS:
        _refuse(path, f"holds {len(infos)} members, and {_MOST_MEMBERS} are the most")
    for entry in infos:
        name = entry.filename
        known = name == MANIFEST or _RUN.fullmatch(name) or is_state(name)
        if not known or any(part.strip(".") == "" for part in name.split("/")):
            _refuse(path, f"holds {name[:200]!r}, which `export` never writes")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            _refuse(path, f"{name} is a link, a folder or encrypted, which `export` never writes")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(path, f"{name} is compressed in a way that `export` never does")
        suffix = "pt" if name.startswith("checkpoints/") else name.rpartition(".")[2]
        if entry.file_size > _LARGEST[suffix]:
            _refuse(path, f"{name} would have {entry.file_size:,} bytes, more than a run has")
        if suffix != "json" and entry.compress_type != zipfile.ZIP_STORED:
            _refuse(path, f"{name} is compressed, which `export` never does with its like")
        if name in found:
            _refuse(path, f"holds {name} twice")
        found[name] = entry
    return found


def _manifest(
    path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]
) -> dict[str, Any]:
    """The manifest, whose members are those of the archive; it is taken out of `entries`."""
    if MANIFEST not in entries:
        _refuse(path, f"has no {MANIFEST}: it is not an archive of `export`")
    entry = entries.pop(MANIFEST)
    try:
        manifest: dict[str, Any] = json.loads(archive.read(entry))
        version = manifest["format"]
        if type(version) is not int or version < 1:
            raise ValueError
        listed, pieces = manifest["members"], manifest["pieces"]
        for named, count in ((listed, "size"), (pieces, "pieces")):
            for said in named.values():
                if type(said[count]) is not int or type(said["sha256"]) is not str:
                    raise TypeError
        if not all(1 <= whole["pieces"] <= _MOST_PIECES for whole in pieces.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _refuse(path, f"its {MANIFEST} cannot be read ({type(error).__name__})")
    if version > FORMAT:
        _refuse(path, f"written in format {version}, newer than this program's; update it")
    if odd := sorted(set(listed) ^ set(entries)):
        _refuse(path, f"{odd[0]} is in the archive or in its list, and not in both")
    if odd := [n for n in pieces if not is_state(n) or ".piece-" in n]:
        _refuse(path, f"lists {odd[0][:200]!r}, which `export` never writes")
    return manifest


def _copy(
    path: Path,
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    expected: dict[str, Any],
    target: Path,
) -> None:
    """Write one member; its size and checksum have to be the manifest's."""
    if entry.file_size != expected["size"]:
        _refuse(path, f"{entry.filename} has another size than its list says")
    digest = hashlib.sha256()
    with archive.open(entry) as source, writing(target.parent), target.open("wb") as file:
        while block := source.read(1 << 20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != expected["sha256"]:
        _refuse(path, f"{entry.filename}: its SHA-256 is not the one that is listed; copy it again")


def _check_arrays(path: Path, name: str, npz: Path) -> None:
    """An npz is a zip itself: its arrays, unpacked, have to fit the memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(npz.read_bytes())) as inner:
            unpacked = sum(entry.file_size for entry in inner.infolist())
            names = [entry.filename for entry in inner.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        _refuse(path, f"{name} is no file of arrays ({error})")
    if unpacked > _LARGEST["npz"]:
        _refuse(path, f"{name} would unpack to {unpacked:,} bytes, more than a run has")
    if odd := [inner for inner in names if not re.fullmatch(r"[A-Za-z0-9_.-]+\.npy", inner)]:
        _refuse(path, f"{name} holds {odd[0][:200]!r}, which is no array")
