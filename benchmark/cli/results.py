"""Commands on results that exist: verify, compare, promote, check, audit, list."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.cli.options import (
    AUDIT,
    REFERENCE,
    ROOT,
    RUNS,
    DataOption,
    DatasetsOption,
    FromOption,
    ModelsOption,
    ProfileOption,
    SeedsOption,
    console,
    resolve_request,
)
from benchmark.cli.training import ensure, train
from benchmark.data.files import atomic_file
from benchmark.errors import InputError
from benchmark.registry import profiles, rows
from benchmark.store import Store

CHECKED_MODELS = ("SASRec", "GRU4Rec", "Mamba4Rec", "FindRec")
"""Rows of the regression check: one of each kind of sequence layer, and the paper's model."""

app = typer.Typer()


@app.command()
def verify(
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    models: ModelsOption = None,
    seeds: SeedsOption = None,
    source: FromOption = None,
    data: DataOption = None,
) -> None:
    """Derive every number of the rendered tables anew from stored ranks; fail on any difference."""
    from benchmark.analyse.verify import verify as differences
    from benchmark.render.tables import TABLES, tabulated

    request = resolve_request(
        profile, datasets, models, seeds, "cpu", "local", None, False, data, True
    )
    request = replace(request, store=Store(source or RUNS), render_only=True)
    wrong: list[str] = []
    checked = 0
    for name in TABLES:
        path = request.out / "tables" / f"{name}.csv"
        if not path.is_file():
            continue
        checked += 1
        table = tabulated(
            name, ensure([name], request), request.store, request.profile, data=request.data
        )
        wrong += differences(path, table.cells)
        for suffix, text in table.texts().items():
            other = path.with_suffix(f".{suffix}")
            if suffix != "csv" and (not other.is_file() or other.read_text("utf-8") != text):
                wrong.append(f"{other}: not what the stored ranks render to")
    if not checked:
        raise InputError(f"{request.out / 'tables'} holds no table; render one first")
    for line in wrong:
        console.print(line, style="red", highlight=False, soft_wrap=True)
    console.print(f"{checked} table(s) checked, {len(wrong)} difference(s)")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A results folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="Write the comparison as CSV.")] = None,
) -> None:
    """Differences between two results folders, cell by cell, with intervals."""
    from benchmark.analyse.compare import compare_stores

    for folder in (a, b):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
    frame = compare_stores(Store(a), Store(b))
    if out is not None:
        with atomic_file(out) as temporary:
            temporary.write_text(frame.to_csv(index=False), encoding="utf-8")
    console.print(frame.to_string(index=False), highlight=False, soft_wrap=True)


@app.command()
def promote(
    profile: ProfileOption = None,
    keep_top: Annotated[
        bool, typer.Option(help="Keep the top lists, most of a run's size.")
    ] = False,
) -> None:
    """Copy finished runs of runs/ into the committed references, results/reference/."""
    from benchmark.store import promote as promote_runs

    done = promote_runs(Store(RUNS), Store(REFERENCE), keep_top=keep_top, profile=profile)
    for path, what in done.items():
        console.print(f"{what} {path.relative_to(ROOT)}")


@app.command()
def check(
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML.")] = None,
    reference: Annotated[Path, typer.Option(help="Folder of reference runs.")] = REFERENCE,
    seeds: SeedsOption = "2",
    data: DataOption = None,
) -> None:
    """Train the `ci` profile's units anew and hold them against the references; 1 on a drop."""
    from benchmark.analyse.regression import check_stores, write_junit

    request = resolve_request("ci", None, None, seeds, "cpu", "local", None, False, data, False)
    train(
        [
            planning.unit_of(model, dataset, request.profile)
            for dataset in request.profile.run_on
            for model in CHECKED_MODELS
        ],
        request,
    )
    verdicts = check_stores(request.store, Store(reference), profile="ci")
    for verdict in verdicts:
        console.print(f"{verdict.outcome:9} {verdict.name}: {verdict.message}", highlight=False)
    if junit is not None:
        write_junit(junit, verdicts)
    raise typer.Exit(0 if all(verdict.ok for verdict in verdicts) else 1)


@app.command()
def audit(
    csv: Annotated[
        Path | None, typer.Argument(help="Printed results; without it, the paper.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where audit.md and audit.json go.")] = AUDIT,
    base_rate: Annotated[
        bool, typer.Option("--base-rate", help="Audit the sample of other published results.")
    ] = False,
) -> None:
    """Check printed numbers: what no ranking, subgroup or rounding can produce; no training."""
    if base_rate:
        from benchmark.analyse.audit import run_base_rate

        run_base_rate(out / "base_rate")
        console.print((out / "base_rate" / "base_rate.md").read_text(encoding="utf-8"))
        return
    show_audit(csv, out)


@app.command(name="list")
def show_everything() -> None:
    """Tables, rows, datasets and profiles that there are, and the runs that are stored."""
    from benchmark.data.bundle import dataset_names

    for title, lines in (
        ("tables and figures", {n: e.title for n, e in planning.experiments().items()}),
        ("profiles", {n: p.title for n, p in profiles().items()}),
        ("datasets", dict.fromkeys(dataset_names(), "")),
        ("rows", {n: f"{r.group}; {', '.join(r.variants)}" for n, r in rows().items()}),
    ):
        console.print(f"[bold]{title}[/bold]")
        for name, text in lines.items():
            console.print(f"  {name:18} {text}", highlight=False, soft_wrap=True)
    counts = Counter(stored.status for stored in Store(RUNS).scan())
    stored = ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"
    console.print(f"[bold]runs[/bold]\n  {stored}")


def show_audit(csv: Path | None, out: Path) -> None:
    """Run the audit and print its summary."""
    from benchmark.analyse.audit import run_audit

    found = run_audit(csv, out)
    for kind in found.checks:
        console.print(
            f"{kind.kind:20} {kind.reported:4} of {kind.examined} {kind.unit}", highlight=False
        )
    console.print(f"wrote {out}/audit.md and {out}/audit.json")
