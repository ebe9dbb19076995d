"""How far rounding alone may move a result: computed from the network, not chosen.

A sum of k terms computed in floating point with unit roundoff u is the exact sum of terms each moved by at most
λ·√k·u of itself, but for a probability that falls with λ like a normal distribution's tail (Higham and Mary 2019, "A
New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41, A2815). Terms share the roundings of
the partial sums that they are in, so a sum of positive terms may be off by all of √k·u. So a network run in float64
whose every operation is given inputs moved at random by √k·u, with float32's u, and whose result is moved by as much,
is a sample of what float32 may do to it: ``reach``, the distance of that run from the undisturbed one. It grows with
depth, with the terms of each sum and with whatever the network amplifies. ``CONFIDENCE`` is λ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType

UNIT: dict[DType, float] = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Unit roundoff: the largest relative error of rounding one number."""

CONFIDENCE = 2.0

STRUCTURE = 1e-9
"""Largest difference of float64 results, in their standard deviations, that rounding may explain: 10⁷ units."""

SAMPLES = 256
"""Values from which the reach of rounding is taken at least: the largest of few says little, so few are drawn again."""


def draws_for(values: int) -> int:
    """How often a network, or a node, of so many output values is disturbed."""
    return max(1, min(8, -(-SAMPLES // values)))


def jittered(value: NDArray[Any], roundings: int, generator: np.random.Generator, unit: float) -> NDArray[Any]:
    """A value with each element moved by a random part of itself, of standard deviation √roundings · unit."""
    if not roundings:
        return value
    import numpy as np

    # Uniform, which is cheap to draw: of width √12 its standard deviation is 1.
    noise = generator.random(value.shape, np.float32) - np.float32(0.5)
    return value * (1 + (12 * roundings) ** 0.5 * unit * noise.astype(value.dtype))
