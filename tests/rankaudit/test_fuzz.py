"""Any table that the format's grammar gives is audited or refused, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankaudit.audit import audit_csv
from rankaudit.errors import InputError
from rankaudit.page import to_html
from rankaudit.report import to_markdown
from rankaudit.terminal import summary

digits = st.integers(1, 17).flatmap(
    lambda n: st.integers(0, 10**n).map(lambda number: f"{number / 10**n:.{n}f}")
)
odd = st.sampled_from(
    ["", "-", "—", "n/a", "0", "1", "1.0000", "0.0000", "1.1", "0,5", "1,000", "8.43%", "-3%",
     "1e-3", r"\textbf{0.5}", "0.1±0.2", "**0.2**", "_0.3_*", "x", "0.1.2", '"', "nan", r"\textbf{",
     "+5", "½", "٣", "1e999", "0.5e5", "9" * 400, "−0.1", "()", "{}", "$$", "^*", "_", "**", "% &"]
)  # fmt: skip
plain = st.one_of(digits, digits, digits, st.sampled_from(["", "-", "n/a", "0.5±0.1", "8.43%"]))
names = st.sampled_from(
    ["NDCG@5", "NDCG@10", "MRR@5", "MRR@10", "MRR", "HR@5", "HR@10", "Recall@5", "Recall@10",
     "Precision@5", "MAP@10", "N@3", "HR@1 (%)", "AUC", "NDCG@0"]
)  # fmt: skip
extra = {
    "table": st.sampled_from(["", "1", "2"]),
    "dataset": st.sampled_from(["", "d", "e"]),
    "group": st.sampled_from(["", "", "g", "h"]),
    "role": st.sampled_from(["", "", "result", "ours", "improvement", "other"]),
    "versus": st.sampled_from(["", "", "a", "b"]),
    "targets": st.sampled_from(["", "1", "any", "3", "1:2 4:3", "20", "0", "x", "1:inf", "1:nan"]),
    "candidates": st.sampled_from(["", "", "1", "5", "11", "101", "0"]),
    "rounding": st.sampled_from(["", "once", "twice"]),
    "ties": st.sampled_from(["", "broken", "expected"]),
    "users": st.sampled_from(["", "1", "7", "1,000", "1,5", "²"]),
    "runs": st.sampled_from(["", "1", "3"]),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a table and the ending of its file."""
    metrics = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    columns = draw(st.lists(st.sampled_from(list(extra)), max_size=6, unique=True))
    cells = draw(st.sampled_from([plain, plain, st.one_of(plain, odd)]))
    wild = draw(st.booleans())
    columns = [name for name in columns if wild or name not in ("role", "users", "targets")]
    header = ["row", *columns, *metrics]
    rows = [
        [draw(st.sampled_from(["a", "b", "Ours", "Improv.", "c"]))]
        + [draw(extra[name]) for name in columns]
        + [draw(cells) for _ in metrics]
        for _ in range(draw(st.integers(1, 5)))
    ]
    form = draw(st.sampled_from(["csv", "csv", "semicolon", "latex", "markdown"]))
    lines = [header, *rows]
    if form == "latex":
        body = " \\\\\n".join(" & ".join(line) for line in lines)
        return "\\begin{tabular}{" + "c" * len(header) + "}" + body + "\\end{tabular}", ".tex"
    if form == "markdown":
        shown = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([shown[0], "|---" * len(header) + "|", *shown[1:]]), ".md"
    if form == "semicolon":
        return "\n".join(";".join(line) for line in lines), ".csv"
    quoted = [[f'"{field}"' if "," in field else field for field in line] for line in lines]
    return "\n".join(",".join(line) for line in quoted), ".csv"


def check(made: tuple[str, str]) -> bool:
    """Audit a table and write its report; whether it was accepted."""
    text, suffix = made
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table{suffix}"
        path.write_text(text, encoding="utf-8")
        try:
            report = audit_csv(path)
        except InputError:
            return False
    assert to_markdown(report)
    assert to_html(report)
    assert list(summary(report, 80))
    return True


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_table(made: tuple[str, str]) -> None:
    check(made)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_three_thousand_tables(made: tuple[str, str]) -> None:
    check(made)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.sampled_from([".csv", ".tex", ".md"]))
def test_any_text(text: str, suffix: str) -> None:
    check((text, suffix))
