"""Keyed randomness: a draw is a hash of seed, step, random stream and coordinates, nothing else.

A random stream is the named source of one purpose's draws, such as those of one dropout layer. A
draw depends on the seed and step in the key, on the stream's name, on the row's number and on the
indices behind it. So padding, cutting a batch into groups, and stacking seeds change no draw, and a
mask can be computed again instead of being kept.

Words of 32 bits (the code of the stream's name, the halves of seed and step, the row's lower half,
each index) are folded into a state one after the other,
`state = mix(state ^ mix(word + 0x9E3779B9))`, where mix is the finaliser with the constants called
lowbias32 (C. Wellons, "Prospecting for hash functions", 2018). A uniform takes the upper 23 bits of
the last state, so that it is exact in float32. On a CPU the hash runs as a compiled loop
(`random_cpu.py`), on CUDA as a Triton kernel (`random_triton.py`), elsewhere as torch ops; all give
the same bits.
"""

import functools
import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from findrec.ops.compiled import has_triton
from findrec.ops.stacking import define


def uniform(key: Tensor, random_stream: str, rows: Tensor, *sizes: int) -> Tensor:
    """float32 draws in (0, 1), of shape R + sizes.

    key: [2] int64, seed and step; random_stream: its name, unique in the model; rows: R int64, any
    shape, each 0 .. 2^32 - 1. The draw at row r and indices i is the same wherever r stands in
    `rows` and however large the sizes are. Raises ValueError on another shape or dtype of key or
    rows.
    """
    _check(key, rows)
    return _uniform(key, stream_code(random_stream), rows, list(sizes))


def normal(key: Tensor, random_stream: str, rows: Tensor, *sizes: int) -> Tensor:
    """float32 draws from N(0, 1), of shape R + sizes: the normal quantile of `uniform`'s draws.

    With 23 bits the largest is 5.3 standard deviations, the smallest distance from 0 is 1.5e-7.
    """
    return torch.erfinv(2 * uniform(key, random_stream, rows, *sizes) - 1) * math.sqrt(2)


def dropout(x: Tensor, p: float, key: Tensor, random_stream: str, rows: Tensor) -> Tensor:
    """x with elements zeroed with probability p, the others scaled by 1 / (1 - p).

    x: R + sizes, floating; rows: R int64. The element at row r and indices i is kept where
    `uniform(key, random_stream, rows, *sizes)` there is >= p. The backward pass draws the mask
    again. Raises ValueError on p outside [0, 1), on an x whose first dimensions are not those of
    rows, and on another shape or dtype of key or rows.
    """
    _check(key, rows)
    if not 0 <= p < 1:
        raise ValueError(f"dropout at {random_stream!r} has p = {p}: choose a rate in [0, 1)")
    if x.shape[: rows.dim()] != rows.shape:
        raise ValueError(
            f"dropout at {random_stream!r}: x has shape {tuple(x.shape)}, which does not begin "
            f"with the shape of rows {tuple(rows.shape)}"
        )
    return dropout_op(x, p, key, stream_code(random_stream), rows, list(x.shape[rows.dim() :]))


@functools.cache
def stream_code(random_stream: str) -> int:
    """A 32-bit code of a random stream's name, the same in every process."""
    return int.from_bytes(hashlib.blake2s(random_stream.encode(), digest_size=4).digest(), "little")


