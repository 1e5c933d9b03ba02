"""Source files -> frames of interactions and items, with errors that name file, line and remedy.

Interactions have the columns user, item (strings, the source's ids) and timestamp (int64 or
float64, any spec) and keep the file's row order. Items have id, title, text (what a text encoder
reads) and one column of '|'-joined values for every categorical attribute.
"""

import ast
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.data.config import InteractionFormat, ItemFormat
from benchmark.data.content import ITEM_COLUMNS
from benchmark.errors import InputError

INTERACTION_COLUMNS = ("user", "item", "timestamp")


def read_interactions(
    path: Path, form: InteractionFormat, ids: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Interactions of one file; `ids` renames the items of `sequences`. Raises InputError."""
    match form:
        case "table":
            frame = read_table(path)
        case "sequences":
            frame = _sequences(path, ids)
        case "atomic":
            frame = _columns(_atomic(path), path, ("user_id", "item_id", "timestamp"))
            frame.columns = pd.Index(INTERACTION_COLUMNS)
        case "grouplens":
            frame = _grouplens(path)
        case "amazon-reviews":
            frame = _reviews(path)
    return check_interactions(frame, path, header=form != "grouplens")


def read_items(path: Path, form: ItemFormat) -> pd.DataFrame:
    """Items of one file, ids unique. Raises InputError."""
    match form:
        case "items":
            frame = _strings(path).fillna("")
            frame = _columns(frame, path, ("id",), keep_others=True)
            for column in ("title", "text"):
                if column not in frame:
                    frame[column] = ""
        case "movies":
            frame = _movies(path)
        case "brand-category":
            frame = _brand_category(path)
        case "titles":
            frame = _titles(path)
        case "atomic":
            frame = _atomic_items(path)
        case "amazon-metadata":
            frame = _amazon_metadata(path)
    repeated = frame["id"].duplicated()
    if repeated.any():
        item = frame["id"][repeated].iloc[0]
        raise InputError(f"{path}: item {item!r} is described twice; keep one row an item")
    others = [column for column in frame.columns if column not in ITEM_COLUMNS]
    return frame[[*ITEM_COLUMNS, *others]].reset_index(drop=True)


def check_interactions(frame: pd.DataFrame, path: Path, *, header: bool) -> pd.DataFrame:
    """Validated interactions: no empty id, numeric timestamps, no duplicate row.

    header: whether the file's first line holds the column names (for line numbers in errors).
    """
    lines = header + 1
    if frame.empty:
        raise InputError(f"{path}: no interactions; the file is empty or was cut off")
    for column in ("user", "item"):
        empty = frame[column].isna() | (frame[column].astype("string").str.strip() == "")
        if empty.any():
            line = int(np.argmax(empty.to_numpy())) + lines
            raise InputError(f"{path}, line {line}: {column} is empty; fill it in or drop the row")
    number = pd.to_numeric(frame["timestamp"], errors="coerce").astype("float64")
    bad = ~np.isfinite(number.to_numpy())
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{path}, line {row + lines}: timestamp {frame['timestamp'].iloc[row]!r} is not a "
            "number; give seconds (any spec that grows with time does)"
        )
    checked = pd.DataFrame(
        {
            "user": frame["user"].astype(str),
            "item": frame["item"].astype(str),
            "timestamp": number.astype("int64") if (number % 1 == 0).all() else number,
        }
    )
    repeated = checked.duplicated().to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        user, item, _ = checked.iloc[row]
        raise InputError(
            f"{path}, line {row + lines}: duplicate interaction of user {user!r} with item "
            f"{item!r} at the same timestamp; remove one of the two rows"
        )
    return checked


def read_table(
    path: Path, columns: tuple[str, str, str] = ("user", "item", "timestamp")
) -> pd.DataFrame:
    """A CSV, TSV or Parquet file of interactions; `columns` are its names for user, item, time."""
    frame = _columns(_strings(path), path, columns)
    frame.columns = pd.Index(INTERACTION_COLUMNS)
    return frame


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """(line number, record) of a file with one record a line, plain or gzipped.

    Amazon's 2014 files are Python literals rather than JSON; both are read.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as handle:
            for line, text in enumerate(handle, start=1):
                yield line, _record(text, path, line)
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the compressed file is cut off or damaged; delete it and download it again"
        ) from error


