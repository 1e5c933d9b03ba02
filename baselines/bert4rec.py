"""BERT4Rec: Sun et al., Sequential Recommendation with Bidirectional Encoder Representations from
Transformer, CIKM 2019.

Followed: item plus learned position embedding (section 3.4), bidirectional post-norm Transformer
with GELU (section 3.3, eqs. 1-5), an output layer with GELU and a softmax tied to the item
embedding with a bias per item (section 3.5, eq. 7), trained to predict the items at masked
positions and evaluated with one mask after the last items (section 3.6, eq. 8). The bias is one
more column of the item table; the states have a 1 there.

The mask has id N + 1. The caller puts it where an item is to be predicted and reads the states
there. The two probabilities below are those with which the cloze objective masks.

What the released code does differently, and which one is the default
    output      The code (like BERT's) has a LayerNorm after the output layer's GELU, which eq. 7
                lacks. Default the code's; RecBole 1.2.1 has it too.
    samples     The paper adds "samples that only mask the last item" without a share. The code
                makes ten differently masked copies of a sequence and one with its last item masked:
                1/11 of the samples. RecBole draws such a sample with probability 0.5. Default the
                code's share (`last_only_probability`).
    masking     The paper masks each item with probability rho; the code masks exactly round(rho n)
                of n, at most 30 on Beauty. Default the paper's.
    BERT's 80/10/10 replacement  Neither uses it: a chosen item is always replaced by the mask.
    dropout     The paper states none; the code's files: 0.5 hidden and 0.2 attention on Beauty,
                0.2 and 0.2 on MovieLens. Default RecBole's 0.2 and 0.2.
    optimiser   The code: Adam with BERT's decay, 400,000 steps at 1e-4 on Beauty. Petrov and
                Macdonald (RecSys 2022) show that most weak BERT4Rec results come from too little
                training; docs/baselines.md shows the curve far past the budget used here.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from baselines.transformer import EPS, PositionEmbedding, TransformerEncoder
from findrec.layers import Dropout, ItemEmbedding, init_normal
from findrec.recommender import Batch, Catalogue, ModelConfig, Objective, Output, Recommender


@dataclass(frozen=True)
class BERT4RecConfig(ModelConfig):
    """Defaults from the paper's section 4.3, else from RecBole 1.2.1's BERT4Rec.yaml."""

    dropout: float = 0.2
    """On the embedding and the output of each half of a block."""
    attention_dropout: float = 0.2
    """On the attention weights."""
    layers: int = 2
    """Blocks (paper: 2)."""
    heads: int = 2
    """Attention heads (paper: 2)."""
    inner: int = 4
    """Width of the feed-forward network in multiples of `dim` (paper, eq. 3: 4)."""
    mask_probability: float = 0.2
    """Probability with which each item is masked; paper: 0.6 on Beauty, 0.4 on Steam, 0.2 on both
    MovieLens sets."""
    last_only_probability: float = 1 / 11
    """Probability of a sample in which the last item alone is masked; see above."""


class BERT4Rec(Recommender):
    """Bidirectional self-attention that fills masked positions."""

    Config = BERT4RecConfig
    config: BERT4RecConfig
    objective: ClassVar[Objective] = "cloze"

    def __init__(self, config: BERT4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = ItemEmbedding(catalogue.items, config.dim, mask_token=True)
        self.positions = PositionEmbedding(config.max_length, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.dropout = Dropout(config.dropout, "embedding")
        self.encoder = TransformerEncoder(
            config.dim,
            layers=config.layers,
            heads=config.heads,
            inner=config.inner * config.dim,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            causal=False,
        )
        self.out = nn.Linear(config.dim, config.dim)
        self.out_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(catalogue.items))
        init_normal(self)

    def forward(self, batch: Batch) -> Output:
        """States at every position, [B, L, D + 1]; the last entry is 1, for the item's bias."""
        x = self.norm(self.items(batch.items) + self.positions(batch.items))
        x = self.encoder(self.dropout(x, batch), batch)
        x = self.out_norm(nn.functional.gelu(self.out(x)))  # eq. 7, its first half
        return Output(torch.cat([x, torch.ones_like(x[..., :1])], -1))

    def item_table(self) -> Tensor:
        """[N, D + 1]: the input's item embedding and, as the last entry, the bias (eq. 7)."""
        return torch.cat([self.items.table(), self.bias.unsqueeze(-1)], -1)
