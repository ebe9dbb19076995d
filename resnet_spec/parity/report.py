"""The results of a comparison as plain data: each difference with the largest that is allowed, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, Any, Literal

from resnet_spec import notebook
from resnet_spec.backend.dtypes import HalfPrecision
from resnet_spec.backend.protocol import DType
from resnet_spec.document.json_output import plain_data
from resnet_spec.drawing import Outline, svg
from resnet_spec.operations.fields import Shape
from resnet_spec.parity.rounding import structure_tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

Quantity = Literal["logits", "node", "assembly", "gradients", "statistics", "losses", "weights", "parameters"]


@dataclass(frozen=True)
class Difference:
    """One comparison of a backend with a reference: the largest difference, and the largest that is allowed.

    Attributes:
        quantity: What was compared: ``logits``, a ``node``'s value, ``gradients``, ``statistics``, ...; ``parameters``
            are those of a file and of a model of another library, which must be equal.
        dtype: The precision of the computation; ``int8`` of an 8-bit network.
        backend: The backend that was compared.
        reference: What it was compared with: another backend, or in float32 the same backend's float64 result.
        largest: The largest absolute difference; of weights after training the Euclidean distance.
        allowed: The largest difference that rounding explains, in the same units (see ``resnet_spec.parity.rounding``).
        size: The size of the reference, in the same units: for logits the standard deviation (for constant logits the
            root mean square), for a node's value the root mean square. Zero where the reference is zero.
        subject: The node, parameter or optimizer that was compared; empty for logits.

    Examples:
        >>> from resnet_spec.parity.report import Difference
        >>> found = Difference("logits", "float64", "tensorflow", "torch", largest=3e-13, allowed=1e-9, size=0.5)
        >>> found.passed, found.relative, found.bound
        (True, 6e-13, 2e-09)
    """

    quantity: Quantity
    dtype: DType | HalfPrecision | Literal["int8"]
    backend: str
    reference: str
    largest: float
    allowed: float
    size: float
    subject: str = ""

    @property
    def relative(self) -> float:
        """The largest difference over the reference's size; infinite where the reference is zero and it is not."""
        return ratio(self.largest, self.size)

    @property
    def bound(self) -> float:
        """The largest ``relative`` that is allowed; infinite where the reference is zero."""
        return ratio(self.allowed, self.size)

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed; never with NaN or infinity on either side."""
        return isfinite(self.largest) and isfinite(self.allowed) and self.largest <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as data for JSON, with its verdict; NaN and infinity become None."""
        derived = {"relative": self.relative, "bound": self.bound, "passed": self.passed}
        return plain_data(asdict(self) | derived)


@dataclass(frozen=True)
class NodeReport:
    """The comparison of one node, given the same inputs in every backend.

    Attributes:
        name: The node's name.
        operation: The operation's name, such as ``conv2d``.
        stage: The stage that the node belongs to; empty in the stem and the head.
        block: The block that the node belongs to, likewise.
        shape: The shape of its value, without the batch.
        accumulated_error: The difference of two backends at this node in float64 when each runs from the images on its
            own, over the root mean square of the reference's value.
        differences: The differences that the node itself adds: in float64 between backends, in float32 between a
            backend and its own float64.
    """

    name: str
    operation: str
    stage: str
    block: str
    shape: Shape
    accumulated_error: float
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether every difference is allowed."""
        return all(difference.passed for difference in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return the node as data for JSON."""
        differences = [difference.to_dict() for difference in self.differences]
        return {"passed": self.passed, **plain_data(asdict(self)), "differences": differences}