def _record(text: str, path: Path, line: int) -> dict[str, object]:
    try:
        try:
            record = json.loads(text)
        except json.JSONDecodeError:
            record = ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}, line {line}: not a record; download the file again") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}, line {line}: not a record; download the file again")
    return record


def _strings(path: Path) -> pd.DataFrame:
    """Every column as text, so that ids such as 007 survive."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: not a readable Parquet file ({error}); write it again"
            ) from error
    separator = "\t" if path.suffix in {".tsv", ".inter", ".item"} else ","
    try:
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; save it as UTF-8 text with one header line") from error


def _columns(
    frame: pd.DataFrame, path: Path, names: tuple[str, ...], *, keep_others: bool = False
) -> pd.DataFrame:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise InputError(
            f"{path}, line 1: no column {missing[0]!r} among {', '.join(map(str, frame.columns))}; "
            "add it, or name the file's own columns"
        )
    return frame if keep_others else frame[list(names)].copy()


def _sequences(path: Path, ids: Mapping[str, str] | None) -> pd.DataFrame:
    """`user item item ...` in time order, one user a line: the place is the timestamp."""
    users: list[str] = []
    items: list[str] = []
    places: list[int] = []
    known: set[str] = set()
    with path.open(encoding="utf-8") as handle:
        for line, text in enumerate(handle, start=1):
            user, *sequence = text.split() or [""]
            if not sequence:
                raise InputError(f"{path}, line {line}: a user and at least one item are expected")
            if user in known:
                raise InputError(
                    f"{path}, line {line}: user {user!r} stands on two lines; join them"
                )
            known.add(user)
            if ids is not None:
                unknown = [item for item in sequence if item not in ids]
                if unknown:
                    raise InputError(f"{path}, line {line}: item {unknown[0]!r} is not described")
                sequence = [ids[item] for item in sequence]
            users.extend([user] * len(sequence))
            items.extend(sequence)
            places.extend(range(len(sequence)))
    return pd.DataFrame({"user": users, "item": items, "timestamp": places})


def _grouplens(path: Path) -> pd.DataFrame:
    """u.data of MovieLens-100k, inside the official zip: user, item, rating, timestamp."""
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("ml-100k/u.data")
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"{path}: not the ml-100k.zip of GroupLens, or damaged; delete it and download it again"
        ) from error
    frame = pd.read_csv(
        io.BytesIO(text), sep="\t", dtype=str, header=None, names=["user", "item", "_", "timestamp"]
    )
    return frame[list(INTERACTION_COLUMNS)]


def _atomic(path: Path) -> pd.DataFrame:
    """A RecBole atomic file: tab-separated, header `name:type`; the types are dropped."""
    frame = _strings(path)
    untyped = [name for name in frame.columns if ":" not in name]
    if untyped:
        raise InputError(
            f"{path}, line 1: column {untyped[0]!r} has no type; an atomic file's header reads "
            "like user_id:token<TAB>item_id:token<TAB>timestamp:float"
        )
    return frame.rename(columns={name: name.rsplit(":", 1)[0] for name in frame.columns})


def _atomic_items(path: Path) -> pd.DataFrame:
    """An atomic .item file: token and token_seq columns are attributes; they and the title text."""
    types = dict(name.rsplit(":", 1) for name in _strings(path).columns if ":" in name)
    frame = _columns(_atomic(path), path, ("item_id",), keep_others=True)
    title = next((name for name in frame.columns if name.endswith("title")), None)
    items = pd.DataFrame({"id": frame["item_id"], "title": frame[title] if title else ""})
    attributes = {
        name: frame[name].str.split().str.join("|") if form == "token_seq" else frame[name]
        for name, form in types.items()
        if name not in {"item_id", title} and form in {"token", "token_seq"}
    }
    parts = [items["title"], *(a.str.replace("|", ", ") for a in attributes.values())]
    items["text"] = ["; ".join(filter(None, row)) for row in zip(*parts, strict=True)]
    return items.assign(**attributes)


def _movies(path: Path) -> pd.DataFrame:
    """MovieLens-100k: title, genres and plot overview."""
    names = ("movie_id", "title", "genres", "overview")
    frame = _columns(_strings(path), path, names)
    text = [
        " ".join(filter(None, (f"{title}.", f"{genres.replace('|', ', ')}." * bool(genres), plot)))
        for title, genres, plot in zip(frame.title, frame.genres, frame.overview, strict=True)
    ]
    return pd.DataFrame(
        {"id": frame["movie_id"], "title": frame["title"], "text": text, "genre": frame["genres"]}
    )


DEPARTMENTS = frozenset(
    ("Bath & Body", "Fragrance", "Hair Care", "Makeup", "Skin Care", "Tools & Accessories")
)
"""The first level of Beauty's category tree."""


def _brand_category(path: Path) -> pd.DataFrame:
    """Beauty's brand and category path in one '|'-joined column; some products have no brand.

    Whatever stands before the first level of the category tree is the brand.
    """
    frame = _columns(_strings(path), path, ("asin", "attributes"))
    brands, categories = [], []
    for line, attributes in enumerate(frame["attributes"], start=2):
        values = attributes.split("|")
        start = next((i for i, value in enumerate(values) if value in DEPARTMENTS), None)
        if start is None or start > 1:
            raise InputError(
                f"{path}, line {line}: {attributes!r} holds none of the departments "
                f"{', '.join(sorted(DEPARTMENTS))}, at most a brand before it"
            )
        brands.append(values[0] if start else "")
        categories.append(values[start:])
    return pd.DataFrame(
        {
            "id": frame["asin"],
            "title": "",
            "text": [
                describe(brand, path_) for brand, path_ in zip(brands, categories, strict=True)
            ],
            "brand": brands,
            "category": ["|".join(dict.fromkeys(path_)) for path_ in categories],
        }
    )


def describe(brand: str, categories: list[str]) -> str:
    """Brand and category path as a text encoder reads them: 'OPI: Makeup, Nails, Nail Polish'."""
    return f"{brand}: {', '.join(categories)}" if brand else ", ".join(categories)


def _titles(path: Path) -> pd.DataFrame:
    """MicroLens: item, title; the 50K file has a header line, the 100K file may have none."""
    ids: list[str] = []
    titles: list[str] = []
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.reader(handle):
            if len(row) < 2:
                raise InputError(f"{path}: row {row!r} is not `item,title`")
            if not ids and not row[0].strip().isdigit():
                continue  # the header
            ids.append(row[0].strip())
            titles.append(",".join(row[1:]).strip())
    return pd.DataFrame({"id": ids, "title": titles, "text": titles})


def _reviews(path: Path) -> pd.DataFrame:
    """reviews_Beauty_5.json.gz: one review a line."""
    rows = []
    for line, record in json_lines(path):
        try:
            rows.append((record["reviewerID"], record["asin"], record["unixReviewTime"]))
        except KeyError as error:
            raise InputError(
                f"{path}, line {line}: no field {error}; it is not the file of reviews"
            ) from error
    return pd.DataFrame(rows, columns=INTERACTION_COLUMNS)


def _amazon_metadata(path: Path) -> pd.DataFrame:
    """meta_Beauty.json.gz: title, brand, first category path and description."""
    rows = []
    for line, record in json_lines(path):
        asin = record.get("asin")
        if not isinstance(asin, str):
            raise InputError(f"{path}, line {line}: no field 'asin'; download the file again")
        title = str(record.get("title") or "").strip()
        brand = str(record.get("brand") or "").strip()
        paths = record.get("categories")
        first = paths[0] if isinstance(paths, list) and paths else []
        # the first entry is the file's own department, the same for every product
        levels = [str(level) for level in first][1:]
        about = " ".join(str(record.get("description") or "").split())
        text = " ".join(filter(None, (f"{title}." * bool(title), describe(brand, levels), about)))
        rows.append((asin, title, text, brand, "|".join(dict.fromkeys(levels))))
    return pd.DataFrame(rows, columns=["id", "title", "text", "brand", "category"])
