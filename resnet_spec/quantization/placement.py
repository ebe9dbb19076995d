"""Which values and kernels of a network are quantized, and whether a file fits a network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.errors import Problem, QuantizationError, suggest
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Mean,
    Multiply,
    Pad,
    PadChannels,
    ReLU,
    ReLU6,
    Reshape,
    Slice,
    Transpose,
)
from resnet_spec.optimization.rewriting import Uses
from resnet_spec.quantization.form import Grid, Quantization

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

INTEGER = (Add, AvgPool, Concat, Conv, GlobalAvgPool, Linear, Mean, Multiply)
"""Operations that runtimes compute in integers, and whose value needs a grid of its own."""

SELECTING = (Flatten, MaxPool, PadChannels, Reshape, Slice, Transpose)
"""Operations that only select or move values, or add zeros, so that a value on a grid stays on it."""

FUSED = (ReLU, ReLU6)
"""Operations that limit a value, which a runtime does as it rounds the value before them."""


def is_selecting(node: Node) -> bool:
    """Whether a node's value has the numbers of its input and zeros only."""
    operation = node.operation
    return isinstance(operation, SELECTING) or (
        isinstance(operation, Pad) and (operation.adds_zeros or operation.mode == "reflect")
    )


class Placement(NamedTuple):
    """What is to be quantized.

    Attributes:
        values: Names of nodes, or ``input``, in order of execution.
        kernels: Names of parameters.
        integer: Names of the nodes that a runtime computes in integers.
    """

    values: tuple[str, ...]
    kernels: tuple[str, ...]
    integer: tuple[str, ...]


def place(graph: Graph, keep: Sequence[str] = ()) -> Placement:
    """Choose what is quantized: everything that runtimes compute in integers.

    Args:
        graph: An optimized graph.
        keep: Patterns of names of nodes to keep in float, such as ``head.*``; a scope's name stands for its nodes.

    Returns:
        The choice.

    Raises:
        QuantizationError: A pattern matches no node, or nothing is left to be quantized.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import optimize
        >>> from resnet_spec.quantization import place
        >>> graph = optimize(resnet_spec.load("cifar/resnet20").to_graph()).graph
        >>> place(graph, keep=["linear"]).values[:3]
        ('input', 'relu', 'layer1.0.relu1')
    """
    problems = [
        Problem(f"no node or stage of {graph.name} matches {pattern!r}")
        for pattern in keep
        if not any(_matches(node.name, pattern) for node in graph.nodes)
    ]
    if problems:
        raise QuantizationError(problems)
    kept = {node.name for node in graph.nodes if any(_matches(node.name, pattern) for pattern in keep)}
    integer = [node for node in graph.nodes if isinstance(node.operation, INTEGER) and node.name not in kept]
    if not integer:
        raise QuantizationError(f"{graph.name} has no operation that is left to be quantized")
    uses = Uses(graph)
    wanted: set[str] = set()
    for node in integer:
        wanted |= {_origin(graph, name) for name in node.inputs}
        reader = uses.only_reader(node)
        fused = reader is not None and isinstance(reader.operation, FUSED) and reader.name not in kept
        wanted.add(reader.name if reader is not None and fused else node.name)
    names = {node.name for node in integer}
    # A layer that is called again has one kernel for all its calls.
    mixed = {node.layer for node in graph.nodes if node.name not in names}
    kernels = [
        node.parameter_name("weight")
        for node in integer
        if isinstance(node.operation, Conv | Linear) and node.calls is None and node.layer not in mixed
    ]
    order = [INPUT, *(node.name for node in graph.nodes)]
    return Placement(tuple(name for name in order if name in wanted), tuple(kernels), tuple(n.name for n in integer))


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _origin(graph: Graph, name: str) -> str:
    """The value whose numbers a value has, through everything that only selects and moves."""
    while name != INPUT and is_selecting(graph.by_name[name]):
        (name,) = graph.by_name[name].inputs
    return name


def grids_of(graph: Graph, quantization: Quantization) -> dict[str, Grid]:
    """The grid of every value that is on one: those that are listed, and those selected from them.

    Args:
        graph: An optimized graph that ``check`` accepts.
        quantization: What is quantized.

    Returns:
        The grids by name, in order of execution.
    """
    grids = {INPUT: quantization.values[INPUT]} if INPUT in quantization.values else {}
    for node in graph.nodes:
        if node.name in quantization.values:
            grids[node.name] = quantization.values[node.name]
        elif is_selecting(node) and node.inputs[0] in grids:
            grids[node.name] = grids[node.inputs[0]]
    return grids


def report_other_weights(quantization: Quantization, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Warn in the log unless weights are those of the calibration.

    Args:
        quantization: What the file states.
        arrays: The arrays of the optimized graph.
    """
    if remark := quantization.remark_on(arrays):
        log.warning("%s", remark)


def check(graph: Graph, quantization: Quantization, fingerprint: str) -> None:
    """Raise QuantizationError, with every mistake, unless a file fits a network.

    Args:
        graph: The optimized graph.
        quantization: What the file states.
        fingerprint: The fingerprint of the spec's graph.
    """
    if quantization.fingerprint != fingerprint:
        raise QuantizationError(
            f"was calibrated for {quantization.network} with the fingerprint {quantization.fingerprint[:8]}, and"
            f" {graph.name} has {fingerprint[:8]}; quantize this network with 'resnet-spec quantize'"
        )
    problems = [
        Problem(f"is not a value of the optimized network{suggest(name, graph.by_name)}", f"values.{name}")
        for name in quantization.values
        if name != INPUT and name not in graph.by_name
    ]
    kernels = {
        node.parameter_name("weight"): node.operation
        for node in graph.layers
        if isinstance(node.operation, Conv | Linear)
    }
    for name, scales in quantization.kernels.items():
        operation = kernels.get(name)
        if operation is None:
            hint = suggest(name, kernels)
            problems.append(Problem(f"is not the kernel of a convolution or linear layer{hint}", f"kernels.{name}"))
            continue
        channels = operation.channels if isinstance(operation, Conv) else operation.features
        if len(scales) != channels:
            problems.append(Problem(f"has {len(scales)} scales for {channels} output channels", f"kernels.{name}"))
    if problems:
        raise QuantizationError(problems)
