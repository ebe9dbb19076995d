"""Finds what a drawing is made of: stages, and blocks, which the spec names or which branches and joins tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise

from resnet_spec.drawing.network import Network
from resnet_spec.operations import Category

MANY = 3
"""Fewer blocks in another one are parts of it, such as the branches of a gate."""

FARTHEST = 300
"""As many nodes are a block at most, where nothing names blocks."""

_SEPARATORS = "._-"

SMALL = (Category.NORMALIZATION, Category.ACTIVATION, Category.REGULARIZATION)
"""What is written in the box of the layer before or after it."""


@dataclass(frozen=True)
class Span:
    """Consecutive nodes that belong together: a stage or a block."""

    name: str
    start: int
    stop: int
    label: str = ""


class Spans:
    """The blocks and stages of a network, in order."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes = network.nodes
        self.index = {node.name: place for place, node in enumerate(self.nodes)}
        self.users = Counter(name for node in self.nodes for name in dict.fromkeys(node.inputs))
        self.users.update(network.outputs)
        self.blocks = list(self._find_blocks())
        self.stages = list(self._find_stages())

    def _find_blocks(self) -> Iterator[Span]:
        """The blocks: those that the spec names and that have no stage in them, or else those that join values."""
        stages = [self.index[scope.output] for scope in self.network.scopes if scope.kind == "stage"]
        found: list[Span] = []
        for scope in self.network.scopes:
            start, stop = self.extent(scope.name, scope.output)
            if scope.kind == "block" and stop - start > 1 and not any(start <= place < stop - 1 for place in stages):
                found.append(Span(scope.name, start, stop, (scope.block or "block").replace("_", " ")))
        if not found:
            yield from self._joining()
            return
        end = 0
        for span in sorted(found, key=lambda span: (span.start, -span.stop)):
            if span.start >= end:
                yield span
                end = span.stop

    def extent(self, name: str, output: str) -> tuple[int, int]:
        """The first node of a scope, by name, and the one after its last."""
        stop = self.index[output] + 1
        return min(self._first.get(name, stop), stop - 1), stop

    @cached_property
    def _first(self) -> dict[str, int]:
        """The place of the first node whose name begins with a text and a separator."""
        first: dict[str, int] = {}
        for place, node in enumerate(self.nodes):
            for end, letter in enumerate(node.name):
                if letter in _SEPARATORS:
                    first.setdefault(node.name[:end], place)
        return first

    def _joining(self) -> Iterator[Span]:
        """The blocks of a model that names none: rows that read one value, join values, and are read at the end."""
        readers: dict[str, int] = {name: place for place, node in enumerate(self.nodes) for name in node.inputs}
        readers |= dict.fromkeys(self.network.outputs, len(self.nodes))
        found: list[tuple[int, int]] = []
        for place, node in enumerate(self.nodes):
            start = self._region_before(place, readers) if len(set(node.inputs)) > 1 else place
            within = [span for span in found if span[0] >= start]
            # What contains several blocks is a part of the network, as the levels of a U-Net are.
            if start < place and len(within) < MANY:
                found[len(found) - len(within) :] = [(start, place + 1)]
        end = 0
        for number, (start, stop) in enumerate(found, 1):
            begin, last = start, self.nodes[stop - 1]
            if stop < len(self.nodes) and self._is_small(stop, Category.ACTIVATION) and self.users[last.name] == 1:
                stop += self.nodes[stop].inputs == (last.name,)
            # A normalization and an activation before are the block's own unless they follow a convolution.
            while begin > end and self._is_small(begin - 1, *SMALL) and readers[self.nodes[begin - 1].name] < stop:
                begin -= 1
            if begin > end and self.nodes[begin - 1].operation.category is Category.CONVOLUTION:
                begin = start
            yield Span(self._free_name(number), begin, stop, "block")
            end = stop

    def _free_name(self, number: int) -> str:
        """A block's name that no node has."""
        name = f"block{number}"
        while name in self.index:
            name += "_"
        return name

    def _is_small(self, place: int, *categories: Category) -> bool:
        return self.nodes[place].operation.category in categories

    def _region_before(self, place: int, readers: Mapping[str, int]) -> int:
        """The first node of the shortest row up to a node that reads one value and whose other values only it reads."""
        read: set[str] = set()
        for start in range(place, max(place - FARTHEST, -1), -1):
            node = self.nodes[start]
            if start < place and readers[node.name] > place:
                return place
            read.discard(node.name)
            read.update(node.inputs)
            if start < place and len(read) == 1:
                return start
        return place

    def _find_stages(self) -> Iterator[Span]:
        end = 0
        scopes = [scope for scope in self.network.scopes if scope.kind == "stage"]
        for scope in sorted(scopes, key=lambda scope: self.index[scope.output]):
            stop = self.index[scope.output] + 1
            inside = [span.start for span in self.blocks if end <= span.start and span.stop <= stop]
            start = max(end, self._first.get(scope.name, min(inside, default=stop)))
            if start < stop and not any(span.start < start < span.stop for span in self.blocks):
                yield Span(scope.name, start, stop)
                end = stop
        if scopes:
            return
        # Blocks of a model that names no stages.
        for number, (_, row) in enumerate(
            groupby(self.blocks, key=lambda span: self.nodes[span.stop - 1].shape[1:]), 1
        ):
            spans = list(row)
            if len(spans) > 1 and all(a.stop == b.start for a, b in pairwise(spans)):
                yield Span(f"stage {number}", spans[0].start, spans[-1].stop)
