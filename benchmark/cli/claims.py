"""Commands that answer: the ledger of the paper's claims, and the verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from benchmark import plan as planning
from benchmark.analyse.claim_data import layer_costs
from benchmark.analyse.claim_tests import NOISE
from benchmark.analyse.judged import Judged
from benchmark.analyse.ledger import LedgerLine
from benchmark.cli.options import (
    RESULTS,
    ROOT,
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
from benchmark.files import atomic_file, read_text
from benchmark.paper import load_claims
from benchmark.render.selection import Selection
from benchmark.settings.registry import methods

PAGE = ROOT / "docs" / "verdict.md"

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
    from benchmark.render.claims import summary, write_ledger

    request = resolve_request(
        profile=profile,
        datasets=datasets,
        seeds=seeds,
        device="cpu",
        source=source,
        data=data,
        reuse_stale=reuse_stale,
    )
    lines, _ = ledger_of(planned_of(request), request)
    console.print(summary(lines))
    for path in write_ledger(lines, request.out):
        console.print(f"wrote {shown_path(path)}")


@app.command()
def verdict(
    profile: ProfileOption = "rolling",
    datasets: DatasetsOption = None,
    seeds: SeedsOption = None,
    source: FromOption = None,
    data: DataOption = None,
    reuse_stale: StaleOption = False,
    out: Annotated[Path, typer.Option(help="The page to fill.")] = PAGE,
) -> None:
    """Fill docs/verdict.md from what has been run; the authors' reply in it stays."""
    from benchmark.render.notes import dataset_note
    from benchmark.render.tables.contrasts import arms_of, further_judged
    from benchmark.render.verdict import verdict_page

    request = resolve_request(
        profile=profile,
        datasets=datasets,
        seeds=seeds,
        device="cpu",
        source=source,
        data=data,
        reuse_stale=reuse_stale,
    )
    if request.profile.beside and out == PAGE:
        raise InputError(
            f"{shown_path(out)} is the analysis plan's own page, and {request.profile.name} asks "
            "something beside it, which stands there too; name another page with --out"
        )
    planned = planned_of(request)
    lines, judged = ledger_of(planned, request)
    names = dict.fromkeys(p.key.dataset for p in planned)
    page = verdict_page(
        judged,
        lines,
        arms_of(planned, reuse_stale=reuse_stale),
        {name: dataset_note(name, request.profile, data) for name in names},
        request.profile,
        tuning=RESULTS / "tuning",
        further=further_judged(
            request.profile, chosen_of(request), request.runs, as_stored=request.render_only
        ),
        earlier=read_text(out) if out.is_file() else "",
    )
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    console.print(next(line.strip("*") for line in page.splitlines() if line.startswith("**")))
    console.print(f"wrote {shown_path(out)}")


def ledger_of(
    planned: Sequence[planning.Planned], request: Request
) -> tuple[list[LedgerLine], Judged]:
    """The ledger of what has been run, and what the analysis plan's contrasts came to."""
    from benchmark.render.claims import build_ledger

    return build_ledger(
        planned,
        request.profile,
        reuse_stale=request.reuse_stale,
        data=request.data,
        frequencies=lambda dataset: frequencies(dataset, request),
        costs=layer_costs(RESULTS / "scale" / "scale.csv"),
    )


def chosen_of(request: Request) -> Selection:
    """Its datasets and seeds."""
    return Selection(
        datasets=tuple(request.datasets) if request.datasets else None,
        seeds=tuple(request.seeds),
        reuse_stale=request.reuse_stale,
        data=request.data,
    )


def planned_of(request: Request) -> list[planning.Planned]:
    """What the claims are tested on, as it stands in the store."""
    from benchmark.render.claims import EXPERIMENTS

    selection = chosen_of(request)
    own, stored = request.profile, request.render_only
    planned = selection.planned(EXPERIMENTS, own, request.runs, as_stored=stored)
    further = [
        planning.spec_of(row, dataset, own, variant)
        for dataset in dict.fromkeys(p.key.dataset for p in planned)
        for row, variant in (
            *planning.experiments()["retention"].arms,
            *noisy_rows(),
            *variants_of_claims(),
        )
    ]
    known = {p.key for p in planned}
    return planned + planning.plan(
        [spec for spec in further if spec.key not in known],
        request.seeds,
        request.runs,
        data=request.data,
        as_stored=stored,
    )


def noisy_rows() -> list[tuple[str, str]]:
    """Rows fed with features of which some are other items', in the variants that no table has."""
    variants = [variant for share, variant in NOISE.items() if share < 100]
    return [(n, v) for n, method in methods().items() for v in variants if v in method.variants]


def variants_of_claims() -> list[tuple[str, str]]:
    """Variants that claims are tested by, with their rows."""
    tests = [claim.test for claim in load_claims().claims if claim.test is not None]
    return [(test.row, variant) for test in tests for variant in test.variants]


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
