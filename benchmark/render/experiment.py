"""One experiment, a table or a figure, from stored runs to files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from benchmark.data.config import has_times
from benchmark.errors import InputError, nearest
from benchmark.files import atomic_file
from benchmark.plan import Planned, experiments
from benchmark.render.figures.draw import FIGURES, dataset_with_both, draw
from benchmark.render.selection import NotDrawn, Selection, read_selection
from benchmark.render.tables.build import TABLES, build_table
from benchmark.render.tables.writers import to_terminal
from benchmark.runs.runset import RunSet
from benchmark.settings.registry import Profile

SUBSET = "subset"
"""Folder below a profile's, of what shows less than the tables and figures beside it."""


@dataclass(frozen=True)
class Rendered:
    """What was written, and what the terminal may show of it."""

    paths: list[Path]
    terminal: RenderableType | None = None
    note: str = ""
    """Why it was not written in the usual place."""


def render(
    name: str,
    planned: Sequence[Planned],
    runs: RunSet,
    profile: Profile,
    out: Path,
    selection: Selection,
) -> Rendered:
    """Write one table or figure of experiments.yaml under `out`: tables/NAME.{md,csv,tex,json},
    figures/NAME.{svg,pdf,png}; under `out`/subset where what stands there shows datasets, rows or
    seeds that were not asked for now, so that a look at two rows does not cost the whole table.

    planned: what it needs, with its runs. runs: where they were read from. selection: what was
    asked for; kept in the json. Raises InputError for a name that nothing draws and where `out`
    cannot be written, NotDrawn where nothing can be shown.
    """
    if name not in (*TABLES, *FIGURES):
        raise InputError(f"nothing draws {name!r}{nearest(name, (*TABLES, *FIGURES))}")
    experiment = experiments()[name]
    if experiment.models and not planned:
        if experiment.both_modalities:
            dataset_with_both(name, profile, selection)  # says so where there is none
        if experiment.times and not any(map(has_times, selection.datasets or profile.run_on)):
            raise NotDrawn(
                f"{name} needs datasets with times, by which all users' interactions can be "
                "ordered; ml-100k is one"
            )
        raise NotDrawn(f"none of the rows asked for stands in {name}")
    paths: list[Path] = []
    terminal, note, cells = None, "", None
    asked = selection.model_dump_json(indent=1) + "\n"
    record = Path("tables" if name in TABLES else "figures", f"{name}.json")
    if _shows_more(out / record, selection, profile):
        note = f"{out / record.with_suffix('')} shows more than was asked for, and stays as it is"
        out = out / SUBSET
    if name in TABLES:
        table = build_table(
            name,
            planned,
            profile,
            root=runs.root,
            datasets=selection.datasets,
            reuse_stale=selection.reuse_stale,
            data=selection.data,
        )
        paths += [
            _written(out / "tables" / f"{name}.{suffix}", text)
            for suffix, text in table.texts().items()
        ]
        paths.append(_written(out / record, asked))
        terminal, cells = to_terminal(table.document), table.cells
    if name in FIGURES:
        paths += draw(name, planned, runs, profile, out / "figures", selection, cells)
    if name not in TABLES:
        _written(out / record, asked)
    return Rendered(paths, terminal, note)


def _shows_more(record: Path, selection: Selection, profile: Profile) -> bool:
    """Whether what was rendered before shows something that the selection does not."""
    try:
        return not selection.covers(read_selection(record), profile)
    except InputError:  # nothing was rendered, or nobody knows what
        return False


def _written(path: Path, text: str) -> Path:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
