"""The command line: what it prints, its exit status, its template; and the page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rankaudit import audit_csv
from rankaudit.__main__ import FORMAT, TEMPLATE, main
from rankaudit.columns import RESERVED
from rankaudit.findings import SEVERITIES, AuditReport, by_severity
from rankaudit.interpret import read_file
from rankaudit.page import MOST_ROWS, anchors, to_html
from rankaudit.terminal import summary

EXAMPLE = Path(__file__).parents[2] / "examples" / "audit_example.csv"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    status = main(argv)
    return status, capsys.readouterr().out


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_closed_pipe_hides_no_finding(tmp_path: Path, option: tuple[str, ...]) -> None:
    """The status is that of the findings, whoever reads them."""
    command = [sys.executable, "-m", "rankaudit", str(EXAMPLE), "--fail-on", "contradiction"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [*command, "--out", str(tmp_path), *option],
            stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


def test_no_folder_is_not_the_working_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(EXAMPLE), "--out", ""])
    assert end.value.code == 2
    assert "names no folder" in capsys.readouterr().err


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv"))
    path.write_bytes(EXAMPLE.read_bytes())
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0


def test_two_lines_a_finding_worst_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, text = run(capsys, str(EXAMPLE), "--out", str(tmp_path))
    lines = text.splitlines()
    assert status == 0
    assert lines[0].startswith("contradiction 1, games, Item neighbours: NDCG@5 0.0625")
    assert lines[2].startswith("discrepancy   1, games, Improv.: NDCG@10 28.67%")
    assert lines[4] == ""
    assert "infeasible_row          1 of 5 rows" in lines
    assert any(line.startswith("a pass of NDCG@5, NDCG@10") for line in lines)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.html", "audit.json", "audit.md"]


@pytest.mark.parametrize(
    ("fail_on", "drop", "status"),
    [
        ("contradiction", "", 1),
        ("contradiction", "Item neighbours", 0),
        ("discrepancy", "Item neighbours", 1),
        ("note", "Item neighbours", 1),
        ("note", "Item neighbours|Improv", 0),
    ],
)
def test_exit_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fail_on: str, drop: str, status: int
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "table.csv"
    path.write_text("\n".join(line for line in text if not drop or not re.search(drop, line)))
    got, _ = run(capsys, str(path), "--fail-on", fail_on, "--out", str(tmp_path / "out"))
    assert got == status


def test_json_on_the_output_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = run(capsys, str(EXAMPLE), "--json")
    assert status == 0
    report = AuditReport.model_validate(json.loads(text))
    assert report == audit_csv(EXAMPLE)
    assert list(tmp_path.iterdir()) == []


def test_the_template_is_a_clean_file_with_every_column(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, text = run(capsys, "--template")
    assert (status, text) == (0, TEMPLATE)
    path = tmp_path / "template.csv"
    path.write_text(text, encoding="utf-8")
    assert len(read_file(path).rows) == 3
    report = audit_csv(path)
    assert report.findings == []
    assert {c.kind: c.examined for c in report.checks}["improvement"] == 4
    assert set(RESERVED) - set(text.split("\n")[0].split(",")) == {"metric", "source"}
    for name in set(RESERVED) - {"metric"}:
        assert name in FORMAT


def test_bad_input_and_no_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "--template" in capsys.readouterr().err


def test_only_the_worst_on_demand() -> None:
    report = audit_csv(EXAMPLE)
    whole, worst = list(summary(report)), list(summary(report, most=1))
    assert worst[:2] == whole[:2]
    assert worst[2:4] == ["... and 1 more, in the report", ""]
    assert worst[4:] == whole[5:]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    given = [sys.executable, "-m", "rankaudit", str(EXAMPLE), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            given, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
        )
    assert ended.returncode == 2
    assert ended.stderr == "standard output: cannot be written (No space left on device)\n"


def test_a_folder_that_cannot_be_made_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([str(EXAMPLE), "--out", str(tmp_path / ("x" * 300))]) == 2
    assert "cannot be written (File name too long)" in capsys.readouterr().err


class Page(HTMLParser):
    """Ids, links within the page, and tags that stay open."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(given["id"] or "")
        if (given.get("href") or "").startswith("#"):
            self.links.append((given["href"] or "")[1:])
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_ordered_and_its_anchors_lead_somewhere() -> None:
    report = audit_csv(EXAMPLE)
    html = to_html(report)
    page = Page()
    page.feed(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)
    order = re.findall(r'data-severity="(\w+)"', html)
    assert order == sorted(order, key=lambda severity: SEVERITIES.index(severity))
    assert len(order) == len(report.findings)
    # The five cells of the infeasible row and the one improvement lead to their findings.
    assert len(re.findall(r'<td class="contradiction"><a href="#', html)) == 5
    assert len(re.findall(r'<td class="discrepancy"><a href="#', html)) == 1
    assert anchors(by_severity(report.findings))[1] == "improvement-1-games-improv-ndcg-10"


def test_text_from_the_file_is_escaped_and_a_long_table_is_not_shown_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("row,NDCG@10,HR@10\n<script>x,0.2000,0.1000\nm,0.1,0.2\n", encoding="utf-8")
    report = audit_csv(path)
    failing, passing = report.rows
    html = to_html(report.model_copy(update={"rows": [failing, *[passing] * MOST_ROWS]}))
    assert "<script>x" not in html
    assert "&lt;script&gt;x" in html
    assert html.count("<th>m</th>") == 0
    assert len(html) < 10_000
