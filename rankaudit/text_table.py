"""Text tables, read strictly: one reader of delimited files for the audit and the benchmark.

A table has one record a line and names its columns in the first line that is not blank. Every
record must have as many fields as the header. Files may be compressed (.gz, .bz2, .xz, .zip with
one file in it; recognised by content, not by name), lines may end in LF, CR LF or CR, and the text
is UTF-8, or UTF-16 or UTF-32 with a byte order mark. Line numbers are those of the text, counted
from 1, whatever blank lines and fields over several lines come before.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import zipfile
import zlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rankaudit.errors import InputError

SEPARATORS = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
    " ": "blanks",
    "::": "double colons",
}
"""What may stand between two fields, and what to call it."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", ".gz"),
    (b"PK\x03\x04", ".zip"),
    (b"PK\x05\x06", ".zip"),
    (b"BZh", ".bz2"),
    (b"\xfd7zXZ\x00", ".xz"),
)
PACKED = (".gz", ".zip", ".bz2", ".xz")
_UNREADABLE = (".zst", ".7z", ".rar", ".tar", ".tgz", ".xlsx", ".xls", ".ods")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 16
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile)


class Record(NamedTuple):
    """One record: the lines where it begins and ends, and its fields as they stand."""

    line: int
    last: int
    fields: list[str]


@dataclass(frozen=True)
class Header:
    """The first line of a table, and how its fields are told apart."""

    path: Path
    names: tuple[str, ...]
    """Without blanks around them."""
    line: int
    separator: str
    quoted: bool
    """Whether a field may stand in double quotes; otherwise they are ordinary characters."""


@dataclass(frozen=True)
class Columns:
    """Fields of a table, column by column."""

    values: list[list[str]]
    """One list a column that was asked for."""
    lines: NDArray[np.int64]
    """Where each record begins."""
    spread: list[int]
    """Where records that go over several lines begin."""


@contextmanager
def open_plain(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """(name, bytes) of a file, or of the one file inside it where it is compressed.

    Raises InputError, here or while the bytes are read inside the block, where the file is missing,
    cannot be read, or is cut off or damaged, and for archives of several files.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; name a file in it")
    try:
        with path.open("rb") as raw:
            start = raw.read(8)
            raw.seek(0)
            kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), "")
            if kind != path.suffix.lower() and path.suffix.lower() in PACKED:
                raise _damaged(path)
            name = path.stem if kind and path.suffix.lower() == kind else path.name
            if path.suffix.lower() in _UNREADABLE or Path(name).suffix.lower() in _UNREADABLE:
                raise InputError(
                    f"{path}: archives and spreadsheets of this kind are not read; unpack it, or "
                    "save its table as CSV"
                )
            if kind == ".zip":
                with zipfile.ZipFile(raw) as archive:
                    member = _only_member(path, archive)
                    with archive.open(member) as unpacked:
                        yield PurePosixPath(member).name, cast("BinaryIO", unpacked)
            elif kind:
                with _unpacked(kind, raw) as stream:
                    yield name, cast("BinaryIO", stream)
            else:
                yield name, raw
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except _DAMAGED as error:
        raise _damaged(path) from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile: a password, another method
        raise InputError(f"{path}: cannot be unpacked ({error}); unpack it yourself") from error
    except OSError as error:
        if error.errno is None:  # bz2 raises OSError for damaged data, without a number
            raise _damaged(path) from error
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error


def _unpacked(kind: str, raw: BinaryIO) -> io.BufferedIOBase:
    if kind == ".gz":
        return gzip.GzipFile(fileobj=raw)
    new = bz2.BZ2Decompressor if kind == ".bz2" else lzma.LZMADecompressor
    return io.BufferedReader(_Streams(raw, new))


class _Streams(io.RawIOBase):
    """One compressed stream after the other, to the end of the file.

    `bz2` and `lzma` take whatever follows a stream and begins no other for rubbish and leave it
    out: of a file of several streams, as parallel compressors write them, one bit would lose the
    rest without a word. Raises EOFError for a stream that is cut off, and what the decompressor
    raises for one that is damaged.
    """

    def __init__(
        self, raw: BinaryIO, new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
    ) -> None:
        self._raw, self._new, self._stream = raw, new, new()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._stream.eof:
                self._rest = self._beyond(self._stream.unused_data)
                while not self._rest:
                    block = self._raw.read(_BLOCK)
                    if not block:
                        return 0
                    self._rest = self._beyond(block)
                self._stream = self._new()
            elif self._stream.needs_input and not self._rest:
                self._rest = self._raw.read(_BLOCK)
                if not self._rest:
                    raise EOFError("the compressed stream does not end")
            data = self._stream.decompress(self._rest, max_length=len(buffer))
            self._rest = b""
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _beyond(self, data: bytes) -> bytes:
        """Without the zeros that xz files may be filled up with between streams."""
        return data.lstrip(b"\0") if self._new is lzma.LZMADecompressor else data


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path}: the compressed file is cut off or damaged; delete it and download it again, or "
        "compress it anew (if it is not compressed, drop the ending of its name)"
    )


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    members = [
        name
        for name in archive.namelist()
        if not name.endswith("/")
        and not name.startswith("__MACOSX/")
        and not PurePosixPath(name).name.startswith(".")
    ]
    if len(members) != 1:
        held = f"{len(members)} files ({', '.join(members[:3])} ...)" if members else "no file"
        raise InputError(f"{path}: holds {held}; unpack it and name one file")
    return members[0]


def text_lines(path: Path) -> Generator[str]:
    """The lines of a text file with their ends. Raises InputError as `open_plain` does, and, naming
    the line, for bytes that are no text of the file's encoding."""
    with open_plain(path) as (_, stream):
        buffer = io.BufferedReader(cast("io.RawIOBase", stream))
        start = buffer.peek(4)[:4]
        encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        number = 0
        try:
            with io.TextIOWrapper(buffer, encoding=encoding, errors=errors, newline="") as text:
                for number, line in enumerate(text, start=1):
                    if not line.isascii():
                        line.encode()  # fails for the bytes that were escaped
                    if "\0" in line:
                        raise InputError(
                            f"{path}, line {number}: a zero byte, which no text holds; the file is "
                            "damaged or of another kind: save it as UTF-8 text"
                        )
                    yield line
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) & 0xFF
            raise InputError(
                f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8 text"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, after line {number}: not {encoding.upper()} as its byte order mark says "
                f"({error.reason}); save it as UTF-8 text"
            ) from error


