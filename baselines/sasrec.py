"""SASRec: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018.

Followed: item plus position embedding (section III-A), causal self-attention blocks (III-B, III-C),
scores by the same item embedding (III-D, "shared item embedding").

What differs, and which one is the default
    loss        The paper: binary cross-entropy with one sampled negative per position (III-E).
                Here: cross-entropy over all items, as in RecBole. Klenitskiy and Vasilev (RecSys
                2023) show that with it SASRec surpasses BERT4Rec; the sampled loss is a
                well-known reason for weak SASRec results.
    LayerNorm   The paper: before each half (III-C, "pre"), and its code leaves keys and values
                unnormalised, adds the residual to the normalised queries and has no projection
                after the heads. RecBole: after each half, and on the embedding ("post"). Default
                "post"; "pre" is the paper's x + Dropout(g(LayerNorm(x))), with the usual
                projection after the heads, and without those three oddities.
    network     The paper: ReLU, inner width D, dropout inside the network too, one head.
                RecBole: GELU, inner width 4 D, no dropout inside, two heads. Default RecBole's;
                the variant `as-published` is the paper's but for the dropout inside.
    embedding   The released code multiplies item embeddings by sqrt(D); RecBole normalises item
                plus position. Default the latter; the scaling has then little effect.
    positions   The paper pads at the left, so that its positions count back from the window's end,
                in training from the last trained position. A state then depends on how many items
                follow it, and training on all positions is not training on all prefixes. Here
                positions count from the first item of the window, as in RecBole.
    start       The released code: Xavier (TensorFlow's default). RecBole: N(0, 0.02). Default the
                latter.

SASRec (MM) is this class with features in its catalogue; see `baselines.items`. The switch `fusion`
serves a diagnosis alone: the last half of a block adds its input, so that a state stays tied to the
item at its position, while FindRec's fusion has no residual.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from baselines.items import MixedItemEmbedding
from baselines.transformer import EPS, Activation, Norm, PositionEmbedding, TransformerEncoder
from findrec.layers import Dropout, Fusion, init_normal
from findrec.recommender import Batch, Catalogue, Modality, ModelConfig, Output, Recommender


@dataclass(frozen=True)
class SASRecConfig(ModelConfig):
    """Defaults from RecBole 1.2.1's SASRec.yaml, where they differ from the paper's as said."""

    dropout: float = 0.5
    """On the embedding, the attention weights and the output of each half of a block. The paper:
    0.2 on MovieLens-1M, 0.5 on its sparse sets (section IV, implementation details)."""
    layers: int = 2
    """Blocks (paper: 2)."""
    heads: int = 2
    """Attention heads (paper: 1)."""
    inner: int = 4
    """Width of the feed-forward network in multiples of `dim` (paper: 1)."""
    activation: Activation = "gelu"
    """Of the feed-forward network (paper: "relu")."""
    norm: Norm = "post"
    """Where the LayerNorms stand (paper: "pre")."""
    mixed_table: bool = True
    """Whether items are scored by embedding plus features, or by the embedding alone; without
    features the same."""
    fusion: bool = False
    """Whether the states pass through FindRec's fusion layer, S = FFN(state) (its eq. 4)."""


class SASRec(Recommender):
    """Causal self-attention over item and position embeddings."""

    Config = SASRecConfig
    config: SASRecConfig
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")

    def __init__(self, config: SASRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = MixedItemEmbedding(catalogue, config.dim, self.modalities)
        self.positions = PositionEmbedding(config.max_length, config.dim)
        post = config.norm == "post"
        self.norm = nn.LayerNorm(config.dim, eps=EPS) if post else nn.Identity()
        self.dropout = Dropout(config.dropout, "embedding")
        self.encoder = TransformerEncoder(
            config.dim,
            layers=config.layers,
            heads=config.heads,
            inner=config.inner * config.dim,
            dropout=config.dropout,
            attention_dropout=config.dropout,
            causal=True,
            norm=config.norm,
            activation=config.activation,
        )
        init_normal(self)
        self.fusion = None
        if config.fusion:  # it starts as FindRec's does
            self.fusion = Fusion(config.dim, 2 * config.dim, config.dim, config.dropout)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D]."""
        x = self.items(batch.items) + self.positions(batch.items)
        states = self.encoder(self.dropout(self.norm(x), batch), batch)
        return Output(states if self.fusion is None else self.fusion(states, batch))

    def item_table(self) -> Tensor:
        """[N, D], the input's own item embedding (section III-D)."""
        return self.items.table(mixed=self.config.mixed_table)
