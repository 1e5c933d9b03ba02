"""Commands that carry runs from one machine to another: export, import."""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from benchmark import plan as planning
from benchmark.cli.options import RUNS, DataOption, console, shown_path, source_folder
from benchmark.data.meta import default_root, is_current, read_meta
from benchmark.errors import InputError
from benchmark.runs.code import Code, code_of
from benchmark.runs.exchange import What, export_runs, import_runs
from benchmark.runs.identity import hashes, why_stale
from benchmark.runs.schema import RunRecord
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile

app = typer.Typer()


@app.command()
def export(
    archive: Annotated[Path, typer.Argument(help="File to write, NAME.zip.")],
    profile: Annotated[
        str | None, typer.Option(help="Runs of this profile alone; of all if none.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of runs; runs/ if none.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="The states of unfinished runs too.")
    ] = False,
    top: Annotated[bool, typer.Option(help="Keep the top lists, most of a run's size.")] = True,
    max_size: Annotated[
        str, typer.Option(help="Bytes of one file at most, as 15MB; more become several files.")
    ] = "1TB",
    max_parts: Annotated[
        int | None, typer.Option(min=1, help="Files at most; what does not fit is named.")
    ] = None,
) -> None:
    """Write finished runs into archives that `import` takes in on another machine."""
    source = source_folder(source)
    if archive.suffix != ".zip":
        raise InputError(f"{archive}: write a name that ends in .zip")
    done = export_runs(
        Store(source or RUNS),
        archive,
        profile=None if profile is None else get_profile(profile).name,
        keep_top=top,
        checkpoints=checkpoints,
        max_size=parse_size(max_size),
        max_parts=max_parts,
    )
    for line in done.left_out:
        console.print(f"left out: {line}", style="yellow")
    for path in done.paths:
        console.print(f"wrote {shown_path(path)} ({path.stat().st_size / 1e6:.1f} MB)")
    console.print(f"{done.runs} run(s) and {done.states} state(s) of unfinished ones")
    raise typer.Exit(1 if done.left_out else 0)


@app.command("import")
def take_in(
    archives: Annotated[list[Path], typer.Argument(help="All files of an export at once.")],
    data: DataOption = None,
) -> None:
    """Take the runs of archives into runs/, verified; a finished run here is never replaced by
    another, unless it is stale and the other is not. 1 if any was refused."""
    data_hash, code = cache(partial(_hash_of_built, data)), cache(code_of)
    taken = import_runs(
        archives, Store(RUNS), lambda record: why_stale_now(record, data_hash, code)
    )
    for run in taken:
        if run.what == "refused":
            console.print(f"refused: {run.name}: {run.why}", style="red")
        elif run.why:
            console.print(f"{run.what}: {run.name}: {run.why}")
    counts = Counter(run.what for run in taken)
    said: dict[What, str] = {
        "added": "added",
        "replaced": "replaced",
        "there": "there already",
        "refused": "refused",
    }
    console.print(", ".join(f"{counts[what]} {text}" for what, text in said.items()))
    raise typer.Exit(1 if counts["refused"] else 0)


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """ "15MB", "500kB" and "1000000" in bytes. InputError for anything else."""
    parts = re.fullmatch(r"(\d{1,12})\s*([KMGT]?)B?", text.strip().upper())
    if parts is None:
        raise InputError(f"--max-size {text}: write a size such as 15MB")
    return int(parts[1]) * _UNITS[parts[2]]


def why_stale_now(
    record: RunRecord, data_hash: Callable[[str], str | None], code: Callable[[str], Code]
) -> str | None:
    """Why a finished run would come out otherwise if it were made now; "" if it would not, None
    where its row, its profile or its dataset is not there.

    data_hash: of a dataset, None where it is not there. code: of an implementation.
    """
    spec = record.spec
    try:
        built = data_hash(spec.dataset)
        if built is None:
            return None
        now = planning.spec_of(spec.model, spec.dataset, get_profile(spec.profile), spec.variant)
        return why_stale(record, hashes(now, built, code=code))
    except InputError:
        return None


def _hash_of_built(data: Path | None, dataset: str) -> str | None:
    """None where the dataset is not built; it is not built for this question."""
    bundle = (data or default_root()) / dataset
    return read_meta(bundle).data_hash if is_current(bundle, dataset) else None
