"""An exponential that compiled loops can vectorise; the library's is a call for every element."""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload


@intrinsic
def _power_of_two(context, exponent):  # type: ignore[no-untyped-def]
    """2^k as float32 for an int32 k in -126 .. 127: k is moved into the exponent's bits."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        biased = builder.add(arguments[0], context.get_constant(types.int32, 127))
        bits = builder.shl(biased, context.get_constant(types.int32, 23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), generate


def exp(x):  # type: ignore[no-untyped-def]
    """e^x in compiled code. NaN stays NaN.

    float64 is the library's. float32 is e^r 2^k with k the nearest integer to x / ln 2 and a
    polynomial in r: relative error below 2e-7 for x in [-87.3, 88.3], held at its ends beyond.
    """
    raise NotImplementedError("exp is for compiled code")


@overload(exp, jit_options={"fastmath": {"contract"}})
def _exp(x):  # type: ignore[no-untyped-def]
    if x == types.float64:
        return lambda x: math.exp(x)

    low, high = np.float32(-87.3), np.float32(88.3)
    per_ln2 = np.float32(1 / math.log(2))
    # ln 2 in two parts, the first with few bits, so that k times it is exact.
    ln2_high, ln2_low = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
    # (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, fitted at Chebyshev nodes: relative error 1.0e-8.
    c0, c1, c2, c3, c4 = (
        np.float32(c)
        for c in (0.5, 0.16666576266288757, 0.04166646674275398, 0.008363175205886364,
                  0.0013933643931522965)
    )  # fmt: skip
    half, one = np.float32(0.5), np.float32(1)

    def polynomial(x):  # type: ignore[no-untyped-def]
        # Written so that NaN fails both comparisons and goes through.
        x = low if x < low else x
        x = high if x > high else x
        k = np.floor(x * per_ln2 + half)
        r = (x - k * ln2_high) - k * ln2_low
        p = (((c4 * r + c3) * r + c2) * r + c1) * r + c0
        return (p * (r * r) + r + one) * _power_of_two(np.int32(k))  # type: ignore[call-arg]

    return polynomial
