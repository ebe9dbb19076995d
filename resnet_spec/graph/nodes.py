"""The parts of a graph: nodes, scopes, parameters and the input; and what follows from the nodes only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from resnet_spec.errors.validation import Frozen, matching
from resnet_spec.operations import Category, Operation, Role, Stride, same_stride
from resnet_spec.operations.fields import Shape

INPUT = "input"
"""The name by which nodes refer to the graph's input."""

MAX_PARAMETERS = 10**11

SIZE_NAMES = {
    4: ("channels", "depth", "height", "width"),
    3: ("channels", "height", "width"),
    2: ("channels", "length"),
    1: ("features",),
}
"""What the sizes of a volume, of a map, of a signal and of a vector are called."""

Name = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$",
        "letters, digits, _ and -, in parts joined by dots, a letter or digit first",
    ),
    Field(max_length=200),
]
ParameterName = Annotated[
    str, matching(r"^[A-Za-z_][A-Za-z0-9_]*$", "letters, digits and _, no digit first"), Field(max_length=60)
]
Size = Annotated[int, Field(strict=True, ge=1, le=2**16)]


class Input(Frozen):
    """What the network reads: images of ``channels`` × ``height`` × ``width`` or another kind of value.

    With ``length`` it is signals of ``channels`` × ``length``, with ``depth`` volumes of ``channels`` × ``depth`` ×
    ``height`` × ``width``, with ``features`` vectors. The keys of one kind exclude those of another.

    Attributes:
        channels: Number of channels of an image, a signal or a volume.
        height: Height of an image or a volume.
        width: Width of an image or a volume.
        features: Length of a vector; the input is then a vector.
        length: Length of a signal; the input is then a signal.
        depth: Depth of a volume; the input is then a volume.

    Examples:
        >>> from resnet_spec.graph import Input
        >>> Input(height=32, width=32).shape, Input(features=10).shape
        ((3, 32, 32), (10,))
        >>> Input(channels=12, length=5000).shape, Input(depth=16, height=112, width=112).shape
        ((12, 5000), (3, 16, 112, 112))
    """

    channels: Size = 3
    height: Size = 224
    width: Size = 224
    features: Size | None = None
    length: Size | None = None
    depth: Size | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Input:
        given = [name for name in type(self).model_fields if name in self.model_fields_set]
        for name in given:
            if name not in self.axes and getattr(self, name) is not None:
                raise ValueError(
                    f"{self.axes[-1]!r} and {name!r} exclude each other: images have 'channels', 'height' and 'width',"
                    " signals 'channels' and 'length', volumes 'depth' beside an image's, and vectors 'features';"
                    " null removes what 'extends' brought in"
                )
        return self

    @classmethod
    def of(cls, shape: Shape) -> Input:
        """The input of a shape.

        Args:
            shape: One to four sizes: features, or channels and positions.

        Returns:
            An input whose ``shape`` it is.

        Examples:
            >>> from resnet_spec.graph import Input
            >>> Input.of((12, 5000))
            Input(channels=12, height=224, width=224, features=None, length=5000, depth=None)
        """
        return cls.model_validate(dict(zip(SIZE_NAMES[len(shape)], shape, strict=True)))

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the input's sizes: ``channels`` and those of its positions, or ``features``."""
        if self.features is not None:
            return SIZE_NAMES[1]
        if self.length is not None:
            return SIZE_NAMES[2]
        return SIZE_NAMES[3 if self.depth is None else 4]

    @property
    def positions(self) -> tuple[str, ...]:
        """The names of the sizes of its positions, such as ``height`` and ``width``; none for a vector."""
        return self.axes[1:]

    @property
    def shape(self) -> Shape:
        """(channels, height, width), (channels, length), (channels, depth, height, width), or (features,)."""
        return tuple(getattr(self, name) for name in self.axes)

    @model_serializer
    def _serialize(self) -> dict[str, int]:
        return dict(zip(self.axes, self.shape, strict=True))


class Node(Frozen):
    """One application of an operation; ``calls`` names an earlier node whose layer, parameters too, is used again.

    ``parameter_names`` has the names that the layer's arrays have within it, where they are not the operation's.
    """

    name: Name
    operation: Operation
    inputs: tuple[str, ...]
    shape: Annotated[Shape, Field(min_length=1)]
    calls: Name | None = None
    parameter_names: dict[str, ParameterName] = Field(default_factory=dict[str, ParameterName])

    @property
    def layer(self) -> str:
        """Name of the node that owns the layer: this one's, or the one it calls again."""
        return self.calls or self.name

    def parameter_name(self, slot: str) -> str:
        """The name of one of the layer's arrays in a state_dict.

        Args:
            slot: What the operation calls it, such as ``weight``; nothing for an array with its layer's name.

        Returns:
            The name.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> graph.by_name["layer1.0.bn1"].parameter_name("running_var")
            'layer1.0.bn1.running_var'
        """
        return parameter_name(self.layer, self.parameter_names.get(slot, slot))

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Files that were written before the field existed remain equal.
        data: dict[str, Any] = handler(self)
        if not self.parameter_names:
            data.pop("parameter_names", None)
        return data


