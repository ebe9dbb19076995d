"""From a graph to nested native modules whose ``forward`` is Python, written once per distinct block.

A chain is ``nn.Sequential``; any other group is a small class of its own whose ``forward`` is generated as text, as
``dataclass`` generates ``__init__``. ``torch.fx.GraphModule`` would do the same, but it takes longer to make, one class
an instance, loses its name on ``deepcopy`` and prints its code.
"""

from __future__ import annotations

import copyreg
import gc
import hashlib
import linecache
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import nn

from resnet_spec.errors import GraphError, Problem
from resnet_spec.graph import Graph, Node, scope_class_name
from resnet_spec_torch import forwards
from resnet_spec_torch.emitting import LAYERS, Options
from resnet_spec_torch.grouping import TOP, Group, Path, group, split
from resnet_spec_torch.source import forward_text

TOP_CLASS = "ResNet"


@dataclass
class _Branch:
    """A dotted name in the tree of modules: a layer, a group of them, or both."""

    path: Path
    node: Node | None = None
    children: dict[str, _Branch] = field(default_factory=dict[str, "_Branch"])


def compile_graph(graph: Graph, options: Options) -> nn.Module:
    """A native model for a graph, its parameters empty, on the meta device; names nest at the dots.

    Raises GraphError where a name cannot be a module's, since every ``nn.Module`` has an attribute of that name.
    """
    layers = [node for node in graph.layers if node.operation.op in LAYERS]
    groups = group(graph, [node.name for node in layers])
    blocks = {split(scope.name): scope.block for scope in graph.scopes if scope.kind == "block"}
    with _collection_paused():
        return _Compiler(graph, options, groups, blocks).module(_tree(layers)).eval()


@contextmanager
def _collection_paused() -> Generator[None]:
    """No garbage collection for a while: a module is a dozen containers, and passing over all that torch has imported
    each time there are so many new ones takes twice as long as the building."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tree(layers: list[Node]) -> _Branch:
    """The layers by the parts of their names, in order of declaration."""
    top = _Branch(TOP)
    for node in layers:
        place = top
        for part in split(node.name):
            place = place.children.setdefault(part, _Branch((*place.path, part)))
        place.node = node
    return top


class _Compiler:
    def __init__(
        self, graph: Graph, options: Options, groups: Mapping[Path, Group], blocks: Mapping[Path, str | None]
    ) -> None:
        self.graph = graph
        self.options = options
        self.groups = groups
        self.blocks = blocks

    def module(self, place: _Branch) -> nn.Module:
        """The module at a place, with what hangs below it."""
        module = self.layer(place.node) if place.node else self.container(place)
        for name, child in place.children.items():
            if hasattr(module, name):
                message = f"{name!r} cannot name a layer in PyTorch: its modules have such an attribute"
                raise GraphError(Problem(message, ".".join(child.path)))
            module.add_module(name, self.module(child))
        return module

    def layer(self, node: Node) -> nn.Module:
        return LAYERS[node.operation.op](node.operation, self.graph.input_shapes(node)[0], self.options)

    def container(self, place: _Branch) -> nn.Module:
        """An empty module for a group, or for a prefix whose layers are called from outside."""
        contents = self.groups.get(place.path)
        block = self.blocks.get(place.path)
        name = self.class_name(place.path)
        if contents is None:
            numbered = list(place.children) == [str(index) for index in range(len(place.children))]
            return nn.ModuleList() if numbered and block is None else _class(name, nn.Module)()
        if place.path and contents.is_chain(place.children):
            return nn.Sequential() if block is None else _class(name, nn.Sequential)()
        return _class(name, nn.Module, forward_text(contents))()

    def class_name(self, path: Path) -> str:
        """The block's name, or else the last word of the group's own."""
        words = [part for part in path if not part.isdecimal()]
        return scope_class_name(self.blocks.get(path) or (words[-1] if words else "Block")) if path else TOP_CLASS


# ---------------------------------------------------------------------------------------------------------------
# Classes


@cache
def _class(name: str, base: type[nn.Module], source: str | None = None) -> type[nn.Module]:
    """A class of modules; equal texts give one class, so that the blocks of a network share a handful."""
    namespace: dict[str, Any] = {"__module__": __name__, "__doc__": f"A {name}, generated from a graph."}
    if source is not None:
        namespace["forward"] = _function(name, source)
    kind = type(name, (base,), namespace)
    # No module holds the class by its name, so that an instance is copied and pickled with the text it came from.
    copyreg.pickle(kind, lambda module: (_blank, (name, base, source), module.__getstate__()))  # type: ignore[arg-type]
    return kind


def _blank(name: str, base: type[nn.Module], source: str | None) -> nn.Module:
    """An instance for ``copy`` and ``pickle`` to fill."""
    kind = _class(name, base, source)
    return kind.__new__(kind)


def _function(name: str, source: str) -> Callable[..., Any]:
    """The function a text defines, with the text where tracebacks and ``inspect`` look for it."""
    file = f"<{name} {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {}
    # The text is made of this package's own words and of names that the graph has checked: letters, digits, - and _.
    exec(compile(source, file, "exec"), forwards.__dict__, namespace)  # noqa: S102
    function = namespace["forward"]
    function.__qualname__ = f"{name}.forward"
    return function
