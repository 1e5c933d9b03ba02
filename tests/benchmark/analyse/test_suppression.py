"""A constant taken from the history: against the ranks of the changed scores themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.analyse.suppression import CHOICES, suppress, with_penalty
from benchmark.evaluate.metrics import per_user
from benchmark.evaluate.ranking import rank_targets
from benchmark.runs.schema import RunResult
from tests.benchmark.evaluate.queries import draw_queries, scorer
from tests.benchmark.results import make_record, make_spec

METRIC = "NDCG@10"


def lowered(scores, queries, penalty):
    """The scores with those of each query's history lowered, its target's left as it is."""
    changed = scores.copy()
    for q, target in enumerate(queries.target):
        seen = set(queries.seen_items[slice(*queries.seen_offsets[q : q + 2])].tolist()) - {target}
        amount = penalty * scores[q].astype(np.float64).std()
        for item in seen:
            changed[q, item - 1] = -np.inf if np.isinf(penalty) else changed[q, item - 1] - amount
    return changed


def ranked(rng, *, history_up=0.0):
    queries = draw_queries(rng, users=60, items=40)
    scores = rng.normal(size=(60, 40)).astype(np.float32)
    for q in range(60):
        scores[q, queries.target[q] - 1] += 1.0
        for item in queries.seen_items[slice(*queries.seen_offsets[q : q + 2])]:
            if item != queries.target[q]:
                scores[q, item - 1] += history_up
    score = scorer(torch.from_numpy(scores), queries)
    return scores, queries, rank_targets(score, queries, lowered=True)


@pytest.mark.parametrize("penalty", CHOICES)
def test_ranks_are_those_of_the_lowered_scores(penalty):
    scores, queries, ranks = ranked(np.random.default_rng(0))
    again = torch.from_numpy(lowered(scores, queries, penalty).astype(np.float32))
    expected = rank_targets(scorer(again, queries), queries)
    found = with_penalty(ranks, penalty)
    assert np.array_equal(found.above, expected.above)
    assert np.allclose(per_user(found, METRIC), per_user(expected, METRIC), atol=0, rtol=0)


def test_another_penalty_was_not_counted():
    _, _, ranks = ranked(np.random.default_rng(0))
    with pytest.raises(ValueError, match="lowered by 0"):
        with_penalty(ranks, 0.7)
    with pytest.raises(ValueError, match="not counted"):
        with_penalty(replace(ranks, lowered=None), 1.0)


def test_validation_alone_chooses():
    """History that scores high on validation asks for a large penalty; test ranks, which would ask
    for none, have no say."""
    rng = np.random.default_rng(1)
    _, _, high = ranked(rng, history_up=3.0)
    _, _, low = ranked(rng, history_up=-3.0)
    runs = [
        RunResult(make_record(make_spec(), seed), high, low, np.full(60, 9, np.int32))
        for seed in (0, 1)
    ]
    found = suppress(runs)
    means = {c: per_user(with_penalty(high, c), METRIC).mean() for c in CHOICES}
    assert found.penalty == max(CHOICES, key=lambda c: means[c])
    assert found.penalty > 1
    assert found.values.shape == (60, 2)
    assert np.array_equal(found.values[:, 0], per_user(with_penalty(low, found.penalty), METRIC))
    swapped = [replace(run, validation=low, test=high) for run in runs]
    assert suppress(swapped).penalty == 0
