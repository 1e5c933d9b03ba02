"""Length groups: parts of one batch with similar lengths, so that little padding is computed.

The batch itself stays as drawn, because forming batches by length lowers accuracy; only `forward`
is called on parts, each padded to its own longest sequence.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

GROUP_OVERHEAD = 64
"""What a further call of `forward` costs, in padded positions: a few milliseconds."""


def length_groups(lengths: Tensor, groups: int) -> list[tuple[Tensor, int]]:
    """At most `groups` parts of a batch, (rows, longest length), with the fewest padded positions.

    lengths: [B] int64 on the host. An exact cut by dynamic programming over the distinct lengths,
    of which there are at most as many as the window is long.
    """
    order = torch.argsort(lengths, stable=True)
    longest, counts = np.unique(lengths.numpy(), return_counts=True)
    end = np.concatenate([[0], np.cumsum(counts)])
    kinds = len(longest)
    # cost[i, j]: kinds i .. j - 1 in one group
    cost = (end[None, :] - end[:, None]) * np.concatenate([[0], longest])[None, :] + GROUP_OVERHEAD
    cost = np.where(np.arange(kinds + 1)[:, None] < np.arange(kinds + 1)[None, :], cost, np.inf)
    best = cost[0].copy()
    best[0] = 0
    choices = []
    for _ in range(groups - 1):
        through = best[:, None] + cost
        np.fill_diagonal(through, best)
        choices.append(through.argmin(0))
        best = through.min(0)
    cuts = [kinds]
    for choice in reversed(choices):
        cuts.append(int(choice[cuts[-1]]))
    bounds = sorted({0, *cuts})
    return [
        (order[end[low] : end[high]], max(int(longest[high - 1]), 1))
        for low, high in pairwise(bounds)
    ]
