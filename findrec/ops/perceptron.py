"""One output row of a two-layer perceptron along the sequence, for models that read one position.

A mixer (MMMLP, SMLP4Rec) computes W_2 dropout(gelu(W_1 x + b_1)) along the positions. Where a model
reads the last position alone, one row of W_2 for each user is enough. `reference` is that formula
in torch ops; on a CPU the op runs `_Fused`, which computes the hidden layer for some users at a
time.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu

from findrec.ops.precision import single_precision
from findrec.ops.random import dropout_op, stream_code
from findrec.ops.stacking import define

CHUNK_BYTES = 2**19
"""Size of the hidden layer of the users in a chunk, so that it stays in the cache of a core."""


@single_precision
def mlp_row(
    x: Tensor,
    weight: Tensor,
    shift: Tensor,
    row: Tensor,
    lengths: Tensor,
    p: float,
    key: Tensor,
    random_stream: str,
    rows: Tensor,
) -> Tensor:
    """row @ dropout(gelu(weight @ x + shift)), [B, ..., 1, D].

    x: [B, ..., L, D], zero at positions past `lengths`, which are skipped on a CPU and get no
    gradient then; weight: [H, L]; shift: [H, D], the bias and what constant inputs add;
    row: [B, ..., 1, H], each user's row of the second layer; lengths: [B] int64, 1 .. L;
    p, key, random_stream and rows [B]: of the dropout, as in `findrec.ops.dropout`, whose indices
    are those of the hidden layer, [B, ..., H, D]. Raises ValueError on shapes that do not fit.
    """
    users, (length, width) = x.shape[:1], x.shape[-2:]
    hidden = weight.shape[0]
    expected = {
        "weight": (hidden, length), "shift": (hidden, width), "row": (*x.shape[:-2], 1, hidden),
        "lengths": users, "rows": users,
    }  # fmt: skip
    found = {"weight": weight, "shift": shift, "row": row, "lengths": lengths, "rows": rows}
    for name, tensor in found.items():
        if tensor.shape != expected[name]:
            raise ValueError(
                f"mlp_row's {name} is {tuple(tensor.shape)}, but x {tuple(x.shape)} and "
                f"{hidden} hidden units ask for {tuple(expected[name])}"
            )
    return _mlp_row(x, weight, shift, row, lengths, p, key, stream_code(random_stream), rows)


def reference(
    x: Tensor, weight: Tensor, shift: Tensor, row: Tensor, p: float, key: Tensor, code: int,
    rows: Tensor,
) -> Tensor:  # fmt: skip
    """The formula as written, in torch ops: any dtype and device, and the oracle of the fused form.

    Shapes as in `mlp_row`, each with the stack dimensions *S in front; code: of the random stream.
    """
    between = (1,) * (x.dim() - weight.dim())  # users and what stands between them and positions
    weight, shift = (w.reshape(*w.shape[:-2], *between, *w.shape[-2:]) for w in (weight, shift))
    hidden = gelu(weight @ x + shift)
    if p:
        hidden = dropout_op(hidden, p, key, code, rows, list(hidden.shape[rows.dim() :]))
    return row @ hidden


class _Fused(torch.autograd.Function):
    """The formula on a CPU, for chunks of users with similar lengths; shapes as in `reference`.

    The hidden layer has many times the elements of input and output, so most of the time beside the
    products goes into passes over it; a chunk of it stays in the cache. Its values v and slopes s,
    both after dropout, are kept for backward: an upstream gradient g gives row the gradient g v^T
    and weight @ x + shift the gradient s (row^T g).
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        x, weight, shift, row, lengths, p, key, code, rows, differentiate = arguments
        stacked = weight.dim() - 2
        hidden = *x.shape[stacked + 1 : -2], *shift.shape[-2:]  # of one user
        y = x.new_empty(*row.shape[:-1], x.shape[-1])
        state = x.new_empty(2, *lengths.shape, *hidden) if differentiate else None
        buffers = _buffers(x, shift, lengths)
        ones = torch.ones_like(buffers[0])
        for seed, at, users, longest in _chunks(x, shift, lengths):
            inputs = _matrices(x[seed][users, ..., :longest, :])
            w = weight[seed][:, :longest].expand(len(inputs), -1, -1)
            h, active = (buffer[: len(inputs)] for buffer in buffers)
            kept = ones[: len(inputs)]
            if state is not None:
                active, slopes = (_matrices(saved[seed][at]) for saved in state)
            torch.baddbmm(shift[seed], w, inputs, out=h)
            torch.ops.aten.gelu.out(h, out=active)
            if p:
                each = kept.view(-1, *hidden)
                kept = dropout_op(each, p, key[seed], code, rows[seed][users], list(hidden))
                kept = kept.view_as(h)
                active.mul_(kept)
            by_user = torch.bmm(_matrices(row[seed][users]), active)
            y[seed][users] = by_user.view(-1, *y.shape[stacked + 1 :])
            if state is not None:
                torch.ops.aten.gelu_backward.grad_input(kept, h, grad_input=slopes)
        if differentiate:
            ctx.save_for_backward(x, weight, row, lengths, state)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, row, lengths, saved = ctx.saved_tensors
        stacked = weight.dim() - 2
        values, slopes = saved
        grad_x, grad_row = torch.zeros_like(x), torch.empty_like(row)
        grad_weight = torch.zeros_like(weight)
        grad_shift = weight.new_zeros(*weight.shape[:-1], x.shape[-1])
        for seed, at, users, longest in _chunks(x, grad_shift, lengths):
            inputs = _matrices(x[seed][users, ..., :longest, :])
            w = weight[seed][:, :longest].expand(len(inputs), -1, -1)
            g = _matrices(grad[seed][users])
            by_row = torch.bmm(g, _matrices(values[seed][at]).mT)
            grad_row[seed][users] = by_row.view(-1, *row.shape[stacked + 1 :])
            h = (_matrices(row[seed][users]).mT * g).mul_(_matrices(slopes[seed][at]))
            by_x = torch.bmm(w.mT, h)
            each = *x.shape[stacked + 1 : -2], longest, x.shape[-1]
            grad_x[seed][users, ..., :longest, :] = by_x.view(-1, *each)
            grad_weight[seed][:, :longest].addbmm_(h, inputs.mT)
            grad_shift[seed].add_(h.sum(0))
        return grad_x, grad_weight, grad_shift, grad_row, *[None] * 6


