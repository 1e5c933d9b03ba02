"""Runs of other splits and protocols than leave-one-out: what is trained on, asked for and kept."""

import dataclasses

import pytest

from benchmark.data.bundle import load_bundle
from benchmark.data.sequences import hold_out
from benchmark.errors import InputError
from benchmark.run import run_seeds
from benchmark.runs.store import Store
from tests.benchmark.test_run import USERS, equal, run, smoke


@pytest.mark.parametrize("model", ["SASRec", "Popularity"])
def test_keeping_popularity_changes_nothing_else(model, tmp_path):
    """The ranks are the base's to the bit; what is kept agrees with the definition for Popularity,
    whose scores are the counts themselves."""
    (base,) = run(smoke(model), [0], tmp_path)
    (kept,) = run(smoke(model, variant="popularity"), [0], tmp_path)
    assert equal(base.validation, kept.validation)
    assert base.test.popularity is None
    assert equal(base.test, dataclasses.replace(kept.test, popularity=None))
    if model == "Popularity":
        split = hold_out(load_bundle("beauty", root=None), 20, stride=10).first_users(USERS)
        often = split.histories.frequency(2423)
        own = often[split.test.target]
        above = [int(often[often > n].sum()) for n in own]
        equal_ones = [int(often[often == n].sum() - n) for n in own]
        assert kept.test.popularity[0].tolist() == above
        assert kept.test.popularity[1].tolist() == equal_ones
        assert kept.test.popularity[2].tolist() == (often.sum() - own).tolist()


def test_a_leak_reaches_a_control(tmp_path):
    """Popularity counts the held-out items too, and ranks them no lower."""
    (base,) = run(smoke("Popularity"), [0], tmp_path)
    (leaked,) = run(smoke("Popularity", variant="leaked"), [0], tmp_path)
    split = hold_out(load_bundle("beauty", root=None), 20, stride=10, leak=True)
    counts = split.first_users(USERS).histories.frequency(2423)[1:]
    own = counts[split.first_users(USERS).test.target - 1]
    assert leaked.test.above.tolist() == [(counts > n).sum() for n in own]
    assert leaked.test.above.mean() < base.test.above.mean()


@pytest.mark.parametrize("model", ["SASRec", "FindRec", "Popularity"])
def test_one_moment_for_all_leaves_some_users_a_query(model, tmp_path):
    """Ranks and lengths are of the users who have a target, of each split its own."""
    (result,) = run(smoke(model, "ml-100k", "global-time"), [0], tmp_path)
    split = hold_out(load_bundle("ml-100k", root=None), 20, stride=10, split="global-time")
    split = split.first_users(USERS)
    assert len(result.test) == len(result.length) == len(split.test.target) < USERS
    assert len(result.validation) == len(split.validation.target) < USERS
    assert result.length.tolist() == split.test.length.tolist()
    assert result.test.user is None


def test_one_moment_needs_times(tmp_path):
    """Beauty's timestamps number each user's items."""
    with pytest.raises(InputError, match="no moment divides the users of 'beauty'"):
        run_seeds(smoke("Popularity", "beauty", "global-time"), [0], Store(tmp_path))


def test_a_slice_without_targets_says_so(tmp_path):
    """The first user of ML-100k has nothing after the moments."""
    spec = smoke("Popularity", "ml-100k", "global-time").with_protocol(max_users=1)
    with pytest.raises(InputError, match=r"leaves no (validation|test) target to its 1 users"):
        run_seeds(spec, [0], Store(tmp_path))
