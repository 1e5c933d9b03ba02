"""The pictures by name: what each needs, drawn and saved as SVG, PDF and PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmark.analyse.judged import Judged
from benchmark.plan import OWN_MODEL, Planned, contrasts_of, experiments, shown_datasets
from benchmark.render.figures import (
    alignment,
    curves,
    diagnosis,
    doses,
    forest,
    levels,
    per_user,
    retention,
    specifications,
    sweeps,
)
from benchmark.render.figures.style import save, styled
from benchmark.render.notes import DatasetNote, dataset_note
from benchmark.render.selection import NotDrawn, Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.contrasts import CONTRAST_TABLES, PLAN_TABLES, judged_of
from benchmark.render.tables.definitions import SWEEPS
from benchmark.render.tables.diagnosis import fits_of
from benchmark.render.tables.retention import retained
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunRecord
from benchmark.settings.registry import Profile

FIGURES = ("table2", "fig1", "fig2", "fig3", "curves", "diagnose", "retention", *CONTRAST_TABLES)


def draw(
    name: str,
    planned: Sequence[Planned],
    runs: RunSet,
    profile: Profile,
    folder: Path,
    selection: Selection,
    cells: pd.DataFrame | None = None,
) -> list[Path]:
    """Draw one of `FIGURES` into `folder`; `curves` is several pictures. Returns what was written.

    cells: the long form of the table of the same name, where there is one.
    Figure 1 is drawn from a model that it builds, the others from stored runs. Raises NotDrawn
    where none of the datasets has both modalities, and where figure 2 has no run.
    """
    data = selection.data
    with styled():
        if name == "fig1":
            from benchmark.render.figures.architecture import draw_architecture, model_of

            note = dataset_with_both(name, profile, selection)
            return save(
                draw_architecture(model_of(note.name, profile, data), note.title), folder, name
            )
        if name == "fig2":
            note = dataset_with_both(name, profile, selection)
            snapshot = _snapshot(planned, selection)
            if snapshot is None:
                raise NotDrawn(
                    f"{runs.root} holds no finished run of {planned[0].key}, from which figure 2 "
                    "is drawn"
                )
            return save(alignment.draw_alignment(snapshot, note.title), folder, name)
        names = dict.fromkeys(p.key.dataset for p in planned)
        finished = {p.key.dataset for p in planned if p.usable(reuse_stale=selection.reuse_stale)}
        notes = {  # a dataset without a run is named by what shows the picture, and not drawn
            dataset: dataset_note(dataset, profile, data)
            for dataset in names
            if dataset in finished or not finished
        }
        if name in CONTRAST_TABLES:
            reuse = selection.reuse_stale
            judged = judged_of(
                planned,
                notes,
                best_row=name == "primary",
                reuse_stale=reuse,
                contrasts=None if name in PLAN_TABLES else contrasts_of(experiments()[name]),
            )
            if name == "specifications":
                return save(specifications.draw_specifications(judged, planned), folder, name)
            if name == "primary":
                return save(forest.draw_best(judged, notes), folder, name)
            paths = save(forest.draw_contrasts(judged, notes), folder, name)
            if name not in PLAN_TABLES:
                return paths
            return paths + save(forest.draw_pooled(judged, notes), folder, f"{name}-pooled")
        if name == "table2":
            assert cells is not None
            return save(levels.draw_levels(cells, notes), folder, name)
        if name == "diagnose":
            fits = fits_of(planned, reuse_stale=selection.reuse_stale)
            return save(diagnosis.draw_diagnosis(fits, notes), folder, name)
        if name == "retention":
            found = retained(planned, reuse_stale=selection.reuse_stale)
            paths = save(retention.draw_retention(found, notes), folder, name)
            if not doses.are_there(found):
                return paths
            return paths + save(doses.draw_doses(found, notes), folder, f"{name}-doses")
        if name == "fig3":
            assert cells is not None
            return save(sweeps.draw_sweep(name, cells, notes), folder, name)
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
    paths = save(sweeps.draw_all_sweeps(cells, notes), folder, "curves")
    records = _records(planned, notes, reuse_stale=selection.reuse_stale)
    trained = _trained(records)
    paths += save(curves.draw_learning(trained, notes), folder, "curves-learning")
    own = {dataset: found.get(OWN_MODEL, []) for dataset, found in records.items()}
    paths += save(curves.draw_terms(own, notes), folder, "curves-terms")
    found = per_user.scores(planned, reuse_stale=selection.reuse_stale)
    paths += save(per_user.draw_users(found, notes), folder, "curves-users")
    paths += save(per_user.draw_cost(found, trained, notes), folder, "curves-cost")
    paths += save(per_user.draw_outcomes(found, notes), folder, "curves-outcomes")
    # figure 2's run where it is there; nothing is trained for this picture alone
    as_stored = selection.source is not None
    of_figure_2 = selection.planned(["fig2"], profile, runs, as_stored=as_stored)
    snapshot = _snapshot(of_figure_2, selection)
    if snapshot is not None:
        title = dataset_note(of_figure_2[0].key.dataset, profile, selection.data).title
        paths += save(curves.draw_experts(snapshot.gates, title), folder, "curves-experts")
    return paths


def draw_for_pages(
    table2: pd.DataFrame,
    planned: Sequence[Planned],
    notes: Mapping[str, DatasetNote],
    folder: Path,
) -> list[Path]:
    """The pictures of the documentation that come from Table 2's runs, as SVG: its levels, and how
    its rows learned. table2: its cells in the long form. planned: its rows, with their runs."""
    with styled():
        learning = curves.draw_learning(
            _trained(_records(planned, notes, reuse_stale=False)), notes
        )
        return [
            *save(levels.draw_levels(table2, notes), folder, "table2", ("svg",)),
            *save(learning, folder, "learning", ("svg",)),
        ]


def draw_verdict(
    judged: Judged,
    notes: Mapping[str, DatasetNote],
    pictures: Mapping[str, str],
    folder: Path,
) -> list[Path]:
    """The documentation's pictures of the analysis plan, as SVG. pictures: name -> the dataset that
    it shows; `machinery` has the contrasts, others FindRec against every other row."""
    paths = []
    with styled():
        for name, dataset in pictures.items():
            own = replace(
                judged,
                best=tuple(one for one in judged.best if one.dataset == dataset),
                contrasts=tuple(one for one in judged.contrasts if one.dataset == dataset),
            )
            drawing = forest.draw_contrasts if name == "machinery" else forest.draw_best
            paths += save(drawing(own, {dataset: notes[dataset]}), folder, name, ("svg",))
    return paths


def _records(
    planned: Sequence[Planned], notes: Mapping[str, DatasetNote], *, reuse_stale: bool
) -> dict[str, dict[str, list[RunRecord]]]:
    """dataset -> method -> the records of its base."""
    records: dict[str, dict[str, list[RunRecord]]] = {dataset: {} for dataset in notes}
    for p in planned:
        if p.key.variant == "base":
            finished = p.results(reuse_stale=reuse_stale)
            records[p.key.dataset][p.key.model] = [run.record for run in finished]
    return records


def _trained(
    records: Mapping[str, Mapping[str, list[RunRecord]]],
) -> dict[str, dict[str, list[RunRecord]]]:
    """Those of rows that have finished runs and are trained."""
    return {
        dataset: {model: r for model, r in own.items() if r and r[0].spec.training}
        for dataset, own in records.items()
    }


def _snapshot(planned: Sequence[Planned], selection: Selection) -> alignment.Snapshot | None:
    """Of figure 2's run; None where it is not there."""
    found = [run for p in planned for run in p.results(reuse_stale=selection.reuse_stale)]
    return alignment.snapshot_of(found[0]) if found else None


def _members(name: str, planned: Sequence[Planned]) -> list[Planned]:
    """The specs of a sweep among those of `curves`."""
    variants = experiments()[name].variants
    return [p for p in planned if p.key.model == OWN_MODEL and p.key.variant in variants]


def dataset_with_both(name: str, profile: Profile, selection: Selection) -> DatasetNote:
    """The dataset that an experiment on both modalities shows. Raises NotDrawn without one."""
    datasets = selection.datasets or profile.run_on
    shown = shown_datasets(experiments()[name], datasets, selection.data)
    if not shown:
        raise NotDrawn(
            f"none of the datasets {', '.join(datasets)} has both text and image features; {name} "
            "needs one"
        )
    return dataset_note(shown[0], profile, selection.data)
