"""The graph: what a spec lowers to and every backend compiles; validated when constructed or read from JSON.

A flat tuple of nodes in order of execution, each with a dotted name, one operation, its inputs and its shape. Scopes
name the groups that the dots make, so that a backend can nest modules again. This module depends on no file format and
no framework.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import lcm, prod
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from resnet_spec import notebook
from resnet_spec.errors import GraphError, Problem, suggest
from resnet_spec.errors.validation import Frozen, invalid_values
from resnet_spec.graph.checks import node_problems, output_problems, parameter_name_problems
from resnet_spec.graph.initialization_rules import InitializationRules
from resnet_spec.graph.nodes import (
    INPUT,
    Input,
    Name,
    Node,
    Parameter,
    Scope,
    canonical,
    modules_last,
    strides_of,
    unused,
)
from resnet_spec.operations import Stride
from resnet_spec.operations.fields import Shape, ShapeError, as_text


class Graph(Frozen):
    """A network: nodes in order of execution; raises GraphError with every problem found.

    ``declaration`` lists the nodes in the order in which a state_dict lists their parameters, if that is not the order
    of execution. ``outputs`` are the nodes whose values the network returns: as a list if there are several, or as a
    dict with the keys ``output_names`` if those are given.

    Examples:
        >>> import resnet_spec
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> len(graph.nodes), graph.outputs, graph.by_name["layer1.0.conv1"].inputs
        (69, ('fc',), ('maxpool',))
        >>> graph.fingerprint[:8]
        '22255ad8'
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
        problems = [*node_problems(self.input, self.nodes)]
        problems += output_problems(self.nodes, self.outputs, self.output_names, self.scopes)
        if self.declaration and sorted(self.declaration) != sorted(n.name for n in self.nodes if n.calls is None):
            problems.append(Problem("declaration must name each node that owns a layer once"))
        if not problems and any(node.parameter_names for node in self.nodes):
            problems += parameter_name_problems(self.nodes, self._parameters)
        if problems:
            raise GraphError(problems)
        return self

    def __repr__(self) -> str:
        """Say in a line which network it is; ``to_json`` has all of it.

        Examples:
            >>> import resnet_spec
            >>> resnet_spec.load("cifar/resnet20").to_graph()
            Graph('cifar/resnet20', input (3, 32, 32), 73 nodes, fingerprint 0c3c2116)
        """
        size = f"input {self.input.shape}, {len(self.nodes)} nodes"
        return f"Graph({self.name!r}, {size}, fingerprint {self.fingerprint[:8]})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the drawing, and the part below each top-level name."""
        from resnet_spec.drawing import svg

        counts: Counter[str] = Counter()
        for parameter in self.parameters():
            counts[parameter.node.partition(".")[0]] += prod(parameter.shape) * parameter.trainable
        parts = {node.name.partition(".")[0]: as_text(node.shape) for node in self.nodes}
        rows = [(name, shape, f"{counts[name]:,}") for name, shape in parts.items()]
        table = notebook.table(repr(self), ["module", "output", "parameters"], rows, self.description)
        return notebook.picture(svg(self), self.name) + table

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    # -- looking things up ---------------------------------------------------------------------------------------

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Every node by its name."""
        return {node.name: node for node in self.nodes}

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """The shapes of a node's inputs.

        Args:
            node: A node of this graph.

        Returns:
            One shape per input, without the batch, such as (channels, height, width) or (features,).

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> graph.input_shapes(graph.by_name["layer2.0.add"])
            ((128, 28, 28), (128, 28, 28))
        """
        return tuple(self.input.shape if name == INPUT else self.by_name[name].shape for name in node.inputs)

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """The nodes that own a layer, in order of declaration."""
        if self.declaration:
            return tuple(self.by_name[name] for name in self.declaration)
        return tuple(node for node in self.nodes if node.calls is None)

    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter in order of declaration, as a state_dict lists them; a shared one is listed once.

        Returns:
            Names, shapes as PyTorch lays them out, roles and the nodes that own them.

        Examples:
            >>> import resnet_spec
            >>> weight, bias = resnet_spec.load("torchvision/resnet18").to_graph().parameters()[-2:]
            >>> weight.name, weight.shape, str(weight.role), weight.trainable
            ('fc.weight', (1000, 512), 'linear_kernel', True)
        """
        return self._parameters

    @cached_property
    def _parameters(self) -> tuple[Parameter, ...]:
        return tuple(
            Parameter(node.parameter_name(slot.name), slot.shape, slot.role, node.name, slot.initial, slot.name)
            for node in modules_last(self.layers)
            for slot in node.operation.parameters(*self.input_shapes(node))
        )

    @property
    def logits(self) -> str:
        """The node that a comparison examines: the last output, before a final softmax."""
        node = self.by_name[self.outputs[-1]]
        return node.inputs[0] if node.operation.op == "softmax" and node.inputs[0] != INPUT else node.name

    @property
    def result_names(self) -> tuple[str, ...]:
        """The names of the outputs in a written model: ``output_names``, or else those of their nodes.

        A single output that is a vector is called ``logits``, or ``probabilities`` after a softmax, and one that has
        the name of a parameter ``<name>_value``.
        """
        if self.output_names:
            return self.output_names
        nodes = [self.by_name[name] for name in self.outputs]
        if len(nodes) == len(nodes[0].shape) == 1:
            return ("probabilities" if nodes[0].operation.op == "softmax" else "logits",)
        # A node may be an output twice, and a parameter may have the name of its node.
        before = [self.outputs[:index].count(name) for index, name in enumerate(self.outputs)]
        parameters = {parameter.name for parameter in self.parameters()}
        named = [f"{name}_value" if name in parameters else name for name in self.outputs]
        return tuple(f"{name}_{n}" if n else name for name, n in zip(named, before, strict=True))

    def stride(self, name: str) -> Stride | None:
        """How many rows and columns of the input correspond to one row and column of a node's value.

        Args:
            name: A node's name, or ``input``.

        Returns:
            (rows, columns) as fractions, below 1 for a map larger than the input, or None for a value that is not a
            map.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> [str(number) for number in graph.stride("layer4.1.relu2")], graph.stride("fc")
            (['32', '32'], None)
        """
        return self._strides[name]

    @cached_property
    def _strides(self) -> Mapping[str, Stride | None]:
        return strides_of(self.input, self.nodes)

    # -- other graphs --------------------------------------------------------------------------------------------

    def at_size(self, *sizes: int) -> Graph:
        """The same network for another input size.

        The operations are unchanged; for a spec whose kernels depend on the size, load it with other ``input`` values
        instead.

        Args:
            *sizes: Height and width of the input, the length of a signal, or depth, height and width of a volume.

        Returns:
            A graph with the same nodes and other shapes.

        Raises:
            GraphError: If the input has another number of sizes, a feature map vanishes, or two cannot be added.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph().at_size(64, 48)
            >>> graph.by_name["layer4.1.relu2"].shape
            (512, 2, 2)
        """
        if self.input.features is not None:
            raise GraphError(Problem("the input is a vector, which has no height and width"))
        names = self.input.positions
        if len(sizes) != len(names):
            raise GraphError(Problem(f"the input has {' and '.join(names)}, not {len(sizes)} sizes"))
        input = self.input.model_copy(update=dict(zip(names, sizes, strict=True)))
        shapes: dict[str, Shape] = {INPUT: input.shape}
        nodes: list[Node] = []
        for node in self.nodes:
            try:
                shape = node.operation.output_shape(*(shapes[name] for name in node.inputs))
            except ShapeError as error:
                changes = " and ".join(f"input.{name}={size}" for name, size in zip(names, sizes, strict=True))
                hint = f"at an input of {as_text(sizes)}; if the spec depends on its size, load it with {changes}"
                raise GraphError(Problem(f"{error} ({hint})", node.name)) from None
            shapes[node.name] = shape
            nodes.append(node.model_copy(update={"shape": shape}))
        return self._with(input=input, nodes=tuple(nodes))

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same network with other nodes, such as copies with other operations.

        Args:
            nodes: All nodes in order of execution.

        Returns:
            A graph that is checked like any other.

        Raises:
            GraphError: With every problem found.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> graph.with_nodes(graph.nodes) == graph
            True
        """
        return Graph.model_validate(self._fields() | {"nodes": tuple(nodes)})

    def with_parameter_names(self, names: Mapping[str, Mapping[str, str]]) -> Graph:
        """The same network with other names of parameters, as the state_dict of an original may have them.

        Args:
            names: By the node that owns a layer, the new name of each array within the layer by the operation's.

        Returns:
            The graph; names that were given before are kept where ``names`` has no other.

        Raises:
            GraphError: If a layer has no such array, or two parameters get one name.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> graph.with_parameter_names({"bn1": {"weight": "gamma"}}).parameters()[1].name
            'bn1.gamma'
        """
        nodes = [
            node.model_copy(update={"parameter_names": node.parameter_names | dict(names[node.layer])})
            if node.layer in names
            else node
            for node in self.nodes
        ]
        return self.with_nodes(nodes)

    def with_outputs(self, outputs: Iterable[str], names: Iterable[str] = ()) -> Graph:
        """The same network with other outputs; nodes that no output needs are removed.

        Args:
            outputs: Names of nodes whose values the network returns.
            names: Keys for a dict of the outputs, one per output, or nothing for a list.

        Returns:
            The graph up to these outputs.

        Raises:
            GraphError: If a name is not a node's.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> features = graph.with_outputs(["layer3.1.relu2", "layer4.1.relu2"], ["C4", "C5"])
            >>> features.result_names, "fc" in features.by_name
            (('C4', 'C5'), False)
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
        """Whether a parameter's shape depends on the input size (a linear layer after flattening a map)."""
        if self.input.features is not None:
            return False
        sizes = self.input.shape[1:]
        grown = (size + more for size, more in zip(sizes, self._growth, strict=True))
        try:
            others = self.at_size(*(2 * size + 1 for size in sizes)), self.at_size(*grown)
        except GraphError:
            return True
        return any(other.parameters() != self.parameters() for other in others)

    @property
    def _growth(self) -> tuple[int, ...]:
        """The additional rows and columns of the input with which every map that depends on its size grows too."""
        strides = [stride for stride in self._strides.values() if stride is not None]
        return tuple(lcm(*(number.numerator for number in axis)) for axis in zip(*strides, strict=True))

    # -- JSON ----------------------------------------------------------------------------------------------------

    def to_json(self, indent: int | None = None) -> str:
        """The graph as JSON, which ``Graph.from_json`` reads back to an equal graph.

        Args:
            indent: Spaces per level, or None for one line.

        Returns:
            JSON text.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> resnet_spec.Graph.from_json(graph.to_json()) == graph
            True
        """
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """Read a graph from JSON.

        Args:
            text: JSON as ``to_json`` writes it.

        Returns:
            The graph.

        Raises:
            GraphError: With every problem: JSON, keys and values, or what the nodes do not allow.

        Examples:
            >>> import resnet_spec
            >>> resnet_spec.Graph.from_json('{"name": 5}')
            Traceback (most recent call last):
            ...
            resnet_spec.errors.GraphError: name: must be text, not 5
            needs 'input'
            needs 'nodes'
            needs 'outputs'
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise GraphError(_json_problems(error, text)) from None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the architecture, 64 hexadecimal digits.

        Names of nodes, operations and their order count. Name, description, scopes, initialization, inferred shapes
        and input size do not, except for the size if a parameter's shape depends on it.
        """
        size = {*self.input.positions} if not self.depends_on_size else set[str]()
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


def _json_problems(error: ValidationError, text: str | bytes) -> list[Problem]:
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as wrong:
        return [Problem(f"not valid JSON: line {wrong.lineno}, column {wrong.colno}")]
    except (ValueError, RecursionError):
        return [Problem("not valid JSON")]
    return [invalid.problem() for invalid in invalid_values(error, data, Graph)]
