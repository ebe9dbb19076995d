"""Checks that a graph is well-formed: unique names, earlier inputs, arity, shapes, and outputs that need every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from resnet_spec.errors import Problem, suggest
from resnet_spec.graph.nodes import INPUT, Input, Node, Parameter, Scope, unused
from resnet_spec.operations import AnyOperation
from resnet_spec.operations.fields import Shape, ShapeError, as_text


def node_problems(input: Input, nodes: Iterable[Node]) -> Iterable[Problem]:
    """What is wrong with each node: its name, its inputs, its shape, the layer that it calls again."""
    shapes: dict[str, Shape] = {INPUT: input.shape}
    seen: dict[str, Node] = {}
    for node in nodes:
        if node.name in seen or node.name == INPUT:
            yield Problem("two nodes have this name" if node.name in seen else "the name is the input's", node.name)
        missing = [name for name in node.inputs if name not in shapes]
        for name in missing:
            yield Problem(f"its input {name!r} is not an earlier node{suggest(name, shapes)}", node.name)
        if wrong_arity := arity_problem(node.operation, len(node.inputs)):
            yield Problem(wrong_arity, node.name)
        elif not missing:
            yield from _shape_problems(node, shapes, seen)
        shapes[node.name] = node.shape
        seen[node.name] = node


def arity_problem(operation: AnyOperation, arity: int) -> str | None:
    """What is wrong with the number of an operation's inputs, None if it is right."""
    least, most = operation.arity
    if least <= arity <= (arity if most is None else most):
        return None
    takes = "one input" if most == 1 else "two inputs" if most else "two inputs or more"
    return f"{operation.op} takes {takes}, not {arity}"


def output_problems(
    nodes: Sequence[Node], outputs: Sequence[str], output_names: Sequence[str], scopes: Iterable[Scope]
) -> Iterable[Problem]:
    """What is wrong with the outputs of a graph and of its scopes."""
    names = {node.name for node in nodes}
    for name in dict.fromkeys(outputs):
        if name not in names:
            yield Problem(f"the output {name!r} is not a node{suggest(name, names)}")
    if not outputs:
        yield Problem("the graph has no output")
    if output_names and len(set(output_names)) != len(outputs):
        yield Problem("output_names must give each output a unique name")
    yield from (Problem("no output needs its value", name) for name in unused(nodes, outputs))
    for scope in scopes:
        if scope.output not in names:
            yield Problem(f"its output {scope.output!r} is not a node{suggest(scope.output, names)}", scope.name)


def parameter_name_problems(nodes: Sequence[Node], parameters: Sequence[Parameter]) -> Iterable[Problem]:
    """What is wrong with names of parameters that are not their operation's."""
    names = {node.name: node.parameter_names for node in nodes}
    slots: dict[str, set[str]] = {node.layer: set() for node in nodes}
    for parameter in parameters:
        slots[parameter.node].add(parameter.slot)
    for node in nodes:
        unknown = sorted(node.parameter_names.keys() - slots[node.layer])
        if unknown:
            yield Problem(f"it has no parameter {unknown[0]!r}{suggest(unknown[0], slots[node.layer])}", node.name)
        elif node.parameter_names != names[node.layer]:
            yield Problem(f"its parameters have other names than those of {node.calls!r}, which it calls", node.name)
    for name, count in Counter(parameter.name for parameter in parameters).items():
        if count > 1:
            yield Problem("two parameters have this name", name)


def _shape_problems(node: Node, shapes: Mapping[str, Shape], seen: Mapping[str, Node]) -> Iterable[Problem]:
    inputs = [shapes[name] for name in node.inputs]
    try:
        shape = node.operation.output_shape(*inputs)
    except ShapeError as error:
        yield Problem(f"{error} (from {', '.join(map(repr, node.inputs))})", node.name)
        return
    if shape != node.shape:
        yield Problem(f"its shape is {list(shape)}, not {list(node.shape)}", node.name)
    if node.calls is not None:
        owner = seen.get(node.calls)
        if owner is None or owner.calls is not None:
            yield Problem(
                f"it calls {node.calls!r}, which is not an earlier layer{suggest(node.calls, seen)}", node.name
            )
        elif owner.operation != node.operation:
            yield Problem(f"it calls {node.calls!r}, which is another operation", node.name)
        else:
            # The owner's inputs that are not nodes are reported for the owner.
            owned = [shapes[name] for name in owner.inputs if name in shapes]
            if owned and node.operation.parameters(*inputs) != node.operation.parameters(*owned):
                yield Problem(f"it calls {node.calls!r}, whose parameters have other shapes", node.name)
            elif owned and node.operation.label_for(*inputs) != node.operation.label_for(*owned):
                takes = f"it calls {node.calls!r}, a layer for inputs like {as_text(owned[0])}"
                yield Problem(f"{takes}, with {as_text(inputs[0])}; add a layer of its own", node.name)
