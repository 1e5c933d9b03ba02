"""An exponential that compiled loops can vectorise; the library's is a call for every element."""

import math

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

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
