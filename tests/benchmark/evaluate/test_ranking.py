"""Ranks against a slow reading of their definition, and attacks on the evaluator."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.evaluate.metrics import per_user
from benchmark.evaluate.ranking import (
    SCORE_BYTES,
    NanScores,
    queries_at_once,
    rank_targets,
    rank_targets_stacked,
)
from benchmark.runs.ranks import PENALTIES
from tests.benchmark.evaluate.queries import draw_queries, make_queries, scorer


def by_definition(scores: np.ndarray, target: int, removed: set[int]) -> tuple[int, int, int]:
    """above, equal and candidates, item by item."""
    others = [i for i in range(1, len(scores) + 1) if i != target and i not in removed]
    above = sum(scores[i - 1] > scores[target - 1] for i in others)
    equal = sum(scores[i - 1] == scores[target - 1] for i in others)
    return above, equal, len(others) + 1


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_counts_follow_their_definition(batch_size):
    """Exact: scores from five values, so that ties are everywhere; histories repeat items and
    contain the target."""
    rng = np.random.default_rng(0)
    queries = draw_queries(rng, users=23, items=40)
    scores = rng.integers(0, 5, (23, 40)).astype(np.float32)
    ranks = rank_targets(scorer(torch.from_numpy(scores), queries), queries, batch_size=batch_size)
    for user, target in enumerate(queries.target):
        part = slice(*queries.seen_offsets[user : user + 2])
        history = set(queries.seen_items[part].tolist())
        plain = by_definition(scores[user], target, set())
        masked = by_definition(scores[user], target, history)
        assert (ranks.above[user], ranks.equal[user], ranks.n_items) == plain
        assert (
            ranks.above_masked[user],
            ranks.equal_masked[user],
            ranks.n_candidates_masked[user],
        ) == masked


@pytest.mark.parametrize("batch_size", [5, 100])
def test_popularity_of_what_competes_follows_its_definition(batch_size):
    """Exact: sums of how often the items are trained on, item by item, for two models with ties."""
    rng = np.random.default_rng(9)
    queries = draw_queries(rng, users=23, items=40)
    scores = rng.integers(0, 5, (2, 23, 40)).astype(np.float32)
    often = np.concatenate([[0], rng.integers(0, 1000, 40)])
    both = rank_targets_stacked(
        scorer(torch.from_numpy(scores), queries),
        queries,
        batch_size=batch_size,
        popularity=often,
    )
    for model, ranks in enumerate(both):
        for user, target in enumerate(queries.target):
            seen = queries.seen_items[slice(*queries.seen_offsets[user : user + 2])].tolist()
            own = scores[model, user]
            expected = []
            for removed in (set(), set(seen)):
                others = [i for i in range(1, 41) if i != target and i not in removed]
                expected += [
                    sum(often[i] for i in others if own[i - 1] > own[target - 1]),
                    sum(often[i] for i in others if own[i - 1] == own[target - 1]),
                    sum(often[i] for i in others),
                ]
            assert ranks.popularity[:, user].tolist() == expected
    plain = rank_targets_stacked(scorer(torch.from_numpy(scores), queries), queries)
    assert all(ranks.popularity is None for ranks in plain)
    assert all(np.array_equal(a.above, b.above) for a, b in zip(both, plain, strict=True))


def test_what_a_penalty_leaves_above_the_target_by_definition():
    """Standard deviations of the whole row, in float64; without a penalty the count would be that
    of the history above, with a large one none is left. Scores are far from ties."""
    rng = np.random.default_rng(2)
    queries = draw_queries(rng, users=23, items=40)
    scores = rng.normal(size=(23, 40)).astype(np.float32)
    ranks = rank_targets(
        scorer(torch.from_numpy(scores), queries), queries, batch_size=7, lowered=True
    )
    for user, target in enumerate(queries.target):
        part = slice(*queries.seen_offsets[user : user + 2])
        history = set(queries.seen_items[part].tolist()) - {target}
        row = scores[user].astype(np.float64)
        for c, penalty in enumerate(PENALTIES):
            left = [i for i in history if row[i - 1] - penalty * row.std() > row[target - 1]]
            assert ranks.lowered[user, c] == len(left)
    assert (np.diff(ranks.lowered, axis=1) <= 0).all()
    assert (ranks.lowered[:, 0] <= ranks.above - ranks.above_masked).all()
    assert ranks.lowered[:, 0].sum() > ranks.lowered[:, 2].sum() > 0


@pytest.mark.parametrize("values", [3, 10_000])
def test_top_lists_are_sorted_by_score_then_id(values):
    rng = np.random.default_rng(1)
    queries = draw_queries(rng, users=31, items=60)
    scores = rng.integers(0, values, (31, 60)).astype(np.float32)
    ranks = rank_targets(scorer(torch.from_numpy(scores), queries), queries, top=10, batch_size=8)
    for user in range(31):
        expected = sorted(range(60), key=lambda i, user=user: (-scores[user, i], i))[:10]
        assert (ranks.top[user] - 1).tolist() == expected
        if queries.target[user] in ranks.top[user]:
            place = ranks.top[user].tolist().index(queries.target[user])
            assert ranks.above[user] <= place <= ranks.above[user] + ranks.equal[user]
        part = slice(*queries.seen_offsets[user : user + 2])
        seen = set(queries.seen_items[part].tolist()) - {queries.target[user]}
        order = sorted(range(60), key=lambda i, user=user: (-scores[user, i], i))
        assert ranks.top_masked[user].tolist() == [i + 1 for i in order if i + 1 not in seen][:10]


def test_a_list_without_the_history_ends_where_no_item_is_left():
    queries = make_queries([1], [[2, 3]])
    ranks = rank_targets(scorer(torch.tensor([[0.0, 2.0, 1.0]]), queries), queries)
    assert ranks.top_masked.tolist() == [[1, 0, 0]]


def test_several_queries_of_a_user_count_as_one_user():
    """The mean over a user's queries by hand; a user with one query keeps its own value."""
    rng = np.random.default_rng(5)
    queries = draw_queries(rng, users=6, items=30)
    scores = torch.from_numpy(rng.normal(size=(6, 30)).astype(np.float32))
    single = rank_targets(scorer(scores, queries), queries)
    several = dataclasses.replace(queries, user=np.array([0, 0, 0, 2, 5, 5]))
    ranks = rank_targets(scorer(scores, several), several)
    assert single.user is None
    assert ranks.user.tolist() == [0, 0, 0, 2, 5, 5]
    for masked in (False, True):
        each = per_user(single, "NDCG@10", masked=masked)
        expected = [each[:3].mean(), each[3], each[4:].mean()]
        # 1e-12: float64 sums in another order
        assert per_user(ranks, "NDCG@10", masked=masked) == pytest.approx(expected, abs=1e-12)


