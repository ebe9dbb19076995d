"""Judge logits: in float64 by the first backend's, in float32 by the backend's own float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.report import Difference, largest_difference
from resnet_spec.parity.rounding import RoundingError, rounding_tolerance, structure_tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import DType


def judged(
    processes: Sequence[BackendProcess],
    exact: Sequence[NDArray[Any]],
    rounded: Sequence[NDArray[Any]],
    size: float,
    error: RoundingError,
) -> list[Difference]:
    """Return the differences of the logits: in float64 from the first backend, in float32 from each one's own float64.

    ``size`` is the size of the logits, and ``error`` their estimated float32 rounding error.
    """
    first, *others = processes
    found = [
        logits_difference("float64", process.name, first.name, logits, exact[0], size, error)
        for process, logits in zip(others, exact[1:], strict=True)
    ]
    return found + [
        logits_difference("float32", process.name, f"{process.name} float64", logits, own, size, error)
        for process, own, logits in zip(processes, exact, rounded, strict=True)
    ]


def logits_difference(
    dtype: DType,
    backend: str,
    reference: str,
    logits: NDArray[Any],
    wanted: NDArray[Any],
    size: float,
    error: RoundingError,
) -> Difference:
    """Return the difference of logits from the reference's; see ``judged``."""
    allowed = structure_tolerance(size, error.float64) if dtype == "float64" else rounding_tolerance(error.float32)
    return Difference("logits", dtype, backend, reference, largest_difference(logits, wanted), allowed, size)
