"""Which job comes next: in order, of those that the time allows, and that no other command has."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.launch.jobs import Event, Job
from benchmark.runs.code import digest
from benchmark.runs.leases import Leases
from benchmark.runs.spec import RunKey, slug
from benchmark.runs.store import Store

WORTH_STARTING = 20.0
"""Seconds that must be left for a job that will not finish in them: less is mostly loading."""

BETWEEN_LOOKS = 3.0
"""Seconds between two looks whether what others hold has become free."""

LONGEST_NAME = 180
"""Characters of a row's name in that of its lease."""


def planned_seconds(jobs: Sequence[Job]) -> list[float]:
    """Seconds that the jobs take as they were planned."""
    return [job.seconds for job in jobs]


def unit_of(key: RunKey, seed: int) -> str:
    """A run's name among the leases: one word, short enough for a file's."""
    name = "--".join(map(slug, key))
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{digest([name])[:16]}"
    return f"{name}--seed-{seed}"


class Queue:
    """The jobs of one command. Each is given out with a lease on every seed of it.

    until: end of the time, by `clock`; None without a limit. With one, a job is given out if it is
    expected to finish in the time left, else one whose training leaves a checkpoint when the time
    is over. expected: seconds that each of some jobs still takes. wait: whether jobs that other
    commands hold are waited for. watch: told of jobs that others have made.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        store: Path,
        leases: Leases,
        watch: Callable[[Event], None],
        *,
        until: float | None = None,
        expected: Callable[[Sequence[Job]], Sequence[float]] = planned_seconds,
        wait: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waiting = list(jobs)
        self.store, self.leases, self.watch = Store(store), leases, watch
        self.until, self.expected, self.wait, self.clock = until, expected, wait, clock
        self.postponed: list[Job] = []
        self.held: dict[Job, Job] = {}
        """Job -> the same with the seeds that it was given out with."""
        self._before = {job: [self._stamp(job, seed) for seed in job.seeds] for job in jobs}
        self._looked: dict[Job, float] = {}
        """When another command was seen to hold a seed of the job."""

    @property
    def left(self) -> float:
        """Seconds."""
        return math.inf if self.until is None else self.until - self.clock()

    def take(self) -> Job | None:
        """The next job, with a lease; None while there is none to be had."""
        for job in self._worth_starting():
            if self.clock() - self._looked.get(job, -math.inf) < BETWEEN_LOOKS:
                continue
            if self._claim(job):
                return job
        return None

    def given(self, job: Job) -> Job:
        """A job that was given out, with the seeds that are to be trained."""
        return self.held[job]

    def end(self, job: Job) -> None:
        """The job has ended."""
        for seed in self.held.pop(job).seeds:
            self.leases.release(unit_of(job.spec.key, seed))

    def again(self, job: Job) -> None:
        """The job's process died; it comes first."""
        self.end(job)
        self.waiting.insert(0, job)

    def postpone(self, job: Job) -> None:
        """The job has not come to its end; it is not given out before `take_up`."""
        self.end(job)
        self.postponed.append(job)

    def take_up(self) -> None:
        """Let the jobs that were postponed be given out."""
        self.waiting += self.postponed
        self.postponed = []

    @property
    def is_open(self) -> bool:
        """Whether `take` may still give a job later: one that another command holds now."""
        return self.wait and any(job in self._looked for job in self._worth_starting())

    def _worth_starting(self) -> list[Job]:
        if self.until is None:
            return list(self.waiting)
        left = self.left
        fits: dict[bool, list[Job]] = {True: [], False: []}
        for job, seconds in zip(self.waiting, self.expected(self.waiting), strict=True):
            fits[seconds <= left].append(job)
        leave_a_checkpoint = [job for job in fits[False] if job.spec.training is not None]
        return fits[True] + (leave_a_checkpoint if left >= WORTH_STARTING else [])

    def _claim(self, job: Job) -> bool:
        """Whether the job is ours now, with the seeds that nobody has made since this command
        looked; False where others hold one of them or have made all."""
        taken: list[int] = []
        for seed in job.seeds:
            if not self.leases.take(unit_of(job.spec.key, seed)):
                self._looked[job] = self.clock()
                self._release(job, taken)
                return False
            taken.append(seed)
        before = dict(zip(job.seeds, self._before[job], strict=True))
        made = [seed for seed in taken if self._stamp(job, seed) != before[seed]]
        self._release(job, made)
        own = tuple(seed for seed in taken if seed not in made)
        self._looked.pop(job, None)
        self.waiting.remove(job)
        if not own:
            finished = [s for s in made if self.store.status(job.spec.key, s).status == "complete"]
            self.watch(Event(job, "elsewhere", -1, finished=tuple(finished)))
            return False
        self.held[job] = replace(job, seeds=own)
        return True

    def _release(self, job: Job, seeds: Sequence[int]) -> None:
        for seed in seeds:
            self.leases.release(unit_of(job.spec.key, seed))

    def _stamp(self, job: Job, seed: int) -> tuple[int, int] | None:
        """Changes when a run is stored."""
        try:
            stat = self.store.path(job.spec.key, seed).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino
