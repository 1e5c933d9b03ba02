"""Formats of the named datasets' own files: sequences, GroupLens, Amazon, MicroLens, and tables of
movies and of brands."""

import ast
import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.data.tables import Table, read_table
from benchmark.errors import InputError
from rankaudit.text_table import records, text_lines


def sequences(path: Path, ids: Mapping[str, str] | None) -> Table:
    """`user item item ...` in time order, one user a line: the place is the timestamp."""
    users: list[str] = []
    items: list[str] = []
    places: list[str] = []
    lines: list[int] = []
    known: set[str] = set()
    for line, text in enumerate(text_lines(path), start=1):
        user, *sequence = text.split() or [""]
        if not sequence:
            raise InputError(f"{path}, line {line}: a user and at least one item are expected")
        if user in known:
            raise InputError(f"{path}, line {line}: user {user!r} stands on two lines; join them")
        known.add(user)
        if ids is not None:
            unknown = [item for item in sequence if item not in ids]
            if unknown:
                raise InputError(f"{path}, line {line}: item {unknown[0]!r} is not described")
            sequence = [ids[item] for item in sequence]
        users.extend([user] * len(sequence))
        items.extend(sequence)
        places.extend(map(str, range(len(sequence))))
        lines.extend([line] * len(sequence))
    return _table(path, users, items, places, lines)


def grouplens(path: Path) -> Table:
    """Ratings inside an official zip of GroupLens: user, item, rating, timestamp.

    ml-100k/u.data has its items' numbers; those of ml-1m/ratings.dat are given their titles by
    ml-1m/movies.dat, as RecBole's copy of that dataset has them.
    """
    edition, member, separator = "ml-100k", "ml-100k/u.data", "\t"
    titles: dict[str, str] | None = None
    if path.name == "ml-1m.zip":
        edition, member, separator = "ml-1m", "ml-1m/ratings.dat", "::"
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(member).decode()
            if edition == "ml-1m":
                lines = archive.read("ml-1m/movies.dat").decode("latin-1").splitlines()
                titles = {line.split("::")[0]: line.split("::")[1] for line in lines}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,  # no such member
        IndexError,  # a line of movies.dat without a title
        EOFError,
        OSError,
        UnicodeDecodeError,
        RuntimeError,  # a password
        NotImplementedError,  # another method of compression
    ) as error:
        raise InputError(
            f"{path}: not the {edition}.zip of GroupLens, or damaged; delete it and download it "
            "again"
        ) from error
    where = f"{path} ({member})"
    rows = list(records(io.StringIO(text, newline=""), separator, quoted=False, where=where))
    for row in rows:
        if len(row.fields) != 4:
            raise InputError(
                f"{where}: line {row.line} has {len(row.fields)} fields, not 4; delete the file "
                "and download it again"
            )
        if titles is not None and row.fields[1] not in titles:
            raise InputError(
                f"{where}, line {row.line}: movie {row.fields[1]!r} is not in ml-1m/movies.dat; "
                "delete the file and download it again"
            )
    users, items, _, times = zip(*(row.fields for row in rows), strict=True) if rows else [()] * 4
    if titles is not None:
        items = tuple(titles[item] for item in items)
    return _table(path, users, items, times, [row.line for row in rows])


def _table(
    path: Path,
    users: Sequence[str],
    items: Sequence[str],
    times: Sequence[str],
    lines: Sequence[int],
) -> Table:
    columns = {"user": list(users), "item": list(items), "timestamp": list(times)}
    return Table(path, columns, np.array(lines, dtype=np.int64))


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """(line number, record) of a file with one record a line, plain or compressed.

    Amazon's 2014 files are Python literals rather than JSON; both are read.
    """
    for line, text in enumerate(text_lines(path), start=1):
        yield line, _record(text, path, line)


def _whole(text: str) -> str:
    """Text whose escapes spell characters in two halves, joined; a half alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _record(text: str, path: Path, line: int) -> dict[str, object]:
    try:
        try:
            record = json.loads(text)
        except json.JSONDecodeError:
            record = ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}, line {line}: not a record; download the file again") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}, line {line}: not a record; download the file again")
    return record


def read_numbering(path: Path) -> dict[str, str]:
    """Number of an item in `sequences` -> the source's id: the first two columns of a table."""
    table = read_table(path, [], others=True)
    if len(table.columns) < 2:
        raise InputError(f"{path}, line 1: two columns are expected, an item's number and its id")
    numbers, ids = (table.ids(name) for name in list(table.columns)[:2])
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{path}: a number stands on two rows; keep one row an item")
    return dict(zip(numbers, ids, strict=True))


