"""The audit on other published results: samples are readable, and what it reports on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.paper.base_rate import FOLDER, load_sources, run_base_rate
from rankaudit.interpret import read_rows

SMALL = ["castpoi.csv", "csekg.csv", "recbole_gnn.csv", "m3rec_logs.csv"]


def test_every_sample_has_a_source_and_can_be_read() -> None:
    sources = load_sources()
    assert {path.name for path in FOLDER.glob("*.csv")} == set(sources)
    for name, source in sources.items():
        assert source.url.startswith("https://")
        rows = read_rows(FOLDER / name)
        assert all(len(row.cells) >= 2 for row in rows), name


def test_small_samples_pass(tmp_path: Path) -> None:
    """196 rows of tables and logs, none infeasible; improvements and hit counts agree too."""
    reports = run_base_rate(tmp_path, SMALL)
    checks = [c for r in reports.values() for c in r.checks if c.kind != "proportional_rows"]
    assert sum(c.examined for c in checks if c.kind == "infeasible_row") == 196
    assert sum(c.reported for c in checks) == 0
    text = (tmp_path / "base_rate.md").read_text(encoding="utf-8")
    assert "| all | | | 0 of 196 |" in text
    # 169 rows of three sources are RecBole's, 142 of them from run logs: one evaluator.
    assert "| RecBole | 3 | 169 | 0 | 142 | 0 |" in text
    assert "| its own | 1 | 27 | 0 | 0 | 0 |" in text
    assert "run logs of 1 evaluator(s)" in text
    assert "below 95%" in text


@pytest.mark.slow
def test_all_samples_have_three_infeasible_rows(tmp_path: Path) -> None:
    """All three in lists kept by hand; two have a Recall that is not their HR with one target."""
    reports = run_base_rate(tmp_path)
    found = [f for r in reports.values() for f in r.of("infeasible_row")]
    assert sorted(f.table for f in found) == [
        "hyper/LightSANs-yelp_seq",
        "hyper/LightSANs-yelp_seq",
        "hyper/NNCF-ml-1m_general",
    ]
    examined = sum(
        c.examined for r in reports.values() for c in r.checks if c.kind == "infeasible_row"
    )
    assert examined == 3151
