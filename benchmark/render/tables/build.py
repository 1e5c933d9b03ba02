"""Tables from stored runs. `build_table` is the one path from a plan to numbers: Markdown, CSV and
LaTeX come from what it returns, so that `verify` can write them anew and compare byte by byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmark.analyse.cells import CellSpec, Table, derive_cells
from benchmark.analyse.judged import Judged
from benchmark.analyse.verify import to_csv
from benchmark.data.meta import bundle_meta
from benchmark.paper import load_cells
from benchmark.plan import Planned, contrasts_of, experiments
from benchmark.render.document import Document
from benchmark.render.notes import (
    DatasetNote,
    dataset_note,
    facts,
    mixed,
    runs_block,
    time_split_note,
)
from benchmark.render.tables import alignment, diagnosis, retention
from benchmark.render.tables.contrasts import (
    BASE_NOTES,
    CONTRAST_TABLES,
    NOTES,
    PLAN_TABLES,
    frame_of,
    judged_of,
    plan_blocks,
    readings_block,
)
from benchmark.render.tables.counts import CountTable, table1, table4
from benchmark.render.tables.definitions import SWEEPS, distinct, specs_of_cells
from benchmark.render.tables.latex import to_latex
from benchmark.render.tables.layout import Layout
from benchmark.render.tables.writers import to_markdown
from benchmark.runs.schema import RunResult
from benchmark.runs.spec import RunKey
from benchmark.settings.registry import Profile

OWN_LAYOUTS = {
    diagnosis.NAME: "predicted under the hypothesis from the stored ranks of several runs",
    retention.NAME: "derived from the stored ranks of all of the row's runs",
    alignment.NAME: "measured on the states that are stored with the run",
}
"""Tables whose cells are no metrics of single rows -> where these come from."""

TABLES = (
    *("table1", "table2", "table3", "table4", "table5", *SWEEPS),
    *("controls", "order", "global-time", *CONTRAST_TABLES, *OWN_LAYOUTS),
)
"""Experiments that have a table; Figure 3 has one beside its picture, and so have the plan's."""

Suffix = Literal["md", "csv", "tex", "contrasts.csv"]


@dataclass(frozen=True)
class BuiltTable:
    """A table's numbers and how it looks."""

    cells: pd.DataFrame
    """Long form: `benchmark.analyse.cells.COLUMNS`."""
    document: Document
    numbers: Table | None = None
    """The same numbers with what stands behind them; None for tables of counts."""
    cell_specs: tuple[CellSpec, ...] = ()
    """Which runs stand behind which cells; empty for tables of counts."""
    shown: Mapping[RunKey, tuple[RunResult, ...]] = field(default_factory=dict)
    """The runs that are in the numbers."""
    judged: Judged | None = None
    """What the analysis plan asks, in the tables that carry it out."""
    source: str = "counted from the bundle"
    """Of cells that no cell spec stands behind."""

    def texts(self) -> dict[Suffix, str]:
        """The whole text of each of the table's files."""
        texts: dict[Suffix, str] = {
            "md": to_markdown(self.document),
            "csv": to_csv(self.cells),
            "tex": to_latex(self.document),
        }
        if self.judged is not None:
            texts["contrasts.csv"] = to_csv(frame_of(self.judged))
        return texts


def heading_of(name: str) -> str:
    """ "Table 2" of table2, "Four-ways" of four-ways; of one of the several pictures of an
    experiment, such as curves-learning, "Curves: learning"."""
    experiment = max((e for e in experiments() if name.startswith(e)), key=len)
    heading = experiment.replace("table", "Table ").replace("fig", "Figure ").capitalize()
    part = name.removeprefix(experiment).removeprefix("-")
    return f"{heading}: {part}" if part else heading


