"""The audit of any paper: result tables as a CSV file, checked against the protocol it states.

The format is documented in docs/audit-method.md. In short, one line per printed row:

    table,dataset,row,NDCG@5,NDCG@10,MRR@10,users
    2,Beauty,SASRec,0.0249,0.0318,0.0255,22363

Reserved columns: `row` (needed); `table`, `dataset`, `group`, `role`, `targets`, `candidates`,
`rounding`, `users`, `runs`, and `source`, which is only for people. Every other column is a metric;
a `%` after its name says that its cells are in per cent.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast, get_args

from rankaudit.errors import InputError
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.rows import Role, Row

RESERVED = (
    "table", "dataset", "row", "group", "role", "targets", "candidates", "rounding", "users",
    "runs", "source",
)  # fmt: skip
_EXPLANATIONS = (
    "The evaluation may have been another one than the file states (targets, candidates).",
    "A metric may be defined otherwise than here.",
    "The file may not repeat the page.",
)


def read_rows(path: Path) -> list[Row]:
    """Read result rows from a CSV file.

    Raises InputError that names the file, the line and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from error
    reader = csv.reader(text.splitlines())
    header = next(reader, None)
    if header is None:
        raise InputError(f"{path}, line 1: the file is empty; start it with a header line")
    names = [name.strip() for name in header]
    metrics = _metrics(path, names)
    rows: list[Row] = []
    seen: dict[tuple[str, str, str, str], int] = {}
    for record in reader:
        where = f"{path}, line {reader.line_num}"
        if not any(field.strip() for field in record):
            continue
        if len(record) != len(names):
            raise InputError(
                f"{where}: {len(record)} fields, but the header has {len(names)}; quote fields "
                "that contain commas"
            )
        row = _row(where, dict(zip(names, (f.strip() for f in record), strict=True)), metrics)
        key = (row.table, row.dataset, row.group, row.name)
        if key in seen:
            raise InputError(
                f"{where}: '{row.label}' stands already in line {seen[key]} for the same table and "
                "dataset; give it another name or group"
            )
        seen[key] = reader.line_num
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: a header and no rows; add one line per printed row")
    return rows


def _metrics(path: Path, names: list[str]) -> dict[str, tuple[Metric, bool]]:
    """Metric columns by name, with whether they are in per cent."""
    where = f"{path}, line 1"
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise InputError(f"{where}: column {sorted(doubled)[0]!r} stands twice; rename one")
    if "row" not in names:
        raise InputError(f"{where}: no column 'row'; add one with the method's name")
    metrics: dict[str, tuple[Metric, bool]] = {}
    for name in names:
        if name in RESERVED:
            continue
        metric = Metric.parse(name.removesuffix("%"))
        if metric is None:
            raise InputError(
                f"{where}: column {name!r} is neither a metric (NDCG@k, MRR@k, MRR, HR@k, "
                f"Recall@k, Precision@k, MAP@k) nor one of {', '.join(RESERVED)}"
            )
        if any(metric == other for other, _ in metrics.values()):
            raise InputError(f"{where}: column {name!r} repeats the metric {metric}; drop one")
        metrics[name] = (metric, name.endswith("%"))
    if not metrics:
        raise InputError(f"{where}: no metric column; add at least one, such as NDCG@10")
    return metrics


def _row(where: str, record: dict[str, str], metrics: dict[str, tuple[Metric, bool]]) -> Row:
    if not record["row"]:
        raise InputError(f"{where}: the field 'row' is empty; name the method")
    role = record.get("role", "") or "result"
    if role not in get_args(Role):
        raise InputError(f"{where}: role {role!r} is not one of {', '.join(get_args(Role))}")
    cells = {
        metric: Printed.parse(record[name], f"{where}, column {name}", percent)
        for name, (metric, percent) in metrics.items()
        if record[name] not in ("", "-")
    }
    if role != "improvement":
        for metric, cell in cells.items():
            if not 0.0 <= cell.value <= 1.0:
                raise InputError(
                    f"{where}: {metric} {cell.text} is not between 0 and 1; put '%' after the "
                    "column's name if its cells are in per cent"
                )
    return Row(
        table=record.get("table", ""),
        dataset=record.get("dataset", ""),
        name=record["row"],
        cells=cells,
        group=record.get("group", ""),
        role=cast(Role, role),
        protocol=Protocol(
            _targets(where, record.get("targets", "")),
            _count(where, "candidates", record.get("candidates", "")),
        ),
        rounding=_rounding(where, record.get("rounding", "")),
        users=_count(where, "users", record.get("users", "")),
        runs=_count(where, "runs", record.get("runs", "")),
    )


def _count(where: str, name: str, text: str) -> int | None:
    if not text:
        return None
    digits = text.replace(",", "")
    if not digits.isdigit() or int(digits) == 0:
        raise InputError(f"{where}: {name} {text!r} is not a whole number of at least 1")
    return int(digits)


def _rounding(where: str, text: str) -> Rounding:
    match text:
        case "" | "once":
            return Rounding.ONCE
        case "twice":
            return Rounding.TWICE
    raise InputError(f"{where}: rounding {text!r} is neither 'once' nor 'twice'")


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
    if any(m < 1 or not share > 0 for m, share in pairs):
        raise InputError(
            f"{where}: targets {text!r} is neither a number of relevant items per ranking, nor "
            "'any', nor a distribution such as '1:0.8 2:0.2'"
        )
    total = sum(share for _, share in pairs)
    return tuple((m, share / total) for m, share in pairs)
