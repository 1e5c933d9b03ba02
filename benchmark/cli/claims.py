"""Commands that answer: the ledger of the paper's claims, and the verdict."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import typer

from benchmark import plan as planning
from benchmark.cli.options import (
    DataOption,
    DatasetsOption,
    FromOption,
    ProfileOption,
    Request,
    SeedsOption,
    StaleOption,
    console,
    resolve_request,
    shown_path,
)
from benchmark.data.meta import default_root
from benchmark.errors import InputError
from benchmark.render.selection import Selection

app = typer.Typer()


@app.command()
def claims(
    profile: ProfileOption = "rolling",
    datasets: DatasetsOption = None,
    seeds: SeedsOption = None,
    source: FromOption = None,
    data: DataOption = None,
    reuse_stale: StaleOption = False,
) -> None:
    """Every claim of the paper with its verdict, from what has been run; nothing is trained."""
    from benchmark.render.claims import build_ledger, summary, write_ledger

    request = resolve_request(
        profile, datasets, None, seeds, "cpu", "local", source, False, data, reuse_stale
    )
    lines, _ = build_ledger(
        planned_of(request),
        request.profile,
        reuse_stale=reuse_stale,
        data=data,
        frequencies=lambda dataset: frequencies(dataset, request),
    )
    console.print(summary(lines))
    for path in write_ledger(lines, request.out):
        console.print(f"wrote {shown_path(path)}")


def planned_of(request: Request) -> list[planning.Planned]:
    """What the claims are tested on, as it stands in the store."""
    from benchmark.render.claims import EXPERIMENTS

    selection = Selection(
        datasets=tuple(request.datasets) if request.datasets else None,
        seeds=tuple(request.seeds),
        reuse_stale=request.reuse_stale,
        data=request.data,
    )
    return selection.planned(
        EXPERIMENTS, request.profile, request.runs, as_stored=request.render_only
    )


def frequencies(dataset: str, request: Request) -> Mapping[str, npt.NDArray[np.int64]]:
    """How often the test targets and the items of a dataset are trained on; empty where its bundle
    is not there or cannot be read."""
    if not ((request.data or default_root()) / dataset / "bundle.json").is_file():
        return {}
    from benchmark.core import split  # it needs torch, which rendering does without
    from benchmark.data.bundle import load_bundle

    spec = planning.spec_of(planning.OWN_MODEL, dataset, request.profile)
    try:
        bundle = load_bundle(dataset, root=request.data)
    except InputError as error:
        console.print(f"long tail on {dataset}: {error}", style="yellow")
        return {}
    sequences = split(bundle, spec.protocol)
    trained = sequences.histories.frequency(bundle.n_items)
    return {"target": trained[sequences.test.target], "items": trained[1:]}
