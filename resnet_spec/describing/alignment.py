"""Pairs the parts, blocks and nodes of two networks by what they compute, whatever they are called.

Stages, the blocks of two stages and the nodes of two blocks are aligned as sequences: those that are paired differ
least, and the order is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from resnet_spec.describing.isomorphism import same_nodes
from resnet_spec.describing.parts import Block, Parts
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.graph.summary import Summary, summarize
from resnet_spec.importing.architecture import COMMUTATIVE
from resnet_spec.operations import Category

T = TypeVar("T")
Pairs = list[tuple[T | None, T | None]]

GAP = 0.6
"""The cost of what has no partner, as a part of what the most different pair costs."""

MAX_CELLS = 4_000_000
"""Longer sequences are paired from both ends as far as they are equal, and in order between."""

REPLACEABLE = (
    frozenset({Category.ACTIVATION}),
    frozenset({Category.NORMALIZATION}),
    frozenset({Category.POOLING}),
    frozenset({Category.CONVOLUTION}),
    frozenset({Category.REGULARIZATION}),
)
"""Operations of one of these groups may be in each other's place."""


@dataclass(frozen=True)
class Place:
    """Where in a network a pair is: a part, and for a block its stage and its number there, both from 1.

    ``blocks`` is the number of blocks of the stage, ``section`` the section of the block.
    """

    part: str
    stage: int = 0
    block: int = 0
    blocks: int = 0
    section: str = ""


@dataclass(frozen=True)
class Pair:
    """Two nodes that are in the same place of their networks; one is None if only one network has it."""

    first: Node | None
    second: Node | None
    place: Place
    blocks: tuple[Block | None, Block | None] = (None, None)


@dataclass(frozen=True)
class Alignment:
    """Two networks, and their pairs of stages and nodes in order; ``isomorphic`` if they are known to be the same."""

    first: Parts
    second: Parts
    stages: tuple[tuple[tuple[Block, ...], tuple[Block, ...]], ...]
    blocks: tuple[tuple[tuple[Block | None, Block | None], ...], ...]
    pairs: tuple[Pair, ...]
    isomorphic: bool = False

    @cached_property
    def partner(self) -> dict[str, str]:
        """The second network's node for each paired node of the first."""
        return {INPUT: INPUT} | {p.first.name: p.second.name for p in self.pairs if p.first and p.second}

    @cached_property
    def rewired(self) -> frozenset[str]:
        """The nodes of the first network whose partner reads other nodes."""
        back = {second: first for first, second in self.partner.items()}
        sides = self.first.graph, self.second.graph
        found: set[str] = set()
        for pair in self.pairs:
            if pair.first is None or pair.second is None:
                continue
            one = [self.partner[_paired(name, sides[0], self.partner)] for name in pair.first.inputs]
            other = [_paired(name, sides[1], back) for name in pair.second.inputs]
            if pair.first.operation.op in COMMUTATIVE:
                one, other = sorted(one), sorted(other)
            if one != other:
                found.add(pair.first.name)
        return frozenset(found)

    @cached_property
    def recalled(self) -> frozenset[str]:
        """The nodes of the first network whose partner has the parameters of another layer."""
        return frozenset(
            pair.first.name
            for pair in self.pairs
            if pair.first and pair.second
            and pair.first.operation.parameters(*self.first.graph.input_shapes(pair.first))
            and (pair.first.calls and self.partner.get(pair.first.calls, "")) != pair.second.calls
        )  # fmt: skip

    @property
    def cost(self) -> int:
        """The number of nodes that differ."""
        elsewhere = self.rewired | self.recalled
        return sum(differs(pair) or (pair.first is not None and pair.first.name in elsewhere) for pair in self.pairs)

    @cached_property
    def same(self) -> bool:
        """Whether both networks compute the same from the same input and the same parameters."""
        graphs = self.first.graph, self.second.graph
        outputs = [self.partner.get(name) for name in graphs[0].outputs]
        return self.isomorphic or (
            self.cost == 0 and graphs[0].input.shape == graphs[1].input.shape and outputs == list(graphs[1].outputs)
        )


def differs(pair: Pair) -> bool:
    """Whether only one node is there, or its operation differs."""
    return pair.first is None or pair.second is None or pair.first.operation != pair.second.operation


