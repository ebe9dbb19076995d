"""Factors and offsets per channel, folded into the convolution or linear layer before or after them.

In inference a batch normalization is a factor and an offset per channel, which a kernel and a bias can include: one
layer instead of two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import Conv, ConvTranspose, Flatten, GlobalAvgPool, Linear
from resnet_spec.operations.windows import is_unpadded
from resnet_spec.optimization.affine import Affine, evaluated, learned_factor, normalization
from resnet_spec.optimization.rewriting import (
    Formula,
    Rewriting,
    Uses,
    repeated,
    replaced,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Host: TypeAlias = Conv | ConvTranspose | Linear
"""The layers that a factor and an offset can be folded into."""

_Kind: TypeAlias = Callable[[Graph, Node], Affine | None]


# ---------------------------------------------------------------------------------------------------------------
# The passes


def fold_normalizations(graph: Graph) -> Rewriting:
    """Fold batch normalizations into the convolution, transposed convolution or linear layer before them.

    Requires:
        Only the normalization reads that layer's value, which is no output, and both layers are called once. A linear
        layer gives a vector, whose features are the channels.

    Ensures:
        No such normalization is left. The layer before has a bias, and the value that the normalization had; it has the
        normalization's name if that is an output.

    Args:
        graph: Any graph.

    Returns:
        The graph. A kernel becomes kernel · scale / sqrt(variance + epsilon), and a bias
        offset + (bias - mean) · scale / sqrt(variance + epsilon).

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import fold_normalizations
        >>> graph = fold_normalizations(resnet_spec.load("torchvision/resnet18").to_graph()).graph
        >>> [node.name for node in graph.nodes[:2]], graph.by_name["conv1"].operation.bias
        (['conv1', 'relu'], True)
    """
    return repeated(lambda current: _after(current, normalization), graph)


def fold_learned_factors(graph: Graph) -> Rewriting:
    """Fold learned and constant factors and learned terms into the layer before them, and factors into that after.

    Requires:
        As ``fold_normalizations`` or ``fold_preceding_normalizations``. There is one number, or one per channel.

    Ensures:
        No such factor or term is left.

    Args:
        graph: Any graph.

    Returns:
        The graph, in which kernels are multiplied by the factors, and biases contain the terms.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import fold_learned_factors
        >>> from resnet_spec.optimization import compute_standardized_kernels
        >>> kernels = compute_standardized_kernels(resnet_spec.load("timm/nf_resnet50").to_graph())
        >>> len(kernels.graph.nodes), len(kernels.then(fold_learned_factors).graph.nodes)
        (156, 128)
    """
    after = repeated(lambda current: _after(current, learned_factor), graph)
    return after.then(lambda found: repeated(lambda current: _before(current, learned_factor), found))


def fold_preceding_normalizations(graph: Graph) -> Rewriting:
    """Fold batch normalizations into the convolutions or linear layers after them.

    Requires:
        Each layer that reads the normalization's value is a convolution without padding, or a linear layer, also after
        a mean over all positions or a flattening that nothing else reads. With padding it would not be the same: zeros
        are added to the normalized map, of which none would be zero before. The normalization's value is no output, and
        all layers are called once.

    Ensures:
        No such normalization is left. The layers after it have a bias, and their values are unchanged.

    Args:
        graph: Any graph.

    Returns:
        The graph. A kernel is multiplied by the factors along its input channels, and the bias grows by the kernel's
        sum over the offsets.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import fold_preceding_normalizations, remove_training_only
        >>> inference = remove_training_only(resnet_spec.load("faces/iresnet18").to_graph())
        >>> folded = inference.then(fold_preceding_normalizations).graph
        >>> {node.name for node in inference.graph.nodes} - {node.name for node in folded.nodes}
        {'bn2'}
    """
    return repeated(lambda current: _before(current, normalization), graph)


# ---------------------------------------------------------------------------------------------------------------
# The key ``folded`` of a spec


def fold(graph: Graph) -> Graph:
    """Return what ``folded: true`` means in a spec: no batch normalizations after convolutions or linear layers.

    Differs from ``fold_normalizations`` only in that an output which is a normalization's value becomes that of the
    layer before it, under the name of that layer.

    Args:
        graph: Any graph.

    Returns:
        The folded graph.

    Examples:
        >>> import resnet_spec
        >>> graph = fold(resnet_spec.load("torchvision/resnet18").to_graph())
        >>> graph.by_name["relu"].inputs
        ('conv1',)
    """
    return _folded(graph).graph


def fold_arrays(graph: Graph, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``fold(graph)``, computed in float64 and rounded once to the type of each kernel.

    Args:
        graph: The graph before.
        arrays: Its arrays.

    Returns:
        Arrays in the order of the folded graph.

    Examples:
        >>> import resnet_spec
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> len(fold_arrays(graph, resnet_spec.initialize(graph)))
        42
    """
    folded = _folded(graph)
    found = folded.arrays(arrays)
    for parameter in folded.graph.parameters():
        if parameter.name in folded.computed:
            kernel = folded.graph.by_name[parameter.node].parameter_name("weight")
            found[parameter.name] = found[parameter.name].astype(arrays[kernel].dtype, copy=False)
    return found


