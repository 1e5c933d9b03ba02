"""What the terminal shows of a plan and of a download."""

from collections.abc import Sequence

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.cli.terminal import Terminal
from benchmark.plan import Planned
from benchmark.render.document import duration


def progress_bar(console: Terminal) -> Progress:
    """The bar of downloads and encoders, with the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # else rich writes an empty line
    )


def plan_table(planned: Sequence[Planned], workers: int, *, reuse_stale: bool) -> Table:
    """The plan of `--dry-run`: what is there, what is missing, how long it will take."""
    total = sum(p.seconds * len(p.to_run(reuse_stale=reuse_stale)) for p in planned)
    table = Table(
        title=f"about {duration(total / workers)} to go on {workers} worker(s)",
        title_justify="left",
    )
    for heading in ("dataset", "model", "variant", "done", "to run", "estimate"):
        numeric = heading in ("done", "to run", "estimate")
        table.add_column(heading, justify="right" if numeric else "left")
    for p in planned:
        todo = p.to_run(reuse_stale=reuse_stale)
        idle = "does not act" if p.idle else "no data" if p.problem else ""
        reasons = sorted({p.states[seed] for seed in todo} - {"missing"})
        table.add_row(
            p.key.dataset,
            p.key.model,
            p.key.variant,
            str(len(p.usable(reuse_stale=reuse_stale))),
            f"{len(todo)}{' (' + ', '.join(reasons) + ')' if reasons else ''}",
            duration(p.seconds * len(todo)) if todo else idle,
        )
    return table
