"""The commands. Nothing is computed here: each command plans, launches, and renders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark import plan as planning
from benchmark.errors import InputError, nearest
from benchmark.launch.console import Board, plan_table
from benchmark.launch.local import Job, devices, run_jobs
from benchmark.registry import Profile, get_profile, pick, rows
from benchmark.store import Store

ROOT = Path.cwd()
RUNS, RESULTS = ROOT / "runs", ROOT / "results"

app = typer.Typer(
    help="Reproduce the tables and figures of FindRec (KDD '25), ours beside the paper's.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()

ProfileOption = Annotated[
    str | None, typer.Option(help="smoke, quick, paper or reading-b; quick without a GPU.")
]
DatasetsOption = Annotated[str | None, typer.Option(help="Comma-separated; the profile's if none.")]
ModelsOption = Annotated[str | None, typer.Option(help="Comma-separated rows; all if none.")]
SeedsOption = Annotated[
    str | None, typer.Option(help="A number of seeds (3), a range (0-9) or a list (0,4,7).")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:0; the best if none.")]
LauncherOption = Annotated[str, typer.Option(help="Where units run: local.")]
FromOption = Annotated[
    Path | None, typer.Option("--from", help="Render this results folder; nothing is trained.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its estimate.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder of dataset bundles.")]
StaleOption = Annotated[
    bool,
    typer.Option("--reuse-stale", help="Use runs of other code, settings or data as they are."),
]


@dataclass(frozen=True)
class Request:
    """The options that all commands share, resolved."""

    profile: Profile
    datasets: list[str] | None
    models: list[str] | None
    seeds: list[int]
    workers: list[str]
    store: Store
    render_only: bool
    dry_run: bool
    reuse_stale: bool
    data: Path | None

    @property
    def out(self) -> Path:
        return RESULTS / self.profile.name


def main() -> None:
    """Run a command; errors that the user can mend are printed without a traceback."""
    try:
        app()
    except InputError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on from here")
        raise SystemExit(130) from None


def _request(
    profile: str | None,
    datasets: str | None,
    models: str | None,
    seeds: str | None,
    device: str | None,
    launcher: str,
    source: Path | None,
    dry_run: bool,
    data: Path | None,
    reuse_stale: bool,
) -> Request:
    if launcher != "local":
        raise InputError(f"unknown launcher {launcher!r}{nearest(launcher, ['local'])}")
    if source is not None and not source.is_dir():
        raise InputError(f"--from {source}: no such folder")
    render_only = source is not None
    workers = [] if render_only else devices(device)
    if profile is None:
        profile = "quick" if render_only or workers[0] == "cpu" else "paper"
    chosen = get_profile(profile)
    return Request(
        profile=chosen,
        datasets=_names(datasets),
        models=[pick(name, rows(), "model").name for name in _names(models)] if models else None,
        seeds=parse_seeds(seeds) if seeds else list(range(chosen.seeds)),
        workers=workers,
        store=Store(source or RUNS),
        render_only=render_only,
        dry_run=dry_run,
        reuse_stale=reuse_stale or render_only,
        data=data,
    )


def parse_seeds(text: str) -> list[int]:
    """ "3" is the first three seeds, "0-9" a range, "0,4,7" a list."""
    try:
        if "," in text:
            seeds = [int(part) for part in text.split(",") if part.strip()]
        elif "-" in text.strip("-"):
            low, high = (int(part) for part in text.split("-"))
            seeds = list(range(low, high + 1))
        else:
            seeds = list(range(int(text)))
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(
            f"--seeds {text}: write a number of seeds (3), a range (0-9) or a list (0,4,7)"
        )
    return seeds


def _names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _ensure(names: Sequence[str], request: Request) -> list[planning.Planned]:
    """Train what the named tables and figures lack; returns the plan as it then stands."""
    wanted = planning.units(
        names, request.profile, datasets=request.datasets, models=request.models
    )

    def look() -> list[planning.Planned]:
        return planning.plan(
            wanted, request.seeds, request.store, data=request.data, trust=request.render_only
        )

    planned = look()
    if request.dry_run:
        console.print(
            plan_table(planned, max(len(request.workers), 1), reuse_stale=request.reuse_stale)
        )
        raise typer.Exit
    if request.render_only:
        return planned
    jobs = [
        Job(p.unit, seeds, p.seconds * len(seeds))
        for p in planned
        for seeds in _blocks(p.to_run(reuse_stale=request.reuse_stale), request.workers)
    ]
    if not jobs:
        return planned
    board = Board(planned, jobs, request.store, len(request.workers), console)
    with board as watch:
        failed = run_jobs(
            jobs, workers=request.workers, store=request.store.root, data=request.data, watch=watch
        )
    if failed:
        console.print(f"{failed} job(s) failed; their cells say so, and the next call tries again")
    return look()


def _blocks(seeds: list[int], workers: list[str]) -> list[tuple[int, ...]]:
    """Seeds that are trained as one stack: each alone on a CPU, all together on a GPU."""
    if workers[0] == "cpu":
        return [(seed,) for seed in seeds]
    return [tuple(seeds)] if seeds else []


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
        request = _request(
            profile, datasets, models, seeds, device, launcher, source, dry_run, data, reuse_stale
        )
        _show(name, _ensure([name], request), request)

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