def _folded(graph: Graph) -> Rewriting:
    # Once: what follows a folded normalization is no longer what the key was defined for.
    return _after(graph, normalization, keep_outputs=False) or Rewriting.unchanged(graph)


# ---------------------------------------------------------------------------------------------------------------
# Into the layer before


def _after(graph: Graph, kind: _Kind, *, keep_outputs: bool = True) -> Rewriting | None:
    """Return the graph without the layers of a kind that follow a host; None if there are none.

    With ``keep_outputs`` a host has the name of the layer that it includes if that is an output.
    """
    uses = Uses(graph)
    owners = {parameter.name: parameter.node for parameter in graph.parameters()}
    operations: dict[str, Any] = {}
    removed: dict[str, str] = {}
    formulas: dict[str, Formula] = {}
    values: dict[str, str] = {}
    for node in graph.nodes:
        host = graph.by_name.get(node.inputs[0])
        affine = kind(graph, node)
        if affine is None or host is None or {host.name, host.inputs[0]} & operations.keys() or not _is_host(host):
            continue
        if uses.only_reader(host) is None or not uses.called_once(host) or not uses.called_once(node):
            continue
        target = node if keep_outputs and node.name in graph.outputs else host
        # In a written model, an output has another name if a parameter has its own.
        if target is node and node.name in owners:
            continue
        names = target.parameter_name("weight"), target.parameter_name("bias")
        # A third layer may have a parameter of the bias' name.
        if any(owners.get(name, host.name) not in (host.name, node.name) for name in names):
            continue
        biased = affine.offset is not None or cast("Host", host.operation).bias
        operations[target.name] = host.operation.model_copy(update={"bias": biased})
        if target is host:
            removed[node.name], values[host.name] = host.name, node.name
        else:
            removed[host.name] = host.inputs[0]
        formulas |= _included_after(host, target, affine)
    return replaced(graph, operations, removed, formulas, values) if operations else None


def _is_host(node: Node) -> bool:
    """Whether the channels of a node's value are the outputs of a kernel."""
    operation = node.operation
    return isinstance(operation, Conv | ConvTranspose) or (isinstance(operation, Linear) and len(node.shape) == 1)


