"""Multilayer perceptrons along one axis: the building block of the MLP-Mixer family.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, section 2.
SMLP4Rec mixes along the sequence, the channels and the features of an item; MMMLP along the first
two. Both predict from the last position alone, so their last layer computes only that one.

Shapes: B users, L positions, D width.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from findrec.layers import Dropout
from findrec.ops import dropout
from findrec.ops.stacking import define
from findrec.recommender import Batch

CHUNK_BYTES = 2**19
"""Hidden layer of the users that `_contract` takes at a time, so that a core's cache holds it."""


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
        y = self._linear(self.second, self._hidden(x, batch, use))
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
        row = self.second.weight[index].reshape(-1, *[1] * (x.dim() - 2), self.second.in_features)
        if x.device.type == "cpu":
            weight, drop = self.first.weight, self.inner_dropout[use]
            bias = weight.new_zeros(len(weight)) if self.first.bias is None else self.first.bias
            shift = bias.unsqueeze(-1).expand(-1, x.shape[-1])
            if padding is None:
                lengths = torch.full_like(index, x.shape[-2])
            else:
                lengths = index + 1
                shift = shift + weight.sum(-1, keepdim=True) * padding
            p = drop.p if batch.training else 0.0
            row = row.expand(*x.shape[:-2], 1, -1)
            y = _contract(
                x, weight, shift, row, lengths, p, batch.key, drop.random_stream, batch.rows
            )
        else:
            y = row @ self._hidden(x if padding is None else x + padding, batch, use)
        if self.second.bias is not None:
            y = y + self.second.bias[index].reshape(-1, *[1] * (x.dim() - 1))
        mixed: Tensor = self.outer_dropout[use](y, batch)
        return mixed

    def _hidden(self, x: Tensor, batch: Batch, use: int) -> Tensor:
        hidden: Tensor = self.activation(self._linear(self.first, x))
        kept: Tensor = self.inner_dropout[use](hidden, batch)
        return kept

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        if self.axis == -1:  # as one product; under vmap a linear layer flattens fewer dimensions
            y: Tensor = layer(x.flatten(0, -2))
            return y.unflatten(0, x.shape[:-1])
        y = layer.weight @ x  # no transposed copies
        return y if layer.bias is None else y + layer.bias.unsqueeze(-1)


