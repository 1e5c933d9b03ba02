"""Options that the commands share, and what they resolve to."""

import os
import re
import time
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


LAUNCHERS = ("local", "ray")


def shown_path(path: Path) -> Path:
    """A path as it is printed: from the working folder where it lies in it."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


ProfileOption = Annotated[
    str | None,
    typer.Option(
        help="smoke, quick, paper, reading-b, rolling, rolling-2x or ci; where no default stands "
        "here, paper with a GPU and quick without."
    ),
]
DatasetsOption = Annotated[str | None, typer.Option(help="Comma-separated; the profile's if none.")]
ModelsOption = Annotated[str | None, typer.Option(help="Comma-separated rows; all if none.")]
SeedsOption = Annotated[
    str | None, typer.Option(help="A number of seeds (3), a range (0-9) or a list (0,4,7).")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:0; the best if none.")]
LauncherOption = Annotated[str, typer.Option(help="Where runs are made: local, or ray.")]
AddressOption = Annotated[str, typer.Option(help="Of the Ray cluster; auto: this machine's.")]
GpusOption = Annotated[
    float, typer.Option("--gpus-per-job", help="On a Ray cluster: share of a GPU for a job.")
]
ForOption = Annotated[
    str | None,
    typer.Option("--for", help="End after so long (90s, 7m, 1h30m); unfinished runs are kept."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(help="Train a part and render nothing: 2/8, or any for what no other has taken."),
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Render this folder's runs into results/; nothing is trained. `reference` means the "
        "committed ones.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its estimate.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder of dataset bundles.")]
StaleOption = Annotated[
    bool,
    typer.Option("--reuse-stale", help="Use runs of other code, settings or data as they are."),
]
AnewOption = Annotated[
    bool, typer.Option("--anew", help="Train what results/reference holds, too; it does not count.")
]


@dataclass(frozen=True)
class Shard:
    """A part of the units; "any" is all that no other command has taken."""

    number: int = 1
    """From 1."""
    of: int = 1
    any: bool = False

    def __str__(self) -> str:
        return "any" if self.any else f"{self.number}/{self.of}"


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
    until: float | None = None
    """When workers are told to stop, by `time.monotonic`."""
    shard: Shard | None = None
    gpus: float | None = None
    """Share of a GPU for a job on a Ray cluster; None where jobs run on this machine."""

    @property
    def out(self) -> Path:
        return RESULTS / self.profile.name


def resolve_request(
    *,
    profile: str | None = None,
    datasets: str | None = None,
    models: str | None = None,
    seeds: str | None = None,
    device: str | None = None,
    launcher: str = "local",
    source: Path | None = None,
    dry_run: bool = False,
    data: Path | None = None,
    reuse_stale: bool = False,
    duration: str | None = None,
    shard: str | None = None,
    address: str = "auto",
    gpus: float = 1.0,
    anew: bool = False,
) -> Request:
    if launcher not in LAUNCHERS:
        raise InputError(f"unknown launcher {launcher!r}{nearest(launcher, LAUNCHERS)}")
    source = source_folder(source)
    if launcher != "ray" and (address != "auto" or gpus != 1.0):
        raise InputError("--address and --gpus-per-job are of --launcher ray; give it, too")
    of_training = {"--for": duration, "--shard": shard, "--anew": anew}
    of_training["--launcher ray"] = launcher == "ray"
    given = [option for option, value in of_training.items() if value]
    if source is not None and given:
        raise InputError(f"--from trains nothing: leave out {' and '.join(given)}")
    render_only = source is not None
    if render_only:
        workers = []
    elif launcher == "ray":
        from benchmark.launch.ray import connect  # it needs torch

        workers = connect(address, device, gpus)
    else:
        workers = available_devices(device)
    if profile is None and source == REFERENCE:
        profile = default_profile(["cpu"])
    elif profile is None and source is not None:
        profile = only_profile(source)
    elif profile is None:
        profile = default_profile(workers)
    chosen = get_profile(profile)
    return Request(
        profile=chosen,
        datasets=names(datasets, "--datasets"),
        models=_rows(models),
        seeds=chosen.first_seeds() if seeds is None else parse_seeds(seeds, chosen),
        workers=workers,
        runs=own_runs(anew=anew) if source is None else RunSet(Store(source)),
        render_only=render_only,
        dry_run=dry_run,
        reuse_stale=reuse_stale,
        data=data,
        until=None if duration is None else stop_at(parse_duration(duration)),
        shard=None if shard is None else parse_shard(shard),
        gpus=gpus if launcher == "ray" else None,
    )


def source_folder(source: Path | None) -> Path | None:
    """The folder that --from names. Raises InputError where there is none."""
    if source is None or source.is_dir():
        return source
    if source != Path("reference"):
        raise InputError(f"--from {source}: no such folder")
    return REFERENCE


def own_runs(*, anew: bool = False) -> RunSet:
    """The runs that commands use where no folder is named: those made here and, unless all is to be
    made anew, the references."""
    return RunSet(Store(RUNS), Store(REFERENCE), count_references=not anew)


def default_profile(workers: list[str]) -> str:
    """The profile that is meant where none is named: `paper` where there is a GPU."""
    return "quick" if workers[0] == "cpu" else "paper"


def _rows(text: str | None) -> list[str] | None:
    given = names(text, "--models")
    if given is None:
        return None
    return list(dict.fromkeys(pick(name, methods(), "model").name for name in given))


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


STOPPING = 15.0
"""Seconds before the end of the time at which workers are told to stop, so that they can save their
states; a fifth of the time where that is less."""


def stop_at(seconds: float) -> float:
    """When workers are told to stop, by `time.monotonic`, so that the command ends so many seconds
    after its process began: importing has taken some of them already."""
    return time.monotonic() - _age() + seconds - min(STOPPING, seconds / 5)


def _age() -> float:
    """Seconds since this process began; 0 where the system does not say."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
        began = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 0.0)
    except (OSError, AttributeError, ValueError):
        return 0.0


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse_duration(text: str) -> float:
    """ "90s", "7m" and "1h30m" in seconds. InputError for anything else, and for none at all."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip().lower())
    numbers = parts.groups(default="0") if parts else ()
    seconds = sum(int(n) * unit for n, unit in zip(numbers, _UNITS.values(), strict=False))
    if not 0 < seconds <= 365 * 86_400:
        raise InputError(f"--for {text}: write a time such as 90s, 7m or 1h30m, a year at most")
    return seconds


def parse_shard(text: str) -> Shard:
    """ "2/8" is the second of eight parts. InputError for anything but that and "any"."""
    if text.strip().lower() == "any":
        return Shard(any=True)
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise InputError(f"--shard {text}: write the number of a part and how many there are (2/8)")
    return Shard(int(parts[1]), int(parts[2]))


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
    return list(dict.fromkeys(found))
