"""Budgets, learning-rate schedules and the rule that says when a run has reached its plateau."""

import math

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from benchmark.runs.spec import Training

PLATEAU_SHARE = 0.7
"""A run has plateaued when its best validation lies in the first 70 % of its steps."""


class Budget(BaseModel):
    """A row's own budget: these fields of `Training` in steps of its own objective."""

    model_config = ConfigDict(frozen=True)

    steps: int
    eval_every: int
    min_steps: int


def budget_in_steps(training: Training, causal_targets: float, own_targets: float) -> Budget:
    """Translate the common budget into steps of an objective that sees fewer targets a step.

    causal_targets, own_targets: mean number of targets in a step of the causal objective and of the
    row's own. Cloze and one-prefix-a-user objectives see far fewer, and get as many more steps, at
    most `training.max_factor` times as many: past that the network, not the targets, is what a step
    costs.
    """
    factor = min(max(causal_targets / own_targets, 1.0), training.max_factor)
    return Budget(
        steps=math.ceil(training.steps * factor),
        eval_every=math.ceil(training.eval_every * factor),
        min_steps=math.ceil(training.min_steps * factor),
    )


def learning_rates(training: Training, steps: int) -> Tensor:
    """[steps] float64: the rate of each step; a table, so that a device counter can index it."""
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
