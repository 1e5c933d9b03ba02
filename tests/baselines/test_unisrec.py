"""UniSRec keeps the contract; its adaptor, scores and contrastive tasks follow the equations."""

import dataclasses

import numpy as np
import pytest
import torch

from baselines.unisrec import Adaptor, UniSRec, UniSRecConfig
from findrec.ops import dropout, normal
from findrec.recommender import Batch
from tests.catalogues import ITEMS, TEXT_WIDTH, catalogue, sequences
from tests.contract import RecommenderContract, with_features

TINY = UniSRecConfig(dim=8, max_length=7, heads=2, dropout=0.2, experts=8)
CONTRAST = dataclasses.replace(TINY, contrast=0.5, contrast_views=0.25)
KEY = torch.tensor([3, 5])


class TestUniSRec(RecommenderContract):
    model = UniSRec

    def config(self) -> UniSRecConfig:
        return TINY


class TestUniSRecWithContrastiveTasks(RecommenderContract):
    model = UniSRec

    def config(self) -> UniSRecConfig:
        return CONTRAST


def build(config: UniSRecConfig, **kwargs: float) -> UniSRec:
    torch.manual_seed(0)
    return UniSRec(config, catalogue(missing=0.25, **kwargs)).double()  # type: ignore[arg-type]


