"""How long the jobs of a command still take, from what has been seen of them.

Every job takes a known number of steps, so its time is steps x seconds a step, plus what comes
before its first step (loading, compiling) and after its last (ranking, storing). Seconds a step
come from the nearest evidence there is:

1. the job's own steps in this call;
2. other jobs of the same row on the same dataset;
3. the planned seconds of the job, times how the planned seconds compared with the true ones for
   the same row elsewhere, else for all rows seen so far;
4. the planned seconds alone: of stored runs of the spec, else of the method's `cost`, which is
   good to a factor of two or so.

A job's own steps are mixed with the next evidence as if that were `SAME_ROW` more steps (of the
same row; they span evaluations, which the first steps of a job do not) or `ELSEWHERE` more.
Steps that a checkpoint had already are done, and not in the rate: a job counts from the first
step that it reports.
"""

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SAME_ROW = 50
ELSEWHERE = 3


@dataclass(frozen=True)
class Work:
    """What is known of a job before it starts."""

    row: str
    dataset: str
    steps: int
    """0 for a control, which is fitted and not trained."""
    seconds: float
    """Planned, of the whole job."""


@dataclass
class _Mean:
    """A mean that grows."""

    total: float = 0.0
    count: float = 0.0

    def add(self, total: float, count: float = 1.0) -> None:
        self.total += total
        self.count += count

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass
class _Course:
    """One job as it has gone so far."""

    state: Literal["waiting", "running", "ended"] = "waiting"
    since: float = 0.0
    """Clock when the running job last reported: its start or a step."""
    fresh: bool = False
    """Whether the running job is the first of its process, which has to be started first."""
    step: int | None = None
    """Last step of the running job; None before its first."""
    until_first: float = 0.0
    """Seconds from the start to the end of the first step."""
    seconds: float = 0.0
    """Spent on `counted` steps in this call, over all tries."""
    counted: int = 0


class Estimator:
    """Told of starts, steps and ends, says what is left. Not thread-safe.

    work: the jobs, in the order in which they start. clock: seconds, as `time.monotonic`.
    """

    def __init__(
        self,
        work: Mapping[Hashable, Work],
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work, self.workers, self.clock = dict(work), max(workers, 1), clock
        self.course = {job: _Course() for job in self.work}
        self._before: dict[object, _Mean] = defaultdict(_Mean)
        """Seconds from a job's start until its first step begins, by the places of `_places`."""
        self._fresh = _Mean()
        """The same of jobs that are the first of their process."""
        self._after: dict[object, _Mean] = defaultdict(_Mean)
        """Seconds from a job's last step to its end, likewise; of a control, its whole time."""

    # -- what happens ----------------------------------------------------------------------------

    def start(self, job: Hashable, *, fresh: bool = False) -> None:
        """A worker has taken the job, for the first time or again; fresh: as its first."""
        course = self.course[job]
        course.state, course.since, course.step = "running", self.clock(), None
        course.fresh = fresh

    def again(self, job: Hashable) -> None:
        """The job came to nothing and waits for another try."""
        course = self.course[job]
        course.state, course.step = "waiting", None

    def step(self, job: Hashable, step: int) -> None:
        """The job has done so many of its steps, those of its checkpoint included."""
        course, now = self.course[job], self.clock()
        if course.step is None:
            course.until_first = now - course.since
        else:
            course.seconds += now - course.since
            course.counted += step - course.step
        course.since, course.step = now, step

    def end(self, job: Hashable, *, failed: bool = False) -> None:
        """The job has ended; of one that failed, or that another command has made, the steps are
        evidence, the end is not."""
        course = self.course[job]
        if not failed:
            self._note(self._after, job, self.clock() - course.since)
        if course.counted:
            before = max(course.until_first - course.seconds / course.counted, 0.0)
            if course.fresh:
                self._fresh.add(before)
            else:
                self._note(self._before, job, before)
        course.state = "ended"

    def _note(self, means: dict[object, _Mean], job: Hashable, seconds: float) -> None:
        for place in self._places(job):
            means[place].add(seconds)

    def _places(self, job: Hashable) -> tuple[object, ...]:
        """Where evidence on a job is looked for, the nearest first. A control's fitting and a
        model's ranking have nothing in common."""
        work = self.work[job]
        trained = work.steps > 0
        return ((work.row, work.dataset), (trained, work.dataset), trained)

    # -- what it says ----------------------------------------------------------------------------

    def rate(self, job: Hashable) -> float | None:
        """The job's own steps a second in this call; None before its second step."""
        course = self.course[job]
        return course.counted / course.seconds if course.seconds > 0 else None

    def left_of(self, job: Hashable) -> float:
        """Seconds that the job still takes on its worker; all of them for one that waits."""
        return self._left(job, self._evidence())

    def left_of_each(self, jobs: Sequence[Hashable]) -> list[float]:
        """The same of each of some jobs."""
        evidence = self._evidence()
        return [self._left(job, evidence) for job in jobs]

    def seconds_left(self) -> float:
        """Seconds until the last job ends, when every worker takes the next job as it gets free."""
        evidence = self._evidence()
        running = [j for j, c in self.course.items() if c.state == "running"]
        free = [self._left(job, evidence) for job in running]
        free += [0.0] * (self.workers - len(free))
        heapq.heapify(free)
        for job, course in self.course.items():
            if course.state == "waiting":
                heapq.heappush(free, heapq.heappop(free) + self._left(job, evidence))
        return max(free)

    def _left(self, job: Hashable, evidence: dict[object, _Mean]) -> float:
        work, course = self.work[job], self.course[job]
        if course.state == "ended":
            return 0.0
        since = self.clock() - course.since if course.state == "running" else 0.0
        after = self._seen(self._after, job)
        if work.steps == 0:
            return max((work.seconds if after is None else after) - since, 0.0)
        per_step = self._seconds_per_step(job, evidence)
        if course.step is None:
            before = (self._fresh.value if course.fresh else self._seen(self._before, job)) or 0.0
            to_do, since = work.steps, since - before  # negative: what is left before the steps
        else:
            to_do = work.steps - course.step
        if to_do <= 0:
            return max((after or 0.0) - since, 0.0)
        # the step that is under way takes no more than a step, so that a job that hangs does not
        # come nearer to its end
        return to_do * per_step - min(since, per_step) + (after or 0.0)

    def _seen(self, means: dict[object, _Mean], job: Hashable) -> float | None:
        values = (means[place].value for place in self._places(job) if place in means)
        return next((value for value in values if value is not None), None)

    def _evidence(self) -> dict[object, _Mean]:
        """By (row, dataset): seconds over steps. By row, and for None: true over planned seconds of
        the steps that were seen."""
        found: dict[object, _Mean] = defaultdict(_Mean)
        for job, course in self.course.items():
            work = self.work[job]
            if course.counted:
                found[work.row, work.dataset].add(course.seconds, course.counted)
                planned = work.seconds * course.counted / work.steps
                for place in (work.row, None):
                    found[place].add(course.seconds, planned)
        return found

    def _seconds_per_step(self, job: Hashable, evidence: dict[object, _Mean]) -> float:
        work, course = self.work[job], self.course[job]
        same = evidence.get((work.row, work.dataset), _Mean())
        others = _Mean(same.total - course.seconds, same.count - course.counted)
        if others.count > 0:
            near, weight = others.total / others.count, SAME_ROW
        else:
            pace = next(
                (m.value for p in (work.row, None) if (m := evidence.get(p)) and m.value), 1.0
            )
            near, weight = pace * work.seconds / work.steps, ELSEWHERE
        return (course.seconds + weight * near) / (course.counted + weight)