def test_top_list_is_cut_at_the_catalogue():
    queries = make_queries([1], [[2]])
    score = scorer(torch.tensor([[0.0, 2.0, 1.0]]), queries)
    assert rank_targets(score, queries, top=50).top.tolist() == [[2, 3, 1]]
    assert rank_targets(lambda h: torch.zeros(1, 3), queries, top=0).top is None


def test_target_met_before_is_still_ranked_when_masked():
    queries = make_queries([2], [[2, 3, 2]])
    ranks = rank_targets(lambda h: torch.tensor([[0.0, 1.0, 2.0, 3.0]]), queries)
    assert (ranks.above[0], ranks.above_masked[0]) == (2, 1)
    assert ranks.n_candidates_masked[0] == 3


def test_constant_scores_earn_chance_and_no_more():
    """A constant score ties all N items: HR@10 must be 10 / N exactly (1e-12 for rounding)."""
    queries = draw_queries(np.random.default_rng(2), users=9, items=80)
    ranks = rank_targets(lambda h: torch.zeros(len(h), 80), queries)
    assert np.allclose(per_user(ranks, "HR@10"), 10 / 80, rtol=1e-12)
    expected = sum(1 / np.log2(r + 1) for r in range(1, 11)) / 80
    assert np.allclose(per_user(ranks, "NDCG@10"), expected, rtol=1e-12)


