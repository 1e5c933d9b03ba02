"""The local launcher with real processes: results arrive, a killed worker is survived."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.launch.jobs import Job
from benchmark.launch.local import devices, run_jobs
from benchmark.launch.queue import Queue
from benchmark.plan import plan, spec_of
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def smoke_job():
    spec = spec_of("GRU4Rec", "beauty", get_profile("smoke"))
    return lambda seed: Job(spec, (seed,), 1.0)


def test_jobs_run_in_processes_and_their_results_are_found(tmp_path, smoke_job):
    """They start in the order given, also where a later one is the longer."""
    events, ticks = [], []
    jobs = [smoke_job(0), replace(smoke_job(1), seconds=100.0)]
    failed = run_jobs(
        jobs,
        workers=["cpu"],
        store=tmp_path,
        data=None,
        watch=events.append,
        tick=lambda: ticks.append(time.monotonic()),
    )
    assert failed == 0
    assert [event.job for event in events if event.kind == "start"] == jobs
    # half a second, and the rest for a busy machine
    assert max(b - a for a, b in itertools.pairwise(ticks)) < 3
    kinds = [event.kind for event in events]
    assert kinds.count("start") == kinds.count("done") == 2
    assert max(event.step for event in events) == 12
    (planned,) = plan([smoke_job(0).spec], [0, 1], RunSet(Store(tmp_path)))
    assert planned.states == {0: "complete", 1: "complete"}


def test_a_killed_worker_is_replaced_and_its_job_done(tmp_path, smoke_job):
    killed = []

    def watch(event):
        if event.kind == "step" and not killed:
            (child,) = _children()
            os.kill(child, signal.SIGKILL)
            killed.append(child)

    failed = run_jobs([smoke_job(0)], workers=["cpu"], store=tmp_path, data=None, watch=watch)
    assert killed
    assert failed == 0
    assert Store(tmp_path).status(smoke_job(0).spec.key, 0).status == "complete"


def test_a_unit_that_cannot_work_is_reported_and_the_rest_goes_on(tmp_path, smoke_job):
    good = smoke_job(0)
    bad = Job(good.spec.model_copy(update={"dataset": "beauti"}), (0,), 2.0)
    events = []
    failed = run_jobs([bad, good], workers=["cpu"], store=tmp_path, data=None, watch=events.append)
    assert failed == 1
    (message,) = [event.message for event in events if event.kind == "failed"]
    assert "did you mean 'beauty'" in message
    assert Store(tmp_path).status(good.spec.key, 0).status == "complete"


@pytest.mark.parametrize("end", ["the time", "an interrupt"])
def test_workers_are_stopped_at_a_checkpoint(tmp_path, smoke_job, monkeypatch, end):
    """A training of hours, in its first steps when the time is over (by a clock that is put
    forward) or an interrupt comes: its state is saved at once, though the next evaluation is far,
    no lease is left, and a second call goes on from there."""

    class Interrupt(BaseException):
        pass

    ahead, steps = [0.0], []
    clock = lambda: time.monotonic() + ahead[0]  # noqa: E731
    monkeypatch.setattr("benchmark.launch.local.Queue", partial(Queue, clock=clock))

    def watch(event):
        if event.kind == "step":
            steps.append(event.step)
            if len(steps) == 3 and end == "the time":
                ahead[0] = 1e9
            elif len(steps) == 3:
                raise Interrupt

    spec = smoke_job(0).spec.with_training(steps=100_000, eval_every=100_000)
    for _ in range(2):
        ahead[0], begun = 0.0, len(steps)
        with contextlib.ExitStack() as stack:
            if end == "an interrupt":
                stack.enter_context(pytest.raises(Interrupt))
            until = time.monotonic() + 1e6
            run_jobs(
                [Job(spec, (0,), 1.0)],
                workers=["cpu"],
                store=tmp_path,
                data=None,
                watch=watch,
                until=until,
            )
        assert steps[begun:] == list(range(steps[begun], steps[begun] + 3))
        assert len(list((tmp_path / ".checkpoints").glob("*.pt"))) == 1
        assert not (tmp_path / ".leases").exists()
        assert list(Store(tmp_path).scan()) == []
        again, steps[begun:] = steps[begun], []
    assert again > 3


DRIVER = """
import sys
from pathlib import Path
from benchmark.launch.jobs import Job
from benchmark.launch.local import run_jobs
from benchmark.runs.spec import RunSpec

spec = RunSpec.model_validate_json(sys.stdin.read())

def watch(event):
    if event.kind == "step" and event.step == 3:
        print("step", flush=True)

run_jobs([Job(spec, (0,), 1.0)], workers=["cpu"], store=Path(sys.argv[1]), data=None, watch=watch)
"""


def test_workers_whose_parent_is_killed_end_without_a_record(tmp_path, smoke_job):
    """A run of some minutes, whose worker is in its first steps when the parent is killed: within
    five seconds there is no process left, and no failed run is stored."""
    spec = smoke_job(0).spec.with_training(steps=100_000, eval_every=100_000)
    parent = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    parent.stdin.write(spec.model_dump_json())
    parent.stdin.close()
    assert parent.stdout.readline() == "step\n"
    workers = _children(parent.pid)
    assert len(workers) == 1
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, workers))
    assert list(Store(tmp_path).scan()) == []


@pytest.mark.slow  # six processes, each of which imports torch
def test_a_job_whose_process_dies_twice_is_a_failed_run(tmp_path, smoke_job):
    """What was said, and what was stored; a finished run of the same name stays and is named."""
    events = []

    def watch(event):
        events.append(event)
        if event.kind == "step" and event.step == 2:
            for child in _children():
                os.kill(child, signal.SIGKILL)

    for _ in range(2):
        events.clear()
        assert run_jobs([smoke_job(0)], workers=["cpu"], store=tmp_path, data=None, watch=watch)
        (again,) = [event.message for event in events if event.kind == "again"]
        assert again.endswith("memory runs out); it is tried again")
        failed = events[-1]
        assert failed.message.startswith("its process died twice (killed")
        stored = Store(tmp_path).status(smoke_job(0).spec.key, 0)
        assert stored.status in ("failed", "complete")
        if stored.status == "failed":
            assert stored.problem == failed.message
            run_jobs([smoke_job(0)], workers=["cpu"], store=tmp_path, data=None, watch=id)
    (note,) = [event.message for event in events if event.kind == "note"]
    assert "seed-0.json: the finished run is kept" in note
    assert Store(tmp_path).status(smoke_job(0).spec.key, 0).status == "complete"


def test_an_absent_device_is_refused():
    with pytest.raises(InputError, match="--device tpu"):
        devices("tpu")


def _alive(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(parent: int | None = None) -> list[int]:
    """Worker processes of a parent, by default this process; the resource tracker of
    multiprocessing is none of them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == (parent or os.getpid()) and "spawn_main" in command:
            found.append(int(pid))
    return found
