"""Commands that show results: every table and figure, all of them, the report; and bare runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.cli.options import (
    AUDIT,
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
    SeedsOption,
    StaleOption,
    console,
    resolve_request,
)
from benchmark.cli.results import show_audit
from benchmark.cli.training import ensure, train

app = typer.Typer()


def _experiment_command(name: str) -> Callable[..., None]:
    def command(
        profile: ProfileOption = None,
        datasets: DatasetsOption = None,
        models: ModelsOption = None,
        seeds: SeedsOption = None,
        device: DeviceOption = None,
        launcher: LauncherOption = "local",
        source: FromOption = None,
        dry_run: DryRunOption = False,
        data: DataOption = None,
        reuse_stale: StaleOption = False,
    ) -> None:
        request = resolve_request(
            profile, datasets, models, seeds, device, launcher, source, dry_run, data, reuse_stale
        )
        _show(name, ensure([name], request), request)

    return command


def _show(name: str, planned: list[planning.Planned], request: Request) -> None:
    """Render one table or figure and print where it went."""
    from benchmark.render import render

    rendered = render(name, planned, request.store, request.profile, request.out, data=request.data)
    if rendered.terminal is not None:
        console.print(rendered.terminal)
    for path in rendered.paths:
        console.print(f"wrote {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


for _name, _experiment in planning.experiments().items():
    app.command(_name, help=_experiment.title)(_experiment_command(_name))


@app.command(name="all")
def everything(
    profile: ProfileOption = None,
    datasets: DatasetsOption = None,
    models: ModelsOption = None,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    launcher: LauncherOption = "local",
    source: FromOption = None,
    dry_run: DryRunOption = False,
    data: DataOption = None,
    reuse_stale: StaleOption = False,
) -> None:
    """Every table and figure, the audit, and the report."""
    request = resolve_request(
        profile, datasets, models, seeds, device, launcher, source, dry_run, data, reuse_stale
    )
    names = list(planning.experiments())
    ensure(names, request)
    trusting = replace(request, dry_run=False, render_only=True, reuse_stale=True)
    for name in names:
        _show(name, ensure([name], trusting), request)
    show_audit(None, AUDIT)
    _report(request)


@app.command()
def report(
    profile: ProfileOption = None,
    source: FromOption = None,
    device: DeviceOption = None,
    data: DataOption = None,
) -> None:
    """One self-contained HTML folder of what has been rendered so far, and of the audit."""
    _report(
        resolve_request(
            profile, None, None, None, device, "local", source, False, data, source is None
        )
    )


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
) -> None:
    """Train and store some rows, whatever table they belong to."""
    request = resolve_request(
        profile, datasets, models, seeds, device, "local", None, dry_run, data, False
    )
    wanted = [
        planning.unit_of(name, dataset, request.profile, variant)
        for dataset in request.datasets or request.profile.run_on
        for name in request.models or ()
    ]
    for p in train(wanted, request):
        console.print(f"{p.unit.key}: {', '.join(f'{k} {v}' for k, v in p.states.items())}")


def _report(request: Request) -> None:
    from benchmark.render.site import write_report

    path = write_report(request.profile, request.out, request.store, audit=AUDIT, data=request.data)
    console.print(f"wrote {path}")
