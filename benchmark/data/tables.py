"""Tables of a source as text: delimited files and Parquet give the same columns of strings.

Numbers, ids and times are made from the text afterwards, by the same code whatever the file was, so
that a Parquet file and its CSV copy are the same data.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.errors import InputError
from rankaudit.text_table import (
    SEPARATORS,
    Header,
    open_plain,
    read_columns,
    read_header,
    separators_in,
)

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

ATOMIC_TYPES = ("token", "token_seq", "float", "float_seq")

_LIKE = {
    "user": ("user", "uid", "reviewer", "customer", "session"),
    "item": ("item", "iid", "asin", "product", "movie", "video", "article"),
    "timestamp": ("time", "date"),
    "id": ("id", "asin", "item"),
}
"""What a column may be called that holds ours, for a guess in an error."""


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?")
"""What no column is called, but for those of files that had no names."""


@dataclass
class Table:
    """Columns of text, and where each row stands in its file."""

    path: Path
    columns: dict[str, list[str]]
    lines: NDArray[np.int64]
    unit: str = "line"
    """What `lines` counts: lines of a text file, rows of a Parquet file, each from 1."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Column -> its type where the file says one that is neither text nor a whole number."""
    remarks: list[str] = field(default_factory=list)
    """What the user should know of how the file was read."""

    def __len__(self) -> int:
        return len(self.lines)

    def at(self, row: int) -> str:
        """'FILE, line 7', for an error about the row-th row."""
        return f"{self.path}, {self.unit} {self.lines[row]}"

    def ids(self, name: str) -> list[str]:
        """A column of ids. Raises InputError for an empty one, one with a line break, and a column
        that holds neither text nor whole numbers."""
        if name in self.types:
            raise InputError(
                f"{self.path}: column {name!r} is of type {self.types[name]}; ids are text or "
                "whole numbers: convert the column before it is saved"
            )
        values = self.columns[name]
        for value in set(values):
            if not value.strip():
                raise InputError(
                    f"{self.at(values.index(value))}: {name} is empty; fill it in or drop the row"
                )
            if "\n" in value or "\r" in value:
                raise InputError(
                    f"{self.at(values.index(value))}: {name} {value[:40]!r} goes over several "
                    "lines; a quote is not closed, or is no quote: then save the table as .tsv"
                )
        return values

    def __post_init__(self) -> None:
        self.columns = {name: values for name, values in self.columns.items() if name}


def read_table(
    path: Path,
    needed: Sequence[str],
    *,
    others: bool = False,
    typed: bool = False,
    default: str = "",
    ours: Mapping[str, str] | None = None,
) -> Table:
    """The columns `needed` of a CSV, TSV, Parquet or atomic file, and all `others` if asked for.

    typed: whether the header's names end in a type, as RecBole's atomic files' do (`name:type`);
    the types become `Table.types`. default: separator of a text file whose name does not say it.
    ours: needed column -> its name in the option --columns, for those that it can be given for.
    Raises InputError, naming file and line, for what cannot be read and for a missing column.
    """
    with open_plain(path) as (name, stream):
        kind = Path(name).suffix.lower()
        start = stream.read(4)
        if start == b"PAR1" or kind == ".parquet":
            return _parquet(path, start + stream.read(), needed, others, ours or {})
    quotes = kind not in {".tsv", ".tab", ".inter", ".item", ".user"}
    first = default or ("," if quotes else "\t")

    def plain(names: Sequence[str]) -> list[str]:
        return [n.rsplit(":", 1)[0] if typed else n for n in names]

    header = read_header(
        path,
        separators=(first, *(s for s in SEPARATORS if s != first)),
        quoted=quotes,
        fits=lambda names: set(needed) <= set(plain(names)),
    )
    untyped = [n for n in header.names if typed and ":" not in n]
    if untyped:
        raise InputError(
            f"{path}, line {header.line}: column {untyped[0]!r} has no type; an atomic file's "
            "header reads like user_id:token<TAB>item_id:token<TAB>timestamp:float"
        )
    odd = [n for n in header.names if typed and n.rsplit(":", 1)[-1] not in ATOMIC_TYPES]
    if odd:
        raise InputError(
            f"{path}, line {header.line}: column {odd[0]!r} is of no type that atomic files have "
            f"({', '.join(ATOMIC_TYPES)}); mend the header"
        )
    names = plain(header.names)
    _check_names(header, names, needed, ours or {})
    wanted = [k for k, n in enumerate(names) if n and (others or n in needed)]
    columns = read_columns(header, wanted)
    types = dict(zip(names, (n.rsplit(":", 1)[-1] for n in header.names), strict=True))
    return Table(
        path,
        dict(zip((names[k] for k in wanted), columns.values, strict=True)),
        columns.lines,
        types={k: v for k, v in types.items() if typed},
        remarks=_remarks(header, first, names, columns.spread, others),
    )


