"""Whole audits of small files: what may not be held against them, and what has to be found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy

from rankaudit.audit import audit_csv, audit_rows, premises
from rankaudit.feasibility import Bounds, range_of, slack_bounds
from rankaudit.findings import AuditReport, InfeasibleRow, PartsVersusWhole
from rankaudit.interpret import read_rows
from rankaudit.metrics import Metric
from rankaudit.power import SLIPS, found_slips
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.rows import Row


@pytest.fixture
def audit(tmp_path: Path):
    def run(text: str) -> AuditReport:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return audit_csv(path)

    return run


def reasons(report: AuditReport) -> str:
    return " ".join(f"{s.what}: {s.why}" for s in report.skipped)


def test_few_of_many_targets_among_candidates(audit) -> None:
    """Twenty targets among 101, one of them in the first five: Recall 1/20, HR 1, Precision 1/5."""
    row = "A,any,101,0.0500,1.0000,0.2000\n"
    assert audit("row,targets,candidates,Recall@5,HR@5,Precision@5\n" + row).findings == []
    # 97 targets among 101 leave four others: at least one target is in the first five, and Recall
    # is at most 5 / 97; with 0.0050 there would have to be 200 targets.
    few = "A,any,101,0.0050,1.0000,0.2000\n"
    report = audit("row,targets,candidates,Recall@5,HR@5,Precision@5\n" + few)
    assert [f.kind for f in report.findings] == ["infeasible_row"]


def test_a_group_alone_is_no_partition(audit) -> None:
    """200 of 1,000 users; but 600 of 1,000 with 0.9 would need 0.54 of the whole's 0.5."""
    text = "table,row,group,users,HR@10\nmain,A,,1000,0.5000\ncold,A,cold,{},{}\n"
    report = audit(text.format(200, "0.3000"))
    assert report.findings == []
    assert "200 of 1,000 users, so they do not divide them" in reasons(report)
    (finding,) = audit(text.format(600, "0.9000")).findings
    assert finding.kind == "parts_of_some"
    assert finding.severity == "contradiction"
    # (500.05 - 539.97) / 400 and (499.95 - 540.03) / 400
    assert "-0.1002 to -0.0998" in finding.why


def test_groups_belong_to_the_whole_of_their_own_protocol(audit) -> None:
    text = (
        "table,row,group,candidates,users,NDCG@10\nfull,A,,,1000,0.0500\nsampled,A,,101,1000,0.3000\n"
        "length,A,short,{0},500,0.0300\nlength,A,long,{0},500,0.0700\n"
    )
    assert audit(text.format("")).findings == []
    (finding,) = audit(text.format("101")).findings
    assert finding.table == "length against sampled"
    report = audit(text.format("51"))
    assert report.findings == []
    assert "no row over all users of the same methods, dataset and protocol" in reasons(report)


def test_one_of_several_tables_over_all_users_is_enough(audit) -> None:
    """The same method stands in two tables with different numbers; the groups fit the second."""
    text = (
        "table,row,group,users,NDCG@10\n1,A,,1000,0.0900\n2,A,,1000,{}\n"
        "3,A,short,500,0.0300\n3,A,long,500,0.0700\n"
    )
    assert audit(text.format("0.0500")).findings == []
    (finding,) = audit(text.format("0.0800")).findings
    assert finding.severity == "contradiction"


def test_that_groups_divide_the_users_is_said_to_be_assumed(audit) -> None:
    text = "table,row,group,NDCG@10\n1,A,,0.0900\n2,A,short,0.0300\n2,A,long,0.0700\n"
    (finding,) = audit(text).findings
    assert finding.severity == "discrepancy"
    assert "assumption" in finding.why


