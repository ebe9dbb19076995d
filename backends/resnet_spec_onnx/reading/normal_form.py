"""A file's nodes as a network that is compared: one step per layer, every size a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from onnx import NodeProto

from resnet_spec.operations.fields import ShapeError
from resnet_spec.structure.activation_recognition import recognize_activations
from resnet_spec.structure.affine_folding import fold_affine
from resnet_spec.structure.steps import IncomparableError, NormalForm
from resnet_spec_onnx.reading.constant_folding import Constant, Unknown, evaluate
from resnet_spec_onnx.reading.node_view import Computed, Layout, NodeView, Value
from resnet_spec_onnx.reading.operations import NODE_FORMS
from resnet_spec_onnx.reading.operations.learned import expanded
from resnet_spec_onnx.reading.operations.tables import NodeForm
from resnet_spec_onnx.reading.protobuf import FLOAT_TYPES, Contents

MAX_NODES = 2**16
"""The most nodes of a file's network; the deepest known networks have some thousands."""

MAX_EVALUATED = 5000
"""The most nodes that compute constants; each takes about a millisecond."""


class InnerValue(NamedTuple):
    """A tensor of a file, and the step's axis for each of its axes, as ``Computed`` has them."""

    name: str
    axes: tuple[int | None, ...]


def form_of_file(contents: Contents, layout: Layout) -> NormalForm:
    """Return the network of a file, affine constants folded; raises IncomparableError for a node without a form."""
    network = NormalForm(layout.shape)
    outputs = interpret(contents, layout, network)
    computed = (output.step for output in outputs if isinstance(output, Computed))
    return fold_affine(recognize_activations(network.pruned(computed)))


def interpret(
    contents: Contents,
    layout: Layout,
    network: NormalForm,
    forms: Mapping[str, NodeForm] = NODE_FORMS,
    report: Callable[[NodeView, IncomparableError], None] | None = None,
) -> list[Value | None]:
    """Add the steps of a file's nodes to a network, and return the values of the file's outputs.

    A node without a form is reported, and nodes that depend on it are left out, whose value is None; without
    ``report``, and where the file as a whole is invalid, IncomparableError is raised.
    """
    graph = contents.graph
    opset = next((entry.version for entry in contents.model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    values: dict[str, Value] = {name: Constant(array, (name,)) for name, array in contents.arrays.items()}
    values |= {name: Unknown(f"{name!r} has an unsupported type") for name in contents.unsupported}
    values[image_input(contents).name] = Computed(0, layout.axes)
    evaluations = iter(range(MAX_EVALUATED))
    failed: set[str] = set()
    for proto in _needed(contents):
        if not failed.isdisjoint(proto.input):
            failed.update(proto.output)
            continue
        node = NodeView(proto, [values.get(name) if name else None for name in proto.input], network, opset, layout)
        for name, value in zip(proto.input, node.inputs, strict=True):
            if name and value is None:
                raise IncomparableError(f"{node.source} reads {name!r} before a node computes it")
        try:
            found = _value(node, evaluations, forms)
        except IncomparableError as error:
            if report is None:
                raise
            report(node, error)
            failed.update(proto.output)
            continue
        several = found if isinstance(found, tuple) else (found,)
        for index, output in enumerate(proto.output):
            if output in values:
                raise IncomparableError(f"{node.source} computes {output!r} a second time")
            unknown = Unknown(f"{node.source} has more than one output")
            value = values[output] = several[index] if index < len(several) else unknown
            if isinstance(value, Computed):
                network.has_value(value.step, InnerValue(output, value.axes))
    if missing := [output.name for output in graph.output if output.name not in values.keys() | failed]:
        raise IncomparableError(f"no node computes its output {missing[0]!r}")
    return [values.get(output.name) for output in graph.output]


OF_INTEGERS = ("DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear")
"""Operators of 8-bit networks."""


def _value(node: NodeView, evaluations: Iterator[int], forms: Mapping[str, NodeForm]) -> Value | tuple[Value, ...]:
    proto = node.proto
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    constants = [value for value in node.inputs if not isinstance(value, Computed)]
    if len(constants) == len(node.inputs):
        if kind == "Expand" and (value := expanded(node)):
            return value
        if proto.op_type != "Constant" and next(evaluations, None) is None:
            raise IncomparableError(f"more than {MAX_EVALUATED} of its nodes compute constants")
        return evaluate(proto, constants, node.opset)
    if kind in OF_INTEGERS:
        raise IncomparableError(f"{node.source} is of an 8-bit network; give the one in float that it was made from")
    if kind not in forms:
        where = f" of {proto.domain!r}" if kind != proto.op_type else ""
        raise IncomparableError(f"{node.source} is an operator{where} that is not supported")
    try:
        return forms[kind](node)
    except ShapeError as error:
        raise IncomparableError(f"{node.source}: {error}") from None


def _needed(contents: Contents) -> list[NodeProto]:
    """Return the nodes that an output depends on, in the file's order."""
    needed = {output.name for output in contents.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(contents.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    if len(kept) > MAX_NODES:
        raise IncomparableError(f"it has {len(kept)} nodes; at most {MAX_NODES} are supported")
    return kept[::-1]


def image_input(contents: Contents) -> Any:
    """Return the only input that is not a weight; raises IncomparableError unless there is one, of floats."""
    inputs = [value for value in contents.graph.input if value.name not in contents.arrays]
    if len(inputs) != 1:
        raise IncomparableError(f"it has {len(inputs)} inputs; one is supported")
    if inputs[0].type.tensor_type.elem_type not in FLOAT_TYPES:
        raise IncomparableError(f"its input {inputs[0].name!r} is not floating-point")
    return inputs[0]
