"""Commands that set variants of rows side by side on validation: trial, and favourable for the
readings of the paper."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Annotated

import typer
from rich.table import Table

from benchmark.cli.options import (
    DataOption,
    DatasetsOption,
    DeviceOption,
    DryRunOption,
    LauncherOption,
    ProfileOption,
    Request,
    console,
    names,
    resolve_request,
    shown_path,
)
from benchmark.cli.training import train
from benchmark.cli.tuning import TUNING
from benchmark.errors import InputError
from benchmark.plan import FAVOURABLE, OWN_MODEL, Planned, experiments, shown_datasets
from benchmark.runs.schema import RunResult
from benchmark.tune.favourable import (
    ReadingSearch,
    ReadingTrial,
    candidates,
    fewest_trials,
    write_readings_log,
)
from benchmark.tune.grid import Tuning, read_tuning
from benchmark.tune.search import Tried
from benchmark.tune.trials import tried
from benchmark.tune.variants import side_by_side, variant_trial

app = typer.Typer()


@app.command()
def trial(
    models: Annotated[
        str, typer.Option(help="Comma-separated rows; the others are held against the first.")
    ],
    variants: Annotated[
        str, typer.Option(help="Comma-separated; the others are held against the first.")
    ],
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many of the trial seeds; all of them if none.")
    ] = None,
    device: DeviceOption = None,
    dry_run: DryRunOption = False,
    data: DataOption = None,
) -> None:
    """Variants, and rows, side by side on validation targets of trial seeds; test is not read."""
    request = resolve_request(
        profile=profile,
        datasets=datasets,
        models=models,
        device=device,
        dry_run=dry_run,
        data=data,
    )
    tuning, asked = read_tuning(), names(variants, "--variants") or []
    if seeds is not None and seeds > len(tuning.seeds):
        raise InputError(f"--seeds {seeds}: there are {len(tuning.seeds)} trial seeds")
    request = replace(request, seeds=list(tuning.seeds[:seeds]))
    rows = request.models or []
    specs = {
        (dataset, model, variant): variant_trial(model, dataset, request.profile, variant, tuning)
        for dataset in request.datasets or request.profile.run_on
        for model in rows
        for variant in asked
    }
    if len({spec.key for spec in specs.values()}) < len(specs):
        raise InputError(f"--variants {variants}: names a variant twice")
    planned = dict(zip(specs, train(list(specs.values()), request), strict=True))
    runs = {key: one.results(reuse_stale=False) for key, one in planned.items()}
    for dataset in dict.fromkeys(key[0] for key in specs):
        for model in rows:
            own = {variant: runs[dataset, model, variant] for variant in asked}
            _show_beside(f"{model} on {dataset}", "variant", own)
        for variant in asked if len(rows) > 1 else ():
            own = {model: runs[dataset, model, variant] for model in rows}
            _show_beside(f"{variant} on {dataset}", "row", own)


def _show_beside(title: str, kind: str, runs: Mapping[str, Sequence[RunResult]]) -> None:
    """The others against the first of them, under both protocols."""
    reference = next(iter(runs))
    table = Table(title=f"{title}, validation NDCG@10")
    for heading in (kind, "history", "seeds", "NDCG@10", f"against {reference}"):
        table.add_column(heading)
    for line in side_by_side(runs):
        against = ""
        if not isnan(line.difference):
            against = f"{100 * line.difference:+.1f} %"
        if not isnan(line.low):  # it is with one seed
            against += f" [{100 * line.low:+.1f}, {100 * line.high:+.1f}]"
        table.add_row(line.name, line.protocol, str(line.seeds), f"{line.mean:.4f}", against)
    console.print(table)
    if missing := [name for name, own in runs.items() if not own]:
        console.print(f"without a finished run: {', '.join(missing)}", style="yellow")


@app.command(FAVOURABLE)
def favourable(
    profile: ProfileOption = "rolling",
    datasets: DatasetsOption = None,
    device: DeviceOption = None,
    launcher: LauncherOption = "local",
    dry_run: DryRunOption = False,
    data: DataOption = None,
) -> None:
    """The reading of FindRec that validation prefers, within each row's number of trials."""
    request = resolve_request(
        profile=profile,
        datasets=datasets,
        models=OWN_MODEL,
        device=device,
        launcher=launcher,
        dry_run=dry_run,
        data=data,
    )
    tuning = read_tuning()
    asked = request.datasets or request.profile.run_on
    shown = request.datasets or shown_datasets(experiments()["four-ways"], asked, data)
    if not shown:
        raise InputError(f"none of the datasets {', '.join(asked)} has text and images")
    for dataset in shown:
        number, least = fewest_trials(dataset, request.profile, TUNING)
        search, planned = _search_readings(dataset, number, tuning, request)
        paths = write_readings_log(dataset, search, least, planned, request.profile, TUNING)
        console.print(paths[-1].read_text(encoding="utf-8"))
        for path in paths:
            console.print(f"wrote {shown_path(path)}")


def _search_readings(
    dataset: str, number: int, tuning: Tuning, request: Request
) -> tuple[ReadingSearch, dict[str, Planned]]:
    """Run what the search of readings wants until it wants nothing; with what is stored then."""
    specs = {
        variant: variant_trial(OWN_MODEL, dataset, request.profile, variant, tuning)
        for variant in candidates()
    }
    ended: dict[ReadingTrial, Tried] = {}
    planned: dict[str, Planned] = {}
    while True:
        search = ReadingSearch(candidates(), tuning.seeds, number, ended)
        wanted = search.wanted()
        if not wanted:
            return search, planned
        variants = list(dict.fromkeys(trial.variant for trial in wanted))
        seeds = list(dict.fromkeys(trial.seed for trial in wanted))
        found = train([specs[v] for v in variants], replace(request, seeds=seeds))
        for variant, own in zip(variants, found, strict=True):
            known = planned[variant].runs if variant in planned else {}
            planned[variant] = replace(own, runs={**known, **own.runs})
            for seed, stored in own.runs.items():
                ended[ReadingTrial(variant, seed)] = tried(stored)