def test_parts_against_the_whole_method_by_method(audit) -> None:
    """Shares 1/4 and 3/4: 0.06 for A, which the page has, and 0.05 for B, where it has 0.06."""
    text = (
        "table,row,group,users,NDCG@10\nall,A,,400,0.0600\nall,B,,400,0.0600\n"
        "groups,A,x,100,0.0300\ngroups,A,y,300,0.0700\n"
        "groups,B,x,100,0.0200\ngroups,B,y,300,0.0600\n"
    )
    (finding,) = audit(text).findings
    assert isinstance(finding, PartsVersusWhole)
    assert finding.severity == "contradiction"
    assert finding.cells_beyond == ["B NDCG@10: 0.0500 from the groups, 0.0600 printed"]


def test_hits_of_the_groups_add_up(audit) -> None:
    """3 of 7 and 5 of 11 are 8 of 18; 9 of 18 is 0.50, and the shares allow 0.43 to 0.45."""
    text = "table,row,group,users,HR@10\nall,A,,18,{}\nparts,A,x,7,0.43\nparts,A,y,11,0.45\n"
    assert audit(text.format("0.44")).findings == []
    found = audit(text.format("0.50")).of("whole_hits")
    assert [f.why for f in found] == ["The groups have 8 hits together, the whole has 9."]
    assert audit(text.format("0.50").replace("HR@10", "NDCG@10")).of("whole_hits") == []


def test_hits_at_cutoff_one(audit) -> None:
    """NDCG@1 and MRR@1 are shares of users too: 0.34 is none of 3 users."""
    report = audit("row,users,NDCG@1,MRR@1\nA,3,0.34,0.34\n")
    assert len(report.of("whole_hits")) == 2
    assert audit("row,users,ties,NDCG@1,MRR@1\nA,3,expected,0.34,0.34\n").findings == []


IMPROVED = "row,role,versus,rounding,NDCG@10,HR@10\nA,,,{0},0.0800,0.1000\nB,,,{0},0.0850,0.0900\n"


def test_an_improvement_row_is_in_per_cent_throughout(audit) -> None:
    """0.0900 over 0.0850 is 5.88 %, 0.1100 over 0.1000 is 10 %; the signs may be missing."""
    text = IMPROVED.format("") + "Ours,ours,,,0.0900,0.1100\n"
    assert audit(text + "Improv. (%),,,,5.88,10.00\n").findings == []
    assert audit(text + "Improv.,improvement,,,5.88%,10.00\n").findings == []
    assert audit(text + "Improv.,improvement,,,0.0588,0.1000\n").findings == []  # all as fractions
    (finding,) = audit(text + "Improv.,improvement,,,0.0688,0.1000\n").findings[:1]
    assert finding.kind == "improvement"
    (finding,) = audit(text + "Improv.,improvement,,,7.88,10.00\n").findings
    assert finding.metrics == ["NDCG@10"]


def test_an_improvement_over_a_named_row(audit) -> None:
    """0.0900 over A's 0.0800 is 12.5 %, 0.1100 over its 0.1000 is 10 %."""
    text = IMPROVED.format("") + "Ours,ours,,,0.0900,0.1100\n"
    assert audit(text + "Gain,improvement,A,,12.50%,10.00%\n").findings == []
    (finding,) = audit(text + "Gain,improvement,B,,12.50%,22.22%\n").findings
    assert finding.metrics == ["NDCG@10"]
    report = audit(text + "Gain,improvement,C,,12.50%,10.00%\n")
    assert "'versus' names 'C', which is no row" in reasons(report)


def test_rounding_twice_holds_for_improvements(audit) -> None:
    """0.0231 over 0.0159: 44.5 to 46.0 % rounded once, 43.7 to 46.8 % rounded twice."""
    text = "row,role,rounding,NDCG@5\nA,,{0},0.0159\nOurs,ours,{0},0.0231\nI,improvement,,44.49%\n"
    assert audit(text.format("twice")).findings == []
    (finding,) = audit(text.format("once")).findings
    assert finding.kind == "improvement"


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        (("result", "result"), "no row of its table has the role 'ours'"),
        (("ours", "ours"), "2 rows have the role 'ours' (B, C)"),
    ],
)
def test_improvements_that_cannot_be_checked_are_named(audit, roles, why) -> None:
    text = f"row,role,NDCG@5\nA,,0.1\nB,{roles[0]},0.2\nC,{roles[1]},0.3\nImp,improvement,9%\n"
    report = audit(text)
    assert report.findings == []
    assert f"Imp: {why}" in reasons(report)


