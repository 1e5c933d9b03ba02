"""The audit of the paper: counts that can be checked by hand, and planted slips in its data."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from benchmark.paper import Claims, load_cells, load_claims
from benchmark.paper.audit import audit_paper
from benchmark.paper.counts import data_checks
from benchmark.paper.data_facts import load_data_facts
from benchmark.paper.sentences import text_checks
from rankaudit.findings import AuditReport, InfeasibleRow


@pytest.fixture(scope="module")
def report() -> AuditReport:
    return audit_paper()


def infeasible(report: AuditReport) -> list[InfeasibleRow]:
    return [f for f in report.findings if isinstance(f, InfeasibleRow)]


def test_sixteen_of_seventy_rows_fail_leave_one_out(report: AuditReport) -> None:
    (check,) = [c for c in report.checks if c.kind == "infeasible_row"]
    assert (check.reported, check.examined) == (16, 70)
    failing = {name: Counter() for name in ("H1", "H2", "H3", "H4")}
    for row in infeasible(report):
        for hypothesis in row.hypotheses:
            failing[hypothesis.name][hypothesis.once] += 1
    assert {name: counts[False] for name, counts in failing.items()} == {
        "H1": 16,
        "H2": 1,
        "H3": 16,
        "H4": 2,
    }


def test_slacks_and_what_absorbs_them(report: AuditReport) -> None:
    """Smallest 0.57 and 0.64, then 1.006, largest 19.4 units; two within rounded runs."""
    rows = infeasible(report)
    slacks = sorted(row.hypotheses[0].slack or 0.0 for row in rows)
    assert slacks[:3] == pytest.approx([0.57, 0.64, 1.006], abs=0.005)
    assert slacks[-1] == pytest.approx(19.39, abs=0.01)
    assert sum(row.absorbed_by == "a mean of rounded runs" for row in rows) == 2
    assert all(row.repairs for row in rows)


def test_rows_that_stay_impossible(report: AuditReport) -> None:
    """Under H2 the row of users with one held-out item; under H4 the two with MRR above NDCG."""
    rows = {row.row: {h.name: h.once for h in row.hypotheses} for row in infeasible(report)}
    assert [name for name, once in rows.items() if not once["H2"]] == ["SASRec, 5-10"]
    assert [name for name, once in rows.items() if not once["H4"]] == [
        "MMMLP, >30",
        "FindRec, >30",
    ]


def test_explanations_name_only_hypotheses_that_explain(report: AuditReport) -> None:
    for row in infeasible(report):
        said = " ".join(row.explanations)
        for hypothesis in row.hypotheses[1:]:
            assert (f"({hypothesis.name})" in said) == hypothesis.once


def test_groups_and_the_whole_do_not_fit(report: AuditReport) -> None:
    (finding,) = report.of("parts_vs_whole")
    assert finding.kind == "parts_vs_whole"
    # By hand: NDCG@5 of SASRec over FindRec is 635/843 = 0.753 overall, but at least
    # 0.0342/0.0448 = 0.763 (with rounding 0.761) in each group.
    assert any(
        r.startswith("NDCG@5: SASRec / FindRec is 0.753 overall, 0.761 to") for r in finding.ratios
    )
    assert finding.known_weights == {"5-10": 0.4715, "10-30": 0.4563, ">30": 0.0722}


def test_the_two_simple_multimodal_rows_are_multiples(report: AuditReport) -> None:
    found = {f.row: f for f in report.of("proportional_rows")}
    assert set(found) == {"SASRec (MM) / SASRec", "Mamba4Rec (MM) / Mamba4Rec"}
    for finding in found.values():
        assert finding.kind == "proportional_rows"
        assert finding.ratio[0] <= 0.97 <= finding.ratio[1]
        assert finding.severity == "note"
    assert found["Mamba4Rec (MM) / Mamba4Rec"].cells == 12  # type: ignore[union-attr]


def test_own_runs_stand_beside_the_constant_ratios() -> None:
    runs = pd.DataFrame(
        [("beauty", m, k, v * f) for m, v in (("A", 0.1), ("B", 0.2))
         for k, f in (("NDCG@5", 1.0), ("NDCG@10", 1.0 + v))],
        columns=["dataset", "row", "metric", "mean"],
    )  # fmt: skip
    # Ratios 1/2 and 0.11/0.24: spread 0.5 / 0.4583 - 1.
    expected = 0.5 / (0.11 / 0.24) - 1
    for finding in audit_paper(runs).of("proportional_rows"):
        assert finding.kind == "proportional_rows"
        assert finding.own_spreads == pytest.approx((expected,) * 3)


def test_findings_on_statistics_by_hand(report: AuditReport) -> None:
    why = [f.why for f in report.of("data")]
    # 98,609 / 944 = 104.46 and 98,609 / 943 = 104.57.
    assert any("average length of 104.46, not 104.57" in w for w in why)
    # 15,878 / 1,628 = 9.75 interactions for users with fewer than ten.
    assert any("9.75 each" in w for w in why)
    assert any("fewer than the 2,419 of its own part 10-30" in w for w in why)
    repairs = {f.row: f.repair for f in report.of("data") if f.kind == "data" and f.repair}
    assert repairs[">30"] == "313 users, 1,891 items, 14,584 interactions"


def test_improvements_and_underlines_of_the_paper_hold(report: AuditReport) -> None:
    checks = {(c.kind, c.unit): (c.reported, c.examined) for c in report.checks}
    assert checks["improvement", "cells"] == (0, 12)
    # 12 underlined columns of Table 3, 24 with stars in Tables 2 and 3.
    assert checks["marks", "marked columns"] == (0, 36)


def test_sentences_against_tables_by_hand(report: AuditReport) -> None:
    rows = {f.row for f in report.of("text")}
    assert {"rq2-long-find", "appendix-heads-sixteen", "appendix-layers-ref", "split"} <= rows
    # These hold: 30.9 % is within rounding of 0.0448 / 0.0342, MMMLP is the best baseline.
    assert not {"rq2-short-gain", "rq1-mmmlp-best", "rq1-gain-range"} & rows


def planted(table: str, row: str, metric: str, printed: str, group: str = "") -> pd.DataFrame:
    cells = load_cells()
    place = (
        (cells["table"] == table) & (cells["row"] == row) & (cells["metric"] == metric)
        & (cells["group"] == group)
    )  # fmt: skip
    assert place.sum() == 1
    cells.loc[place, "printed"] = printed
    return cells


def test_a_planted_wrong_sum_is_found() -> None:
    cells = planted("4", "Total", "users", "3,915")
    found = [f.why for o in data_checks(cells, load_data_facts()) for f in o.findings]
    assert any("add up to 3,914 users, not 3,915" in w for w in found)


def test_repaired_statistics_pass() -> None:
    """Table 4 with the counts that the data give leaves only the padding notes."""
    cells = load_cells()
    truth = {
        ("5-10", "users"): "2,039", ("5-10", "items"): "2,344", ("5-10", "interactions"): "15,871",
        (">30", "interactions"): "14,584", ("Total", "users"): "4,325", ("Total", "items"): "2,424",
        ("Total", "interactions"): "60,276",
    }  # fmt: skip
    for (row, metric), printed in truth.items():
        place = (cells["table"] == "4") & (cells["row"] == row) & (cells["metric"] == metric)
        cells.loc[place, "printed"] = printed
    found = [f for o in data_checks(cells, load_data_facts()) for f in o.findings if f.table == "4"]
    # The padded buckets add up to one user a bucket more than the data: 4,325 against 4,323.
    assert {(f.row, f.severity) for f in found if f.row != "Total"} == {
        ("5-10", "note"),
        ("10-30", "note"),
        (">30", "note"),
        ("10-30", "contradiction"),
    }


def test_planted_sentences_are_found() -> None:
    cells = load_cells()
    claims = load_claims()
    before = {f.row for f in text_checks(cells, claims).findings}
    changed = []
    for claim in claims.claims:
        if claim.id == "rq1-mamba-value":
            claim = claim.model_copy(update={"stated": "0.0570"})
        if claim.id == "rq3-moe-mrr":
            claim = claim.model_copy(update={"stated": "15.2%"})
        if claim.id == "rq1-mamba-best-id":
            claim = claim.model_copy(update={"below": ["FindRec"]})
        if claim.id == "appendix-dimension-shape":
            claim = claim.model_copy(update={"rows": ["512", "256", "128"]})
        changed.append(claim)
    after = {
        f.row
        for f in text_checks(
            cells, Claims(display_items=claims.display_items, claims=changed)
        ).findings
    }
    assert after - before == {
        "rq1-mamba-value",
        "rq3-moe-mrr",
        "rq1-mamba-best-id",
        "appendix-dimension-shape",
    }
