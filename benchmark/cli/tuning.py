"""The command that tries every row with the same settings: tune."""

from dataclasses import replace

import typer

from benchmark import plan as planning
from benchmark import tune as tuning
from benchmark.cli.options import (
    RESULTS,
    ROOT,
    DataOption,
    DatasetsOption,
    DeviceOption,
    DryRunOption,
    FromOption,
    LauncherOption,
    ModelsOption,
    ProfileOption,
    StaleOption,
    console,
    resolve_request,
)
from benchmark.cli.training import train
from benchmark.errors import InputError

TUNING = RESULTS / "tuning"

app = typer.Typer()


@app.command()
def tune(
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    models: ModelsOption = None,
    device: DeviceOption = None,
    launcher: LauncherOption = "local",
    source: FromOption = None,
    dry_run: DryRunOption = False,
    data: DataOption = None,
    reuse_stale: StaleOption = False,
) -> None:
    """Try every row with the settings of configs/tuning.yaml; choose on validation alone."""
    request = resolve_request(
        profile, datasets, models, None, device, launcher, source, dry_run, data, reuse_stale
    )
    grid = tuning.tuning()
    request = replace(request, seeds=[grid.seed])
    names, left_out = tuning.tuned(request.models)
    if left_out:
        console.print(f"left out, for they are not trained: {', '.join(left_out)}")
    asked = [(d, m) for d in request.datasets or request.profile.run_on for m in names]
    train(tuning.trial_specs(asked, request.profile, grid), request)
    tried = tuning.tried_pairs(request.runs, request.profile)
    planned = planning.plan(
        tuning.trial_specs(tried, request.profile, grid),
        request.seeds,
        request.runs,
        data=request.data,
        as_stored=request.render_only,
    )
    found = tuning.groups(planned, grid, reuse_stale=request.reuse_stale)
    if not found:
        raise InputError(f"no trial of profile {request.profile.name} in {request.runs.root}")
    paths = tuning.write_log(found, grid, request.profile, TUNING)
    text = paths["md"].read_text(encoding="utf-8")
    console.print(text)
    for group in found:
        if group.chosen is None:
            states = ", ".join(trial.status for trial in group.trials)
            console.print(f"no choice for {group.model} on {group.dataset}: {states}")
    for path in paths.values():
        console.print(f"wrote {path.relative_to(ROOT)}")
