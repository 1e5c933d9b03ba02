"""Which job comes next: what the time allows, what others hold or have made, and how work is cut.

Times are a clock that the test sets; other commands are other sets of leases on the same folder.
"""

import itertools

import numpy as np
import pytest

from benchmark.cli.options import Shard, parse_duration, parse_shard
from benchmark.cli.parts import cell_by_cell, part_of
from benchmark.errors import InputError
from benchmark.launch.jobs import Job
from benchmark.launch.queue import BETWEEN_LOOKS, WORTH_STARTING, Queue
from benchmark.plan import Planned, plan, specs
from benchmark.runs.leases import Leases
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store, Stored
from benchmark.settings.registry import get_profile
from tests.benchmark.results import failed_result, make_result, make_spec

TRAINED = make_spec("SASRec", training={})
CONTROL = make_spec("Popularity", protocol={"control": True})


@pytest.fixture
def leases(tmp_path):
    with Leases(tmp_path / ".leases") as own:
        yield own


@pytest.fixture
def others(tmp_path):
    with Leases(tmp_path / ".leases") as own:
        yield own


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def drain(queue: Queue) -> list[Job]:
    return list(iter(queue.take, None))


def test_without_a_limit_all_jobs_come_in_order(tmp_path, leases):
    jobs = [Job(TRAINED, (seed,), seconds) for seed, seconds in enumerate((5.0, 1.0, 1e9))]
    assert drain(Queue(jobs, tmp_path, leases, print)) == jobs


def test_jobs_that_fit_come_first_then_those_that_leave_a_checkpoint(tmp_path, leases):
    """100 s: a job of 50 fits, one of 500 is begun, a control of 200 would leave nothing."""
    long = Job(TRAINED, (0,), 500.0)
    control, fits = Job(CONTROL, (0,), 200.0), Job(TRAINED, (1,), 50.0)
    clock = Clock()
    queue = Queue([long, control, fits], tmp_path, leases, print, until=100.0, clock=clock)
    assert queue.take() is fits
    clock.now = 100.0 - WORTH_STARTING
    assert queue.take() is long
    assert queue.take() is None
    assert queue.waiting == [control]
    assert not queue.is_open


def test_nothing_long_is_begun_in_the_last_moments(tmp_path, leases):
    jobs = [Job(TRAINED, (0,), 500.0), Job(TRAINED, (1,), 1.0)]
    clock = Clock()
    queue = Queue(jobs, tmp_path, leases, print, until=100.0, clock=clock)
    clock.now = 100.5 - WORTH_STARTING
    assert drain(queue) == [jobs[1]]


def test_expectations_are_asked_for_anew(tmp_path, leases):
    """A job that was planned for hours, on a machine that turns out to be fast."""
    slow, fast = Job(TRAINED, (0,), 9000.0), Job(CONTROL, (0,), 9000.0)
    seconds = [9000.0, 9000.0]
    queue = Queue(
        [slow, fast],
        tmp_path,
        leases,
        print,
        until=100.0,
        clock=Clock(),
        expected=lambda jobs: seconds[-len(jobs) :],
    )
    assert queue.take() is slow
    assert queue.take() is None
    seconds[:] = [3.0]
    assert queue.take() is fast


def test_what_others_hold_is_left_out_and_comes_later(tmp_path, leases, others):
    jobs = [Job(TRAINED, (seed,), 1.0) for seed in range(3)]
    clock = Clock()
    mine = Queue(jobs, tmp_path, leases, print, clock=clock)
    theirs = Queue(list(jobs), tmp_path, others, print)
    first = theirs.take()
    assert first is jobs[0]
    assert drain(mine) == jobs[1:]
    assert mine.is_open
    theirs.end(first)  # it was stopped, and has stored nothing
    assert mine.take() is None  # looked a moment ago
    clock.now += BETWEEN_LOOKS
    assert mine.take() is jobs[0]
    assert not mine.is_open


def test_what_others_made_since_is_not_made_again(tmp_path, leases):
    """A stack of four seeds: one finished and one failed elsewhere, two are left; and a job of one
    seed that is all done."""
    store, events = Store(tmp_path), []
    store.write(make_result(TRAINED, 3, np.arange(30)))  # stale: it is in the plan all the same
    stack, single = Job(TRAINED, (0, 1, 2, 3), 1.0), Job(CONTROL, (0,), 1.0)
    queue = Queue([stack, single], tmp_path, leases, events.append)
    store.write(make_result(TRAINED, 1, np.arange(30)))
    store.write(failed_result(TRAINED, 2))
    store.write(make_result(CONTROL, 0, np.arange(30)))
    assert queue.take() is stack
    assert queue.given(stack).seeds == (0, 3)
    assert queue.take() is None
    (event,) = events
    assert (event.job, event.kind, event.finished) == (single, "elsewhere", (0,))
    queue.end(stack)
    assert not list((tmp_path / ".leases").iterdir())


def test_a_stack_waits_while_another_command_has_one_of_its_seeds(tmp_path, leases, others):
    stack = Job(TRAINED, (0, 1, 2), 1.0)
    assert others.take("quick--toy--sasrec--base--seed-1")
    queue = Queue([stack], tmp_path, leases, print, wait=False)
    assert queue.take() is None
    assert not queue.is_open
    assert others.take("quick--toy--sasrec--base--seed-0"), "what cannot be used is let go"


