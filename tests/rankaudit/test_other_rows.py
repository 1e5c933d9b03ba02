"""Rows that stand in result tables and are no method's results, and files of other encodings."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from rankaudit.audit import audit_csv
from rankaudit.errors import InputError
from rankaudit.findings import AuditReport, Hypothesis, InfeasibleRow, PartsVersusWhole
from rankaudit.interpret import read_rows
from rankaudit.rankings import MOST_POSITIONS


def audit(folder: Path, text: str | bytes, name: str = "table.csv") -> AuditReport:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return audit_csv(path)


TABLE = "row,HR@10,NDCG@10\nSASRec,0.0605,0.0318\nOurs,0.0651,0.0367\n"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("p-value,1.2e-5,3e-4", "a spread or a test"),  # as a result: NDCG above HR
        ("Std.,0.0003,0.0009", "a spread or a test"),
        ("t-test,0.01,0.03", "a spread or a test"),
        ("Avg. rank,0.1,0.9", "a spread or a test"),
        ("Lift,7.60%,15.41%", "in per cent"),
        ("vs. SASRec,7.60%,15.41%", "in per cent"),
    ],
)
def test_a_row_that_is_no_result_is_named_and_accuses_nobody(
    tmp_path: Path, row: str, why: str
) -> None:
    report = audit(tmp_path, TABLE + row + "\n")
    assert report.findings == []
    (skipped,) = report.skipped
    assert skipped.what == f"{row.split(',')[0]} (line 4)"
    assert why in skipped.why
    assert "role" in skipped.why
    stated = TABLE.replace("row,", "role,row,").replace("\n", "\n,")[:-1] + f"result,{row}\n"
    assert len(audit(tmp_path, stated).of("infeasible_row")) == 1


def test_a_table_in_per_cent_throughout_is_read_as_it_stands(tmp_path: Path) -> None:
    text = "row,HR@10,NDCG@10\nA,6.05%,3.18%\nB,6.51%,6.67%\n"
    (finding,) = audit(tmp_path, text).findings
    assert (finding.kind, finding.row) == ("infeasible_row", "B")


@pytest.mark.parametrize(
    "row",
    [
        "Improv.,0.76,0.84",  # small, and NDCG above HR: no method is called so
        "Improv. (%),0.76,0.84",
        "%Improv.,0.76%,0.84%",
        "Impr.,1.25,1.45",
        "RI,0.76%,0.84%",
    ],
)
def test_improvement_rows_by_their_names(tmp_path: Path, row: str) -> None:
    first, second = (0.76, 0.84) if "0.76" in row else (1.25, 1.45)
    ours = f"Ours,{0.5 * (1 + first / 100):.6f},{0.4 * (1 + second / 100):.6f}"
    text = f"row,HR@10,NDCG@10\nA,0.500000,0.400000\n{ours}\n{row}\n"
    report = audit(tmp_path, text)
    assert report.findings == []
    assert {c.kind: c.examined for c in report.checks}["improvement"] == 2


def test_markdown_italics_do_not_hide_an_improvement_row(tmp_path: Path) -> None:
    text = (
        "| Model | HR@10<br>(↑) | NDCG@10 |\n|--|--|--|\n| SASRec | 0.0605 | *0.0318* |\n"
        "| __Ours__ | __0.0651__ | **0.0367** |\n| *Improv.* | 7.60% | 15.41% |\n"
    )
    report = audit(tmp_path, text, "table.md")
    assert report.findings == []
    assert {c.kind: c.examined for c in report.checks}["improvement"] == 2
    assert {c.kind: c.examined for c in report.checks}["marks"] == 2


def test_an_improvement_row_of_differences(tmp_path: Path) -> None:
    """0.0651 - 0.0605 and 0.0367 - 0.0318; one cell that does not fit, and all are ratios."""
    text = (
        TABLE.replace("row,", "role,row,").replace("\n", "\n,")[:-1] + "improvement,Diff.,{},{}\n"
    )
    assert audit(tmp_path, text.format("+0.0046", "+0.0049")).findings == []
    assert len(audit(tmp_path, text.format("+0.0046", "+0.0149")).of("improvement")) == 2


@pytest.mark.parametrize(
    ("cells", "micro"),
    [
        # Recall falls from 5 to 10 under every definition but over min(k, m).
        ("0.0922,0.0882,0.0957", "impossible"),
        # Recall@5 rises beyond what Precision@10 allows: as a micro average nobody can tell.
        ("0.0100,0.0900,0.0020", "not decided"),
    ],
)
def test_a_micro_average_over_unknown_numbers_is_never_said_to_be_possible(
    tmp_path: Path, cells: str, micro: str
) -> None:
    text = f"row,targets,candidates,Recall@5,Recall@10,Precision@10\nA,any,60,{cells}\n"
    (finding,) = audit(tmp_path, text).findings
    assert isinstance(finding, InfeasibleRow)
    (tried,) = (h for h in finding.hypotheses if h.name == "recall_micro")
    assert isinstance(tried, Hypothesis)
    assert not tried.once
    assert tried.undecided == (micro == "not decided")
    assert ("Not decided: recall_micro" in finding.why) == (micro == "not decided")
    named = any("micro average" in text for text in finding.explanations)
    assert named == (micro == "not decided")


def test_a_group_table_without_names_and_with_known_shares(tmp_path: Path) -> None:
    """0.6 x 0.03 + 0.4 x 0.08 = 0.05; other shares give 0.06, the known ones do not."""
    text = "row,group,NDCG@10,users\nA,,{},1000\nA,s,0.0300,600\nA,l,0.0800,400\n"
    assert audit(tmp_path, text.format("0.0500")).findings == []
    (finding,) = audit(tmp_path, text.format("0.0600")).findings
    assert isinstance(finding, PartsVersusWhole)
    assert finding.table == "groups against the whole"
    assert finding.why.startswith("Some set of group shares leaves 0.0 units")
    assert "With the known shares it is 100.0 units" in finding.why


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("table.csv", TABLE.encode("utf-16")),
        ("table.csv", b"\xef\xbb\xbf" + TABLE.encode()),
        ("table.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("table.csv", TABLE.replace("\n", "\r").encode()),
        ("table.csv", b"\n\r\n" + TABLE.encode()),
    ],
)
def test_files_that_the_other_readers_take_too(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (tmp_path / "plain.csv").write_text(TABLE, encoding="utf-8")
    assert read_rows(path) == read_rows(tmp_path / "plain.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("SAS", "é").encode("latin-1"), "line 2: byte 0xe9 is not UTF-8"),
        (b"row,HR@5\nA\0,0.1\n", "line 2: a zero byte"),
        (b"\n\nrow,HR@5\n\nA,x\n", "line 5, column HR@5: 'x'"),
        ("row,HR@5\n\u2028A,0.1\nB,x\n".encode(), "line 3, column HR@5: 'x'"),
        (b"row,HR@5\nA,1e-999999999\n", "'1e-999999999' is not a printed number"),
        (b"row,HR@5\nA,0e999999999\n", "is not a printed number"),
        (b"row|HR@5\nA|0.1\n", "line 1: vertical bars seem to stand between the fields"),
        (b"row,targets,candidates,HR@5\nA,10,5,0.1\n", "line 2: 10 targets among 5 candidates"),
        (b"row,targets,candidates,HR@5\nA,1:3 9:1,5,0.1\n", "9 targets among 5 candidates"),
    ],
)
def test_what_cannot_be_read_names_its_line(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(InputError) as error:
        audit(tmp_path, text)
    assert message in str(error.value)


def test_a_latex_row_with_an_ampersand_too_many_is_refused(tmp_path: Path) -> None:
    text = "\\begin{tabular}{lcc}\nrow & HR@5 & NDCG@5 \\tabularnewline\nA & 0.2 & 0.1 \\\\\n"
    ended = "\\end{tabular}\n"
    assert audit(tmp_path, text + ended, "t.tex").findings == []
    with pytest.raises(InputError, match=r"line 4: 4 fields, but the header has 3"):
        audit(tmp_path, text + "B & & 0.1 & 0.2 \\\\\n" + ended, "t.tex")


def test_many_columns_and_deep_cutoffs_end_soon(tmp_path: Path) -> None:
    """Both took minutes: ranges grow with the cube of the columns, paths with the cut-off."""
    started = time.monotonic()
    cutoffs = range(1, 61)
    text = f"row,{','.join(f'NDCG@{k}' for k in cutoffs)}\nA,"
    report = audit(tmp_path, text + ",".join(f"{k / 1000:.4f}" for k in cutoffs) + "\n")
    assert report.findings == []
    assert report.power == []
    report = audit(tmp_path, "row,NDCG@1000000,HR@10\nA,0.3000,0.5000\n")
    assert f"{MOST_POSITIONS:,} is the largest" in report.skipped[0].why
    assert time.monotonic() - started < 20
