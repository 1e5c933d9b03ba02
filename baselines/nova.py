"""NOVA-BERT: side information enters the queries and keys of attention and never its values.

Liu et al., "Non-invasive Self-attention for Side Information Fusion in Sequential Recommendation",
AAAI 2021, sections 3.4-3.6. Queries and keys come from an item's vector fused with its side
information, values from the item's vector alone:

    NOVA(R, R_id) = softmax(Q K^T / sqrt(d)) V,   Q = R W_Q,  K = R W_K,  V = R_id W_V
    R = F(R_id, f_1, ..., f_m)

Every layer is given the same side information and fuses it with the item vectors from the layer
below; those of the first layer are the id embeddings. The position is one more piece of side
information (section 3.2), so the item vectors contain ids alone. F is one of section 3.5's fusors

    add      sum_i f_i
    concat   W (f_1 || ... || f_m) + b
    gating   sum_i G_i f_i,   G = softmax([f_1 ... f_m] w)

of which gating is the default, the best in the paper's study. The rest is BERT4Rec, as in section
3.6: the cloze objective, post-norm blocks with GELU, the prediction head, the tied softmax.

The side information here is text and image, projected linearly (FindRec's section 3.2 gives NOVA
"product images and textual descriptions"; the original paper has categories and tags). Its
projections at the cloze mask and at items that lack a modality are a learned vector; a modality
that the dataset lacks is left out of the fusion.

The authors published no code. The paper leaves open whether layers share the fusor's weights (not
here); normalisation and dropout of the fused vectors (each has BERT's LayerNorm for embeddings,
because they would differ much in length otherwise; dropout on the ids alone); and sigma of the
gate, a symbol that the paper introduces as softmax. Hyperparameters are BERT4Rec's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from baselines.transformer import EPS, PositionEmbedding
from findrec.layers import (
    Dropout,
    FeatureProjection,
    FeedForward,
    ItemEmbedding,
    SelfAttention,
    init_normal,
)
from findrec.recommender import (
    Batch,
    Catalogue,
    Modality,
    ModelConfig,
    Objective,
    Output,
    Recommender,
)

Fusion = Literal["add", "concat", "gating"]


@dataclass(frozen=True)
class NOVAConfig(ModelConfig):
    """Defaults from BERT4Rec (Sun et al. 2019, section 4.3), whose structure the paper keeps."""

    dropout: float = 0.1
    layers: int = 2
    heads: int = 2
    fusion: Fusion = "gating"
    mask_probability: float = 0.2
    """Share of the positions that the cloze objective masks."""
    last_only_probability: float = 1 / 11
    """Share of the sequences in which the last item alone is masked, as in BERT4Rec's code."""


class Fusor(nn.Module):
    """F of section 3.5: fuses m vectors of width D at each position into one."""

    def __init__(self, kind: Fusion, inputs: int, dim: int) -> None:
        super().__init__()
        if kind not in ("add", "concat", "gating"):
            raise ValueError(f"fusion is {kind!r}: choose add, concat or gating")
        self.kind = kind
        if kind == "concat":
            self.weight = nn.Linear(inputs * dim, dim)
        elif kind == "gating":
            self.weight = nn.Linear(dim, 1, bias=False)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """m tensors [B, L, D] -> [B, L, D]"""
        if self.kind == "add":
            return torch.stack(list(inputs)).sum(0)
        if self.kind == "concat":
            return self.weight(torch.cat(list(inputs), -1))
        gates = torch.cat([self.weight(x) for x in inputs], -1).softmax(-1)
        parts = [gate.unsqueeze(-1) * x for gate, x in zip(gates.unbind(-1), inputs, strict=True)]
        return torch.stack(parts).sum(0)


class NOVALayer(nn.Module):
    """A BERT layer whose attention is non-invasive."""

    def __init__(self, config: NOVAConfig, inputs: int, random_stream: str) -> None:
        super().__init__()
        dim, p = config.dim, config.dropout
        self.fusor = Fusor(config.fusion, inputs, dim)
        self.attention = SelfAttention(
            dim, config.heads, p, f"{random_stream}.attention", causal=False
        )
        self.attention_dropout = Dropout(p, f"{random_stream}.attention.out")
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.feed = FeedForward(dim, 4 * dim, p, f"{random_stream}.feed", activation=nn.GELU())
        self.feed_norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, ids: Tensor, side: Sequence[Tensor], batch: Batch) -> Tensor:
        """Item vectors [B, L, D] and side information, each [B, L, D] -> item vectors."""
        fused = self.fusor([ids, *side])
        attended = self.attention(fused, fused, ids, batch)
        ids = self.attention_norm(ids + self.attention_dropout(attended, batch))
        return self.feed_norm(ids + self.feed(ids, batch))


class NOVA(Recommender):
    """Liu et al. 2021."""

    Config = NOVAConfig
    objective: ClassVar[Objective] = "cloze"
    modalities: ClassVar[tuple[Modality, ...]] = ("text", "image")
    config: NOVAConfig

    def __init__(self, config: NOVAConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = ItemEmbedding(catalogue.items, config.dim, mask_token=True)
        self.positions = PositionEmbedding(config.max_length, config.dim)
        self.features = nn.ModuleDict(
            {
                name: FeatureProjection(features, config.dim)
                for name, features in catalogue.available(self.modalities).items()
            }
        )
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        self.position_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.feature_norms = nn.ModuleDict(
            {name: nn.LayerNorm(config.dim, eps=EPS) for name in self.features}
        )
        self.dropout = Dropout(config.dropout, "items")
        inputs = 2 + len(self.features)
        self.layers = nn.ModuleList(
            NOVALayer(config, inputs, f"layer{i}") for i in range(config.layers)
        )
        self.out = nn.Linear(config.dim, config.dim)
        self.out_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(catalogue.items))
        init_normal(self)

    def forward(self, batch: Batch) -> Output:
        ids = self.dropout(self.norm(self.items(batch.items)), batch)
        side = [self.position_norm(self.positions(batch.items)).expand_as(ids)]
        for name, features in self.features.items():
            side.append(self.feature_norms[name](features(batch.items)))
        for layer in self.layers:
            ids = layer(ids, side, batch)
        x = self.out_norm(nn.functional.gelu(self.out(ids)))
        return Output(torch.cat([x, torch.ones_like(x[..., :1])], -1))

    def item_table(self) -> Tensor:
        """[N, D + 1]: the id embedding and, met by the state's last entry of 1, a bias."""
        return torch.cat([self.items.table(), self.bias.unsqueeze(-1)], -1)
