"""Length groups: every row in exactly one group that is long enough, and no better cut exists."""

from itertools import combinations

import pytest
import torch

from benchmark.train.groups import GROUP_OVERHEAD, length_groups


def cost(lengths, parts):
    return sum(len(rows) * longest for rows, longest in parts) + GROUP_OVERHEAD * len(parts)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_partition_the_batch(seed, groups):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 51, (128,), generator=generator)
    parts = length_groups(lengths, groups)
    assert len(parts) <= groups
    assert torch.cat([rows for rows, _ in parts]).sort().values.tolist() == list(range(128))
    for rows, longest in parts:
        assert lengths[rows].max() == longest


@pytest.mark.parametrize("seed", range(10))
def test_no_cut_costs_less(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 60, (200,), generator=generator)
    ordered = lengths.sort().values.tolist()
    found = cost(lengths, length_groups(lengths, 3))
    bounds = [i for i in range(1, len(ordered)) if ordered[i] != ordered[i - 1]]
    best = min(
        sum(
            (high - low) * ordered[high - 1] + GROUP_OVERHEAD
            for low, high in zip((0, *cuts), (*cuts, len(ordered)), strict=True)
        )
        for number in range(3)
        for cuts in combinations(bounds, number)
    )
    assert found == best


def test_one_length_makes_one_group():
    assert len(length_groups(torch.full((16,), 7), 4)) == 1
