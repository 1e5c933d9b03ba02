"""What the terminal shows while jobs run: the table filling up, each spec's progress, time left."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from benchmark.cli.terminal import Terminal
from benchmark.evaluate.metrics import per_user
from benchmark.plan import Planned
from benchmark.render.document import duration
from benchmark.runs.runset import RunSet
from benchmark.runs.spec import RunKey

if TYPE_CHECKING:  # it starts workers, and needs torch
    from benchmark.launch.local import Event, Job

METRIC = "NDCG@10"


def progress_bar(console: Terminal) -> Progress:
    """The bar of downloads and encoders, with the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
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
        reasons = sorted({p.states[seed] for seed in todo} - {"missing"})
        table.add_row(
            p.key.dataset,
            p.key.model,
            p.key.variant,
            str(len(p.states) - len(todo)),
            f"{len(todo)}{' (' + ', '.join(reasons) + ')' if reasons else ''}",
            duration(p.seconds * len(todo)) if todo else "",
        )
    return table


@dataclass
class _Row:
    values: dict[int, float]
    wanted: int
    note: str = ""


class LiveTable:
    """Listens to a launcher's events and draws them; used as a context manager.

    Without a terminal it prints one line for each finished run instead. Every event is logged.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        jobs: "Sequence[Job]",
        runs: RunSet,
        workers: int,
        console: Terminal,
    ) -> None:
        self.runs, self.console = runs, console
        self.workers = workers
        self.split = "validation" if any(job.spec.protocol.trial for job in jobs) else "test"
        self.remaining = {job: job.seconds for job in jobs}
        self.total, self.finished = sum(len(job.seeds) for job in jobs), 0
        self.started = time.monotonic()
        self.done_estimate = 0.0
        self.rows: dict[tuple[str, str], dict[str, _Row]] = {}
        for p in planned:
            row = self.rows.setdefault((p.key.model, p.key.variant), {})
            row[p.key.dataset] = _Row({}, len(p.states))
            for seed in p.usable(reuse_stale=True):
                row[p.key.dataset].values[seed] = self._value(p.key, seed)
        self.datasets = list(dict.fromkeys(p.key.dataset for p in planned))
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("valid {task.fields[best]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.tasks: dict[int, TaskID] = {}
        self.live = Live(self, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Callable[[Event], None]":
        if self.console.is_terminal:
            self.live.start()
        return self.watch

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def watch(self, event: "Event") -> None:
        """Take note of one event."""
        if event.kind != "step":
            self.console.to_log(" ".join([event.kind, f"{event.job}", event.message]))
        if event.kind in ("note", "again"):
            self.console.print(f"{event.job}: {event.message}", style="yellow")
        elif event.kind == "start":
            if event.worker in self.tasks:  # its process died; the job starts again
                self.bars.remove_task(self.tasks[event.worker])
            self.tasks[event.worker] = self.bars.add_task(
                escape(str(event.job)), total=None, best="-"
            )
        elif event.kind == "step":
            best = "-" if math.isnan(event.best) else f"{event.best:.4f}"
            self.bars.update(
                self.tasks[event.worker], completed=event.step, total=event.steps, best=best
            )
            self.remaining[event.job] = event.job.seconds * (1 - event.step / event.steps)
        else:
            self._finish(event)

    def _finish(self, event: "Event") -> None:
        self.bars.remove_task(self.tasks.pop(event.worker))
        self.remaining.pop(event.job, None)
        self.done_estimate += event.job.seconds
        spec = event.job.spec
        for seed in event.job.seeds:  # what the job has left is new to the run set
            self.runs.forget(spec.key, seed)
        row = self.rows[spec.model, spec.variant][spec.dataset]
        if event.kind == "failed":
            row.note = "failed"
            self.console.print(f"failed {event.job}: {event.message}", style="red")
            self.console.to_log(event.traceback)
        self.finished += len(event.job.seeds) - len(event.finished)  # those that failed
        for seed in event.finished:
            self.finished += 1
            row.values[seed] = self._value(spec.key, seed)
            line = (
                f"[{self.finished}/{self.total}] {spec.key}, seed {seed}: "
                f"{METRIC} {row.values[seed]:.4f}; about {duration(self.seconds_left())} left"
            )
            if self.console.is_terminal:
                self.console.to_log(line)
            else:
                self.console.print(line)

    def seconds_left(self) -> float:
        """Estimated from the jobs' estimates, corrected by how the finished ones compared."""
        elapsed = time.monotonic() - self.started
        under_way = sum(
            job.seconds - left
            for job, left in list(self.remaining.items())  # the drawing thread reads too
            if left < job.seconds
        )
        done = self.done_estimate + under_way
        pace = elapsed * self.workers / done if done > 0 else 1.0
        return pace * sum(list(self.remaining.values())) / self.workers

    def __rich__(self) -> Group:
        title = f"{METRIC} on {self.split}, mean of the seeds so far"
        table = Table(title=title, title_justify="left")
        table.add_column("model")
        for dataset in self.datasets:
            table.add_column(dataset, justify="right")
        for (model, variant), cells in self.rows.items():
            name = model if variant == "base" else f"{model} [{variant}]"
            table.add_row(name, *(self._cell(cells.get(dataset)) for dataset in self.datasets))
        left = duration(self.seconds_left())
        return Group(table, self.bars, f"{self.finished}/{self.total} runs, about {left} left")

    def _cell(self, row: _Row | None) -> Text:
        if row is None:
            return Text()
        if row.note:
            return Text(row.note, style="red")
        if not row.values:
            return Text("-", style="dim")
        mean = sum(row.values.values()) / len(row.values)
        return Text(f"{mean:.4f} ").append(f"{len(row.values)}/{row.wanted}", style="dim")

    def _value(self, key: RunKey, seed: int) -> float:
        result = self.runs.read(key, seed)
        ranks = result.validation if self.split == "validation" else result.test
        assert ranks is not None
        return float(per_user(ranks, METRIC).mean())