def build_table(
    name: str,
    planned: Sequence[Planned],
    profile: Profile,
    *,
    root: Path,
    datasets: Sequence[str] | None = None,
    reuse_stale: bool = False,
    data: Path | None = None,
) -> BuiltTable:
    """A table by its name in experiments.yaml (one of `TABLES`), from stored runs alone.

    planned: what the table needs, with its runs. root: the runs' folder, left out of messages.
    Stale runs are used, with a mark, where `reuse_stale` asks for it; otherwise their cells have no
    value. Tables 1 and 4 are counts, and come from the bundles of `datasets` (None: the profile's).
    Raises InputError for an unknown dataset.
    """
    title = f"{heading_of(name)}. {experiments()[name].title}"
    if name in ("table1", "table4"):
        metas = [bundle_meta(dataset, root=data) for dataset in datasets or profile.run_on]
        counted = table1(metas) if name == "table1" else table4(metas, data)
        document = Document(name, title, counted.blocks, counted.notes)
        return BuiltTable(counted.cells, document)
    planned = distinct(name, planned)
    names = dict.fromkeys(p.key.dataset for p in planned)
    notes = {dataset: dataset_note(dataset, profile, data) for dataset in names}
    if name in OWN_LAYOUTS:
        return _own_layout(name, title, planned, profile, notes, root, reuse_stale=reuse_stale)
    cell_specs = specs_of_cells(
        name, planned, {dataset: note.grade for dataset, note in notes.items()}
    )
    table_id = name.removeprefix("table")
    printed = load_cells()
    table = derive_cells(table_id, cell_specs, paper_cells=printed, reuse_stale=reuse_stale)
    cells = table.cells
    if name in SWEEPS:
        on_validation = [replace(cell_spec, split="validation") for cell_spec in cell_specs]
        validation = derive_cells(f"{table_id}-validation", on_validation, reuse_stale=reuse_stale)
        cells = pd.concat([cells, validation.cells], ignore_index=True)
    layout = Layout(name, cell_specs, table, cells, printed)
    shown = {p.key: tuple(p.results(reuse_stale=reuse_stale)) for p in planned}
    records = {key: [run.record for run in runs] for key, runs in shown.items()}
    blocks = [block for note in notes.values() for block in layout.blocks(note)]
    lines = facts(planned, records, profile, notes)
    known = [p.spec for p in planned if p.spec is not None]
    for note in notes.values():
        if said := time_split_note(known, note.name, data):
            lines.insert(1, f"{note.title}: {said}")
    judged = None
    if name in CONTRAST_TABLES:
        contrasts = None if name in PLAN_TABLES else contrasts_of(experiments()[name])
        judged = judged_of(
            planned,
            notes,
            best_row=name == "primary",
            reuse_stale=reuse_stale,
            contrasts=contrasts,
        )
        answers = [block for note in notes.values() for block in plan_blocks(judged, note)]
        if name == "readings":
            answers += [readings_block(judged, note) for note in notes.values()]
        own_notes = NOTES if name in PLAN_TABLES else BASE_NOTES
        blocks, lines = [*answers, *blocks], [*own_notes, *lines]
    blocks.append(runs_block(planned, records, notes))
    problems = _problems([*table.problems, *_of_planned(planned)], root)
    document = Document(name, title, tuple(blocks), tuple(lines), problems)
    return BuiltTable(cells, document, table, tuple(cell_specs), shown, judged)


def _own_layout(
    name: str,
    title: str,
    planned: Sequence[Planned],
    profile: Profile,
    notes: Mapping[str, DatasetNote],
    root: Path,
    *,
    reuse_stale: bool,
) -> BuiltTable:
    """One of `OWN_LAYOUTS`."""
    shown = {p.key: tuple(p.results(reuse_stale=reuse_stale)) for p in planned}
    found: CountTable | diagnosis.Diagnosis
    if name == diagnosis.NAME:
        fits = diagnosis.fits_of(planned, reuse_stale=reuse_stale)
        found = diagnosis.lay_out(fits, profile, notes)
    elif name == retention.NAME:
        found = retention.layout(
            retention.retained(planned, reuse_stale=reuse_stale), profile, notes
        )
    else:
        runs = {key.variant: run for key, own in shown.items() for run in own}
        found = alignment.layout(planned, runs, notes)
    records = {key: [run.record for run in own] for key, own in shown.items()}
    document = Document(
        name,
        title,
        (*found.blocks, runs_block(planned, records, notes)),
        (*found.notes, *mixed([record for own in records.values() for record in own])),
        _problems(_of_planned(planned), root),
    )
    return BuiltTable(found.cells, document, shown=shown, source=OWN_LAYOUTS[name])


def _of_planned(planned: Sequence[Planned]) -> list[str]:
    """What stands against each seed, be it shown in a table's grid or in its contrasts alone."""
    return [
        f"{p.key}, seed {seed}: {stored.status}: {stored.problem}"
        for p in planned
        for seed, stored in p.runs.items()
        if stored.problem
    ]


def _problems(problems: Sequence[str], root: Path) -> tuple[str, ...]:
    """Missing runs as a number, since their cells say so; others one by one. Without the store's
    own path, which says nothing about the runs and differs from machine to machine."""
    each = dict.fromkeys(problems)
    missing = [problem for problem in each if ": missing: " in problem]
    others = [p.replace(f"{root}/", "") for p in each if p not in missing]
    return (*([f"{len(missing)} runs are missing."] if missing else []), *others)
