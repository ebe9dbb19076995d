"""Grouped convolutions as convolutions of fewer groups, some of whose weights are zero.

A framework may have a fast kernel for one group only. A convolution of a few groups as one is then faster than their
own, although it multiplies by zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import Graph, Node
from resnet_spec.operations import Concat, Conv, Slice
from resnet_spec.optimization.rewriting import Formula, Rewriting, Uses

if TYPE_CHECKING:
    from numpy.typing import NDArray


def split_groups(graph: Graph, parts: Mapping[str, int]) -> Rewriting:
    """Replace grouped convolutions by several that have one group each, side by side.

    Requires:
        Each number of parts divides the layer's groups, and the layer is called once. No node has one of the names
        ``<layer>.part0`` to ``<layer>.join``.

    Ensures:
        None of the layers has groups. The node with the layer's name joins the parts, or is the only one.

    Args:
        graph: Any graph.
        parts: For each layer, the number of convolutions that replace it.

    Returns:
        The graph. Part i has the i-th of the groups' kernels along a block diagonal, zeros elsewhere, and its share of
        the bias.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import split_groups
        >>> graph = resnet_spec.load("torchvision/resnext50_32x4d").to_graph()
        >>> split = split_groups(graph, {"layer1.0.conv2": 4}).graph
        >>> [node.name for node in split.nodes if node.name.startswith("layer1.0.conv2")][1::2]
        ['layer1.0.conv2.part0', 'layer1.0.conv2.part1', 'layer1.0.conv2.part2', 'layer1.0.conv2.part3']
    """
    uses = Uses(graph)
    nodes: list[Node] = []
    formulas: dict[str, Formula] = {}
    declared: dict[str, tuple[str, ...]] = {}
    added: list[str] = []
    for node in graph.nodes:
        operation = node.operation
        if node.name not in parts or not isinstance(operation, Conv) or operation.groups == 1:
            nodes.append(node)
            continue
        assert uses.called_once(node)  # noqa: S101 - required
        made, computed = _parts(graph, node, operation, parts[node.name])
        nodes += made
        formulas |= computed
        added += [other.name for other in made[:-1]]
        declared[node.name] = tuple(other.name for other in made)
    if not formulas:
        return Rewriting.unchanged(graph)
    fields = {name: getattr(graph, name) for name in Graph.model_fields}
    declaration = tuple(name for owner in graph.declaration for name in declared.get(owner, (owner,)))
    after = Graph.model_validate(fields | {"nodes": tuple(nodes), "declaration": declaration})
    values = {node.name: node.name for node in after.nodes if node.name not in added}
    return Rewriting(after, (formulas,), values)


def _parts(graph: Graph, node: Node, operation: Conv, count: int) -> tuple[list[Node], dict[str, Formula]]:
    """Return the nodes in place of a convolution, and the formulas of their kernels and biases."""
    (shape,) = graph.input_shapes(node)
    weight, bias = node.parameter_name("weight"), node.parameter_name("bias")
    share = operation.model_copy(update={"channels": operation.channels // count, "groups": 1})
    formulas: dict[str, Formula] = {}
    if count == 1:
        formulas[weight] = Formula((weight,), _diagonal(operation.groups, 0, 1))
        return [node.model_copy(update={"operation": share})], formulas
    nodes: list[Node] = []
    for index in range(count):
        # By numbers: to take one of equal parts, a framework may make them all.
        width = shape[0] // count
        piece = Slice.model_validate({"op": "slice", "start": index * width, "stop": (index + 1) * width})
        sliced = _node(f"{node.name}.slice{index}", piece, node.inputs[0], shape)
        part = _node(f"{node.name}.part{index}", share, sliced.name, sliced.shape)
        nodes += [sliced, part]
        formulas[part.parameter_name("weight")] = Formula((weight,), _diagonal(operation.groups, index, count))
        if operation.bias:
            formulas[part.parameter_name("bias")] = Formula((bias,), _share(index, count))
    names = tuple(other.name for other in nodes[1::2])
    join = {"name": node.name, "operation": Concat.model_validate({"op": "concat"}), "inputs": names}
    return [*nodes, Node.model_validate(join | {"shape": node.shape})], formulas


def _node(name: str, operation: Any, source: str, shape: tuple[int, ...]) -> Node:
    data = {"name": name, "operation": operation, "inputs": (source,), "shape": operation.output_shape(shape)}
    return Node.model_validate(data)


def _diagonal(groups: int, index: int, count: int) -> Callable[..., NDArray[Any]]:
    """Return the kernel of one of ``count`` parts: its groups' kernels along a block diagonal."""
    import numpy as np

    def compute(kernel: NDArray[Any]) -> NDArray[Any]:
        own = np.split(np.split(kernel, count)[index], groups // count)
        outputs, inputs = own[0].shape[:2]
        whole = np.zeros((len(own) * outputs, len(own) * inputs, *kernel.shape[2:]))
        for position, block in enumerate(own):
            rows, columns = position * outputs, position * inputs
            whole[rows : rows + outputs, columns : columns + inputs] = block
        return whole

    return compute


def _share(index: int, count: int) -> Callable[..., NDArray[Any]]:
    def compute(bias: NDArray[Any]) -> NDArray[Any]:
        size = len(bias) // count
        return bias[index * size : (index + 1) * size]

    return compute
