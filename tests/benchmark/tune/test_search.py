"""The search: the same rules for every row, whatever the trials say."""

import math

import numpy as np
import pytest

from benchmark.settings.registry import profiles
from benchmark.tune.grid import Point, Trial, read_tuning
from benchmark.tune.log import separate_gain
from benchmark.tune.search import Search, Tried

RULES = read_tuning()
RUNGS = (100, 200, 400, 800)
USERS = 300


def users(mean, rng):
    """[U] with exactly that mean."""
    draw = rng.exponential(1.0, USERS)
    return mean * draw / draw.mean()


def run(quality, *, fails=lambda trial: False, tuning=RULES, fixed=None):
    """Give the search what it wants until it wants nothing: the search then, and the order."""
    tried, order = {}, []
    rng = np.random.default_rng(0)
    base = rng.exponential(1.0, USERS)
    floor = {"kept": 0.02 * base, "left out": 0.02 * base}
    for _ in range(200):
        search = Search(tuning, RUNGS, tried, floor, fixed)
        wanted = search.wanted()
        if not wanted:
            return search, order
        assert len(set(wanted)) == len(wanted)
        for trial in wanted:
            assert trial not in tried
            order.append(trial)
            if fails(trial):
                tried[trial] = Tried()
                continue
            level = quality(trial)
            noise = 0.01 * rng.normal(size=USERS)
            values = level * (base + noise)
            tried[trial] = Tried({"kept": values, "left out": 1.3 * values})
    raise AssertionError("the search does not end")


def hill(best, width=1.0):
    """Quality that falls with the distance from a point, and saturates with the steps."""

    def quality(trial):
        away = abs(math.log2(trial.point.lr / best.lr)) + 4 * abs(
            trial.point.dropout - best.dropout
        )
        return 0.1 / (1 + 0.1 * away) * (1 - 0.5 ** (trial.steps / 25))

    return quality


@pytest.mark.parametrize("lr", RULES.grid.lr)
@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5])
def test_the_top_of_a_hill_is_found_within_the_trials(lr, dropout):
    """From the start to any point of the grid takes at most all rates and three dropouts; where the
    trials are used up first, the best that was seen is taken."""
    top = Point(lr, dropout)
    search, order = run(hill(top))
    searched = {t.point for t in order if t.steps == RUNGS[1] and t.seed == RULES.seeds[0]}
    assert len(searched) <= RULES.trials + 1  # and the next lower rate of the ladder
    near = abs(math.log2(lr / RULES.start.lr)) < 2 and abs(dropout - RULES.start.dropout) < 0.25
    if near:
        assert search.point() == top
    assert search.choice().point.lr <= max(p.lr for p in searched)


def test_a_fixed_point_is_not_searched_for():
    """The ladder alone: all rungs at the point and the next lower rate, then the other seeds."""
    fixed = Point(0.001, 0.3)
    search, order = run(hill(Point(0.005, 0.0)), fixed=fixed)
    assert search.point() == fixed
    rates = [t for t in order if t.seed == RULES.seeds[0]]
    lower = fixed._replace(lr=0.0005)
    assert {(t.point, t.steps) for t in rates} == {(p, r) for p in (fixed, lower) for r in RUNGS}
    more = [t for t in order if t.seed != RULES.seeds[0]]
    assert {(t.point, t.steps) for t in more} == {(fixed, r) for r in RUNGS}
    assert search.choice().point == fixed


def test_no_choice_lies_at_an_edge_that_the_search_made():
    """Both neighbours of the chosen rate and of the dropout were tried, unless the grid ends there;
    those of the rate at the dropout of the start."""
    search, _ = run(hill(Point(0.001, 0.1)))
    point = search.point()
    centres = {"lr": point._replace(dropout=RULES.start.dropout), "dropout": point}
    for axis, values in (("lr", RULES.grid.lr), ("dropout", RULES.grid.dropout)):
        at = values.index(getattr(point, axis))
        for value in values[max(at - 1, 0) : at + 2]:
            tried = centres[axis]._replace(**{axis: value})
            assert Trial(tried, RUNGS[1], RULES.seeds[0]) in search.tried


def test_budgets_of_one_trunk_come_in_ascending_order():
    _, order = run(hill(Point(0.002, 0.2)))
    for seed in RULES.seeds:
        for lr in (0.001, 0.002):
            own = [t.steps for t in order if t.point == Point(lr, 0.2) and t.seed == seed]
            ladder = [steps for steps in own if steps != RUNGS[1]]  # tried by the search before
            assert ladder == sorted(ladder)


def test_the_ladder_runs_at_the_best_rate_and_the_next_lower():
    search, order = run(hill(Point(0.002, 0.2)))
    first = {t.point.lr for t in order if t.steps == RUNGS[-1] and t.seed == RULES.seeds[0]}
    assert first == {0.001, 0.002}
    others = {t.point for t in order if t.seed != RULES.seeds[0]}
    assert others == {search.choice().point}
    assert search.choice().convergence == "shown"


def test_a_lower_rate_that_wins_with_time_is_taken():
    def quality(trial):
        slow = trial.point.lr < 0.002
        level = 0.12 if slow else 0.1
        return level * (1 - 0.5 ** (trial.steps / (300 if slow else 40)))

    search, _ = run(quality)
    assert search.point().lr == 0.002
    assert search.choice().point.lr == 0.001


