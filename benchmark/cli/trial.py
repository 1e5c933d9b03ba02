"""The command that sets variants of rows side by side on validation: trial."""

from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from benchmark.cli.options import (
    DataOption,
    DatasetsOption,
    DeviceOption,
    DryRunOption,
    ProfileOption,
    console,
    names,
    resolve_request,
)
from benchmark.cli.training import train
from benchmark.errors import InputError
from benchmark.settings.registry import methods
from benchmark.tune.grid import read_tuning
from benchmark.tune.variants import side_by_side, variant_trial

app = typer.Typer()


@app.command()
def trial(
    models: Annotated[str, typer.Option(help="Comma-separated rows.")],
    variants: Annotated[
        str, typer.Option(help="Comma-separated; the others are held against the first.")
    ],
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    device: DeviceOption = None,
    dry_run: DryRunOption = False,
    data: DataOption = None,
) -> None:
    """Variants side by side on the validation targets of trial seeds; test is not looked at."""
    request = resolve_request(
        profile, datasets, models, None, device, "local", None, dry_run, data, False
    )
    tuning, asked = read_tuning(), names(variants, "--variants") or []
    request = replace(request, seeds=list(tuning.seeds))
    rows = request.models or []
    for name in rows:
        if methods()[name].category == "control":
            raise InputError(f"--models {name}: a control is not trained; it has no trials")
    specs = {
        (dataset, model, variant): variant_trial(model, dataset, request.profile, variant, tuning)
        for dataset in request.datasets or request.profile.run_on
        for model in rows
        for variant in asked
    }
    planned = dict(zip(specs, train(list(specs.values()), request), strict=True))
    for dataset, model in dict.fromkeys(key[:2] for key in specs):
        runs = {v: planned[dataset, model, v].results(reuse_stale=False) for v in asked}
        table = Table(title=f"{model} on {dataset}, validation NDCG@10")
        for heading in ("variant", "history", "seeds", "NDCG@10", f"against {asked[0]}"):
            table.add_column(heading)
        for line in side_by_side(runs):
            against = ""
            if line.difference == line.difference:  # not NaN
                low, high = (f"{100 * end:+.1f}" for end in (line.low, line.high))
                against = f"{100 * line.difference:+.1f} % [{low}, {high}]"
            table.add_row(line.variant, line.protocol, str(line.seeds), f"{line.mean:.4f}", against)
        console.print(table)
