"""Tables as LaTeX: complete, and within the margins of an A4 page. Synthetic runs.

What is compiled needs pdflatex with the packages of texlive-latex-base and
texlive-latex-recommended; without it those tests are skipped, and with FINDREC_REQUIRE_LATEX=1 they
fail instead.
"""

import os
import re
import shutil
import subprocess

import pytest

from benchmark.plan import shown_in, specs
from benchmark.render.document import Block, Document, Entry, TableRow
from benchmark.render.selection import Selection
from benchmark.render.tables.build import TABLES, build_table
from benchmark.render.tables.latex import PACKAGES, to_latex
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import fill

PAGE = r"""\documentclass[a4paper,10pt]{article}
\usepackage[margin=2cm]{geometry}
\usepackage{%s}
\begin{document}
%s
\end{document}
"""


def document_of(name, store, profile, seeds=3, datasets=None):
    asked = Selection(seeds=tuple(range(seeds)), datasets=datasets)
    runs = RunSet(store)
    planned = asked.planned([name], profile, runs, as_stored=True)
    return build_table(name, planned, profile, root=store.root, datasets=datasets).document


def compiled(texts, folder):
    """TeX's log of one file that shows every text; name -> LaTeX."""
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        reason = "no pdflatex on PATH (apt install texlive-latex-base texlive-latex-recommended)"
        if os.environ.get("FINDREC_REQUIRE_LATEX") == "1":
            pytest.fail(f"FINDREC_REQUIRE_LATEX=1, and {reason}")
        pytest.skip(reason)
    for name, text in texts.items():
        (folder / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(rf"\input{{{name}}}\clearpage" for name in texts)
    (folder / "all.tex").write_text(PAGE % (",".join(PACKAGES), inputs), encoding="utf-8")
    done = subprocess.run(
        [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=folder,
        capture_output=True,
        timeout=300,
        check=False,
    )
    log = (folder / "all.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    return log


def assert_fits(log):
    """No line is wider than the page, no table higher."""
    assert re.findall(r"(?:Overfull \\[hv]box.*|.*Float too large.*)", log) == []


def tabulars(text):
    """(specification of the columns, lines of the body) of every tabular."""
    pattern = r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}"
    return [(spec, body.splitlines()) for spec, body in re.findall(pattern, text, re.S)]


def width_of(specification):
    """How many columns: l and r, and p{...} with what stands before it."""
    plain = re.sub(r">\{[^}]*\}p\{[^}]*\}", "p", specification)
    assert set(plain) <= set("lrp")
    return len(plain)


def test_latex_escapes_and_balances(synthetic, profile):
    store, _ = synthetic
    for name in ("table2", "table6"):
        text = to_latex(document_of(name, store, profile))
        assert text.isascii(), set(filter(lambda c: not c.isascii(), text))
        assert text.count("{") == text.count("}")
        found = tabulars(text)
        assert len(found) == text.count(r"\begin{tabular}")
        for specification, body in found:
            for row in body:
                if row.endswith(r"\\") and "multicolumn" not in row:
                    assert len(re.findall(r"(?<!\\)&", row)) == width_of(specification) - 1


def test_captions_have_no_number_of_ours(synthetic, profile):
    """LaTeX numbers the tables of the paper that they stand in."""
    store, _ = synthetic
    for name in ("table2", "table6", "fig3", "controls"):
        document = document_of(name, store, profile)
        captions = re.findall(r"\\caption\{(.*)\}", to_latex(document))
        assert len(captions) >= len(document.blocks)
        assert not any(re.match(r"(Table|Figure) \d|Controls\.", c) for c in captions), captions
        assert all(c.startswith(document.subject) for c in captions)
    assert (
        Document("x", "Table 12. A title. With two parts", ()).subject == "A title. With two parts"
    )
    assert Document("x", "No number", ()).subject == "No number"


def wide(rows=130, columns=14):
    """A block of which neither rows nor columns fit on one page, with long text in one column."""

    def entry(row, column):
        if column == 3:
            return Entry(f"c{row}x{column} " + "some/long_path-of/words " * (1 + row % 4))
        return Entry(f"c{row}x{column}", spread="0.0119", paper="0.2311", difference="−56.9 %")

    lines = tuple(
        TableRow(f"row {row}", tuple(entry(row, column) for column in range(columns)))
        for row in range(rows)
    )
    headings = tuple(f"heading {column}" for column in range(columns))
    return Document("wide", "Wide. A test", (Block("A block", "row", headings, lines),))


def test_split_tables_hold_every_cell_once():
    text = to_latex(wide())
    assert text.count(r"\begin{tabular}") > 4
    for row in range(130):
        for column in range(14):
            assert len(re.findall(rf"\bc{row}x{column}\b", text)) == 1
    assert text.count("(continued)") == text.count(r"\begin{tabular}") - 1


def test_a_wide_table_and_a_few_others_fit(synthetic, profile, tmp_path):
    store, _ = synthetic
    texts = {name: to_latex(document_of(name, store, profile)) for name in ("table2", "table6")}
    assert_fits(compiled(texts | {"wide": to_latex(wide())}, tmp_path))


def test_the_measure_finds_a_table_that_is_too_wide(tmp_path):
    """The same page with a tabular of the columns unsplit, as these tables were written before."""
    line = " & ".join(["0.0996 $\\pm$ 0.0119"] * 9)
    tabular = rf"\begin{{tabular}}{{{'r' * 9}}}{line}\end{{tabular}}"
    text = rf"\begin{{table*}}\centering{tabular}\end{{table*}}"
    with pytest.raises(AssertionError, match="Overfull"):
        assert_fits(compiled({"plain": text}, tmp_path))


@pytest.mark.slow
def test_every_table_fits(tmp_path):
    """Every table of both profiles, each with all its rows, two seeds and few users."""
    texts = {}
    for name, datasets in (("quick", ("ml-100k", "beauty")), ("rolling", ("ml-100k",))):
        profile = get_profile(name).model_copy(update={"run_on": datasets, "seeds": 2})
        own = [table for table in TABLES if table in shown_in(profile) and table not in texts]
        store = Store(tmp_path / name)
        fill(store, [t for t in own if specs([t], profile)], profile, seeds=2, users=40)
        for table in own:
            texts[table] = to_latex(document_of(table, store, profile, 2, datasets))
    assert set(texts) == set(TABLES)
    assert_fits(compiled(texts, tmp_path))