def _remarks(
    header: Header, usual: str, names: Sequence[str], spread: list[int], others: bool
) -> list[str]:
    remarks = []
    if header.separator != usual:
        remarks.append(
            f"{header.path.name}: read with {SEPARATORS[header.separator]} as separators"
        )
    if others and "" in names:
        remarks.append(f"{header.path.name}: the column without a name is left out")
    if spread:
        remarks.append(
            f"{header.path.name}: {len(spread):,} records go over several lines, the first from "
            f"line {spread[0]}; if they should not, a quote there is not closed"
        )
    return remarks


def _check_names(
    header: Header, names: Sequence[str], needed: Sequence[str], ours: Mapping[str, str]
) -> None:
    where = f"{header.path}, line {header.line}"
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"{where}: two columns are called {name!r}; rename one of them")
    missing = [name for name in needed if name not in names]
    if missing:
        found = separators_in(header.names, header.separator)
        found = f"; the line seems to have {found} between its fields" if found else ""
        option = columns_option({ours[n]: n for n in needed if n in ours}, names)
        named = f", or name the file's own columns: {option}" if ours else ""
        if any(_NUMBER.fullmatch(field) for n in names for field in n.split()):
            raise InputError(
                f"{where}: no column {missing[0]!r}, and the line reads like data, not like names: "
                f"{', '.join(names)}{found}; put a line of names before it, such as "
                f"{header.separator.join(needed)}"
            )
        raise InputError(
            f"{where}: no column {missing[0]!r} among {', '.join(names)}{found}; add it{named}"
        )


def columns_option(needed: Mapping[str, str], names: Sequence[str]) -> str:
    """The option that names a file's own columns, with a guess at them where there is one.

    needed: our name -> the column that was looked for.
    """
    guesses = []
    for ours, name in needed.items():
        parts = _LIKE.get(ours, (ours,))
        like = (n for n in names if n.isidentifier() and any(p in n.lower() for p in parts))
        guesses.append(f"{ours}={name if name in names else next(like, 'NAME')}")
    return f"--columns {','.join(guesses)}"


def _parquet(
    path: Path, content: bytes, needed: Sequence[str], others: bool, ours: Mapping[str, str]
) -> Table:
    try:
        frame = pq.ParquetFile(io.BytesIO(content)).read()
        names = [n if not n.startswith("__index_level_") else "" for n in frame.column_names]
        _check_names(Header(path, tuple(names), 1, ",", False), names, needed, ours)
        columns, types = {}, {}
        for place, name in enumerate(names):
            if name and (others or name in needed):
                columns[name], other = _text(frame.column(place), f"{path}: column {name!r}")
                if other:
                    types[name] = other
    except InputError as error:
        raise InputError(str(error).replace(", line 1:", ":", 1)) from error
    except Exception as error:  # damaged files make Arrow raise what it likes, down to IndexError
        raise InputError(
            f"{path}: not a readable Parquet file ({_first_line(error)}); write it again"
        ) from error
    rows = np.arange(1, frame.num_rows + 1, dtype=np.int64)
    return Table(path, columns, rows, unit="row", types=types)


def _text(column: Any, where: str) -> tuple[list[str], str]:
    """A column as the text that a CSV file has of it, and its type unless text or whole number.

    A missing value is empty, lists are joined by '|', points in time are whole nanoseconds since
    1970.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    other = str(kind)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if pa.types.is_timestamp(kind):
            values, factor = column.cast(pa.int64()).to_pylist(), NANOSECONDS[kind.unit]
        elif pa.types.is_date32(kind):
            values, factor = column.cast(pa.int32()).to_pylist(), 86_400 * 10**9
        else:
            values, factor = column.cast(pa.int64()).to_pylist(), 10**6
        return ["" if v is None else str(v * factor) for v in values], other
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        rows = [[] if v is None else v for v in column.to_pylist()]
        return ["|".join(str(v) for v in row if v is not None) for row in rows], other
    if pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind):
        raise InputError(f"{where} is of type {kind}; save it as text, or drop the column")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = [None if v is None else _decoded(v, where) for v in column.to_pylist()]
    else:
        values = column.to_pylist()
    if _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        other = ""
    shared: dict[object, str] = {None: ""}
    return [shared.setdefault(v, str(v)) for v in values], other


def _decoded(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where} holds {value!r}, which is not UTF-8; save it as text") from error


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