def overfitting(enough):
    """Without dropout the second rung is best and the largest worst; from enough of it on quality
    grows to the end. The second rung, where the search looks, likes none."""

    def quality(trial):
        doublings = math.log2(trial.steps / RUNGS[0])
        lost = max(0.0, 1 - trial.point.dropout / enough) * max(0.0, doublings - 1) ** 2
        away = abs(math.log2(trial.point.lr / 0.002))
        return 0.08 + 0.01 * (doublings - 1.2 * lost - trial.point.dropout - away)

    return quality


def test_a_row_that_overfits_is_tried_with_more_dropout():
    """Ladders at 0.1, 0.2 and 0.3, of which the last one has its best rung at the end; all at the
    first seed, the others at what was chosen."""
    search, order = run(overfitting(0.3))
    assert search.point() == Point(0.002, 0.0)
    assert search.choice().point.dropout == 0.3
    ladders = {t.point.dropout for t in order if t.steps == RUNGS[-1] and t.seed == RULES.seeds[0]}
    assert ladders == {0.0, 0.1, 0.2, 0.3}
    assert {t.point for t in order if t.seed != RULES.seeds[0]} == {search.choice().point}


def test_more_dropout_that_does_not_help_is_not_taken():
    """One ladder more, and the budget is that of the peak."""

    def quality(trial):
        late = max(0.0, math.log2(trial.steps / RUNGS[2]))
        return 0.1 * (1 - 0.5 ** (trial.steps / 60)) * (1 - 0.3 * late) - 0.05 * abs(
            trial.point.dropout - 0.1
        )

    search, order = run(quality)
    choice = search.choice()
    assert choice.point.dropout == 0.1
    ladders = {t.point.dropout for t in order if t.steps == RUNGS[-1] and t.seed == RULES.seeds[0]}
    assert ladders == {0.1, 0.2}
    assert (choice.steps, choice.convergence) == (RUNGS[2], "shown")


def test_a_row_that_gains_to_the_end_needs_no_more_dropout():
    search, order = run(lambda t: 0.05 + 0.01 * math.log2(t.steps / 50) - 0.02 * t.point.dropout)
    ladders = {t.point.dropout for t in order if t.steps == RUNGS[-1]}
    assert ladders == {search.choice().point.dropout} == {0.0}


def test_failed_trials_are_never_chosen():
    search, _ = run(hill(Point(0.005, 0.2)), fails=lambda t: t.point.lr > 0.002)
    assert search.choice().point.lr == 0.002
    nothing, _ = run(hill(Point(0.005, 0.2)), fails=lambda t: True)
    assert nothing.choice() is None


def test_nothing_is_chosen_before_the_search_has_ended():
    search, order = run(hill(Point(0.002, 0.2)))
    tried = dict(search.tried)
    tried.pop(order[-1])
    unfinished = Search(RULES, RUNGS, tried, search.floor)
    assert unfinished.choice() is None
    assert unfinished.wanted() == [order[-1]]


def test_a_budget_is_the_larger_of_both_protocols():
    """With the history left out the row still gains where it has ended with it kept."""
    rng = np.random.default_rng(1)
    base = users(1.0, rng)
    tried = {}
    for rung, kept, left in zip(RUNGS, [0.1] * 4, [0.08, 0.09, 0.1, 0.11], strict=True):
        for seed in RULES.seeds:
            for lr in (0.001, 0.002, 0.005):
                for dropout in RULES.grid.dropout:
                    factor = 1 if (lr, dropout) == (0.002, 0.2) else 0.9
                    tried[Trial(Point(lr, dropout), rung, seed)] = Tried(
                        {"kept": kept * factor * base, "left out": left * factor * base}
                    )
    choice = Search(RULES, RUNGS, tried, {"kept": 0 * base + 1e-3, "left out": 0 * base}).choice()
    assert choice.budgets["kept"].rung == 100
    assert choice.budgets["left out"].rung == choice.steps == 800
    assert choice.convergence == "gaining"


def test_a_separate_choice_is_held_against_what_the_row_gets():
    """A trial of another budget that is 10 % better with the history left out: the gain is that of
    the setting that the row has, at its own budget, and not of its rate at the second rung."""
    top = hill(Point(0.002, 0.2))
    search, _ = run(lambda trial: top(trial) * (1 - 0.5 ** (trial.steps / 100)))
    choice = search.choice()
    assert choice.steps > RUNGS[1]
    own = Trial(choice.point, choice.steps, search.seed)
    ours = search.tried[own].values["left out"]
    other = next(t for t in search.tried if t.seed == search.seed and t.point != choice.point)
    tried = {**search.tried, other: Tried({"kept": 0 * ours, "left out": 1.1 * ours})}
    changed = Search(RULES, RUNGS, tried, search.floor)
    gain, error = separate_gain(changed, choice, "left out")
    assert gain == pytest.approx(0.1)
    # each user gains a tenth
    assert error == pytest.approx(0.1 * ours.std(ddof=1) / ours.mean() / USERS**0.5)


def test_no_profile_reports_a_seed_of_the_trials():
    assert all(min(RULES.seeds) >= profile.seeds for profile in profiles().values())
