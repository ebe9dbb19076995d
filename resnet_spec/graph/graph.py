"""The graph: what a spec lowers to and every backend compiles, checked whenever one is made.

A flat tuple of nodes in order of execution, each with a dotted name, one operation, its inputs and its shape. Scopes
name what the dots group, so that a backend can nest modules again. Nothing here knows a file format or a framework.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import lcm
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from resnet_spec.errors import GraphError, Problem, suggest
from resnet_spec.graph.initialization_rules import InitializationRules
from resnet_spec.operations import SAME_RESOLUTION, Operation, Role, Stride
from resnet_spec.operations.fields import Shape, ShapeError

INPUT = "input"
"""The name by which nodes refer to the graph's input."""

MAX_PARAMETERS = 10**11

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$", max_length=200)]
Size = Annotated[int, Field(strict=True, ge=1, le=2**16)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Frozen):
    """What the network reads: images of ``channels`` × ``height`` × ``width``, or vectors of ``features``."""

    channels: Size = 3
    height: Size = 224
    width: Size = 224
    features: Size | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Input:
        if self.features is not None and self.model_fields_set & {"channels", "height", "width"}:
            raise ValueError("is a vector ('features') or an image ('channels', 'height', 'width'), not both")
        return self

    @property
    def shape(self) -> Shape:
        """(channels, height, width), or (features,)."""
        return (self.channels, self.height, self.width) if self.features is None else (self.features,)

    @model_serializer
    def _serialize(self) -> dict[str, int]:
        names = ("channels", "height", "width") if self.features is None else ("features",)
        return dict(zip(names, self.shape, strict=True))


class Node(_Frozen):
    """One application of an operation; ``calls`` names an earlier node whose layer, parameters too, is used again."""

    name: Name
    operation: Operation
    inputs: tuple[str, ...]
    shape: Annotated[Shape, Field(min_length=1)]
    calls: Name | None = None

    @property
    def layer(self) -> str:
        """Name of the node that owns the layer: this one's, or the one it calls again."""
        return self.calls or self.name


class Scope(_Frozen):
    """A group of nodes: a stage of blocks, or one block, whose value is its ``output`` node's.

    ``residual`` marks a block that adds a shortcut. The name is the dotted prefix of the nodes' names where the
    block's names are nested, and else only a name for the group (``conv2_block1``).
    """

    name: Name
    kind: Literal["stage", "block"]
    output: Name
    block: str | None = None
    residual: bool = False


class Parameter(NamedTuple):
    """A named array: its shape as PyTorch lays it out, its role, and the node that owns it."""

    name: str
    shape: Shape
    role: Role
    node: str

    @property
    def trainable(self) -> bool:
        """Whether gradients move it; running statistics they do not."""
        return self.role.trainable


