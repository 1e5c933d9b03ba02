"""No finding on tables that real rankings give, of every kind that the format knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rankaudit.audit import audit_csv
from tests.rankaudit.clean import KINDS

PER_KIND = 40  # slow: 26 kinds, 1,040 tables


def wrong(kind: str, seed: int, folder: Path) -> list[str]:
    """What the audit holds against a clean table, notes aside, with the table."""
    made = KINDS[kind](np.random.default_rng([seed, *kind.encode()]))
    path = folder / f"table{made.suffix}"
    path.write_text(made.text, encoding="utf-8")
    report = audit_csv(path, made.defaults, power=False)
    found = [f"{f.severity} {f.kind}: {f.why}" for f in report.findings if f.severity != "note"]
    undecided = [s.why for s in report.skipped if "decide" in s.why]
    return [*found, *undecided, made.text] if found or undecided else []


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_table_of_every_kind(kind: str, tmp_path: Path) -> None:
    assert wrong(kind, 0, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_clean_tables(kind: str, tmp_path: Path) -> None:
    for seed in range(1, PER_KIND + 1):
        assert wrong(kind, seed, tmp_path) == [], seed
