"""Runs jobs on a Ray cluster: a task for each, whose results are stored by the driver alone.

The driver, which runs on a node of the cluster, puts every dataset into the object store once and
claims, stores and retries. A task takes a dataset from there, trains in a folder of its own that
goes with it, and returns whole results, or, when it is told to stop, its saved state. A node or a
worker that dies costs what it had in flight: the job is given to another. Nodes need the same code,
which is checked, and no shared folder.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.data.bundle import load_bundle
from benchmark.errors import InputError
from benchmark.files import write_bytes
from benchmark.launch.jobs import Event, Job
from benchmark.launch.queue import Queue, planned_seconds
from benchmark.launch.ray_task import Answer, train
from benchmark.launch.retries import Retries
from benchmark.runs.checkpoint import begun_files
from benchmark.runs.identity import hashes
from benchmark.runs.leases import Leases
from benchmark.runs.store import FinishedRunKept, Store

MOST_TRIES = 3
"""Of a job whose node or worker dies."""

_TICK = 0.5
"""Seconds between two looks at what has happened."""

_GRACE = 20.0
"""Seconds that tasks have to finish a step and return their states."""


def connect(address: str, device: str | None, gpus: float) -> list[str]:
    """Connect to a cluster; a device, "cpu" or "cuda", for every job that fits it at once.

    address: as `ray.init` takes it, "auto" for the cluster of this machine. device: None for GPUs
    where there are any. gpus: share of a GPU for a job. Raises InputError where Ray is not
    installed, no cluster answers, or it has no such device.
    """
    if not 0 < gpus <= 1:
        raise InputError(f"--gpus-per-job {gpus:g}: a job takes a share of one GPU, up to 1")
    if device not in (None, "cpu", "cuda"):
        raise InputError(f"--device {device}: on a Ray cluster choose cpu or cuda")
    # else Ray builds an environment of its own for every worker of a driver under `uv run`
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("--launcher ray: Ray is not installed (pip install ray)") from error
    if not ray.is_initialized():
        # Ray answers SIGTERM by a bare exit; the command says how it ended
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"--address {address}: no Ray cluster answers ({reason}); start one by `ray start "
                "--head`, or give its address"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, before)
    have = ray.cluster_resources()
    if device is None:
        device = "cuda" if have.get("GPU", 0) >= 1 else "cpu"
    workers = [device] * _capacity(device, gpus)
    if not workers:
        raise InputError(f"--device {device}: the Ray cluster at {address} has none")
    return workers


def _capacity(device: str, gpus: float) -> int:
    """Jobs that the cluster takes at once."""
    import ray

    have = ray.cluster_resources()
    if device == "cpu":
        return int(have.get("CPU", 0))
    return min(int(have.get("GPU", 0)) * int(1 / gpus + 1e-9), int(have.get("CPU", 0)))


class _Board:
    """An actor beside the driver: tasks tell it of steps, and learn whether they are to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self.steps: dict[int, int] = {}
        self.notes: list[tuple[int, str]] = []

    def step(self, task: int, step: int) -> bool:
        self.steps[task] = step
        return self.stopping

    def note(self, task: int, line: str) -> None:
        self.notes.append((task, line))

    def news(self) -> tuple[dict[int, int], list[tuple[int, str]]]:
        news = self.steps, self.notes
        self.steps, self.notes = {}, []
        return news

    def stop(self) -> None:
        self.stopping = True


@dataclass
class _Task:
    job: Job
    slot: int
    number: int


