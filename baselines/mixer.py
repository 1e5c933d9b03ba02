"""Multilayer perceptrons along one axis: the building block of the MLP-Mixer family.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, section 2.
SMLP4Rec mixes along the sequence, the channels and the features of an item; MMMLP along the first
two. Both predict from the last position alone, so their last layer computes only that one.

Shapes: B users, L positions, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from findrec.layers import Dropout
from findrec.ops import mlp_row
from findrec.recommender import Batch


class AxisMLP(nn.Module):
    """Linear, GELU, dropout, linear, dropout along one axis, the same for all other coordinates.

    size: length of that axis; inner: width of the hidden layer; axis: -1 or -2; uses: how often one
    forward pass applies these weights. Each application has its own dropout mask.
    """

    def __init__(
        self,
        size: int,
        inner: int,
        p: float,
        random_stream: str,
        *,
        axis: int,
        bias: bool,
        uses: int = 1,
    ) -> None:
        super().__init__()
        if axis not in (-1, -2):
            raise ValueError(f"axis is {axis}: choose -1 or -2")
        self.axis = axis
        self.first = nn.Linear(size, inner, bias=bias)
        self.second = nn.Linear(inner, size, bias=bias)
        self.activation = nn.GELU()
        self.inner_dropout = nn.ModuleList(
            Dropout(p, f"{random_stream}.{use}.inner") for use in range(uses)
        )
        self.outer_dropout = nn.ModuleList(
            Dropout(p, f"{random_stream}.{use}.outer") for use in range(uses)
        )

    def forward(self, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """[B, ...] -> [B, ...]"""
        hidden = self.inner_dropout[use](self.activation(self._linear(self.first, x)), batch)
        y = self._linear(self.second, hidden)
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def output_at(
        self,
        index: Tensor,
        x: Tensor,
        batch: Batch,
        use: int = 0,
        padding: Tensor | None = None,
    ) -> Tensor:
        """One output row of axis -2 for each user: [B] and [B, ..., size, D] -> [B, ..., 1, D].

        padding: [D], the vector at every position behind `index`, the same for all users; x is
        then given with it subtracted everywhere (`relative_to_padding`), so that these positions
        are zero and are skipped, and what the vector adds is computed once for all users.
        """
        weight, bias, drop = self.first.weight, self.first.bias, self.inner_dropout[use]
        assert isinstance(drop, Dropout)
        shift = (weight.new_zeros(len(weight)) if bias is None else bias).unsqueeze(-1)
        shift = shift.expand(-1, x.shape[-1])
        lengths = torch.full_like(index, x.shape[-2])
        if padding is not None:
            shift = shift + weight.sum(-1, keepdim=True) * padding
            lengths = index + 1
        row = self.second.weight[index].reshape(-1, *[1] * (x.dim() - 2), self.second.in_features)
        row = row.expand(*x.shape[:-2], 1, -1)
        p = drop.p if batch.training else 0.0
        y = mlp_row(x, weight, shift, row, lengths, p, batch.key, drop.random_stream, batch.rows)
        if self.second.bias is not None:
            y = y + self.second.bias[index].reshape(-1, *[1] * (x.dim() - 1))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        if self.axis == -1:  # as one product; under vmap a linear layer flattens fewer dimensions
            y: Tensor = layer(x.flatten(0, -2))
            return y.unflatten(0, x.shape[:-1])
        y = layer.weight @ x  # no transposed copies
        return y if layer.bias is None else y + layer.bias.unsqueeze(-1)


def per_item(function: Callable[[Tensor], Tensor], items: Tensor, n_items: int) -> Tensor:
    """`function` of ids, [...] -> [..., D], where each id's vector depends on that id alone.

    It is called with all ids 0 .. n_items or with those at the positions, whichever are fewer.
    """
    if items.numel() <= n_items + 1:
        return function(items)
    return function(torch.arange(n_items + 1, device=items.device))[items]


def relative_to_padding(
    function: Callable[[Tensor], Tensor], items: Tensor, n_items: int
) -> tuple[Tensor, Tensor]:
    """The vectors of `per_item` minus the vector of padding, [..., D], and that vector, [D].

    `AxisMLP.output_at` takes both.
    """
    padding = function(torch.zeros_like(items[:1, 0])).squeeze(0)
    return per_item(lambda ids: function(ids) - padding, items, n_items), padding


def last_position(batch: Batch) -> Tensor:
    """[B] index of each user's last item; sequences are padded at the right."""
    return (batch.valid.sum(-1) - 1).clamp(min=0)


def select_position(x: Tensor, index: Tensor) -> Tensor:
    """One position of each user: [B, ..., L, D] and [B] -> [B, ..., 1, D]."""
    index = index.reshape(-1, *[1] * (x.dim() - 1))
    return x.gather(-2, index.expand(*x.shape[:-2], 1, x.shape[-1]))
