"""BERT4Rec keeps the contract, looks both ways, and scores with its bias."""

import torch

from baselines.bert4rec import BERT4Rec, BERT4RecConfig
from findrec.recommender import Batch
from tests.catalogues import ITEMS, catalogue
from tests.contract import RecommenderContract

TINY = BERT4RecConfig(dim=8, max_length=7, heads=2, dropout=0.2)


class TestBERT4Rec(RecommenderContract):
    model = BERT4Rec
    learning_steps = 240
    """Its loss stays flat for some 120 steps, until attention has learnt where neighbours stand."""

    def config(self) -> BERT4RecConfig:
        return TINY


def states(model: BERT4Rec, *items: int) -> torch.Tensor:
    batch = Batch(torch.tensor([items]), torch.tensor([0]), torch.tensor([0, 0]))
    return model(batch).states[0]


def test_a_mask_sees_both_sides_and_its_place() -> None:
    model = BERT4Rec(TINY, catalogue(modalities=()))
    mask = ITEMS + 1
    here = states(model, 1, mask, 2)[1]
    for other in ((3, mask, 2), (1, mask, 3), (2, mask, 1)):
        assert not torch.allclose(here, states(model, *other)[1])
    assert not torch.allclose(here, states(model, mask, 1, 2)[0])


def test_scores_are_the_tied_softmax_with_a_bias() -> None:
    """Eq. 7: state times item embedding plus the item's bias; the mask itself is no candidate."""
    model = BERT4Rec(TINY, catalogue(modalities=()))
    with torch.no_grad():
        model.bias.copy_(torch.linspace(-1, 1, ITEMS))
    state = states(model, 1, 2, ITEMS + 1)[2]
    expected = model.items.weight[1 : ITEMS + 1] @ state[:-1] + model.bias
    # The order of nine products in float32.
    torch.testing.assert_close(model.item_table() @ state, expected, rtol=1e-5, atol=1e-6)
