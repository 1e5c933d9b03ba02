"""What the fields of a table mean: columns, cells, roles, protocol; rows for the checks.

Everything that is not read as it stands follows a stated rule, and the rule is repeated in the
report ("read as"). What is left out is named with its reason ("not checked").
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, get_args

from rankaudit.errors import InputError
from rankaudit.findings import Skipped
from rankaudit.markup import distinct, latex_tables, markdown_tables, plain
from rankaudit.metrics import Metric
from rankaudit.printed import ABSENT, RULES, Comma, Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.reading import Table, read_delimited, read_text
from rankaudit.rows import Role, Row

RESERVED = (
    "table", "dataset", "row", "group", "role", "versus", "targets", "candidates", "rounding",
    "ties", "users", "runs", "source", "metric",
)  # fmt: skip
_SYNONYMS = {
    "method": "row", "methods": "row", "model": "row", "models": "row", "algorithm": "row",
    "algorithms": "row", "approach": "row", "baseline": "row", "baselines": "row",
    "data": "dataset", "datasets": "dataset", "data set": "dataset", "metrics": "metric",
    "measure": "metric", "user group": "group", "subgroup": "group", "bucket": "group",
    "#users": "users", "seeds": "runs",
}  # fmt: skip
_IMPROVEMENT = re.compile(r"(rel(ative|\.)?\s*)?(improv|impr?\.|imp$|gain|Δ)", re.I)
_OURS = re.compile(r"(\(ours\)$|^ours$|^\*?ours\*?$)", re.I)
_PERCENT = re.compile(r"\s*[(\[]?\s*%\s*[)\]]?\s*$")
_NO_METRIC = (
    "a metric (NDCG@k, MRR@k, MRR, HR@k, Recall@k, Precision@k, MAP@k)"
)  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """What holds for every row that does not say otherwise; the fields are those of the file.

    percent: whether every metric column is in per cent.
    """

    targets: str = ""
    candidates: str = ""
    rounding: str = ""
    ties: str = ""
    users: str = ""
    runs: str = ""
    percent: bool = False


@dataclass
class Reading:
    """The rows of a file, the rules by which it was read, and what was left out."""

    rows: list[Row] = field(default_factory=list)
    read_as: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Remember a rule once."""
        if text not in self.read_as:
            self.read_as.append(text)


@dataclass(frozen=True)
class _Column:
    """A column: a reserved name, or a metric (of a dataset that the header names), or a method."""

    reserved: str = ""
    metric: Metric | None = None
    percent: bool = False
    dataset: str = ""
    title: str = ""


@dataclass
class _Entry:
    """A row before its fields are read: its reserved fields, and metric cells as text."""

    where: str
    fields: dict[str, str]
    cells: dict[Metric, tuple[str, bool, str]]


def read_tables(path: Path) -> Sequence[Table]:
    """The tables of a file: LaTeX if it has a tabular, Markdown if it has a `|---|` line, else CSV.

    Raises InputError that names the file, the line and the remedy.
    """
    text = read_text(path)
    if "\\begin{tabular" in text or "\\begin{longtable" in text or path.suffix == ".tex":
        return latex_tables(text, str(path))
    return markdown_tables(text, str(path)) or [read_delimited(text, str(path))]


def read_rows(path: Path, defaults: Defaults = Defaults()) -> list[Row]:
    """Read the result rows of a file. Raises InputError that names file, line and remedy."""
    return read_file(path, defaults).rows


def read_file(path: Path, defaults: Defaults = Defaults()) -> Reading:
    """Read the result rows of a file, with the rules used and what was left out.

    Raises InputError that names the file, the line and the remedy.
    """
    reading = Reading()
    seen: dict[tuple[str, str, str, str], str] = {}
    for table in read_tables(path):
        comma = _comma(table)
        for entry in _entries(path, table, reading):
            row = _row(entry, defaults, comma, table, reading)
            key = (row.table, row.dataset, row.group, row.name)
            if key in seen:
                raise InputError(
                    f"{entry.where}: '{row.label}' stands already in {seen[key]} for the same "
                    "table and dataset; give it another name or group"
                )
            seen[key] = entry.where.removeprefix(f"{path}, ")
            reading.rows.append(row)
    if not reading.rows:
        raise InputError(f"{path}: a header and no rows; add one line per printed row")
    return reading


