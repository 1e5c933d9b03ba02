"""Text with a table: its fields with their line numbers.

Delimited files are taken apart by `rankaudit.text_table`; LaTeX and Markdown tables in
`rankaudit.markup`. What the fields mean is `rankaudit.interpret`'s.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from rankaudit.errors import InputError
from rankaudit.text_table import SEPARATORS, Record, records, separators_in, text_lines

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Table:
    """A table as text; fields are stripped.

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
    """A text file as `text_table` reads them (encodings, compression), its lines ended by LF.

    Raises InputError if it cannot be read, naming the line of a byte that is no text.
    """
    return "".join(text_lines(path)).replace("\r\n", "\n").replace("\r", "\n")


def read_delimited(text: str, where: str, delimiters: str = DELIMITERS) -> Table:
    """A table with one record a line and a header first.

    The delimiter is that of `delimiters` which stands most often in the header outside quotes.
    Blank lines are skipped. Raises InputError that names `where` and the line, and the remedy.
    """
    lines = list(io.StringIO(text, newline=""))
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise InputError(f"{where}, line 1: the file is empty; start it with a header line")
    delimiter = _delimiter(first, delimiters)
    header, *body = records(lines, delimiter, quoted=True, where=where)
    body = [record for record in body if any(field.strip() for field in record.fields)]
    for record in body:
        if len(record.fields) != len(header.fields):
            raise InputError(
                f"{where}, line {record.line}: {len(record.fields)} fields, but the header has "
                f"{len(header.fields)}; quote fields that contain {SEPARATORS[delimiter]}"
            )
    found = separators_in(header.fields, delimiter) if len(header.fields) == 1 else ""
    if found:
        raise InputError(
            f"{where}, line {header.line}: {found} seem to stand between the fields; put commas, "
            "semicolons or tabs there"
        )
    stripped = [Record(r.line, r.last, [field.strip() for field in r.fields]) for r in body]
    return Table(
        name="",
        source="csv",
        header=tuple((name.strip(),) for name in header.fields),
        records=tuple(stripped),
        header_line=header.line,
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
