"""Recipe of golden/recbole.npz: states and scores of RecBole's own models at random weights.

Run it with the Python of an environment that has recbole 1.2.1 (it pins versions that clash with
ours), never with ours:

    python -m venv recbole && recbole/bin/pip install recbole==1.2.1 torch
    recbole/bin/python tests/parity/recbole_golden.py tests/parity/golden/recbole.npz

Every parameter is drawn anew from N(0, 0.3), so that no bias is 0 and no LayerNorm weight is 1: a
weight in the wrong place then shows. Computed in float64, without dropout. The file holds, by name,
`<model>/weight/<parameter>`, `<model>/items` [B, L] (padded at the right), `<model>/states`
[B, L, D] and `<model>/scores` [B, L, N].
"""

import sys
from typing import Any

import numpy as np
import torch
from recbole.model.sequential_recommender import GRU4Rec, SASRec
from recbole.model.sequential_recommender.bert4rec import BERT4Rec

ITEMS, LENGTH, USERS, WIDTH = 12, 6, 4, 8

SETTINGS: dict[str, Any] = {
    "USER_ID_FIELD": "user",
    "ITEM_ID_FIELD": "item",
    "LIST_SUFFIX": "_list",
    "ITEM_LIST_LENGTH_FIELD": "length",
    "NEG_PREFIX": "neg_",
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "device": "cpu",
    "loss_type": "CE",
    "initializer_range": 0.3,
    "hidden_size": WIDTH,
    "inner_size": 4 * WIDTH,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "mask_ratio": 0.2,
    "MASK_ITEM_SEQ": "masked",
    "POS_ITEMS": "positives",
    "NEG_ITEMS": "negatives",
    "MASK_INDEX": "index",
}


class Counts:
    """Stands for RecBole's dataset, of which these models ask no more than the number of items."""

    def num(self, field: str) -> int:
        return ITEMS + 1


def sequences() -> torch.Tensor:
    lengths = torch.tensor([2, 4, 5, LENGTH])
    items = torch.randint(1, ITEMS + 1, (USERS, LENGTH))
    return items * (torch.arange(LENGTH) < lengths.unsqueeze(1))


def main(path: str) -> None:
    torch.manual_seed(20250803)
    found: dict[str, np.ndarray] = {}
    models = {
        "sasrec": (SASRec, {}),
        "gru4rec": (
            GRU4Rec,
            {"embedding_size": WIDTH, "hidden_size": 10, "num_layers": 2, "dropout_prob": 0.0},
        ),
        "bert4rec": (BERT4Rec, {}),
    }
    for name, (cls, own) in models.items():
        model = cls({**SETTINGS, **own}, Counts()).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
            model.item_embedding.weight[0] = 0
            items = sequences()
            table = model.item_embedding.weight[1 : ITEMS + 1]
            if name == "bert4rec":
                masked = (torch.arange(LENGTH) + torch.arange(USERS).unsqueeze(1)) % 3 == 1
                items = torch.where(masked & (items > 0), ITEMS + 1, items)
                states = model(items)
                scores = states @ table.T + model.output_bias[1:]
            else:
                ends = [torch.full((USERS,), end + 1) for end in range(LENGTH)]
                states = torch.stack([model(items, end) for end in ends], 1)
                scores = states @ table.T
        found |= {f"{name}/weight/{k}": v.numpy() for k, v in model.state_dict().items()}
        found |= {
            f"{name}/items": items.numpy(),
            f"{name}/states": states.numpy(),
            f"{name}/scores": scores.numpy(),
        }
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