def _chunk_size(x: Tensor, shift: Tensor, lengths: Tensor) -> tuple[int, int]:
    """Users in a chunk, matrices of each user."""
    matrices = math.prod(x.shape[lengths.dim() : -2])
    each = matrices * shift.shape[-2:].numel() * x.itemsize
    return min(max(1, CHUNK_BYTES // each), lengths.shape[-1]), matrices


def _buffers(x: Tensor, shift: Tensor, lengths: Tensor) -> list[Tensor]:
    """Two hidden layers of a chunk; fresh ones for each chunk would cost page faults."""
    users, matrices = _chunk_size(x, shift, lengths)
    return [x.new_empty(users * matrices, *shift.shape[-2:]) for _ in range(2)]


def _chunks(
    x: Tensor, shift: Tensor, lengths: Tensor
) -> Iterator[tuple[tuple[int, ...], slice, Tensor, int]]:
    """Of every chunk: its seed's index, its slice of the users by length, its users, their longest.

    One seed after the other, so that what a seed gives does not depend on the others.
    """
    size, _ = _chunk_size(x, shift, lengths)
    for seed in itertools.product(*map(range, lengths.shape[:-1])):
        ascending, order = lengths[seed].sort(stable=True)
        start = 0
        for users, own in zip(order.split(size), ascending.split(size), strict=True):
            yield seed, slice(start, start + len(users)), users, int(own[-1])
            start += len(users)


def _matrices(x: Tensor) -> Tensor:
    """[..., R, C] -> [n, R, C]"""
    return x.reshape(-1, *x.shape[-2:])


def _kernel(
    x: Tensor, weight: Tensor, shift: Tensor, row: Tensor, lengths: Tensor, p: float, key: Tensor,
    code: int, rows: Tensor,
) -> Tensor:  # fmt: skip
    if x.device.type != "cpu":
        return reference(x, weight, shift, row, p, key, code, rows)
    differentiate = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (x, weight, shift, row)
    )
    output: Tensor = _Fused.apply(x, weight, shift, row, lengths, p, key, code, rows, differentiate)
    return output


_mlp_row = define(
    "mlp_row(Tensor x, Tensor weight, Tensor shift, Tensor row, Tensor lengths, float p, "
    "Tensor key, int stream_code, Tensor rows) -> Tensor",
    _kernel,
)
