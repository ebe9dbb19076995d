"""A graph in the form in which it is compared with a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from resnet_spec import operations as ops
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations.fields import UNPADDED
from resnet_spec_onnx.reading.network import Network, Tensor, Window, single

Reader: TypeAlias = Callable[[Any, "Place", int], int]
"""(operation, place, step read) to the step that computes it."""


class IncomparableError(Exception):
    """Something has no form in which a graph and a file could be compared; says what."""


class Place:
    """One node of a graph, and the network that it is added to."""

    def __init__(self, network: Network, graph: Graph, node: Node) -> None:
        self.network = network
        self.source = f"{node.name!r} ({node.operation.op})"
        slots = node.operation.parameters(*graph.input_shapes(node))
        self.tensors = {slot.name: Tensor((f"{node.layer}.{slot.name}",)) for slot in slots}
        self.shape = node.shape


def expected(graph: Graph) -> Network:
    """The network that a graph describes, at its input size; raises IncomparableError for what is not compared."""
    network = Network(graph.input.shape)
    numbers = {INPUT: 0}
    for node in graph.nodes:
        place = Place(network, graph, node)
        inputs = [numbers[name] for name in node.inputs]
        if isinstance(node.operation, ops.Add | ops.Multiply):
            numbers[node.name] = _joined(node.operation.op, place, inputs)
        elif node.operation.op in READERS:
            numbers[node.name] = READERS[node.operation.op](node.operation, place, inputs[0])
        else:
            raise IncomparableError(f"{place.source} is not compared with files")
    return network.pruned(numbers[name] for name in graph.outputs)


def _joined(kind: str, place: Place, inputs: list[int]) -> int:
    first, *others = inputs
    for other in others:
        first = place.network.join(kind, (first, other), place.source)
    return first


def _conv2d(op: ops.Conv2d, place: Place, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, op.dilation)
    return place.network.convolution(x, place.source, window, op.channels, op.groups, place.tensors)


def _conv1d(op: ops.Conv1d, place: Place, x: int) -> int:
    window = Window((op.kernel, 1), (1, 1), ((op.padding, op.padding), (0, 0)))
    return place.network.convolution(x, place.source, window, op.channels, 1, place.tensors)


def _linear(op: ops.Linear, place: Place, x: int) -> int:
    window = Window((1, 1), (1, 1), UNPADDED)
    return place.network.convolution(x, place.source, window, op.features, 1, place.tensors)


def _conv_transpose2d(op: ops.ConvTranspose2d, place: Place, x: int) -> int:
    if op.padding == "same":
        crops = tuple(max(kernel - stride, 0) // 2 for kernel, stride in zip(op.kernel, op.stride, strict=True))
    else:
        crops = tuple(before for before, _ in op.padding)
    return place.network.add(
        "transposed convolution",
        (x,),
        place.source,
        place.shape,
        place.tensors,
        kernel=op.kernel,
        stride=op.stride,
        crop=crops,
    )


def _batch_norm(op: ops.BatchNorm, place: Place, x: int) -> int:
    return place.network.add("batch_norm", (x,), place.source, None, place.tensors, epsilon=single(op.epsilon))


def _group_norm(op: ops.GroupNorm, place: Place, x: int) -> int:
    network, source = place.network, place.source
    x = network.normalization(x, source, op.groups, op.epsilon)
    if op.scale:
        x = network.add("scale", (x,), source, None, {"weight": place.tensors["weight"]}, divided=False)
    if op.offset:
        x = network.add("shift", (x,), source, None, {"bias": place.tensors["bias"]}, negated=False)
    return x


def _function(op: ops.ReLU | ops.Sigmoid | ops.Softmax, place: Place, x: int) -> int:
    return place.network.add(op.op, (x,), place.source, positive=True)


def _nothing(op: Any, place: Place, x: int) -> int:
    return x


def _max_pool2d(op: ops.MaxPool2d, place: Place, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, ceil_mode=op.ceil_mode)
    return place.network.max_pool(x, place.source, window)


def _avg_pool2d(op: ops.AvgPool2d, place: Place, x: int) -> int:
    window = Window(op.kernel, op.stride, op.padding, ceil_mode=op.ceil_mode)
    return place.network.average_pool(x, place.source, window, count_include_pad=op.count_include_pad)


def _global_avg_pool(op: ops.GlobalAvgPool, place: Place, x: int) -> int:
    return place.network.global_pool("global_average_pool", x, place.source)


def _global_max_pool(op: ops.GlobalMaxPool, place: Place, x: int) -> int:
    return place.network.global_pool("global_max_pool", x, place.source)


def _pad2d(op: ops.Pad2d, place: Place, x: int) -> int:
    return place.network.pad(x, place.source, op.padding, (0, 0), op.mode, single(op.value))


def _pad_channels(op: ops.PadChannels, place: Place, x: int) -> int:
    return place.network.pad(x, place.source, UNPADDED, (op.before, op.after), "constant", 0.0)


def _reshape(op: ops.Flatten | ops.Reshape, place: Place, x: int) -> int:
    return place.network.reshape(x, place.source, place.shape)


READERS: dict[str, Reader] = {
    "conv2d": _conv2d,
    "conv1d": _conv1d,
    "linear": _linear,
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "relu": _function,
    "sigmoid": _function,
    "softmax": _function,
    "dropout": _nothing,
    "stochastic_depth": _nothing,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_avg_pool": _global_avg_pool,
    "global_max_pool": _global_max_pool,
    "pad2d": _pad2d,
    "pad_channels": _pad_channels,
    "flatten": _reshape,
    "reshape": _reshape,
}
"""Operations that are compared; add and multiply take several values."""
