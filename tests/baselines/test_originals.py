"""SMLP4Rec, MMMLP and IISAN against their authors' code, NOVA against its paper's equations.

The authors' files were run outside this repository with the weights of `goldens.fill`; `golden/`
holds what came out, and how. NOVA's authors published no code, so its reference is the plain
transcription below.

Tolerance: goldens are rounded to 8 or 9 decimals, which leaves 5e-9 or less; 1e-8 is allowed. For
IISAN it is 1e-5, because the authors' LayerNorms add 1e-6 to the variance and ours 1e-12.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.iisan import IISAN, IISANConfig
from baselines.mmmlp import MMMLP, MMMLPConfig
from baselines.nova import NOVA, NOVAConfig
from baselines.smlp4rec import SMLP4Rec, SMLP4RecConfig
from findrec.layers import FeatureProjection
from findrec.recommender import Attribute, Batch, Catalogue, Features, Recommender
from tests.baselines.goldens import fill, golden, wave
from tests.catalogues import ITEMS, catalogue

Array = NDArray[np.float64]


def states(model: Recommender, items: Tensor) -> Tensor:
    """[B, L, D]"""
    with torch.no_grad():
        return model(Batch(items, torch.arange(len(items)), torch.tensor([0, 0]))).states


def at_last(model: Recommender, items: Tensor) -> Tensor:
    """[B, D]"""
    return states(model, items)[torch.arange(len(items)), (items > 0).sum(1) - 1]


def assert_equals_golden(ours: Tensor, values: list[list[float]], tolerance: float) -> None:
    expected = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)
    assert expected.std() > 100 * tolerance


# ---- SMLP4Rec ------------------------------------------------------------------------------------

SMLP_CONFIG = SMLP4RecConfig(dim=8, max_length=6, layers=3)
SMLP_ITEMS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 1, 9, 0, 0, 0], [5, 0, 0, 0, 0, 0]])


def smlp_catalogue() -> Catalogue:
    values = torch.arange(10).unsqueeze(1)
    attributes = {
        "genre": Attribute(torch.cat([values % 4, values % 3], 1) * (values > 0), size=3),
        "brand": Attribute(values % 5, size=4),
    }
    return Catalogue(items=9, attributes=attributes)


def test_smlp4rec() -> None:
    model = SMLP4Rec(SMLP_CONFIG, smlp_catalogue()).double()
    fill(model)
    with torch.no_grad():
        model.items.weight[0] = 0
    assert_equals_golden(at_last(model, SMLP_ITEMS), golden("smlp4rec")["states"], 1e-8)


# ---- MMMLP ---------------------------------------------------------------------------------------

MMMLP_CONFIG = MMMLPConfig(dim=128, max_length=50, layers=3, released=True)
MMMLP_ITEMS = torch.zeros(3, 50, dtype=torch.int64)
MMMLP_ITEMS[0, :50] = torch.arange(50) % 9 + 1
MMMLP_ITEMS[1, :3] = torch.tensor([7, 1, 9])
MMMLP_ITEMS[2, 0] = 5


def mmmlp_model() -> MMMLP:
    there = torch.arange(10) > 0
    text, image = (wave(name, 10, 128, scale=1.0) * there[:, None] for name in ("text", "image"))
    data = Catalogue(items=9, text=Features(text, there), image=Features(image, there))
    model = MMMLP(MMMLP_CONFIG, data).double()
    fill(model, scale=0.05)
    with torch.no_grad():
        model.items.weight[0] = 0
        for projection in model.features.values():
            assert isinstance(projection, FeatureProjection)
            projection.linear.weight.copy_(torch.eye(128))
            projection.linear.bias.zero_()
    return model


def test_mmmlp_as_released() -> None:
    ours = at_last(mmmlp_model(), MMMLP_ITEMS)[:, ::16]
    assert_equals_golden(ours, golden("mmmlp")["states"], 1e-8)


# ---- IISAN ---------------------------------------------------------------------------------------

IISAN_CONFIG = IISANConfig(dim=8, max_length=5, bottleneck=4, layers=2, heads=2, every=2)
IISAN_ITEMS = torch.tensor([[1, 2, 3, 4, 5], [6, 5, 1, 3, 6]])


def iisan_catalogue() -> Catalogue:
    there = torch.arange(7) > 0
    text, image = (
        wave(f"{name} layers", 7, 13, 768, scale=1.0) * there[:, None, None]
        for name in ("text", "image")
    )
    return Catalogue(
        items=6,
        text=Features(text[:, -1], there, text),
        image=Features(image[:, -1], there, image),
    )


def iisan_model() -> IISAN:
    model = IISAN(IISAN_CONFIG, iisan_catalogue()).double()
    fill(model, scale=0.05)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gates"):
                parameter.copy_(wave(name, *parameter.shape, scale=0.2))
            if name.endswith(("qkv.bias", "out.bias")):
                parameter.zero_()
            if name.startswith(("positions", "encoder.")) and name.endswith("weight"):
                parameter.mul_(1 if "norm" in name else 6)
    return model


def test_iisan() -> None:
    model = iisan_model()
    with torch.no_grad():
        assert_equals_golden(model.item_table(), golden("iisan")["vectors"], 1e-8)
    ours = states(model, IISAN_ITEMS).flatten(0, 1)
    assert_equals_golden(ours, golden("iisan")["states"], 1e-5)


# ---- NOVA ----------------------------------------------------------------------------------------


def nova_reference(model: NOVA, data: Catalogue, items: list[int]) -> Array:
    """One user's states by the equations of the paper's sections 3.3-3.6, in numpy."""
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    n, heads = len(items), model.config.heads

    def linear(name: str, x: Array) -> Array:
        return np.asarray(x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0))

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * p[f"{name}.weight"] + p[f"{name}.bias"])

    def gelu(x: Array) -> Array:
        return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))

    def softmax(x: Array) -> Array:
        e = np.exp(x - x.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    side = [norm("position_norm", p["positions.weight"][:n])]
    for name in ("text", "image"):
        features = data.text if name == "text" else data.image
        assert features is not None
        rows = [
            linear(f"features.{name}.linear", features.values[i].double().numpy())
            if i <= data.items and features.present[i]
            else p[f"features.{name}.missing"]
            for i in items
        ]
        side.append(norm(f"feature_norms.{name}", np.stack(rows)))
    r_id = norm("norm", p["items.weight"][items])
    for layer in range(model.config.layers):
        at = f"layers.{layer}"
        pieces = np.stack([r_id, *side], 1)  # [n, m, h]
        gates = softmax((pieces @ p[f"{at}.fusor.weight.weight"].T)[..., 0])
        r = (gates[..., None] * pieces).sum(1)
        q, k = linear(f"{at}.attention.query", r), linear(f"{at}.attention.key", r)
        v = linear(f"{at}.attention.value", r_id)
        parts = [
            softmax(a @ b.T / math.sqrt(a.shape[1])) @ c
            for a, b, c in zip(*(np.split(x, heads, 1) for x in (q, k, v)), strict=True)
        ]
        attended = linear(f"{at}.attention.out", np.concatenate(parts, 1))
        r_id = norm(f"{at}.attention_norm", r_id + attended)
        fed = linear(f"{at}.feed.second", gelu(linear(f"{at}.feed.first", r_id)))
        r_id = norm(f"{at}.feed_norm", r_id + fed)
    return norm("out_norm", gelu(linear("out", r_id)))


def test_nova() -> None:
    """1e-10: float64 on both sides."""
    data = catalogue(missing=0.25)
    model = NOVA(NOVAConfig(dim=8, max_length=6, layers=2, heads=2), data).double()
    fill(model, scale=0.8)
    mask = ITEMS + 1
    for items in ([1, 2, mask, 4, 5, 6], [9, 7, mask]):
        padded = torch.tensor([items + [0] * (6 - len(items))])
        ours = states(model, padded)[0, : len(items), :-1]
        expected = torch.from_numpy(nova_reference(model, data, items))
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
