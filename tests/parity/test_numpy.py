"""UniSRec equals a transcription of its equations to numpy, item by item and position by position.

Float64; tolerance 1e-9 for sums in another order. There is no other implementation to compare with
that installs: the released one is a RecBole 1.0 model on its own data.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.transformer import EPS, Block
from baselines.unisrec import Adaptor, UniSRec, UniSRecConfig
from findrec.recommender import Batch
from tests.catalogues import ITEMS, catalogue, sequences

CONFIG = UniSRecConfig(dim=8, max_length=7, heads=2, layers=2, experts=3, temperature=0.07)
Array = NDArray[np.float64]


def array(x: torch.Tensor) -> Array:
    return x.detach().double().numpy()


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def norm(x: Array, layer: torch.nn.Module) -> Array:
    weight, bias = (array(p) for p in layer.parameters())
    return np.asarray((x - x.mean()) / np.sqrt(x.var() + EPS) * weight + bias)


def gelu(x: Array) -> Array:
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def universal(adaptor: Adaptor, x: Array) -> Array:
    """Eqs. 2-4: sum over the experts of gate times whitened and projected features."""
    gates = softmax(array(adaptor.gate) @ x)
    experts = array(adaptor.experts.weight).reshape(CONFIG.experts, CONFIG.dim, -1)
    total = np.zeros(CONFIG.dim)
    for k in range(CONFIG.experts):
        total += gates[k] * (experts[k] @ (x - array(adaptor.whitening)[k]))
    return total


def block(layer: Block, states: list[Array]) -> list[Array]:
    """Eq. 7: one Transformer block; position j attends to what is not later."""
    qkv_weight, qkv_bias = array(layer.qkv.weight), array(layer.qkv.bias)
    width = CONFIG.dim // CONFIG.heads
    q, k, v = zip(*(np.split(qkv_weight @ x + qkv_bias, 3) for x in states), strict=True)
    result = []
    for j, x in enumerate(states):
        heads = []
        for h in range(CONFIG.heads):
            part = slice(h * width, (h + 1) * width)
            scores = np.array([q[j][part] @ k[i][part] for i in range(j + 1)]) / math.sqrt(width)
            heads.append(sum(w * v[i][part] for i, w in enumerate(softmax(scores))))
        attended = array(layer.out.weight) @ np.concatenate(heads) + array(layer.out.bias)
        y = norm(x + attended, layer.attention_norm)
        hidden = gelu(array(layer.first.weight) @ y + array(layer.first.bias))
        fed = array(layer.second.weight) @ hidden + array(layer.second.bias)
        result.append(norm(y + fed, layer.feed_norm))
    return result


def test_unisrec() -> None:
    data = catalogue(missing=0.25)
    model = UniSRec(CONFIG, data).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    assert model.ids is not None
    vectors = {}
    for item in range(1, ITEMS + 1):
        vector = array(model.ids.weight[item])
        for name, adaptor in model.adaptors.items():
            assert isinstance(adaptor, Adaptor)
            features = data.text if name == "text" else data.image
            assert features is not None
            if features.present[item]:
                vector = vector + universal(adaptor, array(features.values[item]))
            else:
                vector = vector + array(adaptor.missing)
        vectors[item] = vector
    items = sequences(4, 7)
    ours = array(
        model(Batch(items, torch.arange(4), torch.tensor([0, 0]))).states @ model.item_table().T
    )
    for user, sequence in enumerate(items):
        history = [int(i) for i in sequence if i > 0]
        states = [
            norm(vectors[item] + array(model.positions.weight[j]), model.norm)  # eq. 6
            for j, item in enumerate(history)
        ]
        for layer in model.encoder.blocks:
            assert isinstance(layer, Block)
            states = block(layer, states)
        for j, state in enumerate(states):
            cosines = [
                state @ v / np.linalg.norm(state) / np.linalg.norm(v) for v in vectors.values()
            ]
            np.testing.assert_allclose(
                ours[user, j], np.array(cosines) / CONFIG.temperature, rtol=1e-9, atol=1e-9
            )
