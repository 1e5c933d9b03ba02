"""The command that measures time and memory against the size of the data: scale."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import RESULTS, console, shown_path
from benchmark.errors import InputError

app = typer.Typer()


@app.command()
def scale(
    largest: Annotated[int, typer.Option(help="Interactions of the largest generated data.")] = 10
    ** 6,
    out: Annotated[Path, typer.Option(help="Folder of the table and the page.")] = RESULTS
    / "scale",
) -> None:
    """Time and memory against users, items, length, width and seeds, on generated data.

    One thread, each measurement in a process of its own; minutes at the default, and needs no
    dataset.
    """
    from benchmark.scale.page import write_page
    from benchmark.scale.run import measure

    costs = measure(largest, lambda line: console.print(line, highlight=False, markup=False))
    if not costs:
        raise InputError("no measurement gave a result; see the lines above")
    write_page(costs, out)
    console.print(f"wrote {shown_path(out / 'scale.md')}")
