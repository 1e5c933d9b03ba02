"""Full-softmax cross-entropy that never holds the [positions, items] logits.

The positions are cut into chunks, and one pass over a chunk computes its loss and, if required, its
gradients: three matrix products in all, against four if backward computed the logits again. The
gradients are kept until backward, which scales them by the gradient of the loss.

A CPU computes the seeds of a stack one after the other. Every other device computes a chunk of all
of them at once, in batched products: a GPU is not occupied by the products of one seed.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from findrec.ops.compiled import run_tasks
from findrec.ops.stacking import define

CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""Size of a chunk's logits. On a CPU they stay in the second-level cache between the products
(2,423 items, 6,000 positions: 88 ms with 1 MiB, 111 with 8, 162 with 64); a GPU needs larger chunks
to be fully occupied. Those of 100,000 items and ten seeds in float32 have 67 positions of a seed on
a GPU, 67 million logits."""
LEAST_ROWS = 64
"""Least number of positions of a seed in a chunk, however large the catalogue: products with fewer
rows run far below the speed of the machine."""


def cross_entropy(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor,
    left_out: Tensor | None = None,
) -> Tensor:
    """sum_m weights_m (logsumexp_n <states_m, table_n> - <states_m, table_target>), a scalar.

    states: [M, D]; table: [N, D], of the same dtype, float32 or float64; targets: [M] int64,
    0 .. N - 1; weights: [M], constants without a gradient. A position of weight 0 adds
    nothing, whatever its state. left_out: [M, K] int64, 0 .. N - 1, items over which the logsumexp
    of a position does not run; it runs over its target all the same. Memory beyond inputs and
    gradients is a chunk of the logits: `chunk_rows` times N values of each seed that is computed at
    once.
    Raises ValueError on shapes or dtypes that do not fit and, on a CPU, on a target out of range.
    """
    if states.dim() != 2 or table.dim() != 2 or states.shape[1] != table.shape[1]:
        raise ValueError(
            "cross_entropy takes states [M, D] and table [N, D], "
            f"not {tuple(states.shape)} and {tuple(table.shape)}"
        )
    if states.dtype != table.dtype or states.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "cross_entropy takes states and table both in float32 or both in float64, "
            f"not {states.dtype} and {table.dtype}"
        )
    for name, tensor in (("targets", targets), ("weights", weights)):
        if tensor.shape != states.shape[:1]:
            raise ValueError(
                f"cross_entropy's {name} have shape {tuple(tensor.shape)}: one for each of "
                f"{states.shape[0]} states is needed"
            )
    if targets.dtype != torch.int64:
        raise ValueError(f"cross_entropy's targets are {targets.dtype}: they must be int64")
    if left_out is not None and (left_out.shape[:-1], left_out.dtype) != (
        targets.shape,
        torch.int64,
    ):
        raise ValueError(
            f"cross_entropy's left_out is {left_out.dtype} of shape {tuple(left_out.shape)}: it "
            f"must be int64 with one row for each of {states.shape[0]} states"
        )
    return _cross_entropy(states, table, targets, weights, left_out)


