"""The documents' scripts run, and their worked example gives what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rankaudit import audit_csv
from rankaudit.findings import InfeasibleRow

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["audit.md", "audit-method.md"])
def test_scripts_run_and_their_assertions_hold(name: str) -> None:
    scripts = blocks(name, "python")
    assert scripts
    for script in scripts:
        assert "assert" in script
        exec(compile(script, name, "exec"), {})


def test_worked_example(tmp_path: Path) -> None:
    (table,) = blocks("audit-method.md", "csv")
    path = tmp_path / "example.csv"
    path.write_text(table, encoding="utf-8")
    rows = [f for f in audit_csv(path).findings if isinstance(f, InfeasibleRow)]
    slacks = [{h.name: h.slack or 0.0 for h in row.hypotheses} for row in rows]
    assert [s["stated"] for s in slacks] == pytest.approx([123.5, 131.0], abs=0.01)
    assert [s["several targets"] for s in slacks] == pytest.approx([19, 21], abs=0.5)
    assert all(not row.repairs for row in rows)
    repaired = path.read_text(encoding="utf-8").replace("0.0514", "0.0761")
    path.write_text(repaired.replace("0.0474", "0.0736"), encoding="utf-8")
    assert audit_csv(path).of("infeasible_row") == []
