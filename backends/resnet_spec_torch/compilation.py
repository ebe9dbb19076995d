"""Compiles a graph to nested native modules, with a ``forward`` in Python generated once per distinct block.

A chain is ``nn.Sequential``; any other group is a small class whose ``forward`` is generated as source, as
``dataclass`` generates ``__init__``. ``torch.fx.GraphModule`` does the same, but it is slower to build, needs a class
per instance, loses its name on ``deepcopy`` and prints its code.
"""

from __future__ import annotations

import copyreg
import gc
import hashlib
import linecache
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

from resnet_spec.errors import BackendError, GraphError, Problem
from resnet_spec.graph import Graph, Node, scope_class_name
from resnet_spec_torch import forward_namespace
from resnet_spec_torch.emitting import LAYERS, PARAMETERS, Options
from resnet_spec_torch.grouping import TOP, Group, Path, group, split
from resnet_spec_torch.layers import OwnBatchNorm
from resnet_spec_torch.quantization import GRIDS, with_quantized_kernel
from resnet_spec_torch.renaming import rename_parameters
from resnet_spec_torch.source import forward_text

TOP_CLASS = "ResNet"


@dataclass
class _ModuleTree:
    """A dotted name in the tree of modules: a layer, a group of layers, or both.

    ``parameters`` are the nodes that own a parameter of the module, by its name there.
    """

    path: Path
    node: Node | None = None
    parameters: dict[str, Node] = field(default_factory=dict[str, Node])
    children: dict[str, _ModuleTree] = field(default_factory=dict[str, "_ModuleTree"])


def compile_graph(graph: Graph, options: Options) -> nn.Module:
    """Return a native model for a graph, its parameters empty on the meta device; names nest at the dots.

    Raises GraphError if a name cannot be a module's, since every ``nn.Module`` has an attribute of that name.
    """
    owners = [[node.name for node in graph.layers if node.operation.op in table] for table in (LAYERS, PARAMETERS)]
    groups = group(graph, *owners)
    blocks = {split(scope.name): scope.block for scope in graph.scopes if scope.kind == "block"}
    with _collection_paused():
        compiler = _Compiler(graph, options, groups, blocks)
        model = compiler.module(_tree(graph.layers)).eval()
    if compiler.grids:
        GRIDS[model] = compiler.grids
    return model


