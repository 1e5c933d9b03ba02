"""SASRec keeps the contract, and its switches do what they say."""

import dataclasses

import pytest
import torch

from baselines.sasrec import SASRec, SASRecConfig
from findrec.recommender import Batch
from tests.catalogues import ITEMS, catalogue, sequences
from tests.contract import RecommenderContract

TINY = SASRecConfig(dim=8, max_length=7, heads=2, dropout=0.2)


class TestSASRec(RecommenderContract):
    model = SASRec

    def config(self) -> SASRecConfig:
        return TINY


class TestSASRecAsPublished(RecommenderContract):
    model = SASRec

    def config(self) -> SASRecConfig:
        return dataclasses.replace(TINY, norm="pre", activation="relu", heads=1, inner=1)


class TestSASRecWithFusion(RecommenderContract):
    model = SASRec

    def config(self) -> SASRecConfig:
        return dataclasses.replace(TINY, fusion=True)


def test_fusion_is_findrec_s_ffn_of_the_states() -> None:
    """LayerNorm(W2 relu(W1 s + b1) + b2) without a residual, in float64: 1e-12 for the order of
    sums. The encoder starts from the same draws with it and without."""
    data = catalogue(modalities=())
    models = []
    for fusion in (False, True):
        torch.manual_seed(0)
        models.append(SASRec(dataclasses.replace(TINY, fusion=fusion), data).double())
    batch = Batch(sequences(4, 7), torch.arange(4), torch.tensor([0, 0]))
    plain, fused = (model(batch).states for model in models)
    w = {k: v for k, v in models[1].state_dict().items() if k.startswith("fusion.")}
    assert models[0].state_dict().keys() == models[1].state_dict().keys() - w.keys()
    hidden = (plain @ w["fusion.inner.weight"].T + w["fusion.inner.bias"]).relu()
    out = hidden @ w["fusion.outer.weight"].T + w["fusion.outer.bias"]
    centred = out - out.mean(-1, keepdim=True)
    expected = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(fused, expected, rtol=1e-12, atol=1e-12)


def test_without_features_it_is_the_id_model() -> None:
    model = SASRec(TINY, catalogue(modalities=()))
    assert not model.items.features
    assert torch.equal(model.item_table(), model.items.ids.table())


def test_features_enter_the_table_unless_told_otherwise() -> None:
    data = catalogue(missing=0.25)
    mixed = SASRec(TINY, data)
    # Matrix products over 24 rows with and without a gap in memory: float32's last digits.
    torch.testing.assert_close(
        mixed.item_table(), mixed.items(torch.arange(1, ITEMS + 1)), rtol=1e-5, atol=1e-6
    )
    plain = SASRec(dataclasses.replace(TINY, mixed_table=False), data)
    assert torch.equal(plain.item_table(), plain.items.ids.table())


def test_positions_matter() -> None:
    """The same item twice gives two states, though attention alone could not tell them apart."""
    model = SASRec(TINY, catalogue(modalities=()))
    states = model(Batch(torch.tensor([[3, 3]]), torch.tensor([0]), torch.tensor([0, 0]))).states
    assert not torch.allclose(states[0, 0], states[0, 1])


def test_errors_name_the_remedy() -> None:
    data = catalogue(modalities=())
    with pytest.raises(ValueError, match="does not divide into 3 heads"):
        SASRec(dataclasses.replace(TINY, heads=3), data)
    with pytest.raises(ValueError, match="choose 'post' or 'pre'"):
        SASRec(dataclasses.replace(TINY, norm="none"), data)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="choose 'gelu' or 'relu'"):
        SASRec(dataclasses.replace(TINY, activation="tanh"), data)  # type: ignore[arg-type]
    items = torch.ones(1, TINY.max_length + 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="exceeds the window of 7"):
        SASRec(TINY, data)(Batch(items, torch.tensor([0]), torch.tensor([0, 0])))
