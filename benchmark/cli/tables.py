"""Commands that show results: every table and figure, all of them, the report; and bare runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.cli.closing import verdict_lines, where_to_look
from benchmark.cli.options import (
    AUDIT,
    RESULTS,
    AddressOption,
    AnewOption,
    DataOption,
    DatasetsOption,
    DeviceOption,
    DryRunOption,
    ForOption,
    FromOption,
    GpusOption,
    LauncherOption,
    ModelsOption,
    ProfileOption,
    Request,
    SeedsOption,
    ShardOption,
    StaleOption,
    console,
    resolve_request,
    shown_path,
)
from benchmark.cli.results import show_audit
from benchmark.cli.training import ensure, train
from benchmark.errors import InputError

app = typer.Typer()

OVERALL = "table2"
"""The table that answers: every row is in it."""


def _with_options(
    action: Callable[[Request], None], own_profile: str | None = None
) -> Callable[..., None]:
    """A command with the options of all tables and figures; acts on what they resolve to.
    own_profile: the one that is meant where none is named, if not the machine's."""

    def command(
        profile: ProfileOption = own_profile,
        datasets: DatasetsOption = None,
        models: ModelsOption = None,
        seeds: SeedsOption = None,
        device: DeviceOption = None,
        launcher: LauncherOption = "local",
        source: FromOption = None,
        dry_run: DryRunOption = False,
        data: DataOption = None,
        reuse_stale: StaleOption = False,
        duration: ForOption = None,
        shard: ShardOption = None,
        address: AddressOption = "auto",
        gpus: GpusOption = 1.0,
        anew: AnewOption = False,
    ) -> None:
        request = resolve_request(
            profile=profile,
            datasets=datasets,
            models=models,
            seeds=seeds,
            device=device,
            launcher=launcher,
            source=source,
            dry_run=dry_run,
            data=data,
            reuse_stale=reuse_stale,
            duration=duration,
            shard=shard,
            address=address,
            gpus=gpus,
            anew=anew,
        )
        action(request)

    return command


def _table_or_figure(name: str) -> Callable[[Request], None]:
    def action(request: Request) -> None:
        if reason := planning.unfit(name, request.profile):
            raise InputError(f"{name}: {reason}; choose another with --profile, such as quick")
        _refuse_without_datasets(name, request)
        planned = ensure([name], request)
        paths = _show(name, planned, request)
        if name == OVERALL:
            _close(planned, paths, request)

    return action


def _refuse_without_datasets(name: str, request: Request) -> None:
    """Raises InputError, before anything is trained, where the experiment needs what no dataset
    has."""
    experiment = planning.experiments()[name]
    asked = request.datasets or request.profile.run_on
    if not planning.shown_datasets(experiment, asked, request.data):
        needs = "both text and image features" if experiment.both_modalities else "times"
        raise InputError(f"{name} needs a dataset with {needs}; asked for: {', '.join(asked)}")


def _close(planned: list[planning.Planned], paths: Sequence[Path], request: Request) -> None:
    """Print the answer and where to look, where the rows that were shown can answer."""
    lines = verdict_lines(planned, reuse_stale=request.reuse_stale)
    for line in lines:
        console.print(line, style="bold")
    for line in where_to_look(paths, request.out) if lines else ():
        console.print(line)


def _show(name: str, planned: list[planning.Planned], request: Request) -> Sequence[Path]:
    """Render one table or figure and print where it went; returns the files."""
    from benchmark.render.experiment import render
    from benchmark.render.selection import Selection

    selection = Selection(
        datasets=tuple(request.datasets) if request.datasets else None,
        models=tuple(request.models) if request.models else None,
        seeds=tuple(request.seeds),
        reuse_stale=request.reuse_stale,
        source=request.runs.root if request.render_only else None,
        data=request.data,
    )
    rendered = render(name, planned, request.runs, request.profile, request.out, selection)
    if rendered.terminal is not None:
        console.print(rendered.terminal)
    if rendered.note:
        console.print(rendered.note, style="yellow")
    for path in rendered.paths:
        console.print(f"wrote {shown_path(path)}")
    return rendered.paths


