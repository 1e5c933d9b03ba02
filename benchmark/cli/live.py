"""What the terminal shows while jobs run: status lines at its foot, the table filling up above.

    12/72 runs   elapsed 3 min   left 14 min   ends 14:35
    FindRec               beauty    seed 1   step  210/600    3.1/s   2 min left
    NOVA                  ml-100k   seed 1   step  700/800    1.9/s   50 s left

The status lines come first when rows are scarce: the table shows what else fits.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from rich.text import Text

from benchmark.cli.estimate import Estimator, Work
from benchmark.cli.filling import FillingTable, cut
from benchmark.cli.footer import Footer
from benchmark.cli.terminal import FALLBACK, Terminal
from benchmark.launch.jobs import Event, Job
from benchmark.plan import Planned
from benchmark.render.document import duration
from benchmark.runs.runset import RunSet

NARROW = 79
"""No status line is wider, so that most terminals that get narrower keep it whole."""

BETWEEN_DRAWS = 0.25
"""Seconds."""

BETWEEN_LINES = 300.0
"""Seconds; without a terminal. A run can take half an hour, and a log that says nothing for so long
looks like that of a command that hangs."""


class LiveTable:
    """Listens to a launcher's events and draws them; used as a context manager.

    Without a terminal it prints a line for each finished run instead, and the status lines where
    none has finished for a while. Every event is logged.
    clock: seconds, as `time.monotonic`; now: the time of day.
    """

    def __init__(
        self,
        planned: Sequence[Planned],
        jobs: Sequence[Job],
        runs: RunSet,
        workers: int,
        console: Terminal,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.runs, self.console, self.clock, self.now = runs, console, clock, now
        self.table = FillingTable(
            "validation" if any(job.spec.protocol.trial for job in jobs) else "test",
            planned,
            jobs,
            runs,
            sign="±".encode(console.encoding, FALLBACK).decode(console.encoding),
        )
        self.estimator = Estimator({job: _work(job) for job in jobs}, workers, clock)
        self.started = clock()
        self.at_work: dict[int, Job] = {}
        """By worker."""
        self._warm: set[int] = set()
        """Workers whose process has had a job."""
        self.failed = 0
        self.footer = Footer(console, self.lines)
        self._drawn = -BETWEEN_DRAWS
        self._said = self.started

    def __enter__(self) -> "LiveTable":
        self.footer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.footer.__exit__(None, None, None)
        if self.footer.shown and kind is None:
            self.console.print(self)

    def tick(self) -> None:
        """Draw again, unless that has just been done."""
        if self.clock() - self._drawn >= BETWEEN_DRAWS:
            self._drawn = self.clock()
            self.footer.draw()
        if not self.footer.shown and self.clock() - self._said >= BETWEEN_LINES:
            self._said = self.clock()
            for line in self._status(NARROW):
                self.console.print(line.plain.rstrip())

    def watch(self, event: Event) -> None:
        """Take note of one event."""
        job = event.job
        if event.kind == "step":
            self.estimator.step(job, event.step)
            self.tick()
            return
        self.console.to_log(" ".join([event.kind, f"{job}", event.message]))
        if event.kind in ("note", "again"):
            self.console.print(f"{job}: {event.message}", style="yellow")
            if event.kind == "again":
                self.at_work.pop(event.worker, None)
                self.estimator.again(job)
                self._warm.discard(event.worker)
        elif event.kind == "start":
            self.at_work[event.worker] = job
            self.estimator.start(job, fresh=event.worker not in self._warm)
            self._warm.add(event.worker)
        else:
            self._finish(event)
        self.footer.draw()

    def _finish(self, event: Event) -> None:
        job, spec = event.job, event.job.spec
        self.at_work.pop(event.worker, None)
        self.estimator.end(job, failed=event.kind != "done")
        for seed in job.seeds:  # what the job has left is new to the run set
            self.runs.forget(spec.key, seed)
        if event.kind == "failed":
            self.failed += len(job.seeds) - len(event.finished)
            self.table.fail(spec.key)
            self.console.print(f"failed {job}: {event.message}", style="red")
            self.console.to_log(event.traceback)
        for seed in event.finished:
            value = self.table.finish(spec.key, seed)
            line = (
                f"[{self.table.done}/{self.table.wanted}] {spec.key}, seed {seed}: "
                f"{value}; about {duration(self.estimator.seconds_left())} left"
            )
            if self.footer.shown:
                self.console.to_log(line)
            else:
                self.console.print(line)
                self._said = self.clock()

    # -- drawing ---------------------------------------------------------------------------------

    def __rich__(self) -> Text:
        """The whole table and how far it is."""
        rows = self.table.lines(max(self.console.width - 1, 20))
        return Text("\n").join([*rows, self._whole(self.console.width - 1)])

    def lines(self, columns: int, rows: int) -> list[Text]:
        """The table as far as it fits, then the status lines; at most so many rows."""
        rows = max(rows, 1)
        status = self._status(columns)
        if len(status) > rows:
            hidden = len(status) - rows + 1
            status = status[: max(rows - 1, 1)]
            if rows > 1:
                status.append(Text(f"and {hidden} more at work", style="dim"))
        at_work = {self.table.name(job.spec.key) for job in self.at_work.values()}
        table = self.table.lines(columns, rows - len(status) - 1, at_work)
        return [*table, Text(), *status] if table else status

    def _status(self, columns: int) -> list[Text]:
        """A line for all jobs, then one for each worker's."""
        jobs = [job for _, job in sorted(self.at_work.items(), key=lambda pair: pair[0])]
        return [self._whole(columns), *(self._worker(job, min(columns, NARROW)) for job in jobs)]

    def _whole(self, columns: int) -> Text:
        """All jobs in one line; in a narrow terminal the last parts give way to the time left."""
        parts = [f"{self.table.done}/{self.table.wanted} runs"]
        if self.at_work:
            now, left = self.now(), self.estimator.seconds_left()
            end = now + timedelta(seconds=left)
            day = "" if end.date() == now.date() else f"{end:%a} "
            parts += [f"left {duration(left)}", f"ends {day}{end:%H:%M}"]
        parts.insert(1 if columns > 50 else 3, f"elapsed {duration(self.clock() - self.started)}")
        if self.failed:
            parts.insert(1, f"{self.failed} failed")
        text = Text("   ".join(parts), style="bold")
        text.truncate(columns)
        return text

    def _worker(self, job: Job, columns: int) -> Text:
        """One worker's job in one line; its name takes what the rest leaves."""
        course, work = self.estimator.course[job], self.estimator.work[job]
        rate = self.estimator.rate(job)
        if work.steps == 0:
            doing = "fitting"
        elif course.step is None:
            doing = "starting"
        elif course.step >= work.steps:
            doing = "ranking"
        else:
            doing = f"step {course.step:>{len(str(work.steps))}}/{work.steps}"
        speed = "" if rate is None else f"{rate:.1f}/s" if rate < 100 else f"{rate:.0f}/s"
        left = f"{duration(self.estimator.left_of(job)):>6} left" if speed else ""
        rest = (
            f"  {cut(job.spec.dataset, 12):<8}  {_seeds(job.seeds):<7}  {doing:<14} {speed:>7}  "
            f"{left:<11}"
        )
        space = min(max(columns - len(rest), 8), 22)
        name = cut(self.table.name(job.spec.key), space)
        text = Text(f"{name:<{space}}{rest}")
        text.truncate(columns)
        return text


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"{len(seeds)} seeds"


def _work(job: Job) -> Work:
    spec = job.spec
    steps = spec.training.steps if spec.training is not None else 0
    return Work(FillingTable.name(spec.key), spec.dataset, steps, job.seconds)