@contextmanager
def _collection_paused() -> Generator[None]:
    """Pause garbage collection: a module is a dozen containers, and a pass over everything that torch has imported each
    time enough new ones exist takes twice as long as building the model."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tree(nodes: Iterable[Node]) -> _ModuleTree:
    """Return the layers and parameters among nodes by the parts of their names, in order of declaration."""
    top = _ModuleTree(TOP)
    for node in nodes:
        tree = top
        *path, name = split(node.name)
        if node.operation.op in LAYERS:
            path.append(name)
        elif node.operation.op not in PARAMETERS:
            continue
        for part in path:
            tree = tree.children.setdefault(part, _ModuleTree((*tree.path, part)))
        if node.operation.op in LAYERS:
            tree.node = node
        else:
            tree.parameters[name] = node
    return top


class _Compiler:
    def __init__(
        self, graph: Graph, options: Options, groups: Mapping[Path, Group], blocks: Mapping[Path, str | None]
    ) -> None:
        self.graph = graph
        self.options = options
        self.groups = groups
        self.blocks = blocks
        self.grids = options.quantization.values if options.quantization else {}
        self.kernels = options.quantization.kernels if options.quantization else {}

    def module(self, tree: _ModuleTree) -> nn.Module:
        """Return the module for a name, with its children."""
        module = self.layer(tree.node) if tree.node else self.container(tree)
        for name, node in tree.parameters.items():
            _check_name(module, name, "parameter", tree.path)
            (slot,) = node.operation.parameters(*self.graph.input_shapes(node))
            empty = torch.empty(slot.shape, dtype=self.options.dtype, device="meta")
            module.register_parameter(name, nn.Parameter(empty))
        for name, child in tree.children.items():
            _check_name(module, name, "layer", tree.path)
            module.add_module(name, self.module(child))
        return module

    def layer(self, node: Node) -> nn.Module:
        layer = LAYERS[node.operation.op](node.operation, self.graph.input_shapes(node)[0], self.options)
        if isinstance(layer, OwnBatchNorm):
            layer.layer_name = node.layer
        if (scales := self.kernels.get(node.parameter_name("weight"))) is not None:
            layer = with_quantized_kernel(layer, scales)
        if node.parameter_names:
            for name in node.parameter_names.values():
                if name not in node.parameter_names:
                    _check_name(layer, name, "parameter", split(node.name))
            rename_parameters(layer, node.parameter_names)
        return layer

    def container(self, tree: _ModuleTree) -> nn.Module:
        """Return an empty module for a group, or for a prefix whose layers are called from outside."""
        contents = self.groups.get(tree.path)
        block = self.blocks.get(tree.path)
        name = self.class_name(tree.path)
        if contents is None:
            numbered = list(tree.children) == [str(index) for index in range(len(tree.children))]
            return nn.ModuleList() if numbered and block is None else _class(name, nn.Module)()
        rounds = any(call.node is not None and call.value in self.grids for call in contents.calls)
        if tree.path and contents.is_chain(tree.children) and not rounds:
            return nn.Sequential() if block is None else _class(name, nn.Sequential)()
        return _class(
            name, nn.Module, forward_text(contents, self.grids, None if tree.path else self.options.autocast)
        )()

    def class_name(self, path: Path) -> str:
        """Return the block's name, or the last word of the group's own."""
        words = [part for part in path if not part.isdecimal()]
        return scope_class_name(self.blocks.get(path) or (words[-1] if words else "Block")) if path else TOP_CLASS


def _check_name(module: nn.Module, name: str, kind: str, path: Path) -> None:
    if hasattr(module, name):
        message = f"{name!r} cannot be the name of a PyTorch {kind} (modules have such an attribute); rename it"
        raise GraphError(Problem(message, ".".join((*path, name))))


# ---------------------------------------------------------------------------------------------------------------
# Classes


@cache
def _class(name: str, base: type[nn.Module], source: str | None = None) -> type[nn.Module]:
    """Return a class of modules; equal source gives one class, so that the blocks of a network share a few classes."""
    namespace: dict[str, Any] = {"__module__": __name__, "__doc__": f"A {name}, generated from a graph."}
    if source is not None:
        namespace["forward"] = _function(name, source)
        namespace["__prepare_scriptable__"] = _refuse_scripting
    kind = type(name, (base,), namespace)
    # No module has the class as an attribute, so that an instance is copied and pickled with its source.
    copyreg.pickle(kind, lambda module: (_blank, (name, base, source), module.__getstate__()))  # type: ignore[arg-type]
    return kind


def _refuse_scripting(module: nn.Module) -> None:
    """Called by ``torch.jit.script``, whose language has neither our layers' symbolic sizes nor checks for hooks."""
    raise BackendError(
        f"torch.jit.script cannot compile {type(module).__name__}, whose forward is generated; use torch.export.export,"
        " torch.compile, or torch.jit.trace(model, images)"
    )


def _blank(name: str, base: type[nn.Module], source: str | None) -> nn.Module:
    """Return an instance for ``copy`` and ``pickle`` to fill."""
    kind = _class(name, base, source)
    return kind.__new__(kind)


def _function(name: str, source: str) -> Callable[..., Any]:
    """Return the function that source defines, with the source where tracebacks and ``inspect`` look for it."""
    file = f"<{name} {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {}
    # The source consists of this package's own text and of names that the graph has checked: letters, digits, - and _.
    exec(compile(source, file, "exec"), forward_namespace.__dict__, namespace)  # noqa: S102
    function = namespace["forward"]
    function.__qualname__ = f"{name}.forward"
    return function
