"""What the fields of a table mean: columns, cells, roles, protocol; rows for the checks.

Everything that is not read as it stands follows a stated rule, and the rule is repeated in the
report ("read as"). What is left out is named with its reason ("not checked").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from rankaudit.columns import NO_METRIC, Column, Reading, columns_of, without_percent
from rankaudit.errors import InputError
from rankaudit.findings import Skipped
from rankaudit.markup import distinct, latex_tables, markdown_tables, plain
from rankaudit.metrics import Metric
from rankaudit.printed import ABSENT, RULES, Comma, Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.reading import Table, read_delimited, read_text
from rankaudit.rows import Role, Row

_IMPROVEMENT = re.compile(
    r"%?\s*(?:(?:rel|relative|avg|average)\.?\s*)?"
    r"(?:improv\b.*|improve(?:ments?)?\b.*|rela?impr\.?|impr?\.?|gain|ri|Δ)"
    r"\s*(?:%|[(\[].*[)\]]|(?:over|vs\.?|to|of)\b.*)?",
    re.I,
)
_OVER = re.compile(r"\b(?:over|vs\.?|v\.s\.|against|to|w\.?r\.?t\.?)\s+(?P<row>.+?)\W*$", re.I)
"""Which row an improvement's name says that it is over."""
_SECTION = re.compile(r"\b(?:methods?|models?|baselines?|approaches|recommenders)$", re.I)
"""Of a heading over rows of one kind, which is no dataset's name."""
_MOST = 10**12
"""No count of users, runs or items is larger."""
_PERCENTAGE = re.compile(r"%|^\W*[+−↑-]|^\W*(?:[2-9]|\d{2,})[.,]|^\W*1[.,]\d*[1-9]")
_NO_METHOD = re.compile(
    r"(?:std\.?|s\.?d\.?|st\.?\s?dev\.?|standard (?:deviation|error)|variance|p|p[- ]?values?"
    r"|t[- ]?(?:test|stat(?:istic)?|value)s?|significance|(?:(?:avg|average|mean)\.?\s)?rank)",
    re.I,
)
_OURS = re.compile(r"(\(ours\)$|^ours$|^\*?ours\*?$)", re.I)


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
        entries = list(_entries(path, table, reading))
        signed = [_all_in_per_cent(entry) for entry in entries]
        for entry, alone in zip(entries, signed, strict=True):
            why = _no_result(entry, alone and not all(signed))
            if why:
                name = entry.fields["row"]
                reading.skipped.append(
                    Skipped(what=f"{name} ({entry.where.removeprefix(f'{path}, ')})", why=why)
                )
                continue
            row = _row(_with_versus(entry, entries, reading), defaults, comma, table, reading)
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


def _with_versus(entry: _Entry, entries: Sequence[_Entry], reading: Reading) -> _Entry:
    """An improvement whose name says which row it is over ("Improv. over SASRec") says so in its
    fields, where that row stands in the table."""
    name = plain(entry.fields.get("row", ""))
    match = _OVER.search(name)
    if entry.fields.get("versus") or match is None or not _named_improvement(entry, name):
        return entry
    rows = [other.fields.get("row", "") for other in entries]
    named = next((row for row in rows if plain(row).lower() == match["row"].lower()), "")
    if not named:
        return entry
    reading.note(f"row '{name}' is read as the improvement over '{plain(named)}'")
    return replace(entry, fields={**entry.fields, "versus": named})


def _all_in_per_cent(entry: _Entry) -> bool:
    """Whether all of several numbers of a row carry a sign of per cent."""
    texts = [plain(text) for text, _, _ in entry.cells.values()]
    numbers = [text for text in texts if text.lower() not in ABSENT]
    return len(numbers) > 1 and all("%" in text for text in numbers)


def _no_result(entry: _Entry, alone_in_per_cent: bool) -> str:
    """Why a row without a stated role is not taken for a method's results; empty if it is."""
    name = plain(entry.fields.get("row", ""))
    if entry.fields.get("role") or _named_improvement(entry, name):
        return ""
    if _NO_METHOD.fullmatch(name):
        return (
            "named like a spread or a test, not like a method; give it the role 'result' if it is"
        )
    if alone_in_per_cent:
        return (
            "its numbers are in per cent, those of other rows are not; give it the role "
            "'improvement' or 'result'"
        )
    return ""


def _named_improvement(entry: _Entry, name: str) -> bool:
    """Whether a row's name says that it is one of improvements: for certain, or with cells that
    look so (a method may be called GAIN)."""
    if _IMPROVEMENT.fullmatch(name) is None:
        return False
    texts = [plain(text) for text, _, _ in entry.cells.values()]
    return "%" in name or "improv" in name.lower() or any(map(_PERCENTAGE.search, texts))


def _comma(table: Table) -> Comma:
    """How the file writes its decimals, for a cell that does not tell: `3,400 %`."""
    if table.source == "csv" and table.delimiter == ",":
        return "refuse"
    fields = [text for record in table.records for text in record.fields]
    if any(re.search(r"\d\.\d", text) for text in fields):
        return "thousands"
    return "decimal" if any(re.search(r"\b0,\d", text) for text in fields) else "refuse"


def _entries(path: Path, table: Table, reading: Reading) -> Iterator[_Entry]:
    columns = columns_of(path, table, reading)
    table = _datasets_carried_down(table, columns, reading)
    if any(column.reserved == "metric" for column in columns):
        yield from _by_method(path, table, columns, reading)
        return
    heading = ""
    datasets = list(distinct([column.dataset for column in columns if column.metric]))
    for record in table.records:
        where = f"{path}, line {record.line}"
        if table.source != "csv" and len(set(distinct(record.fields))) == 1:
            text = plain(next(distinct(record.fields)))
            if _SECTION.search(text):
                reading.note(f"'{text}' heads rows of one kind, and is not read as a dataset")
                continue
            heading = text
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


