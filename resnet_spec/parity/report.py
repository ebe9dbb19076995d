"""What a comparison finds, as plain data: each difference beside the bound it is judged by, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from resnet_spec.backend.protocol import DType
from resnet_spec.operations.fields import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quantity = Literal["logits", "node", "assembly", "gradients", "statistics", "losses", "weights"]


@dataclass(frozen=True)
class Difference:
    """One comparison: the largest absolute difference, that over the reference's own size, and the bound of the latter.

    Logits are measured in standard deviations of the reference's float64 logits, nodes in root mean squares of the
    node's value. What else is measured says ``quantity``; see ``training``. ``subject`` is a node or an optimizer.
    """

    quantity: Quantity
    dtype: DType
    backend: str
    reference: str
    largest: float
    relative: float
    bound: float
    subject: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is within its bound; NaN never is."""
        return self.relative <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain data, with its verdict."""
        return _finite(asdict(self)) | {"passed": self.passed}


@dataclass(frozen=True)
class NodeReport:
    """One node's part in a difference.

    ``drift`` is how far the two backends are apart there in float64, each on its own so far, in root mean squares of
    the reference's value. ``differences`` are what the node itself adds: every backend is given the reference's values
    as inputs. In float64 a backend is held to the reference, in float32 each to its own float64.
    """

    name: str
    operation: str
    stage: str
    block: str
    shape: Shape
    drift: float
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether all that the node adds is within its bounds."""
        return all(difference.passed for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """The node as plain data."""
        differences = [difference.to_dict() for difference in self.differences]
        return {"passed": self.passed, **_finite(asdict(self)), "differences": differences}


@dataclass(frozen=True)
class Finding:
    """A node at which a backend is wrong, and what explains it.

    ``kind`` is ``node`` where the node itself computes something else, and ``assembly`` where each node is right by
    itself but the model gives it something else than the graph says. ``causes`` are the changes under which the
    reference computes what the backend did, each tried; none where nothing that was tried explains it.
    """

    backend: str
    node: str
    kind: Literal["node", "assembly"]
    difference: Difference
    causes: tuple[str, ...] = ()
    tried: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self) | {"difference": self.difference.to_dict()}


@dataclass(frozen=True)
class ParityReport:
    """What ``compare`` found.

    ``size`` is (height, width), or (features,) of a vector; ``deviation`` is the standard deviation of the reference's
    float64 logits, and ``reach`` how far float32's rounding may move them, in those (``rounding``). ``nodes`` and
    ``findings`` are those of a bisection, in the order of execution; the first finding is where to look.
    """

    spec: str
    fingerprint: str
    size: Shape
    batch: int
    weights: str
    seed: int
    deviation: float
    reach: float
    differences: tuple[Difference, ...]
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    nodes: tuple[NodeReport, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every difference is within its bound."""
        return all(item.passed for item in (*self.differences, *self.nodes)) and not self.findings

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        parts = {
            "differences": [difference.to_dict() for difference in self.differences],
            "nodes": [node.to_dict() for node in self.nodes],
            "findings": [finding.to_dict() for finding in self.findings],
        }
        return {"passed": self.passed, **asdict(self), **parts}


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither infinity nor NaN: null stands for both."""
    return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in data.items()}


def largest_difference(result: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The largest absolute difference, computed in float64; infinite where the shapes differ."""
    import numpy as np

    if result.shape != wanted.shape:
        return float("inf")
    return float(np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max())


def ratio(largest: float, size: float) -> float:
    """A difference in units of what it is measured by; nothing over nothing is no difference."""
    return largest / size if size else (float("inf") if largest else 0.0)


def root_mean_square(value: NDArray[Any]) -> float:
    """The size of a value, computed in float64."""
    import numpy as np

    return float(np.sqrt(np.square(value, dtype=np.float64).mean()))
