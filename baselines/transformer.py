"""The Transformer encoder of SASRec, BERT4Rec and UniSRec (Vaswani et al. 2017, section 3).

One block is: fused projection of queries, keys and values, attention, projection, feed-forward
network, each half with dropout, residual and LayerNorm. `SelfAttention` of `findrec.layers` takes
three different inputs; here they are the same, so that one product computes all three.

Shapes: B users, L positions, D width, H heads.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from findrec.layers import Dropout, merge_heads
from findrec.recommender import Batch

Norm = Literal["post", "pre"]
Activation = Literal["gelu", "relu"]

EPS = 1e-12
"""Of every LayerNorm, as in BERT and RecBole."""


class TransformerEncoder(nn.Module):
    """A stack of blocks.

    inner: width of the feed-forward network; dropout: on the output of each half;
    attention_dropout: on the attention weights; causal: whether a position sees only itself and
    what stands before it.
    norm: "post" is LN(x + f(x)); "pre" is x + f(LN(x)), with a LayerNorm after the last block.
    Raises ValueError where `heads` does not divide `dim`.
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        causal: bool,
        norm: Norm = "post",
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} does not divide into {heads} heads: change one of them")
        if norm not in ("post", "pre"):
            raise ValueError(f"norm is {norm!r}: choose 'post' or 'pre'")
        if activation not in ("gelu", "relu"):
            raise ValueError(f"activation is {activation!r}: choose 'gelu' or 'relu'")
        self.causal = causal
        self.blocks = nn.ModuleList(
            Block(dim, heads, inner, dropout, attention_dropout, f"block{i}", norm, activation)
            for i in range(layers)
        )
        self.last_norm = nn.LayerNorm(dim, eps=EPS) if norm == "pre" else nn.Identity()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        mask = self.mask(x, batch.valid)
        for block in self.blocks:
            x = block(x, mask, batch)
        return self.last_norm(x)

    def mask(self, x: Tensor, valid: Tensor) -> Tensor:
        """Added to the scores: 0 where attention is allowed, very negative elsewhere.

        [L, L] if causal (padding is at the right, so no valid position attends to it); else
        [B, 1, 1, L]. Finite, so that a row of padding alone gives no NaN.
        """
        lowest = torch.finfo(x.dtype).min
        if self.causal:
            length = x.shape[-2]
            return torch.full((length, length), lowest, dtype=x.dtype, device=x.device).triu(1)
        return (~valid).to(x.dtype)[..., None, None, :] * lowest


class Block(nn.Module):
    """Self-attention and feed-forward network, each with dropout, residual and LayerNorm."""

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        random_stream: str,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.first = nn.Linear(dim, inner)
        self.second = nn.Linear(inner, dim)
        self.activation = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.feed_norm = nn.LayerNorm(dim, eps=EPS)
        self.weight_dropout = Dropout(attention_dropout, f"{random_stream}.weights")
        self.attention_dropout = Dropout(dropout, f"{random_stream}.attention")
        self.feed_dropout = Dropout(dropout, f"{random_stream}.feed")

    def forward(self, x: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        """x: [B, L, D]; mask: added to the scores, broadcast to [B, H, L, L]."""
        if self.norm == "pre":
            x = x + self.attend(self.attention_norm(x), mask, batch)
            return x + self.feed(self.feed_norm(x), batch)
        x = self.attention_norm(x + self.attend(x, mask, batch))
        return self.feed_norm(x + self.feed(x, batch))

    def attend(self, x: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim(-2, -4)
        q, k, v = heads.unbind(-2)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2) + mask
        weights = self.weight_dropout(scores.softmax(-1), batch)
        return self.attention_dropout(self.out(merge_heads(weights @ v)), batch)

    def feed(self, x: Tensor, batch: Batch) -> Tensor:
        return self.feed_dropout(self.second(self.activation(self.first(x))), batch)


class PositionEmbedding(nn.Module):
    """Learned vectors of the positions, counted from the first item of the window."""

    def __init__(self, length: int, dim: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, items: Tensor) -> Tensor:
        """[B, L] ids -> [L, D]. Raises ValueError where L exceeds the window."""
        length = items.shape[-1]
        if length > len(self.weight):
            raise ValueError(
                f"a sequence of {length} positions exceeds the window of {len(self.weight)}: "
                "raise max_length, or keep the last items alone"
            )
        return self.weight[:length]