def _datasets_carried_down(table: Table, columns: Sequence[Column], reading: Reading) -> Table:
    """On a page a dataset stands once, beside the first of its rows. In a CSV file an empty field
    says that there is none."""
    at = next((i for i, column in enumerate(columns) if column.reserved == "dataset"), None)
    if table.source == "csv" or at is None:
        return table
    above, records = "", []
    for record in table.records:
        fields = list(record.fields)
        if not fields[at].strip() and above and len(set(distinct(fields))) > 1:
            fields[at] = above
            reading.note("a row without a dataset has that of the row above")
        above = fields[at].strip() or above
        records.append(record._replace(fields=fields))
    return replace(table, records=tuple(records))


def _by_method(
    path: Path, table: Table, columns: Sequence[Column], reading: Reading
) -> Iterator[_Entry]:
    """Entries of a table whose rows are metrics and whose columns are methods."""
    reading.note("a column 'metric' makes every other unnamed column a method")
    entries: dict[tuple[str, ...], _Entry] = {}
    for record in table.records:
        where = f"{path}, line {record.line}"
        fields = _reserved(table, columns, record.fields)
        name, percent = without_percent(plain(fields.pop("metric", "")))
        metric = Metric.parse(name)
        if metric is None:
            reading.skipped.append(
                Skipped(what=f"line {record.line}, {name}", why=f"'{name}' is not {NO_METRIC}")
            )
            continue
        for column, text in zip(columns, record.fields, strict=True):
            if column.reserved:  # any other is a method, "P5" among them
                continue
            key = (fields.get("table", ""), fields.get("dataset", ""), fields.get("group", ""),
                   column.title)  # fmt: skip
            entry = entries.setdefault(key, _Entry(where, {**fields, "row": column.title}, {}))
            if metric in entry.cells:
                raise InputError(f"{where}: {metric} stands twice for '{column.title}'; drop one")
            entry.cells[metric] = (text, percent, str(metric))
    yield from entries.values()


def _reserved(table: Table, columns: Sequence[Column], texts: Sequence[str]) -> dict[str, str]:
    fields = {c.reserved: t for c, t in zip(columns, texts, strict=True) if c.reserved}
    if table.source != "csv":
        fields = {name: plain(text) for name, text in fields.items()}
        fields["table"] = fields.get("table") or table.name
    return fields


def _row(entry: _Entry, defaults: Defaults, comma: Comma, table: Table, reading: Reading) -> Row:
    where, fields = entry.where, entry.fields
    name = fields.get("row", "")
    if not name:
        raise InputError(f"{where}: the field 'row' is empty; name the method")
    role = _role(entry, name, reading)
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
            arrows=improvement,
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
        protocol=_protocol(
            where,
            fields.get("targets") or defaults.targets,
            _count(where, "candidates", fields.get("candidates") or defaults.candidates, comma),
        ),
        rounding=_rounding(where, fields.get("rounding") or defaults.rounding),
        # what holds for rows that do not say otherwise is said of all users, and a group has fewer
        users=_count(
            where,
            "users",
            fields.get("users") or ("" if fields.get("group") else defaults.users),
            comma,
        ),
        runs=_count(where, "runs", fields.get("runs") or defaults.runs, comma),
        versus=fields.get("versus", ""),
        fractional_hits=_ties(where, fields.get("ties") or defaults.ties),
        as_fractions=bare,
    )


def _role(entry: _Entry, name: str, reading: Reading) -> Role:
    """The stated role, or the one that the name tells; an improvement also needs a percentage."""
    role = entry.fields.get("role", "")
    if not role:
        if _named_improvement(entry, plain(name)):
            reading.note(f"row '{name}' is read as an improvement row")
            return "improvement"
        if _OURS.search(name):
            reading.note(f"row '{name}' is read as the row that improvements are about")
            return "ours"
        return "result"
    if role not in get_args(Role):
        raise InputError(f"{entry.where}: role {role!r} is not one of {', '.join(get_args(Role))}")
    return cast(Role, role)


def _count(where: str, name: str, text: str, comma: Comma) -> int | None:
    if not text:
        return None
    group = "." if comma == "decimal" else ","
    grouped = rf"\d{{1,3}}(?:[{group} ]\d{{3}})+"
    digits = re.sub(rf"[{group} ]", "", text) if re.fullmatch(grouped, text) else text
    if len(digits) > len(str(_MOST)) or not (digits.isascii() and digits.isdigit()):
        digits = "0"
    if not 1 <= int(digits) <= _MOST:
        raise InputError(f"{where}: {name} {text[:30]!r} is not a whole number from 1 to {_MOST:,}")
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


def _protocol(where: str, targets: str, candidates: int | None) -> Protocol:
    protocol = Protocol(_targets(where, targets), candidates)
    most = max((m for m, _ in protocol.relevant or ()), default=1)
    if candidates is not None and most > candidates:
        raise InputError(
            f"{where}: {most} targets among {candidates} candidates; candidates are all items in a "
            "ranking, the targets included"
        )
    return protocol


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
            pairs.append((int(number) if len(number) <= 12 else 0, float(share or 1.0)))
        except ValueError:
            pairs.append((0, 0.0))
    total = sum(share for _, share in pairs)
    if any(m < 1 or not share > 0 for m, share in pairs) or not total < float("inf"):
        raise InputError(
            f"{where}: targets {text!r} is neither a number of relevant items per ranking, nor "
            "'any', nor a distribution such as '1:0.8 2:0.2'"
        )
    return tuple((m, share / total) for m, share in pairs)
