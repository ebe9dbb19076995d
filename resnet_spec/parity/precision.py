"""Round float64 values to lower precisions, with only NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any


def float16(value: Array) -> Array:
    """Round to IEEE 754's binary16."""
    import numpy as np

    # Values beyond its range become infinite.
    with np.errstate(over="ignore"):
        return value.astype("float16").astype("float64")


def bfloat16(value: Array) -> Array:
    """Round to seven bits after the leading one, to the nearest, ties to even."""
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    return np.ldexp(np.rint(np.ldexp(value, 8 - exponent)), exponent - 8)


def tf32(value: Array) -> Array:
    """Round to ten bits after the leading one, to the nearest, ties away from zero, as the hardware does."""
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    magnitude = np.ldexp(np.floor(np.ldexp(abs(value), 11 - exponent) + 0.5), exponent - 11)
    return np.copysign(magnitude, value)


PRECISIONS: dict[str, Callable[[Array], Array]] = {"float16": float16, "bfloat16": bfloat16, "TF32": tf32}
"""Functions that round float64 values to a lower precision, by its name."""
