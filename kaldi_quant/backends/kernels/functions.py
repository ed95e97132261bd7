"""Sigmoid and hyperbolic tangent of float32 values, computed in float64 and rounded once.

As the reference does the same with torch's functions, both give the same float32, but where the true value lies within
about 1e-16 of the middle between two. Compilers turn these into vector instructions, as they do not calls of libraries.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

# The logarithm of 2 in two parts, the first with so few bits that multiples of it are exact (W. J. Cody and W. Waite,
# "Software Manual for the Elementary Functions", 1980).
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.42860682030941723212e-6
# Taylor's series: what is left of it is below 4e-18 for all that the reduction leaves.
_C = tuple(1.0 / factorial(n) for n in range(14))
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12, _C13 = _C[2:]
# Beyond these both functions have reached their ends.
_LEAST, _MOST = -700.0, 700.0
_EXPONENT_OF_ONE, _BITS_OF_FRACTION = np.int64(1023), np.int64(52)


def _reinterpreted(_typing: Any, bits: Any) -> Any:
    def codegen(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


#: The float64 of its bits, an int64.
_float_of_bits: Any = intrinsic(_reinterpreted)


@numba.njit(inline="always", error_model="numpy")
def _exponential(x: Any) -> Any:
    x = min(max(x, _LEAST), _MOST)
    power = np.rint(x * _LOG2_E)
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    high = (((((_C13 * r + _C12) * r + _C11) * r + _C10) * r + _C9) * r + _C8) * r + _C7
    series = (((((high * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + 1.0
    return series * _float_of_bits((np.int64(power) + _EXPONENT_OF_ONE) << _BITS_OF_FRACTION)


@numba.njit(inline="always", error_model="numpy")
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a float32."""
    return np.float32(1.0 / (1.0 + _exponential(-np.float64(x))))


@numba.njit(inline="always", error_model="numpy")
def tanh(x: Any) -> Any:
    """The hyperbolic tangent of a float32."""
    return np.float32(2.0 / (1.0 + _exponential(-2.0 * np.float64(x))) - 1.0)
