"""The keyed hash of `findrec.ops.random` as compiled loops, bit for bit the same words."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from findrec.ops.compiled import compiled

# Numba widens arithmetic on small integers; np.uint32(...) around each step cuts it back, which
# LLVM turns into plain 32-bit vector instructions.


@njit(inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@njit(inline="always")
def _mix_word(word):  # type: ignore[no-untyped-def]
    return _mix(np.uint32(np.uint32(word) + np.uint32(0x9E3779B9)))


@njit(inline="always")
def _fold(state, word):  # type: ignore[no-untyped-def]
    return _mix(np.uint32(state ^ _mix_word(word)))


@njit(inline="always")
def _fold_key(code, seed, step):  # type: ignore[no-untyped-def]
    state = _fold(np.uint32(code), np.uint32(seed & 0xFFFFFFFF))
    state = _fold(state, np.uint32((seed >> 32) & 0xFFFFFFFF))
    state = _fold(state, np.uint32(step & 0xFFFFFFFF))
    return _fold(state, np.uint32((step >> 32) & 0xFFFFFFFF))


@njit(inline="always")
def _fold_middle(state, flat, sizes):  # type: ignore[no-untyped-def]
    """Fold in the indices of all sizes but the last, whose flat index is given."""
    stride = 1
    for i in range(sizes.shape[0] - 1):
        stride *= sizes[i]
    for i in range(sizes.shape[0] - 1):
        stride //= sizes[i]
        index = flat // stride
        flat -= index * stride
        state = _fold(state, np.uint32(index))
    return state


@njit(inline="always")
def _columns(size):  # type: ignore[no-untyped-def]
    columns = np.empty(size, np.uint32)
    for j in range(size):
        columns[j] = _mix_word(np.uint32(j))
    return columns


_KEYED = "int64[::1], int64, int64[::1], int64[::1]"


@compiled(f"float32[::1], {_KEYED}")
def fill_uniform(
    out: NDArray[np.float32],
    keys: NDArray[np.int64],
    code: int,
    rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """out: [S * R * sizes], keys: [S * 2], rows: [S * R], all flat."""
    seeds = keys.shape[0] // 2
    columns = _columns(sizes[-1])
    inner = columns.shape[0]
    middle = out.shape[0] // (rows.shape[0] * inner)
    rows_each = rows.shape[0] // seeds
    offset = 0
    for s in range(seeds):
        state = _fold_key(code, keys[2 * s], keys[2 * s + 1])
        for r in range(rows_each):
            row = _fold(state, np.uint32(rows[s * rows_each + r] & 0xFFFFFFFF))
            for m in range(middle):
                prefix = _fold_middle(row, m, sizes)
                line = out[offset : offset + inner]
                for j in range(inner):
                    word = _mix(np.uint32(prefix ^ columns[j])) >> np.uint32(9)
                    line[j] = (np.float32(np.int32(word)) + np.float32(0.5)) * np.float32(2.0**-23)
                offset += inner


@compiled(f"real[::1], real[::1], real, int64, {_KEYED}")
def dropout(
    out: NDArray[np.floating],
    x: NDArray[np.floating],
    scale: float,
    threshold: int,
    keys: NDArray[np.int64],
    code: int,
    rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """out, x: [S * R * sizes], flat; kept and scaled where the upper 23 bits >= threshold."""
    seeds = keys.shape[0] // 2
    columns = _columns(sizes[-1])
    inner = columns.shape[0]
    middle = out.shape[0] // (rows.shape[0] * inner)
    rows_each = rows.shape[0] // seeds
    limit = np.uint32(threshold)
    zero = x.dtype.type(0)
    offset = 0
    for s in range(seeds):
        state = _fold_key(code, keys[2 * s], keys[2 * s + 1])
        for r in range(rows_each):
            row = _fold(state, np.uint32(rows[s * rows_each + r] & 0xFFFFFFFF))
            for m in range(middle):
                prefix = _fold_middle(row, m, sizes)
                source = x[offset : offset + inner]
                line = out[offset : offset + inner]
                for j in range(inner):
                    word = np.uint32(_mix(np.uint32(prefix ^ columns[j])) >> np.uint32(9))
                    value = source[j] * scale
                    line[j] = value if word >= limit else zero
                offset += inner
