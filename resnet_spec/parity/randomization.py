"""Random weights for comparisons, under which activations neither vanish nor explode.

Running statistics of 0 and 1 hide errors in normalizations, and arbitrary ones let activations grow until all but the
largest are lost in rounding. Scales are uniform around 1, the last normalization of each residual branch is damped so
that a deep sum stays bounded, and the running statistics are near those of the network's activations.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import INPUT, Graph, Node, Parameter
from resnet_spec.graph.initialization import initialize
from resnet_spec.operations import (
    BIASES,
    MEANS,
    OFFSETS,
    SCALES,
    VARIANCES,
    BatchNorm,
    Category,
    Dropout,
    PositionBatchNorm,
    Role,
    Scale,
    StochasticDepth,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DAMPING = 0.2
WIDENING = 4.0
"""Without it, the values that reach a ``relu6`` stay below 6, and a missing limit would not show."""
CALIBRATION_BATCH = 4

# For normalizations with statistics for each position, or for each feature of a vector.
POSITION_BATCH = 32
"""With statistics of fewer values, activations of other images grow from layer to layer."""
LEAST_VARIANCE = 4.0
"""In multiples of the layer's mean variance: positions that a strided transposed convolution leaves out never vary, and
dividing their rounding errors by a tiny variance would dominate all other values."""

Forward = Callable[[Graph, Mapping[str, Any], Any], Mapping[str, Any]]
"""Runs a graph with arrays on images in training mode; returns the arrays after it."""


def randomize(graph: Graph, train: Forward, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return random weights and statistics for a comparison.

    Kernels follow the spec's initialization; scales are uniform in 0.5–1.5, offsets in ±0.5, biases in ±0.1, slopes in
    0.1–0.4, learned values in ±1, whatever their initial value; the last normalization or learned scale of each
    residual branch, scale and offset, is multiplied by 0.2, and a scale before ``relu6`` by 4. Running statistics are
    those of one training-mode batch, run by ``train``, the variance times 0.8–1.25 and the mean moved by ±0.1 standard
    deviations. If each position has its own variance, none is below four times their mean.
    """
    arrays: dict[str, NDArray[np.float32]] = dict(initialize(graph, seed))
    damped = last_normalizations(graph)
    limited = limited_normalizations(graph)
    ranges = dict.fromkeys(SCALES | {Role.NORM_GATE, Role.CONV_GAIN, Role.LEARNED_SCALE}, (0.5, 1.5))
    ranges |= dict.fromkeys(OFFSETS | {Role.NORM_THRESHOLD, Role.LEARNED_OFFSET}, (-0.5, 0.5))
    ranges[Role.LEARNED_VALUE] = (-1.0, 1.0)
    ranges |= dict.fromkeys(BIASES, (-0.1, 0.1))
    ranges[Role.ACTIVATION_SLOPE] = (0.1, 0.4)
    ranges[Role.POOL_POWER] = (2.0, 4.0)
    for parameter in graph.parameters():
        if parameter.role in ranges:
            value = _uniform(parameter, seed, *ranges[parameter.role])
            if parameter.role in SCALES and parameter.node in limited:
                value *= WIDENING
            damps = parameter.role in SCALES | OFFSETS | {Role.NORM_THRESHOLD, Role.LEARNED_SCALE}
            arrays[parameter.name] = value * DAMPING if damps and parameter.node in damped else value
    roles = {parameter.role for parameter in graph.parameters()}
    if roles & VARIANCES:
        few = Role.POSITION_VARIANCE in roles or any(map(_normalizes_vectors, graph.nodes))
        batch = POSITION_BATCH if few else CALIBRATION_BATCH
        images = random_images((batch, *graph.input.shape), seed)
        after = train(calibrating(graph), arrays, images.astype("float32"))
        _perturb_statistics(graph, arrays, after, seed)
    return arrays


def _normalizes_vectors(node: Node) -> bool:
    """Whether each statistic is computed from one value per image."""
    return isinstance(node.operation, BatchNorm) and len(node.shape) == 1


def _perturb_statistics(graph: Graph, arrays: dict[str, Any], after: Mapping[str, Any], seed: int) -> None:
    variances = {p.node: _variance(p, after[p.name]) for p in graph.parameters() if p.role in VARIANCES}
    for parameter in graph.parameters():
        if parameter.role in VARIANCES:
            value = variances[parameter.node] * _uniform(parameter, seed, 0.8, 1.25)
        elif parameter.role in MEANS:
            deviation = variances[parameter.node] ** 0.5
            value = after[parameter.name] + deviation * _uniform(parameter, seed, -0.1, 0.1)
        else:
            continue
        arrays[parameter.name] = value.astype("float32")


def _variance(parameter: Parameter, seen: NDArray[Any]) -> NDArray[Any]:
    return seen.clip(min=LEAST_VARIANCE * seen.mean()) if parameter.role is Role.POSITION_VARIANCE else seen


def _uniform(parameter: Parameter, seed: int, low: float, high: float) -> NDArray[np.float32]:
    import numpy as np

    # A stream separate from initialization's.
    rng = np.random.default_rng([seed, zlib.crc32(parameter.name.encode()), 1])
    return rng.uniform(low, high, parameter.shape).astype(np.float32)


def random_images(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Return standard normal images (batch, channels, height, width) in float64, each exact in float32 too."""
    import numpy as np

    return np.random.default_rng([seed, 2]).standard_normal(shape, np.float32).astype(np.float64)


def last_normalizations(graph: Graph) -> set[str]:
    """Return the last normalization or learned scale of each residual branch, the first input of an addition."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.operation.op == "add":
            name = node.inputs[0]
            while name != INPUT and not _sets_size(graph.by_name[name]):
                name = graph.by_name[name].inputs[0]
            if name != INPUT:
                found.add(graph.by_name[name].layer)
    return found


def _sets_size(node: Node) -> bool:
    """Whether a node's parameters determine how large its values are."""
    return node.operation.category is Category.NORMALIZATION or isinstance(node.operation, Scale)


def limited_normalizations(graph: Graph) -> set[str]:
    """Return the normalizations whose value a ``relu6`` limits."""
    limits = [node for node in graph.nodes if node.operation.op == "relu6"]
    before = [graph.by_name[name] for node in limits for name in node.inputs if name != INPUT]
    return {node.layer for node in before if node.operation.category is Category.NORMALIZATION}


def calibrating(graph: Graph) -> Graph:
    """Return the network without dropout, with momenta that replace the running statistics by the next batch's."""

    def changed(node: Node) -> Node:
        if isinstance(node.operation, BatchNorm | PositionBatchNorm):
            return node.model_copy(update={"operation": node.operation.model_copy(update={"momentum": 1.0})})
        return node

    return undropped(graph.with_nodes(map(changed, graph.nodes)))


def undropped(graph: Graph) -> Graph:
    """Return the network with the rates of dropout and stochastic depth set to 0."""

    def changed(node: Node) -> Node:
        if isinstance(node.operation, Dropout | StochasticDepth):
            return node.model_copy(update={"operation": node.operation.model_copy(update={"rate": 0.0})})
        return node

    return graph.with_nodes(map(changed, graph.nodes))
