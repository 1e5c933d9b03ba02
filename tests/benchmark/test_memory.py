"""Where memory runs out: the same seeds fewer at a time, then one worker at a time, and said so.

Memory really runs out here: the address space of a child process is limited (RLIMIT_AS) to what a
run of two seeds was seen to need. The model's parameters, gradients and moments take some 100 MB a
seed; windows are short and few users are ranked, so that this is most of it, and takes little time.
"""

import errno
import json
import resource
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch

from benchmark.data.bundle import load_bundle
from benchmark.errors import lacks_memory
from benchmark.launch.jobs import Job
from benchmark.launch.local import run_jobs
from benchmark.plan import spec_of
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.test_kills import until
from tests.benchmark.test_launch import _children

ROOT = Path(__file__).resolve().parents[2]
SMALL = spec_of("GRU4Rec", "beauty", get_profile("smoke"))
_SASREC = spec_of("SASRec", "beauty", get_profile("smoke"))
LARGE = (
    _SASREC.model_copy(update={"variant": "large", "config": _SASREC.config | {"dim": 512}})
    .with_training(steps=2, eval_every=2, batch_size=8)
    .with_protocol(max_users=20, max_length=5, stride=5)
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


CHILD = """
import gc, json, resource, sys
from pathlib import Path
from benchmark.errors import OutOfMemory
from benchmark.run import run_seeds
from benchmark.runs.spec import RunSpec
from benchmark.runs.store import Store

spec = RunSpec.model_validate_json(sys.stdin.read())
root = Path(sys.argv[1])
said = []

def virtual(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

def run(folder, seeds, **options):
    gc.collect()
    return run_seeds(spec, seeds, Store(root / folder), note=said.append, **options)

run("apart", [0, 1])
run("apart", [2, 3])
resource.setrlimit(resource.RLIMIT_AS, (virtual("VmPeak") + (80 << 20), -1))
run("halved", [0, 1, 2, 3])

gc.collect()
resource.setrlimit(resource.RLIMIT_AS, (virtual("VmSize") + (200 << 20), -1))
spec = spec.model_copy(update={"config": spec.config | {"dim": 2048}})
try:
    run("none", [5])
    raised = ""
except OutOfMemory as error:
    raised = str(error)
(failed,) = run("last", [5], retry="tried again alone")
print(json.dumps({"said": said, "raised": raised, "failed": failed.message}))
"""


def test_seeds_that_do_not_fit_at_once_are_halved(tmp_path):
    """Four seeds in the memory that two have needed: ranks equal those of two at a time to the bit.
    A model of 400 MB, for which there are 200, is left to the launcher, and failed at its last try.
    """
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        input=LARGE.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["said"] == ["4 seeds at once do not fit the memory; half of them at a time"]
    for seed in range(4):
        one, other = (Store(tmp_path / name).read(LARGE.key, seed) for name in ("apart", "halved"))
        assert np.array_equal(one.test.above, other.test.above)
        assert one.record.environment.execution == "op by op"
        assert other.record.environment.execution == (
            "op by op; 2 of 4 seeds at once, for want of memory"
        )
    assert "memory" in told["raised"] or "allocate" in told["raised"]
    assert not list(Store(tmp_path / "none").scan())
    stored = Store(tmp_path / "last").status(LARGE.key, 5)
    assert stored.status == "failed"
    assert stored.problem == told["failed"]


def test_a_job_without_memory_is_tried_again_alone(tmp_path):
    """Two workers that have done a small job are left 200 MB each, which the next ones' data fit
    and their models, of 600 MB each, do not. Both jobs come again, the one after the other, in one
    process without a limit."""
    load_bundle("beauty")
    small = [Job(SMALL, (seed,), 1.0) for seed in (0, 1)]
    spec = LARGE.model_copy(update={"config": LARGE.config | {"dim": 1024}})
    large = [Job(spec, (seed,), 1.0) for seed in (0, 1)]
    store = Store(tmp_path)
    events, at_once, first = [], [], []

    def watch(event):
        if not events:  # both have just been started; one that dies is replaced by another process
            first.extend(sorted(active_children(), key=lambda p: int(p.name.rpartition("-")[2])))
        events.append(event)
        if event.kind == "done" and event.job in small:
            # else a fresh process, in a dead one's place and without a limit, may take a large job
            both = [store.path(SMALL.key, seed) for seed in (0, 1)]
            until(lambda: all(path.is_file() for path in both), "both small jobs are done")
            worker = first[event.worker].pid
            pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + (200 << 20)
            resource.prlimit(worker, resource.RLIMIT_AS, (limit, limit))
        if event.kind == "step":
            at_once.append((event.job, len(_children())))

    workers = ["cpu", "cpu"]
    failed = run_jobs(small + large, workers=workers, store=tmp_path, data=None, watch=watch)
    assert not failed, [event.message for event in events if event.kind == "failed"]
    again = [event for event in events if event.kind == "again"]
    assert {event.job for event in again} == set(large)
    assert all(e.message.endswith("; it is tried again, at the end, alone") for e in again)
    assert {number for job, number in at_once if job in large} == {1}
    kinds = [(event.kind, event.job) for event in events if event.kind in ("start", "done")]
    first, second = (event.job for event in again)
    assert kinds[-4:] == [("start", first), ("done", first), ("start", second), ("done", second)]
    for event in again:
        (seed,) = event.job.seeds
        result = store.read(LARGE.key, seed)
        why = event.message.partition(";")[0]
        execution = f"op by op; tried again at the end, alone: {why}"
        assert result.record.environment.execution == execution
    assert all(store.read(SMALL.key, s).record.environment.execution == "op by op" for s in (0, 1))


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (pyarrow.ArrowMemoryError("malloc of size 64 failed"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, memory):
    """The messages as torch and NumPy word them; the CPU's own is met for real above."""
    assert lacks_memory(error) == memory