class _Driver:
    """One call of `run_jobs`."""

    def __init__(
        self,
        queue: Queue,
        store: Store,
        data: Path | None,
        watch: Callable[[Event], None],
        device: str,
        gpus: float,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray, self.queue, self.store, self.data, self.watch = ray, queue, store, data, watch
        self.device, self.gpus = device, gpus
        here = ray.get_runtime_context().get_node_id()
        self.board = (
            ray.remote(_Board)
            .options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)
            )
            .remote()
        )
        self.retries = Retries(queue, data, watch, MOST_TRIES)
        self.running: dict[Any, _Task] = {}
        self.whole_node: set[Job] = set()
        """Jobs that ran out of memory beside others."""
        self.datasets: dict[str, tuple[Any, str]] = {}
        """Name -> its files in the object store, and its data hash."""
        self.number = 0

    def start(self, capacity: int) -> None:
        """Give out jobs as long as there is room."""
        while len(self.running) < capacity and self.queue.left > 0:
            job = self.queue.take()
            if job is None:
                return
            slot = min(set(range(capacity)) - {task.slot for task in self.running.values()})
            self.watch(Event(job, "start", slot))
            try:
                ref = self._submit(job)
            except InputError as error:
                self.retries.fail(job, slot, str(error))
                continue
            self.running[ref] = _Task(job, slot, self.number)

    def _submit(self, job: Job) -> Any:
        self.number += 1
        own = self.queue.given(job)
        files, data_hash = self._dataset(job.spec.dataset)
        states = {
            path.name: path.read_bytes()
            for path in begun_files(self.store.root / ".checkpoints", job.spec.key)
        }
        cpus, gpus = 1.0, self.gpus
        if job in self.whole_node:
            gpus = 1.0
            nodes = [node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"]]
            cpus = max(nodes, default=1.0)
        # a worker that has used one GPU must not be given another: its CUDA would keep the first
        for_gpu = {"num_gpus": gpus, "max_calls": 1} if self.device == "cuda" else {}
        task = self.ray.remote(
            num_cpus=cpus, max_retries=0, scheduling_strategy="SPREAD", **for_gpu
        )(train)
        return task.remote(
            job.spec.model_dump_json(),
            own.seeds,
            self.device,
            hashes(job.spec, data_hash).code,
            files,
            data_hash,
            states,
            self.board,
            self.number,
            self.retries.retry(job),
        )

    def _dataset(self, name: str) -> tuple[Any, str]:
        """A dataset's files, put once. Raises InputError as `load_bundle` does."""
        if name not in self.datasets:
            bundle = load_bundle(name, root=self.data)
            files = {
                file.name: file.read_bytes() for file in bundle.path.iterdir() if file.is_file()
            }
            self.datasets[name] = self.ray.put(files), bundle.meta.data_hash
        return self.datasets[name]

    def hear(self) -> None:
        """Pass on what the tasks have told."""
        tasks = {task.number: task for task in self.running.values()}
        steps, notes = self.ray.get(self.board.news.remote())
        for number, step in steps.items():
            if task := tasks.get(number):
                self.watch(Event(task.job, "step", task.slot, step=step))
        for number, line in notes:
            if task := tasks.get(number):
                self.watch(Event(task.job, "note", task.slot, message=line))

    def end(self, ref: Any) -> None:
        """A task has ended, one way or another."""
        task = self.running.pop(ref)
        job, say = task.job, partial(_say, self.watch, task)
        try:
            answer: Answer = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            self.retries.fail(job, task.slot, " ".join(str(error.cause or error).split()))
            return
        except self.ray.exceptions.RayError as error:
            memory = isinstance(error, self.ray.exceptions.OutOfMemoryError)
            self._lost(task, f"lost ({type(error).__name__})", memory)
            return
        if answer.no_memory:
            self._lost(task, answer.no_memory, True)
            return
        if answer.refused:
            self.retries.fail(job, task.slot, answer.refused, answer.traceback)
            return
        self._keep(answer, say)
        self.queue.end(job)
        if answer.states:  # it was stopped
            return
        finished = tuple(r.record.seed for r in answer.results if r.record.status == "ok")
        bad = next((r.record for r in answer.results if r.record.status == "failed"), None)
        if bad is None:
            self.watch(Event(job, "done", task.slot, finished=finished))
            return
        self.retries.failed += 1
        self.watch(
            Event(
                job,
                "failed",
                task.slot,
                message=bad.message,
                traceback=bad.traceback,
                finished=finished,
            )
        )

    def _keep(self, answer: Answer, note: Callable[[str], None]) -> None:
        for result in answer.results:
            try:
                self.store.write(result)
            except FinishedRunKept as kept:
                note(str(kept))
        folder = self.store.root / ".checkpoints"
        for name, data in answer.states.items():
            write_bytes(folder / name, data)

    def _lost(self, task: _Task, why: str, memory: bool) -> None:
        """The node or the worker of a task is gone, or the task has run out of memory."""
        alone = ""
        if memory:
            self.whole_node.add(task.job)
            alone = "with a node to itself"
        if not self.retries.again(task.job, task.slot, why, alone=alone):
            self.retries.fail(task.job, task.slot, f"{why} {MOST_TRIES} times")

    def stop(self) -> None:
        """Have the tasks save and return their states; end those that do not in time."""
        if not self.running:
            return
        self.board.stop.remote()
        until = time.monotonic() + _GRACE
        while self.running and (left := until - time.monotonic()) > 0:
            ready, _ = self.ray.wait(list(self.running), timeout=left)
            for ref in ready:
                self.end(ref)
        for ref in self.running:
            self.ray.cancel(ref, force=True)


def run_jobs(
    jobs: Sequence[Job],
    *,
    device: str,
    gpus: float,
    store: Path,
    data: Path | None,
    watch: Callable[[Event], None],
    tick: Callable[[], None] = lambda: None,
    until: float | None = None,
    expected: Callable[[Sequence[Job]], Sequence[float]] = planned_seconds,
    wait_for_others: bool = True,
) -> int:
    """As `benchmark.launch.local.run_jobs`, on the cluster that `connect` has connected to.

    device: "cpu" or "cuda", of which a job takes one core, or the share `gpus` of one GPU.
    """
    import ray

    with Leases(Path(store) / ".leases") as leases, contextlib.ExitStack() as closing:
        queue = Queue(
            jobs, store, leases, watch, until=until, expected=expected, wait=wait_for_others
        )
        driver = _Driver(queue, Store(store), data, watch, device, gpus)
        closing.callback(ray.kill, driver.board)
        closing.callback(driver.stop)
        while True:
            driver.start(_capacity(device, gpus))
            if (not driver.running and not queue.is_open) or queue.left <= 0:
                return driver.retries.failed
            pause = min(_TICK, max(queue.left, 0.0))
            if driver.running:
                ready, _ = ray.wait(list(driver.running), timeout=pause)
            else:
                ready = []
                time.sleep(pause)
            driver.hear()
            tick()
            for ref in ready:
                driver.end(ref)


def _say(watch: Callable[[Event], None], task: _Task, line: str) -> None:
    watch(Event(task.job, "note", task.slot, message=line))
