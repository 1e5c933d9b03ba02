"""The estimate of the time left, on simulated clocks whose future is known.

A world says how long every job's start, steps and end take; it runs the jobs on workers as the
launcher does (each free worker takes the next job) and asks the estimator as it goes. The truth is
when the world ends.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import pytest

from benchmark.cli.estimate import Estimator, Work


@dataclass
class Truth:
    """What a job really does, in seconds. The planned seconds of its work are another matter."""

    per_step: float
    before: float = 0.0
    after: float = 0.0
    evaluation: float = 0.0
    """Added to every tenth step."""
    resumed: int = 0
    """Steps that a checkpoint has."""
    dies_at: int | None = None
    """The step at which its process dies, once; it starts again from 0."""
    fails_at: int | None = None


class World:
    def __init__(self, jobs, workers):
        """jobs: name -> (Work, Truth)"""
        self.now = 0.0
        self.truth = {name: truth for name, (_, truth) in jobs.items()}
        self.waiting = list(jobs)
        self.estimator = Estimator(
            {name: work for name, (work, _) in jobs.items()}, workers, lambda: self.now
        )
        self.asked: list[tuple[float, float]] = []
        """(clock, seconds left as estimated) after every event."""
        events = [(0.0, at, iter(())) for at in range(workers)]
        while events:
            self.now, at, course = heapq.heappop(events)
            wait = next(course, None)
            if wait is None and self.waiting:
                course = self._life(self.waiting.pop(0))
                wait = next(course)
            self.asked.append((self.now, self.estimator.seconds_left()))
            if wait is not None:
                heapq.heappush(events, (self.now + wait, at, course))
        self.end = self.now

    def _life(self, name):
        """Tells the estimator of a job, and yields the time until the next event."""
        truth, steps = self.truth[name], self.estimator.work[name].steps
        for attempt in range(2 if truth.dies_at else 1):
            self.estimator.start(name)
            yield truth.before
            for step in range(truth.resumed, steps):
                yield truth.per_step + (truth.evaluation if step % 10 == 9 else 0.0)
                self.estimator.step(name, step + 1)
                if truth.fails_at == step + 1:
                    self.estimator.end(name, failed=True)
                    return
                if attempt == 0 and truth.dies_at == step + 1:
                    break
        yield truth.after
        self.estimator.end(name)

    def errors(self, *, after):
        """Relative errors of the estimated end, as a share of the whole time, from a share of the
        whole time on."""
        asked = np.array([pair for pair in self.asked if pair[0] >= after * self.end])
        return (asked.sum(axis=1) - self.end) / self.end


def grid(rows, seeds, *, steps=100, wrong=1.0, **truth):
    """Jobs seed by seed. rows: name -> true seconds a step; wrong: planned over true seconds."""
    return {
        (row, seed): (Work(row, "beauty", steps, wrong * steps * s), Truth(s, **truth))
        for seed in range(seeds)
        for row, s in rows.items()
    }


def test_what_is_planned_rightly_is_said_rightly_from_the_start():
    """No noise, and plans that hold: no error but the one of adding floats, at any time."""
    world = World(grid({"A": 1.0, "B": 0.25, "C": 2.0}, 3), workers=2)
    assert np.abs(world.errors(after=0)).max() < 1e-9


@pytest.mark.parametrize("wrong", [1 / 4, 4])
def test_plans_that_are_wrong_by_one_factor_are_mended_by_the_first_steps(wrong):
    """Every row is planned four times too long or too short. At first the estimate is as wrong as
    the plan. Once each worker has done a few dozen steps (4 % of the time), rows that nobody has
    seen are rated by those that were: within 5 % of the whole time, as a job's first three steps'
    weight of the plan fades."""
    world = World(grid({"A": 1.0, "B": 0.25, "C": 2.0}, 4, wrong=wrong), workers=2)
    assert world.asked[0][1] == pytest.approx(wrong * world.end, rel=0.1)
    assert np.abs(world.errors(after=0.04)).max() < 0.05
    assert np.abs(world.errors(after=0.5)).max() < 0.01


def test_rows_whose_plans_are_wrong_by_different_factors():
    """A is three times slower than planned, B three times faster: with a seed of each seen (a
    quarter of the time), the error is below 3 % of the whole."""
    jobs = {}
    for seed in range(4):
        jobs["A", seed] = (Work("A", "beauty", 100, 33.0), Truth(1.0))
        jobs["B", seed] = (Work("B", "beauty", 100, 300.0), Truth(1.0))
    world = World(jobs, workers=2)
    assert np.abs(world.errors(after=0.25)).max() < 0.03


def test_a_row_on_one_dataset_says_something_of_it_on_another():
    """A is planned ten times too short on both datasets, B rightly. While A has been seen on the
    first dataset alone, what it takes on the second is known all the same."""
    jobs = {
        "A1": (Work("A", "beauty", 100, 10.0), Truth(1.0)),
        "B1": (Work("B", "beauty", 100, 100.0), Truth(1.0)),
        "A2": (Work("A", "ml-100k", 200, 20.0), Truth(1.0)),
    }
    world = World(jobs, workers=1)
    between = next(left for now, left in world.asked if now > 150)
    assert between == pytest.approx(world.end - 151, rel=0.05)


def test_starts_ends_and_evaluations_are_counted_once_seen():
    """Before the first step 5 s, after the last 8 s, every tenth step 6 s more than the other
    ones: after a round of all rows, a third of the time, within 3 %."""
    rows = {"A": 1.0, "B": 0.5}
    world = World(grid(rows, 3, before=5.0, after=8.0, evaluation=6.0), workers=1)
    assert np.abs(world.errors(after=0.34)).max() < 0.03


def test_steps_of_a_checkpoint_are_done_and_not_in_the_rate():
    """A job goes on at step 90 of 100: its one-second steps do not become 0.1-second ones."""
    jobs = grid({"A": 1.0}, 2)
    jobs["A", 0] = (jobs["A", 0][0], Truth(1.0, resumed=90))
    world = World(jobs, workers=1)
    assert world.end == 110
    assert world.estimator.rate(("A", 0)) == pytest.approx(1.0)
    assert np.abs(world.errors(after=0.05)).max() < 1e-9


def test_a_job_that_starts_again_is_whole_again():
    """It dies at step 50 of 100: all its steps are before it, and what its first try took stays
    evidence of its rate."""
    jobs = grid({"A": 1.0}, 2, wrong=3)
    jobs["A", 0] = (jobs["A", 0][0], Truth(1.0, dies_at=50))
    world = World(jobs, workers=1)
    assert world.end == 250
    assert np.abs(world.errors(after=50 / 250)).max() < 0.05


def test_a_job_that_is_put_off_waits():
    """10 s a job, one worker: the first is at step 60 of 100 when its process dies; it counts as
    whole, now and after the other job, which takes its place, has begun."""
    clock = [0.0]
    work = {name: Work("Row", "beauty", 100, 10.0) for name in "ab"}
    estimator = Estimator(work, 1, lambda: clock[0])
    estimator.start("a")
    for step in range(61):
        estimator.step("a", step)
        clock[0] += 0.1
    estimator.again("a")
    assert estimator.seconds_left() == pytest.approx(20)
    estimator.start("b")
    estimator.step("b", 0)
    clock[0] += 5
    estimator.step("b", 50)
    assert estimator.seconds_left() == pytest.approx(15)


def test_a_failed_job_is_done_with_and_its_steps_stay_evidence():
    """It fails at half of its steps: nothing of it is left, and the other seed's estimate is that
    of its true rate, though the plan was three times too long."""
    jobs = grid({"A": 1.0}, 2, wrong=3)
    jobs["A", 0] = (jobs["A", 0][0], Truth(1.0, fails_at=50))
    world = World(jobs, workers=1)
    assert world.end == 150
    assert np.abs(world.errors(after=51 / 150)).max() < 0.02


def test_the_time_left_only_falls_in_a_world_without_surprises():
    """Three rows, two workers, starts and ends of known length: the estimate never rises by more
    than rounding, and is 0 at the end."""
    world = World(grid({"A": 1.0, "B": 0.25, "C": 2.0}, 3), workers=2)
    left = np.array([left for _, left in world.asked])
    assert (np.diff(left) <= 1e-9).all()
    assert left[-1] == 0


def test_noise_in_the_steps_moves_the_estimate_little():
    """Steps of 0.5 to 1.5 s at random, eight jobs: after 5 % of the time the end moves by less than
    4 % of the whole (the first 20 steps have a standard error of 6 % by themselves, the other
    worker's as much)."""
    rng = np.random.default_rng(0)

    class Noisy(Truth):
        @property
        def per_step(self):
            return rng.uniform(0.5, 1.5)

        @per_step.setter
        def per_step(self, _):
            pass

    jobs = {at: (Work("A", "beauty", 100, 100.0), Noisy(1.0)) for at in range(8)}
    world = World(jobs, workers=2)
    assert np.abs(world.errors(after=0.05)).max() < 0.04


def test_controls_and_plans_of_nothing():
    """A control has no steps; a plan may be of 0 seconds. Nothing divides by zero."""
    jobs = {
        "control": (Work("Popularity", "beauty", 0, 5.0), Truth(0.0, after=2.0)),
        "again": (Work("Popularity", "beauty", 0, 5.0), Truth(0.0, after=2.0)),
        "unplanned": (Work("A", "beauty", 10, 0.0), Truth(1.0)),
    }
    world = World(jobs, workers=1)
    after_one = next(left for now, left in world.asked if now == 2)
    assert after_one == pytest.approx(2.0)  # what the first took, and not the planned 5
    assert world.asked[-1][1] == 0


def test_a_job_that_hangs_does_not_come_nearer_to_its_end():
    now = [0.0]
    estimator = Estimator({"A": Work("A", "beauty", 100, 100.0)}, 1, lambda: now[0])
    estimator.start("A")
    for step in range(1, 11):
        now[0] += 1.0
        estimator.step("A", step)
    now[0] += 1000
    assert estimator.seconds_left() == pytest.approx(89.0)
    assert estimator.rate("A") == pytest.approx(1.0)


def test_the_start_of_a_process_is_not_expected_of_its_later_jobs():
    """20 s until the first step of a fresh process ends, 2 s in the next job; a step takes 1 s, and
    so does the end."""
    now = [0.0]
    work = Work("A", "beauty", 10, 10.0)
    estimator = Estimator({"1": work, "2": work, "3": work}, 1, lambda: now[0])
    for job, wait in (("1", 20.0), ("2", 2.0)):
        estimator.start(job, fresh=job == "1")
        now[0] += wait
        for step in range(1, 11):
            estimator.step(job, step)
            now[0] += 1.0
        estimator.end(job)
        assert estimator.left_of("3") == pytest.approx(11.0 if job == "1" else 12.0)
