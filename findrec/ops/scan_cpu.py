"""The selective scan as compiled loops over (group, user), with the channels innermost.

The state of one user is laid out [N, D], so that every inner loop runs over D channels: a long
vector without a reduction. Forward keeps the states at every CHUNK-th position; backward computes
the states of one chunk again from there, so memory grows by N / CHUNK of the input's size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from findrec.ops.compiled import compiled
from findrec.ops.exponential import PER_LN2, exp2

CHUNK = 16
Array = NDArray[np.floating[Any]]


@compiled(
    "int64, int64, real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], real[:,:,::1], "
    "real[:,::1], real[:,:,::1], real[:,:,::1], real[:,:,:,::1]"
)
def forward(
    start: int, stop: int,
    u: Array, delta: Array, a: Array, b: Array, c: Array, skip: Array, z: Array,
    y: Array, carried: Array,
) -> None:  # fmt: skip
    """Users start .. stop - 1 of G * B.

    u, delta, y: [G B, L, D]; a: [G, N, D], A / ln 2; b, c: [G B, L, N]; skip: [G, D];
    z: [G B, L, D], or [0, 0, 0] for none; carried: [G B, K, N, D], the state before each chunk,
    or [0, 0, 0, 0] if it is not to be kept.
    """
    users, length, width = u.shape
    groups, size = a.shape[0], a.shape[1]
    each = users // groups
    gated = z.shape[0] > 0
    keep = carried.shape[0] > 0
    zero, one, per_ln2 = u.dtype.type(0), u.dtype.type(1), u.dtype.type(PER_LN2)
    state = np.empty((size, width), u.dtype)
    drive = np.empty(width, u.dtype)
    for user in range(start, stop):
        g = user // each
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
                y_t[i] = skip[g, i] * u_t[i]
            for n in range(size):
                b_n = b[user, t, n]
                c_n = c[user, t, n]
                a_n = a[g, n]
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
def backward(
    start: int, stop: int,
    u: Array, delta: Array, a: Array, b: Array, c: Array, skip: Array, z: Array,
    carried: Array, grad: Array,
    grad_u: Array, grad_delta: Array, grad_a: Array, grad_b: Array, grad_c: Array,
    grad_skip: Array, grad_z: Array,
) -> None:  # fmt: skip
    """Users start .. stop - 1 of G * B; shapes as in `forward`, grad [G B, L, D].

    grad_a [G B, N, D], which is A's, and grad_skip [G B, D] hold each user's part.
    `reassoc` lets the sums over channels (grad_b, grad_c) run in vectors.
    """
    users, length, width = u.shape
    groups, size = a.shape[0], a.shape[1]
    each = users // groups
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
        g = user // each
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
                    out[i] = skip[g, i] * u_t[i]
                for n in range(size):
                    b_n = b[user, t, n]
                    c_n = c[user, t, n]
                    a_n = a[g, n]
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
                    a_n = a[g, n]
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
                    grad_u_t[i] = drive_grad[i] * d_t[i] + out_grad[i] * skip[g, i]
                    grad_delta_t[i] = drive_grad[i] * u_t[i] + decay_grad[i] * ln2
                    own_skip[i] += out_grad[i] * u_t[i]
