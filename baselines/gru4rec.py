"""GRU4Rec: Hidasi, Karatzoglou, Baltrunas and Tikk, Session-based Recommendations with Recurrent
Neural Networks, ICLR 2016; Hidasi and Karatzoglou, CIKM 2018 for its later losses.

Followed: item embedding, GRU (2016, eqs. 1-4), scores of all items from its state. The form is
that of RecBole (after Tan, Xu and Liu, DLRS 2016), whose name for it the FindRec paper uses
("GRURec"): embedding, dropout, GRU, a linear layer back to the embedding's width, scores by the
same embedding, cross-entropy over all items.

What the originals do differently
    loss        TOP1 and BPR (2016), BPR-max and TOP1-max (2018), or cross-entropy, each over the
                other items of the mini-batch and further negatives sampled by popularity ^ alpha.
                Here: cross-entropy over all items, of which sampled cross-entropy is the estimate.
    batches     Session-parallel: a batch steps through B sessions at once, keeps the hidden state
                between steps and cuts the gradient there. Here: whole windows, backpropagation
                through all their positions. For users within the window this sees the same
                history and has the exact gradient.
    output      Its own output embedding, or the input's ("constrained embedding", 2018) with the
                hidden width as embedding width, and an output bias per item. Here: shared, by a
                linear layer, no item bias (as RecBole).
    biases      The original has one bias per gate, RecBole's GRU none, torch's two. Here: torch's.
    optimiser   Adagrad with momentum. Here: the engine's AdamW.

Hidasi and Czapp (RecSys 2023, "The Effect of Third Party Implementations on Reproducibility") show
that re-implementations, RecBole's form among them, lose accuracy against the original on session
data, for the reasons listed above. The form here is the one that the paper's numbers on
leave-one-out histories are likely to come from.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from findrec.layers import Dropout, ItemEmbedding
from findrec.ops import gru
from findrec.recommender import Batch, Catalogue, ModelConfig, Output, Recommender


@dataclass(frozen=True)
class GRU4RecConfig(ModelConfig):
    """Defaults from RecBole 1.2.1's GRU4Rec.yaml; the originals tune all of them per dataset."""

    dropout: float = 0.3
    """On the embedding and between GRU layers."""
    hidden: int = 128
    """Width of the GRU's state (ICLR 2016: 100 to 1,000)."""
    layers: int = 1
    """GRU layers; both originals find one to be best."""


class GRU4Rec(Recommender):
    """A GRU over item embeddings."""

    Config = GRU4RecConfig
    config: GRU4RecConfig

    def __init__(self, config: GRU4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        # Xavier's normal, as RecBole: the width of the draw falls with the catalogue's size.
        std = math.sqrt(2 / (catalogue.items + 1 + config.dim))
        self.items = ItemEmbedding(catalogue.items, config.dim, std=std)
        widths = [config.dim] + [config.hidden] * config.layers
        self.dropouts = nn.ModuleList(
            Dropout(config.dropout, f"layer{i}") for i in range(config.layers)
        )
        self.layers = nn.ModuleList(
            GRULayer(width, config.hidden) for width in widths[: config.layers]
        )
        self.out = nn.Linear(config.hidden, config.dim)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D]."""
        x = self.items(batch.items)
        for dropout, layer in zip(self.dropouts, self.layers, strict=True):
            x = layer(dropout(x, batch))
        return Output(self.out(x))

    def item_table(self) -> Tensor:
        """[N, D], the input's own item embedding."""
        return self.items.table()


class GRULayer(nn.Module):
    """One GRU layer with torch's equations; gates in the order reset, update, new."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_ih = nn.Parameter(torch.empty(3 * hidden, width))
        self.w_hh = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.b_ih = nn.Parameter(torch.zeros(3 * hidden))
        self.b_hh = nn.Parameter(torch.zeros(3 * hidden))
        nn.init.xavier_uniform_(self.w_ih)
        nn.init.xavier_uniform_(self.w_hh)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, width] -> [B, L, hidden]"""
        return gru(x, self.w_ih, self.w_hh, self.b_ih, self.b_hh)
