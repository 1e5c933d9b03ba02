"""Rates and the plateau rule, against cases worked by hand."""

import pytest
import torch

from benchmark.runs.spec import Training
from benchmark.train.schedule import has_plateaued, learning_rates


def training(**settings):
    return Training(**{"batch_size": 1, "eval_every": 1, "patience": 1} | settings)


def test_warmup_rises_linearly_then_stays():
    rates = learning_rates(training(lr=1.0, warmup_steps=4, steps=8))
    assert rates.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_warmup_share_is_of_the_budget():
    rates = learning_rates(training(lr=1.0, warmup=0.5, steps=8))
    assert rates.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_cosine_falls_from_the_full_rate_towards_zero():
    rates = learning_rates(training(lr=2.0, schedule="cosine", warmup_steps=2, steps=6))
    progress = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=torch.float64)
    expected = 1 + torch.cos(torch.pi * progress)
    torch.testing.assert_close(rates[2:], expected)
    assert rates[0] == 1.0


@pytest.mark.parametrize(
    ("best", "step", "since", "expected"),
    [
        (50, 100, 5, True),  # old enough on both counts
        (50, 100, 4, False),  # patience left
        (71, 100, 5, False),  # patience used up, but the best came in the last 30 %
        (70, 100, 5, True),
    ],
)
def test_plateau_needs_patience_and_an_old_best(best, step, since, expected):
    assert has_plateaued(best, step, since, patience=5) is expected
