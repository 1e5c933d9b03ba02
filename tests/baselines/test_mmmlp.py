"""MMMLP: the contract as a stack and as released, and what tells the two apart."""

import dataclasses

import torch
from torch import Tensor

from baselines.mmmlp import MMMLP, FeatureMixer, MMMLPConfig
from findrec.recommender import Batch
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract

CONFIG = MMMLPConfig(dim=8, max_length=7, dropout=0.2, layers=2)
RELEASED = dataclasses.replace(CONFIG, released=True)


class TestMMMLP(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return CONFIG


class TestMMMLPReleased(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return RELEASED


def mix(mixer: FeatureMixer, x: Tensor, items: Tensor) -> Tensor:
    batch = Batch(items, torch.arange(len(items)), torch.tensor([0, 0]))
    return mixer(x, (items > 0).sum(1) - 1, batch)


def test_last_layer_equals_a_whole_layer_read_at_the_last_position() -> None:
    """The shortcut of the last layer; 1e-12: the same float64 sums in another order."""
    torch.manual_seed(0)
    mixer = FeatureMixer(CONFIG, "items", layers=2, shared=False).double()
    items = sequences(6, 7)
    x = torch.randn(6, 7, 8, dtype=torch.float64)
    batch = Batch(items, torch.arange(6), torch.tensor([0, 0]))
    whole = mixer.layers[1](mixer.layers[0](mixer.norm(x), batch), batch)
    last = whole[torch.arange(6), (items > 0).sum(1) - 1]
    torch.testing.assert_close(mix(mixer, x, items)[:, 0], last, rtol=0, atol=1e-12)


def test_released_code_shares_one_layer() -> None:
    """Its id mixer of two rounds is a stack of two layers with equal weights."""
    torch.manual_seed(0)
    shared = FeatureMixer(CONFIG, "items", layers=2, shared=True).double()
    stack = FeatureMixer(CONFIG, "items", layers=2, shared=False).double()
    stack.norm.load_state_dict(shared.norm.state_dict())
    for layer in stack.layers:
        layer.load_state_dict(shared.layers[0].state_dict(), strict=False)
    items = sequences(6, 7)
    x = torch.randn(6, 7, 8, dtype=torch.float64)
    assert torch.equal(mix(shared, x, items), mix(stack, x, items))


def test_released_code_has_one_layer_a_modality_and_one_norm_for_both_ends() -> None:
    model = MMMLP(RELEASED, catalogue())
    assert model.final_norm is model.item_mixer.norm
    assert model.item_mixer.rounds == RELEASED.layers
    for mixer in model.mixers.values():
        assert isinstance(mixer, FeatureMixer)
        assert (len(mixer.layers), mixer.rounds) == (1, 1)


def test_a_modality_that_the_dataset_lacks_has_no_stack() -> None:
    model = MMMLP(CONFIG, catalogue(modalities=("text",)))
    assert list(model.mixers) == ["text"]
    assert model.fusion.in_features == 2 * CONFIG.dim
