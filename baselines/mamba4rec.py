"""Mamba4Rec: Liu et al., Towards Efficient Sequential Recommendation with Selective State Space
Models, 2024 (arXiv 2403.03900; RelKD at KDD 2024).

Followed, in the order of its section 3: item embedding with dropout and LayerNorm, no position
embedding; layers of a Mamba block and a feed-forward network with GELU, each with dropout, residual
and LayerNorm; scores by the same item embedding, cross-entropy over all items.

What the released code does differently, and which one is the default
    residual    The code omits the residual around the Mamba block if there is one layer only.
                Followed; the default here has two layers.
    start       The code redraws every linear layer from N(0, 0.02) and zeroes its bias, those
                inside Mamba too: the step size then starts at softplus(0) = 0.69 in every channel,
                not log-uniformly in [0.001, 0.1] as in Mamba's section 3.6, so that a state
                decays faster. The paper does not mention it. `start = "mamba"` keeps Mamba's own
                start inside its block; `start = "released"` does as the code does.
    optimiser   The code: Adam 1e-3, batch 2,048 prefixes. Here: the engine's AdamW.
    scan        The code needs mamba-ssm and causal-conv1d; here `findrec.ops.selective_scan`.

Mamba4Rec (MM) is this class with features in its catalogue; see `baselines.items`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from baselines.items import MixedItemEmbedding
from baselines.transformer import EPS
from findrec.layers import Dropout, FeedForward, init_normal
from findrec.mamba import Mamba, MambaSizes
from findrec.recommender import Batch, Catalogue, Modality, ModelConfig, Output, Recommender

Start = Literal["mamba", "released"]


@dataclass(frozen=True)
class Mamba4RecConfig(ModelConfig):
    """Defaults from the released config.yaml unless said otherwise."""

    dropout: float = 0.2
    """On the embedding, the Mamba block's output and the feed-forward network. Mamba4Rec: 0.2 on
    MovieLens-1M, 0.4 on its Amazon sets (implementation details)."""
    layers: int = 2
    """The paper at hand uses two (section 3.3); Mamba4Rec's own default is one."""
    d_state: int = 32
    """N, size of the state of a channel."""
    d_conv: int = 4
    """Width of the causal convolution."""
    expand: int = 2
    """Inner width of the Mamba block in multiples of `dim`."""
    start: Start = "mamba"
    """Initial values inside the Mamba block; see above."""
    mixed_table: bool = True
    """Whether items are scored by embedding plus features, or by the embedding alone; without
    features the same."""


class Mamba4Rec(Recommender):
    """Selective state space layers over item embeddings."""

    Config = Mamba4RecConfig
    config: Mamba4RecConfig
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")

    def __init__(self, config: Mamba4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        if config.start not in ("mamba", "released"):
            raise ValueError(f"start is {config.start!r}: choose 'mamba' or 'released'")
        self.items = MixedItemEmbedding(catalogue, config.dim, self.modalities)
        self.dropout = Dropout(config.dropout, "embedding")
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.layers = nn.ModuleList(
            Mamba4RecLayer(config, f"layer{i}") for i in range(config.layers)
        )
        init_normal(self.items)

    def forward(self, batch: Batch) -> Output:
        """States after every position, [B, L, D]."""
        x = self.norm(self.dropout(self.items(batch.items), batch))
        for layer in self.layers:
            x = layer(x, batch)
        return Output(x)

    def item_table(self) -> Tensor:
        """[N, D], the input's own item embedding."""
        return self.items.table(mixed=self.config.mixed_table)


class Mamba4RecLayer(nn.Module):
    """LN(x + Dropout(Mamba(x))), then LN(h + FFN(h)); a single layer has no first residual."""

    def __init__(self, config: Mamba4RecConfig, random_stream: str) -> None:
        super().__init__()
        dim = config.dim
        self.residual = config.layers > 1
        sizes = MambaSizes(d_state=config.d_state, d_conv=config.d_conv, expand=config.expand)
        self.mamba = Mamba(dim, sizes)
        self.dropout = Dropout(config.dropout, f"{random_stream}.mamba")
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.feed = FeedForward(
            dim, 4 * dim, config.dropout, f"{random_stream}.feed", activation=nn.GELU()
        )
        self.feed_norm = nn.LayerNorm(dim, eps=EPS)
        init_normal(self if config.start == "released" else self.feed)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        h = self.dropout(self.mamba(x), batch)
        h = self.norm(h + x if self.residual else h)
        return self.feed_norm(h + self.feed(h, batch))
