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
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 16
"""Positions between two states that forward keeps; at N = 16 they take as much memory as u."""
DTYPES = (torch.float32, torch.bfloat16)

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
    state, a_n, u, delta, b, u_stride, delta_stride, b_stride, i, n, t, length,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """The state after position t; after the last position it stays as it is."""
    here = i < tl.where(t < length, WIDTH, 0)
    real = n < tl.where(t < length, SIZE, 0)
    u_t = tl.load(u + t * u_stride + i, here, other=0).to(tl.float32)
    delta_t = tl.load(delta + t * delta_stride + i, here, other=0).to(tl.float32)
    b_t = tl.load(b + t * b_stride + n, real, other=0).to(tl.float32)
    state = tl.exp2(delta_t * a_n) * state + (delta_t * u_t) * b_t
    if PADDED:
        state = tl.where((i < WIDTH) & (n < SIZE), state, 0)
    return state


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
    carried += row * tl.cdiv(length, CHUNK) * SIZE * WIDTH

    inner = tl.arange(0, INNER)[None, None, :]
    # Along INNER too, though all 8 are equal: so each thread reads the N that it computes with.
    n = tl.arange(0, STATES)[None, :, None] + 0 * inner
    n = tl.max_contiguous(n, (1, 1, 1))
    real = n < SIZE
    QUARTER: tl.constexpr = CHUNK // 4
    quarters = tl.cdiv(length, QUARTER)
    TILE: tl.constexpr = OUTER * INNER
    # Elements that are not there must not reach a sum, as 0 x inf would; so of positions, below.
    PADDED: tl.constexpr = (SIZE < STATES) or (WIDTH % TILE > 0)
    left = tl.cdiv(WIDTH - block * CHANNELS, TILE)
    for tile in range(tl.minimum(CHANNELS // TILE, left)):
        i = block * CHANNELS + tile * TILE
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
                    i, n, t, length, WIDTH, SIZE, PADDED,
                )  # fmt: skip
            states = (state,)
            for s in tl.static_range(QUARTER):
                state = _advance(
                    state, a_n, u, delta, b, u_strides[2], delta_strides[2], b_strides[2],
                    i, n, quarter * QUARTER + s, length, WIDTH, SIZE, PADDED,
                )  # fmt: skip
                states = states + (state,)  # type: ignore[assignment]  # noqa: RUF005
            for s in tl.static_range(QUARTER - 1, -1, -1):
                t = quarter * QUARTER + s
                size_t = tl.where(t < length, SIZE, 0)
                here_t = i < tl.where(t < length, WIDTH, 0)
                real_t = n < size_t
                before = states[s]
                after = states[s + 1]
                u_t = tl.load(u + t * u_strides[2] + i, here_t, other=0).to(tl.float32)
                delta_t = tl.load(delta + t * delta_strides[2] + i, here_t, other=0)
                delta_t = delta_t.to(tl.float32)
                b_t = tl.load(b + t * b_strides[2] + n, real_t, other=0).to(tl.float32)
                c_t = tl.load(c + t * c_strides[2] + n, real_t, other=0).to(tl.float32)
                out_grad = tl.load(grad + t * grad_strides[2] + i, here_t, other=0)
                out_grad = out_grad.to(tl.float32)
                if GATED:
                    z_t = tl.load(z + t * z_strides[2] + i, here_t, other=0)
                    z_t = z_t.to(tl.float32)
                    sigmoid = _sigmoid(z_t)
                    silu = z_t * sigmoid
                    out = tl.sum(after * c_t, 1, keep_dims=True) + skip_i * u_t
                    grad_z_t = out_grad * out * (sigmoid + silu * (1 - sigmoid))
                    tl.store(grad_z + t * WIDTH + i, grad_z_t, here_t)
                    out_grad *= silu
                drive = delta_t * u_t
                state_grad = later + out_grad * c_t
                decay = tl.exp2(delta_t * a_n)
                if PADDED:
                    state_grad = tl.where(here & real, state_grad, 0)
                    decay = tl.where(here & real, decay, 0)
                later = tl.where(t < length, state_grad * decay, 0)
                rate_grad = later * before
                sum_a += tl.where(t < length, rate_grad * delta_t, 0)
                sum_skip += out_grad * u_t
                drive_grad = tl.sum(state_grad * b_t, 1, keep_dims=True)
                decay_grad = tl.sum(rate_grad * a_n, 1, keep_dims=True)
                grad_u_t = drive_grad * delta_t + out_grad * skip_i
                grad_delta_t = drive_grad * u_t + decay_grad * _LN2
                tl.store(grad_u + t * WIDTH + i, grad_u_t, here_t)
                tl.store(grad_delta + t * WIDTH + i, grad_delta_t, here_t)
                own_b = tl.sum(tl.sum(state_grad * drive, 0, keep_dims=True), 2, keep_dims=True)
                own_c = tl.sum(tl.sum(after * out_grad, 0, keep_dims=True), 2, keep_dims=True)
                first = real_t & (inner == 0)
                more = first & (n < tl.where(tile > 0, size_t, 0))
                own_b += tl.load(grad_b + t * SIZE + n, more, other=0)
                own_c += tl.load(grad_c + t * SIZE + n, more, other=0)
                tl.store(grad_b + t * SIZE + n, own_b, first)
                tl.store(grad_c + t * SIZE + n, own_c, first)
        tl.store(grad_a + row * SIZE * WIDTH + at, sum_a, here & real)
        tl.store(grad_skip + row * WIDTH + i, sum_skip, here)


@dataclass(frozen=True)
class Launch:
    """How a kernel is started: its constants, and what the compiler is told.

    Nothing is tuned at run time: a tuner breaks the capture of CUDA graphs, and another block of
    channels adds in another order.
    """

    constants: dict[str, int]
    options: dict[str, Any]

    @property
    def channels(self) -> int:
        """Channels that one program computes."""
        return self.constants["CHANNELS"]


_OPTIONS = {"enable_fp_fusion": True}  # a x b + c rounds once, whatever triton's version does alone


def forward_launch(width: int, size: int) -> Launch:
    """128 channels with four warps, or fewer where there are fewer: one thread a channel.

    A thread has all N states of its channel, so that the sum over N needs no exchange. There are
    more threads than N: else Triton lays the state out as it reads B and C.
    """
    states = triton.next_power_of_2(size)
    channels = max(32, 2 * states, min(128, triton.next_power_of_2(width)))
    constants = {"CHANNELS": channels, "STATES": states, "CHUNK": CHUNK}
    return Launch(constants, {"num_warps": channels // 32, **_OPTIONS})


def backward_launch(width: int, size: int) -> Launch:
    """32 channels with one warp: 2 x 8 at a time; 1 x 8 where N is above 16, 1 x 4 above 32.

    Not 4 x 8 at a time: reading 32 channels occupies each thread of a warp once, and Triton then
    lays out the state like that, one channel a thread, with four times the exchanges. The compiler
    takes the registers that it likes, 230 to 255 of them, to read ahead; with fewer more programs
    fit on a multiprocessor, but some versions of Triton then spill.
    """
    states = triton.next_power_of_2(size)
    outer, inner = (2, 8) if states <= 16 else (1, 8) if states <= 32 else (1, 4)
    constants = {"CHANNELS": 32, "OUTER": outer, "STATES": states, "INNER": inner, "CHUNK": CHUNK}
    return Launch(constants, {"num_warps": 1, **_OPTIONS})


def triton_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor | None
) -> Tensor:
    """The kernels on a CUDA device, float32 or bfloat16; shapes as in `findrec.ops.scan.reference`.

    Strided inputs are read as they are if their last dimension has stride 1, and copied otherwise.
    Raises ValueError on another dtype.
    """
    if u.dtype not in DTYPES:
        raise ValueError(
            f"the triton backend of the scan takes float32 or bfloat16, not {u.dtype}: "
            "choose the reference backend"
        )
    inputs = [x for x in (u, delta, A, B, C, D, z) if x is not None]
    differentiate = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    output: Tensor = _TritonScan.apply(u, delta, A, B, C, D, z, differentiate)
    return output


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        u, delta, A, B, C, D, z, differentiate = arguments
        ctx.shapes = [None if x is None else x.shape for x in arguments[:-1]]
        groups = math.prod(u.shape[:-3])
        u, delta, B, C = (_folded(x, groups) for x in (u, delta, B, C))
        z = None if z is None else _folded(z, groups)
        _, users, length, width = u.shape
        size = A.shape[-1]
        a = (A.reshape(groups, width, size).float() * _PER_LN2.value).mT.contiguous()
        skip = D.reshape(groups, width).contiguous()
        y = u.new_empty(u.shape)
        chunks = -(-length // CHUNK) if differentiate else 0
        carried = u.new_empty((groups, users, chunks, size, width), dtype=torch.float32)
        launch = forward_launch(width, size)
        _start(
            scan_forward, launch, u, delta, a, B, C, skip, u if z is None else z, y, carried,
            users, length, *(x.stride()[:3] for x in (u, delta, B, C, u if z is None else z)),
            WIDTH=width, SIZE=size, GATED=z is not None, KEEP=differentiate,
        )  # fmt: skip
        ctx.save_for_backward(u, delta, a, B, C, skip, z, carried)
        return y.reshape(ctx.shapes[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        u, delta, a, B, C, skip, z, carried = ctx.saved_tensors
        groups, users, length, width = u.shape
        size = a.shape[-2]
        grad = _folded(grad, groups)
        launch = backward_launch(width, size)
        blocks = -(-width // launch.channels)
        single = {"dtype": torch.float32}
        grad_u, grad_delta = (torch.empty(u.shape, dtype=u.dtype, device=u.device) for _ in "ud")
        grad_z = None if z is None else torch.empty_like(grad_u)
        grad_a = u.new_empty((groups, users, size, width), **single)
        grad_skip = u.new_empty((groups, users, width), **single)
        parts = (groups, users, blocks, length, size)
        grad_b, grad_c = u.new_empty(parts, **single), u.new_empty(parts, **single)
        gate, gate_grad = (u, grad_u) if z is None else (z, grad_z)
        _start(
            scan_backward, launch, u, delta, a, B, C, skip, gate, carried, grad,
            grad_u, grad_delta, grad_a, grad_b, grad_c, grad_skip, gate_grad,
            users, length, *(x.stride()[:3] for x in (u, delta, B, C, gate, grad)),
            WIDTH=width, SIZE=size, GATED=z is not None,
        )  # fmt: skip
        grads = (
            grad_u, grad_delta, grad_a.sum(1).mT, grad_b.sum(2), grad_c.sum(2), grad_skip.sum(1),
            grad_z,
        )  # fmt: skip
        shaped = zip(grads, ctx.shapes, strict=True)
        return *(None if s is None else x.reshape(s).to(u.dtype) for x, s in shaped), None


def _folded(x: Tensor, groups: int) -> Tensor:
    """[*S, B, L, D] -> [G, B, L, D], a view if the last dimension's stride allows."""
    x = x.reshape(groups, *x.shape[-3:])
    return x if x.stride(-1) == 1 else x.contiguous()


def _start(kernel: Any, launch: Launch, u: Tensor, *arguments: Any, **constants: Any) -> None:
    """A program for each user and block of channels of u [G, B, L, D]."""
    programs = u.shape[0] * u.shape[1] * -(-u.shape[3] // launch.channels)
    if programs:
        with torch.cuda.device_of(u):
            kernel[(programs,)](u, *arguments, **constants, **launch.constants, **launch.options)