@dataclass(frozen=True)
class Side:
    """A network that is compared, perhaps with several others: what is found of it alone is found once."""

    graph: Graph

    @cached_property
    def named(self) -> Parts:
        """Its parts."""
        return Parts.of(self.graph)

    @cached_property
    def joined(self) -> Parts:
        """Its parts by additions only."""
        return Parts.of(self.graph, by_names=False)

    @cached_property
    def summary(self) -> Summary:
        """What it costs."""
        return summarize(self.graph)


def align(first: Graph | Side, second: Graph | Side) -> Alignment:
    """Pair the nodes of two networks.

    If some have no partner, the parts are found by additions only, too, since names may say where blocks are in one
    network only; that by which fewer nodes differ is used.
    """
    one, other = (side if isinstance(side, Side) else Side(side) for side in (first, second))
    if (nodes := same_nodes(one.graph, other.graph)) is not None:
        return _same(one.named, other.graph, nodes)
    found = _aligned(one.named, other.named)
    if all(pair.first and pair.second for pair in found.pairs):
        return found
    return min(found, _aligned(one.joined, other.joined), key=lambda alignment: alignment.cost)


def _same(first: Parts, second: Graph, nodes: Mapping[str, str]) -> Alignment:
    """The pairs of networks that compute the same; the second has the first's parts."""

    def other(own: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(second.by_name[nodes[node.name]] for node in own if node.name in nodes)

    def block(own: Block) -> Block:
        join = other([own.join])[0] if own.join else None
        return replace(
            own, graph=second, main=other(own.main), shortcut=other(own.shortcut), join=join, after=other(own.after)
        )

    stages = tuple(tuple(map(block, stage)) for stage in first.stages)
    parts = Parts(second, other(first.stem), stages, other(first.head))
    return replace(_aligned(first, parts), isomorphic=True)


def _aligned(first: Parts, second: Parts) -> Alignment:
    nodes, costs = _Nodes(), _Costs()
    pairs: list[Pair] = []

    def add(
        one: Sequence[Node], other: Sequence[Node], place: Place, blocks: tuple[Block | None, Block | None]
    ) -> None:
        pairs.extend(Pair(a, b, place, blocks) for a, b in nodes.aligned(one, other))

    add(first.stem, second.stem, Place("stem"), (None, None))
    stages = _in_order(first.stages, second.stages, costs.of_stages)
    all_blocks: list[tuple[tuple[Block | None, Block | None], ...]] = []
    for number, (one, other) in enumerate(stages, 1):
        blocks = _blocks(one or (), other or (), costs)
        all_blocks.append(tuple(blocks))
        for place, (a, b) in enumerate(blocks, 1):
            sections = zip((a or b).sections, (b or a).sections, strict=True)  # type: ignore[union-attr]
            for (section, own), (_, others) in sections:
                where = Place("stage", number, place, len(blocks), section)
                add(own if a else (), others if b else (), where, (a, b))
    add(first.head, second.head, Place("head"), (None, None))
    matched = tuple((one or (), other or ()) for one, other in stages)
    return Alignment(first, second, matched, tuple(all_blocks), tuple(pairs))


def _blocks(one: Sequence[Block], other: Sequence[Block], costs: _Costs) -> Pairs[Block]:
    """The blocks of two stages in pairs; the first is the first, since the shape changes there."""
    if not one or not other:
        return _in_order(one, other, costs.of_blocks)
    return [(one[0], other[0]), *_in_order(one[1:], other[1:], costs.of_blocks)]


# -- sequences ---------------------------------------------------------------------------------------------------


def _in_order(first: Sequence[T], second: Sequence[T], cost: Callable[[T, T], float], gap: float = GAP) -> Pairs[T]:
    """Align two sequences: the pairs, and what has no partner, of the least cost in all."""
    begin = 0
    while begin < min(len(first), len(second)) and cost(first[begin], second[begin]) == 0:
        begin += 1
    end = 0
    while end < min(len(first), len(second)) - begin and cost(first[-1 - end], second[-1 - end]) == 0:
        end += 1
    one, other = first[begin : len(first) - end], second[begin : len(second) - end]
    head: Pairs[T] = list(zip(first[:begin], second[:begin], strict=True))
    tail: Pairs[T] = list(zip(first[len(first) - end :], second[len(second) - end :], strict=True))
    if len(one) * len(other) > MAX_CELLS:
        shorter = min(len(one), len(other))
        middle: Pairs[T] = list(zip(one[:shorter], other[:shorter], strict=True))
        middle += [(item, None) for item in one[shorter:]] + [(None, item) for item in other[shorter:]]
        return [*head, *middle, *tail]
    return [*head, *_least(one, other, cost, gap), *tail]


def _least(first: Sequence[T], second: Sequence[T], cost: Callable[[T, T], float], gap: float) -> Iterator[
    tuple[T | None, T | None]
]:  # fmt: skip
    # costs[i][j] is that of aligning what comes from i and from j on.
    rows, columns = len(first), len(second)
    costs = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        costs[i][columns] = costs[i + 1][columns] + gap
    for j in range(columns - 1, -1, -1):
        costs[rows][j] = costs[rows][j + 1] + gap
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            paired = costs[i + 1][j + 1] + cost(first[i], second[j])
            costs[i][j] = min(paired, costs[i + 1][j] + gap, costs[i][j + 1] + gap)
    i = j = 0
    while i < rows or j < columns:
        if i < rows and j < columns and costs[i][j] == costs[i + 1][j + 1] + cost(first[i], second[j]):
            yield first[i], second[j]
            i, j = i + 1, j + 1
        elif i < rows and costs[i][j] == costs[i + 1][j] + gap:
            yield first[i], None
            i += 1
        else:
            yield None, second[j]
            j += 1


class _Nodes:
    """Aligns the nodes of blocks; blocks like those before are not aligned again."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, object], list[tuple[int | None, int | None]]] = {}

    def aligned(self, first: Sequence[Node], second: Sequence[Node]) -> Iterator[tuple[Node | None, Node | None]]:
        key = tuple(node.operation for node in first), tuple(node.operation for node in second)
        if key not in self._known:
            places = _in_order(range(len(first)), range(len(second)), lambda i, j: _node_cost(first[i], second[j]))
            self._known[key] = places
        for i, j in self._known[key]:
            yield None if i is None else first[i], None if j is None else second[j]


# -- how much two things differ ----------------------------------------------------------------------------------


def _node_cost(one: Node, other: Node) -> float:
    a, b = one.operation, other.operation
    if a == b:
        return 0
    if a.op == b.op:
        # A kernel says which layer it is; widths differ between networks that are otherwise alike.
        return 0.6 if getattr(a, "kernel", None) != getattr(b, "kernel", None) else 0.1
    if any(a.category in group and b.category in group for group in REPLACEABLE):
        return 0.8 if getattr(a, "kernel", None) == getattr(b, "kernel", None) else 1.1
    return 10


class _Costs:
    """How much blocks and stages differ; blocks like those before are not compared again."""

    def __init__(self) -> None:
        self._kinds: dict[object, int] = {}
        self._of_block: dict[int, int] = {}
        self._known: dict[tuple[int, int], float] = {}

    def _kind(self, block: Block) -> int:
        """A number that blocks of the same layers share."""
        if id(block) not in self._of_block:
            self._of_block[id(block)] = self._kinds.setdefault(block.signature, len(self._kinds))
        return self._of_block[id(block)]

    def of_blocks(self, one: Block, other: Block) -> float:
        kinds = self._kind(one), self._kind(other)
        if kinds not in self._known:
            self._known[kinds] = 0 if kinds[0] == kinds[1] else _block_cost(one, other)
        return self._known[kinds]

    def of_stages(self, one: Sequence[Block], other: Sequence[Block]) -> float:
        strides = any(block.changes_size for block in one) != any(block.changes_size for block in other)
        channels = one[0].last.shape[0] != other[0].last.shape[0]
        return 0.3 * channels + 0.5 * strides + 0.2 * self.of_blocks(one[-1], other[-1])


def _block_cost(one: Block, other: Block) -> float:
    kinds = _unlike([node.operation.op for node in one.nodes], [node.operation.op for node in other.nodes])
    exact = _unlike(*([hash(node.operation) for node in block.nodes] for block in (one, other)))
    return 0.05 + 0.5 * kinds + 0.4 * exact + 0.2 * (one.changes_shape != other.changes_shape)


def _unlike(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """The share of two collections that is in one of them only."""
    a, b = Counter(one), Counter(other)
    return 1 - (a & b).total() / max(1, (a | b).total())


def _paired(name: str, graph: Graph, partner: dict[str, str]) -> str:
    """The value that a node reads through nodes without a partner."""
    while name not in partner:
        node = graph.by_name[name]
        shapes = graph.input_shapes(node)
        same = (source for source, shape in zip(node.inputs, shapes, strict=True) if shape == node.shape)
        name = next(same, node.inputs[0])
    return name
