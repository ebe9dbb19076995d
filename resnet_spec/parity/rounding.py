"""The difference that rounding explains: computed from the network, not chosen.

A sum of k terms, computed in floating point with unit roundoff u, is the exact sum of terms that are each moved by at
most λ·√k·u of themselves, except with a probability that falls with λ like a normal distribution's tail (Higham and
Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41, A2815). Terms share the
roundings of the partial sums that they are in, so a sum of positive terms may be off by all of √k·u. So a network run
in float64 with every operation's inputs moved at random by √k·u, with float32's u, and its result moved by as much, is
a sample of float32's effect on it. The distance of that run from the unperturbed one is the *rounding error*, an
estimate in the units of the result. It grows with depth, with the terms of each sum and with whatever the network
amplifies. ``ROUNDING_FACTOR`` is λ, and λ times the rounding error the *rounding tolerance*.

Every verdict compares two absolute quantities, the largest difference and the largest that is allowed:

- float32 against the same backend's float64: the rounding tolerance.
- One node in float64, given the same inputs in two backends: the rounding tolerance with float64's u for float32's.
- A whole network in float64: ``RELATIVE_TOLERANCE`` times the size of the reference's result, or the rounding
  tolerances of two float64 runs where those are more.

Noise that moves a result by as much as its size shows no more than that: it says nothing about float64, whose noise is
2⁻²⁹ of it. So where float32's rounding error is more than a hundredth of the result (``LINEAR``), float64's is
estimated by noise of float64's own size.

The last two need no reference that differs from zero. A result that is zero because everything in it is zero (after a
ReLU of negative values, under kernels of zeros) has no rounding error, since moving zero by a part of itself moves
nothing; the other backend must compute zero too. A result that is zero, constant or a single number because terms
cancel has the rounding error of those terms, since each was moved by a part of its own. A quotient of the difference
and the reference's size would be infinite for both, whatever was computed. To either tolerance the smallest normal
number is added, since a processor may treat smaller numbers as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.backend.dtypes import computed_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.protocol import DType

UNIT: dict[ModelDType, float] = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff: the largest relative error of rounding one number."""

SMALLEST: dict[ModelDType, float] = {"float64": 2.3e-308, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}
"""The smallest normal numbers; a processor may treat smaller ones as zero."""

ROUNDING_FACTOR = 2.0

RELATIVE_TOLERANCE = 1e-9
"""Largest difference of float64 results, in their standard deviations, that rounding may explain: 10⁷ units."""

LINEAR = 0.01
"""The largest rounding error, relative to the result, that grows in proportion to the unit roundoff."""

STORED = 8
"""How many roundings of one operation are of values, and not of a sum's partial sums: the most of any formula."""

SAMPLES = 256
"""The least number of values to estimate a rounding error from; for fewer outputs, several runs are perturbed."""


class Noise(NamedTuple):
    """The rounding noise of a precision.

    Attributes:
        value: The unit roundoff of values.
        sum: That of partial sums.
    """

    value: float
    sum: float

    @classmethod
    def of(cls, dtype: ModelDType) -> Noise:
        """Return that of a dtype; partial sums of half precision are float32."""
        unit = UNIT[computed_in(dtype)]
        return cls(unit, min(unit, UNIT["float32"]))

    def accumulated(self, values: int, terms: int) -> float:
        """Return the standard deviation of a number of roundings in a row, as a part of what is rounded.

        Args:
            values: How many of them are of values.
            terms: The number of terms in the sums between them.
        """
        if self.value == self.sum:
            return terms**0.5 * self.value
        return (values * self.value**2 + terms * self.sum**2) ** 0.5

    def deviations(self, roundings: int, *, of_a_sum: bool) -> tuple[float, float]:
        """Return the standard deviations of an operation's inputs and of its result, as parts of them.

        Its inputs are moved by as many roundings in a row as one value may undergo, and so is its result. In half
        precision a sum is of exact products, and its result rounded once.
        """
        if self.value == self.sum or not roundings:
            return (roundings**0.5 * self.value,) * 2
        if of_a_sum:
            return roundings**0.5 * self.sum, (self.value**2 + roundings * self.sum**2) ** 0.5
        of_values = min(roundings, STORED)
        return ((of_values * self.value**2 + (roundings - of_values) * self.sum**2) ** 0.5,) * 2


class RoundingError(NamedTuple):
    """The estimated effects of rounding on a result, both with float32's unit roundoff.

    Attributes:
        float32: The effect of float32's noise.
        float64: The effect of float64's noise, times the ratio of both units: the same number wherever noise has an
            effect in proportion to its size.
    """

    float32: float
    float64: float


def rounding_tolerance(error: float, dtype: DType = "float32") -> float:
    """Return the largest error of a result that rounding explains, given its estimated float32 rounding error."""
    return ROUNDING_FACTOR * error * UNIT[dtype] / UNIT["float32"] + SMALLEST[dtype]


def structure_tolerance(size: float, error: float = 0.0) -> float:
    """Return the largest difference of two correct float64 results.

    ``size`` is the size of the reference, and ``error`` its estimated float32 rounding error.
    """
    return max(RELATIVE_TOLERANCE * size, 2 * rounding_tolerance(error, "float64"))


def draws_for(values: int) -> int:
    """Return the number of perturbed runs of a network or node with this many output values."""
    return max(1, min(8, -(-SAMPLES // values)))


def with_noise(value: NDArray[Any], deviation: float, generator: np.random.Generator) -> NDArray[Any]:
    """Return a value with each element moved by a random part of itself, of a standard deviation."""
    if not deviation:
        return value
    import numpy as np

    # Uniform noise is cheap; with width √12 its standard deviation is 1.
    noise = generator.random(value.shape, np.float32) - np.float32(0.5)
    return value * (1 + 12**0.5 * deviation * noise.astype(value.dtype))
