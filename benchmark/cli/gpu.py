"""The command for borrowed time on a GPU: gpu-check."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import RESULTS, DeviceOption, available_devices, console, shown_path
from benchmark.errors import InputError

app = typer.Typer()

OutOption = Annotated[Path, typer.Option(help="Folder of the report, one JSON and one page.")]


@app.command(name="gpu-check")
def gpu_check_command(
    minutes: Annotated[float, typer.Option(help="Begin no part that would take longer.")] = 4.0,
    device: DeviceOption = None,
    out: OutOption = RESULTS / "gpu-check",
    again: Annotated[bool, typer.Option("--again", help="Measure what is there anew.")] = False,
) -> None:
    """Is it right on this GPU, and how fast: scan, captured steps, ten seeds, kernels.

    What is measured is kept after every part, so that it may be cut off; the same command goes on.
    Needs no dataset. Exit status 1 where something is wrong.
    """
    if not 0 < minutes < float("inf"):
        raise InputError(f"--minutes {minutes}: give a time, such as 4")
    import torch

    from benchmark.gpu_check.run import gpu_check

    (name, *_) = available_devices(device)
    report, left_out = gpu_check(
        torch.device(name),
        out,
        minutes=minutes,
        again=again,
        say=lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True),
    )
    console.print(f"wrote {shown_path(report.path.with_suffix('.md'))}")
    if left_out:
        console.print(f"no time for {len(left_out)} parts: the same command goes on with them")
    wrong = any("error" in part or part.get("ok") is False for part in report.parts.values())
    raise typer.Exit(1 if wrong else 0)
