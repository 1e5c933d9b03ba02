"""Which items have the same features."""

import torch

from baselines.items import DistinctItems


def test_items_are_the_same_where_all_modalities_are() -> None:
    """Items 1 and 4 share both, 2 differs in the second, 3 and 5 lack the first."""
    first = torch.tensor([[0.0, 0], [1, 2], [1, 2], [7, 7], [1, 2], [8, 8]])
    second = torch.tensor([0.0, 5, 6, 5, 5, 5])
    has_first = torch.tensor([False, True, True, False, True, False])
    has_second = torch.tensor([False, True, True, True, True, True])
    distinct = DistinctItems((first, has_first), (second, has_second))
    assert distinct.ids.tolist() == [0, 1, 2, 3]
    assert distinct.inverse.tolist() == [0, 1, 2, 3, 1, 3]
    assert torch.equal(distinct.select(first), first[:4])


def test_items_of_one_modality_are_the_same_only_in_that_modality() -> None:
    """Equal values, once of the first modality and once of the second."""
    values = torch.tensor([0.0, 5, 5])
    first, second = torch.tensor([False, True, False]), torch.tensor([False, False, True])
    assert len(DistinctItems((values, first), (values, second)).ids) == 3


def test_features_that_all_differ_are_not_copied() -> None:
    values = torch.arange(4.0).unsqueeze(1)
    distinct = DistinctItems((values, torch.tensor([False, True, True, True])))
    assert distinct.select(values) is values
