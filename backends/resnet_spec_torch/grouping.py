"""Groups a flat graph into nested calls: which dotted prefixes are modules with a ``forward``, and what each calls.

It works on names only, so that it can be tested without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from resnet_spec.graph import Graph, Node

Path: TypeAlias = tuple[str, ...]
"""The parts of a dotted name; the empty path is the network itself."""

TOP: Path = ()


@dataclass(frozen=True)
class Call:
    """One step of a ``forward``: what the module at ``path``, seen from the caller, makes of the inputs.

    ``node`` is None if that module is a nested group; the path is empty if the node has no module. ``parameter`` is the
    path to a parameter that the node owns and that is not a module's own.
    """

    value: str
    inputs: tuple[str, ...]
    path: Path
    node: Node | None = None
    parameter: Path = ()


@dataclass
class Group:
    """A module with a ``forward``: its calls in order, from the value it is given to those it returns.

    With ``names``, one for each output, it returns a dict.
    """

    input: str
    outputs: tuple[str, ...]
    names: tuple[str, ...] = ()
    calls: list[Call] = field(default_factory=list[Call])

    def is_chain(self, children: Iterable[str]) -> bool:
        """Whether each child is called once, in order, on what the one before it gave, as ``nn.Sequential`` does."""
        if [call.path for call in self.calls] != [(child,) for child in children]:
            return False
        values = [self.input, *(call.value for call in self.calls)]
        chained = all(call.inputs == (value,) for call, value in zip(self.calls, values, strict=False))
        return chained and self.outputs == (values[-1],)


def split(name: str) -> Path:
    """A dotted name's parts."""
    return tuple(name.split("."))


def group(graph: Graph, layers: Iterable[str], parameters: Iterable[str] = ()) -> dict[Path, Group]:
    """The groups of a graph by path, the network itself first.

    ``layers`` names the nodes that own a module, and ``parameters`` those that own a parameter of the module around
    them. A prefix is a group if it takes one value, returns one value, and no layer in it is called from outside. Calls
    in any other prefix belong to the nearest group around it.
    """
    paths = {node.name: split(node.name) for node in graph.nodes}
    modules, alone = ({paths[name] for name in names} for names in (layers, parameters))
    owners = modules | alone
    nodes = list(_needed(graph))
    taken, given, crossed = _boundaries(graph, nodes, paths)
    groups = {TOP: Group("input", graph.outputs, graph.output_names)}
    for prefix in {prefix for owner in owners for prefix in _prefixes(owner)}:
        passes_one = len(taken.get(prefix, ())) == 1 == len(given.get(prefix, ()))
        if passes_one and prefix not in crossed and prefix not in owners:
            groups[prefix] = Group(next(iter(taken[prefix])), tuple(given[prefix]))
    for node in nodes:
        _place(node, paths, modules, alone, groups)
    return groups


def _place(
    node: Node, paths: dict[str, Path], modules: set[Path], parameters: set[Path], groups: dict[Path, Group]
) -> None:
    """Enter a node's call into the group around it, and that group's call, once its output is there, into the next."""
    around = [TOP, *(prefix for prefix in _prefixes(paths[node.name]) if prefix in groups)]
    home = around.pop()
    owner = paths[node.layer]
    path, parameter = (owner[len(home) :] if owner in owners else () for owners in (modules, parameters))
    groups[home].calls.append(Call(node.name, node.inputs, path, node, parameter))
    while around and groups[home].outputs == (node.name,):
        caller = around.pop()
        groups[caller].calls.append(Call(node.name, (groups[home].input,), home[len(caller) :]))
        home = caller


def _needed(graph: Graph) -> Iterator[Node]:
    """The nodes that an output depends on, in order of execution."""
    needed = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return (node for node in graph.nodes if node.name in needed)


def _boundaries(
    graph: Graph, nodes: list[Node], paths: dict[str, Path]
) -> tuple[dict[Path, dict[str, None]], dict[Path, dict[str, None]], set[Path]]:
    """For each prefix the values that come in and that go out, and the prefixes that a layer is called across."""
    taken: dict[Path, dict[str, None]] = {}
    given: dict[Path, dict[str, None]] = {}
    crossed: set[Path] = set()
    for node in nodes:
        path = paths[node.name]
        for name in node.inputs:
            source = paths.get(name, TOP)
            for prefix in _outside(path, source):
                taken.setdefault(prefix, {})[name] = None
            for prefix in _outside(source, path):
                given.setdefault(prefix, {})[name] = None
        if node.calls is not None:
            crossed.update(_outside(path, paths[node.calls]), _outside(paths[node.calls], path))
    for name in graph.outputs:
        for prefix in _prefixes(paths[name]):
            given.setdefault(prefix, {})[name] = None
    return taken, given, crossed


def _prefixes(path: Path) -> Iterator[Path]:
    """What is around a name, from the outermost in."""
    return (path[:length] for length in range(1, len(path)))


def _outside(path: Path, other: Path) -> Iterator[Path]:
    """What is around ``path`` but not around ``other``."""
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(path[:-1], other[:-1], strict=False)))
    return (path[:length] for length in range(shared + 1, len(path)))
