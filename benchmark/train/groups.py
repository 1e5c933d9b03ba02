"""Length groups: parts of one batch with similar lengths, so that little padding is computed.

The batch itself stays as drawn, because forming batches by length lowers accuracy; only `forward`
is called on parts, each padded to its own longest sequence. `length_groups` cuts a batch as is best
for it, by its lengths on the host; `FixedGroups` cuts every batch into parts of the same sizes, so
that a step's shapes do not depend on the batch and a GPU can replay it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GROUP_OVERHEAD = 64
"""What a further call of `forward` costs, in padded positions: a few milliseconds."""

MOST_FIXED = 3
"""Parts of fixed size at most; more of them gain little on the data sets that are here."""
FIXED_OVERHEAD = 2_500
"""What a further part of fixed size costs, in padded positions of one seed; in a stack the seeds
share it. Derived, not measured: 1.5 microseconds for each of the kernels that a part adds are the
time of 1,300 (FindRec) to 3,700 (SASRec) positions on an H100 (docs/performance.md)."""


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


@dataclass(frozen=True)
class FixedGroups:
    """Parts of fixed sizes that nearly every batch can be cut into, for a step without host reads.

    The users of each seed's batch stand in `order`, the longest first; the first `sizes[0][0]` of
    them are one part, padded to `sizes[0][1]` positions, and so on.
    """

    sizes: tuple[tuple[int, int], ...]
    """(users, length) of each part, the longest first."""
    start: Tensor
    """[B] int64: index of the first position of the user of each rank among those of all parts."""
    longest: Tensor
    """[B] int64: length that the user of each rank is padded to."""
    rank: Tensor
    """[P] int64: rank of the user of each of the P positions of all parts, joined."""
    position: Tensor
    """[P] int64: where in the user's sequence it stands."""

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]], device: torch.device) -> "FixedGroups":
        """With the tables that follow from the sizes."""
        users = np.repeat([length for _, length in sizes], [users for users, _ in sizes])
        start = np.cumsum(users) - users
        rank = np.repeat(np.arange(len(users)), users)
        tables = start, users, rank, np.arange(len(rank)) - start[rank]
        return cls(tuple(sizes), *(torch.from_numpy(table).to(device) for table in tables))

    def fits(self, lengths: NDArray[np.int64]) -> bool:
        """Whether batches can be cut so; lengths: [S, B] of their users, the longest first."""
        firsts = np.cumsum([0, *(users for users, _ in self.sizes[:-1])])
        return all(
            lengths[:, first].max() <= longest
            for first, (_, longest) in zip(firsts, self.sizes, strict=True)
        )

    def rows(self, order: Tensor) -> list[Tensor]:
        """The rows of each part in the batch, [S, b]; order: [S, B] int64, the longest first."""
        return list(order.split([users for users, _ in self.sizes], -1))

    def layout(self, order: Tensor, length: int) -> Tensor:
        """[S, B, L]: the index of position (user, t) among those of all parts, joined; 0 past the
        length that the user is padded to."""
        rank = order.argsort(-1)
        t = torch.arange(length, device=order.device)
        index = self.start[rank].unsqueeze(-1) + t
        return torch.where(t < self.longest[rank].unsqueeze(-1), index, 0)


def fixed_sizes(
    lengths: NDArray[np.int64], users: int, window: int, seeds: int
) -> list[tuple[int, int]]:
    """The sizes of at most `MOST_FIXED` parts of a batch that cost least, (users, length).

    lengths: of all windows; users: of a batch; window: L, to which the first part is padded; seeds:
    of the stack. A cut
    at length l leaves room for four standard deviations more users above l than a batch has on
    average, so that about one seed's batch in 30,000 has more; such a step runs uncut. One part
    stands alone where cuts do not pay.
    """
    share = (lengths[:, None] > np.arange(window + 1)).mean(0)  # of windows above each length
    spread = 4 * np.sqrt(users * share * (1 - share))
    above = np.minimum(np.ceil(users * share + spread), users).astype(int)

    def sizes(cuts: Sequence[int]) -> list[tuple[int, int]]:
        bounds = [0, *(int(above[cut]) for cut in cuts), users]
        parts = zip(pairwise(bounds), (window, *cuts), strict=True)
        return [(high - low, length) for (low, high), length in parts if high > low]

    def cost(parts: list[tuple[int, int]]) -> float:
        return sum(count * length + FIXED_OVERHEAD / seeds for count, length in parts)

    kinds = [int(length) for length in np.unique(lengths) if 0 < length < window]
    cuts = (chosen[::-1] for number in range(MOST_FIXED) for chosen in combinations(kinds, number))
    return min(map(sizes, cuts), key=cost)