@dataclass(frozen=True)
class Finding:
    """A node at which a backend is wrong, with the changes that explain it.

    Attributes:
        backend: The backend that is wrong.
        node: The node's name.
        kind: ``node`` where the node itself computes something else; ``assembly`` where each node is right on its own
            and the backend connects this one to different inputs than the graph does.
        difference: The difference that was found there.
        causes: The changes under which the reference computes what the backend did, each confirmed by computing it;
            empty where none of those tried explains the difference.
        tried: How many changes were tried.
        counterpart: The node's name in the model of another library that it was compared with; empty otherwise.
    """

    backend: str
    node: str
    kind: Literal["node", "assembly"]
    difference: Difference
    causes: tuple[str, ...] = ()
    tried: int = 0
    counterpart: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as data for JSON."""
        return plain_data(asdict(self)) | {"difference": self.difference.to_dict()}


@dataclass(frozen=True)
class StructuralDifference:
    """A layer that a model of another library does not have as the spec has it.

    Attributes:
        message: The difference as a sentence, with both names.
        node: The node of the spec; empty where it is the network as a whole that differs.
        counterpart: The layer of the model in its place; empty where there is none.
    """

    message: str
    node: str = ""
    counterpart: str = ""


@dataclass(frozen=True)
class ParityReport:
    """The result of ``resnet_spec.compare``.

    Attributes:
        spec: The network's name.
        fingerprint: The graph's fingerprint (SHA-256), which names the architecture.
        size: (height, width) of the images, or (features,) of vectors.
        batch: How many images were compared.
        weights: The file or published weights that were compared under, or ``random``.
        seed: The seed of images and random weights.
        deviation: The standard deviation of the reference's float64 logits.
        rounding_tolerance: How far float32 rounding may move the logits, in those (for constant logits in their root
            mean square): the bound of the float32 differences.
        differences: The differences of the logits and, where asked for, of training.
        environment: By backend, the versions and settings that change rounding.
        nodes: The nodes in order of execution, where ``bisect`` compared them.
        findings: What ``bisect`` found wrong, the first node first: where to look.
        remark: Why the logits may hide mistakes, where they were compared alone; empty otherwise.
        structure: How the layers of a model of another library differ from the spec's, in the spec's order. Where they
            do, nothing was computed: ``deviation`` and ``rounding_tolerance`` are NaN, and there are no differences.
        notes: What was read differently from how that model states it, and what differs in training only; or which
            mistakes half precision hides.
        outline: How the network is drawn in the page, where nodes were compared; not a part of the data.

    Examples:
        >>> found = Difference("logits", "float64", "tensorflow", "torch", largest=3e-13, allowed=1e-9, size=0.5)
        >>> ParityReport("net", "c0ffee", (64, 64), 2, "random", 0, 0.5, 1e-5, (found,)).passed
        True
    """

    spec: str
    fingerprint: str
    size: Shape
    batch: int
    weights: str
    seed: int
    deviation: float
    rounding_tolerance: float
    differences: tuple[Difference, ...]
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    nodes: tuple[NodeReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    remark: str = ""
    structure: tuple[StructuralDifference, ...] = ()
    notes: tuple[str, ...] = ()
    outline: Outline | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """Say the verdict in a line; ``to_dict`` has all of it."""
        verdict = "agrees" if self.passed else "DIFFERS"
        worst = max((item.relative / item.bound for item in self.differences if item.bound), default=0)
        return f"ParityReport({self.spec!r} {verdict}: {len(self.differences)} differences, {worst:.1e} of the bound)"

    def _repr_html_(self) -> str:
        """What a notebook shows: the drawing if nodes were compared, each difference, and what was found wrong."""
        rows = [
            (
                item.quantity, item.backend, item.dtype, f"{item.relative:.1e}", f"{item.bound:.1e}",
                "agrees" if item.passed else "DIFFERS",
            )
            for item in self.differences
        ]  # fmt: skip
        headings = ["quantity", "backend", "dtype", "relative", "bound", "verdict"]
        found = [finding.message for finding in self.structure] + [self.remark] * bool(self.remark)
        picture = notebook.picture(svg(self.outline, marks=self.marks), self.spec) if self.outline else ""
        return picture + notebook.table(repr(self), headings, rows, "; ".join(found))

    @property
    def marks(self) -> dict[str, float]:
        """By node the largest share of its bound that it uses, as ``drawing.svg`` takes it; infinite if it is wrong."""
        wrong = {finding.node for finding in self.findings} | {node.name for node in self.nodes if not node.passed}
        shares = {
            node.name: max((ratio(item.largest, item.allowed) for item in node.differences), default=0.0)
            for node in self.nodes
        }
        return shares | dict.fromkeys(wrong & shares.keys(), inf)

    @property
    def passed(self) -> bool:
        """Whether every difference is allowed and nothing was found wrong."""
        found = self.findings or self.structure
        return all(item.passed for item in (*self.differences, *self.nodes)) and not found

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON; NaN and infinity, which JSON lacks, become None.

        Returns:
            The attributes above by name, ``passed``, and for each difference ``relative`` and ``bound``.

        Examples:
            >>> found = Difference("logits", "float64", "tensorflow", "torch", largest=3e-13, allowed=1e-9, size=0.5)
            >>> report = ParityReport("net", "c0ffee", (64, 64), 2, "random", 0, 0.5, 1e-5, (found,))
            >>> report.to_dict()["differences"][0]["relative"]
            6e-13
        """
        parts = {
            "differences": [difference.to_dict() for difference in self.differences],
            "nodes": [node.to_dict() for node in self.nodes],
            "findings": [finding.to_dict() for finding in self.findings],
        }
        data = asdict(replace(self, outline=None))
        del data["outline"]
        return {"passed": self.passed, **plain_data(data), **parts}


