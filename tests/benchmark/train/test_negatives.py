"""The sampled softmax against slow loops, closed forms and the full softmax."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from baselines.sasrec import SASRec
from benchmark.runs.spec import Training
from benchmark.train.engine import TrainingRun, train
from benchmark.train.negatives import Negatives, sampled_cross_entropy
from benchmark.train.objectives import make_task
from benchmark.train.stack import Stack
from benchmark.train.step import forward_and_loss
from findrec.ops import cross_entropy
from findrec.recommender import Catalogue
from tests.benchmark.train.synthetic import sequences

ITEMS, LENGTH = 30, 12
CPU = torch.device("cpu")
SETTINGS = Training(lr=5e-3, batch_size=16, steps=4, eval_every=2, negatives=8)


@pytest.fixture(autouse=True)
def _no_fallback():
    functorch: Any = torch._C._functorch  # its stubs lack these two
    before = functorch._is_vmap_fallback_enabled()
    functorch._set_vmap_fallback_enabled(False)
    yield
    functorch._set_vmap_fallback_enabled(before)


def build(dropout: float = 0.2):
    config = SASRec.Config(dim=16, max_length=LENGTH, dropout=dropout)
    return lambda: SASRec(config, Catalogue(ITEMS))


def negatives(number: int) -> Negatives:
    return Negatives.of(number, sequences(users=40, items=ITEMS, length=LENGTH)[0], ITEMS, CPU)


def scored(positions: int = 20):
    """States, table, targets and weights in float64; the last position has weight 0."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(positions, 5, generator=generator, dtype=torch.float64)
    table = torch.randn(ITEMS, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(ITEMS, (positions,), generator=generator)
    weights = torch.rand(positions, generator=generator, dtype=torch.float64)
    weights[-1] = 0
    return states, table, targets, weights


def test_loss_and_gradients_equal_a_slow_loop():
    """Float64 sums of some ten terms: 1e-10. log_expected is float32 in both."""
    sampler = negatives(8)
    states, table, targets, weights = scored()
    states.requires_grad_()
    table.requires_grad_()
    drawn = torch.cat([sampler.draw(torch.tensor([3, 7])), targets[:2]])
    found = sampled_cross_entropy(states, table, targets, weights, drawn, sampler.log_expected)
    gradients = torch.autograd.grad(found, [states, table])
    total = torch.zeros((), dtype=torch.float64)
    for m in range(len(states)):
        own = states[m] @ table[targets[m]]
        denominator = own.exp()
        for n in drawn.tolist():
            if n != targets[m]:
                score = states[m] @ table[n] - float(sampler.log_expected[n])
                denominator = denominator + score.exp()
        total = total + weights[m] * (denominator.log() - own)
    torch.testing.assert_close(found, total, rtol=1e-10, atol=0)
    for got, expected in zip(gradients, torch.autograd.grad(total, [states, table]), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_the_estimate_of_the_denominator_has_no_bias():
    """With one drawn item its expectation is a sum over the items, which can be written out."""
    sampler = negatives(1)
    states, table, targets, _ = scored()
    chance = torch.diff(sampler.cumulative, prepend=torch.zeros(1, dtype=torch.float64))
    one = torch.ones(1, dtype=torch.float64)
    for m in range(3):
        own = states[m] @ table[targets[m]]
        expected = torch.zeros((), dtype=torch.float64)
        for n in range(ITEMS):
            loss = sampled_cross_entropy(
                states[m : m + 1],
                table,
                targets[m : m + 1],
                one,
                torch.tensor([n]),
                chance.log(),
            )
            expected += chance[n] * (loss + own).exp()
        torch.testing.assert_close(expected, (states[m] @ table.T).exp().sum())


def test_many_drawn_items_come_to_the_full_softmax():
    """200,000 draws: the denominators' standard error is below 1 %."""
    sampler = negatives(200_000)
    states, table, targets, weights = scored()
    drawn = sampler.draw(torch.tensor([0, 0]))
    found = sampled_cross_entropy(states, table, targets, weights, drawn, sampler.log_expected)
    torch.testing.assert_close(
        found, cross_entropy(states, table, targets, weights), rtol=0.01, atol=0
    )


def test_items_are_drawn_as_often_as_stated():
    """Chi-square over the 30 items: below its 0.999 quantile with 29 degrees of freedom, 58.3."""
    sampler = negatives(50_000)
    counts = torch.bincount(sampler.draw(torch.tensor([1, 2])), minlength=ITEMS)
    expected = sampler.log_expected.exp()
    assert math.isclose(float(expected.sum()), 50_000, rel_tol=1e-4)
    assert float(((counts - expected) ** 2 / expected).sum()) < 58.3


def test_rare_items_of_a_large_catalogue_are_drawn_in_their_shares():
    """A million equal chances: the draws fall into the even and the odd items alike, within five
    standard deviations. Draws of 23 bits alone would repeat 8.4 items apart."""
    n = 1_000_000
    even = torch.arange(1, n + 1, dtype=torch.float64) / n
    sampler = Negatives(400_000, even, torch.zeros(n))
    drawn = sampler.draw(torch.tensor([0, 5]))
    assert abs(int((drawn % 2).sum()) - 200_000) < 5 * math.sqrt(100_000)
    distinct = n * (1 - math.exp(-0.4))
    assert abs(len(drawn.unique()) - distinct) < 5 * math.sqrt(n * 0.33)


@pytest.mark.parametrize("groups", [False, True])
def test_length_groups_change_no_draw(groups):
    """Float32 sums in another order: 1e-5."""
    windows, _ = sequences(users=12, items=ITEMS, length=LENGTH)
    key = torch.tensor([[4, 0]])

    def loss(cut: bool) -> torch.Tensor:
        stack = Stack(build(), [4], CPU)
        items = torch.from_numpy(windows.items)
        task = make_task(stack.model, items[None], torch.zeros(1, 12, dtype=torch.int64), key)
        return forward_and_loss(stack, task, key, groups=cut, negatives=negatives(8))[0]

    torch.testing.assert_close(loss(groups), loss(False), rtol=1e-5, atol=0)


def test_a_seed_in_a_stack_equals_itself_alone_to_the_bit():
    windows, queries = sequences(users=40, items=ITEMS, length=LENGTH)
    alone = train(build(), SETTINGS, windows, queries, [5], device=CPU, groups=False)
    stacked = train(build(), SETTINGS, windows, queries, [2, 5], device=CPU)
    for name, parameter in alone.parameters.items():
        assert torch.equal(parameter[0], stacked.parameters[name][1]), name


def test_vmap_gives_what_seed_by_seed_does():
    """The way of a GPU against that of a CPU. Float32 sums in another order: 1e-4 of a leaf's
    largest change."""
    windows, queries = sequences(users=40, items=ITEMS, length=LENGTH)
    found = []
    for vectorised in (False, True):
        run = TrainingRun(build(), SETTINGS, windows, queries, [2, 5], CPU, False, print, None)
        run.stack.vectorised = vectorised
        task = make_task(
            run.model,
            torch.from_numpy(windows.items[:16]).expand(2, -1, -1),
            torch.zeros(2, 16, dtype=torch.int64),
            torch.tensor([[2, 0], [5, 0]]),
        )
        keys = torch.tensor([[2, 0], [5, 0]])
        loss, _ = forward_and_loss(
            run.stack, task, keys, groups=False, negatives=run.fixed_step.negatives
        )
        loss.sum().backward()
        found.append([p.grad for p in run.stack.parameters.values()])
    for got, expected in zip(*found, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * scale)


def test_training_takes_the_setting_and_learns():
    """The loss of sampled items falls; without the setting there is no sampler."""
    windows, queries = sequences(users=40, items=ITEMS, length=LENGTH)
    training = SETTINGS.model_copy(update={"steps": 60, "eval_every": 30, "negatives": 20})
    curve = train(build(), training, windows, queries, [0], device=CPU).curves[0]
    first, last = curve.terms["recommendation"]
    assert np.isfinite(last)
    assert last < first
    plain = training.model_copy(update={"negatives": None})
    assert (
        TrainingRun(
            build(), plain, windows, queries, [0], CPU, None, print, None
        ).fixed_step.negatives
        is None
    )


def test_negatives_with_the_history_outside_the_softmax_are_refused():
    with pytest.raises(ValidationError, match="leave one of the two at its default"):
        Training(
            lr=1e-3, batch_size=1, steps=1, eval_every=1, history_in_softmax=False, negatives=4
        )
