"""Sampled softmax: the loss of a step against some drawn items in place of the whole catalogue.

The softmax's denominator is exp(s_target) + sum over all other items n of exp(s_n). The sum is
estimated from K items, drawn with replacement with chance q_n and shared by all positions of a
batch, as the sum over the drawn items of exp(s_n) / (K q_n) (importance sampling: Bengio and
Senecal 2008, section III). Drawn items that equal a position's target are left out of its sum. The
estimate of the denominator has no bias; that of its logarithm, the loss, is too small on average,
by less the larger K is. Chances are in proportion to 1 + how often an item is a target, so that
items which the model scores highly are drawn most.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.sequences import Windows
from findrec.ops import uniform


@dataclass(frozen=True)
class Negatives:
    """How a step draws the items that compete with its targets."""

    number: int
    """K, items that are drawn in a step of one seed."""
    cumulative: Tensor
    """[N] float64: chance of an item up to each one; the last is 1."""
    log_expected: Tensor
    """[N] float32: log(K q), of how often each item is drawn in a step on average."""

    @classmethod
    def of(cls, number: int, windows: Windows, n_items: int, device: torch.device) -> "Negatives":
        """K = `number`, with chances from the training windows' targets."""
        frequency = 1.0 + _target_frequency(windows, n_items)
        chance = frequency / frequency.sum()
        cumulative = np.cumsum(chance)
        cumulative /= cumulative[-1]
        return cls(
            number,
            torch.from_numpy(cumulative).to(device),
            torch.from_numpy(np.log(number * chance)).float().to(device),
        )

    def draw(self, key: Tensor) -> Tensor:
        """[K] int64, 0 .. N - 1: the items of the step in `key`, [2] int64 (seed and step)."""
        rows = torch.arange(self.number, device=key.device)
        high, low = uniform(key, "loss.negatives", rows, 2).double().unbind(-1)
        # Two draws of 23 bits make one of 46: the chance of a rare item of a large catalogue is no
        # larger than the 1.2e-7 between two draws.
        draw = ((high * 2**23).floor() + low) * 2.0**-23
        return torch.searchsorted(self.cumulative, draw).clamp(max=len(self.cumulative) - 1)


def sampled_cross_entropy(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor,
    drawn: Tensor,
    log_expected: Tensor,
) -> Tensor:
    """sum_m weights_m (log(exp(s_m,target) + sum_k exp(s_m,k - log_expected_k)) - s_m,target).

    s_m,n = <states_m, table_n>; the sum over k runs over the drawn items but the target. states:
    [M, D]; table: [N, D]; targets: [M] int64; weights: [M]; drawn: [K] int64; log_expected: [N].
    A position of weight 0 adds nothing. Memory: M x K logits and their gradient, whatever N is.
    """
    own = (states * table[targets]).sum(-1, keepdim=True)
    logits = states @ table[drawn].T - log_expected[drawn].to(states.dtype)
    logits = logits.masked_fill(drawn == targets.unsqueeze(-1), float("-inf"))
    losses = torch.cat([own, logits], -1).logsumexp(-1) - own.squeeze(-1)
    weighted = (weights * losses).masked_fill(weights == 0, 0)
    return weighted.sum(dtype=torch.float64).to(states.dtype)


def _target_frequency(windows: Windows, n_items: int) -> NDArray[np.int64]:
    """[N]: how often each item is a target that counts."""
    targets = windows.items[:, 1:][windows.counts]
    return np.bincount(targets, minlength=n_items + 1)[1:]