class _Contract(torch.autograd.Function):
    """row @ dropout(gelu(weight @ x + shift)) with one row for each user, on a CPU.

    x: [*S, B, ..., L, D], constant zero at positions past `lengths`, [*S, B], which are mostly
    left out, and without a gradient then; weight: [*S, H, L]; shift: [*S, H, D];
    row: [*S, B, ..., 1, H]; key: [*S, 2]; rows: [*S, B] -> [*S, B, ..., 1, D], with *G the group
    dimensions.

    The hidden layer has many times the elements of input and output, so what costs beside the
    products is every pass over it: it is made for some users of like length at a time. Kept for
    backward are its values v and slopes s, both after dropout: an upstream gradient g gives row the
    gradient g v^T and weight @ x + shift the gradient s (row^T g).
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, weight, shift, row, lengths, p, key, random_stream, rows, differentiate = arguments
        groups = weight.dim() - 2
        hidden = *x.shape[groups + 1 : -2], *shift.shape[-2:]  # of one user
        y = x.new_empty(*row.shape[:-1], x.shape[-1])
        state = x.new_empty(2, *lengths.shape, *hidden) if differentiate else None
        buffers = _buffers(x, shift, lengths)
        ones = torch.ones_like(buffers[0])
        for group, at, users, longest in _chunks(x, shift, lengths):
            inputs = _matrices(x[group][users, ..., :longest, :])
            w = weight[group][:, :longest].expand(len(inputs), -1, -1)
            h, active = (buffer[: len(inputs)] for buffer in buffers)
            kept = ones[: len(inputs)]
            if state is not None:
                active, slopes = (_matrices(saved[group][at]) for saved in state)
            torch.baddbmm(shift[group], w, inputs, out=h)
            torch.ops.aten.gelu.out(h, out=active)
            if p:
                each = kept.view(-1, *hidden)
                kept = dropout(each, p, key[group], random_stream, rows[group][users]).view_as(h)
                active.mul_(kept)
            by_user = torch.bmm(_matrices(row[group][users]), active)
            y[group][users] = by_user.view(-1, *y.shape[groups + 1 :])
            if state is not None:
                torch.ops.aten.gelu_backward.grad_input(kept, h, grad_input=slopes)
        if differentiate:
            ctx.save_for_backward(x, weight, row, lengths, state)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, row, lengths, saved = ctx.saved_tensors
        groups = weight.dim() - 2
        values, slopes = saved
        grad_x, grad_row = torch.zeros_like(x), torch.empty_like(row)
        grad_weight = torch.zeros_like(weight)
        grad_shift = weight.new_zeros(*weight.shape[:-1], x.shape[-1])
        for group, at, users, longest in _chunks(x, grad_shift, lengths):
            inputs = _matrices(x[group][users, ..., :longest, :])
            w = weight[group][:, :longest].expand(len(inputs), -1, -1)
            g = _matrices(grad[group][users])
            by_row = torch.bmm(g, _matrices(values[group][at]).mT)
            grad_row[group][users] = by_row.view(-1, *row.shape[groups + 1 :])
            h = (_matrices(row[group][users]).mT * g).mul_(_matrices(slopes[group][at]))
            by_x = torch.bmm(w.mT, h)
            each = *x.shape[groups + 1 : -2], longest, x.shape[-1]
            grad_x[group][users, ..., :longest, :] = by_x.view(-1, *each)
            grad_weight[group][:, :longest].addbmm_(h, inputs.mT)
            grad_shift[group].add_(h.sum(0))
        return grad_x, grad_weight, grad_shift, grad_row, *[None] * 6


def _users(x: Tensor, shift: Tensor, lengths: Tensor) -> tuple[int, int]:
    """Users in a chunk, matrices of each user."""
    matrices = math.prod(x.shape[lengths.dim() : -2])
    each = matrices * shift.shape[-2:].numel() * x.itemsize
    return min(max(1, CHUNK_BYTES // each), lengths.shape[-1]), matrices


def _buffers(x: Tensor, shift: Tensor, lengths: Tensor) -> list[Tensor]:
    """Two hidden layers of a chunk; fresh ones for each chunk would cost page faults."""
    users, matrices = _users(x, shift, lengths)
    return [x.new_empty(users * matrices, *shift.shape[-2:]) for _ in range(2)]


def _chunks(
    x: Tensor, shift: Tensor, lengths: Tensor
) -> Iterator[tuple[tuple[int, ...], slice, Tensor, int]]:
    """Group, place in the order of its lengths, the users there, the longest length of them.

    One group after the other, so that what one gives depends on no other.
    """
    size, _ = _users(x, shift, lengths)
    for group in itertools.product(*map(range, lengths.shape[:-1])):
        ascending, order = lengths[group].sort(stable=True)
        start = 0
        for users, own in zip(order.split(size), ascending.split(size), strict=True):
            yield group, slice(start, start + len(users)), users, int(own[-1])
            start += len(users)


def _matrices(x: Tensor) -> Tensor:
    """[..., R, C] -> [n, R, C]"""
    return x.reshape(-1, *x.shape[-2:])


def _kernel(*arguments: Any) -> Tensor:
    wanted = any(argument.requires_grad for argument in arguments[:4])
    output: Tensor = _Contract.apply(*arguments, torch.is_grad_enabled() and wanted)
    return output


_contract = define(
    "mix_to_one(Tensor x, Tensor weight, Tensor shift, Tensor row, Tensor lengths, float p, "
    "Tensor key, str random_stream, Tensor rows) -> Tensor",
    _kernel,
)


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
