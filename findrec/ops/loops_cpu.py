"""Compiled loops over floating numbers: an exponential, the selective scan, the softmax of a loss.

They stand in one file because numba's cache asks only whether the file of the outer loop changed:
a change of the exponential must compile the others again.

The scan goes over (seed, user), with the channels innermost: the state of one user is laid out
[N, D], so that every inner loop runs over D channels, a long vector. Forward keeps the states at
every CHUNK-th position; backward computes the states of one chunk again from there, so memory grows
by N / CHUNK of the input's size.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from findrec.ops.compiled import compiled

Array = NDArray[np.floating[Any]]

PER_LN2 = math.log2(math.e)
"""1 / ln 2: e^x is exp2(x * PER_LN2)."""


@intrinsic
def _power_of_two(context, exponent):  # type: ignore[no-untyped-def]
    """2^k as float32 for an int32 k in -126 .. 127: k is moved into the exponent's bits."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        biased = builder.add(arguments[0], context.get_constant(types.int32, 127))
        bits = builder.shl(biased, context.get_constant(types.int32, 23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def exp2(x):  # type: ignore[no-untyped-def]
    """2^x in compiled code. NaN stays NaN.

    float64 is the library's. float32 is 2^r 2^k with k the integer nearest to x and a polynomial in
    r: relative error below 2e-7 for x in [-126, 127], held at its ends beyond. The base is 2
    because a caller can fold the factor PER_LN2 of e^x into a constant that it multiplies by.
    """
    raise NotImplementedError("exp2 is for compiled code")


@overload(exp2, jit_options={"fastmath": {"contract"}})
def _exp2(x):  # type: ignore[no-untyped-def]
    if x == types.float64:
        return lambda x: np.exp2(x)

    low, high, one = np.float32(-126), np.float32(127), np.float32(1)
    # (2^r - 1) / r on |r| <= 1/2, fitted at Chebyshev nodes: 2^r to a relative 5.2e-9.
    c0, c1, c2, c3, c4, c5 = (
        np.float32(c)
        for c in (0.6931471824645996, 0.24022650718688965, 0.055503569543361664,
                  0.009618056938052177, 0.0013390866806730628, 0.00015461447765119374)
    )  # fmt: skip

    def polynomial(x):  # type: ignore[no-untyped-def]
        # Written so that NaN fails both comparisons and goes through.
        x = low if x < low else x
        x = high if x > high else x
        k = np.rint(x)
        r = x - k
        p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + c0
        return (p * r + one) * _power_of_two(np.int32(k))  # type: ignore[call-arg]

    return polynomial


CHUNK = 16


@compiled(
    "int64, int64, real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], "
    "real[:,::1], real[:,:,::1], real[:,:,::1], real[:,:,:,::1]"
)
def scan_forward(
    start: int, stop: int,
    u: Array, delta: Array, a: Array, b: Array, c: Array, skip: Array, z: Array,
    y: Array, carried: Array,
) -> None:  # fmt: skip
    """Users start .. stop - 1 of S * B.

    u, delta, y: [S B, L, D]; a: [S, N, D], A / ln 2; b, c: [S B, L, N]; skip: [S, D];
    z: [S B, L, D], or [0, 0, 0] for none; carried: [S B, K, N, D], the state before each chunk,
    or [0, 0, 0, 0] if it is not to be kept.
    """
    users, length, width = u.shape
    seeds, size = a.shape[0], a.shape[1]
    users_each = users // seeds
    gated = z.shape[0] > 0
    keep = carried.shape[0] > 0
    zero, one, per_ln2 = u.dtype.type(0), u.dtype.type(1), u.dtype.type(PER_LN2)
    state = np.empty((size, width), u.dtype)
    drive = np.empty(width, u.dtype)
    for user in range(start, stop):
        seed = user // users_each
        for n in range(size):
            for i in range(width):
                state[n, i] = zero
        for t in range(length):
            if keep and t % CHUNK == 0:
                for n in range(size):
                    for i in range(width):
                        carried[user, t // CHUNK, n, i] = state[n, i]
            d_t = delta[user, t]
            u_t = u[user, t]
            y_t = y[user, t]
            for i in range(width):
                drive[i] = d_t[i] * u_t[i]
                y_t[i] = skip[seed, i] * u_t[i]
            for n in range(size):
                b_n = b[user, t, n]
                c_n = c[user, t, n]
                a_n = a[seed, n]
                h_n = state[n]
                for i in range(width):
                    h = exp2(d_t[i] * a_n[i]) * h_n[i] + drive[i] * b_n
                    h_n[i] = h
                    y_t[i] += h * c_n
            if gated:
                z_t = z[user, t]
                for i in range(width):
                    y_t[i] *= z_t[i] / (one + exp2(-z_t[i] * per_ln2))


@compiled(
    "int64, int64, real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], "
    "real[:,::1], real[:,:,::1], real[:,:,:,::1], real[:,:,::1], "
    "real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,::1], "
    "real[:,:,::1]",
    fastmath=("contract", "reassoc"),
)
def scan_backward(
    start: int, stop: int,
    u: Array, delta: Array, a: Array, b: Array, c: Array, skip: Array, z: Array,
    carried: Array, grad: Array,
    grad_u: Array, grad_delta: Array, grad_a: Array, grad_b: Array, grad_c: Array,
    grad_skip: Array, grad_z: Array,
) -> None:  # fmt: skip
    """Users start .. stop - 1 of S * B; shapes as in `scan_forward`, grad [S B, L, D].

    grad_a [S B, N, D], which is A's, and grad_skip [S B, D] hold each user's part.
    `reassoc` lets the sums over channels (grad_b, grad_c) run in vectors.
    """
    users, length, width = u.shape
    seeds, size = a.shape[0], a.shape[1]
    users_each = users // seeds
    gated = z.shape[0] > 0
    zero, one, per_ln2 = u.dtype.type(0), u.dtype.type(1), u.dtype.type(PER_LN2)
    ln2 = one / per_ln2
    states = np.empty((CHUNK + 1, size, width), u.dtype)
    decays = np.empty((CHUNK, size, width), u.dtype)
    drives = np.empty((CHUNK, width), u.dtype)
    outs = np.empty((CHUNK, width), u.dtype)
    later = np.empty((size, width), u.dtype)
    out_grad = np.empty(width, u.dtype)
    drive_grad = np.empty(width, u.dtype)
    decay_grad = np.empty(width, u.dtype)
    for user in range(start, stop):
        seed = user // users_each
        own_a = grad_a[user]
        own_skip = grad_skip[user]
        for i in range(width):
            own_skip[i] = zero
            for n in range(size):
                later[n, i] = zero
                own_a[n, i] = zero
        for chunk in range(carried.shape[1] - 1, -1, -1):
            first = chunk * CHUNK
            count = min(CHUNK, length - first)
            for n in range(size):
                for i in range(width):
                    states[0, n, i] = carried[user, chunk, n, i]
            for s in range(count):
                t = first + s
                d_t = delta[user, t]
                u_t = u[user, t]
                drive = drives[s]
                out = outs[s]
                for i in range(width):
                    drive[i] = d_t[i] * u_t[i]
                    out[i] = skip[seed, i] * u_t[i]
                for n in range(size):
                    b_n = b[user, t, n]
                    c_n = c[user, t, n]
                    a_n = a[seed, n]
                    before = states[s, n]
                    after = states[s + 1, n]
                    decay = decays[s, n]
                    for i in range(width):
                        e = exp2(d_t[i] * a_n[i])
                        h = e * before[i] + drive[i] * b_n
                        decay[i] = e
                        after[i] = h
                        out[i] += h * c_n
            for s in range(count - 1, -1, -1):
                t = first + s
                d_t = delta[user, t]
                u_t = u[user, t]
                grad_t = grad[user, t]
                drive = drives[s]
                if gated:
                    z_t = z[user, t]
                    out = outs[s]
                    grad_z_t = grad_z[user, t]
                    for i in range(width):
                        sigmoid = one / (one + exp2(-z_t[i] * per_ln2))
                        silu = z_t[i] * sigmoid
                        grad_z_t[i] = grad_t[i] * out[i] * (sigmoid + silu * (one - sigmoid))
                        out_grad[i] = grad_t[i] * silu
                else:
                    for i in range(width):
                        out_grad[i] = grad_t[i]
                for i in range(width):
                    drive_grad[i] = zero
                    decay_grad[i] = zero
                for n in range(size):
                    b_n = b[user, t, n]
                    c_n = c[user, t, n]
                    a_n = a[seed, n]
                    before = states[s, n]
                    after = states[s + 1, n]
                    decay = decays[s, n]
                    late = later[n]
                    part = own_a[n]
                    sum_b = zero
                    sum_c = zero
                    for i in range(width):
                        h_grad = late[i] + out_grad[i] * c_n
                        sum_c += out_grad[i] * after[i]
                        sum_b += h_grad * drive[i]
                        drive_grad[i] += h_grad * b_n
                        passed = h_grad * decay[i]
                        late[i] = passed
                        exponent_grad = passed * before[i]
                        decay_grad[i] += exponent_grad * a_n[i]
                        part[i] += exponent_grad * d_t[i]
                    grad_b[user, t, n] = sum_b
                    grad_c[user, t, n] = sum_c
                grad_u_t = grad_u[user, t]
                grad_delta_t = grad_delta[user, t]
                for i in range(width):
                    grad_u_t[i] = drive_grad[i] * d_t[i] + out_grad[i] * skip[seed, i]
                    grad_delta_t[i] = drive_grad[i] * u_t[i] + decay_grad[i] * ln2
                    own_skip[i] += out_grad[i] * u_t[i]


@compiled(
    "int64, int64, real[:,::1], real[::1], int64[::1], real[::1], real[::1], boolean",
    fastmath=("contract", "reassoc"),
)
def softmax(
    start: int,
    stop: int,
    logits: Array,
    largest: Array,
    targets: NDArray[np.int64],
    weights: Array,
    losses: Array,
    differentiate: bool,
) -> None:
    """Rows start .. stop - 1 of logits [M, N]; largest, targets, weights, losses: [M].

    losses = weights * cross-entropy; the logits are overwritten, with `differentiate` by their
    gradient. Rows of weight 0 are not read. `reassoc` lets the sums run in vectors.
    """
    real = logits.dtype.type
    zero, one, per_ln2 = real(0), real(1), real(PER_LN2)
    for m in range(start, stop):
        row = logits[m]
        weight = weights[m]
        if weight == zero:
            losses[m] = zero
            for n in range(row.shape[0]):
                row[n] = zero
            continue
        top = largest[m]
        chosen = row[targets[m]]
        total = zero
        for n in range(row.shape[0]):
            e = exp2((row[n] - top) * per_ln2)
            row[n] = e
            total += e
        losses[m] = weight * (np.log(total) + (top - chosen))
        if differentiate:
            scale = weight * (one / total)
            for n in range(row.shape[0]):
                row[n] *= scale
            row[targets[m]] -= weight
