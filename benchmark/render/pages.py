"""The parts of README.md and docs/ that show committed results.

A part stands between two comments, and what stands there is replaced whole:

    <!-- part: table2 -->
    ...
    <!-- end of part -->

`./reproduce.sh pages` fills the parts from results/reference, and `verify` derives them anew.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.render.document import Block, Document, Entry, TableRow
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.inference import HEADINGS
from benchmark.render.tables.writers import markdown_grid, to_markdown

SHORT = (
    *("SASRec", "GRU4Rec", "Mamba4Rec", "SASRec (MM)", "Mamba4Rec (MM)", "MMMLP", "FindRec"),
    "Last-item KNN",
)
"""Rows of the README's table, named before any of them was run for the record: the backbones, each
with and without features, the paper's best other row, its own, and the control that needs no
training. GRU4Rec, on which P1 and P2 turned, came later."""

NAMED = 5
"""Lines of a page that `verify` names."""

_MARK = re.compile(r"^<!-- (?:part: (?P<name>[\w-]+)|(?P<end>end of part)) -->$", re.MULTILINE)


def part_names(text: str, where: str) -> list[str]:
    """The parts of a page. where: what the page is called in errors. Raises InputError where a part
    has no end, or an end no part."""
    names: list[str] = []
    inside = False
    for mark in _MARK.finditer(text):
        line = text.count("\n", 0, mark.start()) + 1
        if (mark["end"] is not None) != inside:
            raise InputError(
                f"{where}, line {line}: {mark[0]} where "
                + ("the part before it has no end" if inside else "no part began")
            )
        inside = not inside
        if mark["name"]:
            names.append(mark["name"])
    if inside:
        raise InputError(f"{where}: its last part has no line <!-- end of part -->")
    return names


def filled(text: str, parts: Mapping[str, str], where: str) -> str:
    """The page with its parts replaced; those that `parts` does not name stay as they are. Raises
    InputError as `part_names` does."""
    part_names(text, where)

    def replacement(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in parts:
            return found[0]
        return f"<!-- part: {name} -->\n{parts[name].strip()}\n<!-- end of part -->"

    whole = r"^<!-- part: (?P<name>[\w-]+) -->\n.*?^<!-- end of part -->$"
    return re.sub(whole, replacement, text, flags=re.MULTILINE | re.DOTALL)


def table_part(document: Document) -> str:
    """A table as part of a page: without its title, which the page has."""
    return to_markdown(document).partition("\n")[2].strip()


def short_table(document: Document, notes: Mapping[str, DatasetNote]) -> str:
    """The rows of `SHORT`, all datasets side by side: the metric of the rules under both protocols,
    and the printed number, which stands beside the history kept. As Markdown."""
    grids = {
        dataset: block
        for block in document.blocks
        if (dataset := _dataset_of(block)) in notes and block.headings == _headings()
    }
    rows = []
    for label in SHORT:
        entries: list[Entry] = []
        for block in grids.values():
            own = next((row.entries for row in block.rows if row.label == label), ())
            entries += [replace(entry, difference="") for entry in own]
            entries += [Entry("–")] * (len(_headings()) - len(own))
        rows.append(TableRow(label, tuple(entries)))
    headings = tuple(
        f"{notes[dataset].title}, {heading}" for dataset in grids for heading in _headings()
    )
    grid = Block("", "method", headings, tuple(rows))
    legend = Document(document.name, document.title, (grid,)).legend()
    marks = [f"{mark}: {meaning}" for mark, meaning in legend]
    return "\n".join([*markdown_grid(grid), "", *(f"- {line}" for line in marks)])


def _headings() -> tuple[str, ...]:
    return tuple(HEADINGS[protocol] for protocol in PROTOCOLS)


def _dataset_of(block: Block) -> str:
    """The dataset of a grid of the rules' metric; "" of other blocks."""
    keys = {entry.key for row in block.rows for entry in row.entries if entry.key is not None}
    found = {key.dataset for key in keys}
    own = {key.metric for key in keys} == {RULES.metric}
    return found.pop() if own and len(found) == 1 else ""


def differences(path: str, text: str, wanted: str) -> list[str]:
    """The first `NAMED` lines of a page that are not what its parts should hold, by number, and how
    many more there are."""
    there, here = text.splitlines(), wanted.splitlines()
    if len(there) != len(here):
        return [f"{path}: its parts are not what the committed runs give; run `pages`"]
    found = [
        f"{path}, line {at}: {old!r}, the committed runs give {new!r}"
        for at, (old, new) in enumerate(zip(there, here, strict=True), 1)
        if old != new
    ]
    more = len(found) - NAMED
    return found[:NAMED] + [f"{path}: and {more} lines more; run `pages`"] * (more > 0)