def chunk_rows(items: int, dtype: torch.dtype, device: torch.device, seeds: int = 1) -> int:
    """Number of positions of each seed in a chunk of the logits of `seeds` seeds."""
    budget = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"])
    return max(LEAST_ROWS, budget // (seeds * items * dtype.itemsize))


def _kernel(
    states: Tensor, table: Tensor, targets: Tensor, weights: Tensor, left_out: Tensor | None
) -> Tensor:
    if weights.requires_grad:
        raise ValueError("cross_entropy's weights are constants: detach them")
    differentiate = torch.is_grad_enabled() and (states.requires_grad or table.requires_grad)
    output: Tensor = _CrossEntropy.apply(states, table, targets, weights, left_out, differentiate)
    return output


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        states, table, targets, weights, left_out, differentiate = arguments
        leading = states.shape[:-2]
        seeds = math.prod(leading)
        states = states.reshape(seeds, *states.shape[-2:])
        table = table.reshape(seeds, *table.shape[-2:])
        targets = targets.reshape(seeds, targets.shape[-1])
        weights = weights.reshape(targets.shape).to(states.dtype)
        if left_out is not None:
            left_out = left_out.reshape(*targets.shape, left_out.shape[-1])
        grad_states = torch.empty_like(states) if differentiate else None
        grad_table = torch.zeros_like(table) if differentiate else None
        compute = _seed_after_seed if states.device.type == "cpu" else _seeds_at_once
        losses = compute(states, table, targets, weights, left_out, grad_states, grad_table)
        if differentiate:
            ctx.save_for_backward(grad_states, grad_table)
        ctx.leading = leading
        return losses.reshape(leading)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        scale = grad.reshape(math.prod(ctx.leading), 1, 1)
        grads = ((x * scale).reshape(*ctx.leading, *x.shape[1:]) for x in ctx.saved_tensors)
        return *grads, None, None, None, None


def _seed_after_seed(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor,
    left_out: Tensor | None,
    grad_states: Tensor | None,
    grad_table: Tensor | None,
) -> Tensor:
    """The losses [S], for a CPU; gradients are written to the tensors given for them.

    What a seed gives does not depend on the seeds beside it, to the bit.
    """
    losses = states.new_empty(len(states))
    for s in range(len(states)):
        losses[s] = _one_seed(
            states[s],
            table[s],
            targets[s],
            weights[s],
            None if left_out is None else left_out[s],
            None if grad_states is None else grad_states[s],
            None if grad_table is None else grad_table[s],
        )
    return losses


def _one_seed(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor,
    left_out: Tensor | None,
    grad_states: Tensor | None,
    grad_table: Tensor | None,
) -> Tensor:
    """The loss of one seed, a scalar."""
    items = table.shape[0]
    rows = chunk_rows(items, states.dtype, states.device)
    losses = torch.empty_like(weights)
    buffer = states.new_empty(min(rows, states.shape[0]), items)
    for start in range(0, states.shape[0], rows):
        chunk = slice(start, start + rows)
        logits = torch.mm(states[chunk], table.T, out=buffer[: states[chunk].shape[0]])
        if left_out is not None:
            _leave_out(logits, targets[chunk], left_out[chunk])
        losses[chunk] = _softmax_compiled(
            logits, targets[chunk], weights[chunk], grad_states is not None
        )
        if grad_states is not None and grad_table is not None:
            torch.mm(logits, table, out=grad_states[chunk])
            grad_table.addmm_(logits.T, states[chunk])
    return losses.sum(dtype=torch.float64).to(states.dtype)


def _seeds_at_once(
    states: Tensor,
    table: Tensor,
    targets: Tensor,
    weights: Tensor,
    left_out: Tensor | None,
    grad_states: Tensor | None,
    grad_table: Tensor | None,
) -> Tensor:
    """As `_seed_after_seed`, the same chunk of all seeds in each product.

    Nothing is read on the host, and no shape depends on values.
    """
    seeds, positions, _ = states.shape
    items = table.shape[1]
    rows = chunk_rows(items, states.dtype, states.device, seeds)
    losses = torch.empty_like(weights)
    buffer = states.new_empty(seeds * min(rows, positions) * items)
    for start in range(0, positions, rows):
        chunk = slice(start, start + rows)
        own = states[:, chunk]
        logits = buffer[: seeds * own.shape[1] * items].view(seeds, own.shape[1], items)
        torch.bmm(own, table.mT, out=logits)
        if left_out is not None:
            _leave_out(logits, targets[:, chunk], left_out[:, chunk])
        losses[:, chunk] = _softmax_torch(
            logits, targets[:, chunk], weights[:, chunk], grad_states is not None
        )
        if grad_states is not None and grad_table is not None:
            torch.bmm(logits, table, out=grad_states[:, chunk])
            grad_table.baddbmm_(logits.mT, own)
    return losses.sum(-1, dtype=torch.float64).to(states.dtype)


def _leave_out(logits: Tensor, targets: Tensor, left_out: Tensor) -> None:
    """Set the logits [..., M, N] of the items left out, [..., M, K], to -inf; not the targets'."""
    targets = targets.unsqueeze(-1)
    chosen = logits.gather(-1, targets)
    logits.scatter_(-1, left_out, float("-inf")).scatter_(-1, targets, chosen)


def _softmax_compiled(
    logits: Tensor, targets: Tensor, weights: Tensor, differentiate: bool
) -> Tensor:
    """Weighted losses [M]; with `differentiate` the logits [M, N] are replaced by their gradient,
    weights (softmax - one at the target)."""
    from findrec.ops import loops_cpu

    if bool(((targets < 0) | (targets >= logits.shape[1])).any()):
        raise ValueError(
            f"cross_entropy's targets run from {int(targets.min())} to {int(targets.max())}, "
            f"but the table has rows 0 .. {logits.shape[1] - 1}"
        )
    losses = torch.empty_like(weights)
    tensors = logits, logits.amax(-1), targets.contiguous(), weights.contiguous(), losses
    run_tasks(
        loops_cpu.softmax[logits.dtype], len(losses), *(x.numpy() for x in tensors), differentiate
    )
    return losses


def _softmax_torch(logits: Tensor, targets: Tensor, weights: Tensor, differentiate: bool) -> Tensor:
    """As `_softmax_compiled`, in torch ops, for logits [..., M, N]."""
    counts = weights != 0
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    largest = logits.amax(-1, keepdim=True)
    total = logits.sub_(largest).exp_().sum(-1, keepdim=True)
    losses = weights * (total.log() + largest).squeeze(-1).sub(chosen)
    if differentiate:
        logits.mul_(weights.unsqueeze(-1) / total)
        logits.scatter_add_(-1, targets.unsqueeze(-1), -weights.unsqueeze(-1))
        logits.masked_fill_(~counts.unsqueeze(-1), 0)
    return losses.masked_fill(~counts, 0)


_cross_entropy = define(
    "cross_entropy(Tensor states, Tensor table, Tensor targets, Tensor weights, Tensor? left_out) "
    "-> Tensor",
    _kernel,
)
