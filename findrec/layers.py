"""Layers that several models share. Shapes: B users, L positions, D width, H heads."""

import math

import torch
from torch import Tensor, nn

from findrec.ops import dropout
from findrec.recommender import Batch, Features


class Dropout(nn.Module):
    """Dropout by a keyed hash, so that a draw depends on key, stream and coordinates alone.

    random_stream: its name, unique within the model.
    """

    def __init__(self, p: float, random_stream: str) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout at {random_stream!r} is {p}: choose a rate in [0, 1)")
        self.p = p
        self.random_stream = random_stream

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """x: [B, ...], first dimension aligned with `batch.rows`."""
        if not batch.training or self.p == 0:
            return x
        return dropout(x, self.p, batch.key, self.random_stream, batch.rows)


class ItemEmbedding(nn.Module):
    """Embeddings of N items, padding and, if asked for, the cloze mask (id N + 1).

    The padding row is multiplied away rather than declared as `padding_idx`, which under seed
    stacking would protect only the first seed's row.
    """

    def __init__(
        self, n_items: int, dim: int, *, mask_token: bool = False, std: float = 0.02
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.weight = nn.Parameter(torch.empty(n_items + 1 + mask_token, dim))
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, items: Tensor) -> Tensor:
        """[...] ids -> [..., D], zero at padding."""
        return nn.functional.embedding(items, self.weight) * (items > 0).unsqueeze(-1)

    def table(self) -> Tensor:
        """[N, D] without padding and mask."""
        return self.weight[1 : self.n_items + 1]


class FeatureProjection(nn.Module):
    """Frozen features, projected linearly; items that lack the modality get a learned vector."""

    values: Tensor
    present: Tensor

    def __init__(self, features: Features, dim: int) -> None:
        super().__init__()
        self.register_buffer("values", features.values, persistent=False)
        self.register_buffer("present", features.present, persistent=False)
        self.linear = nn.Linear(features.values.shape[1], dim)
        self.missing = nn.Parameter(torch.zeros(dim))

    def forward(self, items: Tensor) -> Tensor:
        """[...] ids -> [..., D]; padding is zero. Ids above N (the cloze mask) count as missing.

        Either the catalogue is projected or the positions, whichever are fewer.
        """
        inside = torch.where(items < self.values.shape[0], items, 0)
        if items.numel() < self.values.shape[0]:
            projected = self._project(self.values[inside], self.present[inside])
        else:
            # By indexing: the gradient of `embedding` is laid out by the number of stacked seeds,
            # and with it the order in which the bias's gradient is summed.
            projected = self._project(self.values, self.present)[inside]
        return projected * (items > 0).unsqueeze(-1)

    def table(self) -> Tensor:
        """[N, D] of all items."""
        return self._project(self.values[1:], self.present[1:])

    def has(self, items: Tensor) -> Tensor:
        """[...] ids -> [...] bool: whether the item has the modality; False at padding and mask."""
        return self.present[torch.where(items < self.values.shape[0], items, 0)]

    def _project(self, values: Tensor, present: Tensor) -> Tensor:
        return torch.where(present.unsqueeze(-1), self.linear(values), self.missing)


class SelfAttention(nn.Module):
    """Multi-head attention over the positions of one user (Vaswani et al. 2017, section 3.2).

    `causal` lets a position see itself and what stands before it; with padding at the right no
    further mask is needed. Otherwise every valid position is seen.
    """

    def __init__(self, dim: int, heads: int, p: float, random_stream: str, *, causal: bool) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} does not divide into {heads} heads: change one of them")
        self.heads = heads
        self.causal = causal
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = Dropout(p, f"{random_stream}.weights")

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, batch: Batch) -> Tensor:
        """Each [B, L, D] -> [B, L, D]."""
        q, k, v = (
            split_heads(layer(x), self.heads)
            for layer, x in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        weights = attention_weights(q, k, batch.valid, causal=self.causal)
        return self.out(merge_heads(self.dropout(weights, batch) @ v))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, D] -> [B, H, L, D / H]"""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, L, D / H] -> [B, L, D]"""
    return x.transpose(-3, -2).flatten(-2)


def attention_weights(q: Tensor, k: Tensor, valid: Tensor, *, causal: bool) -> Tensor:
    """Softmax(q k^T / sqrt(d)), [B, H, L, L], for q and k [B, H, L, d] and valid [B, L].

    The scaling stands on q, where it is cheapest. Every row has a finite entry: causal rows see
    themselves, and rows of users see their first item.
    """
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    if causal:
        length = q.shape[-2]
        allowed = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    else:
        allowed = valid[..., None, None, :]
    # Adding 0 or -inf is one pass over the scores forward and none backward; filling takes three.
    return (scores + torch.where(allowed, 0.0, float("-inf")).to(q.dtype)).softmax(-1)


class FeedForward(nn.Module):
    """Linear, activation, dropout, linear, dropout, position by position."""

    def __init__(
        self,
        dim: int,
        inner: int,
        p: float,
        random_stream: str,
        *,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(dim, inner)
        self.second = nn.Linear(inner, dim)
        self.activation = activation or nn.ReLU()
        self.inner_dropout = Dropout(p, f"{random_stream}.inner")
        self.outer_dropout = Dropout(p, f"{random_stream}.outer")

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """[B, L, D] -> [B, L, D]"""
        hidden = self.inner_dropout(self.activation(self.first(x)), batch)
        return self.outer_dropout(self.second(hidden), batch)


class Fusion(nn.Module):
    """S = FFN(z_final), eq. 4 of FindRec: Linear, ReLU, dropout, Linear; a LayerNorm ends it, as in
    the released code. There is no residual.

    width: of z_final; inner: between the two linear layers; dim: D of the states.
    """

    def __init__(self, width: int, inner: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, dim)
        self.dropout = Dropout(dropout, "fusion")
        self.norm = nn.LayerNorm(dim)

    def forward(self, z_final: Tensor, batch: Batch) -> Tensor:
        """[B, L, width] -> [B, L, D]"""
        return self.norm(self.outer(self.dropout(torch.relu(self.inner(z_final)), batch)))


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """N(0, std) for the weights of every linear layer and zero for its bias, as BERT does."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
