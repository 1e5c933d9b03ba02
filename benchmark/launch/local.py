"""Runs jobs in processes of this machine: one a core on a CPU, one a GPU otherwise.

Processes are spawned, not forked: a fork after an OpenMP region aborts. Each takes one job at a
time and writes its own results to the store; the parent hears of progress through a pipe. A worker
that dies is replaced and its job tried once more, then stored as failed. Where memory ran out, that
second try comes when all other jobs have ended and there is one worker alone. A worker whose parent
dies ends at once and stores nothing: the next call goes on from its checkpoint.
"""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from benchmark.errors import InputError, OutOfMemory
from benchmark.launch.jobs import Event, Job
from benchmark.launch.queue import Queue, planned_seconds
from benchmark.launch.retries import Retries
from benchmark.run import run_seeds
from benchmark.runs.checkpoint import Stopped
from benchmark.runs.leases import Leases
from benchmark.runs.store import Store
from benchmark.train.engine import Progress

_TICK = 0.5
"""Seconds without an event after which `tick` is called."""

_GRACE = 20.0
"""Seconds that a worker has to finish its step and save its state."""


@dataclass
class _Worker:
    process: mp.process.BaseProcess
    connection: Connection
    job: Job | None = None


def devices(name: str | None) -> list[str]:
    """One entry a worker: every core of the CPU, or every GPU, or what was asked for.

    name: None for the best there is, "cpu", "cuda" or "cuda:1". Raises InputError for a device that
    is not there.
    """
    gpus = torch.cuda.device_count()
    if name is None:
        name = "cuda" if gpus else "cpu"
    if name == "cpu":
        return ["cpu"] * _cores()
    if name == "cuda" and gpus:
        return [f"cuda:{i}" for i in range(gpus)]
    if name in [f"cuda:{i}" for i in range(gpus)]:
        return [name]
    raise InputError(f"--device {name}: not here; choose cpu{', cuda' if gpus else ''}")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # on Linux, where a process may have fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: Sequence[str],
    store: Path,
    data: Path | None,
    watch: Callable[[Event], None],
    tick: Callable[[], None] = lambda: None,
    until: float | None = None,
    expected: Callable[[Sequence[Job]], Sequence[float]] = planned_seconds,
    wait_for_others: bool = True,
) -> int:
    """Run all jobs, started in the order given; returns the number that failed.

    workers: a device for each. tick: called every now and then, also while nothing happens, so that
    a clock on the screen goes on. until: when workers are told to stop, by `time.monotonic`; jobs
    that cannot make use of the time left are not started (benchmark/launch/queue.py, which has
    `expected` too). wait_for_others: whether to wait for jobs that other commands have claimed in
    the same store.

    An interrupt or the end of the time stops the workers: finished runs are stored, and those in
    flight save their state and go on from it the next time. Raises InputError where the store
    cannot be written.
    """
    with Leases(Path(store) / ".leases") as leases, contextlib.ExitStack() as closing:
        queue = Queue(
            jobs, store, leases, watch, until=until, expected=expected, wait=wait_for_others
        )
        retries = Retries(queue, data, watch, most=2)
        spawn = partial(_spawn, store=store, data=data, workers=len(workers))
        pool = {at: spawn(device) for at, device in enumerate(workers[: max(len(jobs), 1)])}
        closing.callback(_stop, pool)
        while True:
            for at, worker in pool.items():
                if worker.job is None and queue.left > 0:
                    _assign(at, worker, queue, retries, watch)
            busy = [worker for worker in pool.values() if worker.job]
            if queue.left <= 0:
                return retries.failed
            if not busy and not queue.is_open:
                if not queue.postponed:
                    return retries.failed
                # new processes: what an old one has used it may not give back
                _stop(pool)
                pool.clear()
                pool[0] = spawn(workers[0])
                queue.take_up()
                continue
            ready = wait([w.connection for w in busy], timeout=min(_TICK, max(queue.left, 0.0)))
            tick()
            for at, worker in list(pool.items()):
                if worker.job is None or worker.connection not in ready:
                    continue
                job = worker.job
                try:
                    kind, fields = worker.connection.recv()
                except (EOFError, ConnectionError):
                    kind, fields = "died", {}
                if kind in ("died", "memory"):
                    worker.process.join()
                    _once_more(job, at, worker, fields, retries, others=len(pool) - 1)
                    pool[at] = spawn(workers[at])
                    continue
                if kind in ("done", "failed"):
                    retries.failed += kind == "failed"
                    worker.job = None
                    queue.end(job)
                watch(Event(job, kind, at, **fields))


