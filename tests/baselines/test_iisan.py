"""IISAN: the contract, and what its side networks compute."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from baselines.iisan import (
    IISAN,
    IISANConfig,
    InterModal,
    IntraModal,
    LayerStates,
    kept_layers,
)
from findrec.recommender import Batch, Catalogue, Features, Modality
from tests.catalogues import ITEMS, LAYERS, catalogue, sequences
from tests.contract import RecommenderContract, with_features

CONFIG = IISANConfig(dim=8, max_length=7, dropout=0.2, heads=2, bottleneck=4)


def aligned(seed: int = 0, missing: float = 0.25) -> Catalogue:
    """Layer states of widths 16 and 8. The order of a matrix product's sums depends on where in
    memory a seed's slice starts, and encoders' widths are multiples of the vector length."""
    data = catalogue(missing=missing, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    widths: dict[Modality, int] = {"text": 16, "image": 8}
    for modality, width in widths.items():
        values = torch.randn(ITEMS + 1, width, generator=generator)
        layers = torch.randn(ITEMS + 1, LAYERS, width, generator=generator)
        data = with_features(data, modality, values, layers)
    return data


class TestIISAN(RecommenderContract):
    model = IISAN

    def config(self) -> IISANConfig:
        return CONFIG

    def catalogue(self) -> Catalogue:
        return aligned()


class TestIISANWithIds(TestIISAN):
    def config(self) -> IISANConfig:
        return dataclasses.replace(CONFIG, ids=True)


def features(depth: int, width: int) -> Features:
    generator = torch.Generator().manual_seed(depth)
    return Features(
        values=torch.randn(ITEMS + 1, width, generator=generator),
        present=torch.arange(ITEMS + 1) > 0,
        layers=torch.randn(ITEMS + 1, depth, width, generator=generator),
    )


def layer_states(depth: int, width: int) -> LayerStates:
    data = features(depth, width)
    return LayerStates(kept_layers(data, "text", 1), data.present)


def test_features_without_layer_states_are_refused() -> None:
    data = catalogue()
    assert data.image is not None
    pooled = dataclasses.replace(data, image=dataclasses.replace(data.image, layers=None))
    with pytest.raises(ValueError, match=r"image features .* pooled output alone"):
        IISAN(CONFIG, pooled)


@pytest.mark.parametrize(
    ("depth", "every", "kept"),
    [(13, 2, [0, 2, 4, 6, 8, 10, 12]), (6, 2, [1, 3, 5]), (4, 1, [0, 1, 2, 3])],
)
def test_layers_are_kept_from_the_last(depth: int, every: int, kept: list[int]) -> None:
    """13 states of a base-size encoder: the layers that the released script lists."""
    data = features(depth, 8)
    assert data.layers is not None
    states = LayerStates(kept_layers(data, "text", every), data.present)(slice(1, None))
    assert len(states) == len(kept)
    for state, k in zip(states, kept, strict=True):
        assert torch.equal(state, data.layers[1:, k])


def test_a_closed_gate_passes_the_last_adapted_state_on() -> None:
    """With every gate but the first closed, the layers above the first are never read."""
    network = IntraModal(8, 3, CONFIG)
    with torch.no_grad():
        network.gates.copy_(torch.tensor([50.0, -50.0, -50.0]))
    first, *above = (torch.randn(5, 8) for _ in range(5))
    one, other = [first, *above[:2]], [first, *above[2:]]
    assert torch.equal(network(one), network(other))


def test_side_networks_are_the_formulas_as_written() -> None:
    """Transcribed layer by layer, for layers of different depth and width and items that lack a
    modality. Float64, its sums in another order."""
    torch.manual_seed(0)
    model = IISAN(CONFIG, catalogue(missing=0.25)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    data = catalogue(missing=0.25)
    assert model.inter is not None
    assert model.fusion is not None

    def sanb(network: nn.Module, k: int, x: Tensor) -> Tensor:
        block = network.get_submodule(f"adapters.{k}")
        return x + block.up(torch.relu(block.down(x)))  # type: ignore[operator]

    def states(modality: str) -> list[Tensor]:
        found = data.text if modality == "text" else data.image
        assert found is not None
        assert found.layers is not None
        missing = model.get_parameter(f"states.{modality}.missing")
        absent = ~found.present[1:]
        layers = found.layers[1:].double().clone()
        layers[absent] = missing.detach()
        return list(layers.unbind(1))

    streams = []
    for modality, network in model.intra.items():
        gates = torch.sigmoid(network.get_parameter("gates") / 0.1)
        h = torch.zeros_like(states(modality)[0])
        for k, s in enumerate(states(modality)):
            h = sanb(network, k, gates[k] * s + (1 - gates[k]) * h)
        streams.append(network.get_submodule("projection")(h))
    gates = torch.sigmoid(model.inter.gates / 0.1)
    m = torch.zeros_like(states("image")[0])
    for k, (v, t) in enumerate(zip(states("image"), states("text"), strict=True)):
        v, t = model.inter.align_image[k](v), model.inter.align_text[k](t)
        m = sanb(model.inter, k, m + gates[k] * v + (1 - gates[k]) * t)
    streams.append(model.inter.projection(m))
    expected = model.fusion(torch.cat(streams, -1))
    torch.testing.assert_close(model.item_table(), expected, rtol=1e-10, atol=1e-9)


def test_items_with_the_same_states_have_the_same_vector() -> None:
    """Of three items one has another image; vectors of all are those without sharing."""
    data = aligned(missing=0.0)
    assert data.text is not None
    assert data.text.layers is not None
    assert data.image is not None
    assert data.image.layers is not None
    same = torch.arange(ITEMS + 1)
    same[[7, 8]] = 6
    other_image = torch.arange(ITEMS + 1)
    other_image[7] = 6
    text = dataclasses.replace(data.text, layers=data.text.layers[same])
    image = dataclasses.replace(data.image, layers=data.image.layers[other_image])
    data = dataclasses.replace(data, text=text, image=image)
    torch.manual_seed(0)
    model = IISAN(CONFIG, data)
    assert model.n_distinct == ITEMS  # one item fewer, and the padding
    table = model.item_table()
    assert torch.equal(table[5], table[6])
    assert not torch.equal(table[5], table[7])


def test_modalities_of_different_depth_and_width_are_paired_from_the_last_layer() -> None:
    text, image = layer_states(6, 8), layer_states(4, 12)
    network = InterModal(image, text, CONFIG)
    v, t = image(slice(1, None)), text(slice(1, None))
    reference = network(v, t)
    assert reference.shape == (ITEMS, CONFIG.dim)
    below = [torch.zeros_like(state) for state in t[:2]]
    assert torch.equal(network(v, below + t[2:]), reference)
    assert not torch.equal(network([torch.zeros_like(v[0]), *v[1:]], t), reference)


def test_one_modality_has_no_network_between_modalities() -> None:
    model = IISAN(CONFIG, catalogue(modalities=("text",)))
    assert model.inter is None
    assert list(model.intra) == ["text"]


def test_without_modalities_items_have_an_id_embedding() -> None:
    model = IISAN(CONFIG, catalogue(modalities=()))
    assert model.ids is not None
    assert torch.equal(model.item_table(), model.ids.table())


@pytest.mark.parametrize("ids", [False, True])
def test_vectors_of_a_small_and_of_a_large_batch_agree(ids: bool) -> None:
    """A small batch computes its own items' vectors, a large one looks them up in the table;
    1e-12: the same float64 sums in another order."""
    model = IISAN(dataclasses.replace(CONFIG, ids=ids), aligned()).double()
    items = sequences(8, 7)
    assert items.numel() > ITEMS
    rows = torch.arange(8)
    whole = model(Batch(items, rows, torch.tensor([0, 0]))).states
    for row in range(8):
        alone = model(Batch(items[row : row + 1], rows[row : row + 1], torch.tensor([0, 0]))).states
        count = int((items[row] > 0).sum())
        torch.testing.assert_close(alone[0, :count], whole[row, :count], rtol=0, atol=1e-12)