class Graph(_Frozen):
    """A network: nodes in order of execution; raises GraphError with every problem found.

    ``declaration`` lists the nodes in the order a state_dict lists their parameters, where that is not the order of
    execution. ``outputs`` are the nodes whose values the network returns: as a list where there are several, or as a
    dict from ``output_names``, one each, where those are given.
    """

    format: Literal[1] = 1
    name: str
    description: str = ""
    input: Input
    nodes: tuple[Node, ...]
    outputs: tuple[Name, ...]
    output_names: tuple[Name, ...] = ()
    scopes: tuple[Scope, ...] = ()
    declaration: tuple[Name, ...] = ()
    initialization: InitializationRules = InitializationRules()

    @model_validator(mode="after")
    def _check(self) -> Graph:
        problems = list(self._problems())
        if problems:
            raise GraphError(problems)
        return self

    def _problems(self) -> Iterable[Problem]:
        shapes: dict[str, Shape] = {INPUT: self.input.shape}
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in seen or node.name == INPUT:
                yield Problem("two nodes have this name" if node.name in seen else "the name is the input's", node.name)
            missing = [name for name in node.inputs if name not in shapes]
            for name in missing:
                yield Problem(f"its input {name!r} is no earlier node{suggest(name, shapes)}", node.name)
            arity = len(node.inputs)
            if arity < 2 if node.operation.joins else arity != 1:
                wanted = "two inputs or more" if node.operation.joins else "one input"
                yield Problem(f"{node.operation.op} takes {wanted}, not {arity}", node.name)
            elif not missing:
                yield from self._shape_problems(node, shapes, seen)
            shapes[node.name] = node.shape
            seen[node.name] = node
        yield from (
            Problem(f"the output {name!r} is no node{suggest(name, seen)}") for name in set(self.outputs) - seen.keys()
        )
        if not self.outputs:
            yield Problem("the graph has no output")
        if self.output_names and len(set(self.output_names)) != len(self.outputs):
            yield Problem("output_names must give each output a name of its own")
        yield from (Problem("no output needs its value", name) for name in unused(self.nodes, self.outputs))
        for scope in self.scopes:
            if scope.output not in seen:
                yield Problem(f"its output {scope.output!r} is no node{suggest(scope.output, seen)}", scope.name)
        if self.declaration and sorted(self.declaration) != sorted(n.name for n in self.nodes if n.calls is None):
            yield Problem("declaration must name each node that owns a layer once")

    def _shape_problems(self, node: Node, shapes: Mapping[str, Shape], seen: Mapping[str, Node]) -> Iterable[Problem]:
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
                    f"it calls {node.calls!r}, which is no earlier layer{suggest(node.calls, seen)}", node.name
                )
            elif owner.operation != node.operation:
                yield Problem(f"it calls {node.calls!r}, which is another operation", node.name)
            else:
                # An input of the owner's that is no node has been told of the owner.
                owned = [shapes[name] for name in owner.inputs if name in shapes]
                if owned and node.operation.parameters(*inputs) != node.operation.parameters(*owned):
                    yield Problem(f"it calls {node.calls!r}, whose parameters have other shapes", node.name)

    # -- looking things up ---------------------------------------------------------------------------------------

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Every node by its name."""
        return {node.name: node for node in self.nodes}

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """The shapes of a node's inputs."""
        return tuple(self.input.shape if name == INPUT else self.by_name[name].shape for name in node.inputs)

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes that own a layer, in order of declaration."""
        if self.declaration:
            return tuple(self.by_name[name] for name in self.declaration)
        return tuple(node for node in self.nodes if node.calls is None)

    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter in order of declaration, as a state_dict lists them; a shared one is listed once."""
        return self._parameters

    @cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(f"{node.name}.{slot.name}", slot.shape, slot.role, node.name)
            for node in self.layers
            for slot in node.operation.parameters(*self.input_shapes(node))
        )

    @property
    def logits(self) -> str:
        """The node a comparison looks at: the last output, before a final softmax (but the input is no node)."""
        node = self.by_name[self.outputs[-1]]
        return node.inputs[0] if node.operation.op == "softmax" and node.inputs[0] != INPUT else node.name

    @property
    def result_names(self) -> tuple[str, ...]:
        """What a written model calls its outputs: as the graph names them, else as their nodes are called.

        The only one, if it is a vector, is called what it is: logits, or behind a softmax probabilities.
        """
        if self.output_names:
            return self.output_names
        nodes = [self.by_name[name] for name in self.outputs]
        if len(nodes) == len(nodes[0].shape) == 1:
            return ("probabilities" if nodes[0].operation.op == "softmax" else "logits",)
        # A node may be wanted twice.
        before = [self.outputs[:index].count(name) for index, name in enumerate(self.outputs)]
        return tuple(f"{name}_{n}" if n else name for name, n in zip(self.outputs, before, strict=True))

    def stride(self, name: str) -> Stride | None:
        """Rows and columns of the input to one of a node's value; None where that is no map of the input any more."""
        return self._strides[name]

    @cached_property
    def _strides(self) -> Mapping[str, Stride | None]:
        return strides_of(self.input, self.nodes)

    # -- other graphs --------------------------------------------------------------------------------------------

    def at_size(self, height: int, width: int) -> Graph:
        """The same network for another input size; raises GraphError where a feature map vanishes or cannot add up.

        The operations stay as they are: a spec whose kernels follow the size is lowered anew at another size.
        """
        if self.input.features is not None:
            raise GraphError(Problem("the input is a vector, which has no height and width"))
        input = self.input.model_copy(update={"height": height, "width": width})
        shapes: dict[str, Shape] = {INPUT: input.shape}
        nodes: list[Node] = []
        for node in self.nodes:
            try:
                shape = node.operation.output_shape(*(shapes[name] for name in node.inputs))
            except ShapeError as error:
                raise GraphError(Problem(f"{error} (at an input of {height}×{width})", node.name)) from None
            shapes[node.name] = shape
            nodes.append(node.model_copy(update={"shape": shape}))
        return self._with(input=input, nodes=tuple(nodes))

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same network with other operations in its nodes; checked anew."""
        return Graph.model_validate(self._fields() | {"nodes": tuple(nodes)})

    def with_outputs(self, outputs: Iterable[str], names: Iterable[str] = ()) -> Graph:
        """The same network returning other nodes' values, as a dict where they are given names.

        Nodes that nothing returned needs are left out.
        """
        outputs, names = ((given,) if isinstance(given, str) else tuple(given) for given in (outputs, names))
        unknown = [name for name in outputs if name not in self.by_name]
        if unknown:
            raise GraphError([Problem(f"no node is named {name!r}{suggest(name, self.by_name)}") for name in unknown])
        dead = set(unused(self.nodes, outputs))
        nodes = tuple(node for node in self.nodes if node.name not in dead)
        scopes = tuple(scope for scope in self.scopes if scope.output not in dead)
        declaration = tuple(name for name in self.declaration if name not in dead)
        return self._with(nodes=nodes, outputs=outputs, output_names=names, scopes=scopes, declaration=declaration)

    def _with(self, **fields: Any) -> Graph:
        # Not checked again, and without the cached properties that model_copy would carry along.
        return Graph.model_construct(**self._fields() | fields)

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Graph.model_fields}

    @cached_property
    def depends_on_size(self) -> bool:
        """Whether a parameter's shape follows from the input size (a linear layer after flattening a map)."""
        if self.input.features is not None:
            return False
        height, width = self.input.height, self.input.width
        rows, columns = self._growth
        try:
            others = self.at_size(2 * height + 1, 2 * width + 1), self.at_size(height + rows, width + columns)
        except GraphError:
            return True
        return any(other.parameters() != self.parameters() for other in others)

    @property
    def _growth(self) -> tuple[int, int]:
        """Rows and columns more of the input by which every map that follows its size grows, too."""
        strides = [stride for stride in self._strides.values() if stride is not None]
        return lcm(*(rows.numerator for rows, _ in strides)), lcm(*(columns.numerator for _, columns in strides))

    # -- JSON ----------------------------------------------------------------------------------------------------

    def to_json(self, indent: int | None = None) -> str:
        """The graph as JSON; ``Graph.from_json`` gives an equal graph back."""
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """Read a graph from JSON; raises GraphError naming what is wrong."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise GraphError(
                [Problem(item["msg"], ".".join(map(str, item["loc"]))) for item in error.errors()]
            ) from None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the architecture, 64 hexadecimal digits.

        Names of nodes, operations and their order count. Name, description, scopes, initialization, inferred shapes
        and input size do not, but for the size where a parameter's shape depends on it.
        """
        size = {"height", "width"} if not self.depends_on_size else set[str]()
        architecture: dict[str, Any] = {
            "format": self.format,
            "input": {key: value for key, value in self.input.model_dump().items() if key not in size},
            "nodes": [canonical(node) for node in self.nodes],
            "outputs": self.outputs,
        }
        if self.declaration:
            architecture["declaration"] = self.declaration
        if self.output_names:
            architecture["output_names"] = self.output_names
        text = json.dumps(architecture, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def strides_of(input: Input, nodes: Iterable[Node]) -> dict[str, Stride | None]:
    """The stride of the input's value and of each node's, along the first input of each join."""
    strides: dict[str, Stride | None] = {INPUT: SAME_RESOLUTION if input.features is None else None}
    for node in nodes:
        before, step = strides[node.inputs[0]], node.operation.resolution()
        strides[node.name] = (before[0] * step[0], before[1] * step[1]) if before and step else None
    return strides


def unused(nodes: Sequence[Node], outputs: Iterable[str]) -> list[str]:
    """Names of the nodes that no output needs."""
    needed = set(outputs)
    dead: list[str] = []
    for node in reversed(nodes):
        if node.name in needed:
            needed |= {*node.inputs, node.layer}
        else:
            dead.append(node.name)
    return dead[::-1]


def canonical(node: Node) -> dict[str, Any]:
    """A node as the fingerprint sees it: without its shape, and fields at their default left out."""
    return node.model_dump(mode="json", exclude={"shape"}, exclude_defaults=True)


def scope_class_name(block: str) -> str:
    """A block's name as a class's name: ``basic_block`` is ``BasicBlock``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", block) if part) or "Block"
