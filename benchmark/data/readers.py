"""Source files -> frames of interactions and items, with errors that name file, line and remedy.

Interactions have the columns user, item (strings, the source's ids) and timestamp (int64 or
float64, any unit) and keep the file's row order. Items have id, title, text (what a text encoder
reads) and one column of '|'-joined values for every categorical attribute.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data import formats
from benchmark.data.config import InteractionFormat, ItemFormat
from benchmark.data.content import ITEM_COLUMNS
from benchmark.data.ids import look_alikes, look_rounded, missing_alike
from benchmark.data.tables import Table, read_table
from benchmark.data.times import parse_times
from benchmark.errors import InputError

INTERACTION_COLUMNS = ("user", "item", "timestamp")
READ_ATTRIBUTES = ("genre", "brand", "category")
"""Attributes that some row reads (baselines/smlp4rec.py); others are kept with the items alone."""
RESERVED = ("item", *ITEM_COLUMNS)
"""Columns of the items that mean something, which no attribute can be called."""


def read_interactions(
    path: Path,
    form: InteractionFormat,
    ids: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    remarks: list[str] | None = None,
) -> pd.DataFrame:
    """Interactions of one file. Raises InputError.

    ids: renames the items of `sequences`. columns: names of user, item and timestamp in a `table`
    or an atomic file, where they are not the usual ones. remarks: takes what the user should know
    of how the file was read.
    """
    match form:
        case "table":
            table = _renamed(path, {name: name for name in INTERACTION_COLUMNS}, columns)
        case "atomic":
            usual = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
            table = _renamed(path, usual, columns, typed=True)
        case "sequences":
            table = formats.sequences(path, ids)
        case "grouplens":
            table = formats.grouplens(path)
        case "amazon-reviews":
            table = formats.reviews(path)
    frame, found = _checked(table)
    if remarks is not None:
        remarks += found
    return frame


def read_items(
    path: Path,
    form: ItemFormat,
    columns: Mapping[str, str] | None = None,
    remarks: list[str] | None = None,
    title_tags: Path | None = None,
    complete: bool = False,
) -> pd.DataFrame:
    """Items of one file, ids unique. Raises InputError.

    columns: names of id, title and text in the user's own file (`items`, `atomic`), where they are
    others. remarks:
    as for `read_interactions`. title_tags: for `brand-category`, the table of texts that stand
    before brand and category. complete: for `movies`, leave out those without a plot or a poster.
    """
    found: list[str] = []
    match form:
        case "items":
            frame, found = _items(path, columns or {})
        case "movies":
            frame = formats.movies(path, complete=complete)
        case "brand-category":
            frame = formats.brand_category(path, title_tags)
        case "titles":
            frame = formats.titles(path)
        case "atomic":
            frame, found = _atomic_items(path, columns or {})
        case "amazon-metadata":
            frame = formats.amazon_metadata(path)
    if frame.empty:
        raise InputError(f"{path}: describes no item; the file is empty or was cut off")
    repeated = frame["id"].duplicated()
    if repeated.any():
        item = frame["id"][repeated].iloc[0]
        raise InputError(f"{path}: item {item!r} is described twice; keep one row an item")
    others = [column for column in frame.columns if column not in ITEM_COLUMNS]
    if remarks is not None:
        remarks += found
    return frame[[*ITEM_COLUMNS, *others]].reset_index(drop=True)


def _checked(table: Table) -> tuple[pd.DataFrame, list[str]]:
    """Validated interactions (no empty id, timestamps that are numbers, no duplicate row), and
    remarks."""
    if len(table) == 0:
        raise InputError(f"{table.path}: no interactions; the file is empty or was cut off")
    frame = pd.DataFrame(
        {
            "user": table.ids("user"),
            "item": table.ids("item"),
            "timestamp": _times(table),
        }
    )
    repeated = frame.duplicated().to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        user, item, _ = frame.iloc[row]
        raise InputError(
            f"{table.at(row)}: duplicate interaction of user {user!r} with item {item!r} at the "
            "same timestamp; remove one of the two rows"
        )
    remarks = list(table.remarks)
    for name in INTERACTION_COLUMNS:
        remarks += _shortened(table, name)
    for name in ("user", "item"):
        remarks += _missing(table, name)
        alike = look_alikes(dict.fromkeys(table.columns[name]))
        if alike:
            one, other = alike[0]
            remarks.append(
                f"{table.path.name}: {len(alike):,} pairs of {name} ids look alike and count as "
                f"different, such as {one!r} and {other!r}"
            )
    return frame, remarks


def _shortened(table: Table, name: str) -> list[str]:
    found = look_rounded(dict.fromkeys(table.columns[name]))
    if not found:
        return []
    return [
        f"{table.path.name}: {len(found):,} different values of {name}, such as {found[0]!r}, look "
        "like numbers that a spreadsheet has shortened, by which several become one; save the "
        "column as text"
    ]


_SHORT = {"float": 2**24, "halffloat": 2**11}
"""Types of a Parquet column -> up to which number they hold every whole one."""


def _times(table: Table) -> NDArray[np.int64] | NDArray[np.float64]:
    """The timestamps. Raises InputError for what is none, and for a type that has rounded them."""
    times = parse_times(table.columns["timestamp"], table.at)
    kind = table.types.get("timestamp", "")
    if kind in _SHORT and (np.abs(times) > _SHORT[kind]).any():
        row = int(np.argmax(np.abs(times)))
        raise InputError(
            f"{table.at(row)}: timestamp {table.columns['timestamp'][row]} is of type {kind}, in "
            f"which whole numbers above {_SHORT[kind]:,} are rounded; save the column as int64"
        )
    return times


def _renamed(
    path: Path,
    usual: Mapping[str, str],
    columns: Mapping[str, str] | None,
    *,
    typed: bool = False,
) -> Table:
    """A table whose columns have our names."""
    names = {**usual, **(columns or {})}
    known_as = {theirs: name for name, theirs in names.items()}
    table = read_table(path, list(names.values()), typed=typed, ours=known_as)
    for ours in ("user", "item"):
        if typed and table.types[names[ours]] == "token_seq":
            raise InputError(
                f"{path}, line 1: column {names[ours]!r} is of type token_seq, and an id is one "
                "token; give each item a row of its own"
            )
    types = {} if typed else table.types  # an atomic file's say how RecBole reads a column
    return Table(
        path,
        {ours: table.columns[theirs] for ours, theirs in names.items()},
        table.lines,
        table.unit,
        {ours: types[theirs] for ours, theirs in names.items() if theirs in types},
        table.remarks,
    )


def _items(path: Path, columns: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """A user's own table of items, its columns besides id, title and text attributes."""
    ours = {columns.get("id", "id"): "id"} | {theirs: name for name, theirs in columns.items()}
    table = read_table(path, list(ours), others=True, ours=ours)
    frame: dict[str, list[str]] = {}
    for theirs, values in table.columns.items():
        name = ours.get(theirs, theirs)
        if name in frame or name == "item" or (theirs not in ours and name in columns):
            raise InputError(
                f"{path}, line 1: column {theirs!r} has a name that the dataset needs for itself; "
                "rename it, or drop it"
            )
        tidy = str.strip if name in ITEM_COLUMNS else _apart
        frame[name] = table.ids(theirs) if name == "id" else [tidy(v) for v in values]
    blank = [""] * len(table)
    remarks = list(table.remarks)
    for name in table.columns:
        remarks += _missing(table, name)
        lists = sum(v.startswith("[") and v.endswith("]") for v in table.columns[name])
        if lists and ours.get(name, name) not in ITEM_COLUMNS:
            remarks.append(
                f"{path.name}: {name} has {lists:,} fields such as '[...]', each of which is one "
                "value; write several values with | between them"
            )
    return pd.DataFrame({"title": blank, "text": blank} | frame), remarks