def test_a_job_whose_process_died_comes_first(tmp_path, leases):
    jobs = [Job(TRAINED, (seed,), 1.0) for seed in range(2)]
    queue = Queue(jobs, tmp_path, leases, print)
    queue.again(queue.take())
    assert drain(queue) == jobs


def test_a_job_that_is_postponed_comes_when_it_is_taken_up(tmp_path, leases, others):
    """Until then its lease is free."""
    jobs = [Job(TRAINED, (seed,), 1.0) for seed in range(3)]
    queue = Queue(jobs, tmp_path, leases, print)
    queue.postpone(queue.take())
    assert drain(queue) == jobs[1:]
    assert (queue.is_open, queue.postponed) == (False, jobs[:1])
    assert others.take("quick--toy--sasrec--base--seed-0")
    others.release("quick--toy--sasrec--base--seed-0")
    queue.take_up()
    assert drain(queue) == jobs[:1]
    assert queue.postponed == []


def test_long_names_are_cut_and_told_apart(tmp_path, leases):
    one, other = (make_spec("x" * 300 + letter) for letter in "ab")
    jobs = [Job(one, (0,), 1.0), Job(other, (0,), 1.0)]
    assert drain(Queue(jobs, tmp_path, leases, print)) == jobs


# ---------------------------------------------------------------- whole cells, parts


def planned_of(model: str, seeds, stored: int, seconds: float) -> Planned:
    """A cell of which the first seeds are stored."""
    spec = make_spec(model, training={})
    runs = RunSet(Store("nowhere"))
    states = {seed: runs.status(spec.key, seed) for seed in seeds}
    done = make_result(spec, 0, np.arange(9))

    states |= {s: Stored(states[s].path, "complete", result=done) for s in list(seeds)[:stored]}
    return Planned(spec.key, spec, states, seconds)


def test_whole_cells_come_first_that_need_the_least_time():
    """Left: A 4 x 10 s, B 1 x 30 s, C 2 x 100 s; C's last seed is begun."""
    planned = [
        planned_of("A", range(4), 0, 10.0),
        planned_of("B", range(4), 3, 30.0),
        planned_of("C", range(4), 2, 100.0),
    ]
    begun = [(planned[2].key, frozenset({3}))]

    def order(workers):
        jobs = cell_by_cell(planned, workers, begun, reuse_stale=False)
        return [(job.spec.model, *job.seeds) for job in jobs]

    each = [("C", 3), ("B", 3), ("A", 0), ("A", 1), ("A", 2), ("A", 3), ("C", 2)]
    assert order(["cpu"]) == each
    assert order(["cuda:0"]) == [("B", 3), ("A", 0, 1, 2, 3), ("C", 2, 3)]


@pytest.mark.parametrize("of", [1, 2, 7, 40])
def test_parts_hold_every_run_once_whatever_is_stored(tmp_path, of):
    """Real rows on a real dataset; a machine that has made some of the runs cuts as one that has
    none. No part is longer than its share by more than one run."""
    profile = get_profile("smoke")
    wanted = specs(["table2"], profile, datasets=["beauty"])
    empty = plan(wanted, range(5), RunSet(Store(tmp_path / "empty")))
    Store(tmp_path).write(make_result(wanted[0], 2, np.arange(40)))
    some = plan(wanted, range(5), RunSet(Store(tmp_path)))
    cut = [part_of(empty, Shard(number, of), None) for number in range(1, of + 1)]
    units = [[(p.key, seed) for p in part for seed in p.runs] for part in cut]
    whole = [(p.key, seed) for p in empty for seed in p.runs]
    assert list(itertools.chain(*units)) == whole
    for number, part in enumerate(units, 1):
        again = part_of(some, Shard(number, of), None)
        assert [(p.key, seed) for p in again for seed in p.runs] == part
    seconds = {p.key: p.seconds for p in empty}
    share = sum(seconds[key] for key, _ in whole) / of
    longest = max(seconds.values())
    assert all(sum(seconds[key] for key, _ in part) <= share + longest + 1e-6 for part in units)


def test_parts_need_every_dataset(tmp_path):
    planned = [planned_of("A", range(2), 0, 1.0)]
    without = [Planned(p.key, p.spec, p.runs, problem="not downloaded") for p in planned]
    with pytest.raises(InputError, match=r"--shard 1/2: toy cannot be had here \(not downloaded\)"):
        part_of(without, Shard(1, 2), None)
    assert part_of(without, parse_shard("any"), None) == without


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("7m", 420), ("1h30m", 5400), ("2H", 7200), ("1h1m1s", 3661)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "m", "0s", "-7m", "7 m", "1.5h", "9999999h", "30m1h"])
def test_other_durations_are_refused(text):
    with pytest.raises(InputError, match="write a time such as 90s, 7m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1/0", "a/b", "3", "1/2/3", "-1/2", "1.0/2"])
def test_other_shards_are_refused(text):
    assert parse_shard("3/8") == Shard(3, 8)
    with pytest.raises(InputError, match=r"write the number of a part and how many there are"):
        parse_shard(text)