def outline_of(graph: Graph, nodes: Sequence[NodeReport]) -> Outline | None:
    """Return how a network is drawn whose nodes were compared: blocks with a wrong node are drawn by their layers."""
    return Outline.of(graph, [node.name for node in nodes if not node.passed]) if nodes else None


def largest_difference(result: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the largest absolute difference, in float64; infinite where the shapes differ, NaN where either is NaN."""
    import numpy as np

    if result.shape != wanted.shape:
        return float("inf")
    # Infinity on both sides gives NaN, which never passes.
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max())


def ratio(largest: float, size: float) -> float:
    """Return a difference divided by a size; 0 if both are 0, infinite if only the size is."""
    if size or isnan(largest):
        return largest / size if size else largest
    return float("inf") if largest else 0.0


def root_mean_square(value: NDArray[Any]) -> float:
    """Return the root mean square, computed in float64 without overflow; not finite where the value is not."""
    import numpy as np

    scale, scaled = _scaled(value)
    return scale * float(np.sqrt(np.square(scaled).mean())) if scaled is not None else scale


def standard_deviation(value: NDArray[Any]) -> float:
    """Return the standard deviation, computed in float64 without overflow; not finite where the value is not."""
    scale, scaled = _scaled(value)
    return scale * float(scaled.std()) if scaled is not None else scale


def logits_size(logits: NDArray[Any]) -> float:
    """Return the size of logits: their standard deviation, or if that is 0 their root mean square."""
    return standard_deviation(logits) or root_mean_square(logits)


def remark_on(logits: NDArray[Any]) -> str:
    """Return why reference logits hide mistakes, with what to do: they do not depend on the image or the position."""
    import numpy as np

    size = root_mean_square(logits)
    if not isfinite(size):
        return ""
    allowed = structure_tolerance(size)
    for axes, what in (
        (tuple(range(logits.ndim)), "all logits are one number"),
        ((0,), "the logits are the same for every image"),
        (tuple(range(2, logits.ndim)), "the logits are the same at every position"),
    ):
        varied = [axis for axis in axes if logits.shape[axis] > 1]
        if varied and bool((np.ptp(logits, axis=tuple(varied)) <= allowed).all()):
            return f"{what}, which hides mistakes; a bisection compares every node"
    return ""


def _scaled(value: NDArray[Any]) -> tuple[float, NDArray[Any] | None]:
    """Return a power of two near a value's largest element, and the value divided by it, whose square cannot overflow.

    If the largest element is 0 or not finite, return it and None.
    """
    import numpy as np

    wide = value.astype(np.float64)
    largest = float(np.abs(wide).max())
    if not largest or not isfinite(largest):
        return largest, None
    scale = float(2.0 ** (int(np.frexp(largest)[1]) - 1))
    return scale, wide / scale
