"""Layers that models share."""

import pytest
import torch

from findrec.layers import Dropout, FeatureProjection, attention_weights
from tests.catalogues import ITEMS, catalogue


@pytest.mark.parametrize("positions", [3, 50])
def test_projection_by_position_and_by_catalogue(positions: int) -> None:
    """Fewer positions than items are projected one by one, more by way of the table."""
    torch.manual_seed(0)
    features = catalogue(missing=0.3).text
    assert features is not None
    projection = FeatureProjection(features, 5).double()
    torch.nn.init.normal_(projection.missing)
    items = torch.randint(0, ITEMS + 2, (2, positions), generator=torch.Generator().manual_seed(1))
    items[0, :3] = torch.tensor([0, 1, ITEMS + 1])  # padding, an item without text, the mask
    out = projection(items)
    for item, row in zip(items.flatten(), out.flatten(0, 1), strict=True):
        if item == 0:
            expected = torch.zeros(5, dtype=torch.float64)
        elif item > ITEMS or not features.present[item]:
            expected = projection.missing
        else:
            expected = projection.linear(features.values[item].double())
        torch.testing.assert_close(row, expected, rtol=1e-12, atol=1e-12)
    known = projection.table()[items.clamp(1, ITEMS) - 1]
    inside = (items > 0) & (items <= ITEMS)
    torch.testing.assert_close(out[inside], known[inside], rtol=1e-12, atol=1e-12)
    assert torch.equal(projection.has(items), features.present[items * (items <= ITEMS)])


def test_attention_weights() -> None:
    """Causal rows see what stands before them; others see all valid positions of the user."""
    q, k = torch.randn(2, 2, 1, 3, 4).unbind()
    valid = torch.tensor([[True, True, True], [True, False, False]])
    for causal in (True, False):
        weights = attention_weights(q, k, valid, causal=causal)
        seen = torch.ones(3, 3).tril().bool() if causal else valid[:, None, None, :]
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~seen, -1e9)
        torch.testing.assert_close(weights, scores.softmax(-1))
        assert not weights[~seen.expand_as(weights)].any()


def test_dropout_rate_is_checked() -> None:
    with pytest.raises(ValueError, match=r"'here' is 1.0"):
        Dropout(1.0, "here")
