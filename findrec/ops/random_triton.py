"""The keyed hash of `findrec.ops.random` as one Triton kernel, bit for bit the same words.

As torch ops a draw is some 40 kernels an index, each of which reads and writes all elements; here a
dropout is one that reads and writes them once. A program has a tile of lines, which are all that an
element has in front of its last index, and columns: what the lines share is hashed once a line, and
an element takes one fold, some 20 integer operations.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
MOST_SIZES = 4
"""Indices behind the row that the kernel takes."""
OPTIONS = {"enable_fp_fusion": False}
"""Nothing is added to a product here; said, because triton's versions differ in their default."""
TILE, WIDEST = 1024, 256
"""Elements of a program, and its columns at most."""
MOST_LINES = 2**31 - TILE


@triton.jit
def _mix(x):  # type: ignore[no-untyped-def]
    """uint32 -> uint32, with overflow"""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def _fold(state, word):  # type: ignore[no-untyped-def]
    return _mix(state ^ _mix(word + 0x9E3779B9))


@triton.jit(do_not_specialize=["code", "threshold", "scale"])
def keyed_draws(  # type: ignore[no-untyped-def]
    out, x, keys, rows, code, threshold, scale,
    lines, rows_each, key_stride, seed_stride, row_stride, first, second, third, inner,
    MIDDLE: tl.constexpr, DROPOUT: tl.constexpr, LINES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """LINES x COLUMNS elements of out [S, R, first, second, third, inner], contiguous.

    keys: [S, 2] and rows: [S, R] int64, with strides; code: int32, the bits of the stream's code.
    MIDDLE: how many of the sizes before the last are folded in, the last ones of first, second and
    third, of which the others are 1. With DROPOUT x, as out, is kept and scaled where the upper 23
    bits are at least the threshold; else out is the uniform.
    """
    line = tl.program_id(0) * LINES + tl.arange(0, LINES)
    here = line < lines
    row = line // (first * second * third)
    seed, within = row // rows_each, row % rows_each
    state = tl.zeros((LINES,), tl.uint32) + code.to(tl.uint32)
    for part in tl.static_range(2):
        word = tl.load(keys + seed.to(tl.int64) * key_stride + part, here, other=0)
        state = _fold(state, word.to(tl.uint32))
        state = _fold(state, (word >> 32).to(tl.uint32))
    at = seed.to(tl.int64) * seed_stride + within.to(tl.int64) * row_stride
    state = _fold(state, tl.load(rows + at, here, other=0).to(tl.uint32))
    if MIDDLE > 2:
        state = _fold(state, (line // (second * third) % first).to(tl.uint32))
    if MIDDLE > 1:
        state = _fold(state, (line // third % second).to(tl.uint32))
    if MIDDLE > 0:
        state = _fold(state, (line % third).to(tl.uint32))
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    bits = _fold(state[:, None], column[None, :].to(tl.uint32)) >> 9
    element = line[:, None].to(tl.int64) * inner + column[None, :]
    real = here[:, None] & (column < inner)[None, :]
    if DROPOUT:
        value = tl.load(x + element, real, other=0).to(tl.float32) * scale
        drawn = tl.where(bits >= threshold.to(tl.uint32), value, 0)
    else:
        drawn = (bits.to(tl.int32).to(tl.float32) + 0.5) * (1.0 / 8388608)
    tl.store(out + element, drawn, real)


def tile_of(inner: int) -> dict[str, int]:
    """The kernel's constants for a last size."""
    columns = min(triton.next_power_of_2(inner), WIDEST)
    return {"LINES": TILE // columns, "COLUMNS": columns}


def takes(sizes: list[int], rows: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernel can draw for these rows, sizes and dtype of the elements."""
    lines = rows.numel()
    for size in sizes[:-1]:
        lines *= size
    return dtype in DTYPES and len(sizes) <= MOST_SIZES and lines <= MOST_LINES


def uniform_kernel(key: Tensor, code: int, rows: Tensor, sizes: list[int]) -> Tensor:
    """float32 draws; shapes as in `findrec.ops.random.hash_bits`."""
    out = torch.empty(*rows.shape, *sizes, dtype=torch.float32, device=rows.device)
    return _start(out, out, key, code, rows, sizes, 0, 0.0, dropout=False)


def dropout_kernel(
    x: Tensor, scale: float, threshold: int, key: Tensor, code: int, rows: Tensor, sizes: list[int]
) -> Tensor:
    """x times scale where the upper 23 bits are at least the threshold, else 0."""
    x = x.contiguous()
    out = torch.empty_like(x)
    return _start(out, x, key, code, rows, sizes, threshold, scale, dropout=True)


def _start(
    out: Tensor, x: Tensor, key: Tensor, code: int, rows: Tensor, sizes: list[int], threshold: int,
    scale: float, *, dropout: bool,
) -> Tensor:  # fmt: skip
    keys = key.reshape(-1, 2)
    seeds = len(keys)
    own = rows.reshape(seeds, -1)
    *middle, inner = sizes or [1]
    padded = [1] * (MOST_SIZES - 1 - len(middle)) + middle
    lines = out.numel() // inner if inner else 0
    if keys.stride(1) != 1:
        keys = keys.contiguous()
    if lines:
        tile: dict[str, Any] = tile_of(inner)
        grid = triton.cdiv(lines, tile["LINES"]), triton.cdiv(inner, tile["COLUMNS"])
        signed = code - (1 << 32) if code >= 1 << 31 else code
        with torch.cuda.device_of(out):
            keyed_draws[grid](
                out, x, keys, own, signed, threshold, scale, lines, own.shape[1], keys.stride(0),
                *own.stride(), *padded, inner, MIDDLE=len(middle), DROPOUT=dropout, **tile,
                **OPTIONS,
            )  # fmt: skip
    return out
