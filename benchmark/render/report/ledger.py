"""The claims page of the report, from the ledger that `claims` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.analyse.effects import MEANINGS
from benchmark.errors import InputError
from benchmark.render.document import p_value, percent

_CHOICES = ("verdict", "history", "dataset", "grade", "standing")
"""What the page's lines can be filtered by."""


@dataclass(frozen=True)
class LedgerPage:
    """What the page shows."""

    summary: str
    choices: dict[str, list[str]]
    """What to filter by -> the values that occur."""
    lines: list[dict[str, Any]]
    meanings: dict[str, str]


def read_ledger(path: Path) -> LedgerPage | None:
    """From claims.json; None where it was not made. Raises InputError for a damaged one."""
    if not path.is_file():
        return None
    try:
        lines = [_line(record) for record in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a ledger of claims; run `claims` again") from error
    choices = {
        name: list(dict.fromkeys(line[name] for line in lines if line[name])) for name in _CHOICES
    }
    tested = [line for line in lines if line["dataset"] and not line["read_as"]]
    words = [f"{sum(o['verdict'] == w for o in tested)} {w}" for w in choices["verdict"]]
    said = ", ".join(word for word in words if not word.startswith("0 "))
    summary = f"{len(tested)} lines rest on runs: {said}." if tested else ""
    return LedgerPage(summary, choices, lines, {str(k): v for k, v in MEANINGS.items()})


def _line(record: dict[str, Any]) -> dict[str, Any]:
    def number(name: str) -> float:
        return float("nan") if record[name] is None else float(record[name])

    ends = percent(number("low")), percent(number("high"))
    standing = record["standing"]
    return {
        "text": record["text"],
        "section": record["section"],
        "verdict": record["word"],
        "said": record["verdict"],
        "qualified": ", ".join(
            part
            for part in (record["verdict"].removeprefix(record["word"]).lstrip(", "), standing)
            if part
        ),
        "history": record["protocol"],
        "dataset": record["dataset"],
        "grade": record["grade"],
        "standing": standing,
        "difference": percent(number("difference")),
        "interval": " to ".join(ends) if ends[0] else "",
        "detectable": percent(number("smallest_detectable")).lstrip("+"),
        "corrected": p_value(number("p_adjusted")),
        "evidence": record["evidence"],
        "seeds": f"{record['seeds'] or 'runs'} seeds, {record['users']} users"
        if record["users"]
        else "runs",
        "runs": record["runs"].split(),
        "read_as": record["read_as"],
    }
