"""From a graph to what is drawn of it: stages of parts, in which equal blocks are one part that repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import TypeAlias

from resnet_spec.drawing.network import Cost, Network, Node
from resnet_spec.drawing.spans import SMALL, Span, Spans
from resnet_spec.drawing.words import SIGNS, kind_of, label
from resnet_spec.errors import GraphError, Problem, suggest
from resnet_spec.operations import Category
from resnet_spec.operations.fields import Shape

INPUT = "input"
LINES = 4
"""As many layers of a block are listed in its box."""

LONGEST = 8
"""Of as many blocks in turn repetitions are found."""

_Rows: TypeAlias = list[tuple[int, Span]]
"""Equal blocks, one after the other, with their places."""


@dataclass(frozen=True)
class Part:
    """What is drawn as one box.

    Attributes:
        name: The block's or the first node's name, which is unique.
        kind: A key of ``words.KIND_NAMES``.
        lines: What is written in the box, the most important first.
        nodes: The nodes that it stands for, those of every repetition.
        inputs: The names of the parts that it reads, ``input`` for the network's, each with the shape that it reads.
        shape: The shape of its value.
        times: How many equal blocks it stands for.
        shortcut: How the block's input reaches its addition: ``identity``, or the layers on its way; empty otherwise.
        cost: What it costs, all repetitions together.
    """

    name: str
    kind: str
    lines: tuple[str, ...]
    nodes: tuple[str, ...]
    inputs: tuple[tuple[str, Shape], ...]
    shape: Shape
    times: int = 1
    shortcut: str = ""
    cost: Cost = field(default_factory=Cost)

    @property
    def sign(self) -> str:
        """The sign of a join that is drawn as a circle; empty for a box."""
        return self.lines[0] if self.kind == "join" and self.lines[0] in SIGNS.values() else ""


@dataclass(frozen=True)
class Frame:
    """Consecutive parts that are drawn in a frame: a stage, or a block whose layers are shown.

    ``first`` and ``last`` are places in the outline's ``parts``; ``depth`` is 0 for a stage and 1 for a block.
    """

    name: str
    first: int
    last: int
    times: int = 1
    depth: int = 0


@dataclass(frozen=True)
class Outline:
    """What is drawn of a network: parts in order of execution, and frames around some.

    ``outputs`` are the names of the parts after which nothing follows, each with what its output is called.

    Examples:
        >>> import resnet_spec
        >>> outline = Outline.of(resnet_spec.load("torchvision/resnet50").to_graph())
        >>> [(part.name, part.times) for part in outline.parts][:4]
        [('conv1', 1), ('maxpool', 1), ('layer1.0', 1), ('layer1.1', 2)]
        >>> outline.parts[3].lines
        ('bottleneck', '1×1 conv, 64', '3×3 conv, 64', '1×1 conv, 256')
        >>> outline.parts[2].shortcut, outline.parts[3].shortcut
        ('1×1 conv, 256', 'identity')
    """

    name: str
    input: Shape
    parts: tuple[Part, ...]
    frames: tuple[Frame, ...]
    outputs: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls,
        network: Network,
        expand: Collection[str] = (),
        *,
        nodes: bool = False,
        marks: Mapping[str, object] | None = None,
    ) -> Outline:
        """Make the outline of a network.

        Args:
            network: A graph.
            expand: Stages or blocks whose layers are shown, by name or by that of a node; ``all`` for every one.
            nodes: Show every operation, and fold nothing.
            marks: By the names of nodes; blocks whose marks differ are not folded.

        Returns:
            The outline.

        Raises:
            GraphError: There is no stage or block of a name.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> [part.name for part in Outline.of(graph, ["layer1"]).parts][2:5]
            ['layer1.0.conv1', 'layer1.0.conv2', 'layer1.0.add']
        """
        return _Maker(network, expand, marks or {}, nodes=nodes).outline()

    @cached_property
    def total(self) -> Cost:
        """What the network costs."""
        return Cost.total(part.cost for part in self.parts)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each part, by its name."""
        return {part.name: place for place, part in enumerate(self.parts)}

    @cached_property
    def part_of(self) -> Mapping[str, int]:
        """The place of the part that stands for each node."""
        return {node: place for place, part in enumerate(self.parts) for node in part.nodes}