def _apart(cell: str) -> str:
    """A field without the blanks around it and around the bars between its values, which would
    make one value into several."""
    return "|".join(part.strip() for part in cell.split("|"))


def _missing(table: Table, name: str) -> list[str]:
    """A remark on a column with words that programs write for a missing value."""
    found = missing_alike(table.columns[name])
    if not found:
        return []
    first = table.lines[table.columns[name].index(found[0])]
    return [
        f"{table.path.name}: {len(found):,} rows have such as {found[0]!r} for {name}, the first "
        f"in {table.unit} {first}, and it is read as it stands: leave empty what is missing"
    ]


def _atomic_items(path: Path, renamed: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """An atomic .item file: token and token_seq columns are attributes; they and the title are its
    text, unless a column of its own is named for that."""
    key, text = renamed.get("id", "item_id"), renamed.get("text")
    ours = {key: "id"} | {theirs: name for name, theirs in renamed.items()}
    table = read_table(path, list(ours), others=True, typed=True, ours=ours)
    types, columns = table.types, table.columns
    table.types = {}
    usual = (name for name in columns if name.endswith("title"))
    title = renamed.get("title") or next(usual, None)
    attributes = {
        ours.get(name, name): ["|".join(v.split()) for v in values]
        if types[name] == "token_seq"
        else values
        for name, values in columns.items()
        if name not in {key, title, text} and types[name] in {"token", "token_seq"}
    }
    for name in attributes:
        if name in RESERVED:
            raise InputError(
                f"{path}, line 1: column '{name}:{types[name]}' has a name that the dataset needs "
                "for itself; rename it, or drop it"
            )
        if name in renamed and name in columns and renamed[name] != name:
            raise InputError(
                f"{path}, line 1: column {name!r} has the name that --columns gives to "
                f"{renamed[name]!r}; rename it, or drop it"
            )
    titles = columns[title] if title else [""] * len(table)
    parts = [titles, *([v.replace("|", ", ") for v in a] for a in attributes.values())]
    texts = ["; ".join(filter(None, row)) for row in zip(*parts, strict=True)]
    if text is not None:
        texts = columns[text]
    frame = {"id": table.ids(key), "title": titles, "text": texts, **attributes}
    return pd.DataFrame(frame), table.remarks
