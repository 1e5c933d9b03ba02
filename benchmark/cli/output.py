"""Commands that give stored results to other programs: recommend, export-trec."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import (
    RUNS,
    DataOption,
    FromOption,
    console,
    only_profile,
    shown_path,
    source_folder,
)
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.runs.spec import RunKey
from benchmark.runs.store import Store
from benchmark.settings.registry import methods, pick

if TYPE_CHECKING:
    from benchmark.results import TopLists

app = typer.Typer()

RowArgument = Annotated[str, typer.Argument(help="Row of the tables, such as SASRec.")]
DatasetArgument = Annotated[str, typer.Argument(help="Dataset.")]
SeedOption = Annotated[int | None, typer.Option(help="The first that is stored if none.")]
VariantOption = Annotated[str, typer.Option(help="base, or a variant of the row.")]
RunProfileOption = Annotated[
    str | None, typer.Option(help="Of the run; needed where the folder holds several profiles.")
]


@app.command()
def recommend(
    row: RowArgument,
    dataset: DatasetArgument,
    user: Annotated[str, typer.Argument(help="The user's id in the dataset's source.")],
    number: Annotated[int, typer.Option("--top", min=1, max=50, help="Items.")] = 10,
    history: Annotated[
        str, typer.Option(help="Whether items that the user has met may be shown: left-out, kept.")
    ] = "left-out",
    variant: VariantOption = "base",
    seed: SeedOption = None,
    profile: RunProfileOption = None,
    source: FromOption = None,
    data: DataOption = None,
) -> None:
    """The items that a finished run ranks highest for a user, given all but the held-out ones."""
    known = {protocol.replace(" ", "-"): protocol for protocol in PROTOCOLS}
    if history not in known:
        raise InputError(f"--history {history}: write {' or '.join(known)}")
    lists = _lists(row, dataset, variant, seed, profile, source, data)
    best = lists.recommend(user, number, history=known[history])
    console.print(f"{lists.key}, seed {lists.seed}, user {user}", style="bold")
    for place, item, title in best.itertuples(index=False):
        console.print(f"{place:>3}  {item}  {title}".rstrip())


@app.command("export-trec")
def export_trec(
    row: RowArgument,
    dataset: DatasetArgument,
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    numbers: Annotated[
        bool, typer.Option("--numbers", help="Our own numbers in place of the source's ids.")
    ] = False,
    variant: VariantOption = "base",
    seed: SeedOption = None,
    profile: RunProfileOption = None,
    source: FromOption = None,
    data: DataOption = None,
) -> None:
    """The top lists of a finished run and the held-out items as TREC files, for other tools."""
    lists = _lists(row, dataset, variant, seed, profile, source, data)
    for path in lists.write_trec(folder, numbers=numbers):
        console.print(f"wrote {shown_path(path)}")


def _lists(
    row: str,
    dataset: str,
    variant: str,
    seed: int | None,
    profile: str | None,
    source: Path | None,
    data: Path | None,
) -> "TopLists":
    from benchmark.results import top_lists

    root = source_folder(source) or RUNS
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; train something first, or name one by --from")
    key = RunKey(
        profile or only_profile(root), dataset, pick(row, methods(), "model").name, variant
    )
    store = Store(root)
    stems = [path.stem for path in store.path(key, 0).parent.glob("seed-*.json")]
    own = (re.fullmatch(r"seed-(\d{1,19})", stem) for stem in stems)  # a copy is not ours
    seeds = sorted(int(match[1]) for match in own if match)
    for number in seeds if seed is None else [seed]:
        record = store.at(store.path(key, number)).record
        if record is None or record.status != "ok":
            continue
        if str(record.spec.key).casefold() == str(key).casefold():  # named in other capitals
            return top_lists(store, record.spec.key, number, data=data)
    if seed is None:
        raise InputError(f"{root} holds no finished run of {key}")
    return top_lists(store, key, seed, data=data)