def _frame(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """The columns `names` of a table, the first of them ids."""
    table = read_table(path, names)
    table.ids(names[0])
    return pd.DataFrame({name: table.columns[name] for name in names})


def movies(path: Path, *, complete: bool = False) -> pd.DataFrame:
    """MovieLens-100k: title, genres and plot overview. complete: leave out movies without a plot or
    without a poster (column tmdb_poster_path)."""
    frame = _frame(path, ("movie_id", "title", "genres", "overview"))
    if complete:
        poster = _frame(path, ("movie_id", "tmdb_poster_path"))["tmdb_poster_path"]
        frame = frame[(frame["overview"] != "") & (poster != "")].reset_index(drop=True)
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


def brand_category(path: Path, title_tags: Path | None = None) -> pd.DataFrame:
    """Beauty's brand and category path in one '|'-joined column; some products have no brand.

    Whatever stands before the first level of the category tree is the brand. title_tags: a table
    with the columns asin and tags; a product's text then reads 'its tags. Brand: category, path'.
    """
    table = read_table(path, ("asin", "attributes"))
    brands, categories = [], []
    for row, attributes in enumerate(table.columns["attributes"]):
        values = attributes.split("|")
        start = next((i for i, value in enumerate(values) if value in DEPARTMENTS), None)
        if start is None or start > 1:
            raise InputError(
                f"{table.at(row)}: {attributes!r} holds none of the departments "
                f"{', '.join(sorted(DEPARTMENTS))}, at most a brand before it"
            )
        brands.append(values[0] if start else "")
        categories.append(values[start:])
    ids = table.ids("asin")
    known = dict.fromkeys(ids, "") if title_tags is None else _tags(title_tags)
    unknown = next((item for item in ids if item not in known), None)
    if unknown is not None:
        raise InputError(f"{title_tags}: no row for item {unknown!r}, which {path} describes")
    tags = [known[item] for item in ids]
    return pd.DataFrame(
        {
            "id": ids,
            "title": "",
            "text": [
                " ".join(filter(None, (f"{tag}." * bool(tag), describe(brand, levels))))
                for tag, brand, levels in zip(tags, brands, categories, strict=True)
            ],
            "brand": brands,
            "category": ["|".join(dict.fromkeys(levels)) for levels in categories],
        }
    )


def _tags(path: Path) -> dict[str, str]:
    table = read_table(path, ("asin", "tags"))
    ids = table.ids("asin")
    if len(set(ids)) < len(ids):
        raise InputError(f"{path}: an item stands on two rows; keep one row an item")
    values = (" ".join(tags.split()) for tags in table.columns["tags"])
    return dict(zip(ids, values, strict=True))


def describe(brand: str, categories: list[str]) -> str:
    """Brand and category path as a text encoder reads them: 'OPI: Makeup, Nails, Nail Polish'."""
    return f"{brand}: {', '.join(categories)}" if brand else ", ".join(categories)


def titles(path: Path) -> pd.DataFrame:
    """MicroLens: item, title; the 50K file has a header line, the 100K file may have none."""
    ids: list[str] = []
    titles: list[str] = []
    reader = csv.reader(text_lines(path))
    line = 1
    try:
        for row in reader:
            if len(row) < 2 or any("\n" in value or "\r" in value for value in row):
                raise InputError(
                    f"{path}, line {line}: row {', '.join(row)[:60]!r} is not `item,title`"
                )
            if line > 1 or row[0].strip().isdigit():  # else the header
                if not row[0].strip():
                    raise InputError(f"{path}, line {line}: item is empty; drop the row")
                ids.append(row[0].strip())
                titles.append(",".join(row[1:]).strip())
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: not `item,title` ({error})") from error
    return pd.DataFrame({"id": ids, "title": titles, "text": titles})


def reviews(path: Path) -> Table:
    """reviews_Beauty_5.json.gz: one review a line."""
    rows: list[tuple[str, ...]] = []
    for line, record in json_lines(path):
        values = []
        for name in ("reviewerID", "asin", "unixReviewTime"):
            value = record.get(name)
            if value is None:
                raise InputError(
                    f"{path}, line {line}: no field {name!r}; it is not the file of reviews"
                )
            if not isinstance(value, str | int | float) or isinstance(value, bool):
                raise InputError(f"{path}, line {line}: field {name!r} is neither text nor number")
            values.append(_whole(str(value)))
        rows.append(tuple(values))
    users, items, times = zip(*rows, strict=True) if rows else [()] * 3
    return _table(path, users, items, times, range(1, len(rows) + 1))


def amazon_metadata(path: Path) -> pd.DataFrame:
    """meta_Beauty.json.gz: title, brand, first category path and description."""
    rows = []
    for line, record in json_lines(path):
        asin = record.get("asin")
        if not isinstance(asin, str) or not asin.strip():
            raise InputError(f"{path}, line {line}: no field 'asin'; download the file again")
        title = _whole(str(record.get("title") or "").strip())
        brand = _whole(str(record.get("brand") or "").strip())
        paths = record.get("categories")
        first = paths[0] if isinstance(paths, list) and paths else None
        # the first entry is the file's own department, the same for every product
        levels = [_whole(str(level)) for level in first[1:]] if isinstance(first, list) else []
        about = _whole(" ".join(str(record.get("description") or "").split()))
        text = " ".join(filter(None, (f"{title}." * bool(title), describe(brand, levels), about)))
        rows.append((_whole(asin), title, text, brand, "|".join(dict.fromkeys(levels))))
    return pd.DataFrame(rows, columns=["id", "title", "text", "brand", "category"])
