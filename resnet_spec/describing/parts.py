"""A network as people see it: a stem, stages of blocks, and a head; whatever its layers are called.

Within each part nodes are in an order that follows from how they are connected, and not from how they are listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.importing.architecture import COMMUTATIVE
from resnet_spec.importing.document import HEADS
from resnet_spec.importing.regions import Region, regions
from resnet_spec.importing.template import Template

MANY_STAGES = 8
"""A network in which more rows of blocks differ in channels changes its channels in each block."""


PATH = 1000
"""As many letters of what a value is computed by are compared to order branches of equal depth."""

FEW_BLOCKS = 3
"""Fewer blocks without a join are layers like others."""


@dataclass(frozen=True)
class Block:
    """One block: the nodes of its main branch, of its shortcut, the join, and what comes after.

    ``is_block`` is False for layers between blocks, such as those that only change the shape.
    """

    graph: Graph
    main: tuple[Node, ...]
    shortcut: tuple[Node, ...] = ()
    join: Node | None = None
    after: tuple[Node, ...] = ()
    is_block: bool = True

    @property
    def sections(self) -> tuple[tuple[str, tuple[Node, ...]], ...]:
        """The nodes by section."""
        join = (self.join,) if self.join is not None else ()
        return ("main", self.main), ("shortcut", self.shortcut), ("join", join), ("after", self.after)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes."""
        return tuple(node for _, nodes in self.sections for node in nodes)

    @cached_property
    def last(self) -> Node:
        """The node that others read."""
        own = {name for node in self.nodes for name in node.inputs}
        return next((node for node in reversed(self.nodes) if node.name not in own), self.nodes[-1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape that it reads."""
        own = {node.name for node in self.nodes}
        for node in self.nodes:
            for name, shape in zip(node.inputs, self.graph.input_shapes(node), strict=True):
                if name not in own:
                    return shape
        return self.graph.input.shape

    @property
    def changes_size(self) -> bool:
        """Whether its value has other positions than its input."""
        return self.input_shape[1:] != self.last.shape[1:]

    @property
    def changes_shape(self) -> bool:
        """Whether its value has another shape than its input."""
        return self.input_shape != self.last.shape

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """What it computes from its input, apart from names."""
        index = {node.name: place for place, node in enumerate(self.nodes)}
        return tuple(
            (section, node.operation, tuple(index.get(name, -1) for name in node.inputs), node.calls is not None)
            for section, nodes in self.sections
            for node in nodes
        )


@dataclass(frozen=True)
class Parts:
    """A network's parts.

    Attributes:
        graph: The network.
        stem: What comes before the blocks; without blocks, all before the head.
        stages: Blocks, by stage.
        head: What comes after them.
    """

    graph: Graph
    stem: tuple[Node, ...]
    stages: tuple[tuple[Block, ...], ...]
    head: tuple[Node, ...]

    @classmethod
    def of(cls, graph: Graph, *, by_names: bool = True) -> Parts:
        """Find the parts; without ``by_names`` only by additions."""
        order = _Order(graph)
        found = regions(graph, by_names=by_names)
        places = [place for place, region in enumerate(found) if region.is_block]
        residual = any(node.operation.joins for place in places for node in found[place].nodes)
        if not residual and len(places) < FEW_BLOCKS:
            pools = (place for place, node in enumerate(graph.nodes) if node.operation.op in HEADS)
            split = next(pools, len(graph.nodes)) or len(graph.nodes)
            return cls(graph, order.sorted(graph.nodes[:split]), (), order.sorted(graph.nodes[split:]))
        begin, end = places[0], places[-1] + 1
        stem, head = ([node for region in part for node in region.nodes] for part in (found[:begin], found[end:]))
        blocks = [_block(graph, region, order) for region in found[begin:end]]
        return cls(graph, order.sorted(stem), tuple(map(tuple, _stages(blocks))), order.sorted(head))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks."""
        return tuple(block for stage in self.stages for block in stage)


def _block(graph: Graph, region: Region, order: _Order) -> Block:
    template = Template.of(graph, region) if _reads_one(region) else None
    if template is None or template.join is None:
        return Block(graph, order.sorted(region.nodes), is_block=region.is_block)
    main, shortcut, after = map(order.sorted, (template.main, template.shortcut, template.after))
    return Block(graph, main, shortcut, template.join, after, is_block=region.is_block)


def _reads_one(region: Region) -> bool:
    own = {node.name for node in region.nodes}
    return any(name not in own for name in region.nodes[0].inputs)


class _Order:
    """Orders nodes by how they are connected: each after its inputs, the longer branch first.

    Branches of equal length are ordered by their operations.
    """

    def __init__(self, graph: Graph) -> None:
        self.depth = {INPUT: 0}
        self.path = {INPUT: ""}
        for node in graph.nodes:
            self.depth[node.name] = 1 + max(self.depth[name] for name in node.inputs)
            own = node.operation
            fields = [getattr(own, name, "") for name in ("kernel", "dilation", "part", "start")]
            self.path[node.name] = f"{own.op} {fields} {self.path[node.inputs[0]]}"[:PATH]

    def sorted(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        own = {node.name: node for node in nodes}
        read = {name for node in own.values() for name in node.inputs}
        ends = sorted((name for name in own if name not in read), key=lambda name: self.depth[name])
        order: dict[str, None] = {}
        waiting = [(name, False) for name in reversed(ends)]
        while waiting:
            name, inputs_done = waiting.pop()
            if name in order or name not in own:
                continue
            if inputs_done:
                order[name] = None
                continue
            waiting.append((name, True))
            waiting += [(source, False) for source in reversed(self.inputs(own[name]))]
        return tuple(own[name] for name in order)

    def inputs(self, node: Node) -> Sequence[str]:
        """A node's inputs, the deepest first if their order does not count."""
        if node.operation.op not in COMMUTATIVE:
            return node.inputs
        return sorted(node.inputs, key=lambda name: (-self.depth[name], self.path[name]))


# -- stages ------------------------------------------------------------------------------------------------------


def _stages(blocks: Sequence[Block]) -> list[list[Block]]:
    """Split blocks where their channels change, else where their positions do.

    A stage whose last block has the stride, as in the second version of Keras' networks, is still one.
    """
    rows = [list(row) for _, row in groupby(blocks, key=lambda block: block.last.shape[0])]
    if len(rows) > MANY_STAGES:
        return list(_by_size(blocks))
    return [part for row in rows for part in _split(row)]


def _split(row: list[Block]) -> Iterator[list[Block]]:
    if not any(block.changes_size for block in row[1:-1]):
        yield row
    else:
        yield from _by_size(row)


def _by_size(row: Sequence[Block]) -> Iterator[list[Block]]:
    starts = [0, *(place for place in range(1, len(row)) if row[place].changes_size), len(row)]
    for start, stop in pairwise(starts):
        yield list(row[start:stop])