def _everything(request: Request) -> None:
    from benchmark.render.selection import NotDrawn

    names = _all_names(request)
    planned = ensure(names, request)
    paths: dict[str, Sequence[Path]] = {}
    for name in names:
        try:
            paths[name] = _show(name, _own(name, planned, request), request)
        except NotDrawn as reason:
            console.print(f"{name} is left out: {reason}")
    show_audit(None, AUDIT)
    _report(request)
    if OVERALL in paths:
        _close(_own(OVERALL, planned, request), paths[OVERALL], request)


def _all_names(request: Request) -> list[str]:
    """What `all` shows, in the order of the experiments: what is made on request alone only where
    it has been rendered before. Says what is left out."""
    names = planning.shown_in(request.profile)
    asked: list[str] = []
    unasked: list[str] = []
    elsewhere: dict[str, list[str]] = {}
    for name, experiment in planning.experiments().items():
        if experiment.profile not in (None, request.profile.name):
            elsewhere.setdefault(experiment.profile, []).append(name)
        elif reason := planning.unfit(name, request.profile):
            console.print(f"{name} is left out: {reason}")
        elif experiment.on_request:
            rendered = (request.out / "tables" / f"{name}.json").is_file()
            (asked if rendered else unasked).append(name)
    for profile, others in elsewhere.items():
        console.print(f"{', '.join(others)}: left out, since they belong to profile {profile}")
    if unasked:
        console.print(
            f"{', '.join(unasked)}: left out, since they train dozens of further arms; once one "
            "has been run by its name, `all` goes on with it"
        )
    return [name for name in planning.experiments() if name in (*names, *asked)]


def _own(name: str, planned: list[planning.Planned], request: Request) -> list[planning.Planned]:
    """What one experiment needs, of the plan of all."""
    if request.render_only:  # planned anew from the run set, which has read everything
        return ensure([name], request)
    by_key = {p.key: p for p in planned}
    wanted = planning.specs(
        [name],
        request.profile,
        datasets=request.datasets,
        models=request.models,
        data=request.data,
    )
    return [by_key[spec.key] for spec in wanted]


for _name, _experiment in planning.experiments().items():
    app.command(_name, help=_experiment.title)(
        _with_options(_table_or_figure(_name), _experiment.profile)
    )
app.command("all", help="Every table and figure, the audit, and the report.")(
    _with_options(_everything)
)


@app.command()
def report(
    profile: ProfileOption = None,
    source: FromOption = None,
    device: DeviceOption = None,
    data: DataOption = None,
    reuse_stale: StaleOption = False,
) -> None:
    """One self-contained HTML folder of what has been rendered so far, and of the audit."""
    request = resolve_request(
        profile=profile, device=device, source=source, data=data, reuse_stale=reuse_stale
    )
    _report(request)


@app.command()
def run(
    models: Annotated[str, typer.Option(help="Comma-separated rows.")],
    variant: Annotated[str, typer.Option(help="base, or a variant of the rows.")] = "base",
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    dry_run: DryRunOption = False,
    data: DataOption = None,
    duration: ForOption = None,
    shard: ShardOption = None,
    launcher: LauncherOption = "local",
    address: AddressOption = "auto",
    gpus: GpusOption = 1.0,
    anew: AnewOption = False,
) -> None:
    """Train and store some rows, whatever table they belong to."""
    request = resolve_request(
        profile=profile,
        datasets=datasets,
        models=models,
        seeds=seeds,
        device=device,
        launcher=launcher,
        dry_run=dry_run,
        data=data,
        duration=duration,
        shard=shard,
        address=address,
        gpus=gpus,
        anew=anew,
    )
    wanted = [
        planning.spec_of(name, dataset, request.profile, variant)
        for dataset in request.datasets or request.profile.run_on
        for name in request.models or ()
    ]
    for p in train(wanted, request):
        states = ", ".join(f"seed {k} {v}" for k, v in p.states.items())
        console.print(f"{p.key}: {states or f'not run: {p.idle}'}")


def _report(request: Request) -> None:
    from benchmark.render.report.page import write_report

    path = write_report(
        request.profile,
        request.out,
        request.runs,
        audit=AUDIT,
        tuning=RESULTS / "tuning",
        data=request.data,
        as_stored=request.render_only,
        reuse_stale=request.reuse_stale,
    )
    console.print(f"wrote {path}")