def test_nan_names_the_user_and_spares_the_other_models():
    queries = draw_queries(np.random.default_rng(3), users=10, items=20)
    scores = torch.rand(2, 10, 20)
    clean = scores[0].clone()
    scores[1, 6, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="row 6"):
        rank_targets(scorer(scores[1], queries), queries, batch_size=4)
    healthy, diverged = rank_targets_stacked(scorer(scores, queries), queries, batch_size=4)
    assert isinstance(diverged, NanScores)
    assert diverged.users == [6]
    alone = rank_targets(scorer(clean, queries), queries, batch_size=4)
    assert np.array_equal(healthy.above, alone.above)


def test_nan_at_the_target_alone_is_seen():
    """The dangerous one: every comparison with a NaN is false, which would read as rank 1."""
    queries = make_queries([2], [[1]])
    with pytest.raises(FloatingPointError, match="row 0"):
        rank_targets(lambda h: torch.tensor([[0.0, float("nan"), 1.0]]), queries)


def test_infinities_are_ordered():
    inf = float("inf")
    queries = make_queries([1, 2], [[3], [3]])
    ranks = rank_targets(lambda h: torch.tensor([[inf, inf, 0.0, -inf]] * 2), queries)
    assert ranks.above.tolist() == [0, 0]
    assert ranks.equal.tolist() == [1, 1]


def test_stack_equals_models_alone():
    rng = np.random.default_rng(4)
    queries = draw_queries(rng, users=12, items=30)
    scores = torch.from_numpy(rng.integers(0, 9, (3, 12, 30)).astype(np.float32))
    stacked = rank_targets_stacked(scorer(scores, queries), queries, batch_size=5)
    for place, ranks in enumerate(stacked):
        alone = rank_targets(scorer(scores[place], queries), queries, batch_size=5)
        for field in ("above", "equal", "above_masked", "equal_masked", "top"):
            assert np.array_equal(getattr(ranks, field), getattr(alone, field)), field


def test_scores_beside_the_items_are_refused():
    """Scores of a wrong shape, and targets that no column belongs to."""
    queries = make_queries([3], [[1]])
    with pytest.raises(ValueError, match="target lies outside"):
        rank_targets(lambda h: torch.zeros(1, 2), queries)
    with pytest.raises(ValueError, match="shape"):
        rank_targets(lambda h: torch.zeros(2, 5), queries)
    with pytest.raises(ValueError, match="empty"):
        rank_targets(lambda h: torch.zeros(0, 5), make_queries([], []))


def test_ranks_are_those_of_the_scored_matrix_in_float32():
    """Scores one float32 step apart are no tie; equal ones are, however they were computed."""
    step = np.nextafter(np.float32(1.0), np.float32(2.0))
    queries = make_queries([1], [[4]])
    ranks = rank_targets(lambda h: torch.tensor([[1.0, step, 1.0, 0.0]]), queries)
    assert (ranks.above[0], ranks.equal[0]) == (1, 1)


@pytest.mark.parametrize(("n_items", "seeds"), [(1, 1), (26_214, 10), (10**6, 1), (10**9, 10)])
def test_scores_of_a_large_catalogue_stay_within_their_bound(n_items, seeds):
    """512 queries up to 262,144 scores a query over all seeds; beyond, as many as fit, at least
    one."""
    queries = queries_at_once(n_items, seeds)
    assert queries == 512 if n_items * seeds <= 262_144 else queries < 512
    assert queries == 1 or 4 * n_items * seeds * queries <= SCORE_BYTES
