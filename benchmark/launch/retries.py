"""What becomes of jobs whose tries come to nothing, the same with every launcher."""

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmark.errors import InputError
from benchmark.launch.jobs import Event, Job
from benchmark.launch.queue import Queue
from benchmark.run import store_failure


class Retries:
    """Counts the tries of jobs that lost their process or ran out of memory, and the jobs that
    failed. most: tries of a job before it counts as failed."""

    def __init__(
        self, queue: Queue, data: Path | None, watch: Callable[[Event], None], most: int
    ) -> None:
        self.queue, self.data, self.watch, self.most = queue, data, watch, most
        self.failed = 0
        self._tries = Counter[Job]()
        self._retry: dict[Job, str] = {}

    def again(
        self, job: Job, worker: int, why: str, *, alone: str = "", last: bool = False
    ) -> bool:
        """Whether the job, which has come to nothing, may be tried again; then it goes back to the
        queue, and `watch` is told.

        why: what happened. alone: where memory ran out, how the next try has more of it. last:
        whether that try comes after all other jobs.
        """
        self._tries[job] += 1
        if self._tries[job] >= self.most:
            return False
        if alone:
            self._retry[job] = f"tried again {alone}: {why}"
        if last:
            self.queue.postpone(job)
        else:
            self.queue.again(job)
        more = alone and f", {alone}"
        self.watch(Event(job, "again", worker, message=f"{why}; it is tried again{more}"))
        return True

    def retry(self, job: Job) -> str:
        """For the record of a try that has more memory than an earlier one: that it is one, and
        why; "" for others."""
        return self._retry.get(job, "")

    def fail(self, job: Job, worker: int, message: str, trace: str = "") -> None:
        """The job has failed without a record of its own: store one."""
        self.failed += 1

        def note(line: str) -> None:
            self.watch(Event(job, "note", worker, message=line))

        with contextlib.suppress(InputError):
            store_failure(
                job.spec,
                self.queue.given(job).seeds,
                self.queue.store,
                message,
                data=self.data,
                note=note,
            )
        self.queue.end(job)
        self.watch(Event(job, "failed", worker, message=message, traceback=trace))
