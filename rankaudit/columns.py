"""What the columns of a table are: reserved names, metrics, and what is left out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rankaudit.errors import InputError
from rankaudit.findings import Skipped
from rankaudit.markup import distinct, plain
from rankaudit.metrics import Metric
from rankaudit.reading import Table
from rankaudit.rows import Row

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
_PERCENT = re.compile(r"\s*[(\[]?\s*%\s*[)\]]?\s*$")
NO_METRIC = (
    "a metric (NDCG@k, MRR@k, MRR, HR@k, Recall@k, Precision@k, MAP@k)"
)  # fmt: skip


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
class Column:
    """A column: a reserved name, or a metric (of a dataset that the header names), or a method."""

    reserved: str = ""
    metric: Metric | None = None
    percent: bool = False
    dataset: str = ""
    title: str = ""


def columns_of(path: Path, table: Table, reading: Reading) -> list[Column]:
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
                f"{where}: column {others[0].title!r} is neither {NO_METRIC} nor one of "
                f"{', '.join(RESERVED)}"
            )
        raise InputError(f"{where}: no metric column; add at least one, such as NDCG@10")
    reading.skipped += [
        Skipped(what=f"column {c.title}", why=f"'{c.title}' is not {NO_METRIC}") for c in others
    ]
    return columns


def _with_row(where: str, table: Table, columns: list[Column], reading: Reading) -> list[Column]:
    """The column of method names where none is called so: the first, if that can be told."""
    others = [i for i, c in enumerate(columns) if not c.reserved and not c.metric]
    if not others or (table.source == "csv" and columns[others[0]].title):
        raise InputError(f"{where}: no column 'row'; add one with the method's name")
    shown = columns[others[0]].title or "without a title"
    reading.note(f"the column {shown} holds the rows' names")
    columns[others[0]] = replace(columns[others[0]], reserved="row")
    return columns


def _column(levels: Sequence[str], title: str, reading: Reading) -> Column:
    parts = list(distinct([plain(level) for level in levels]))
    if len(parts) == 1:
        lowered = parts[0].lower()
        if lowered in RESERVED:
            return Column(reserved=lowered, title=parts[0])
        if lowered in _SYNONYMS:
            reading.note(f"column '{parts[0]}' is read as '{_SYNONYMS[lowered]}'")
            return Column(reserved=_SYNONYMS[lowered], title=parts[0])
    stripped = [without_percent(part) for part in parts]
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
            return Column(metric=metric, percent=percent, dataset=" ".join(rest), title=title)
    return Column(title=title)


def without_percent(name: str) -> tuple[str, bool]:
    """A name without a final `%`, `(%)` or `[%]`, and whether it had one."""
    stripped = _PERCENT.sub("", name)
    return stripped.strip(), stripped != name.rstrip()
