"""BERT4Rec equals transformers' BertForMaskedLM, Mamba4Rec one built of its MambaMixer.

Slow, since importing transformers alone takes seconds. Skipped where it is not installed.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from baselines.bert4rec import BERT4Rec, BERT4RecConfig
from baselines.mamba4rec import Mamba4Rec, Mamba4RecConfig, Mamba4RecLayer
from baselines.transformer import EPS, Block
from findrec.layers import FeedForward
from findrec.mamba import Mamba
from findrec.recommender import Batch, Catalogue
from tests.catalogues import sequences

pytestmark = pytest.mark.slow

ITEMS, LENGTH, USERS = 12, 6, 5


def redraw(model: nn.Module) -> None:
    """Other values than 0 and 1 everywhere, so that a weight in the wrong place shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


def batch(items: Tensor) -> Batch:
    return Batch(items, torch.arange(len(items)), torch.tensor([0, 0]))


def test_bert4rec() -> None:
    """Float64; tolerance 1e-9 for sums in another order."""
    transformers = pytest.importorskip("transformers")
    config = BERT4RecConfig(dim=8, max_length=LENGTH, heads=2, layers=2)
    model = BERT4Rec(config, Catalogue(items=ITEMS)).double()
    redraw(model)
    theirs = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=ITEMS + 2,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            hidden_act="gelu",
            max_position_embeddings=LENGTH,
            layer_norm_eps=EPS,
            pad_token_id=0,
        )
    ).double()
    theirs.eval()
    with torch.no_grad():
        bert = theirs.bert
        bert.embeddings.word_embeddings.weight.copy_(model.items.weight)
        bert.embeddings.position_embeddings.weight.copy_(model.positions.weight)
        bert.embeddings.token_type_embeddings.weight.zero_()  # BERT4Rec has no segments
        bert.embeddings.LayerNorm.load_state_dict(model.norm.state_dict())
        for block, layer in zip(model.encoder.blocks, bert.encoder.layer, strict=True):
            assert isinstance(block, Block)
            attention = layer.attention
            parts = (attention.self.query, attention.self.key, attention.self.value)
            for i, part in enumerate(parts):
                part.weight.copy_(block.qkv.weight[8 * i : 8 * (i + 1)])
                part.bias.copy_(block.qkv.bias[8 * i : 8 * (i + 1)])
            attention.output.dense.load_state_dict(block.out.state_dict())
            attention.output.LayerNorm.load_state_dict(block.attention_norm.state_dict())
            layer.intermediate.dense.load_state_dict(block.first.state_dict())
            layer.output.dense.load_state_dict(block.second.state_dict())
            layer.output.LayerNorm.load_state_dict(block.feed_norm.state_dict())
        head = theirs.cls.predictions
        head.transform.dense.load_state_dict(model.out.state_dict())
        head.transform.LayerNorm.load_state_dict(model.out_norm.state_dict())
        head.decoder.weight.copy_(model.items.weight)
        head.decoder.bias[1 : ITEMS + 1] = model.bias
        items = sequences(USERS, LENGTH, items=ITEMS)
        items[:, 1] = ITEMS + 1
        valid = items > 0
        # Their embedding of padding is not zero; it is hidden from attention, and not compared.
        logits = theirs(input_ids=items, attention_mask=valid.long()).logits
        scores = model(batch(items)).states @ model.item_table().T
    torch.testing.assert_close(scores[valid], logits[valid][:, 1 : ITEMS + 1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2])
def test_mamba4rec(layers: int) -> None:
    """Float32, since theirs scans in it whatever the weights: 1e-5 after two layers of sums."""
    modeling = pytest.importorskip("transformers.models.mamba.modeling_mamba")
    configuration = pytest.importorskip("transformers.models.mamba.configuration_mamba")
    config = Mamba4RecConfig(dim=24, max_length=LENGTH, layers=layers, d_state=8)
    model = Mamba4Rec(config, Catalogue(items=ITEMS))
    redraw(model)
    their_config = configuration.MambaConfig(
        hidden_size=24, state_size=8, num_hidden_layers=layers, conv_kernel=4, expand=2
    )
    items = sequences(USERS, LENGTH, items=ITEMS)
    with torch.no_grad():
        x = model.items(items)
        x = layer_norm(x, (24,), model.norm.weight, model.norm.bias, EPS)
        for i, layer in enumerate(model.layers):
            assert isinstance(layer, Mamba4RecLayer)
            mixer = modeling.MambaMixer(their_config, layer_idx=i).eval()
            copy_mamba(layer.mamba, mixer)
            h = mixer(x)
            h = layer.norm(h + x if layers > 1 else h)
            x = layer.feed_norm(h + feed(layer.feed, h))
        ours = model(batch(items)).states
    valid = items > 0
    torch.testing.assert_close(ours[valid], x[valid], rtol=1e-5, atol=1e-5)


def copy_mamba(ours: Mamba, theirs: nn.Module) -> None:
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            "conv1d.weight": state.pop("conv.weight").T.unsqueeze(1),
            "conv1d.bias": state.pop("conv.bias"),
            **state,
        }
    )


def feed(network: FeedForward, x: Tensor) -> Tensor:
    hidden = gelu(x @ network.first.weight.T + network.first.bias)
    return hidden @ network.second.weight.T + network.second.bias