def _included_after(host: Node, target: Node, affine: Affine) -> dict[str, Formula]:
    """Return the formulas of a target's kernel and bias: a host's, with a factor and an offset of output channels."""
    operation = cast("Host", host.operation)
    weight, bias = host.parameter_name("weight"), host.parameter_name("bias")
    channels = host.shape[0]
    axis = 1 if isinstance(operation, ConvTranspose) else 0
    found: dict[str, Formula] = {}

    def kernel_of(kernel: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[Any]:
        factor, _ = evaluated(affine, arrays, channels)
        return kernel * factor.reshape([-1 if index == axis else 1 for index in range(kernel.ndim)])

    def bias_of(*arrays: NDArray[Any]) -> NDArray[Any]:
        own, arrays = (arrays[0], arrays[1:]) if operation.bias else (0.0, arrays)
        factor, offset = evaluated(affine, arrays, channels)
        return own * factor + offset

    if affine.factor is not None or target is not host:
        found[target.parameter_name("weight")] = Formula((weight, *affine.sources), kernel_of)
    if affine.offset is not None or operation.bias:
        found[target.parameter_name("bias")] = Formula((*([bias] if operation.bias else []), *affine.sources), bias_of)
    return found


# ---------------------------------------------------------------------------------------------------------------
# Into the layers after


def _before(graph: Graph, kind: _Kind) -> Rewriting | None:
    """Return the graph without the first layer of a kind that only hosts follow; None if there is none."""
    uses = Uses(graph)
    taken = {parameter.name for parameter in graph.parameters()}
    for node in graph.nodes:
        affine = kind(graph, node)
        if affine is None or not uses.is_inner(node):
            continue
        hosts = _hosts_after(uses, node, shifted=affine.offset is not None)
        if hosts is None or not all(_bias_is_free(host, taken) for host in hosts):
            continue
        operations = {
            host.name: host.operation.model_copy(
                update={"bias": affine.offset is not None or cast("Host", host.operation).bias}
            )
            for host in hosts
        }
        formulas: dict[str, Formula] = {}
        for host in hosts:
            formulas |= _included_before(graph, node, host, affine)
        between = {name: "" for host in hosts for name in _passed(graph, node, host)}
        return replaced(graph, operations, {node.name: node.inputs[0]}, formulas, between)
    return None


def _bias_is_free(host: Node, taken: set[str]) -> bool:
    """Whether the host has a bias, or no other parameter has the name that it would get."""
    return cast("Host", host.operation).bias or host.parameter_name("bias") not in taken


def _hosts_after(uses: Uses, node: Node, *, shifted: bool) -> list[Node] | None:
    """Return the layers that a factor, and where ``shifted`` an offset, of a node's value can be folded into."""
    hosts: list[Node] = []
    for reader in uses.readers.get(node.name, []):
        host = reader
        # A mean over positions and a flattening keep factors and offsets of channels.
        while isinstance(host.operation, GlobalAvgPool | Flatten) and (follower := uses.only_reader(host)) is not None:
            host = follower
        operation = host.operation
        linear = isinstance(operation, Linear) and len(host.shape) == 1
        convolution = isinstance(operation, Conv) and host is reader
        if not (linear or convolution) or not uses.called_once(host) or host in hosts:
            return None
        if isinstance(operation, Conv) and shifted and not is_unpadded(operation.fixed_padding or ((1, 1),)):
            return None
        hosts.append(host)
    return hosts or None


def _passed(graph: Graph, node: Node, host: Node) -> list[str]:
    """Return the nodes between a node and a host after it, whose values change."""
    found: list[str] = []
    name = host.inputs[0]
    while name not in (node.name, INPUT):
        found.append(name)
        name = graph.by_name[name].inputs[0]
    return found


def _included_before(graph: Graph, node: Node, host: Node, affine: Affine) -> dict[str, Formula]:
    """Return the formulas of a host's kernel and bias, with a factor and an offset of its input channels."""
    operation = cast("Conv | Linear", host.operation)
    weight, bias = host.parameter_name("weight"), host.parameter_name("bias")
    channels = node.shape[0]
    groups = operation.groups if isinstance(operation, Conv) else 1
    # A flattened map has each channel's positions one after another.
    (shape,) = graph.input_shapes(host)
    positions = prod(shape) // channels if isinstance(operation, Linear) else 1
    found: dict[str, Formula] = {}

    def along_inputs(vector: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
        """One number for each input channel of each output channel, with an axis of size 1 for each of positions."""
        outputs, inputs = kernel.shape[:2]
        rows = vector.repeat(positions).reshape(groups, inputs).repeat(outputs // groups, axis=0)
        return rows.reshape(outputs, inputs, *[1] * (kernel.ndim - 2))

    def kernel_of(kernel: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[Any]:
        factor, _ = evaluated(affine, arrays, channels)
        return kernel * along_inputs(factor, kernel)

    def bias_of(kernel: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[Any]:
        own, arrays = (arrays[0], arrays[1:]) if operation.bias else (0.0, arrays)
        _, offset = evaluated(affine, arrays, channels)
        return own + (kernel * along_inputs(offset, kernel)).reshape(len(kernel), -1).sum(1)

    if affine.factor is not None:
        found[weight] = Formula((weight, *affine.sources), kernel_of)
    if affine.offset is not None:
        found[bias] = Formula((weight, *([bias] if operation.bias else []), *affine.sources), bias_of)
    return found
