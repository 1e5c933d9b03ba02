"""The pictures by name: what each needs, drawn and saved as SVG, PDF and PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.data.bundle import load_bundle
from benchmark.data.config import dataset_config, dataset_names
from benchmark.errors import InputError
from benchmark.plan import OWN_MODEL, Planned, experiments
from benchmark.records import RunRecord
from benchmark.registry import Profile, resolve
from benchmark.render import alignment, curves, standings
from benchmark.render.architecture import draw_architecture
from benchmark.render.exhibits import SWEEPS
from benchmark.render.notes import DatasetNote, dataset_note, records
from benchmark.render.style import save, styled
from benchmark.render.tables import tabulated
from benchmark.store import Store
from findrec.model import FindRec

FIGURES = ("fig1", "fig2", "fig3", "curves")


def draw(
    name: str,
    planned: Sequence[Planned],
    store: Store,
    profile: Profile,
    folder: Path,
    *,
    data: Path | None = None,
) -> list[Path]:
    """Draw one of `FIGURES` into `folder`; `curves` is several pictures. Returns what was written.

    Figures 1 and 2 need no stored runs: the first builds a model, the second trains a small one
    when it is first asked for, and keeps what it saw beside the picture. Raises InputError where
    none of the profile's datasets has both modalities.
    """
    with styled():
        if name == "fig1":
            dataset = _with_both(profile)
            config = resolve(OWN_MODEL, dataset, profile).config
            model = FindRec(config, load_bundle(dataset, root=data).catalogue())
            return save(draw_architecture(model, dataset_config(dataset).title), folder, name)
        if name == "fig2":
            dataset = _with_both(profile)
            seen = _snapshot(dataset, profile, folder, data)
            picture = alignment.draw_alignment(seen, dataset_config(dataset).title)
            return save(picture, folder, name)
        notes = {p.unit.dataset: dataset_note(p.unit.dataset, profile, data) for p in planned}
        if name == "fig3":
            cells = tabulated(name, planned, store, profile, data=data).cells
            return save(curves.draw_sweep(name, cells, notes), folder, name)
        return _curves(planned, store, profile, folder, notes, data)


def _curves(
    planned: Sequence[Planned],
    store: Store,
    profile: Profile,
    folder: Path,
    notes: Mapping[str, DatasetNote],
    data: Path | None,
) -> list[Path]:
    cells = {
        name: tabulated(name, _members(name, planned), store, profile, data=data).cells
        for name in SWEEPS
    }
    paths = save(curves.draw_all_sweeps(cells, notes), folder, "curves")
    runs: dict[str, dict[str, list[RunRecord]]] = {dataset: {} for dataset in notes}
    for p in planned:
        if p.unit.variant == "base":
            runs[p.unit.dataset][p.unit.model] = records(p, store)
    trained = {
        dataset: {model: r for model, r in own.items() if r and r[0].unit.training}
        for dataset, own in runs.items()
    }
    paths += save(curves.draw_learning(trained, notes), folder, "curves-learning")
    own = {dataset: found.get(OWN_MODEL, []) for dataset, found in runs.items()}
    paths += save(curves.draw_terms(own, notes), folder, "curves-terms")
    found = standings.scores(planned, store)
    paths += save(standings.draw_users(found, notes), folder, "curves-users")
    paths += save(standings.draw_cost(found, trained, notes), folder, "curves-cost")
    paths += save(standings.draw_improvement(found, notes), folder, "curves-improvement")
    cached = folder / _CACHE
    if cached.is_file():  # made for figure 2; not trained again for this picture alone
        dataset = _with_both(profile)
        gates = _snapshot(dataset, profile, folder, data).gates
        title = dataset_config(dataset).title
        paths += save(curves.draw_experts(gates, title), folder, "curves-experts")
    return paths


_CACHE = "fig2.npz"


def _snapshot(
    dataset: str, profile: Profile, folder: Path, data: Path | None
) -> alignment.Snapshot:
    return alignment.snapshot(dataset, profile, folder / _CACHE, data=data)


def _members(name: str, planned: Sequence[Planned]) -> list[Planned]:
    """The units of a sweep among those of `curves`."""
    variants = experiments()[name].variants
    return [p for p in planned if p.unit.model == OWN_MODEL and p.unit.variant in variants]


def _with_both(profile: Profile) -> str:
    for dataset in profile.run_on:
        if dataset in dataset_names() and len(dataset_config(dataset).features) == 2:
            return dataset
    raise InputError(
        f"no dataset of profile {profile.name!r} ({', '.join(profile.run_on)}) has both text and "
        "image features; figures 1 and 2 need one"
    )
