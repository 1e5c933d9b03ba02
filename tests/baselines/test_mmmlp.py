"""MMMLP: the contract as a stack and as released, and what tells the two apart."""

import dataclasses

import pytest
import torch
from torch import Tensor

from baselines.mmmlp import MMMLP, FeatureMixer, MMMLPConfig
from findrec.recommender import Batch
from tests.baselines.test_mixer import randomise_norms
from tests.catalogues import ITEMS, catalogue, sequences
from tests.contract import RecommenderContract

CONFIG = MMMLPConfig(dim=8, max_length=7, dropout=0.2, layers=2)
RELEASED = dataclasses.replace(CONFIG, released=True)


class TestMMMLP(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return CONFIG


class TestMMMLPOneLayer(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return dataclasses.replace(CONFIG, layers=1)


class TestMMMLPReleased(RecommenderContract):
    model = MMMLP

    def config(self) -> MMMLPConfig:
        return RELEASED


def table() -> Tensor:
    """Vectors of all items, zero at padding."""
    vectors = torch.randn(ITEMS + 1, CONFIG.dim, dtype=torch.float64)
    vectors[0] = 0
    return vectors


def mix(mixer: FeatureMixer, vectors: Tensor, items: Tensor) -> Tensor:
    batch = Batch(items, torch.arange(len(items)), torch.tensor([0, 0]))
    return mixer(lambda ids: vectors[ids], (items > 0).sum(1) - 1, batch)


@pytest.mark.parametrize("layers", [1, 2])
def test_last_layer_equals_a_whole_layer_read_at_the_last_position(layers: int) -> None:
    """The shortcuts of the last layer, and of one that is also the first; 1e-12: the same float64
    sums in another order."""
    torch.manual_seed(0)
    mixer = FeatureMixer(CONFIG, ITEMS, "items", layers=layers, shared=False).double()
    randomise_norms(mixer)
    items, vectors = sequences(6, 7), table()
    batch = Batch(items, torch.arange(6), torch.tensor([0, 0]))
    whole = mixer.norm(vectors[items])
    for layer in mixer.layers:
        whole = layer(whole, batch)
    last = whole[torch.arange(6), (items > 0).sum(1) - 1]
    torch.testing.assert_close(mix(mixer, vectors, items)[:, 0], last, rtol=0, atol=1e-12)


def test_released_code_shares_one_layer() -> None:
    """Its id mixer of two rounds is a stack of two layers with equal weights."""
    torch.manual_seed(0)
    shared = FeatureMixer(CONFIG, ITEMS, "items", layers=2, shared=True).double()
    stack = FeatureMixer(CONFIG, ITEMS, "items", layers=2, shared=False).double()
    stack.norm.load_state_dict(shared.norm.state_dict())
    for layer in stack.layers:
        layer.load_state_dict(shared.layers[0].state_dict(), strict=False)
    items, vectors = sequences(6, 7), table()
    assert torch.equal(mix(shared, vectors, items), mix(stack, vectors, items))


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
