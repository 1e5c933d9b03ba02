"""The Ray launcher on a real cluster of two nodes on this machine, one of which is killed.

The oracle is the same command without Ray: ranks equal to the bit.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed (extra: ray)")

from ray.cluster_utils import Cluster  # noqa: E402

from benchmark.data.bundle import load_bundle  # noqa: E402
from benchmark.errors import InputError  # noqa: E402
from benchmark.launch.jobs import Job  # noqa: E402
from benchmark.launch.ray import connect, run_jobs  # noqa: E402
from benchmark.plan import spec_of  # noqa: E402
from benchmark.run import run_seeds  # noqa: E402
from benchmark.runs.store import Store  # noqa: E402
from benchmark.settings.registry import get_profile  # noqa: E402

pytestmark = pytest.mark.slow  # a cluster takes half a minute to start

ROOT = Path(__file__).resolve().parents[2]
SPEC = spec_of("GRU4Rec", "beauty", get_profile("smoke"))
LONG = SPEC.with_training(steps=100_000, eval_every=100_000)
MEMORY = 150 << 20


@pytest.fixture(scope="module")
def cluster():
    load_bundle("beauty")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # nodes find the code as they would if it were installed
    options = {"num_cpus": 1, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=options | {"include_dashboard": False})
    handler = signal.getsignal(signal.SIGTERM)
    assert connect(cluster.address, None, 1.0) == ["cpu"]
    assert signal.getsignal(signal.SIGTERM) is handler, "how a command ends is its own affair"
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def second(cluster):
    """A second node, as long as a test needs it."""
    node = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node)


def run(jobs, store, **options):
    return run_jobs(jobs, device="cpu", gpus=1.0, store=store, data=None, **options)


def test_a_node_that_is_killed_costs_what_it_had_in_flight(cluster, second, tmp_path):
    """Six seeds on two nodes; the second node is killed when both are in training. All seeds are
    made, the lost one by the node that is left, and each equals the one that is made here."""
    assert len(connect(cluster.address, "cpu", 1.0)) == 2
    events, started = [], time.monotonic()

    def watch(event):
        events.append(event)
        stepping = {e.worker for e in events if e.kind == "step"}
        if second in cluster.list_all_nodes() and len(stepping) == 2:
            cluster.remove_node(second, allow_graceful=False)

    jobs = [Job(SPEC, (seed,), 1.0) for seed in range(6)]
    assert run(jobs, tmp_path / "ray", watch=watch) == 0
    assert second not in cluster.list_all_nodes()
    (again,) = [event for event in events if event.kind == "again"]
    assert "it is tried again" in again.message
    kinds = [event.kind for event in events]
    assert (kinds.count("start"), kinds.count("done")) == (7, 6)
    assert time.monotonic() - started < 300
    here, there = Store(tmp_path / "here"), Store(tmp_path / "ray")
    assert not (there.root / ".leases").exists()
    for seed in range(6):
        run_seeds(SPEC, [seed], here)
        one, other = (store.read(SPEC.key, seed) for store in (here, there))
        assert one.record.identity == other.record.identity
        for name in ("above", "equal", "above_masked", "equal_masked", "top", "top_masked"):
            assert np.array_equal(getattr(one.test, name), getattr(other.test, name)), name


def test_the_end_of_the_time_brings_the_state_home(cluster, tmp_path):
    """A training of hours is stopped: its state lies in the driver's store, and the next call goes
    on from it."""

    def steps(until):
        seen = []

        def watch(event):
            if event.kind == "step":
                seen.append(event.step)

        started = time.monotonic()
        assert run([Job(LONG, (0,), 1.0)], tmp_path, watch=watch, until=started + until) == 0
        assert time.monotonic() - started < until + 15
        return seen

    first = steps(25)
    assert first
    assert len(list((tmp_path / ".checkpoints").glob("*.pt"))) == 1
    assert list(Store(tmp_path).scan()) == []
    assert steps(25)[0] > first[-1]


def test_an_interrupt_is_clean(cluster, tmp_path):
    """The state is saved, and no task is left on the cluster."""

    class Interrupted(BaseException):
        pass

    def watch(event):
        if event.kind == "step":
            raise Interrupted

    with pytest.raises(Interrupted):
        run([Job(LONG, (1,), 1.0)], tmp_path, watch=watch)
    assert len(list((tmp_path / ".checkpoints").glob("*.pt"))) == 1
    assert not (tmp_path / ".leases").exists()
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "a task still runs"
        time.sleep(0.2)


def test_a_unit_that_cannot_work_is_reported_and_the_rest_goes_on(cluster, tmp_path):
    bad = Job(SPEC.model_copy(update={"dataset": "beauti"}), (0,), 2.0)
    worse = Job(SPEC.model_copy(update={"implementation": "no.such:Model"}), (0,), 2.0)
    events = []
    assert run([bad, worse, Job(SPEC, (0,), 1.0)], tmp_path, watch=events.append) == 2
    said = [event.message for event in events if event.kind == "failed"]
    assert "did you mean 'beauty'" in said[0]
    assert "no.such" in said[1]
    assert Store(tmp_path).status(SPEC.key, 0).status == "complete"


def test_what_the_cluster_lacks_is_refused(cluster):
    with pytest.raises(InputError, match=r"--device cuda: the Ray cluster at .* has none"):
        connect(cluster.address, "cuda", 0.5)
    with pytest.raises(InputError, match="a job takes a share of one GPU"):
        connect(cluster.address, None, 2.0)
    with pytest.raises(InputError, match="choose cpu or cuda"):
        connect(cluster.address, "cuda:1", 1.0)
