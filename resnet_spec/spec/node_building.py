"""Builds a graph's nodes one by one: validates operations, infers shapes, and reuses the layers that ``call`` names."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from resnet_spec.document.parser import KeyPath
from resnet_spec.errors import shown
from resnet_spec.errors.validation import InvalidValue, invalid_values
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.graph.checks import arity_problem
from resnet_spec.operations import ANY_RANK, OPERATIONS, AnyOperation
from resnet_spec.operations.fields import MAX_RANK, Shape, ShapeError, as_text
from resnet_spec.spec.diagnostics import Diagnostics
from resnet_spec.spec.resolution import Bound, is_unknown, misspelled
from resnet_spec.spec.values import Value


class _Owner(NamedTuple):
    """The node that owns a layer, and the shapes its layer was made for."""

    node: Node
    inputs: tuple[Shape, ...]


class GraphBuilder:
    """Makes the nodes of one graph in order of execution; mistakes go to its diagnostics."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self.nodes: list[Node] = []
        self.written: dict[str, KeyPath] = {}
        self.declared: list[str] = []
        self._owners: dict[str, _Owner] = {}
        self._operations: dict[Any, AnyOperation] = {}
        self._problem = diagnostics.problem

    @contextmanager
    def declaring(self, sections: dict[str, list[str]], section: str) -> Generator[None]:
        """Note the layers that are made inside under a block's section instead of declaring them at once."""
        outer, self.declared = self.declared, []
        yield
        sections[section] = sections.get(section, []) + self.declared
        self.declared = outer

    def declaration(self) -> tuple[str, ...]:
        """The layers in order of declaration, empty if that is the order of execution."""
        executed = [node.name for node in self.nodes if node.calls is None]
        return tuple(self.declared) if self.declared != executed else ()

    def apply(self, bound: Bound, inputs: Sequence[Value], name: str, path: KeyPath) -> Value:
        """Add a node for an operation."""
        operation = self._operation(bound, inputs[0], path)
        return inputs[0].after_mistake() if operation is None else self._add(operation, inputs, name, path)

    def check(self, bound: Bound, inputs: Sequence[Value], path: KeyPath) -> Value:
        """Report what is wrong with an operation's arguments or the number of its inputs, without a node for it."""
        operation = self._operation(bound, inputs[0], path)
        if operation is not None and (wrong_arity := arity_problem(operation, len(inputs))):
            self._problem(f"{wrong_arity}; 'from' names them", path)
        return inputs[0].after_mistake()

    def graft(self, part: Graph, source: str, path: KeyPath) -> dict[str, Value]:
        """Add the nodes of a network whose input is the node ``source``; the values by the names of the nodes."""
        values: dict[str, Value] = {}
        for node in part.nodes:
            inputs = tuple(source if name == INPUT else name for name in node.inputs)
            values[node.name] = self._keep(node.model_copy(update={"inputs": inputs}), part.input_shapes(node), path)
        self.declared += [node.name for node in part.layers]
        return values

    def remove(self, names: Collection[str]) -> None:
        """Leave out nodes whose values nothing uses."""
        if names:
            self.nodes[:] = [node for node in self.nodes if node.name not in names]
            self.declared = [name for name in self.declared if name not in names]

    def call(self, target: str, owner_name: str, inputs: Sequence[Value], name: str, path: KeyPath) -> Value:
        """Add a node that uses an earlier layer again; ``target`` is what the step calls it."""
        owner = self._owners.get(owner_name)
        shapes = tuple(value.shape for value in inputs if value.shape is not None)
        if owner is None:
            self._problem(f"{target!r}: only a single layer can be called again with 'call'", (*path, "call"))
            return inputs[0].after_mistake()
        operation = owner.node.operation
        if len(shapes) == len(inputs) and operation.parameters(*shapes) != operation.parameters(*owner.inputs):
            wanted, given = list(owner.inputs[0]), list(shapes[0])
            message = f"the parameters of {target!r} are for an input of {wanted}, not {given} (from {inputs[0].node})"
            self._problem(message, (*path, "call"), of_shapes=True)
            return inputs[0].after_mistake()
        return self._add(operation, inputs, name, path, calls=owner.node.name)

    # -- operations ----------------------------------------------------------------------------------------------

    def _operation(self, bound: Bound, input: Value, path: KeyPath) -> AnyOperation | None:
        """The operation with its arguments validated, None if one is wrong or unknown."""
        if bound.kind in ANY_RANK:
            rank = _rank(bound.arguments) if input.shape is None else len(input.shape) - 1
            if not 1 <= rank <= MAX_RANK:
                needs = f"{bound.kind} needs channels and one to {MAX_RANK} axes of positions"
                self._problem(f"{needs}, not {as_text(input.shape or ())} (from {input.node})", path, of_shapes=True)
                return None
            bound = bound._replace(kind=bound.kind.replace("_nd", f"{rank}d"))
        known = {name: value for name, value in bound.arguments.items() if not is_unknown(value)}
        try:
            key = (bound.kind, tuple((name, _hashable(value)) for name, value in bound.arguments.items()))
            if key in self._operations:
                return self._operations[key]
        except TypeError:
            key = None
        data = {"op": bound.kind, **known}
        try:
            operation = OPERATIONS[bound.kind].model_validate(data)
        except ValidationError as error:
            self._report(bound, invalid_values(error, data, OPERATIONS[bound.kind]), path)
            return None
        if len(known) < len(bound.arguments):
            return None
        if key is not None:
            self._operations[key] = operation
        return operation

    def _report(self, bound: Bound, invalid: list[InvalidValue], path: KeyPath) -> None:
        """One problem for each wrong argument, except what may follow from unknown or from other wrong ones."""
        unknown = {name for name, value in bound.arguments.items() if is_unknown(value)}
        other = unknown - {*OPERATIONS[bound.kind].model_fields, *OPERATIONS[bound.kind].aliases}
        first = {(each.missing or str(next(iter(each.path), ""))): each for each in reversed(invalid)}
        for name, each in reversed(first.items()):
            derived = name not in bound.arguments and not each.missing
            if name in unknown or (derived and (unknown or len(first) > 1)):
                continue
            if each.missing and misspelled(name, other):
                continue
            written = bound.written.get(name)
            message = f"{bound.kind} {each.text}" if each.missing else f"{bound.kind}: {each.text}"
            if name in bound.arguments:
                message = f"{bound.kind}: {name} {each.text}, not {shown(each.value)}"
                if written and isinstance(written.value, str) and written.value != each.value:
                    message += f" (from {written.value!r})"
            self._problem(message, written.path if written else path)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _add(
        self, operation: AnyOperation, inputs: Sequence[Value], name: str, path: KeyPath, calls: str | None = None
    ) -> Value:
        if wrong_arity := arity_problem(operation, len(inputs)):
            self._problem(f"{wrong_arity}; 'from' names them", path)
            return inputs[0].after_mistake()
        shapes = [value.shape for value in inputs if value.shape is not None]
        if len(shapes) < len(inputs):
            return inputs[0].after_mistake()
        try:
            shape = operation.output_shape(*shapes)
        except ShapeError as error:
            sources = " and ".join(value.node for value in inputs)
            self._problem(f"{error} (from {sources})", path, of_shapes=True)
            return inputs[0].after_mistake()
        data = {"name": name, "operation": operation, "inputs": tuple(v.node for v in inputs), "shape": shape}
        try:
            node = Node.model_validate(data | {"calls": calls})
        except ValidationError as error:
            (invalid,) = (each for each in invalid_values(error, data, Node) if each.path == ("name",))
            self._problem(f"the layer's name {invalid.message}", path)
            return inputs[0].after_mistake()
        value = self._keep(node, tuple(shapes), path)
        if calls is None and value.shape is not None:
            self.declared.append(name)
        return value

    def _keep(self, node: Node, inputs: tuple[Shape, ...], path: KeyPath) -> Value:
        """Add a node, unless another one has its name."""
        if node.name in self._owners:
            self._problem(f"two layers are named {node.name!r}", path)
            return Value(node.name, None)
        self.nodes.append(node)
        self.written[node.name] = path
        self._owners[node.name] = _Owner(node, inputs) if node.calls is None else self._owners[node.calls]
        return Value(node.name, node.shape)


def _rank(arguments: Mapping[str, Any]) -> int:
    """The rank of an operation whose input is unknown, as far as its lists of numbers show it."""
    lengths = [len(cast("list[Any]", value)) for value in arguments.values() if isinstance(value, list)]
    return lengths[0] if lengths and 1 <= lengths[0] <= MAX_RANK else 2


def _hashable(value: Any) -> Any:
    # True and 1 are equal but not both valid, hence the type.
    if isinstance(value, list):
        return tuple(_hashable(item) for item in cast("list[Any]", value))
    return (type(value), value)
