"""Learning-rate schedules: a rise, and a fall to zero at the end of the budget."""

import math

import torch
from torch import Tensor

from benchmark.runs.spec import Training


def learning_rates(training: Training) -> Tensor:
    """[steps] float64: the rate of each step; a table, so that a device counter can index it."""
    steps = training.steps
    step = torch.arange(steps, dtype=torch.float64)
    if training.warmup_steps is None:
        warmup = round(training.warmup * steps)
    else:
        warmup = min(training.warmup_steps, steps)
    rise = ((step + 1) / warmup).clamp(max=1) if warmup else torch.ones_like(step)
    if training.schedule == "stable-decay":
        fall = ((steps - step) / (steps - decay_start(training))).clamp(max=1)
        return training.lr * torch.minimum(rise, fall)
    progress = ((step - warmup) / max(steps - warmup, 1)).clamp(min=0)
    return training.lr * rise * 0.5 * (1 + torch.cos(math.pi * progress))


def decay_start(training: Training) -> int:
    """The first step of the fall of "stable-decay".

    Until then a longer budget trains the same: budgets share their trunk (Haegele et al., NeurIPS
    2024, "Scaling laws and compute-optimal training beyond fixed training durations").
    """
    return training.steps - max(round(training.decay * training.steps), 1)