class Scope(Frozen):
    """A group of nodes: a stage of blocks, or one block, whose value is its ``output`` node's.

    ``residual`` marks a block that adds a shortcut. The name is the dotted prefix of the nodes' names if the block's
    names are nested, and otherwise only a name for the group (``conv2_block1``).
    """

    name: Name
    kind: Literal["stage", "block"]
    output: Name
    block: str | None = None
    residual: bool = False


class Parameter(NamedTuple):
    """A named array: its shape as PyTorch lays it out, its role, and the node that owns it.

    ``initial`` is the value that the operation states for each element before training, None if it follows from the
    role. ``slot`` is what the operation calls it, usually the last part of ``name``.
    """

    name: str
    shape: Shape
    role: Role
    node: str
    initial: float | None = None
    slot: str = ""

    @property
    def trainable(self) -> bool:
        """Whether training changes it by gradients, which excludes running statistics."""
        return self.role.trainable

    @property
    def systematic_name(self) -> str:
        """The name by its layer and its operation, by which a spec refers to it."""
        return parameter_name(self.node, self.slot)


def parameter_name(layer: str, slot: str) -> str:
    """The name of a layer's array, which is the layer's own where its slot has no name.

    Args:
        layer: Name of the node that owns the layer.
        slot: Name of the array within the layer, or nothing.

    Returns:
        The name in a state_dict.

    Examples:
        >>> from resnet_spec.graph import parameter_name
        >>> parameter_name("layer1.0.bn1", "weight"), parameter_name("layer1.0.gamma", "")
        ('layer1.0.bn1.weight', 'layer1.0.gamma')
    """
    return f"{layer}.{slot}" if slot else layer


def strides_of(input: Input, nodes: Iterable[Node]) -> dict[str, Stride | None]:
    """The stride of the input and of each node's value; of a join, along the first input with the value's positions.

    Args:
        input: What the network reads.
        nodes: Nodes in order of execution.

    Returns:
        By name, how many (rows, columns) of the input correspond to one of the value (one number of a signal, three of
        a volume), or None for a value that is not a map.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.graph import strides_of
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> float(strides_of(graph.input, graph.nodes)["maxpool"][0])
        4.0
    """
    strides: dict[str, Stride | None] = {INPUT: same_stride(len(input.positions)) if input.positions else None}
    shapes = {INPUT: input.shape}
    for node in nodes:
        shapes[node.name] = node.shape
        sources = node.inputs if node.operation.joins else node.inputs[:1]
        source = next((name for name in sources if shapes[name][1:] == node.shape[1:]), node.inputs[0])
        before, step = strides[source], node.operation.spatial_stride(len(shapes[source]) - 1)
        strides[node.name] = tuple(a * b for a, b in zip(before, step, strict=True)) if before and step else None
    return strides


def modules_last(layers: Sequence[Node]) -> list[Node]:
    """Layers in the order of a state_dict, in which a module's own arrays come before those of the modules in it.

    Args:
        layers: Nodes that own a layer, in order of declaration.

    Returns:
        The same nodes; one whose array has its own name is before all others with the same dotted prefix.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.graph import modules_last
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> modules_last(graph.layers) == list(graph.layers)
        True
    """
    if not any(node.operation.category is Category.LEARNED for node in layers):
        return list(layers)
    first: dict[str, int] = {}
    for index, node in enumerate(layers):
        prefix = node.name
        while prefix:
            prefix = prefix.rpartition(".")[0]
            first.setdefault(prefix, index)

    def key(place: tuple[int, Node]) -> tuple[int, bool, int]:
        index, node = place
        if node.operation.category is not Category.LEARNED:
            return index, True, 0
        prefix = node.name.rpartition(".")[0]
        return first[prefix], False, node.name.count(".")

    return [node for _, node in sorted(enumerate(layers), key=key)]


def unused(nodes: Sequence[Node], outputs: Iterable[str]) -> list[str]:
    """Names of the nodes that no output needs.

    Args:
        nodes: Nodes in order of execution.
        outputs: Names of the nodes whose values are needed.

    Returns:
        Names in order of execution.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.graph import unused
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> unused(graph.nodes, ["layer4.1.relu2"])
        ['avgpool', 'flatten', 'fc']
    """
    needed = set(outputs)
    dead: list[str] = []
    for node in reversed(nodes):
        if node.name in needed:
            needed |= {*node.inputs, node.layer}
        else:
            dead.append(node.name)
    return dead[::-1]


def canonical(node: Node) -> dict[str, Any]:
    """A node as the fingerprint includes it: without its shape, and without fields at their default.

    Args:
        node: A node of a graph.

    Returns:
        Plain data for JSON.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.graph import canonical
        >>> canonical(resnet_spec.load("torchvision/resnet18").to_graph().by_name["relu"])
        {'name': 'relu', 'operation': {'op': 'relu'}, 'inputs': ['bn1']}
    """
    return node.model_dump(mode="json", exclude={"shape"}, exclude_defaults=True)


def scope_class_name(block: str) -> str:
    """A block's name as a class's name.

    Args:
        block: A block's name.

    Returns:
        The name in CamelCase, ``Block`` if the block's has no letters or digits.

    Examples:
        >>> from resnet_spec.graph import scope_class_name
        >>> scope_class_name("basic_block")
        'BasicBlock'
    """
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", block) if part) or "Block"
