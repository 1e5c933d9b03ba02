"""The documents' scripts run, and their worked example gives what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rankaudit import audit_csv
from rankaudit.findings import InfeasibleRow
from rankaudit.interpret import Defaults

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


def test_from_latex_to_a_verdict(tmp_path: Path) -> None:
    """What the page says of the table as printed, with two digits swapped, and with other users."""
    (source,) = blocks("audit-method.md", "latex")
    path = tmp_path / "nyc.tex"
    path.write_text(source, encoding="utf-8")
    stated = Defaults(users="1044", runs="3")
    report = audit_csv(path, stated)
    assert report.findings == []
    assert {c.kind: c.examined for c in report.checks} == {
        "infeasible_row": 4, "proportional_rows": 6, "improvement": 5, "marks": 5, "whole_hits": 8,
    }  # fmt: skip
    assert report.power[0].found[20] == pytest.approx(0.05, abs=0.01)
    assert report.power[0].found[100] == pytest.approx(0.85, abs=0.01)
    path.write_text(source.replace("40.14", "41.04"), encoding="utf-8")
    first, second = audit_csv(path, stated).findings
    assert isinstance(first, InfeasibleRow)
    assert first.hypotheses[0].slack == pytest.approx(25.4, abs=0.1)
    assert (second.kind, second.metrics) == ("improvement", ["NDCG@10"])
    path.write_text(source, encoding="utf-8")
    assert audit_csv(path, Defaults(users="1000", runs="1")).of("whole_hits")