def test_scores_are_cosines_over_the_temperature() -> None:
    model = build(TINY)
    items = sequences(5, 7)
    states = model(Batch(items, torch.arange(5), KEY)).states
    # Norms of vectors of eight entries in float64.
    torch.testing.assert_close(
        states.norm(dim=-1),
        torch.full((5, 7), 1 / TINY.temperature, dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )
    table = model.item_table()
    torch.testing.assert_close(
        table.norm(dim=-1), torch.ones(ITEMS).double(), rtol=1e-12, atol=1e-12
    )


def test_adaptor_is_the_paper_in_numpy() -> None:
    """Eqs. 2-5 as written, one expert after the other, without noise.

    Float64, its sums in another order.
    """
    torch.manual_seed(0)
    features = catalogue(missing=0.25).text
    assert features is not None
    adaptor = Adaptor(features, TINY, "text").double()
    adaptor.values = adaptor.values.double()
    with torch.no_grad():
        for parameter in adaptor.parameters():
            parameter.normal_()
    weight = adaptor.experts.weight.detach().numpy().reshape(TINY.experts, TINY.dim, TEXT_WIDTH)
    b, w2, missing = (
        p.detach().numpy() for p in (adaptor.whitening, adaptor.gate, adaptor.missing)
    )
    expected = np.empty((ITEMS, TINY.dim))
    for item in range(1, ITEMS + 1):
        x = features.values[item].double().numpy()
        g = np.exp(w2 @ x)
        g /= g.sum()
        whitened = [weight[k] @ (x - b[k]) for k in range(TINY.experts)]
        mixed = sum(g[k] * whitened[k] for k in range(TINY.experts))
        expected[item - 1] = mixed if features.present[item] else missing
    np.testing.assert_allclose(adaptor.table().detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    items = torch.arange(1, ITEMS + 1).reshape(4, 6)
    seen = adaptor(Batch(items, torch.arange(4), KEY)).detach().numpy().reshape(ITEMS, TINY.dim)
    np.testing.assert_allclose(seen, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("users", [1, 9])
def test_adaptor_in_training_is_the_paper_position_by_position(users: int) -> None:
    """With noise and dropout, of few positions and of more than there are items, some of which
    share their features. Float64, its sums in another order."""
    data = catalogue(missing=0.25)
    assert data.text is not None
    assert data.text.layers is not None
    shared = torch.arange(ITEMS + 1)
    shared[10:16] = 4
    data = with_features(data, "text", data.text.values[shared].double(), data.text.layers)
    assert data.text is not None
    present = data.text.present[shared]
    torch.manual_seed(0)
    adaptor = Adaptor(dataclasses.replace(data.text, present=present), TINY, "text").double()
    with torch.no_grad():
        for parameter in adaptor.parameters():
            parameter.normal_()
    items = sequences(users, 7)
    rows = torch.arange(users)
    x = data.text.values[items]
    noise = normal(KEY, "text.gate", rows, 7, TINY.experts).double()
    seen = dropout(x, TINY.adaptor_dropout, KEY, "text.features", rows)
    weight = adaptor.experts.weight.unflatten(0, (TINY.experts, TINY.dim))
    expected = torch.zeros(users, 7, TINY.dim).double()
    for user, t in (items > 0).nonzero().tolist():
        expected[user, t] = adaptor.missing
        if present[items[user, t]]:
            spread = torch.log1p(torch.exp(adaptor.noise @ x[user, t]))
            g = (adaptor.gate @ x[user, t] + noise[user, t] * spread).softmax(-1)
            expected[user, t] = torch.stack(
                [
                    g[k] * (weight[k] @ (seen[user, t] - adaptor.whitening[k]))
                    for k in range(TINY.experts)
                ]
            ).sum(0)
    found = adaptor(Batch(items, rows, KEY, training=True))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_gates_are_noisy_in_training_alone() -> None:
    """Without dropout, noise is all that training adds; experts that agree hide it."""
    model = build(dataclasses.replace(TINY, dropout=0.0, adaptor_dropout=0.0))
    items = sequences(5, 7)
    calm = model(Batch(items, torch.arange(5), KEY)).states
    noisy = model(Batch(items, torch.arange(5), KEY, training=True)).states
    assert not torch.allclose(calm, noisy)
    with torch.no_grad():
        for adaptor in model.adaptors.values():
            assert isinstance(adaptor, Adaptor)
            weight = adaptor.experts.weight.unflatten(0, (TINY.experts, -1))
            weight.copy_(weight[:1].clone().expand_as(weight))
    calm = model(Batch(items, torch.arange(5), KEY)).states
    noisy = model(Batch(items, torch.arange(5), KEY, training=True)).states
    torch.testing.assert_close(calm, noisy, rtol=1e-10, atol=1e-10)


def test_inductive_has_no_ids_and_needs_features() -> None:
    inductive = dataclasses.replace(TINY, transductive=False)
    model = build(inductive)
    assert model.ids is None
    assert model.item_table().shape == (ITEMS, TINY.dim)
    with pytest.raises(ValueError, match="needs features"):
        UniSRec(inductive, catalogue(modalities=()))


def test_second_view_is_the_sequence_without_the_dropped_items() -> None:
    """Nothing else is random here, so the view's states are those of the shortened sequence."""
    quiet = dataclasses.replace(CONTRAST, dropout=0.0, adaptor_dropout=0.0, drop_items=0.5)
    torch.manual_seed(0)
    model = UniSRec(quiet, catalogue(modalities=())).double()
    items = sequences(8, 7, seed=2)
    rows = torch.arange(8)
    view = model.second_view(Batch(items, rows, KEY, training=True))
    dropped = 0
    for user in range(8):
        history = items[user][items[user] > 0].tolist()
        kept = [history[0]]
        for position in range(len(history)):
            with_it = [*kept, history[position]] if position else kept
            candidates = {
                "kept": with_it,
                "dropped": kept,
            }
            matches = {
                name: torch.allclose(
                    model.encode(Batch(torch.tensor([seen]), rows[:1], KEY))[1][0, -1],
                    view[user, position],
                )
                for name, seen in candidates.items()
            }
            assert any(matches.values())
            dropped += not matches["kept"]
            kept = with_it if matches["kept"] else kept
    assert dropped > 0


def test_contrastive_terms_by_hand() -> None:
    """Three users, one of them too short to have a target, two with the same target."""
    model = build(dataclasses.replace(CONTRAST, temperature=0.5))
    generator = torch.Generator().manual_seed(1)
    states, items, view = (
        torch.nn.functional.normalize(
            torch.randn(4, 2, 8, generator=generator, dtype=torch.float64), dim=-1
        )
        for _ in range(3)
    )
    ids = torch.tensor([[1, 5], [2, 5], [3, 0], [4, 6]])
    aux = {"states": states, "items": items, "view": view, "ids": ids}
    found = model.aux_losses(aux, ids > 0, KEY)
    negatives = {0: [0, 3], 1: [1, 3], 3: [0, 1, 3]}
    for name, right in (("sequence_item", items[:, 1]), ("sequence_sequence", view[:, 0])):
        losses = []
        for user, others in negatives.items():
            logits = np.array([(states[user, 0] @ right[other]).item() / 0.5 for other in others])
            losses.append(np.log(np.exp(logits).sum()) - logits[others.index(user)])
        assert found[name].item() == pytest.approx(np.mean(losses), rel=1e-10)  # float64
    assert model.aux_loss_weights() == {"sequence_item": 0.5, "sequence_sequence": 0.125}
    assert build(TINY).aux_loss_weights() == {}
