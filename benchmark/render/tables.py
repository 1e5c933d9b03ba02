"""Tables from stored runs. `tabulated` is the one path from a plan to numbers: Markdown, CSV and
LaTeX come from what it returns, so that `verify` can write them anew and compare byte by byte."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmark.analyse.cells import CellSpec, tabulate
from benchmark.analyse.verify import to_csv
from benchmark.data.bundle import load_bundle
from benchmark.identity import hashes
from benchmark.paper import load_cells
from benchmark.plan import Planned, experiments
from benchmark.records import Hashes, Unit
from benchmark.registry import Profile
from benchmark.render.exhibits import SWEEPS, distinct, specs
from benchmark.render.layout import Layout
from benchmark.render.notes import dataset_note, facts, records, runs_block
from benchmark.render.printed_counts import table1, table4
from benchmark.render.sheet import Sheet
from benchmark.render.writers import to_latex, to_markdown
from benchmark.store import Store

TABLES = ("table1", "table2", "table3", "table4", "table5", *SWEEPS)
"""Experiments that have a table; Figure 3 has one beside its picture."""

Suffix = Literal["md", "csv", "tex"]


@dataclass(frozen=True)
class Tabulated:
    """A table's numbers and how it looks."""

    cells: pd.DataFrame
    """Long form: `benchmark.analyse.cells.COLUMNS`."""
    comparisons: pd.DataFrame
    """`benchmark.analyse.contests.COLUMNS`; empty for tables of counts."""
    sheet: Sheet
    places: tuple[CellSpec, ...] = ()
    """Which runs stand behind which cells; empty for tables of counts."""

    def texts(self) -> dict[Suffix, str]:
        """The whole text of each of the table's files."""
        return {
            "md": to_markdown(self.sheet),
            "csv": to_csv(self.cells),
            "tex": to_latex(self.sheet),
        }


def tabulated(
    name: str,
    planned: Sequence[Planned],
    store: Store,
    profile: Profile,
    *,
    data: Path | None = None,
) -> Tabulated:
    """A table by its name in experiments.yaml (one of `TABLES`), from stored runs alone.

    Runs that the plan calls stale are used and marked: whoever planned has decided to show them.
    Tables 1 and 4 are counts, and come from the bundles of the profile's datasets.
    """
    title = (
        f"{name.replace('table', 'Table ').replace('fig', 'Figure ')}. {experiments()[name].title}"
    )
    if name in ("table1", "table4"):
        build = table1 if name == "table1" else table4
        counted = build([load_bundle(dataset, root=data) for dataset in profile.run_on])
        sheet = Sheet(name, title, counted.blocks, counted.notes)
        return Tabulated(counted.cells, pd.DataFrame(), sheet)
    planned = distinct(name, planned)
    names = dict.fromkeys(p.unit.dataset for p in planned)
    notes = {dataset: dataset_note(dataset, profile, data) for dataset in names}
    places = specs(name, planned, {dataset: note.grade for dataset, note in notes.items()})
    fresh = _fresh(planned, data)
    table_id = name.removeprefix("table")
    printed = load_cells()
    table = tabulate(table_id, places, store, paper_cells=printed, hashes=fresh, reuse_stale=True)
    cells = table.cells
    if name in SWEEPS:
        on_validation = [replace(spec, split="validation") for spec in places]
        validation = tabulate(
            f"{table_id}-validation", on_validation, store, hashes=fresh, reuse_stale=True
        )
        cells = pd.concat([cells, validation.cells], ignore_index=True)
    layout = Layout(name, places, cells, table.comparisons, printed)
    runs = {p.unit.key: records(p, store) for p in planned}
    blocks = [block for note in notes.values() for block in layout.blocks(note)]
    blocks.append(runs_block(planned, runs, notes))
    lines = facts(planned, runs, profile, notes)
    problems = _problems(table.problems, store)
    sheet = Sheet(name, title, tuple(blocks), tuple(lines), problems)
    return Tabulated(cells, table.comparisons, sheet, tuple(places))


def _fresh(planned: Sequence[Planned], data: Path | None) -> Callable[[Unit], Hashes] | None:
    """What runs made now would depend on, where the plan found stale ones; else None."""
    if not any("stale" in p.states.values() for p in planned):
        return None
    return lambda unit: hashes(unit, load_bundle(unit.dataset, root=data).meta.data_hash)


def _problems(problems: Sequence[str], store: Store) -> tuple[str, ...]:
    """Missing runs as a number, since their cells say so; others one by one. Without the store's
    own path, which says nothing about the runs and differs from machine to machine."""
    missing = [problem for problem in problems if ": missing: " in problem]
    others = [p.replace(f"{store.root}/", "") for p in problems if p not in missing]
    return (*([f"{len(missing)} runs are missing."] if missing else []), *others)
