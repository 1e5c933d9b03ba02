"""Runs jobs in processes of this machine: one a core on a CPU, one a GPU otherwise.

Processes are spawned, not forked: a fork after an OpenMP region aborts. Each takes one job at a
time and writes its own results to the store; the parent hears of progress through a pipe. A worker
that dies is replaced and its job tried once more, then stored as failed. A worker whose parent dies
ends at once and stores nothing: the next call goes on from its checkpoint.
"""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from benchmark.errors import InputError
from benchmark.run import run_seeds, store_failure
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store
from benchmark.train.engine import Progress


@dataclass(frozen=True, eq=False)
class Job:
    """Seeds of one spec that are trained together; compared by identity."""

    spec: RunSpec
    seeds: tuple[int, ...]
    seconds: float
    """Estimated."""

    def __str__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.spec.key}, seed{'s' if len(self.seeds) > 1 else ''} {seeds}"


@dataclass(frozen=True)
class Event:
    """What happened to a job: "start", "step", "done" or "failed"; "note" has a line worth saying,
    "again" comes before a second start."""

    job: Job
    kind: str
    worker: int
    step: int = 0
    """Done so far, of the steps that the spec's budget has."""
    message: str = ""
    """One line."""
    traceback: str = ""
    """Of the exception that made the job fail, if one did."""
    finished: tuple[int, ...] = ()
    """Seeds whose runs are finished and stored, when the job has ended."""


_TICK = 0.5
"""Seconds without an event after which `tick` is called."""


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
        counted = hasattr(os, "sched_getaffinity")  # on Linux, where a process may have fewer
        return ["cpu"] * (len(os.sched_getaffinity(0)) if counted else os.cpu_count() or 1)
    if name == "cuda" and gpus:
        return [f"cuda:{i}" for i in range(gpus)]
    if name in [f"cuda:{i}" for i in range(gpus)]:
        return [name]
    raise InputError(f"--device {name}: not here; choose cpu{', cuda' if gpus else ''}")


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: Sequence[str],
    store: Path,
    data: Path | None,
    watch: Callable[[Event], None],
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Run all jobs, started in the order given; returns the number that failed.

    workers: a device for each. tick: called every now and then, also while nothing happens, so that
    a clock on the screen goes on. An interrupt stops the workers; finished runs are stored, and
    those in flight go on from their checkpoints the next time.
    """
    waiting = deque(jobs)
    tries: dict[Job, int] = {}
    failed = 0
    pool = {
        at: _spawn(device, store, data) for at, device in enumerate(workers[: max(len(waiting), 1)])
    }
    try:
        for at, worker in pool.items():
            _assign(at, worker, waiting, watch)
        while any(worker.job for worker in pool.values()):
            ready = wait([w.connection for w in pool.values() if w.job], timeout=_TICK)
            tick()
            for at, worker in list(pool.items()):
                if worker.job is None or worker.connection not in ready:
                    continue
                job = worker.job
                try:
                    kind, fields = worker.connection.recv()
                except (EOFError, ConnectionError):
                    worker.process.join()
                    tries[job] = tries.get(job, 0) + 1
                    message = f"its process died ({_cause(worker.process.exitcode)})"
                    if tries[job] < 2:
                        waiting.appendleft(job)
                        watch(Event(job, "again", at, message=f"{message}; it is tried again"))
                    else:
                        failed += 1
                        message = message.replace("died", "died twice", 1)
                        say = partial(_say, watch, job, at)
                        with contextlib.suppress(InputError):
                            store_failure(
                                job.spec, job.seeds, Store(store), message, data=data, note=say
                            )
                        watch(Event(job, "failed", at, message=message))
                    pool[at] = _spawn(workers[at], store, data)
                    _assign(at, pool[at], waiting, watch)
                    continue
                watch(Event(job, kind, at, **fields))
                if kind in ("done", "failed"):
                    failed += kind == "failed"
                    _assign(at, worker, waiting, watch)
    finally:
        for worker in pool.values():
            worker.process.terminate()
        for worker in pool.values():
            worker.process.join()
    return failed


def _say(watch: Callable[[Event], None], job: Job, at: int, line: str) -> None:
    watch(Event(job, "note", at, message=line))


def _cause(exitcode: int | None) -> str:
    """What an exit code says; negative ones are signals."""
    if exitcode == -getattr(signal, "SIGKILL", 9):
        return "killed, as the system does where memory runs out"
    return f"exit code {exitcode}"


def _spawn(device: str, store: Path, data: Path | None) -> _Worker:
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, device, store, data), daemon=True)
    # inherited: an interrupt is for the parent to answer, from a worker's first moment on
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()
    return _Worker(process, ours)


def _assign(at: int, worker: _Worker, waiting: deque[Job], watch: Callable[[Event], None]) -> None:
    worker.job = waiting.popleft() if waiting else None
    if worker.job is not None:
        watch(Event(worker.job, "start", at))
        # a worker that has just died is noticed when its pipe is read
        with contextlib.suppress(ConnectionError):
            worker.connection.send(worker.job)


def _work(connection: Connection, device: str, store: Path, data: Path | None) -> None:
    """A worker's life: one thread on a CPU, where the cores are all taken by workers."""
    _end_with_parent()
    if device == "cpu":
        torch.set_num_threads(1)

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

    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, ConnectionError):
            return
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
            )
            finished = tuple(record.seed for record in records if record.status == "ok")
            for record in records:
                if record.status == "failed" and failure is None:
                    failure = {"message": record.message, "traceback": record.traceback}
        except InputError as error:
            failure = {"message": str(error)}
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            failure = {"message": message, "traceback": traceback.format_exc()}
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