def _comma(table: Table) -> Comma:
    """How the file writes its decimals, for a cell that does not tell: `3,400 %`."""
    if table.source == "csv" and table.delimiter == ",":
        return "refuse"
    fields = [text for record in table.records for text in record.fields]
    if any(re.search(r"\d\.\d", text) for text in fields):
        return "thousands"
    return "decimal" if any(re.search(r"\b0,\d", text) for text in fields) else "refuse"


def _entries(path: Path, table: Table, reading: Reading) -> Iterator[_Entry]:
    columns = _columns(path, table, reading)
    if any(column.reserved == "metric" for column in columns):
        yield from _by_method(path, table, columns, reading)
        return
    heading = ""
    datasets = list(distinct([column.dataset for column in columns if column.metric]))
    for record in table.records:
        where = f"{path}, line {record.line}"
        if table.source != "csv" and len(set(distinct(record.fields))) == 1:
            heading = plain(next(distinct(record.fields)))
            reading.note(f"a row with one text is a heading: '{heading}' is read as a dataset")
            continue
        fields = _reserved(table, columns, record.fields)
        fields["dataset"] = fields.get("dataset") or heading
        for dataset in datasets or [""]:
            cells = {
                column.metric: (text, column.percent, column.title)
                for column, text in zip(columns, record.fields, strict=True)
                if column.metric is not None and column.dataset == dataset
            }
            named = " ".join(distinct([fields["dataset"], dataset]))
            yield _Entry(where, {**fields, "dataset": named}, cells)


def _by_method(
    path: Path, table: Table, columns: Sequence[_Column], reading: Reading
) -> Iterator[_Entry]:
    """Entries of a table whose rows are metrics and whose columns are methods."""
    reading.note("a column 'metric' makes every other unnamed column a method")
    entries: dict[tuple[str, ...], _Entry] = {}
    for record in table.records:
        where = f"{path}, line {record.line}"
        fields = _reserved(table, columns, record.fields)
        name, percent = _percent(plain(fields.pop("metric", "")))
        metric = Metric.parse(name)
        if metric is None:
            reading.skipped.append(
                Skipped(what=f"line {record.line}, {name}", why=f"'{name}' is not {_NO_METRIC}")
            )
            continue
        for column, text in zip(columns, record.fields, strict=True):
            if column.reserved or column.metric is not None:
                continue
            key = (fields.get("table", ""), fields.get("dataset", ""), fields.get("group", ""),
                   column.title)  # fmt: skip
            entry = entries.setdefault(key, _Entry(where, {**fields, "row": column.title}, {}))
            if metric in entry.cells:
                raise InputError(f"{where}: {metric} stands twice for '{column.title}'; drop one")
            entry.cells[metric] = (text, percent, str(metric))
    yield from entries.values()


def _reserved(table: Table, columns: Sequence[_Column], texts: Sequence[str]) -> dict[str, str]:
    fields = {c.reserved: t for c, t in zip(columns, texts, strict=True) if c.reserved}
    if table.source != "csv":
        fields = {name: plain(text) for name, text in fields.items()}
        fields["table"] = fields.get("table") or table.name
    return fields


def _columns(path: Path, table: Table, reading: Reading) -> list[_Column]:
    """What each column is. Raises InputError on columns that cannot be meant."""
    where = f"{path}, line {table.header_line}"
    titles = [" ".join(distinct([plain(level) for level in levels])) for levels in table.header]
    columns = [_column(levels, title, reading) for levels, title in
               zip(table.header, titles, strict=True)]  # fmt: skip
    by_method = any(column.reserved == "metric" for column in columns)
    if not any(column.reserved == "row" for column in columns) and not by_method:
        columns = _with_row(where, table, columns, reading)
    taken: dict[object, str] = {}
    for column in columns:
        key = column.reserved or ((column.metric, column.dataset) if column.metric else None)
        if key is None:
            continue
        if key in taken and taken[key] == column.title:
            raise InputError(f"{where}: column {column.title!r} stands twice; rename one")
        if key in taken and column.metric:
            raise InputError(
                f"{where}: column {column.title!r} repeats the metric {column.metric}; drop one"
            )
        if key in taken:
            raise InputError(
                f"{where}: columns {taken[key]!r} and {column.title!r} both mean "
                f"{column.reserved!r}; drop one"
            )
        taken[key] = column.title
    others = [c for c in columns if not c.reserved and not c.metric]
    if by_method:
        return columns
    for column in others:
        close = difflib.get_close_matches(column.title.lower(), RESERVED, n=1, cutoff=0.75)
        if close:
            raise InputError(
                f"{where}: column {column.title!r}; did you mean {close[0]!r}? Rename it"
            )
    if not any(column.metric for column in columns):
        if others:
            raise InputError(
                f"{where}: column {others[0].title!r} is neither {_NO_METRIC} nor one of "
                f"{', '.join(RESERVED)}"
            )
        raise InputError(f"{where}: no metric column; add at least one, such as NDCG@10")
    reading.skipped += [
        Skipped(what=f"column {c.title}", why=f"'{c.title}' is not {_NO_METRIC}") for c in others
    ]
    return columns


def _with_row(where: str, table: Table, columns: list[_Column], reading: Reading) -> list[_Column]:
    """The column of method names where none is called so: the first, if that can be told."""
    others = [i for i, c in enumerate(columns) if not c.reserved and not c.metric]
    if not others or (table.source == "csv" and columns[others[0]].title):
        raise InputError(f"{where}: no column 'row'; add one with the method's name")
    shown = columns[others[0]].title or "without a title"
    reading.note(f"the column {shown} holds the rows' names")
    columns[others[0]] = replace(columns[others[0]], reserved="row")
    return columns


def _column(levels: Sequence[str], title: str, reading: Reading) -> _Column:
    parts = list(distinct([plain(level) for level in levels]))
    if len(parts) == 1:
        lowered = parts[0].lower()
        if lowered in RESERVED:
            return _Column(reserved=lowered, title=parts[0])
        if lowered in _SYNONYMS:
            reading.note(f"column '{parts[0]}' is read as '{_SYNONYMS[lowered]}'")
            return _Column(reserved=_SYNONYMS[lowered], title=parts[0])
    stripped = [_percent(part) for part in parts]
    percent = any(in_percent for _, in_percent in stripped)
    names = [name for name, _ in stripped]
    # A metric in one level, or its name above its cut-off: "NDCG" over "@5", "5" or "top-5".
    for i, name in enumerate(names):
        metric = Metric.parse(name)
        rest = [other for j, other in enumerate(names) if j != i]
        for j, other in enumerate(names):
            cutoff = re.fullmatch(r"(?:@|top[- ]?|k\s*=\s*)?(\d+)", other, re.I)
            if i != j and cutoff and (joined := Metric.parse(f"{name}@{cutoff[1]}")):
                metric, rest = joined, [n for m, n in enumerate(names) if m not in (i, j)]
        if metric is not None:
            if name.lower() != str(metric).lower() and title.lower() != str(metric).lower():
                reading.note(f"column '{title}' is read as {metric}" + (" in per cent" * percent))
            return _Column(metric=metric, percent=percent, dataset=" ".join(rest), title=title)
    return _Column(title=title)


def _percent(name: str) -> tuple[str, bool]:
    """A name without a final `%`, `(%)` or `[%]`, and whether it had one."""
    stripped = _PERCENT.sub("", name)
    return stripped.strip(), stripped != name.rstrip()


