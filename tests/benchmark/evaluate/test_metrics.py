"""Metrics by hand, by simulation and by another library."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from math import log2

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from benchmark.errors import InputError
from benchmark.evaluate.metrics import METRICS, gains, per_user
from benchmark.evaluate.ranking import rank_targets
from benchmark.evaluate.trec import write_qrels, write_run
from benchmark.runs.ranks import Ranks
from tests.benchmark.evaluate.queries import draw_queries, scorer


def make_ranks(above: list[int], equal: list[int], n_items: int = 100, removed: int = 0) -> Ranks:
    """Ranks whose history stands wholly below the target."""
    a, e = np.array(above, np.int32), np.array(equal, np.int32)
    return Ranks(a, e, a, e, np.full(len(a), n_items - removed, np.int32), n_items)


@pytest.mark.parametrize(
    ("above", "equal", "metric", "expected"),
    [
        (0, 0, "NDCG@10", 1),
        (1, 0, "NDCG@10", 1 / log2(3)),
        (9, 0, "NDCG@10", 1 / log2(11)),
        (10, 0, "NDCG@10", 0),
        (4, 0, "NDCG@5", 1 / log2(6)),
        (5, 0, "NDCG@5", 0),
        (0, 1, "NDCG@10", (1 + 1 / log2(3)) / 2),
        (0, 2, "NDCG@10", (1 + 1 / log2(3) + 1 / 2) / 3),
        (9, 1, "NDCG@10", 1 / log2(11) / 2),
        (0, 0, "MRR@5", 1),
        (3, 0, "MRR@5", 1 / 4),
        (3, 2, "MRR@5", (1 / 4 + 1 / 5) / 3),
        (5, 0, "MRR@5", 0),
        (0, 99, "HR@10", 1 / 10),
        (8, 3, "HR@10", 2 / 4),
        (9, 0, "HR@10", 1),
        (10, 4, "HR@10", 0),
        (0, 0, "NDCG@1", 1),
        (0, 1, "NDCG@1", 1 / 2),
    ],
)
def test_by_hand(above, equal, metric, expected):
    """1e-15: two roundings."""
    assert per_user(make_ranks([above], [equal]), metric)[0] == pytest.approx(expected, abs=1e-15)


def test_two_way_tie_at_the_top_is_not_the_mean_rank():
    value = per_user(make_ranks([0], [1]), "NDCG@10")[0]
    assert round(value, 3) == 0.815
    assert round(1 / log2(1.5 + 1), 3) == 0.756


@pytest.mark.parametrize("metric", METRICS)
def test_better_ranks_never_score_less(metric):
    values = per_user(make_ranks(list(range(30)), [0] * 30), metric)
    assert (np.diff(values) <= 0).all()
    assert values[0] == 1


def test_masking_uses_the_masked_counts():
    ranks = Ranks(
        *(np.array([n], np.int32) for n in (3, 1, 1, 0, 90)),
        n_items=100,
    )
    assert per_user(ranks, "MRR@10")[0] == pytest.approx((1 / 4 + 1 / 5) / 2, abs=1e-15)
    assert per_user(ranks, "MRR@10", masked=True)[0] == pytest.approx(1 / 2, abs=1e-15)


@pytest.mark.parametrize("negatives", [1, 4, 9, 10, 50])
@pytest.mark.parametrize("masked", [False, True])
def test_uniform_negatives_against_every_possible_draw(negatives, masked):
    """Exact expectation over all draws and all orders of ties, on a catalogue of 11 items.

    1e-12: gammaln rounds in its last digits.
    """
    ranks = Ranks(
        above=np.array([0, 2, 5], np.int32),
        equal=np.array([0, 3, 5], np.int32),
        above_masked=np.array([0, 1, 3], np.int32),
        equal_masked=np.array([0, 2, 5], np.int32),
        n_candidates_masked=np.array([8, 9, 9], np.int32),
        n_items=11,
    )
    values = per_user(ranks, "NDCG@5", masked=masked, negatives=negatives)
    for user in range(3):
        if masked:
            above, equal = ranks.above_masked[user], ranks.equal_masked[user]
            others = ranks.n_candidates_masked[user] - 1
        else:
            above, equal, others = ranks.above[user], ranks.equal[user], 10
        kinds = ["above"] * above + ["equal"] * equal + ["below"] * (others - above - equal)
        draws = list(itertools.combinations(kinds, min(negatives, others)))
        expected = np.mean(
            [
                np.mean([_ndcg(d.count("above") + t, 5) for t in range(d.count("equal") + 1)])
                for d in draws
            ]
        )
        assert values[user] == pytest.approx(expected, abs=1e-12)


def _ndcg(above: int, k: int) -> float:
    return 1 / log2(above + 2) if above < k else 0.0


def test_uniform_negatives_against_simulation():
    """100 negatives of 2,423 items, 20,000 draws: the mean differs by less than 4 of its standard
    errors (chance of a false alarm below 1e-3 for the five ranks together)."""
    rng = np.random.default_rng(5)
    for above in (0, 10, 60, 300, 1500):
        drawn = rng.hypergeometric(above, 2422 - above, 100, 20_000)
        sampled = np.where(drawn < 10, 1 / np.log2(drawn + 2.0), 0.0)
        expected = per_user(make_ranks([above], [0], n_items=2423), "NDCG@10", negatives=100)[0]
        error = sampled.std() / np.sqrt(len(sampled))
        assert abs(sampled.mean() - expected) <= 4 * error + 1e-9


def test_uniform_negatives_on_a_large_catalogue():
    """Against scipy's hypergeometric for 100,000 items; 1e-8 relative, since log-gamma at 1e5 is
    about 1e6 and loses ten digits of the sixteen."""
    above = np.array([5, 500, 4_000])
    values = per_user(make_ranks(above.tolist(), [0] * 3, 100_000), "MRR@10", negatives=999)
    for a, value in zip(above, values, strict=True):
        chances = hypergeom.pmf(np.arange(10), 99_999, a, 999)
        assert value == pytest.approx(chances @ gains("MRR@10"), rel=1e-8)


def test_all_items_as_negatives_is_full_ranking():
    ranks = make_ranks([0, 4, 17], [0, 2, 5])
    for metric in METRICS:
        full, sampled = per_user(ranks, metric), per_user(ranks, metric, negatives=10_000)
        assert np.allclose(full, sampled, atol=1e-12)


@pytest.mark.parametrize("name", ["NDCG", "NDCG@0", "ndcg@10", "MAP@10", "NDCG@-1", "MRR@ten"])
def test_unknown_metric_is_refused(name):
    with pytest.raises(InputError, match=r"unknown metric .* give NDCG@k, MRR@k or HR@k"):
        gains(name)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'NDCG@10'"):
        gains("NDGC@10")


def test_no_negatives_are_refused():
    with pytest.raises(InputError, match="at least one"):
        per_user(make_ranks([0], [0]), "HR@5", negatives=0)


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
qrels = Qrels.from_file(sys.argv[1], kind="trec")
run = Run.from_file(sys.argv[2], kind="trec")
names = ["ndcg@5", "ndcg@10", "mrr@5", "mrr@10", "hit_rate@5", "hit_rate@10"]
values = evaluate(qrels, run, names, return_mean=False)
print(json.dumps({"users": list(qrels.qrels), **{n: values[n].tolist() for n in names}}))
"""
"""In a process of its own without numba's compiler, which would take two minutes."""


