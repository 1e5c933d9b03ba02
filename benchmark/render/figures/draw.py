"""The pictures by name: what each needs, drawn and saved as SVG, PDF and PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmark.data.bundle import load_bundle
from benchmark.plan import OWN_MODEL, Planned, experiments
from benchmark.render.figures import alignment, curves, per_user
from benchmark.render.figures.architecture import draw_architecture
from benchmark.render.figures.style import save, styled
from benchmark.render.notes import DatasetNote, dataset_note
from benchmark.render.selection import NotDrawn, Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.definitions import SWEEPS
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunRecord
from benchmark.settings.registry import Profile
from benchmark.settings.resolve import resolve
from findrec.model import FindRec

FIGURES = ("fig1", "fig2", "fig3", "curves")


def draw(
    name: str,
    planned: Sequence[Planned],
    runs: RunSet,
    profile: Profile,
    folder: Path,
    selection: Selection,
) -> list[Path]:
    """Draw one of `FIGURES` into `folder`; `curves` is several pictures. Returns what was written.

    Figures 1 and 2 need no stored runs: the first builds a model, the second trains a small one
    when it is first asked for, and keeps what it saw beside the picture. With results from
    elsewhere nothing is trained. Raises NotDrawn where none of the datasets has both modalities,
    and where figure 2 would have to be trained and must not be.
    """
    data = selection.data
    with styled():
        if name == "fig1":
            note = _with_both(profile, selection)
            config = resolve(OWN_MODEL, note.name, profile).config
            model = FindRec(config, load_bundle(note.name, root=data).catalogue())
            return save(draw_architecture(model, note.title), folder, name)
        if name == "fig2":
            note = _with_both(profile, selection)
            seen = _snapshot(note, profile, folder, selection)
            return save(alignment.draw_alignment(seen, note.title), folder, name)
        names = dict.fromkeys(p.key.dataset for p in planned)
        notes = {dataset: dataset_note(dataset, profile, data) for dataset in names}
        if name == "fig3":
            cells = _cells(name, planned, profile, runs, selection)
            return save(curves.draw_sweep(name, cells, notes), folder, name)
        return _curves(planned, runs, profile, folder, notes, selection)


def _cells(
    name: str, planned: Sequence[Planned], profile: Profile, runs: RunSet, selection: Selection
) -> pd.DataFrame:
    """The long form of a sweep's table."""
    return build_table(
        name,
        planned,
        profile,
        root=runs.root,
        reuse_stale=selection.reuse_stale,
        data=selection.data,
    ).cells


def _curves(
    planned: Sequence[Planned],
    runs: RunSet,
    profile: Profile,
    folder: Path,
    notes: Mapping[str, DatasetNote],
    selection: Selection,
) -> list[Path]:
    cells = {
        name: _cells(name, _members(name, planned), profile, runs, selection) for name in SWEEPS
    }
    paths = save(curves.draw_all_sweeps(cells, notes), folder, "curves")
    records: dict[str, dict[str, list[RunRecord]]] = {dataset: {} for dataset in notes}
    for p in planned:
        if p.key.variant == "base":
            finished = p.results(reuse_stale=selection.reuse_stale)
            records[p.key.dataset][p.key.model] = [run.record for run in finished]
    trained = {
        dataset: {model: r for model, r in own.items() if r and r[0].spec.training}
        for dataset, own in records.items()
    }
    paths += save(curves.draw_learning(trained, notes), folder, "curves-learning")
    own = {dataset: found.get(OWN_MODEL, []) for dataset, found in records.items()}
    paths += save(curves.draw_terms(own, notes), folder, "curves-terms")
    found = per_user.scores(planned, reuse_stale=selection.reuse_stale)
    paths += save(per_user.draw_users(found, notes), folder, "curves-users")
    paths += save(per_user.draw_cost(found, trained, notes), folder, "curves-cost")
    paths += save(per_user.draw_improvement(found, notes), folder, "curves-improvement")
    for note in notes.values():  # what figure 2 has left; nothing is trained for this picture alone
        if len(note.encoders) < 2:
            continue
        seen = alignment.kept(note.name, profile, folder / _CACHE, data=selection.data)
        if seen is not None:
            paths += save(curves.draw_experts(seen.gates, note.title), folder, "curves-experts")
    return paths


_CACHE = "fig2.npz"


def _snapshot(
    note: DatasetNote, profile: Profile, folder: Path, selection: Selection
) -> alignment.Snapshot:
    cache = folder / _CACHE
    if selection.source is None:
        return alignment.snapshot(note.name, profile, cache, data=selection.data)
    seen = alignment.kept(note.name, profile, cache, data=selection.data)
    if seen is None:
        raise NotDrawn(
            f"figure 2 shows a model that is trained for it, and --from trains nothing; {cache} "
            "keeps none of the present settings, code and data: draw it once without --from"
        )
    return seen


def _members(name: str, planned: Sequence[Planned]) -> list[Planned]:
    """The specs of a sweep among those of `curves`."""
    variants = experiments()[name].variants
    return [p for p in planned if p.key.model == OWN_MODEL and p.key.variant in variants]


def _with_both(profile: Profile, selection: Selection) -> DatasetNote:
    datasets = selection.datasets or profile.run_on
    notes = [dataset_note(dataset, profile, selection.data) for dataset in datasets]
    for note in notes:
        if {"text", "image"} <= set(note.encoders):
            return note
    raise NotDrawn(
        f"none of the datasets {', '.join(datasets)} has both text and image features; figures 1 "
        "and 2 need one"
    )
