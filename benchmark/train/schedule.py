"""Learning-rate schedules and the rule that says when a run has reached its plateau."""

import math

import torch
from torch import Tensor

from benchmark.runs.spec import Training

PLATEAU_SHARE = 0.7
"""A run has plateaued when its best validation lies in the first 70 % of its steps."""


def learning_rates(training: Training) -> Tensor:
    """[steps] float64: the rate of each step; a table, so that a device counter can index it."""
    steps = training.steps
    step = torch.arange(steps, dtype=torch.float64)
    if training.warmup_steps is None:
        warmup = round(training.warmup * steps)
    else:
        warmup = min(training.warmup_steps, steps)
    rise = ((step + 1) / warmup).clamp(max=1) if warmup else torch.ones_like(step)
    if training.schedule == "constant":
        return training.lr * rise
    progress = ((step - warmup) / max(steps - warmup, 1)).clamp(min=0)
    return training.lr * rise * 0.5 * (1 + torch.cos(math.pi * progress))


def has_plateaued(best_step: int, step: int, evaluations_since_best: int, patience: int) -> bool:
    """Whether a run may end: patience is used up and the best lies in the first 70 % of the steps.

    Asking for both makes "ended by patience" and "plateaued" the same thing, so that a run whose
    best came late goes on until that best is old enough, or until the budget ends it.
    """
    return evaluations_since_best >= patience and best_step <= PLATEAU_SHARE * step
