"""What people have: decorated cells, other names, semicolons, LaTeX and Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rankaudit.audit import audit_csv
from rankaudit.errors import InputError
from rankaudit.interpret import Defaults, read_file, read_rows
from rankaudit.metrics import Metric
from rankaudit.printed import FLOOR, Comma, Printed, Rounding
from rankaudit.rankings import Protocol
from rankaudit.reading import read_delimited

NDCG, HR, MRR = Metric("NDCG", 10), Metric("HR", 10), Metric("MRR", 10)


@pytest.mark.parametrize(
    ("text", "value", "unit", "marks"),
    [
        ("0.0843±0.0003", 0.0843, 1e-4, ""),
        ("0.0843 (0.0003)", 0.0843, 1e-4, ""),
        (r"0.0843$\pm$0.0003", 0.0843, 1e-4, ""),
        (r"$0.0843_{\pm 0.0003}$", 0.0843, 1e-4, ""),
        (r"\textbf{0.0843}$_{\pm0.0012}$", 0.0843, 1e-4, "bold"),
        (r"\underline{\textbf{0.0843}}", 0.0843, 1e-4, "bold underline"),
        (r"{\bf 0.0843}", 0.0843, 1e-4, "bold"),
        (r"\cellcolor{gray!20}\textbf{0.0843}", 0.0843, 1e-4, "bold"),
        (r"$\mathbf{0.0843}^{*}$", 0.0843, 1e-4, "bold star"),
        (r"0.0843$^\dagger$", 0.0843, 1e-4, "star"),
        ("0.0843†*", 0.0843, 1e-4, "star"),
        ("**0.0843***", 0.0843, 1e-4, "bold star"),
        ("<b>0.0843</b>", 0.0843, 1e-4, "bold"),
        ("<u>0.0843</u>", 0.0843, 1e-4, "underline"),
        (r"8.43\%", 0.0843, 1e-4, ""),
        ("12.3%±0.4%", 0.123, 1e-3, ""),
        ("0,0843", 0.0843, 1e-4, ""),
        ("3,40%", 0.034, 1e-4, ""),
        ("1.234,5", 1234.5, 0.1, ""),
        ("1,234.5", 1234.5, 0.1, ""),
        ("98,609", 98609.0, 1.0, ""),
        ("8.43e-2", 0.0843, 1e-4, ""),
        (".0843", 0.0843, 1e-4, ""),
        ("↑12.5%", 0.125, 1e-3, ""),
        ("0.08430000000000001", 0.0843, FLOOR, ""),
        # digits of footnotes and of small spreads are none of the number
        ("0.021<sup>9</sup>", 0.021, 1e-3, ""),
        ("0.0210<sub>12</sub>", 0.021, 1e-4, ""),
        ("0.0843<sup>*</sup>", 0.0843, 1e-4, "star"),
        ("0.0843<small>±0.0003</small>", 0.0843, 1e-4, ""),
        (r"0.084\tnote{5}", 0.084, 1e-3, ""),
        (r"0.050\textsuperscript{9}", 0.05, 1e-3, ""),
        (r"0.0700\footnotesize{12}", 0.07, 1e-4, ""),
        (r"0.0410\tiny{3}", 0.041, 1e-4, ""),
        (r"0.0410{\scriptsize(0.0003)}", 0.041, 1e-4, ""),
        (r"0.0410\unknown{3}", 0.041, 1e-4, ""),
        ("0.0843 (+3.2)%", 0.0843, 1e-4, ""),
        ("0.0843 (+3.2%)", 0.0843, 1e-4, ""),
        ("8.43 (±0.1)%", 0.0843, 1e-4, ""),
        (r"0.0840\*", 0.084, 1e-4, "star"),
        ("0.0840&plusmn;0.001", 0.084, 1e-4, ""),
        ("<u>**0.0843**</u>", 0.0843, 1e-4, "bold underline"),
        ("***0.0843***", 0.0843, 1e-4, "bold"),
    ],
)
def test_cells(text: str, value: float, unit: float, marks: str) -> None:
    cell = Printed.parse(text, "test")
    assert cell.value == pytest.approx(value, rel=1e-12)
    assert cell.unit == pytest.approx(unit, rel=1e-12)
    assert cell.marks == set(marks.split())


@pytest.mark.parametrize(
    ("text", "value"),
    [("↓0.57%", -0.0057), ("0.57%▼", -0.0057), ("↑0.57%", 0.0057), ("-0.57%↓", -0.0057),
     ("\u20130.57%", -0.0057)],
)  # fmt: skip
def test_arrows_of_changes(text: str, value: float) -> None:
    """Down is a minus where there is no sign; of a result an arrow says nothing."""
    assert Printed.parse(text, "test", arrows=True).value == pytest.approx(value, rel=1e-12)
    if text[0] not in "-\u2013":
        assert Printed.parse(text, "test").value == pytest.approx(0.0057, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    ["1.2.3", "1,23,4", "1.23,4,5", "0.1±", "abc", "1,234,56", f"0.{'1' * 5000}", "9" * 5000],
)
def test_cells_that_are_no_numbers(text: str) -> None:
    with pytest.raises(InputError, match="table 1: "):
        Printed.parse(text, "table 1")


@pytest.mark.parametrize(("comma", "value"), [("thousands", 8433.0), ("decimal", 8.433)])
def test_a_comma_that_may_be_either(comma: Comma, value: float) -> None:
    assert Printed.parse("8,433", "test", comma=comma).value == value
    with pytest.raises(InputError, match=r"may be 8\.433 or 8433"):
        Printed.parse("8,433", "test", comma="refuse")


def read(folder: Path, text: str, name: str = "table.csv", **defaults: str) -> list[Printed]:
    """The cells of the first row."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return list(read_rows(path, Defaults(**defaults))[0].cells.values())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("row,N@10,M@10\nA,0.0843,0.07\n", [0.0843, 0.07]),
        ("row,Hits@10,ndcg@10\nA,0.0843,0.07\n", [0.0843, 0.07]),
        ("row,HITRATE@10,Hit Ratio @5\nA,0.0843,0.07\n", [0.0843, 0.07]),
        ("Method,NDCG@10\nA,0.08\n", [0.08]),
        (",R@10,P@10\nA,0.08,0.01\n", [0.08, 0.01]),
        ("row,NDCG@10 (%),MRR@10\nA,8.43,0.07\n", [0.0843, 0.07]),
        ("row;NDCG@10;MRR@10\nA;0,0843;0,07\n", [0.0843, 0.07]),
        ('row,HR@10%,NDCG@10%\nA,"8,4","4,1"\n', [0.084, 0.041]),
        ('row,HR@10,NDCG@10\nA,"0,1","0,0"\n', [0.1, 0.0]),
        ("row\tNDCG@10\tHR@10\nA\t0.05\t—\n", [0.05]),
        ("row,NDCG@10,HR@10\nA,n/a,0.05\n", [0.05]),
        ("row,ndcg_10,hit10\nA,0.04,0.05\n", [0.04, 0.05]),
    ],
)
def test_files(tmp_path: Path, text: str, values: list[float]) -> None:
    assert [cell.value for cell in read(tmp_path, text)] == pytest.approx(values, rel=1e-12)


