"""The command that says, before anything is trained, what can be decided: power."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.analyse.power import FILE, Power, pilot_rows, stored_power
from benchmark.analyse.rules import RULES
from benchmark.cli.options import (
    DataOption,
    DatasetsOption,
    console,
    names,
    only_profile,
    shown_path,
    source_folder,
)
from benchmark.data.meta import bundle_meta
from benchmark.errors import InputError
from benchmark.files import write_bytes
from benchmark.paper import load_cells
from benchmark.render.power import power_table, power_yaml, printed_improvements
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, pick

app = typer.Typer()


@app.command()
def power(
    datasets: DatasetsOption = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Derive the pilot from this folder's trials, by validation."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="With --from: whose runs; needed where it holds several profiles."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="With --from: make configs/power.yaml anew.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the table as Markdown too.")] = None,
    data: DataOption = None,
) -> None:
    """The smallest differences that can be shown, beside what the paper claims; trains nothing."""
    asked = names(datasets, "--datasets")
    if source is None and (write or profile is not None):
        raise InputError("--write and --profile say what to derive a pilot from: give --from too")
    source = source_folder(source)
    found = stored_power() if source is None else _derived(source, profile, asked, data)
    if asked is not None:
        known = {name: name for name in found.pilots}
        chosen = [pick(name, known, "dataset with a pilot") for name in asked]
        found = found.model_copy(update={"pilots": {n: found.pilots[n] for n in chosen}})
    text = power_table(found, printed_improvements(load_cells(), found.metric))
    console.print(text.rstrip())
    if out is not None:
        write_bytes(out, text.encode())
        console.print(f"wrote {shown_path(out)}")
    if write:
        whole = stored_power()
        merged = Power(metric=RULES.metric, pilots=whole.pilots | found.pilots)
        write_bytes(FILE, power_yaml(merged).encode())
        console.print(f"wrote {shown_path(FILE)}")


def _derived(
    source: Path, profile: str | None, datasets: list[str] | None, data: Path | None
) -> Power:
    name = get_profile(profile or only_profile(source)).name
    rows = pilot_rows(RunSet(Store(source)), name, datasets)
    users = {own.dataset: bundle_meta(own.dataset, root=data).counts.users for own in rows}
    pilots = {own.dataset: own.derive(users[own.dataset]) for own in rows}
    return Power(metric=RULES.metric, pilots=pilots)
