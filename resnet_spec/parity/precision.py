"""Values of float64 as lower precisions hold them, by NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Array = Any


def float16(value: Array) -> Array:
    """As IEEE 754's binary16 holds it."""
    import numpy as np

    # What it cannot hold becomes infinite, as it does there.
    with np.errstate(over="ignore"):
        return value.astype("float16").astype("float64")


def bfloat16(value: Array) -> Array:
    """Seven bits behind the leading one, to the nearest, ties to even."""
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    return np.ldexp(np.rint(np.ldexp(value, 8 - exponent)), exponent - 8)


def tf32(value: Array) -> Array:
    """Ten bits behind the leading one; what lies halfway goes up, as the hardware's conversion has it."""
    import numpy as np

    exponent: Array = np.frexp(value)[1]
    magnitude = np.ldexp(np.floor(np.ldexp(abs(value), 11 - exponent) + 0.5), exponent - 11)
    return np.copysign(magnitude, value)


PRECISIONS: dict[str, Callable[[Array], Array]] = {"float16": float16, "bfloat16": bfloat16, "TF32": tf32}
"""Values of float64 rounded to what a lower precision holds."""
