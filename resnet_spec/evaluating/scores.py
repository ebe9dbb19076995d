"""From logits to what is kept of each image: the likeliest classes, the rank of its own class, and differences.

What is kept are a few numbers for each image, so that memory does not depend on the number of classes.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.vision.prediction import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOP = 5
"""The likeliest classes that are kept."""

QUANTILE = 1.959963984540054
"""The standard normal distribution's, for an interval of 95 %."""


class Interval(NamedTuple):
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float


def wilson(right: int, count: int) -> Interval:
    """Return the share of what is right, with the interval of Wilson (1927), which holds near 0 and 1 too.

    Args:
        right: How many are right.
        count: How many there are.

    Returns:
        The share and its interval; 0 to 1 of none.

    Examples:
        >>> [round(value, 4) for value in wilson(8, 10)]
        [0.8, 0.4902, 0.9433]
    """
    if not count:
        return Interval(0.0, 0.0, 1.0)
    share, square = right / count, QUANTILE**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = QUANTILE / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count**2))
    return Interval(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


class Scores(NamedTuple):
    """What is kept of logits.

    Attributes:
        top: The likeliest classes, (images, up to 5); of equal logits the first.
        rank: The place of the image's own class in that order; the number of classes if a logit is not finite.
        probability: That of the likeliest class.
    """

    top: NDArray[np.int32]
    rank: NDArray[np.int32]
    probability: NDArray[np.float64]


class Changes(NamedTuple):
    """How far logits are from those of the reference.

    Attributes:
        logits: The largest difference of an image's logits; NaN if either are probabilities.
        probabilities: The largest difference of a probability.
        gap: By how much the reference prefers its class to the other one, in logits; 0 where the classes are the same.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    gap: NDArray[np.float64]


def is_probabilities(values: NDArray[Any]) -> bool:
    """Whether the results of a model are probabilities: from 0 to 1, with a sum near 1, which 8 bits move."""
    import numpy as np

    return bool(np.all(values >= 0) and np.all(values <= 1) and np.all(np.abs(values.sum(axis=1) - 1) < 0.5))


class Results(NamedTuple):
    """The results of a batch in one backend or model.

    Attributes:
        values: The logits or probabilities, (images, classes).
        probabilities: Whether they are probabilities.
    """

    values: NDArray[Any]
    probabilities: bool

    @property
    def shares(self) -> NDArray[np.float64]:
        """The probabilities."""
        import numpy as np

        return np.asarray(self.values, np.float64) if self.probabilities else softmax(self.values)


def score(results: Results, classes: NDArray[np.integer[Any]]) -> Scores:
    """Return what is kept of results, given the class of each image."""
    import numpy as np

    values = results.values
    order = np.argsort(-values, axis=1, kind="stable")
    own = np.argmax(order == classes[:, None], axis=1)
    finite = np.isfinite(values).all(axis=1)
    likeliest = np.take_along_axis(results.shares, order[:, :1], axis=1)[:, 0]
    return Scores(
        top=np.asarray(order[:, :TOP], np.int32),
        rank=np.asarray(np.where(finite, own, values.shape[1]), np.int32),
        probability=np.where(finite, likeliest, 0.0),
    )


def change(reference: Results, results: Results, ours: NDArray[Any], theirs: NDArray[Any]) -> Changes:
    """Return how far results are from the reference's, given the likeliest class of each image in both."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        probabilities = np.abs(results.shares - reference.shares).max(axis=1)
        logits = np.full(len(ours), np.nan)
        if not reference.probabilities and not results.probabilities:
            logits = np.abs(results.values.astype(np.float64) - reference.values).max(axis=1)
        # A difference of logits is the logarithm of a quotient of probabilities.
        scale = np.log(reference.shares) if reference.probabilities else reference.values.astype(np.float64)
        rows = np.arange(len(ours))
        gap = np.where(ours == theirs, 0.0, scale[rows, ours] - scale[rows, theirs])
    return Changes(logits, probabilities, gap)
