"""The selective scan as compiled loops over (group, user), with the channels innermost.

The state of one user is laid out [N, D], so that every inner loop runs over D channels: a long
vector without a reduction. Forward keeps the states at every CHUNK-th position; backward computes
the states of one chunk again from there, so memory grows by N / CHUNK of the input's size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from findrec.ops.compiled import compiled
from findrec.ops.exponential import exp

CHUNK = 16

Array = NDArray[np.floating[Any]]


def _signatures(template: str) -> list[str]:
    return [template.format(f) for f in ("float32", "float64")]


@compiled(*_signatures(
    "void(int64, int64, {0}[:,:,::1], {0}[:,:,::1], {0}[:,:,::1], {0}[:,:,::1], {0}[:,:,::1], "
    "{0}[:,::1], {0}[:,:,::1], {0}[:,:,::1], {0}[:,:,:,::1])"
))  # fmt: skip
def forward(
    start: int, stop: int,
    u: Array, delta: Array, a: Array, b: Array, c: Array, skip: Array, z: Array,
    y: Array, carried: Array,
) -> None:  # fmt: skip
    """Users start .. stop - 1 of G * B.

    u, delta, y: [G B, L, D]; a: [G, N, D]; b, c: [G B, L, N]; skip: [G, D];
    z: [G B, L, D], or [0, 0, 0] for none; carried: [G B, K, N, D], the state before each chunk,
    or [0, 0, 0, 0] if it is not to be kept.
    """
    users, length, width = u.shape
    groups, size = a.shape[0], a.shape[1]
    each = users // groups
    gated = z.shape[0] > 0
    keep = carried.shape[0] > 0
    one = u.dtype.type(1)
    state = np.empty((size, width), u.dtype)
    drive = np.empty(width, u.dtype)
    for user in range(start, stop):
        g = user // each
        state[:] = 0
        for t in range(length):
            if keep and t % CHUNK == 0:
                carried[user, t // CHUNK] = state
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
                    h = exp(d_t[i] * a_n[i]) * h_n[i] + drive[i] * b_n
                    h_n[i] = h
                    y_t[i] += h * c_n
            if gated:
                z_t = z[user, t]
                for i in range(width):
                    y_t[i] *= z_t[i] / (one + exp(-z_t[i]))
