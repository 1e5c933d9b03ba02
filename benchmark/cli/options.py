"""Options that the commands share, and what they resolve to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmark.errors import InputError, nearest
from benchmark.runs.runset import RunSet
from benchmark.runs.spec import slug
from benchmark.runs.store import Store
from benchmark.settings.registry import Profile, get_profile, methods, pick, profiles

ROOT = Path.cwd()
RUNS, RESULTS = ROOT / "runs", ROOT / "results"
REFERENCE, AUDIT = RESULTS / "reference", RESULTS / "audit"

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
LauncherOption = Annotated[str, typer.Option(help="Where specs run: local.")]
FromOption = Annotated[
    Path | None,
    typer.Option("--from", help="Render this folder's runs into results/; nothing is trained."),
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
    runs: RunSet
    render_only: bool
    dry_run: bool
    reuse_stale: bool
    data: Path | None

    @property
    def out(self) -> Path:
        return RESULTS / self.profile.name


def resolve_request(
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
    workers = [] if render_only else available_devices(device)
    if profile is None and source is not None:
        profile = only_profile(source)
    elif profile is None:
        profile = default_profile(workers)
    chosen = get_profile(profile)
    return Request(
        profile=chosen,
        datasets=names(datasets),
        models=[pick(name, methods(), "model").name for name in names(models) or ()] or None,
        seeds=parse_seeds(seeds) if seeds else list(range(chosen.seeds)),
        workers=workers,
        runs=RunSet(Store(source or RUNS)),
        render_only=render_only,
        dry_run=dry_run,
        reuse_stale=reuse_stale,
        data=data,
    )


def default_profile(workers: list[str]) -> str:
    """The profile that is meant where none is named: `paper` where there is a GPU."""
    return "quick" if workers[0] == "cpu" else "paper"


def available_devices(name: str | None) -> list[str]:
    """The devices that a name stands for, the best ones for None. Raises InputError without any."""
    from benchmark.launch.local import devices  # it needs torch, which rendering does without

    return devices(name)


def only_profile(source: Path) -> str:
    """The profile of the runs in a results folder; InputError if there are several or none."""
    runs = source.glob("*/*/*/*/seed-*.json")
    folders = sorted({path.relative_to(source).parts[0] for path in runs})
    if len(folders) != 1:
        held = f"runs of several profiles ({', '.join(folders)})" if folders else "no runs"
        raise InputError(f"--from {source}: holds {held}; choose one with --profile")
    return next((name for name in profiles() if slug(name) == folders[0]), folders[0])


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


def names(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None