def test_what_is_read_otherwise_than_it_stands_is_told(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("Method;N@10;AUC\nA;0,0843±0,0003;0,7\nImprov.;3,4;\n", encoding="utf-8")
    reading = read_file(path)
    told = " ".join(reading.read_as)
    for rule in (
        "'Method' is read as 'row'",
        "'N@10' is read as NDCG@10",
        "decimal comma",
        "after ±",
        "'Improv.' is read as an improvement row",
        "in per cent throughout",
    ):
        assert rule in told  # fmt: skip
    assert [skipped.what for skipped in reading.skipped] == ["column AUC"]
    assert reading.rows[1].cells[NDCG].value == pytest.approx(0.034)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row,candidate,NDCG@5\na,101,0.1\n", "did you mean 'candidates'"),
        ("row,method,NDCG@5\na,b,0.1\n", "columns 'row' and 'method' both mean 'row'"),
        ('row,users,NDCG@5\na,"1,5",0.1\n', "users '1,5' is not a whole number"),
        ("row,ties,NDCG@5\na,maybe,0.1\n", "ties 'maybe'"),
        ('row,role,NDCG@5\nImp,improvement,"1,234%"\n', "may be 1.234 or 1234"),
        ('row,NDCG@5\n"a,0.1\n', "does not end as it should"),
        ("metric,A,B\nNDCG@5,0.1,0.2\nNDCG@5,0.1,0.2\n", "NDCG@5 stands twice for 'A'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="line") as error:
        read_file(path)
    assert message in str(error.value)


def test_what_holds_for_all_rows_can_be_told_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("row,targets,NDCG@10\nA,,8.4\nB,1,7.1\n", encoding="utf-8")
    told = Defaults("any", "101", "twice", "expected", "1,000", "5", percent=True)
    first, second = read_rows(path, told)
    assert first.protocol == Protocol(None, 101)
    assert second.protocol == Protocol(candidates=101)
    assert (first.rounding, first.fractional_hits) == (Rounding.TWICE, True)
    assert (first.users, first.runs, first.cells[NDCG].value) == (1000, 5, 0.084)


@pytest.mark.parametrize(
    ("name", "cell", "role"),
    [
        ("Improv.", "3.4", "improvement"),
        ("Improv. (%)", "+0.4", "improvement"),
        ("Rel. Improvement", "3.40%", "improvement"),
        ("Gain over SASRec", "3.40%", "improvement"),
        ("Improved GRU", "0.0340", "result"),
        ("Improved GRU", "3.40%", "result"),
        ("GAIN", "0.0340", "result"),  # a method of this name
        ("Ours", "0.0340", "ours"),
        ("FindRec (ours)", "0.0340", "ours"),
        ("Yours", "0.0340", "result"),
    ],
)
def test_roles_by_name(tmp_path: Path, name: str, cell: str, role: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"row,NDCG@5\nA,0.03\n{name},{cell}\n", encoding="utf-8")
    assert read_rows(path)[1].role == role


LATEX = r"""
Some text with 50\% and a % comment & with \\ signs
\begin{table*}[t]
\caption{Overall. Best in \textbf{bold}.} \label{tab:overall}
\begin{tabular}{@{}l|cc|cc@{}}
\toprule
\multirow{2}{*}{\textbf{Method}} & \multicolumn{2}{c|}{Amazon Beauty}
 & \multicolumn{2}{c}{ML\_1M} \\
\cmidrule(lr){2-3} \cmidrule(lr){4-5}
 & HR@10$\uparrow$ & NDCG@10 & HR@10 & NDCG@10 \\ \midrule
SASRec~\cite{kang2018} & 0.0601 & 0.0318 & \underline{0.2137} & 0.1183 \\
% BERT4Rec & 0.9 & 0.9 & 0.9 & 0.9 \\
GRU4Rec & -- & 0.0301 & 0.2051$_{\pm .001}$ & \underline{0.1190} \\[2pt]
\rowcolor{gray!10} Ours & \textbf{0.0655}$^{*}$ & \textbf{0.0341}
 & \textbf{0.2301} & \textbf{0.1271} \\
\midrule
Improv. & 8.99\% & 7.23\% & +7.67\% & 6.81\% \\
\bottomrule
\end{tabular}
\end{table*}
"""


def test_a_latex_table(tmp_path: Path) -> None:
    path = tmp_path / "paper.tex"
    path.write_text(LATEX, encoding="utf-8")
    rows = {(row.name, row.dataset): row for row in read_rows(path)}
    assert list(dict.fromkeys(name for name, _ in rows)) == ["SASRec", "GRU4Rec", "Ours", "Improv."]
    assert {dataset for _, dataset in rows} == {"Amazon Beauty", "ML_1M"}
    assert {row.table for row in rows.values()} == {"overall"}
    ours = rows["Ours", "Amazon Beauty"]
    assert ours.role == "ours"
    assert ours.cells[HR].marks == {"bold", "star"}
    assert rows["GRU4Rec", "Amazon Beauty"].cells.keys() == {NDCG}
    assert rows["GRU4Rec", "ML_1M"].cells[HR].text == "0.2051"
    assert rows["Improv.", "ML_1M"].cells[HR].value == pytest.approx(0.0767)
    report = audit_csv(path)
    assert report.findings == []  # 0.0655 / 0.0601 = 1.0899 and so on
    lines = LATEX.splitlines()
    remarked = [f"{line}% a remark" if line.endswith("\\\\") else line for line in lines]
    path.write_text("\n".join(remarked), encoding="utf-8")
    assert {(row.name, row.dataset): row.role for row in read_rows(path)} == {
        place: row.role for place, row in rows.items()
    }
    wrong = LATEX.replace(r"8.99\%", r"9.99\%").replace(r"0.0341}", r"0.0743}")
    path.write_text(wrong, encoding="utf-8")
    found = {(f.kind, f.row, f.dataset) for f in audit_csv(path).findings}
    assert ("improvement", "Improv.", "Amazon Beauty") in found
    assert ("infeasible_row", "Ours", "Amazon Beauty") in found  # NDCG above HR


def test_latex_with_datasets_and_metrics_down_and_methods_across(tmp_path: Path) -> None:
    body = r"""\begin{tabular}{llccc}\hline
Dataset & Metric & GRU & Ours & Improv. \\ \hline
\multirow{2}{*}{Toys} & NDCG@10 & 0.0500 & 0.0600 & 20.00\% \\
 & HR@10 & 0.1000 & 0.1100 & 10.00\% \\ \hline
\multirow{2}{*}{Games} & NDCG@10 & 0.0400 & 0.0500 & 25.00\% \\
 & HR@10 & 0.0800 & 0.0900 & 13.00\% \\ \hline
\end{tabular}"""
    path = tmp_path / "across.tex"
    path.write_text(body, encoding="utf-8")
    rows = read_rows(path)
    assert [(r.dataset, r.name, r.role) for r in rows] == [
        ("Toys", "GRU", "result"), ("Toys", "Ours", "ours"), ("Toys", "Improv.", "improvement"),
        ("Games", "GRU", "result"), ("Games", "Ours", "ours"), ("Games", "Improv.", "improvement"),
    ]  # fmt: skip
    (finding,) = audit_csv(path).findings
    # 0.0900 / 0.0800 = 12.5 %, between 12.4 and 12.6 % with any unprinted digits.
    assert (finding.kind, finding.dataset) == ("improvement", "Games")


def rows_of(folder: Path, body: str, name: str = "t.tex") -> list[tuple[str, str, str]]:
    path = folder / name
    path.write_text(body, encoding="utf-8")
    return [(row.dataset, row.name, row.role) for row in read_rows(path)]


def test_a_multirow_that_spans_upwards(tmp_path: Path) -> None:
    """As coloured tables have it: the name stands in the last of its rows."""
    body = r"""\begin{tabular}{llc}
Dataset & Model & HR@10 \\ \hline
 & A & 0.0700 \\
 & Ours & 0.0800 \\
\multirow{-3}{*}{Beauty} & Improv. & 14.29\% \\ \hline
 & A & 0.0500 \\
 & Ours & 0.0600 \\
\multirow{-3}{*}{Toys} & Improv. & 20.00\% \\
\end{tabular}"""
    kinds = [("A", "result"), ("Ours", "ours"), ("Improv.", "improvement")]
    assert rows_of(tmp_path, body) == [(d, *kind) for d in ("Beauty", "Toys") for kind in kinds]


def test_a_dataset_that_stands_beside_its_first_row_alone(tmp_path: Path) -> None:
    """In LaTeX and Markdown; in CSV an empty field says that there is none."""
    lines = ["| Dataset | Model | HR@10 |", "|---|---|---|", "| Beauty | A | 0.07 |"]
    lines += ["| | B | 0.06 |", "| Toys | A | 0.05 |", "| | B | 0.04 |"]
    found = rows_of(tmp_path, "\n".join(lines), "t.md")
    assert [dataset for dataset, *_ in found] == ["Beauty", "Beauty", "Toys", "Toys"]
    found = rows_of(tmp_path, "dataset,row,HR@10\nBeauty,A,0.07\n,B,0.06\n", "t.csv")
    assert [dataset for dataset, *_ in found] == ["Beauty", ""]


def test_headings_of_kinds_of_methods_are_no_datasets(tmp_path: Path) -> None:
    body = r"""Model & NDCG@10 & HR@10 \\
\multicolumn{3}{l}{\textit{ID-based methods}} \\
GRU4Rec & 0.0410 & 0.0700 \\
\multicolumn{3}{l}{\textit{Multi-modal models}} \\
Ours & 0.0450 & 0.0800 \\"""
    assert {dataset for dataset, *_ in rows_of(tmp_path, body)} == {""}


@pytest.mark.parametrize(
    "rule",
    [r"\hdashline", r"\cdashline{1-3}", r"\Xhline{1pt}", r"\hhline{|-|-|-|}", r"\thickhline",
     r"\cdashlinelr{1-3}"],
)  # fmt: skip
def test_rules_of_other_packages_are_no_part_of_a_name(tmp_path: Path, rule: str) -> None:
    body = rf"""Model & HR@10 (\%) & NDCG@10 (\%) \\
A & 8.40 & 5.00 \\
Ours & 9.00 & 5.50 \\
{rule}
Improv. & 7.14 & 10.00 \\"""
    assert rows_of(tmp_path, body)[-1] == ("", "Improv.", "improvement")
    body = body.replace("Improv.", r"\underline{B}")
    assert rows_of(tmp_path, body)[-1][1] in ("B", r"\underline{B}"), "underlining is no rule"


@pytest.mark.parametrize(
    ("name", "versus"),
    [("Improv. v.s. best", ""), ("Improvement against A", "A"), ("RelaImpr", ""),
     ("Improv. over A", "A"), ("Improv. w.r.t. best", "")],
)  # fmt: skip
def test_names_of_improvements(tmp_path: Path, name: str, versus: str) -> None:
    """Over a row of the table that the name says, else over the best."""
    path = tmp_path / "t.csv"
    path.write_text(f"row,HR@10\nA,5%\nB,6%\nOurs,9%\n{name},80.0%\n", encoding="utf-8")
    row = read_rows(path)[-1]
    assert (row.role, row.versus) == ("improvement", versus)


def test_a_method_named_like_a_metric(tmp_path: Path) -> None:
    """With metrics down every column is a method: P5 is a recommender, not a precision."""
    lines = ["| Metric | SASRec | P5 | Ours |", "|---|---|---|---|"]
    lines += ["| HR@10 | 0.0500 | 0.0600 | 0.0700 |", "| NDCG@10 | 0.0300 | 0.0350 | 0.0400 |"]
    assert [name for _, name, _ in rows_of(tmp_path, "\n".join(lines), "t.md")] == [
        "SASRec", "P5", "Ours",
    ]  # fmt: skip


def test_line_breaks_inside_a_cell_end_no_row(tmp_path: Path) -> None:
    body = r"""\begin{tabular}{lcc}
Model & HR@10 & NDCG@10 \\ \hline
A & 0.0700 & 0.0400 \\
\begin{tabular}[c]{@{}l@{}}B\\(x)\end{tabular} & 0.0500 & 0.0300 \\
\makecell{C\\(y)} & 0.0600 & 0.0350 \\
D & 0.0500 & 0.0300 \\
\end{tabular}"""
    names = [name for _, name, _ in rows_of(tmp_path, body)]
    assert [re.sub(r"[{}]", "", name) for name in names] == ["A", "B (x)", "C (y)", "D"]


def test_users_of_all_are_not_those_of_a_group(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("row,group,HR@10\nA,,0.050\nA,short,0.0333\n", encoding="utf-8")
    assert [row.users for row in read_rows(path, Defaults(users="1000"))] == [1000, None]


@pytest.mark.parametrize("column", ["users", "targets", "candidates"])
def test_counts_that_nobody_has_are_refused(tmp_path: Path, column: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"row,HR@10,{column}\nA,0.05,{'9' * 400}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_rows(path)


def test_latex_with_dataset_headings_and_a_pasted_body(tmp_path: Path) -> None:
    body = r"""Model & \multicolumn{2}{c}{NDCG} \\
 & @5 & @10 \\ \hline
\multicolumn{3}{c}{Beauty} \\
A & 0.03 & 0.04 \\
\multicolumn{3}{c}{Toys} \\
A & 0.05 & 0.06 \\"""
    path = tmp_path / "pasted.tex"
    path.write_text(body, encoding="utf-8")
    first, second = read_rows(path)
    assert (first.dataset, second.dataset) == ("Beauty", "Toys")
    assert list(first.cells) == [Metric("NDCG", 5), Metric("NDCG", 10)]


def test_markdown_tables(tmp_path: Path) -> None:
    text = (
        "# Results\n\n| Model | NDCG@10 | HR@10 |\n|:--|--:|--:|\n| A \\| B | 0.05 | 0.09 |\n"
        "| C | **0.06** | n/a |\n\nand\n\nModel | HR@10 (%)\n---|---\nA | 9.5\n"
    )
    path = tmp_path / "readme.md"
    path.write_text(text, encoding="utf-8")
    rows = read_rows(path)
    assert [(r.table, r.name) for r in rows] == [("1", "A | B"), ("1", "C"), ("2", "A")]
    assert rows[1].cells.keys() == {NDCG}
    assert rows[2].cells[HR].value == pytest.approx(0.095)


def test_the_reader_of_delimited_files_by_itself() -> None:
    table = read_delimited('a;b\n"x;y";1\n\n z ;2\n', "file")
    assert table.header == (("a",), ("b",))
    assert [(r.line, r.fields) for r in table.records] == [(2, ["x;y", "1"]), (4, ["z", "2"])]
    assert table.delimiter == ";"
    with pytest.raises(InputError, match="file, line 2: 3 fields, but the header has 2"):
        read_delimited("a,b\n1,2,3\n", "file")
