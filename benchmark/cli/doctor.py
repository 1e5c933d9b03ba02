"""The command that looks at the installation: doctor."""

import typer

from benchmark.cli.options import ROOT, RUNS, DataOption, console
from benchmark.data.meta import default_root

app = typer.Typer()


@app.command()
def doctor(data: DataOption = None) -> None:
    """Versions, devices, scan backends, datasets, encoders, disk; each problem with its remedy.

    Exit status 1 if there is a problem.
    """
    from benchmark.doctor import examine

    checks = list(examine(data or default_root(), ROOT, RUNS))
    before = ""
    for check in checks:
        topic = "" if check.topic == before else check.topic
        before = check.topic
        console.print(f"{topic:9}", end="")
        console.print("✗ " if check.remedy else "  ", style="red", end="")
        console.print(check.found)
        if check.remedy:
            console.print(f"           → {check.remedy}")
    problems = sum(bool(check.remedy) for check in checks)
    console.print(f"{problems or 'no'} problem{'' if problems == 1 else 's'}", style="bold")
    raise typer.Exit(1 if problems else 0)
