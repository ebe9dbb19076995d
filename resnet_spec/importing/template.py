"""A block as the language writes it: a main chain, a shortcut with the addition, and a chain after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.importing.regions import Region


@dataclass(frozen=True)
class Template:
    """One block's nodes by section; ``origin`` is the node where the shortcut starts, empty for the block's input.

    Without an addition that fits the language's form, everything is in ``main``.
    """

    region: Region
    source: str
    main: tuple[Node, ...]
    join: Node | None = None
    shortcut: tuple[Node, ...] = ()
    origin: str = ""
    after: tuple[Node, ...] = ()

    def local(self, name: str) -> str:
        """A name within the block."""
        return INPUT if name == self.source else name.removeprefix(self.region.prefix)

    @property
    def origin_name(self) -> str:
        """Where the shortcut starts, within the block; empty for the block's input."""
        return self.local(self.origin) if self.origin else ""

    @property
    def shortcut_names(self) -> list[str]:
        """The layers of the shortcut, within the block."""
        return [self.local(node.name) for node in self.shortcut]

    @classmethod
    def of(cls, graph: Graph, region: Region) -> Template:
        """Find a block's shortcut: the last addition of a longer branch and a chain without branches."""
        own = {node.name: node for node in region.nodes}
        source = next(name for name in region.nodes[0].inputs if name not in own)
        additions = [node for node in region.nodes if node.operation.op == "add" and len(node.inputs) == 2]
        for join in reversed(additions):
            if found := _split(region, own, source, join):
                return found
        return cls(region, source, region.nodes)


def _split(region: Region, own: Mapping[str, Node], source: str, join: Node) -> Template | None:
    branches = [ancestors(name, own) for name in join.inputs]
    first, second = branches[0] - branches[1], branches[1] - branches[0]
    is_first = len(first) >= len(second)
    start = join.inputs[1] if is_first else join.inputs[0]
    main_names, chain = (branches[0], second) if is_first else (branches[1], first)
    end = join.inputs[0] if is_first else join.inputs[1]
    shortcut = [node for node in region.nodes if node.name in chain]
    main = [node for node in region.nodes if node.name in main_names]
    after = [node for node in region.nodes if node.name not in main_names | chain | {join.name}]
    if not main or main[-1].name != end or not _is_chain(shortcut, start, own):
        return None
    origin = shortcut[0].inputs[0] if shortcut else start
    if any(own.get(name) is not None and name not in {n.name for n in after} | {join.name} | main_names
           for node in after for name in node.inputs):  # fmt: skip
        return None
    if after and after[0].inputs != (join.name,) and join.name not in after[0].inputs:
        return None
    return Template(
        region, source, tuple(main), join, tuple(shortcut), "" if origin == source else origin, tuple(after)
    )


def ancestors(name: str, own: Mapping[str, Node]) -> set[str]:
    """A node and those that it depends on, as far as they are among ``own``."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in own and name not in found:
            found.add(name)
            waiting += own[name].inputs
    return found


def _is_chain(nodes: Sequence[Node], end: str, own: Mapping[str, Node]) -> bool:
    """Whether each node reads only the one before it, and the last is ``end``."""
    if not nodes:
        return True
    each_reads_one = all(len(node.inputs) == 1 and node.calls is None for node in nodes)
    linked = all(node.inputs[0] == before.name for before, node in pairwise(nodes))
    return each_reads_one and linked and nodes[-1].name == end
