"""The CSV format: what is read, what is refused and how, and whole audits of small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankaudit import audit_csv, run_audit
from rankaudit.__main__ import main
from rankaudit.errors import InputError
from rankaudit.findings import AuditReport
from rankaudit.interpret import read_rows
from rankaudit.metrics import Metric
from rankaudit.printed import Rounding
from rankaudit.rankings import Protocol


def write(folder: Path, text: str) -> Path:
    path = folder / "paper.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_column_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "table,dataset,row,group,role,targets,candidates,rounding,users,runs,NDCG@5,HR@10 %,MRR\n"
        '2,Beauty,"A, B",old,ours,1:3 2:1,101,twice,"1,000",5,**0.0843***,_9.5_,\n'
        "\n"
        "2,Beauty,C,,,any,,,,,-,8.25%,0.051\n",
    )
    first, second = read_rows(path)
    assert (first.name, first.group, first.role) == ("A, B", "old", "ours")
    assert first.protocol == Protocol(((1, 0.75), (2, 0.25)), 101)
    assert (first.rounding, first.users, first.runs) == (Rounding.TWICE, 1000, 5)
    ndcg, hr = first.cells[Metric("NDCG", 5)], first.cells[Metric("HR", 10)]
    assert (ndcg.value, ndcg.unit, ndcg.marks) == (0.0843, 1e-4, frozenset({"bold", "star"}))
    assert (hr.value, hr.unit, hr.marks) == (0.095, 1e-3, frozenset({"underline"}))
    assert set(second.cells) == {Metric("HR", 10), Metric("MRR", None)}
    assert second.cells[Metric("HR", 10)].value == pytest.approx(0.0825)
    assert second.protocol == Protocol(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("row,NDCG@5\n", "no rows"),
        ("name,NDCG@5\na,0.1\n", "line 1: no column 'row'"),
        ("row,AUC\na,0.1\n", "line 1: column 'AUC' is neither a metric"),
        ("row,table\na,1\n", "line 1: no metric column"),
        ("row,HR@5,Hit@5\na,0.1,0.1\n", "line 1: column 'Hit@5' repeats the metric HR@5"),
        ("row,HR@5,HR@5\na,0.1,0.1\n", "line 1: column 'HR@5' stands twice"),
        ("row,NDCG@5\na,0.1\nb,zero\n", "line 3, column NDCG@5: 'zero' is not a printed number"),
        ("row,NDCG@5\na,0.1,0.2\n", "line 2: 3 fields, but the header has 2"),
        ("row,NDCG@5\na,8.43\n", "line 2: NDCG@5 8.43 is not between 0 and 1"),
        ("row,NDCG@5\na,0.1\na,0.2\n", "line 3: 'a' stands already in line 2"),
        ("row,NDCG@5\n,0.1\n", "line 2: the field 'row' is empty"),
        ("row,users,NDCG@5\na,many,0.1\n", "line 2: users 'many' is not a whole number"),
        ("row,targets,NDCG@5\na,some,0.1\n", "line 2: targets 'some'"),
        ("row,targets,NDCG@5\na,1:-1,0.1\n", "line 2: targets '1:-1'"),
        ("row,role,NDCG@5\na,best,0.1\n", "line 2: role 'best'"),
        ("row,rounding,NDCG@5\na,thrice,0.1\n", "line 2: rounding 'thrice'"),
        ("row,NDCG@5\na,**0.1\n", "line 2, column NDCG@5: '**0.1' opens bold"),
        ("row,NDCG@5\na,0.1**\n", "line 2, column NDCG@5: '0.1**' ends in '**'"),
    ],
)
def test_malformed_files_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_rows(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_or_binary_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file; check the path"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.csv, after line 0: not UTF-16"):
        read_rows(tmp_path / "binary.csv")


PAPER = """table,dataset,row,group,role,users,NDCG@10,MRR@10,HR@10
2,games,good,,,100,0.20,0.15,0.36
2,games,odd,,,100,0.15,**0.20**,0.37
2,games,new,,ours,100,**0.25**,0.19,0.43
2,games,Improv.,,improvement,,+25.0%,−15%,16%
3,games,good,short,,60,0.30,0.25,0.45
3,games,good,long,,40,0.40,0.37,0.50
"""


def test_a_whole_audit_finds_what_was_planted(tmp_path: Path) -> None:
    """MRR above NDCG; a whole below both groups; an improvement of -5 % printed as -15 %."""
    report = audit_csv(write(tmp_path, PAPER))
    assert [f.row for f in report.of("infeasible_row")] == ["odd"]
    (groups,) = report.of("parts_vs_whole")
    assert groups.table == "3 against 2"
    (improvement,) = report.of("improvement")
    assert "MRR@10 -15%" in improvement.printed
    assert report.of("marks") == []
    counts = {check.kind: check.examined for check in report.checks}
    assert counts["infeasible_row"] == 5
    assert counts["improvement"] == 3


def test_sampled_negatives_change_the_verdict(tmp_path: Path) -> None:
    """HR@10 of 0.9 among ten candidates cannot be; among all items it can."""
    sampled = audit_csv(write(tmp_path, "row,candidates,HR@10,NDCG@10\na,10,0.90,0.50\n"))
    assert len(sampled.of("infeasible_row")) == 1
    full = audit_csv(write(tmp_path, "row,HR@10,NDCG@10\na,0.90,0.50\n"))
    assert full.findings == []


def test_reports_are_written_whole_and_read_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run_audit(write(tmp_path, PAPER), out)
    stored = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert AuditReport.model_validate(stored) == report
    needed = {"kind", "table", "row", "dataset", "printed", "why", "severity", "explanations"}
    for finding in stored["findings"]:
        assert needed <= set(finding)
        assert finding["explanations"]
    text = (out / "audit.md").read_text(encoding="utf-8")
    for finding in report.findings:
        assert finding.printed in text
    assert sorted(p.name for p in out.iterdir()) == ["audit.html", "audit.json", "audit.md"]


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(tmp_path, PAPER), tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["audit", str(path), "--out", str(out)])
    assert main() == 0
    assert "infeasible_row" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["audit", str(tmp_path / "none.csv"), "--out", str(out)])
    assert main() == 2
    assert "none.csv" in capsys.readouterr().err