def test_whole_mrr_and_several_targets_in_constant_ratio(audit) -> None:
    whole = "row,HR@5,HR@10,NDCG@10,MRR,users\nA,0.3600,0.5200,0.3000,0.2600,1000\n"
    (finding,) = audit(whole + "B,0.3240,0.4680,0.2700,0.2340,1000\n").findings
    assert finding.kind == "proportional_rows"
    assert finding.chance_independent < 0.05
    several = "row,targets,users,Recall@5,Recall@10,NDCG@5,NDCG@10\nA,any,700,0.1004,0.1602,0.1302,"
    (finding,) = audit(several + "0.1501\nB,any,700,0.0904,0.1442,0.1172,0.1351\n").findings
    assert finding.chance_independent is None
    assert "simulated" not in finding.why


def test_other_definitions_are_tried(audit) -> None:
    """One target at rank 1 of 5: NDCG over the ideal of five is 1 / 2.948 = 0.3392."""
    (finding,) = audit("row,NDCG@5,HR@5,MRR@5\nA,0.3392,1.0000,1.0000\n").findings
    assert isinstance(finding, InfeasibleRow)
    assert "ndcg_ideal_k" in finding.why
    assert any("ideal of k relevant items" in text for text in finding.explanations)
    tried = {h.name for h in finding.hypotheses}
    assert {"stated", "several targets", "best of each", "ndcg_ideal_k"} <= tried
    (row,) = read_rows(Path(__file__).parents[2] / "examples" / "audit_example.csv")[:1]
    assert "ndcg_of_hits" not in {p.name for p in premises(row)}  # with one target the same number


def test_map_over_m_as_in_trec_eval(audit) -> None:
    """Three relevant items, one of them at rank 1 or 2: 1/2 or 1/4 over min(m, k), 1/3 or 1/6 over
    m. So 0.2000 is possible over m alone."""
    text = "row,targets,MAP@2,HR@2,Precision@2\nA,3,{},1.0000,0.5000\n"
    assert audit(text.format("0.3000")).findings == []
    (finding,) = audit(text.format("0.2000")).findings
    assert isinstance(finding, InfeasibleRow)
    possible = {h.name: h.once for h in finding.hypotheses}
    assert possible["map_over_m"]
    assert not possible["stated"]


@pytest.mark.parametrize("digits", [4, 8, 10, 12, 15, 16, 17])
def test_any_number_of_digits(audit, digits: int) -> None:
    rng = np.random.default_rng(digits)
    for _ in range(2):
        ranks = rng.geometric(0.02, 1000).astype(float)
        cells = [
            np.where(ranks <= k, gain, 0).mean()
            for gain in (1 / np.log2(ranks + 1), 1 / ranks, np.ones(1000))
            for k in (5, 10)
        ]
        shown = ",".join(f"{x:.{digits}f}" if digits < 17 else repr(float(x)) for x in cells)
        report = audit("row,users,NDCG@5,NDCG@10,MRR@5,MRR@10,HR@5,HR@10\nA,1000," + shown + "\n")
        assert report.findings == []
        assert "decide" not in reasons(report)


