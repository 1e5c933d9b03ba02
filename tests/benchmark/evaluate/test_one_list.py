"""Several targets of a user in one list: by hand, by every order of ties, and for one target."""

import itertools
from math import log2

import numpy as np
import pytest

from benchmark.evaluate.metrics import METRICS, gains, per_user
from benchmark.evaluate.one_list import per_user_of_lists
from benchmark.runs.ranks import Ranks


def ranks_of(users: list[list[tuple[int, int]]], n_items: int = 100) -> Ranks:
    """Ranks of users whose targets have these (above, equal), the history left out alike."""
    above, equal = (
        np.array([pair[at] for own in users for pair in own], np.int32) for at in (0, 1)
    )
    user = np.repeat(np.arange(len(users)), [len(own) for own in users]).astype(np.int32)
    left = np.full(len(above), n_items - 3, np.int32)
    return Ranks(above, equal, above, equal, left, n_items, user=user)


def test_by_hand():
    """Three targets at places 2, 4 and 8; two at 1 and 12; one at 5. 1e-15: a few roundings."""
    ranks = ranks_of([[(1, 0), (3, 0), (7, 0)], [(0, 0), (11, 0)], [(4, 0)]])
    ideal = [1 + 1 / log2(3) + 1 / 2, 1 + 1 / log2(3), 1.0]
    found = [1 / log2(3) + 1 / log2(5) + 1 / log2(9), 1.0, 1 / log2(6)]
    at_five = [1 / log2(3) + 1 / log2(5), 1.0, 1 / log2(6)]
    expected = {
        "NDCG@10": np.divide(found, ideal),
        "NDCG@5": np.divide(at_five, ideal),
        "MRR@10": [1 / 2, 1, 1 / 5],
        "HR@5": [1, 1, 1],
        "HR@1": [0, 1, 0],
        "MRR@1": [0, 1, 0],
    }
    for metric, values in expected.items():
        assert per_user_of_lists(ranks, metric) == pytest.approx(values, abs=1e-15), metric


def test_more_targets_than_places():
    """Twelve targets on the first twelve places fill the list: NDCG@10 is 1."""
    ranks = ranks_of([[(place, 0) for place in range(12)]])
    assert per_user_of_lists(ranks, "NDCG@10")[0] == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("metric", ["NDCG@3", "MRR@3", "HR@3", "MRR@5", "HR@1"])
def test_every_order_of_ties(metric):
    """The mean over all orders of the items that agree with the scores, for six items whose scores
    are drawn from three values; 1e-12: gammaln rounds in its last digits."""
    rng = np.random.default_rng(4)
    k, gain = int(metric[-1]), gains(metric)
    for _ in range(12):
        scores = rng.integers(0, 3, 6)
        targets = rng.choice(6, rng.integers(1, 4), replace=False).tolist()
        orders = [
            order
            for order in itertools.permutations(range(6))
            if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
        ]
        values = []
        for order in orders:
            hits = [place for place, item in enumerate(order[:k]) if item in targets]
            if metric.startswith("NDCG"):
                values.append(gain[hits].sum() / gain[: len(targets)].sum())
            else:
                values.append(gain[hits[0]] if hits else 0.0)
        own = [(int((scores > scores[t]).sum()), int((scores == scores[t]).sum()) - 1)
               for t in targets]  # fmt: skip
        found = per_user_of_lists(ranks_of([own]), metric)[0]
        assert found == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_one_target_is_leave_one_out(masked):
    """1e-12: the two add in other orders."""
    rng = np.random.default_rng(6)
    above, equal = rng.integers(0, 20, 50), rng.integers(0, 4, 50)
    ranks = ranks_of([[pair] for pair in zip(above.tolist(), equal.tolist(), strict=True)])
    ranks.above_masked[:] = above // 2
    for metric in METRICS:
        expected = per_user(ranks, metric, masked=masked)
        assert per_user_of_lists(ranks, metric, masked=masked) == pytest.approx(expected, abs=1e-12)
