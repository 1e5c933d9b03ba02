"""The pages that show committed results, README.md and the tables in docs/, and what fills them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark.cli.closing import verdict_lines
from benchmark.cli.options import ROOT, DataOption, Request, console, resolve_request, shown_path
from benchmark.errors import InputError
from benchmark.files import atomic_file, read_text
from benchmark.plan import Planned
from benchmark.render.notes import DatasetNote, dataset_note
from benchmark.render.selection import Selection

if TYPE_CHECKING:
    from benchmark.render.tables.build import BuiltTable

PAGES = ("README.md", "docs/quick-table.md", "docs/rolling-table.md")
PICTURES = "docs/images"
"""From the working folder."""

app = typer.Typer()


@app.command()
def pages(data: DataOption = None) -> None:
    """Fill what README.md, docs/quick-table.md and docs/rolling-table.md show, from the runs in
    results/reference/, and draw their pictures."""
    there = pages_with_parts()
    if not there:
        raise InputError(f"{ROOT} has no page to fill: `pages` is for a checkout of this suite")
    for page in filled_pages(there, data, pictures=ROOT / PICTURES):
        if page.text == page.wanted:
            console.print(f"{page.name}: as the committed runs say")
            continue
        with atomic_file(page.path) as temporary:
            temporary.write_text(page.wanted, encoding="utf-8")
        console.print(f"wrote {page.name}")


@dataclass(frozen=True)
class Page:
    """A page with parts, as it is and as the committed runs would have it."""

    path: Path
    text: str
    wanted: str

    @property
    def name(self) -> str:
        return str(shown_path(self.path))


def pages_with_parts() -> list[Path]:
    """Those of the pages that are in the working folder and have parts. Raises InputError where a
    part has no end."""
    from benchmark.render.pages import part_names

    return [
        path
        for path in (ROOT / name for name in PAGES)
        if path.is_file() and part_names(read_text(path), str(shown_path(path)))
    ]


def filled_pages(
    paths: Iterable[Path], data: Path | None, *, pictures: Path | None = None
) -> list[Page]:
    """Each page with its parts. pictures: the folder to draw their pictures into; None: none is
    drawn. Raises InputError for a part that nothing fills."""
    from benchmark.render.pages import filled, part_names

    texts = {path: read_text(path) for path in paths}
    named = {path: part_names(text, str(shown_path(path))) for path, text in texts.items()}
    parts = _parts({name for own in named.values() for name in own}, data, pictures)
    for path, own in named.items():
        for name in own:
            if name not in parts:
                raise InputError(f"{shown_path(path)}: nothing fills its part {name!r}")
    return [
        Page(path, text, filled(text, parts, str(shown_path(path)))) for path, text in texts.items()
    ]


def _parts(names: set[str], data: Path | None, pictures: Path | None) -> dict[str, str]:
    """The text of each part that is named and known."""
    from benchmark.render.pages import table_part
    from benchmark.render.tables.contrasts import PLAN_TABLES

    parts: dict[str, str] = {}
    if any(name.startswith("table2") for name in names):
        parts |= _table2(_committed(_reference("quick", data), ["table2"]), pictures)
    rolling = _reference("rolling", data)  # both parts read its runs, which it reads once
    if "rolling-table2" in names:
        table = _table(_committed(rolling, ["table2"]))
        parts["rolling-table2"] = table_part(table.document)
    if "verdict" in names:
        parts["verdict"] = _verdict(_committed(rolling, PLAN_TABLES), pictures)
    return parts


@dataclass(frozen=True)
class _Committed:
    """The committed runs that tables of a profile ask for, and what is to be said of their data."""

    request: Request
    planned: list[Planned]
    notes: dict[str, DatasetNote]


def _reference(profile: str, data: Path | None) -> Request:
    """What `--from reference` asks for."""
    return resolve_request(profile=profile, device="cpu", source=Path("reference"), data=data)


def _committed(request: Request, tables: Sequence[str]) -> _Committed:
    """What is there of it for some tables."""
    selection = Selection(seeds=tuple(request.seeds), data=request.data)
    planned = selection.planned(tables, request.profile, request.runs, as_stored=True)
    names = dict.fromkeys(p.key.dataset for p in planned)
    notes = {name: dataset_note(name, request.profile, request.data) for name in names}
    return _Committed(request, planned, notes)


def _table2(runs: _Committed, pictures: Path | None) -> dict[str, str]:
    from benchmark.render.figures.draw import draw_for_pages
    from benchmark.render.pages import short_table, table_part

    planned, notes = runs.planned, runs.notes
    table = _table(runs)
    if pictures is not None:
        for path in draw_for_pages(table.cells, planned, notes, pictures):
            console.print(f"wrote {shown_path(path)}")
    answers = verdict_lines(planned, reuse_stale=False)
    return {
        "table2": table_part(table.document),
        "table2-short": short_table(table.document, notes),
        "table2-answer": "\n".join(f"- {line}" for line in answers),
    }


def _table(runs: _Committed) -> "BuiltTable":
    """Table 2 of the committed runs of a profile."""
    from benchmark.render.tables.build import build_table

    request = runs.request
    return build_table(
        "table2", runs.planned, request.profile, root=request.runs.root, data=request.data
    )


def _verdict(runs: _Committed, pictures: Path | None) -> str:
    from benchmark.analyse.analysis_plan import analysis_plan
    from benchmark.render.figures.draw import draw_verdict
    from benchmark.render.tables.contrasts import further_judged, judged_of
    from benchmark.render.verdict_short import verdict_part, verdict_pictures

    plan = analysis_plan()
    judged = judged_of(runs.planned, runs.notes, best_row=True, reuse_stale=False)
    if pictures is not None:
        drawn = verdict_pictures(judged, plan)
        for path in draw_verdict(judged, runs.notes, drawn, pictures):
            console.print(f"wrote {shown_path(path)}")
    request = runs.request
    chosen = Selection(seeds=tuple(request.seeds), data=request.data)
    further = further_judged(request.profile, chosen, request.runs, as_stored=True)
    return verdict_part(judged, plan, runs.notes, further)