class _Maker:
    """Makes one outline."""

    def __init__(self, network: Network, expand: Collection[str], marks: Mapping[str, object], *, nodes: bool) -> None:
        self.marks = marks
        self.network = network
        self.nodes = network.nodes
        self.every = nodes
        self.shapes = {INPUT: network.input.shape} | {node.name: node.shape for node in self.nodes}
        self.costs = [Cost.of(node, [self.shapes[name] for name in node.inputs]) for node in self.nodes]
        self.spans = Spans(network)
        self.index, self.users, self.blocks = self.spans.index, self.spans.users, self.spans.blocks
        # Where every operation is drawn, only the stages that the network names are.
        self.stages = [] if nodes and not any(scope.kind == "stage" for scope in network.scopes) else self.spans.stages
        self.opened = self._opened(expand)
        self.parts: list[Part] = []
        self.frames: list[Frame] = []
        self.place: dict[str, str] = {}

    def outline(self) -> Outline:
        stages = {span.start: span for span in self.stages}
        done = 0
        while done < len(self.nodes):
            if stage := stages.get(done):
                first = len(self.parts)
                self._region(stage.start, stage.stop)
                self.frames.append(Frame(stage.name, first, len(self.parts) - 1))
                done = stage.stop
            else:
                stop = min((start for start in stages if start > done), default=len(self.nodes))
                self._region(done, stop)
                done = stop
        outputs = self._outputs()
        frames = tuple(sorted(self.frames, key=lambda frame: (frame.first, frame.depth)))
        return Outline(self.network.name, self.network.input.shape, tuple(self.parts), frames, outputs)

    def _outputs(self) -> tuple[tuple[str, str], ...]:
        """The outputs at the end of the network; where other parts follow, a part says that it is an output."""
        read = {name for part in self.parts for name, _ in part.inputs}
        names = self.network.output_names or [""] * len(self.network.outputs)
        found: list[tuple[str, str]] = []
        for name, output in zip(names, self.network.outputs, strict=True):
            part, text = self.place[output], f"output {name}".rstrip()
            if part in read:
                place = next(place for place, other in enumerate(self.parts) if other.name == part)
                self.parts[place] = replace(self.parts[place], lines=(*self.parts[place].lines, f"→ {text}"))
            else:
                found.append((part, text))
        return tuple(found)

    def _opened(self, expand: Collection[str]) -> frozenset[int]:
        """The places of the blocks whose layers are shown."""
        if self.every or "all" in expand:
            return frozenset(range(len(self.blocks)))
        known = {span.name: span for span in (*self.blocks, *self.stages)}
        unknown = [name for name in expand if name not in known and name not in self.index]
        if unknown:
            some = ", ".join([*(span.name for span in self.stages or self.blocks), "all"])
            texts = [f"no stage or block is named {name!r}{suggest(name, known)} (known: {some})" for name in unknown]
            raise GraphError([Problem(text) for text in texts])
        spans = [known.get(name) or Span(name, self.index[name], self.index[name] + 1) for name in expand]
        return frozenset(
            place
            for place, block in enumerate(self.blocks)
            for span in spans
            if (span.start <= block.start and block.stop <= span.stop) or block.start <= span.start < block.stop
        )

    # -- parts ---------------------------------------------------------------------------------------------------

    def _region(self, start: int, stop: int) -> None:
        """Add the parts of a stage, or of what is between two."""
        done = start
        blocks = [(place, span) for place, span in enumerate(self.blocks) if start <= span.start and span.stop <= stop]
        for repetitions in self._repeating(list(self._folded(blocks))):
            first = len(self.parts)
            for number, rows in enumerate(repetitions[0]):
                self._layers(done, rows[0][1].start)
                others = [span for repetition in repetitions[1:] for _, span in repetition[number]]
                self._rows(rows, others)
                done = rows[-1][1].stop
            if len(repetitions) > 1:
                self.frames.append(Frame("blocks in turn", first, len(self.parts) - 1, len(repetitions), 1))
            done = repetitions[-1][-1][-1][1].stop
        self._layers(done, stop)

    def _rows(self, rows: _Rows, others: Sequence[Span]) -> None:
        """Add equal blocks: one, or the layers of one; ``others`` are the same ones where several repeat in turn."""
        spans = [span for _, span in rows]
        if rows[0][0] not in self.opened:
            self._block(spans, others)
            return
        first = len(self.parts)
        self._layers(spans[0].start, spans[0].stop, spans[1:])
        name = spans[0].label if spans[0].label != "block" else spans[0].name
        title = f"{spans[0].name}: {name}" if self.every else name
        self.frames.append(Frame(title, first, len(self.parts) - 1, len(spans), 1))

    def _repeating(self, rows: Sequence[_Rows]) -> Iterator[list[Sequence[_Rows]]]:
        """Rows of equal blocks as repetitions of several in turn (``ABAB`` as twice ``AB``), else each by itself."""
        known: list[object] = []
        kinds: list[int] = []
        for number, row in enumerate(rows):
            if row[0][0] in self.opened:
                kinds.append(-1 - number)
                continue
            key = self._signature(row[0][1]), len(row)
            if key not in known:
                known.append(key)
            kinds.append(known.index(key))
        done = 0
        while done < len(rows):
            period, times = 1, 1
            for length in range(2, min(LONGEST, (len(rows) - done) // 2) + 1):
                turn = kinds[done : done + length]
                count = 1
                while kinds[done + count * length : done + (count + 1) * length] == turn:
                    count += 1
                inside = rows[done : done + count * length]
                if count > 1 and all(a[-1][1].stop == b[0][1].start for a, b in pairwise(inside)):
                    period, times = length, count
                    break
            yield [rows[done + turn * period : done + (turn + 1) * period] for turn in range(times)]
            done += period * times

    def _folded(self, blocks: Sequence[tuple[int, Span]]) -> Iterator[list[tuple[int, Span]]]:
        """Rows of consecutive equal blocks."""
        row: list[tuple[int, Span]] = []
        before: object = None
        for place, span in blocks:
            signature = (self._signature(span), place in self.opened)
            if row and not self.every and signature == before and row[-1][1].stop == span.start:
                row.append((place, span))
                continue
            if row:
                yield row
            row, before = [(place, span)], signature
        if row:
            yield row

    def _signature(self, span: Span) -> tuple[object, ...]:
        """What a block computes, whatever its layers are called and up to constant factors, in inference."""
        return tuple(
            (
                node.operation.category
                if node.operation.category is Category.REGULARIZATION
                else node.operation.model_copy(update={**node.operation.training_fields, **_any_factor(node)}),
                tuple(
                    self.index[name] - span.start if self.index.get(name, -1) >= span.start else -1
                    for name in node.inputs
                ),
                node.calls is None,
                self.marks.get(node.name),
            )
            for node in self.nodes[span.start : span.stop]
        )

    def _block(self, spans: Sequence[Span], others: Sequence[Span]) -> None:
        """Add the part of equal blocks, and of the same ones further on."""
        span = spans[0]
        inside = self.nodes[span.start : span.stop]
        shortcut, beside = self._shortcut(span)
        main = [node for node in inside if node.name not in beside]
        kernels = [node for node in main if node.operation.category in (Category.CONVOLUTION, Category.LINEAR)]
        # Those of a gate compute a value per channel.
        layers = [node for node in kernels if prod(node.shape[1:]) > 1] or kernels or main
        lines = [label(node) for node in layers]
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], f"… {len(lines)} layers"]
        if gate := self._gate(span):
            lines.append(gate)
        changes = any(shape[1:] != inside[-1].shape[1:] for _, shape in self._reads(inside))
        self._add(
            Part(
                span.name,
                "down" if changes or shortcut not in ("identity", "") else "block",
                (span.label, *lines),
                tuple(node.name for other in (*spans, *others) for node in self.nodes[other.start : other.stop]),
                (),
                self.nodes[spans[-1].stop - 1].shape,
                len(spans),
                shortcut,
            )
        )

    def _gate(self, span: Span) -> str:
        """The block within a block that weights its channels; empty if there is none."""
        for scope in self.network.scopes:
            start, stop = self.spans.extent(scope.name, scope.output)
            within = span.start <= start and stop <= span.stop and (start, stop) != (span.start, span.stop)
            if scope.kind == "block" and within and any(
                node.operation.category is Category.POOLING and set(node.shape[1:]) == {1}
                for node in self.nodes[start:stop]
            ):  # fmt: skip
                return (scope.block or "gate").replace("_", " ")
        return ""

    def _shortcut(self, span: Span) -> tuple[str, frozenset[str]]:
        """How a block's input reaches its last addition, and the nodes that are only on that way."""
        inside = self.nodes[span.start : span.stop]
        join = next((node for node in reversed(inside) if getattr(node.operation, "op", "") == "add"), None)
        if join is None or len(join.inputs) != 2:
            return "", frozenset()
        one, other = (self._before(name, span) for name in join.inputs)
        shorter, longer = sorted((one, other), key=len)
        own = [node for node in inside if node.name in shorter - longer]
        layers = [label(node) for node in own if node.operation.category not in SMALL]
        return " → ".join(layers) or "identity", frozenset(node.name for node in own)

    def _before(self, name: str, span: Span) -> set[str]:
        """The nodes of a block that a value depends on, with its own."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if name not in found and self.index.get(name, -1) >= span.start:
                found.add(name)
                waiting += self.nodes[self.index[name]].inputs
        return found

    def _layers(self, start: int, stop: int, repeated: Sequence[Span] = ()) -> None:
        """Add the parts of single layers; ``repeated`` are equal blocks that they stand for too."""
        group: list[int] = []
        for place in range(start, stop):
            if group and not self._goes_on(group, place):
                self._layer(group, start, repeated)
                group = []
            group.append(place)
        if group:
            self._layer(group, start, repeated)

    def _goes_on(self, group: Sequence[int], place: int) -> bool:
        """Whether a node is written in the box of those before it."""
        node, last = self.nodes[place], self.nodes[group[-1]]
        if self.every or node.inputs != (last.name,) or self.users[last.name] > 1:
            return False
        main = [self.nodes[other] for other in group if self.nodes[other].operation.category not in SMALL]
        if node.operation.category not in SMALL:
            # What only changes the shape is written with the layer before it.
            if main:
                return node.operation.category is Category.RESHAPING and len(group) < 3
            return node.operation.category in (Category.CONVOLUTION, Category.LINEAR)
        preactivated = bool(main) and self.nodes[group[0]] is not main[0]
        return not (preactivated and node.operation.category is Category.NORMALIZATION)

    def _layer(self, group: Sequence[int], start: int, repeated: Sequence[Span]) -> None:
        nodes = [self.nodes[place] for place in group]
        main = next((node for node in nodes if node.operation.category not in SMALL), nodes[0])
        rest = " · ".join(label(node) for node in nodes if node is not main)
        others = (self.nodes[span.start + place - start].name for span in repeated for place in group)
        self._add(
            Part(
                nodes[0].name,
                kind_of(main),
                (label(main), *([rest] if rest else [])),
                (*(node.name for node in nodes), *others),
                (),
                nodes[-1].shape,
            )
        )

    def _add(self, part: Part) -> None:
        inside = [self.nodes[self.index[name]] for name in part.nodes]
        inputs: dict[str, Shape] = {}
        for name, shape in self._reads(inside):
            inputs.setdefault(self.place.get(name, INPUT if name == INPUT else ""), shape)
        own = tuple((name, shape) for name, shape in inputs.items() if name)
        cost = Cost.total(self.costs[self.index[name]] for name in part.nodes)
        self.place |= dict.fromkeys(part.nodes, part.name)
        self.parts.append(replace(part, inputs=own, cost=cost))

    def _reads(self, nodes: Iterable[Node]) -> list[tuple[str, Shape]]:
        """What nodes read that is not their own."""
        found = list(nodes)
        own = {node.name for node in found}
        reads = defaultdict[str, Shape](tuple)
        for node in found:
            reads |= {name: self.shapes[name] for name in node.inputs if name not in own}
        return list(reads.items())


def _any_factor(node: Node) -> dict[str, float]:
    """A factor in place of a constant one, which each block of a network without normalizations has of its own."""
    has_one = "factor" in type(node.operation).model_fields and getattr(node.operation, "factor", 1) != 1
    return {"factor": 0.0} if has_one else {}
