"""Multilayer perceptrons along one axis: the building block of the MLP-Mixer family.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, section 2.
SMLP4Rec mixes along the sequence, the channels and the features of an item; MMMLP along the first
two. Both predict from the last position alone, so their last layer computes nothing else.

Shapes: B users, L positions, D width.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, gelu

from findrec.layers import Dropout
from findrec.ops import dropout
from findrec.ops.stacking import define
from findrec.recommender import Batch

CHUNK_BYTES = 2**19
"""Hidden layer of the users that `_contract` takes at a time, so that it stays in a core's cache.
128 users of 200 x 64, forward and backward on one core: 19 ms; with all users at once 28."""


class AxisMLP(nn.Module):
    """Linear, GELU, dropout, linear, dropout along one axis, the same for all other coordinates.

    size: length of that axis; inner: width of the hidden layer; axis: -1 or -2; uses: how often one
    forward pass applies these weights. Layers that share weights still draw a mask each.
    """

    def __init__(
        self, size: int, inner: int, p: float, site: str, *, axis: int, bias: bool, uses: int = 1
    ) -> None:
        super().__init__()
        if axis not in (-1, -2):
            raise ValueError(f"axis is {axis}: choose -1 or -2")
        self.axis = axis
        self.first = nn.Linear(size, inner, bias=bias)
        self.second = nn.Linear(inner, size, bias=bias)
        self.activation = nn.GELU()
        self.inner_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.inner") for use in range(uses))
        self.outer_dropout = nn.ModuleList(Dropout(p, f"{site}.{use}.outer") for use in range(uses))

    def forward(self, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """[B, ...] -> [B, ...]"""
        y = self._linear(self.second, self._hidden(x, batch, use))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def at(self, index: Tensor, x: Tensor, batch: Batch, use: int = 0) -> Tensor:
        """One output row of axis -2 for each user: [B] and [B, ..., size, D] -> [B, ..., 1, D]."""
        row = self.second.weight[index].reshape(-1, *[1] * (x.dim() - 2), self.second.in_features)
        if x.device.type == "cpu":
            drop = self.inner_dropout[use]
            p = drop.p if batch.training else 0.0
            first = self.first.weight, self.first.bias
            y = _contract(x, *first, row, p, batch.key, drop.site, batch.rows)
        else:
            y = row @ self._hidden(x, batch, use)
        if self.second.bias is not None:
            y = y + self.second.bias[index].reshape(-1, *[1] * (x.dim() - 1))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def _hidden(self, x: Tensor, batch: Batch, use: int) -> Tensor:
        hidden: Tensor = self.activation(self._linear(self.first, x))
        kept: Tensor = self.inner_dropout[use](hidden, batch)
        return kept

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        if self.axis == -1:
            return layer(x)
        y = layer.weight @ x  # no transposed copies
        return y if layer.bias is None else y + layer.bias.unsqueeze(-1)


def _kernel(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row: Tensor,
    p: float,
    key: Tensor,
    site: str,
    rows: Tensor,
) -> Tensor:
    leaves = (x, weight, row) if bias is None else (x, weight, row, bias)
    differentiate = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves)
    output: Tensor = _Contract.apply(x, weight, bias, row, p, key, site, rows, differentiate)
    return output


class _Contract(torch.autograd.Function):
    """row @ dropout(gelu(weight @ x + bias)) for one row a user, without the hidden layer's tensors.

    x: [*G, B, ..., L, D]; weight: [*G, H, L]; bias: [*G, H]; row: [*G, B, ..., 1, H];
    key: [*G, 2]; rows: [*G, B] -> [*G, B, ..., 1, D], with *G the group dimensions.
    The hidden layer is L D expansion wide and its output D, so what costs is to write it out six
    times; here it is made a few users at a time. Kept for backward are its values h and its slopes
    s, both after dropout: for an upstream gradient g, row's is g h^T and h's, s (row^T g).
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, weight, bias, row, p, key, site, rows, differentiate = arguments
        hidden = (*x.shape[:-2], weight.shape[-2], x.shape[-1])
        y = x.new_empty(*x.shape[:-2], 1, x.shape[-1])
        values = x.new_empty(hidden if differentiate else 0)
        slopes = torch.empty_like(values)
        for group, users in _chunks(weight, hidden):
            h = weight[group] @ x[group][users]
            if bias is not None:
                h += bias[group].unsqueeze(-1)
            active = gelu(h)
            kept = torch.ones_like(h)
            if p:
                kept = dropout(kept, p, key[group], site, rows[group][users])
                active *= kept
            torch.matmul(row[group][users], active, out=y[group][users])
            if differentiate:
                values[group][users] = active
                slopes[group][users] = torch.ops.aten.gelu_backward(kept, h)
        if differentiate:
            ctx.save_for_backward(x, weight, row, values, slopes)
            ctx.biased = bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, row, values, slopes = ctx.saved_tensors
        grad_x, grad_row, grad_weight = (torch.empty_like(t) for t in (x, row, weight))
        grad_weight.zero_()
        grad_bias = weight.new_zeros(weight.shape[:-1]) if ctx.biased else None
        for group, users in _chunks(weight, values.shape):
            g = grad[group][users]
            torch.matmul(g, values[group][users].mT, out=grad_row[group][users])
            h = (row[group][users].mT * g).mul_(slopes[group][users])
            torch.matmul(weight[group].T, h, out=grad_x[group][users])
            grad_weight[group].addbmm_(h.flatten(0, -3), x[group][users].flatten(0, -3).mT)
            if grad_bias is not None:
                grad_bias[group] += h.sum((*range(h.dim() - 2), -1))
        return grad_x, grad_weight, grad_bias, grad_row, None, None, None, None, None


def _chunks(weight: Tensor, hidden: Sequence[int]) -> Iterator[tuple[tuple[int, ...], slice]]:
    """(group, users): one group after the other, so that what one gives depends on no other."""
    leading = weight.shape[:-2]
    users = hidden[len(leading)]
    each = math.prod(hidden[len(leading) + 1 :]) * weight.dtype.itemsize
    size = max(1, CHUNK_BYTES // each)
    for group in itertools.product(*map(range, leading)):
        for start in range(0, users, size):
            yield group, slice(start, start + size)


_contract = define(
    "mix_to_one(Tensor x, Tensor weight, Tensor? bias, Tensor row, float p, Tensor key, str site, "
    "Tensor rows) -> Tensor",
    _kernel,
)


def of_items(function: Callable[[Tensor], Tensor], items: Tensor, n_items: int) -> Tensor:
    """`function` of ids, [...] -> [..., D], where it treats each id by itself.

    It is given all ids 0 .. n_items or those at the positions, whichever are fewer.
    """
    if items.numel() <= n_items + 1:
        return function(items)
    return embedding(items, function(torch.arange(n_items + 1, device=items.device)))


def last_position(batch: Batch) -> Tensor:
    """[B] index of each user's last item; sequences are padded at the right."""
    return (batch.valid.sum(-1) - 1).clamp(min=0)


def pick(x: Tensor, index: Tensor) -> Tensor:
    """One position of each user: [B, ..., L, D] and [B] -> [B, ..., 1, D]."""
    index = index.reshape(-1, *[1] * (x.dim() - 1))
    return x.gather(-2, index.expand(*x.shape[:-2], 1, x.shape[-1]))


def place(state: Tensor, index: Tensor, length: int) -> Tensor:
    """Inverse of `pick` with zeros elsewhere: [B, 1, D] and [B] -> [B, L, D]."""
    here = torch.arange(length, device=index.device) == index.unsqueeze(-1)
    return state * here.unsqueeze(-1)