def records(
    lines: Iterable[str], separator: str, *, quoted: bool, where: object
) -> Iterator[Record]:
    """The records of lines that keep their ends; blank lines are left out.

    quoted: as `Header.quoted`; a quote inside such a field is doubled (RFC 4180). where: names the
    source in errors. Raises InputError that names the line where a badly quoted field begins.
    """
    if not quoted or len(separator) > 1:
        for number, line in enumerate(lines, start=1):
            line = line.rstrip("\r\n")
            if line.strip(" "):
                yield Record(number, number, line.split(separator))
        return
    reader = csv.reader(lines, delimiter=separator, strict=True)
    start = 1
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield Record(start, reader.line_num, fields)
            start = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise InputError(
                f"{where}, line {start}: a field of more than {csv.field_size_limit():,} "
                "characters; shorten it, or close the quote that opens it"
            ) from error
        raise InputError(
            f"{where}, line {start}: a quote opens a field that does not end as it should "
            f"({error}); close it, and double the quotes inside it; where quotes are ordinary "
            "characters, save the table with tabs, as .tsv"
        ) from error


def read_header(
    path: Path,
    *,
    separators: Sequence[str] = tuple(SEPARATORS),
    quoted: bool = True,
    fits: Callable[[Sequence[str]], bool] = lambda names: len(names) > 1,
) -> Header:
    """The header of a table.

    separators: those that may be; the first with which the header `fits` is the table's, the first
    of all where none is. quoted: whether fields may stand in quotes; a header all of whose names do
    settles that they may. Raises InputError for a file that cannot be read and for an empty one.
    """
    lines = text_lines(path)
    number, line = next(((n, t) for n, t in enumerate(lines, start=1) if t.strip()), (1, ""))
    lines.close()  # it holds the file open
    line = line.rstrip("\r\n")
    if not line:
        raise InputError(f"{path}: the file is empty; save it as UTF-8 text with one header line")
    chosen = None
    for separator in separators:
        names = line.split(separator)
        in_quotes = all(len(n) > 1 and n[0] == n[-1] == '"' for n in map(str.strip, names))
        if (quoted or in_quotes) and len(separator) == 1:
            try:
                names = next(csv.reader([line], delimiter=separator, strict=True))
            except csv.Error:
                continue
        header = Header(
            path, tuple(n.strip() for n in names), number, separator, quoted or in_quotes
        )
        chosen = chosen or header
        if fits(header.names):
            return header
    if chosen is None:
        raise InputError(f"{path}, line {number}: a quote in the header is not closed; close it")
    return chosen


def read_columns(header: Header, wanted: Sequence[int] | None = None) -> Columns:
    """The columns whose places in the header are `wanted`, all if None, as text, fields unchanged.

    Equal fields of a column share one string. Raises InputError, naming the line, for a record
    whose fields are not as many as the header's, and as `text_lines` and `records` do.
    """
    places = range(len(header.names)) if wanted is None else wanted
    columns: list[list[str]] = [[] for _ in places]
    shared: list[dict[str, str]] = [{} for _ in places]
    targets = list(zip(places, columns, shared, strict=True))
    lines, spread = array("q"), []
    body = records(
        text_lines(header.path), header.separator, quoted=header.quoted, where=header.path
    )
    for line, last, fields in body:
        if line <= header.line:
            continue
        if len(fields) != len(header.names):
            raise InputError(wrong_count(header, line, len(fields)))
        lines.append(line)
        if last > line:
            spread.append(line)
        for place, column, known in targets:
            field = fields[place]
            column.append(known.setdefault(field, field))
    return Columns(columns, np.asarray(lines, dtype=np.int64), spread)


def wrong_count(header: Header, line: int, fields: int) -> str:
    """The message for a record with too many or too few fields."""
    what = SEPARATORS.get(header.separator, repr(header.separator))
    advice = (
        f"quote fields that contain {what}"
        if header.quoted
        else f"fields cannot contain {what} in this format"
    )
    return (
        f"{header.path}: line {line} has {fields} fields, the header has {len(header.names)}; name "
        f"every column in the header, one field each on every line ({advice})"
    )


def separators_in(names: Sequence[str], used: str) -> str:
    """What seems to stand between the fields of a header that was read with another separator, in
    words, or an empty string."""
    text = used.join(names)
    counts = {name: text.count(s) for s, name in SEPARATORS.items() if s not in (used, " ")}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""
