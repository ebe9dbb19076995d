"""The layers of a network, counted from its graph: rows as torchsummary lists them, and totals."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from resnet_spec import notebook
from resnet_spec.graph import Graph, Node, Scope, scope_class_name
from resnet_spec.operations import Category
from resnet_spec.operations.fields import Shape, as_text

MEBIBYTE = 2**20
BYTES = 4
"""Per element: sizes are those of float32."""

_WITHOUT_ROW = (Category.JOIN, Category.RESHAPING, Category.OUTPUT)


@dataclass(frozen=True)
class Row:
    """One layer, or one residual block as a whole (which has no parameters of its own).

    ``shape`` excludes the batch; ``statistics`` counts the running means and variances, which gradients do not change.
    """

    name: str
    label: str
    shape: Shape
    parameters: int
    statistics: int
    macs: int


@dataclass(frozen=True)
class Module:
    """The layers below one top-level name, counted together."""

    name: str
    parameters: int
    statistics: int
    macs: int


@dataclass(frozen=True)
class Tap:
    """One of several outputs, under its layer's, block's or stage's name.

    ``stride`` is how many rows and columns of the input correspond to one of its own, None for a value that is not a
    map.
    """

    name: str
    shape: Shape
    stride: tuple[int | float, int | float] | None


@dataclass(frozen=True)
class Summary:
    """Rows in order of execution and totals; sizes are in MiB of float32, for one image.

    ``parameters`` counts the trainable elements and ``statistics`` the others. ``macs`` counts the multiply-accumulates
    of convolutions and linear layers. ``outputs`` lists the outputs of a network that has several.
    ``forward_backward_mib`` is twice the sum over all rows, as in torchsummary.

    Examples:
        >>> import resnet_spec
        >>> summary = resnet_spec.summarize(resnet_spec.load("torchvision/resnet18").to_graph())
        >>> summary.parameters, summary.statistics, summary.macs
        (11689512, 9600, 1814073344)
        >>> round(summary.parameters_mib, 2), summary.rows[0].label
        (44.59, 'Conv2d')
    """

    name: str
    input: Shape
    rows: tuple[Row, ...]
    parameters: int
    statistics: int
    macs: int
    modules: tuple[Module, ...]
    outputs: tuple[Tap, ...] = ()

    def __repr__(self) -> str:
        """Say the totals in a line; ``rows`` and ``modules`` have the rest."""
        counts = f"{self.parameters:,} parameters, {self.statistics:,} statistics, {self.macs:,} MACs"
        return f"Summary({self.name!r}, {counts})"

    def _repr_html_(self) -> str:
        """What a notebook shows: each layer."""
        rows = [
            (row.name, row.label, as_text(row.shape), f"{row.parameters:,}", f"{row.statistics:,}", f"{row.macs:,}")
            for row in self.rows
        ]
        headings = ["layer", "type", "output", "parameters", "statistics", "MACs"]
        return notebook.table(repr(self), headings, rows)

    @property
    def input_mib(self) -> float:
        """Size of the input image."""
        return prod(self.input) * BYTES / MEBIBYTE

    @property
    def forward_backward_mib(self) -> float:
        """Size of every row's output and its gradient."""
        return 2 * sum(prod(row.shape) for row in self.rows) * BYTES / MEBIBYTE

    @property
    def parameters_mib(self) -> float:
        """Size of the trainable parameters."""
        return self.parameters * BYTES / MEBIBYTE

    @property
    def total_mib(self) -> float:
        """Sum of the three sizes."""
        return self.input_mib + self.forward_backward_mib + self.parameters_mib


def summarize(graph: Graph) -> Summary:
    """Count a graph's parameters, multiply-accumulates and activation sizes.

    Each convolution, linear layer, matrix product, normalization, activation and pooling has a row, and each residual
    block one after its last layer; additions, paddings, reshapings and a final softmax have none. The parameters of a
    layer that is called again are counted once.

    Args:
        graph: The network.

    Returns:
        Rows, totals per top-level module, and totals.

    Examples:
        >>> import resnet_spec
        >>> summary = resnet_spec.summarize(resnet_spec.load("cifar/resnet20").to_graph())
        >>> summary.parameters, [module.name for module in summary.modules][-2:]
        (269722, ['avgpool', 'linear'])
    """
    owned = _owned(graph)
    blocks = {scope.output: scope for scope in graph.scopes if scope.residual}
    rows: list[Row] = []
    for node in graph.nodes:
        if _has_row(graph, node):
            parameters, statistics = owned.get(node.name, (0, 0))
            label = node.operation.label_for(*graph.input_shapes(node))
            rows.append(Row(node.name, label, node.shape, parameters, statistics, _macs(graph, node)))
        if node.name in blocks:
            rows.append(_block_row(blocks[node.name], node))
    return Summary(
        name=graph.name,
        input=graph.input.shape,
        rows=tuple(rows),
        parameters=sum(parameters for parameters, _ in owned.values()),
        statistics=sum(statistics for _, statistics in owned.values()),
        macs=sum(_macs(graph, node) for node in graph.nodes),
        modules=_modules(graph, owned),
        outputs=_taps(graph) if len(graph.outputs) > 1 or graph.output_names else (),
    )


def _taps(graph: Graph) -> tuple[Tap, ...]:
    # Stages come after their blocks and win over them.
    scopes = {scope.output: scope.name for scope in graph.scopes}
    names = graph.output_names or [scopes.get(node, node) for node in graph.outputs]
    taps: list[Tap] = []
    for name, node in zip(names, graph.outputs, strict=True):
        stride = graph.stride(node)
        numbers = (_number(stride[0]), _number(stride[1])) if stride else None
        taps.append(Tap(name, graph.by_name[node].shape, numbers))
    return tuple(taps)


def _number(fraction: Fraction) -> int | float:
    return fraction.numerator if fraction.denominator == 1 else float(fraction)


def _owned(graph: Graph) -> dict[str, tuple[int, int]]:
    """Trainable and other elements by the node that owns them."""
    counts: dict[str, tuple[int, int]] = {}
    for parameter in graph.parameters():
        trainable, other = counts.get(parameter.node, (0, 0))
        size = prod(parameter.shape)
        counts[parameter.node] = (trainable + size, other) if parameter.trainable else (trainable, other + size)
    return counts


def _block_row(scope: Scope, node: Node) -> Row:
    return Row(scope.name, scope_class_name(scope.block or "block"), node.shape, 0, 0, 0)


def _has_row(graph: Graph, node: Node) -> bool:
    return node.operation.category not in _WITHOUT_ROW or _macs(graph, node) > 0


def _macs(graph: Graph, node: Node) -> int:
    return node.operation.macs(graph.input_shapes(node), node.shape)


def _modules(graph: Graph, owned: dict[str, tuple[int, int]]) -> tuple[Module, ...]:
    modules: dict[str, Module] = {}
    for node in graph.nodes:
        name = node.name.partition(".")[0]
        if name not in modules and not _has_row(graph, node):
            continue
        parameters, statistics = owned.get(node.name, (0, 0))
        sums = modules.get(name, Module(name, 0, 0, 0))
        modules[name] = Module(
            name, sums.parameters + parameters, sums.statistics + statistics, sums.macs + _macs(graph, node)
        )
    return tuple(modules.values())
