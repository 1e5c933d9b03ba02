"""Triton kernels of the selective scan, forward and backward, for CUDA devices.

A program takes one user and one block of channels and goes over the positions one after the other:
users x channels are enough programs to fill a GPU, so that a parallel scan over time, which does
more work, is not needed. The state stays in registers. Forward keeps the state before every
CHUNK-th position; backward computes the others again from there.

State and sums are float32 whatever the inputs are. Sums over channels and users leave the kernel
as one part a program and are added by torch in a fixed order: there are no atomics, and equal calls
give equal bits.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 16
"""Positions between two states that forward keeps; at N = 16 they take as much memory as u."""
FORWARD_CHANNELS = 64
"""Channels of a forward program: two warps, one thread a channel with all its N states, so that
the sum over N needs no exchange between threads."""
BACKWARD_ELEMENTS = 512
"""Elements N x channels of a backward program: one warp, 16 a thread. Backward holds eight such
arrays, and 16 is what fits the registers."""

_PER_LN2 = tl.constexpr(math.log2(math.e))
_LN2 = tl.constexpr(math.log(2))


@triton.jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + tl.exp2(-x * _PER_LN2))


@triton.jit
def scan_forward(  # type: ignore[no-untyped-def]
    u, delta, a, b, c, skip, z, y, carried,
    users, length, u_strides, delta_strides, b_strides, c_strides, z_strides,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, GATED: tl.constexpr, KEEP: tl.constexpr,
    CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One user and one block of channels.

    u, delta, z: [G, B, L, D]; b, c: [G, B, L, N], each with strides of its first three dimensions
    and a last one of stride 1; a: [G, N, D], A / ln 2; skip: [G, D]; y: [G, B, L, D]; carried:
    [G, B, K, N, D], contiguous. WIDTH, SIZE: D, N; STATES: N rounded up to a power of two.
    """
    blocks: tl.constexpr = (WIDTH + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    group, user = row // users, row % users
    i = (tl.program_id(0) % blocks) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    n = tl.arange(0, STATES)[:, None]
    here = i < WIDTH
    real = n < SIZE
    at = tl.max_contiguous(n * WIDTH + i, (1, 1))
    # Pointers that move are scalars: tensors of pointers would be exchanged between threads.
    u += group * u_strides[0] + user * u_strides[1]
    delta += group * delta_strides[0] + user * delta_strides[1]
    b += group * b_strides[0] + user * b_strides[1]
    c += group * c_strides[0] + user * c_strides[1]
    z += group * z_strides[0] + user * z_strides[1]
    y += row * length * WIDTH
    chunks = tl.cdiv(length, CHUNK)
    carried += row * chunks * SIZE * WIDTH

    a_n = tl.load(a + group * SIZE * WIDTH + at, here & real, other=0)
    skip_i = tl.load(skip + group * WIDTH + i, here, other=0).to(tl.float32)
    state = tl.zeros((STATES, CHANNELS), tl.float32)
    for chunk in range(chunks):
        if KEEP:
            tl.store(carried + at, state, here & real)
            carried += SIZE * WIDTH
        for _ in range(tl.minimum(CHUNK, length - chunk * CHUNK)):
            u_t = tl.load(u + i, here, other=0).to(tl.float32)
            delta_t = tl.load(delta + i, here, other=0).to(tl.float32)
            b_t = tl.load(b + n, real, other=0).to(tl.float32)
            c_t = tl.load(c + n, real, other=0).to(tl.float32)
            state = tl.exp2(delta_t * a_n) * state + (delta_t * u_t) * b_t
            if SIZE < STATES:  # 0 x inf in a state that is not there must not reach y
                state = tl.where(real, state, 0)
            y_t = tl.sum(state * c_t, 0, keep_dims=True) + skip_i * u_t
            if GATED:
                z_t = tl.load(z + i, here, other=0).to(tl.float32)
                y_t *= z_t * _sigmoid(z_t)
                z += z_strides[2]
            tl.store(y + i, y_t, here)
            u += u_strides[2]
            delta += delta_strides[2]
            b += b_strides[2]
            c += c_strides[2]
            y += WIDTH
