"""NOVA: the contract under each fusor, and that side information stays out of the values."""

import pytest
import torch

from baselines.nova import NOVA, Fusion, Fusor, NOVAConfig, NOVALayer
from findrec.recommender import Batch
from tests.catalogues import catalogue
from tests.contract import RecommenderContract

LENGTH = 7


class TestNOVA(RecommenderContract):
    model = NOVA
    learning_steps = 240
    """As for BERT4Rec: attention must first learn where the neighbours of a mask stand."""
    fusion: Fusion = "gating"

    def config(self) -> NOVAConfig:
        return NOVAConfig(dim=8, max_length=LENGTH, dropout=0.2, heads=2, fusion=self.fusion)


class TestNOVAAdd(TestNOVA):
    fusion: Fusion = "add"


class TestNOVAConcat(TestNOVA):
    fusion: Fusion = "concat"


def test_side_information_changes_the_attention_and_not_the_values() -> None:
    """Where all positions carry the same item vector, attention has nothing to choose from: any
    side information gives the same output. Where they differ, it does not.

    1e-12: float64, weights that sum to 1 in another order.
    """
    config = NOVAConfig(dim=8, max_length=LENGTH, heads=2)
    torch.manual_seed(0)
    layer = NOVALayer(config, inputs=2, random_stream="layer").double()
    batch = Batch(torch.ones(1, LENGTH, dtype=torch.int64), torch.arange(1), torch.zeros(2).long())
    side, other = torch.randn(2, 1, LENGTH, 8, dtype=torch.float64)
    alike = torch.randn(1, 1, 8, dtype=torch.float64).expand(1, LENGTH, 8)
    torch.testing.assert_close(
        layer(alike, [side], batch), layer(alike, [other], batch), rtol=0, atol=1e-12
    )
    different = torch.randn(1, LENGTH, 8, dtype=torch.float64)
    assert not torch.allclose(layer(different, [side], batch), layer(different, [other], batch))


def test_gates_weigh_every_piece_and_sum_to_one() -> None:
    """With w = 0 all gates are 1 / m, so gating is the mean; a large w picks one piece."""
    fusor = Fusor("gating", 3, 4)
    pieces = list(torch.randn(3, 2, 5, 4))
    with torch.no_grad():
        fusor.weight.weight.zero_()
        torch.testing.assert_close(fusor(pieces), torch.stack(pieces).mean(0))
        fusor.weight.weight.copy_(1e4 * torch.ones(1, 4))
        chosen = torch.stack(pieces).sum(-1).argmax(0)
        expected = torch.stack(pieces).gather(0, chosen[None, ..., None].expand(1, 2, 5, 4))[0]
        torch.testing.assert_close(fusor(pieces), expected)


def test_unknown_fusion_is_refused() -> None:
    with pytest.raises(ValueError, match="add, concat or gating"):
        NOVA(NOVAConfig(dim=8, max_length=LENGTH, fusion="max"), catalogue())  # type: ignore[arg-type]
