"""A file's nodes as the network that is compared with a graph's; every size, and what follows from one, is a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import NodeProto

from resnet_spec.operations.fields import ShapeError
from resnet_spec_onnx.reading.constants import Constant, Unknown, evaluate
from resnet_spec_onnx.reading.contents import REALS, Contents
from resnet_spec_onnx.reading.network import Network
from resnet_spec_onnx.reading.node_view import Call, Computed, Layout, Value
from resnet_spec_onnx.reading.normal_form import IncomparableError
from resnet_spec_onnx.reading.readers import READERS

LARGEST = 2**16
"""Nodes of a network; the deepest one known has some thousands."""

MOST = 5000
"""Nodes that work constants out, a millisecond each."""


def simplified(contents: Contents, layout: Layout) -> Network:
    """The network that a file holds; raises IncomparableError, which names the node, for what has no such form."""
    network = Network(layout.shape)
    graph = contents.graph
    opset = next((entry.version for entry in contents.model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    values: dict[str, Value] = {name: Constant(array, (name,)) for name, array in contents.arrays.items()}
    values |= {name: Unknown(f"{name!r} is of a type that is not read") for name in contents.unread}
    values[_input(contents)] = Computed(0, layout.axes)
    left = iter(range(MOST))
    for node in _needed(contents):
        call = Call(node, [values.get(name) if name else None for name in node.input], network, opset, layout)
        for name, value in zip(node.input, call.inputs, strict=True):
            if name and value is None:
                raise IncomparableError(f"{call.source} reads {name!r} before it is there")
        value = _value(call, left)
        for output in node.output:
            if output in values:
                raise IncomparableError(f"{call.source}: {output!r} is there twice")
            values[output] = Unknown(f"{call.source} gives more than one value")
        values[node.output[0]] = value
    if missing := [output.name for output in graph.output if output.name not in values]:
        raise IncomparableError(f"nothing gives its output {missing[0]!r}")
    outputs = [values[output.name] for output in graph.output]
    network.outputs = [value.step for value in outputs if isinstance(value, Computed)]
    return network.pruned(network.outputs)


def _value(call: Call, left: Iterator[int]) -> Value:
    node = call.node
    if node.domain not in ("", "ai.onnx"):
        raise IncomparableError(f"{call.source} is an operation of {node.domain!r}")
    if all(not isinstance(value, Computed) for value in call.inputs):
        if node.op_type != "Constant" and next(left, None) is None:
            raise IncomparableError(f"it works out more than {MOST} constants")
        return evaluate(node, [value for value in call.inputs if not isinstance(value, Computed)], call.opset)
    if node.op_type not in READERS:
        raise IncomparableError(f"{call.source} is an operation that is not read")
    try:
        return READERS[node.op_type](call)
    except ShapeError as error:
        raise IncomparableError(f"{call.source}: {error}") from None


def _needed(contents: Contents) -> list[NodeProto]:
    """The nodes that an output needs, in the file's order."""
    needed = {output.name for output in contents.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(contents.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    if len(kept) > LARGEST:
        raise IncomparableError(f"it has {len(kept)} nodes")
    return kept[::-1]


def _input(contents: Contents) -> str:
    return image_input(contents).name


def image_input(contents: Contents) -> Any:
    """The one input that is no weight; raises IncomparableError where there are several, or none, or no real one."""
    inputs = [value for value in contents.graph.input if value.name not in contents.arrays]
    if len(inputs) != 1:
        raise IncomparableError(f"it has {len(inputs)} inputs, not one")
    if inputs[0].type.tensor_type.elem_type not in REALS:
        raise IncomparableError(f"its input {inputs[0].name!r} holds no floating-point numbers")
    return inputs[0]
