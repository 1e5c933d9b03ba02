"""Places among popularity-weighted negatives: every possible draw, and limits that are known."""

import itertools

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.evaluate.metrics import places
from benchmark.evaluate.popularity import places_among_popular
from benchmark.runs.ranks import Ranks


def ranks_with(popularity: list[list[int]]) -> Ranks:
    """One query a column of [6, Q]; the counts of items play no part."""
    zero = np.zeros(len(popularity[0]), np.int32)
    return Ranks(
        *(zero, zero, zero, zero, zero + 20), 20, popularity=np.array(popularity, np.int32)
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("negatives", [1, 2, 4])
def test_every_possible_draw(negatives, masked):
    """All sequences of draws from four items (above, tied twice, below), each with its chance, and
    all places among the tied draws. 1e-12: sums of a few hundred products."""
    often = {"above": 5, "tied": 3, "tied too": 2, "below": 10}
    total = sum(often.values())
    counts = [often["above"], often["tied"] + often["tied too"], total]
    other = [1, 0, 7]
    ranks = ranks_with([[n] for n in (other + counts if masked else counts + other)])
    expected = np.zeros(6)
    for draw in itertools.product(often, repeat=negatives):
        chance = np.prod([often[item] / total for item in draw])
        above, tied = draw.count("above"), sum(item.startswith("tied") for item in draw)
        for place in range(above, above + tied + 1):
            expected[place] += chance / (tied + 1)
    found = places_among_popular(ranks, 6, negatives, masked=masked)[0]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_equal_popularity_in_a_large_catalogue_is_uniform_drawing():
    """With and without replacement agree where 20 of 200,000 items are drawn: the chance of a
    repetition is below 1e-3, which bounds the difference."""
    above = np.array([0, 900, 30_000], np.int32)
    zero = np.zeros(3, np.int32)
    weights = np.stack([above, zero, zero + 199_999] * 2).astype(np.int32)
    left = zero + 200_000
    ranks = Ranks(above, zero, above, zero, left, 200_000, popularity=weights)
    uniform, weighted = places(ranks, 10, negatives=20), places_among_popular(ranks, 10, 20)
    assert np.abs(uniform - weighted).max() < 1e-3


def test_a_target_without_popular_items_above_it_is_first():
    assert places_among_popular(ranks_with([[0], [0], [50]] * 2), 3, 100)[0, 0] == 1


def test_ranks_without_popularity_are_refused():
    zero = np.zeros(1, np.int32)
    with pytest.raises(InputError, match="popularity: true"):
        places_among_popular(Ranks(zero, zero, zero, zero, zero + 9, 9), 10, 100)
    with pytest.raises(InputError, match="at least one"):
        places_among_popular(ranks_with([[0], [0], [50]] * 2), 3, 0)
