"""The command that searches every row's settings by the same rules: tune."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
from benchmark.runs.spec import RunKey, RunSpec
from benchmark.tune.grid import FILE, Tuning, floor_spec, read_tuning, trial_spec, tuned
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
    rules: Annotated[
        Path, typer.Option(help="What is tried (default: the package's configs/tuning.yaml).")
    ] = FILE,
) -> None:
    """Search rates, dropouts and budgets by the rules of a file; by validation alone."""
    request = resolve_request(
        profile=profile,
        datasets=datasets,
        models=models,
        device=device,
        launcher=launcher,
        source=source,
        dry_run=dry_run,
        data=data,
        reuse_stale=reuse_stale,
    )
    tuning = read_tuning(rules)
    names, left_out = tuned(request.models)
    if left_out:
        console.print(f"left out, for they are not trained: {', '.join(left_out)}")
    asked = [(d, m) for d in request.datasets or request.profile.run_on for m in names]
    if not request.render_only:
        _search(asked, tuning, request)
    rows = _rows(stored_pairs(request.runs, request.profile), tuning, request)
    if not rows:
        raise InputError(f"no trial of profile {request.profile.name} in {request.runs.root}")
    paths = write_log(rows, tuning, request.profile, TUNING)
    console.print(paths[-1].read_text(encoding="utf-8"))
    for path in paths:
        console.print(f"wrote {path.relative_to(ROOT)}")


def _search(pairs: Sequence[Pair], tuning: Tuning, request: Request) -> None:
    """Run what the searches of all rows want, in rounds, until none wants anything; in the first
    Popularity too, against which every ladder is held."""
    first = tuning.seeds[0]
    floors = [floor_spec(dataset, request.profile, tuning) for dataset in dict(pairs)]
    specs: dict[RunKey, RunSpec] = {spec.key: spec for spec in floors}
    seeds: dict[RunKey, list[int]] = {key: [first] for key in specs}
    before: dict[RunKey, list[int]] = {}
    while True:
        for row in _rows(pairs, tuning, request):
            for trial in row.search.wanted():
                spec = trial_spec(row.model, row.dataset, request.profile, tuning, trial)
                specs[spec.key] = spec
                seeds.setdefault(spec.key, []).append(trial.seed)
        if not specs:
            return
        if seeds == before:  # trained, and not there: the same again would have no end
            raise InputError(
                f"{next(iter(seeds))} and {len(seeds) - 1} more were run and are not found in "
                f"{request.runs.root}; is the folder another one now, or a link?"
            )
        # What several seeds want alike runs together, so that no worker waits between them.
        for together in dict.fromkeys(map(tuple, seeds.values())):
            alike = [spec for key, spec in specs.items() if tuple(seeds[key]) == together]
            train(alike, replace(request, seeds=list(together)))
        specs, seeds, before = {}, {}, seeds


def _rows(pairs: Sequence[Pair], tuning: Tuning, request: Request) -> list[Row]:
    return stored_trials(
        pairs,
        request.profile,
        tuning,
        request.runs,
        data=request.data,
        reuse_stale=request.reuse_stale,
        as_stored=request.render_only,
    )
