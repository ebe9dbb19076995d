"""Builds a graph from another library's nodes, one call each; names and shapes follow, and problems are collected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError

from resnet_spec.errors import ModelError, Problem
from resnet_spec.graph import INPUT, Graph, Input, Node, unused
from resnet_spec.graph.checks import arity_problem
from resnet_spec.operations import AnyOperation, Operation
from resnet_spec.operations.fields import Shape, ShapeError

_OPERATION: TypeAdapter[AnyOperation] = TypeAdapter(Operation)


@dataclass(frozen=True)
class Value:
    """A value in the source's network; ``shape`` omits the batch, channels first."""

    index: int
    shape: Shape


class Draft(NamedTuple):
    """A node that was added: its name in the source, its operation, and the values that it reads."""

    name: str
    operation: AnyOperation
    inputs: tuple[Value, ...]
    shape: Shape
    calls: int | None


class GraphBuilder:
    """Collects the nodes of a network in order of execution.

    A node that the language lacks becomes a problem, but nothing that depends on it does: ``finish`` reports all
    problems at once.

    Args:
        name: The network's name.
        input: What it reads.

    Examples:
        >>> from resnet_spec.graph import Input
        >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
        >>> x = builder.add("conv2d", [builder.input], "conv", layer=True, channels=4, kernel=3)
        >>> x = builder.add("relu", [x], "relu")
        >>> builder.finish([builder.add("relu", [x], "relu")]).nodes[-1].name
        'relu2'
    """

    def __init__(self, name: str, input: Input) -> None:
        self._name = name
        self._input = input
        self._drafts: list[Draft] = []
        self._owners: dict[str, int] = {}
        self._problems: list[Problem] = []
        self.input = Value(-1, input.shape)
        self.names: Sequence[str] = ()
        """The name of each value's node, by its index, once the graph is finished."""

    def add(
        self, op: str, inputs: Sequence[Value | None], name: str, *, layer: bool = False, where: str = "", **fields: Any
    ) -> Value | None:
        """Add a node.

        Args:
            op: The operation's word in the spec language.
            inputs: The values that it reads; None for one that could not be read.
            name: Its name in the source, dotted; nodes without arrays that share one are numbered.
            layer: Whether it has arrays of its own, below its name; a second node of this name calls the first again.
            where: The node in the source's own words, for messages.
            **fields: The operation's fields.

        Returns:
            Its value, or None if the node or an input cannot be expressed.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
            >>> builder.add("max_pool2d", [builder.input], "pool", kernel=2).shape
            (3, 4, 4)
        """
        known = [value for value in inputs if value is not None]
        if len(known) < len(inputs):
            return None
        drafted = self._operation(known, where or name, {"op": op, **fields})
        if drafted is None:
            return None
        operation, shape = drafted
        calls = self._owners.get(name) if layer else None
        if layer and calls is None:
            self._owners[name] = len(self._drafts)
        self._drafts.append(Draft(name, operation, tuple(known), shape, calls))
        return Value(len(self._drafts) - 1, shape)

    def draft(self, value: Value | None) -> Draft | None:
        """Look up the node that computes a value.

        Args:
            value: A value of this network.

        Returns:
            The node; None for the input, and for a value that could not be read.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
            >>> builder.draft(builder.add("relu", [builder.input], "act")).name
            'act'
        """
        return self._drafts[value.index] if value is not None and value.index >= 0 else None

    def replace(
        self, value: Value, inputs: Sequence[Value], *, name: str = "", where: str = "", **fields: Any
    ) -> Value | None:
        """Change a node that nothing reads yet; its arrays stay.

        Args:
            value: The node's value.
            inputs: The values that it reads.
            name: Its name in the source if that is another one now.
            where: The node in the source's own words, for messages.
            **fields: The operation's fields that change, ``op`` among them if it becomes another one.

        Returns:
            Its value, or None if the node cannot be expressed.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
            >>> x = builder.add("max_pool2d", [builder.input], "pool", kernel=2)
            >>> builder.replace(x, [builder.input], kernel=4).shape
            (3, 3, 3)
        """
        old = self._drafts[value.index]
        drafted = self._operation(inputs, where or old.name, old.operation.model_dump() | fields)
        if drafted is None:
            return None
        operation, shape = drafted
        changed = old._replace(name=name or old.name, operation=operation, inputs=tuple(inputs), shape=shape)
        self._drafts[value.index] = changed
        return Value(value.index, shape)

    def _operation(
        self, inputs: Sequence[Value], where: str, fields: dict[str, Any]
    ) -> tuple[AnyOperation, Shape] | None:
        try:
            operation = _OPERATION.validate_python(fields)
            if wrong_arity := arity_problem(operation, len(inputs)):
                return self.problem(wrong_arity, where)
            return operation, operation.output_shape(*(value.shape for value in inputs))
        except (ValidationError, ShapeError) as error:
            return self.problem(_reason(error), where)

    def problem(self, message: str, where: str) -> None:
        """Note that the language cannot express a node.

        Args:
            message: What is wrong with it.
            where: The node in the source's own words.

        Returns:
            None, the value of such a node.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
            >>> builder.problem("the spec language has no such operation", "aten.fft") is None
            True
        """
        self._problems.append(Problem(message, where))

    def finish(self, outputs: Sequence[Value | None]) -> Graph:
        """Return the graph of what the outputs need.

        Args:
            outputs: The values that the network returns.

        Returns:
            The graph.

        Raises:
            ModelError: With every problem.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> builder = GraphBuilder("tiny", Input(height=8, width=8))
            >>> builder.finish([builder.add("relu", [builder.input], "relu")]).outputs
            ('relu',)
        """
        if not self._problems and (not outputs or any(value is None or value.index < 0 for value in outputs)):
            self.problem("no operation computes its output", self._name)
        if self._problems:
            raise ModelError(self._problems)
        self.names = names = self._unique_names()
        nodes = [
            Node(
                name=name,
                operation=draft.operation,
                inputs=tuple(INPUT if value.index < 0 else names[value.index] for value in draft.inputs),
                shape=draft.shape,
                calls=None if draft.calls is None else names[draft.calls],
            )
            for name, draft in zip(names, self._drafts, strict=True)
        ]
        results = [names[cast("Value", value).index] for value in outputs]
        dead = set(unused(nodes, results))
        kept = [node for node in nodes if node.name not in dead]
        return Graph(name=self._name, input=self._input, nodes=tuple(kept), outputs=tuple(results))

    def _unique_names(self) -> list[str]:
        """Number the nodes that share a name, unless they own a layer, as the shipped blocks do: relu1, relu2."""
        wanted = [valid_name(draft.name) for draft in self._drafts]
        counts = Counter(wanted)
        owners = {valid_name(name): index for name, index in self._owners.items()}
        taken = {*owners, INPUT}
        names: list[str] = []
        numbers: Counter[str] = Counter()
        for index, name in enumerate(wanted):
            if owners.get(name) == index:
                names.append(name)
                continue
            unique = name
            while unique in taken or (unique == name and counts[name] > 1 and name not in owners):
                numbers[name] += 1
                unique = f"{name}{'_' if name[-1:].isdigit() else ''}{numbers[name]}"
            taken.add(unique)
            names.append(unique)
        return names


def valid_name(name: str) -> str:
    """A name as a graph's node may have it."""
    parts = [re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in re.split(r"[./]", name) if part]
    text = ".".join(parts) or "layer"
    return text if text[0].isalnum() else f"x{text}"


def _reason(error: ValidationError | ShapeError) -> str:
    if isinstance(error, ShapeError):
        return str(error)
    found = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in found["loc"][1:])
    message = found["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def input_of(shape: Sequence[int]) -> Input:
    """The input of a network that reads values of a shape.

    Args:
        shape: Sizes without the batch, channels first.

    Returns:
        The input.

    Raises:
        ModelError: The language has no input of this shape.

    Examples:
        >>> from resnet_spec.backend import input_of
        >>> input_of((3, 32, 32)).height
        32
    """
    try:
        return Input.of(tuple(shape))
    except ValidationError as error:
        raise ModelError(f"its input is {list(shape)}: {_reason(error)}") from None
    except (ValueError, KeyError):
        raise ModelError(f"its input has the shape {list(shape)}; one to four sizes are supported") from None