def _stop(pool: Mapping[int, _Worker]) -> None:
    """Tell the workers to save their states and end, and end those that do not within `_GRACE`
    seconds."""
    for worker in pool.values():
        worker.process.terminate()
    until = time.monotonic() + _GRACE
    for worker in pool.values():
        worker.process.join(max(until - time.monotonic(), 0.0))
        worker.process.kill()
        worker.process.join()


def _once_more(
    job: Job,
    at: int,
    worker: _Worker,
    fields: Mapping[str, str],
    retries: Retries,
    others: int,
) -> None:
    """A worker's process has ended in the middle of a job, which is tried once more.

    fields: the worker's last words, `message`, where it ran out of memory and could say so. others:
    how many workers there are besides; if there are any and memory may have run out, the second try
    has to do without them.
    """
    killed = worker.process.exitcode == -getattr(signal, "SIGKILL", 9)
    cause = f"exit code {worker.process.exitcode}"
    if killed:
        cause = "killed, as the system does where memory runs out"
    why = fields.get("message") or f"its process died ({cause})"
    apart = others > 0 and (killed or "message" in fields)
    alone = "at the end, alone" if apart else ""
    if not retries.again(job, at, why, alone=alone, last=apart):
        retries.fail(job, at, why.replace("its process died", "its process died twice", 1))


def _spawn(device: str, *, store: Path, data: Path | None, workers: int) -> _Worker:
    context = mp.get_context("spawn")
    # on a CPU the cores are all taken by workers; those of GPUs share them
    threads = 1 if device == "cpu" else max(_cores() // max(workers, 1), 1)
    ours, theirs = context.Pipe()
    arguments = (theirs, device, store, data, threads)
    process = context.Process(target=_work, args=arguments, daemon=True)
    # inherited: an interrupt is for the parent to answer, from a worker's first moment on
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return _Worker(process, ours)


def _assign(
    at: int, worker: _Worker, queue: Queue, retries: Retries, watch: Callable[[Event], None]
) -> None:
    worker.job = queue.take()
    if worker.job is not None:
        watch(Event(worker.job, "start", at))
        # a worker that has just died is noticed when its pipe is read
        with contextlib.suppress(ConnectionError):
            worker.connection.send((queue.given(worker.job), retries.retry(worker.job)))


class _Stopping:
    """Whether the worker was told to end. Between jobs it does so at once, in a job where the state
    has been saved."""

    def __init__(self) -> None:
        self.asked = self.at_work = False
        signal.signal(signal.SIGTERM, self._answer)

    def _answer(self, *_: object) -> None:
        self.asked = True
        if not self.at_work:
            raise SystemExit(0)


def _work(
    connection: Connection, device: str, store: Path, data: Path | None, threads: int
) -> None:
    """A worker's life."""
    _end_with_parent()
    stopping = _Stopping()
    torch.set_num_threads(threads)

    def send(kind: str, **fields: object) -> None:
        try:
            connection.send((kind, fields))
        except (
            ConnectionError
        ):  # the parent is gone: no exception that would be stored as a failure
            raise SystemExit(1) from None

    def tell(progress: Progress) -> None:
        send("step", step=progress.step)

    def note(line: str) -> None:
        send("note", message=line)

    while not stopping.asked:
        try:
            job, retry = connection.recv()
        except (EOFError, ConnectionError):
            return
        stopping.at_work = True
        failure: dict[str, str] | None = None
        finished: tuple[int, ...] = ()
        try:
            records = run_seeds(
                job.spec,
                job.seeds,
                Store(store),
                data=data,
                device=torch.device(device),
                watch=tell,
                note=note,
                stop=lambda: stopping.asked,
                retry=retry,
            )
            finished = tuple(record.seed for record in records if record.status == "ok")
            for record in records:
                if record.status == "failed" and failure is None:
                    failure = {"message": record.message, "traceback": record.traceback}
        except Stopped:
            return
        except OutOfMemory as error:
            send("memory", message=str(error))
            return
        except InputError as error:
            failure = {"message": str(error)}
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            failure = {"message": message, "traceback": traceback.format_exc()}
        stopping.at_work = False
        if failure is not None:
            send("failed", finished=finished, **failure)
        else:
            send("done", finished=finished)


def _end_with_parent() -> None:
    """End this process when its parent dies, in the middle of whatever it does. A kill at any
    moment loses nothing but the unit in flight."""
    parent = mp.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
