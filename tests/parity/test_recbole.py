"""SASRec, GRU4Rec and BERT4Rec give RecBole 1.2.1's outputs at RecBole's weights.

The golden numbers are RecBole's own, float64 (recipe: recbole_golden.py). Tolerance 1e-9: sums in
another order (one product for queries, keys and values here, three there) over values near 1 whose
rounding is 1e-16, and LayerNorms that amplify it.

With FINDREC_RECBOLE_PYTHON naming the Python of an environment that has recbole 1.2.1, a slow test
computes the golden numbers afresh.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.bert4rec import BERT4Rec, BERT4RecConfig
from baselines.gru4rec import GRU4Rec, GRU4RecConfig
from baselines.sasrec import SASRec, SASRecConfig
from findrec.recommender import Batch, Catalogue, Recommender

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "recbole.npz"
CLOSE = {"rtol": 1e-9, "atol": 1e-9}

Weights = dict[str, Tensor]


def golden(name: str) -> Weights:
    with np.load(GOLDEN) as stored:
        prefix = f"{name}/"
        return {
            key.removeprefix(prefix): torch.from_numpy(stored[key])
            for key in stored.files
            if key.startswith(prefix)
        }


def encoder(theirs: Weights) -> Weights:
    """The Transformer's weights under our names."""
    ours = {}
    for i in range(2):
        attention = f"weight/trm_encoder.layer.{i}.multi_head_attention"
        feed = f"weight/trm_encoder.layer.{i}.feed_forward"
        for kind in ("weight", "bias"):
            parts = [theirs[f"{attention}.{part}.{kind}"] for part in ("query", "key", "value")]
            block = f"encoder.blocks.{i}"
            ours |= {
                f"{block}.qkv.{kind}": torch.cat(parts),
                f"{block}.out.{kind}": theirs[f"{attention}.dense.{kind}"],
                f"{block}.attention_norm.{kind}": theirs[f"{attention}.LayerNorm.{kind}"],
                f"{block}.first.{kind}": theirs[f"{feed}.dense_1.{kind}"],
                f"{block}.second.{kind}": theirs[f"{feed}.dense_2.{kind}"],
                f"{block}.feed_norm.{kind}": theirs[f"{feed}.LayerNorm.{kind}"],
            }
    return ours


def sasrec(theirs: Weights) -> tuple[Recommender, Weights]:
    model = SASRec(SASRecConfig(dim=8, max_length=6), Catalogue(items=12))
    return model, encoder(theirs) | {
        "items.ids.weight": theirs["weight/item_embedding.weight"],
        "positions.weight": theirs["weight/position_embedding.weight"],
        "norm.weight": theirs["weight/LayerNorm.weight"],
        "norm.bias": theirs["weight/LayerNorm.bias"],
    }


def gru4rec(theirs: Weights) -> tuple[Recommender, Weights]:
    """RecBole's GRU has no biases."""
    config = GRU4RecConfig(dim=8, max_length=6, hidden=10, layers=2)
    ours = {
        "items.weight": theirs["weight/item_embedding.weight"],
        "out.weight": theirs["weight/dense.weight"],
        "out.bias": theirs["weight/dense.bias"],
    }
    for i in range(2):
        for kind in ("ih", "hh"):
            ours[f"layers.{i}.w_{kind}"] = theirs[f"weight/gru_layers.weight_{kind}_l{i}"]
            ours[f"layers.{i}.b_{kind}"] = torch.zeros(30, dtype=torch.float64)
    return GRU4Rec(config, Catalogue(items=12)), ours


def bert4rec(theirs: Weights) -> tuple[Recommender, Weights]:
    model = BERT4Rec(BERT4RecConfig(dim=8, max_length=6), Catalogue(items=12))
    return model, encoder(theirs) | {
        "items.weight": theirs["weight/item_embedding.weight"],
        "positions.weight": theirs["weight/position_embedding.weight"],
        "norm.weight": theirs["weight/LayerNorm.weight"],
        "norm.bias": theirs["weight/LayerNorm.bias"],
        "out.weight": theirs["weight/output_ffn.weight"],
        "out.bias": theirs["weight/output_ffn.bias"],
        "out_norm.weight": theirs["weight/output_ln.weight"],
        "out_norm.bias": theirs["weight/output_ln.bias"],
        "bias": theirs["weight/output_bias"][1:],
    }


@pytest.mark.parametrize("build", [sasrec, gru4rec, bert4rec])
def test_states_and_scores_are_recboles(build) -> None:  # type: ignore[no-untyped-def]
    theirs = golden(build.__name__)
    model, weights = build(theirs)
    model.double().load_state_dict(weights)
    items = theirs["items"]
    batch = Batch(items, torch.arange(len(items)), torch.tensor([0, 0]))
    with torch.no_grad():
        states = model(batch).states
        scores = states @ model.item_table().T
    valid = items > 0
    width = theirs["states"].shape[-1]
    torch.testing.assert_close(states[valid][:, :width], theirs["states"][valid], **CLOSE)
    torch.testing.assert_close(scores[valid], theirs["scores"][valid], **CLOSE)


@pytest.mark.slow
def test_golden_numbers_can_be_made_again(tmp_path: Path) -> None:
    python = os.environ.get("FINDREC_RECBOLE_PYTHON")
    if python is None:
        pytest.skip("FINDREC_RECBOLE_PYTHON does not name a Python with recbole 1.2.1")
    path = tmp_path / "recbole.npz"
    subprocess.run([python, HERE / "recbole_golden.py", path], check=True, cwd=tmp_path)
    with np.load(GOLDEN) as stored, np.load(path) as made:
        assert stored.files == made.files
        for name in stored.files:
            # Another build of torch may sum in another order.
            np.testing.assert_allclose(made[name], stored[name], rtol=1e-9, atol=1e-9)
