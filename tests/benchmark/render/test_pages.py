"""Parts of README.md and docs/ that show committed results: found, filled, verified."""

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.render.notes import dataset_note
from benchmark.render.pages import SHORT, differences, filled, part_names, short_table, table_part
from benchmark.render.selection import Selection
from benchmark.render.tables.build import build_table
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from tests.benchmark.render.synthetic import fill

ROOT = Path(__file__).parents[3]
PART = "<!-- part: {} -->\nold\n<!-- end of part -->"


def test_parts_alone_are_replaced():
    page = f"before\n{PART.format('one')}\nbetween\n{PART.format('two')}\nafter\n"
    assert part_names(page, "page") == ["one", "two"]
    first = filled(page, {"one": "new\n\nlines\n"}, "page")
    assert first == page.replace("old", "new\n\nlines", 1), "what is not named stays"
    both = filled(first, {"one": "x", "two": "y"}, "page")
    assert both == page.replace("old", "x", 1).replace("old", "y")
    assert filled(both, {"one": "x", "two": "y"}, "page") == both


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n<!-- part: x -->\nold\n", "page: its last part has no line"),
        ("a\nb\n<!-- end of part -->\n", "page, line 3: .* where no part began"),
        (
            f"<!-- part: x -->\n{PART.format('y')}\n",
            "page, line 2: .* the part before it has no end",
        ),
    ],
)
def test_a_part_without_its_other_end_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        filled(text, {"x": "new"}, "page")


def test_a_difference_names_its_line():
    assert differences("page", "a\nb", "a\nb") == []
    (found,) = differences("page", "a\nb\n", "a\nc\n")
    assert found == "page, line 2: 'b', the committed runs give 'c'"
    assert "run `pages`" in differences("page", "a\nb\n", "a\n")[0]
    many = differences("page", "a\n" * 9, "b\n" * 9)
    assert len(many) == 6
    assert many[-1] == "page: and 4 lines more; run `pages`"


def test_the_short_table_has_the_long_tables_numbers(synthetic, profile):
    """Every mean in it is that of the CSV, rounded to its four decimals; a row without runs has
    dashes."""
    store, planned = synthetic
    own = [p for p in planned if p.key.variant == "base"]
    table = build_table("table2", own, profile, root=store.root)
    text = short_table(table.document, {"beauty": dataset_note("beauty", profile, None)})
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    cells = table.cells[table.cells["metric"] == "NDCG@10"]
    for row in SHORT:
        means = cells[cells["row"] == row].set_index("protocol")["mean"]
        if row not in {p.key.model for p in own}:
            assert re.findall(r"0\.\d{4}", rows[row]) == []
            continue
        numbers = re.findall(r"0\.\d{4}", rows[row])
        assert f"{means['kept']:.4f}" in numbers
        assert f"{means['left out']:.4f}" in numbers
    assert set(SHORT) <= set(methods())
    assert table_part(table.document).startswith("## "), "the page has a title of its own"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with committed runs of two rows and two pages to fill."""
    store = Store(tmp_path / "results" / "reference")
    fill(
        store,
        ["table2"],
        get_profile("quick"),
        seeds=6,
        users=60,
        datasets=["beauty"],
        models=["SASRec", "FindRec"],
    )
    (tmp_path / "docs").mkdir()
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "quick-table.md"
    readme.write_text(
        "# Here\n\n" + "\n\n".join(map(PART.format, ("table2-answer", "table2-short")))
    )
    page.write_text(f"# There\n\n{PART.format('table2')}\n")
    monkeypatch.setattr("benchmark.cli.options.ROOT", tmp_path)
    monkeypatch.setattr("benchmark.cli.pages.ROOT", tmp_path)
    monkeypatch.setattr("benchmark.cli.options.REFERENCE", store.root)
    monkeypatch.setattr("benchmark.cli.results.RESULTS", tmp_path / "results")
    return tmp_path


def test_pages_are_filled_and_verified(checkout):
    """Filled pages pass; one digit changed in a page, or a run taken away, does not."""
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1, "nothing was filled yet"
    done = CliRunner().invoke(app, ["pages"])
    assert done.exit_code == 0, done.output
    readme, page = checkout / "README.md", checkout / "docs" / "quick-table.md"
    assert "\nold\n" not in readme.read_text() + page.read_text()
    assert "- beauty: no verdict yet, 10 rows lack seeds" in readme.read_text()
    assert "## Amazon Beauty" in page.read_text()
    drawn = sorted(path.name for path in (checkout / "docs" / "images").iterdir())
    assert drawn == ["learning.svg", "table2.svg"]
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0, done.output
    assert "0 table(s) and 2 page(s) checked, 0 difference(s)" in done.output
    assert "as the committed runs say" in CliRunner().invoke(app, ["pages"]).output

    text = readme.read_text()
    number = re.search(r"\| FindRec \| .*?(0\.\d{4})", text)
    wrong = f"{float(number[1]) + 0.0001:.4f}"
    readme.write_text(text[: number.start(1)] + wrong + text[number.end(1) :])
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert "README.md, line" in done.output
    readme.write_text(text)

    next((checkout / "results").glob("**/findrec/base/seed-2.npz")).unlink()
    assert CliRunner().invoke(app, ["verify"]).exit_code == 1


def test_a_table_that_cannot_be_read_hides_nothing_else(checkout):
    """It is named with its remedy, and the other tables and the pages are checked all the same."""
    CliRunner().invoke(app, ["pages"])
    folder = checkout / "results" / "quick" / "tables"
    folder.mkdir(parents=True)
    asked = Selection(seeds=tuple(range(6)), models=("SASRec",), datasets=("beauty",))
    for name in ("table2", "table3"):
        (folder / f"{name}.csv").write_text("of,another,format\n")
        (folder / f"{name}.json").write_text(asked.model_dump_json())
    (folder / "table3.json").write_text("{}")
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "table2.csv: not a table of cells" in said
    assert "table3.json: does not say what its table shows" in said
    assert "2 table(s) and 2 page(s) checked, 2 difference(s)" in said


def test_a_part_that_nothing_fills_is_refused(checkout):
    page = checkout / "docs" / "quick-table.md"
    page.write_text(page.read_text().replace("table2", "table-two"))
    done = CliRunner().invoke(app, ["pages"])
    assert isinstance(done.exception, InputError)
    assert "quick-table.md: nothing fills its part 'table-two'" in str(done.exception)


def test_a_folder_without_pages_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.cli.pages.ROOT", tmp_path)
    done = CliRunner().invoke(app, ["pages"])
    assert isinstance(done.exception, InputError)
    assert "no page to fill" in str(done.exception)


def test_the_long_table_is_the_one_that_the_csv_has(synthetic, profile):
    store, planned = synthetic
    table = build_table(
        "table2", [p for p in planned if p.key.variant == "base"], profile, root=store.root
    )
    text = table_part(table.document)
    own = table.cells[(table.cells["row"] == "FindRec") & (table.cells["metric"] == "MRR@10")]
    assert isinstance(own, pd.DataFrame)
    for mean in own["mean"]:
        assert f"{mean:.4f}" in text
