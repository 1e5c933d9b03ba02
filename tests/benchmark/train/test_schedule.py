"""Rates, against cases worked by hand."""

import pytest
import torch

from benchmark.runs.spec import Training
from benchmark.train.schedule import decay_start, learning_rates


def training(**settings):
    return Training(**{"batch_size": 1, "eval_every": 1} | settings)


@pytest.mark.parametrize("warmup", [{"warmup_steps": 4}, {"warmup": 0.4}])
def test_the_rate_rises_stays_and_falls(warmup):
    rates = learning_rates(training(lr=1.0, steps=10, decay=0.4, **warmup))
    assert rates.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_a_warmup_in_steps_is_the_same_for_every_budget():
    """Up to where the shorter one begins to fall, the rates are equal."""
    short, long = (training(lr=1.0, steps=n, warmup_steps=3) for n in (20, 40))
    until = decay_start(short) + 1  # the first step of the fall has the full rate still
    assert torch.equal(learning_rates(short)[:until], learning_rates(long)[:until])
    assert learning_rates(short)[until] < learning_rates(long)[until]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_tiny_budgets_have_positive_finite_rates(steps):
    rates = learning_rates(training(lr=1.0, steps=steps, warmup_steps=2))
    assert ((rates > 0) & (rates <= 1)).all()


def test_cosine_falls_from_the_full_rate_towards_zero():
    rates = learning_rates(training(lr=2.0, schedule="cosine", warmup_steps=2, steps=6))
    progress = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)
    expected = 1 + torch.cos(torch.pi * progress)
    torch.testing.assert_close(rates[2:], expected)
    assert rates[0] == 1.0
