"""SMLP4Rec: the contract, and what its three directions read."""

import dataclasses

import pytest
import torch
from torch import Tensor

from baselines.smlp4rec import AttributeEmbedding, SMLP4Rec, SMLP4RecConfig
from findrec.recommender import Attribute, Batch, Catalogue
from tests.baselines.test_mixer import randomise_norms
from tests.catalogues import ITEMS, catalogue, sequences
from tests.contract import RecommenderContract

CONFIG = SMLP4RecConfig(dim=8, max_length=7, dropout=0.2, layers=2)


class TestSMLP4Rec(RecommenderContract):
    model = SMLP4Rec

    def config(self) -> SMLP4RecConfig:
        return CONFIG


class TestSMLP4RecOneLayer(RecommenderContract):
    model = SMLP4Rec

    def config(self) -> SMLP4RecConfig:
        return dataclasses.replace(CONFIG, layers=1)


class TestSMLP4RecResidual(RecommenderContract):
    model = SMLP4Rec

    def config(self) -> SMLP4RecConfig:
        return dataclasses.replace(CONFIG, residual=True)


def state(model: SMLP4Rec, items: Tensor) -> Tensor:
    """[B, D] at each user's last position."""
    rows = torch.arange(len(items))
    states = model(Batch(items, rows, torch.tensor([0, 0]))).states
    return states[rows, (items > 0).sum(1) - 1]


def build(data: Catalogue, **changes: object) -> SMLP4Rec:
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    return SMLP4Rec(config, data).double()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_last_layer_equals_a_whole_layer_read_at_the_last_position(
    layers: int, residual: bool
) -> None:
    """The shortcuts of the last layer, and of one that is also the first; 1e-12: the same float64
    sums in another order."""
    model = build(catalogue(), layers=layers, residual=residual)
    randomise_norms(model)
    items = sequences(6, 7)
    batch = Batch(items, torch.arange(6), torch.tensor([0, 0]))
    x = model.block(items)
    for use in range(layers):
        x = model.layer(x, batch, use)
    whole = model.final_norm(x[torch.arange(6), 0, (items > 0).sum(1) - 1])
    torch.testing.assert_close(state(model, items), whole, rtol=0, atol=1e-12)


def test_order_of_the_items_matters() -> None:
    model = build(catalogue())
    one = torch.tensor([[1, 2, 3, 4, 0, 0, 0]])
    other = torch.tensor([[2, 1, 3, 4, 0, 0, 0]])
    assert not torch.allclose(state(model, one), state(model, other))


@pytest.mark.parametrize("name", SMLP4Rec.ATTRIBUTES)
def test_each_attribute_reaches_the_state(name: str) -> None:
    data = catalogue()
    old = data.attributes[name]
    changed = Attribute(values=old.values.roll(1, 0) * (old.values > 0), size=old.size)
    other = dataclasses.replace(data, attributes={**data.attributes, name: changed})
    items = sequences(6, 7)
    assert not torch.allclose(state(build(data), items), state(build(other), items))


def test_without_attributes_the_feature_direction_is_left_out() -> None:
    model = build(dataclasses.replace(catalogue(), attributes={}))
    assert model.feature is None
    off = build(catalogue(), attributes=False)
    assert {n for n, _ in model.named_parameters()} == {n for n, _ in off.named_parameters()}


def test_values_of_an_attribute_are_averaged() -> None:
    values = torch.zeros(ITEMS + 1, 3, dtype=torch.int64)
    values[1] = torch.tensor([2, 1, 0])
    values[2] = torch.tensor([2, 0, 0])
    embedding = AttributeEmbedding(Attribute(values=values, size=2), 4)
    out = embedding(torch.tensor([[1, 2, 3]]))[0]
    torch.testing.assert_close(out[0], (embedding.weight[1] + embedding.weight[2]) / 2)
    torch.testing.assert_close(out[1], embedding.weight[2])
    assert not out[2].any()