def test_a_solver_that_gives_up_is_asked_again_and_then_said_to_have_given_up(
    audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The solver itself is made to fail: once in the first method, then in both."""
    text = "row,NDCG@5,MRR@5,HR@5\nA,0.0500,0.0600,0.1000\n"
    real, methods = scipy.optimize.linprog, []

    def first_fails(*args: Any, method: Any, **named: Any) -> Any:
        methods.append(method)
        result = real(*args, method=method, **named)
        if method == "highs":
            result.status = 4
        return result

    monkeypatch.setattr(scipy.optimize, "linprog", first_fails)
    assert [f.kind for f in audit(text).findings] == ["infeasible_row"]
    assert {"highs", "highs-ipm"} == set(methods)

    def both_fail(*args, **named):
        result = real(*args, **named)
        result.status = 4
        return result

    monkeypatch.setattr(scipy.optimize, "linprog", both_fail)
    report = audit(text)
    assert report.findings == []
    assert "A: the solver did not decide" in reasons(report)


def test_bounds_decide_only_what_they_prove() -> None:
    assert Bounds(0.2, 0.4).within(0.5) is True
    assert Bounds(0.6, 0.7).within(0.5) is False
    assert Bounds(0.4, 0.6).within(0.5) is None
    assert Bounds(0.0, float("inf")).within(0.5) is None


@pytest.mark.parametrize("seed", range(10))
def test_power_says_which_slips_are_found(seed: int) -> None:
    """Against the slack of the row with the slip in it."""
    rng = np.random.default_rng(seed)
    ranks = rng.geometric(0.04, 2000).astype(float)
    metrics = [Metric(kind, k) for kind in ("NDCG", "MRR", "HR") for k in (5, 10)][seed % 2 :]
    gains = {"NDCG": 1 / np.log2(ranks + 1), "MRR": 1 / ranks, "HR": np.ones(2000)}
    cells = {
        m: Printed.parse(f"{np.where(ranks <= (m.cutoff or 0), gains[m.kind], 0).mean():.4f}", "")
        for m in metrics
    }
    row = Row("", "", "A", cells)
    metric = metrics[seed % len(metrics)]
    ends = range_of(metric, cells, Protocol(), Rounding.ONCE)
    assert ends is not None
    for sign, caught in zip((1, -1), found_slips(cells[metric], ends, row), strict=True):
        for slip, found in zip(SLIPS, caught, strict=True):
            value = max(cells[metric].value + sign * slip * 1e-4, 0.0)
            slipped = {**cells, metric: Printed.parse(f"{value:.4f}", "")}
            if value > 0:
                assert found == (slack_bounds(slipped, Protocol()).within(0.5) is False)


def test_the_power_of_a_pass_is_printed_and_a_failing_row_is_left_out(audit) -> None:
    report = audit(
        "row,NDCG@5,NDCG@10,MRR@5,MRR@10\nA,0.0343,0.0427,0.0292,0.0327\n"
        "B,0.0343,0.0943,0.0292,0.0327\n"
    )
    (power,) = report.power
    assert power.columns == ["NDCG@5", "NDCG@10", "MRR@5", "MRR@10"]
    assert power.cells == 4
    assert list(power.found) == list(SLIPS)
    assert list(power.found.values()) == sorted(power.found.values())
    assert {r.row for r in report.ranges} == {"A"}
    for cell in report.ranges:
        assert cell.low - 1e-4 <= float(cell.printed) <= cell.high + 1e-4


@pytest.mark.slow
def test_five_hundred_rows_take_seconds() -> None:
    """Seconds of this process, which other processes do not lengthen much."""
    began = time.process_time()
    rng = np.random.default_rng(0)
    metrics = [Metric(kind, k) for kind in ("NDCG", "MRR", "HR") for k in (5, 10)]
    rows = []
    for i in range(500):
        ranks = rng.geometric(rng.uniform(0.01, 0.05), 500).astype(float)
        gains = {"NDCG": 1 / np.log2(ranks + 1), "MRR": 1 / ranks, "HR": np.ones(500)}
        cells = {
            m: Printed.parse(
                f"{np.where(ranks <= (m.cutoff or 0), gains[m.kind], 0).mean():.4f}", ""
            )
            for m in metrics
        }
        rows.append(Row("1", "d", f"m{i}", cells, users=500))
    told: list[str] = []
    report = audit_rows(rows, "many", told.append)
    assert [f for f in report.findings if f.severity != "note"] == []
    assert "rows 500 of 500" in told
    assert {c.kind: c.examined for c in report.checks}["proportional_rows"] == 124_750
    assert time.process_time() - began < 20  # about four on one core of 2024
