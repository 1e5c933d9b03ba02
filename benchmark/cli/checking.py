"""Commands that hold what the code gives now against what is committed: check, golden."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.analyse.golden import changes, compare, read_golden, write_golden
from benchmark.analyse.regression import Check, check_runs, write_junit
from benchmark.cli.options import (
    REFERENCE,
    DataOption,
    DatasetsOption,
    ModelsOption,
    SeedsOption,
    console,
    names,
    resolve_request,
)
from benchmark.cli.training import train
from benchmark.errors import InputError
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import methods, pick

app = typer.Typer()

GOLDEN_FILE = "golden.json"

ReferenceOption = Annotated[Path, typer.Option(help="Folder of reference runs and golden curves.")]
JunitOption = Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML.")]


@app.command()
def check(
    junit: JunitOption = None,
    reference: ReferenceOption = REFERENCE,
    seeds: SeedsOption = "10-17",
    data: DataOption = None,
    golden: Annotated[
        bool, typer.Option("--golden/--no-golden", help="Compare the golden curves first.")
    ] = True,
) -> None:
    """Compare golden curves, then train the `ci` profile's references anew; 1 on any difference.

    Whatever runs/ holds plays no part: all is trained in a folder of its own, removed afterwards.
    The seeds are by default none of the references': the rule takes the two for independent.
    """
    verdicts = _golden_verdicts(reference, data) if golden else []
    request = resolve_request(profile="ci", seeds=seeds, device="cpu", data=data)
    held = {
        run.record.spec.key: None
        for run in Store(reference).scan()
        if run.record is not None
        and run.record.spec.profile == request.profile.name
        and not run.record.spec.protocol.trial
    }
    wanted = [
        planning.spec_of(key.model, key.dataset, request.profile, key.variant) for key in held
    ]
    with tempfile.TemporaryDirectory(prefix="findrec-check-") as folder:
        fresh = Store(Path(folder))
        if wanted:
            train(wanted, replace(request, runs=RunSet(fresh)))
        verdicts += check_runs(
            RunSet(fresh), RunSet(Store(reference)), profile=request.profile.name
        )
    _report(verdicts, junit)


@app.command()
def golden(
    write: Annotated[
        bool, typer.Option("--write", help="Make the file anew; prints old beside new.")
    ] = False,
    junit: JunitOption = None,
    reference: ReferenceOption = REFERENCE,
    datasets: DatasetsOption = None,
    models: ModelsOption = None,
    data: DataOption = None,
) -> None:
    """Compare every row's first losses on a CPU with the committed ones; 1 on any difference."""
    if not write:
        _report(
            _golden_verdicts(
                reference, data, names(datasets, "--datasets"), names(models, "--models")
            ),
            junit,
        )
    if datasets or models or junit:
        raise InputError(
            "--write makes all curves and judges none: leave --datasets, --models and --junit out"
        )
    from benchmark.golden import make_golden

    path = reference / GOLDEN_FILE
    before = read_golden(path) if path.exists() else None
    with console.status("golden curves") as status:
        made = make_golden(data=data, rounding=True, watch=status.update)
    for line in changes(before, made):
        console.print(line, highlight=False, soft_wrap=True)
    write_golden(path, made)
    console.print(f"wrote {path}", soft_wrap=True)


def _golden_verdicts(
    reference: Path,
    data: Path | None,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> list[Check]:
    """Of all curves, or of some datasets and rows."""
    from benchmark.golden import make_golden

    rows = None if models is None else [pick(name, methods(), "model").name for name in models]
    held = read_golden(reference / GOLDEN_FILE).part(datasets, rows)
    with console.status("golden curves") as status:
        made = make_golden(datasets=datasets, models=rows, data=data, watch=status.update)
    return compare(held, made)


def _report(verdicts: list[Check], junit: Path | None) -> None:
    """Print the verdicts and end: 0 where all have passed."""
    for verdict in verdicts:
        console.print(
            f"{verdict.outcome:9} {verdict.name}: {verdict.message}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if junit is not None:
        write_junit(junit, verdicts)
    raise typer.Exit(0 if all(verdict.ok for verdict in verdicts) else 1)
