"""Options that the commands share, and what they resolve to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.terminal import Terminal
from benchmark.errors import InputError, nearest
from benchmark.runs.runset import RunSet
from benchmark.runs.spec import slug
from benchmark.runs.store import Store
from benchmark.settings.registry import Profile, get_profile, methods, pick, profiles

ROOT = Path.cwd()
RUNS, RESULTS = ROOT / "runs", ROOT / "results"
REFERENCE, AUDIT = RESULTS / "reference", RESULTS / "audit"

console = Terminal()


def shown_path(path: Path) -> Path:
    """A path as it is printed: from the working folder where it lies in it."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


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
        datasets=names(datasets, "--datasets"),
        models=_rows(models),
        seeds=parse_seeds(seeds, chosen) if seeds else chosen.first_seeds(),
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


def _rows(text: str | None) -> list[str] | None:
    given = names(text, "--models")
    return None if given is None else [pick(name, methods(), "model").name for name in given]


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


SEED_LIMIT = 2**63
"""Seeds are below it: a key of the random draws is 64 bits with a sign."""

MOST_SEEDS = 10_000


def parse_seeds(text: str, profile: Profile) -> list[int]:
    """ "3" is the profile's first three seeds, "0-9" a range, "0,4,7" a list. InputError for
    anything else, more than MOST_SEEDS seeds, and a seed of SEED_LIMIT or more."""
    seeds: Sequence[int] = []
    try:
        if "," in text:
            seeds = [int(part) for part in text.split(",") if part.strip()]
            number, largest = len(seeds), max(seeds, default=0)
        elif "-" in text.strip("-"):
            low, high = (int(part) for part in text.split("-"))
            seeds, number, largest = range(low, high + 1), high + 1 - low, high
        else:
            number = int(text)
            if 1 <= number <= MOST_SEEDS:
                seeds = profile.first_seeds(number)
            largest = max(seeds, default=0)
    except ValueError:
        seeds, number, largest = [], 0, 0
    if number > MOST_SEEDS:
        raise InputError(
            f"--seeds {text}: {number} seeds, and {MOST_SEEDS} are the most; write one large seed "
            "with a comma after it (4000000000,)"
        )
    if largest >= SEED_LIMIT:
        raise InputError(f"--seeds {text}: {largest} is too large; a seed is below 2^63")
    if number < 1 or min(seeds) < 0 or len(set(seeds)) < number:
        raise InputError(
            f"--seeds {text}: write a number of seeds (3), a range (0-9) or a list (0,4,7)"
        )
    return list(seeds)


def names(text: str | None, option: str) -> list[str] | None:
    """Names between commas; None where the option was not given. InputError if there is none: an
    empty variable in a script must not become a run of everything."""
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise InputError(f"{option} {text!r}: names nothing; leave the option out for all")
    return found
