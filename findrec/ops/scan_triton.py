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


@triton.jit
def _advance(  # type: ignore[no-untyped-def]
    state, a_n, u, delta, b, u_stride, delta_stride, b_stride, i, n, here, real, t, length,
):  # fmt: skip
    """The state after position t; after the last position it stays as it is."""
    inside = t < length
    u_t = tl.load(u + t * u_stride + i, here & inside, other=0).to(tl.float32)
    delta_t = tl.load(delta + t * delta_stride + i, here & inside, other=0).to(tl.float32)
    b_t = tl.load(b + t * b_stride + n, real & inside, other=0).to(tl.float32)
    return tl.exp2(delta_t * a_n) * state + (delta_t * u_t) * b_t


@triton.jit
def scan_backward(  # type: ignore[no-untyped-def]
    u, delta, a, b, c, skip, z, carried, grad,
    grad_u, grad_delta, grad_a, grad_b, grad_c, grad_skip, grad_z,
    users, length, u_strides, delta_strides, b_strides, c_strides, z_strides, grad_strides,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, GATED: tl.constexpr, CHANNELS: tl.constexpr,
    OUTER: tl.constexpr, STATES: tl.constexpr, INNER: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One user and one block of CHANNELS channels, OUTER x INNER of them at a time.

    Arguments are as in `scan_forward`. grad: [G, B, L, D] with strides; contiguous results grad_u,
    grad_delta, grad_z: [G, B, L, D]; grad_a: [G, B, N, D] and grad_skip: [G, B, D], each user's
    part; grad_b, grad_c: [G, B, blocks, L, N], each block's part.

    Arrays are [OUTER, N, INNER]: with INNER = 8 the 32 threads stand 4 x 8 over the last two
    dimensions, so that a sum over N takes 2 exchanges between threads and one over channels 3.
    """
    blocks: tl.constexpr = (WIDTH + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    group, user = row // users, row % users
    u += group * u_strides[0] + user * u_strides[1]
    delta += group * delta_strides[0] + user * delta_strides[1]
    b += group * b_strides[0] + user * b_strides[1]
    c += group * c_strides[0] + user * c_strides[1]
    z += group * z_strides[0] + user * z_strides[1]
    grad += group * grad_strides[0] + user * grad_strides[1]
    grad_u += row * length * WIDTH
    grad_delta += row * length * WIDTH
    grad_z += row * length * WIDTH
    grad_b += (row * blocks + block) * length * SIZE
    grad_c += (row * blocks + block) * length * SIZE
    quarters = 4 * tl.cdiv(length, CHUNK)
    carried += row * (quarters // 4) * SIZE * WIDTH

    inner = tl.arange(0, INNER)[None, None, :]
    # Along INNER too, though all 8 are equal: so each thread reads the N that it computes with.
    n = tl.arange(0, STATES)[None, :, None] + 0 * inner
    n = tl.max_contiguous(n, (1, 1, 1))
    real = n < SIZE
    QUARTER: tl.constexpr = CHUNK // 4
    for tile in range(CHANNELS // (OUTER * INNER)):
        i = block * CHANNELS + tile * OUTER * INNER
        i += tl.arange(0, OUTER)[:, None, None] * INNER + inner
        i = tl.max_contiguous(i, (1, 1, 1))
        here = i < WIDTH
        at = tl.max_contiguous(n * WIDTH + i, (1, 1, 1))
        a_n = tl.load(a + group * SIZE * WIDTH + at, here & real, other=0)
        skip_i = tl.load(skip + group * WIDTH + i, here, other=0).to(tl.float32)
        later = tl.zeros((OUTER, STATES, INNER), tl.float32)
        sum_a = tl.zeros((OUTER, STATES, INNER), tl.float32)
        sum_skip = tl.zeros((OUTER, 1, INNER), tl.float32)
        for back in range(quarters):
            quarter = quarters - 1 - back
            chunk = quarter // 4
            state = tl.load(carried + chunk * SIZE * WIDTH + at, here & real, other=0)
            for t in range(chunk * CHUNK, quarter * QUARTER):
                state = _advance(
                    state, a_n, u, delta, b, u_strides[2], delta_strides[2], b_strides[2],
                    i, n, here, real, t, length,
                )  # fmt: skip
            states = (state,)
            for s in tl.static_range(QUARTER):
                states = states + (_advance(
                    states[s], a_n, u, delta, b, u_strides[2], delta_strides[2], b_strides[2],
                    i, n, here, real, quarter * QUARTER + s, length,
                ),)  # fmt: skip
            for s in tl.static_range(QUARTER - 1, -1, -1):
                t = quarter * QUARTER + s
                inside = t < length
                before = states[s]
                after = states[s + 1]
                u_t = tl.load(u + t * u_strides[2] + i, here & inside, other=0).to(tl.float32)
                delta_t = tl.load(delta + t * delta_strides[2] + i, here & inside, other=0)
                delta_t = delta_t.to(tl.float32)
                b_t = tl.load(b + t * b_strides[2] + n, real & inside, other=0).to(tl.float32)
                c_t = tl.load(c + t * c_strides[2] + n, real & inside, other=0).to(tl.float32)
                out_grad = tl.load(grad + t * grad_strides[2] + i, here & inside, other=0)
                out_grad = out_grad.to(tl.float32)
                if GATED:
                    z_t = tl.load(z + t * z_strides[2] + i, here & inside, other=0)
                    z_t = z_t.to(tl.float32)
                    sigmoid = _sigmoid(z_t)
                    silu = z_t * sigmoid
                    out = tl.sum(after * c_t, 1, keep_dims=True) + skip_i * u_t
                    grad_z_t = out_grad * out * (sigmoid + silu * (1 - sigmoid))
                    tl.store(grad_z + t * WIDTH + i, grad_z_t, here & inside)
                    out_grad *= silu
                drive = delta_t * u_t
                state_grad = later + out_grad * c_t
                later = state_grad * tl.exp2(delta_t * a_n)
                rate_grad = later * before
                sum_a += rate_grad * delta_t
                sum_skip += out_grad * u_t
                drive_grad = tl.sum(state_grad * b_t, 1, keep_dims=True)
                decay_grad = tl.sum(rate_grad * a_n, 1, keep_dims=True)
                grad_u_t = drive_grad * delta_t + out_grad * skip_i
                grad_delta_t = drive_grad * u_t + decay_grad * _LN2
                tl.store(grad_u + t * WIDTH + i, grad_u_t, here & inside)
                tl.store(grad_delta + t * WIDTH + i, grad_delta_t, here & inside)
                own_b = tl.sum(tl.sum(state_grad * drive, 0, keep_dims=True), 2, keep_dims=True)
                own_c = tl.sum(tl.sum(after * out_grad, 0, keep_dims=True), 2, keep_dims=True)
                first = real & inside & (inner == 0)
                more = first & (tile > 0)
                own_b += tl.load(grad_b + t * SIZE + n, more, other=0)
                own_c += tl.load(grad_c + t * SIZE + n, more, other=0)
                tl.store(grad_b + t * SIZE + n, own_b, first)
                tl.store(grad_c + t * SIZE + n, own_c, first)
        tl.store(grad_a + row * SIZE * WIDTH + at, sum_a, here & real)
        tl.store(grad_skip + row * WIDTH + i, sum_skip, here)