def _check(key: Tensor, rows: Tensor) -> None:
    if key.shape != (2,) or key.dtype != torch.int64:
        raise ValueError(f"a key is [2] int64 (seed, step), not {tuple(key.shape)} {key.dtype}")
    if rows.dtype != torch.int64:
        raise ValueError(f"rows are int64 numbers of rows, not {rows.dtype}")


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right; torch has int32 with an arithmetic one and few ops on uint32."""
    return (x >> by) & ((1 << (32 - by)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 16)) * _signed(0x7FEB352D)
    x = (x ^ _shift(x, 15)) * _signed(0x846CA68B)
    return x ^ _shift(x, 16)


def _fold(state: Tensor, word: Tensor) -> Tensor:
    return _mix(state ^ _mix(word + _signed(0x9E3779B9)))


def hash_bits(key: Tensor, code: int, rows: Tensor, sizes: list[int]) -> Tensor:
    """The hash as torch ops: the upper 23 bits of each word, int32, of shape rows.shape + sizes.

    key: [*S, 2], rows: [*S, *R], with the stack dimensions *S of `findrec.ops.stacking`.
    """
    state = torch.full((), _signed(code), dtype=torch.int32, device=key.device)
    for part in key.unbind(-1):
        state = _fold(state, part.to(torch.int32))
        state = _fold(state, (part >> 32).to(torch.int32))
    state = state.reshape(state.shape + (1,) * (rows.dim() - state.dim()))
    state = _fold(state, rows.to(torch.int32))
    for size in sizes or [1]:
        index = torch.arange(size, dtype=torch.int32, device=key.device)
        state = _fold(state.unsqueeze(-1), index)
    return _shift(state if sizes else state.squeeze(-1), 9)


def _threshold(p: float) -> int:
    """The bits k whose uniform (k + 0.5) / 2^23 is >= p are those >= this."""
    return math.ceil(p * 2.0**23 - 0.5)


@functools.cache
def _runs_triton(device: torch.device) -> bool:
    """Whether Triton is there and compiles for the device: CUDA, from compute capability 8 on."""
    cuda = device.type == "cuda" and has_triton()
    return cuda and torch.cuda.get_device_capability(device) >= (8, 0)


def _flat(x: Tensor) -> Any:
    return x.detach().contiguous().numpy().reshape(-1)


def _uniform_kernel(key: Tensor, code: int, rows: Tensor, sizes: list[int]) -> Tensor:
    if key.device.type != "cpu":
        if _runs_triton(key.device):
            from findrec.ops import random_triton

            if random_triton.takes(sizes, rows, torch.float32):
                return random_triton.uniform_kernel(key, code, rows, sizes)
        return (hash_bits(key, code, rows, sizes).to(torch.float32) + 0.5) * 2.0**-23
    from findrec.ops import random_cpu

    out = torch.empty(*rows.shape, *sizes, dtype=torch.float32)
    if out.numel():
        random_cpu.fill_uniform[torch.float32](
            _flat(out), _flat(key), code, _flat(rows), np.array(sizes or [1])
        )
    return out


def _dropout_kernel(
    x: Tensor, p: float, key: Tensor, code: int, rows: Tensor, sizes: list[int]
) -> Tensor:
    if _runs_triton(x.device):
        from findrec.ops import random_triton

        if random_triton.takes(sizes, rows, x.dtype):
            threshold, scale = _threshold(p), 1 / (1 - p)
            return random_triton.dropout_kernel(x, scale, threshold, key, code, rows, sizes)
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        kept = hash_bits(key, code, rows, sizes) >= _threshold(p)
        return torch.where(kept, x * (1 / (1 - p)), 0)
    from findrec.ops import random_cpu

    out = torch.empty(x.shape, dtype=x.dtype)
    if out.numel():
        random_cpu.dropout[x.dtype](
            _flat(out), _flat(x), 1 / (1 - p), _threshold(p),
            _flat(key), code, _flat(rows), np.array(sizes or [1]),
        )  # fmt: skip
    return out


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensor:
        p, key, code, rows, sizes = arguments
        ctx.save_for_backward(key, rows)
        ctx.constants = p, code, sizes
        return _dropout_kernel(x, *arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        key, rows = ctx.saved_tensors
        p, code, sizes = ctx.constants
        return _dropout_kernel(grad, p, key, code, rows, sizes), None, None, None, None, None


_uniform = define(
    "uniform(Tensor key, int stream_code, Tensor rows, int[] sizes) -> Tensor", _uniform_kernel
)
dropout_op = define(
    "dropout(Tensor x, float p, Tensor key, int stream_code, Tensor rows, int[] sizes) -> Tensor",
    _Dropout.apply,
)
