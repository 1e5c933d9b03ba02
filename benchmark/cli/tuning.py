"""The command that searches every row's settings by the same rules: tune."""

from collections.abc import Sequence
from dataclasses import replace

import typer

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
    Request,
    StaleOption,
    console,
    resolve_request,
)
from benchmark.cli.training import train
from benchmark.errors import InputError
from benchmark.tune.grid import Tuning, floor_spec, trial_spec, tuned, tuning
from benchmark.tune.log import write_log
from benchmark.tune.trials import Pair, Row, stored_pairs, stored_trials

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
    """Search rates, dropouts and budgets as configs/tuning.yaml says; by validation alone."""
    request = resolve_request(
        profile, datasets, models, None, device, launcher, source, dry_run, data, reuse_stale
    )
    rules = tuning()
    names, left_out = tuned(request.models)
    if left_out:
        console.print(f"left out, for they are not trained: {', '.join(left_out)}")
    asked = [(d, m) for d in request.datasets or request.profile.run_on for m in names]
    if not request.render_only:
        for pair in asked:  # row by row, so that what is interrupted has decided some
            _search(pair, rules, request)
    rows = _rows(stored_pairs(request.runs, request.profile), rules, request)
    if not rows:
        raise InputError(f"no trial of profile {request.profile.name} in {request.runs.root}")
    paths = write_log(rows, rules, request.profile, TUNING)
    console.print(paths[-1].read_text(encoding="utf-8"))
    for path in paths:
        console.print(f"wrote {path.relative_to(ROOT)}")


def _search(pair: Pair, rules: Tuning, request: Request) -> None:
    """Run what the search of one row wants, until it wants nothing."""
    dataset, model = pair
    floor = floor_spec(dataset, request.profile, rules)
    train([floor], replace(request, seeds=[rules.seeds[0]]))
    while True:
        (row,) = _rows([pair], rules, request)
        wanted = row.search.wanted()
        if not wanted:
            return
        for seed in dict.fromkeys(trial.seed for trial in wanted):
            specs = [
                trial_spec(model, dataset, request.profile, rules, trial)
                for trial in wanted
                if trial.seed == seed
            ]
            train(specs, replace(request, seeds=[seed]))


def _rows(pairs: Sequence[Pair], rules: Tuning, request: Request) -> list[Row]:
    return stored_trials(
        pairs,
        request.profile,
        rules,
        request.runs,
        data=request.data,
        reuse_stale=request.reuse_stale,
        as_stored=request.render_only,
    )
