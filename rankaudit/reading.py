"""Text files with a table: which kind of table it is, and its fields with their line numbers.

`read_delimited` is the one reader of comma-, semicolon- and tab-separated files; LaTeX and Markdown
tables are taken apart in `rankaudit.markup`. What the fields mean is `rankaudit.interpret`'s.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from rankaudit.errors import InputError

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Record:
    """The fields of one line (or one row of a LaTeX table), stripped, and where it stands."""

    line: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table as text.

    header: one or more header texts for every column, from the top; all columns have equally many.
    name: what the source calls it, or empty. source: "csv", "latex" or "markdown".
    header_line: where the header stands. delimiter: of a delimited file.
    """

    name: str
    source: str
    header: tuple[tuple[str, ...], ...]
    records: tuple[Record, ...]
    header_line: int = 1
    delimiter: str = ","


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without a byte order mark.

    Raises InputError if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from error


def read_delimited(text: str, where: str, delimiters: str = DELIMITERS) -> Table:
    """A table with one record a line and a header first.

    The delimiter is that of `delimiters` which stands most often in the header outside quotes.
    Blank lines are skipped. Raises InputError that names `where` and the line, and the remedy.
    """
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"{where}, line 1: the file is empty; start it with a header line")
    delimiter = _delimiter(lines[0], delimiters)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        records = []
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise InputError(
                    f"{where}, line {reader.line_num}: {len(fields)} fields, but the header has "
                    f"{len(header)}; quote fields that contain "
                    + {",": "commas", ";": "semicolons"}.get(delimiter, "the delimiter")
                )
            records.append(Record(reader.line_num, tuple(field.strip() for field in fields)))
    except csv.Error as error:
        raise InputError(
            f"{where}, line {reader.line_num}: {error}; close the quotes of the field, and double "
            "a quote inside it"
        ) from error
    return Table(
        name="",
        source="csv",
        header=tuple((name,) for name in header),
        records=tuple(records),
        delimiter=delimiter,
    )


def _delimiter(header: str, delimiters: str) -> str:
    counts = {}
    for delimiter in delimiters:
        try:
            counts[delimiter] = len(next(csv.reader([header], delimiter=delimiter)))
        except csv.Error:
            counts[delimiter] = 1
    return max(counts, key=lambda delimiter: counts[delimiter])
