"""The local launcher with real processes: results arrive, a killed worker is survived."""

import os
import signal
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.launch.local import Job, devices, run_jobs
from benchmark.plan import plan, spec_of
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile


@pytest.fixture
def smoke_job():
    spec = spec_of("GRU4Rec", "beauty", get_profile("smoke"))
    return lambda seed: Job(spec, (seed,), 1.0)


def test_jobs_run_in_processes_and_their_results_are_found(tmp_path, smoke_job):
    events = []
    failed = run_jobs(
        [smoke_job(0), smoke_job(1)],
        workers=["cpu"],
        store=tmp_path,
        data=None,
        watch=events.append,
    )
    assert failed == 0
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


def test_an_absent_device_is_refused():
    with pytest.raises(InputError, match="--device tpu"):
        devices("tpu")


def _children() -> list[int]:
    """Worker processes of this one; the resource tracker of multiprocessing is none of them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and "spawn_main" in command:
            found.append(int(pid))
    return found
