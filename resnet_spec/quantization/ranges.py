"""The range of a value over many images: its limits, and a histogram from which a narrower one may be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.errors import Problem, QuantizationError
from resnet_spec.quantization.form import HIGH, LOW, SMALLEST, Grid, Method, covering

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 2048
"""Bins of a histogram: eight for each code."""

PERCENT = 99.99
"""The part of the numbers that ``percentile`` covers, counted around 0 by their size."""

CLIPPED = [1.0 - step / 64 for step in range(56)]
"""The parts of the whole range that ``mse`` and ``entropy`` try, from the whole to an eighth."""


class Histogram:
    """The numbers of one value, counted in ``BINS`` bins.

    Limits are found first, in one pass over the images (``see``), and numbers are counted in a second one (``count``).

    Attributes:
        low: The smallest number seen, at most 0.
        high: The largest number seen, at least 0.
    """

    def __init__(self, name: str) -> None:
        import numpy as np

        self.name = name
        self.low = self.high = 0.0
        self.counts: NDArray[Any] = np.zeros(BINS)

    def see(self, values: NDArray[Any]) -> None:
        """Extend the limits.

        Args:
            values: Real numbers.

        Raises:
            QuantizationError: A number is NaN or infinite.
        """
        import numpy as np

        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantizationError(Problem("is NaN or infinite, so that no grid covers it", self.name))
        self.low, self.high = min(self.low, low), max(self.high, high)

    @property
    def is_below_every_grid(self) -> bool:
        """Whether all numbers that were seen are so small that the finest grid has few codes for them."""
        return 0 < self.high - self.low < SMALLEST * (HIGH - LOW)

    def count(self, values: NDArray[Any]) -> None:
        """Count numbers, which are within the limits.

        Args:
            values: Real numbers.
        """
        import numpy as np

        if self.low < self.high:
            self.counts += np.histogram(values, BINS, (self.low, self.high))[0]

    def grid(self, method: Method) -> Grid:
        """The grid that a method chooses.

        Args:
            method: ``minmax``: all numbers. ``percentile``: all but one in 10,000, those farthest from 0. ``mse``: the
                range with the smallest mean square of what rounding and limiting change. ``entropy``: the range with
                the smallest Kullback-Leibler divergence of the rounded numbers from the numbers (Migacz 2017).

        Returns:
            The grid.
        """
        if method == "minmax" or not self.counts.any():
            return covering(self.low, self.high)
        if method == "percentile":
            return covering(*self._percentile())
        cost = self._square if method == "mse" else self._divergence
        grids = [covering(self.low * part, self.high * part) for part in CLIPPED]
        return min(grids, key=cost)

    @property
    def _middles(self) -> NDArray[Any]:
        import numpy as np

        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[:-1] + edges[1:]) / 2

    def _percentile(self) -> tuple[float, float]:
        import numpy as np

        middles = self._middles
        order: NDArray[Any] = np.argsort(np.abs(middles))
        covered: NDArray[Any] = np.cumsum(self.counts[order])
        wanted = float(covered[-1]) * PERCENT / 100
        kept = order[: 1 + int((covered < wanted).sum())]
        half = (self.high - self.low) / BINS / 2
        return float(middles[kept].min() - half), float(middles[kept].max() + half)

    def _square(self, grid: Grid) -> float:
        import numpy as np

        return float(self.counts @ np.square(grid.rounded(self._middles) - self._middles))

    def _divergence(self, grid: Grid) -> float:
        import numpy as np

        # Zeros, of which an activation makes many, are on every grid, and would decide alone.
        counts = self.counts.copy()
        zero = min(int(-self.low / (self.high - self.low) * BINS), BINS - 1)
        counts[zero] = counts[zero + 1] if zero + 1 < BINS else counts[zero - 1]
        # The numbers beyond the grid count at its ends in the one, and not at all in the other, which shows their loss.
        codes = grid.codes(self._middles).astype(np.int64) - LOW
        low, high = grid.limits
        half = grid.scale / 2
        inside = (self._middles >= low - half) & (self._middles <= high + half) & (counts > 0)
        kept = np.where(inside, counts, 0.0)
        if not kept.any():
            return float("inf")
        ends = np.flatnonzero(inside)
        wanted = kept.copy()
        below, above = self._middles < low - half, self._middles > high + half
        wanted[ends[0]] += counts[below].sum()
        wanted[ends[-1]] += counts[above].sum()
        # Each code's numbers, spread over its bins that had any.
        sums = np.bincount(codes, kept, HIGH - LOW + 1)
        bins = np.bincount(codes, inside, HIGH - LOW + 1)
        spread = np.where(inside, sums[codes] / np.maximum(bins[codes], 1), 0.0)
        p, q = wanted[inside] / wanted.sum(), spread[inside] / spread.sum()
        return float(p @ np.log(p / q))
