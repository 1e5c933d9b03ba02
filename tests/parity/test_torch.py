"""The encoder and the GRU give what torch's own modules give at equal weights.

This reaches what RecBole lacks: LayerNorms before each half, ReLU, GRU biases. Float64; tolerance
1e-10 for sums in another order.
"""

import pytest
import torch
from torch import nn

from baselines.gru4rec import GRULayer
from baselines.transformer import EPS, Block, Norm, TransformerEncoder
from findrec.recommender import Batch
from tests.catalogues import sequences

DIM, HEADS, LENGTH, USERS = 8, 2, 6, 5
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def reference(encoder: TransformerEncoder, norm: Norm, activation: str) -> nn.TransformerEncoder:
    """torch's encoder with the weights of ours."""
    layer = nn.TransformerEncoderLayer(
        DIM,
        HEADS,
        dim_feedforward=4 * DIM,
        dropout=0.0,
        activation=activation,
        layer_norm_eps=EPS,
        batch_first=True,
        norm_first=norm == "pre",
    )
    last = nn.LayerNorm(DIM, eps=EPS) if norm == "pre" else None
    depth = len(encoder.blocks)
    theirs = nn.TransformerEncoder(layer, depth, norm=last, enable_nested_tensor=False).double()
    for block, other in zip(encoder.blocks, theirs.layers, strict=True):
        assert isinstance(block, Block)
        state = block.state_dict()
        other.load_state_dict(
            {
                f"{name}{kind}": state[f"{ours}.{kind}"]
                for name, ours in {
                    "self_attn.in_proj_": "qkv",
                    "self_attn.out_proj.": "out",
                    "linear1.": "first",
                    "linear2.": "second",
                    "norm1.": "attention_norm",
                    "norm2.": "feed_norm",
                }.items()
                for kind in ("weight", "bias")
            }
        )
    if last is not None:
        assert theirs.norm is not None
        theirs.norm.load_state_dict(encoder.last_norm.state_dict())
    return theirs


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_encoder(norm: Norm, activation: str, causal: bool) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(
        DIM,
        layers=2,
        heads=HEADS,
        inner=4 * DIM,
        dropout=0.0,
        attention_dropout=0.0,
        causal=causal,
        norm=norm,
        activation=activation,  # type: ignore[arg-type]
    ).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.5)
    items = sequences(USERS, LENGTH)
    valid = items > 0
    x = torch.randn(USERS, LENGTH, DIM, dtype=torch.float64)
    ours = encoder(x, Batch(items, torch.arange(USERS), torch.tensor([0, 0])))
    theirs = reference(encoder, norm, activation)(
        x,
        mask=torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1) if causal else None,
        src_key_padding_mask=~valid,
    )
    torch.testing.assert_close(ours[valid], theirs[valid], **CLOSE)


def test_gru_layer() -> None:
    torch.manual_seed(0)
    layer = GRULayer(DIM, 10).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    theirs = nn.GRU(DIM, 10, batch_first=True).double()
    theirs.load_state_dict(
        {
            "weight_ih_l0": layer.w_ih,
            "weight_hh_l0": layer.w_hh,
            "bias_ih_l0": layer.b_ih,
            "bias_hh_l0": layer.b_hh,
        }
    )
    x = torch.randn(USERS, LENGTH, DIM, dtype=torch.float64)
    torch.testing.assert_close(layer(x), theirs(x)[0], **CLOSE)