def _row(entry: _Entry, defaults: Defaults, comma: Comma, table: Table, reading: Reading) -> Row:
    where, fields = entry.where, entry.fields
    name = fields.get("row", "")
    if not name:
        raise InputError(f"{where}: the field 'row' is empty; name the method")
    role = _role(where, fields, name, reading)
    cells: dict[Metric, Printed] = {}
    bare = True
    for metric, (text, percent, title) in entry.cells.items():
        if plain(text).lower() in ABSENT:
            if text not in ("", "-"):
                reading.note(f"cells: {RULES['absent']}")
            continue
        place = f"{where}, column {title}"
        improvement = role == "improvement"
        cell = Printed.parse(
            text,
            place,
            percent or improvement or defaults.percent,
            comma if improvement else "decimal",
        )
        bare &= "%" not in cell.text
        for rule in sorted(cell.rules):
            reading.note(f"cells: {RULES[rule]}")
        if not improvement and not 0.0 <= cell.value <= 1.0:
            raise InputError(
                f"{where}: {metric} {cell.text} is not between 0 and 1; put '%' after the "
                "column's name if its cells are in per cent, or use --percent"
            )
        cells[metric] = cell
    if role == "improvement" and bare and cells:
        reading.note("the numbers of an improvement row are in per cent throughout")
    return Row(
        table=fields.get("table", ""),
        dataset=fields.get("dataset", ""),
        name=name,
        cells=cells,
        group=fields.get("group", ""),
        role=role,
        protocol=Protocol(
            _targets(where, fields.get("targets") or defaults.targets),
            _count(where, "candidates", fields.get("candidates") or defaults.candidates, comma),
        ),
        rounding=_rounding(where, fields.get("rounding") or defaults.rounding),
        users=_count(where, "users", fields.get("users") or defaults.users, comma),
        runs=_count(where, "runs", fields.get("runs") or defaults.runs, comma),
        versus=fields.get("versus", ""),
        fractional_hits=_ties(where, fields.get("ties") or defaults.ties),
        as_fractions=bare,
    )


def _role(where: str, fields: dict[str, str], name: str, reading: Reading) -> Role:
    role = fields.get("role", "")
    if not role:
        if _IMPROVEMENT.match(name):
            reading.note(f"row '{name}' is read as an improvement row")
            return "improvement"
        if _OURS.search(name):
            reading.note(f"row '{name}' is read as the row that improvements are about")
            return "ours"
        return "result"
    if role not in get_args(Role):
        raise InputError(f"{where}: role {role!r} is not one of {', '.join(get_args(Role))}")
    return cast(Role, role)


def _count(where: str, name: str, text: str, comma: Comma) -> int | None:
    if not text:
        return None
    group = "." if comma == "decimal" else ","
    grouped = rf"\d{{1,3}}(?:[{group} ]\d{{3}})+"
    digits = re.sub(rf"[{group} ]", "", text) if re.fullmatch(grouped, text) else text
    if not (digits.isascii() and digits.isdigit()) or int(digits) == 0:
        raise InputError(f"{where}: {name} {text!r} is not a whole number of at least 1")
    return int(digits)


def _rounding(where: str, text: str) -> Rounding:
    match text:
        case "" | "once":
            return Rounding.ONCE
        case "twice":
            return Rounding.TWICE
    raise InputError(f"{where}: rounding {text!r} is neither 'once' nor 'twice'")


def _ties(where: str, text: str) -> bool:
    match text:
        case "" | "broken":
            return False
        case "expected":
            return True
    raise InputError(
        f"{where}: ties {text!r} is neither 'broken' (every target has one rank) nor 'expected' "
        "(hits are counted in expectation over ties)"
    )


def _targets(where: str, text: str) -> tuple[tuple[int, float], ...] | None:
    """`1`, another number, `any`, or shares such as `1:0.8 2:0.2` (or counts of users)."""
    if text == "any":
        return None
    if not text:
        return ((1, 1.0),)
    pairs = []
    for part in text.split():
        number, _, share = part.partition(":")
        try:
            pairs.append((int(number), float(share or 1.0)))
        except ValueError:
            pairs.append((0, 0.0))
    total = sum(share for _, share in pairs)
    if any(m < 1 or not share > 0 for m, share in pairs) or not total < float("inf"):
        raise InputError(
            f"{where}: targets {text!r} is neither a number of relevant items per ranking, nor "
            "'any', nor a distribution such as '1:0.8 2:0.2'"
        )
    return tuple((m, share / total) for m, share in pairs)