@pytest.mark.parametrize("masked", [False, True])
def test_agreement_with_ranx_on_exported_runs(tmp_path, masked):
    """ranx reads our TREC files of either protocol and computes the same per-user values where no
    scores tie; 1e-12. Items below the list's end are misses at k = 10 for both."""
    if importlib.util.find_spec("ranx") is None:
        pytest.skip("ranx is not installed (extra: dev)")
    rng = np.random.default_rng(6)
    queries = draw_queries(rng, users=60, items=120)
    scores = rng.permuted(np.tile(np.arange(120, dtype=np.float32), (60, 1)), axis=1)
    scores[np.arange(60), queries.target - 1] += 100.5 * (rng.random(60) < 0.5)
    ranks = rank_targets(scorer(torch.from_numpy(scores), queries), queries, batch_size=60)
    assert not ranks.equal.any()

    qrels, run = tmp_path / "qrels.trec", tmp_path / "run.trec"
    write_qrels(qrels, queries.target)
    write_run(run, ranks, tag="ours", masked=masked)
    answer = subprocess.run(
        [sys.executable, "-c", RANX, qrels, run],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(answer.stdout.splitlines()[-1])
    order = [int(user) for user in theirs["users"]]
    for metric in METRICS:
        ours = per_user(ranks, metric, masked=masked)
        assert 0.1 < ours.mean() < 0.9
        name = metric.lower().replace("hr@", "hit_rate@")
        assert np.allclose(ours[order], theirs[name], atol=1e-12), metric


def test_trec_export_refuses_what_it_cannot_write(tmp_path):
    ranks = make_ranks([0], [0])
    with pytest.raises(InputError, match="were not kept"):
        write_run(tmp_path / "run", ranks, "ours")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give another path"):
        write_qrels(tmp_path / "file" / "qrels", np.array([1]))
