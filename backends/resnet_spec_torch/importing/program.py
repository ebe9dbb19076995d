"""Walks the functions that ``torch.export`` records for a model in inference mode."""

from __future__ import annotations

import linecache
import logging
import re
import traceback
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from resnet_spec.backend import GraphBuilder, SourceModel, Value, input_of
from resnet_spec.errors import ModelError, Problem, listed
from resnet_spec_torch.importing.archive import load_program
from resnet_spec_torch.importing.call import CALLS, Array, Call
from resnet_spec_torch.importing.inner_values import inner_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.export import ExportedProgram

    from resnet_spec.graph import Graph
    from resnet_spec.operations import Shape

BATCH = 2
"""Images of the recorded call; torch treats a size of 1 as a constant."""

DEFAULT_SIZE = 224


def import_model(model: nn.Module | str | Path, shape: Shape | None = None) -> SourceModel:
    """Read a module, or a program that ``torch.export`` wrote.

    Args:
        model: A module, which is read in inference mode and left as it is; or the path of a ``.pt2`` file.
        shape: The input's shape without the batch; by default that of the program, or images of 224×224 with as many
            channels as the module's first convolution reads.

    Raises:
        ModelError: The module cannot be exported, or has functions that the language cannot express.
    """
    if not isinstance(model, nn.Module):
        program = load_program(Path(model))
        stated = _stated_shape(program)
        batch = stated[0] or BATCH
        with _quiet():
            module = torch.export.unflatten(program)
        return _read(_exported(module, batch, shape or _sizes(stated[1:])), module, shape or _sizes(stated[1:]), batch)
    shape = shape or _guessed_shape(model)
    input_of(shape)
    with _inference(model):
        program = _exported(model, BATCH, shape)
    return _read(program, model, shape, BATCH)


def _stated_shape(program: ExportedProgram) -> list[int | None]:
    """The shape of the only input, None for a size that is not fixed."""
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    value: Any = inputs[0].meta.get("val") if len(inputs) == 1 else None
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"the program has {len(inputs)} inputs; one is supported")
    # A symbol is no int, although its annotation says so.
    return [size if type(size) is int else None for size in value.shape]


def _sizes(stated: list[int | None]) -> Shape:
    return tuple(DEFAULT_SIZE if size is None else size for size in stated)


def _guessed_shape(model: nn.Module) -> Shape:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return (module.in_channels, DEFAULT_SIZE, DEFAULT_SIZE)
        if isinstance(module, nn.Linear):
            return (module.in_features,)
    raise ModelError("the input's shape is unknown: state it, such as 3x224x224")


@contextmanager
def _inference(model: nn.Module) -> Generator[None]:
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training


def _like(model: nn.Module) -> torch.Tensor:
    return next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))


def _exported(model: nn.Module, batch: int, shape: Shape) -> ExportedProgram:
    like = _like(model)
    if like.is_meta:
        raise ModelError("the model is on the meta device and has no weights")
    images = torch.zeros(batch, *shape, device=like.device, dtype=like.dtype)
    with _quiet():
        try:
            return torch.export.export(model, (images,))
        # Whatever the user's own code raises.
        except Exception as error:
            module, line, code = _raised_in(error, model)
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            reason = lines[0].strip() if lines else code
            message = (
                f"torch.export cannot record {type(model).__name__} for an input of {[batch, *shape]} "
                f"({type(error).__name__}{reason and f': {reason}'}); "
                "state the input's shape if it is another, channels first and without the batch"
            )
            raise ModelError([Problem(message, f"{module or 'the model itself'}{line}")]) from error


def _raised_in(error: Exception, model: nn.Module) -> tuple[str, str, str]:
    """The innermost module that raised an error, and the innermost line of the user's own code: its place and text."""
    known = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    paths = {id(module): path for path, module in known}
    # The first frame is that of this file.
    frames = list(traceback.walk_tb(error.__traceback__))[1:]
    modules = (paths.get(id(frame.f_locals.get("self"))) for frame, _ in reversed(frames))
    module = next((path for path in modules if path), "")
    line = _own_line((frame.f_code.co_filename, number) for frame, number in frames)
    return module, _place(line), linecache.getline(*line).strip() if line else ""


@contextmanager
def _quiet() -> Generator[None]:
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _read(program: ExportedProgram, model: nn.Module, shape: Shape, batch: int) -> SourceModel:
    # What torch.export has unflattened knows the classes of the original's modules.
    modules = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    types: dict[str, str] = {path: own for path, part in modules if (own := getattr(part, "_ty", None))}
    name = types.get("", type(model).__name__).rpartition(".")[2]
    reader = _Reader(program, name, shape, batch, types)
    graph = reader.graph()
    order = {name: index for index, name in enumerate(model.state_dict())}
    found = sorted(reader.arrays.items(), key=lambda item: order[item[1].name])
    kept = {parameter.name for parameter in graph.parameters()}

    def run(images: NDArray[np.float32]) -> list[NDArray[np.floating[Any]]]:
        like = _like(model)
        tensor = torch.as_tensor(images).to(like.device, like.dtype)
        # A program may have a fixed batch.
        parts: Sequence[torch.Tensor] = torch.split(tensor, batch) if types else [tensor]
        with _quiet(), _inference(model), torch.no_grad():
            results: list[list[Any]] = [pytree.tree_leaves(model(part)) for part in parts]
        tensors = [leaves for leaves in zip(*results, strict=True) if isinstance(leaves[0], torch.Tensor)]
        return [torch.cat(leaves).float().cpu().numpy() for leaves in tensors]

    return SourceModel(
        graph=graph,
        arrays={name: _numpy(array.tensor) for name, array in found if name in kept},
        run=run,
        classes=reader.classes,
        remarks=tuple(f"{kind} ({listed(names)})" for kind, names in reader.remarks.items()),
        values=inner_values(program, batch, _nodes(reader, graph)),
    )


def _nodes(reader: _Reader, graph: Graph) -> dict[str, fx.Node]:
    """The function that computes each node, by the node's name: the last, since one node may be several."""
    found: dict[str, fx.Node] = {}
    for function, made in reader.made.items():
        if isinstance(made, Value) and made.index >= 0:
            name = reader.builder.names[made.index]
            node = graph.by_name.get(name)
            if node is not None and node.shape == _shape(function, reader.batch):
                found[name] = function
    return found


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()).numpy().copy()


class _Reader:
    """Reads a program's functions into a graph."""

    def __init__(self, program: ExportedProgram, name: str, shape: Shape, batch: int, types: Mapping[str, str]) -> None:
        self.program = program
        self.batch = batch
        self.types = types
        self.builder = GraphBuilder(name, input_of(shape))
        self.arrays: dict[str, Array] = {}
        self.classes: dict[str, str] = {}
        self.remarks: dict[str, list[str]] = {}
        self._values: dict[fx.Node, Any] = {}
        self.made: dict[fx.Node, Any] = {}
        """What each function has made; ``_values`` has what is in its place after a function that overwrites it."""

    def graph(self) -> Any:
        """Read every function; raises ModelError with every one that the language cannot express."""
        outputs: Any = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._given(node)
            elif node.op == "call_function":
                self._values[node] = self.made[node] = self._called(node)
            elif node.op == "output":
                outputs = self._translated(node.args[0])
            else:
                self.builder.problem("is a part of a program that is not supported", str(node.target))
        return self.builder.finish(outputs)

    def _given(self, node: fx.Node) -> Any:
        signature = self.program.graph_signature
        for names, trainable in ((signature.inputs_to_parameters, True), (signature.inputs_to_buffers, False)):
            if node.name in names:
                name = names[node.name]
                held = self.program.state_dict if name in self.program.state_dict else self.program.constants
                return Array(name, cast("torch.Tensor", held[name]), trainable)
        constants = signature.inputs_to_lifted_tensor_constants
        if node.name in constants:
            name = constants[node.name]
            return Array(name, cast("torch.Tensor", self.program.constants[name]), trainable=False)
        return self.builder.input

    def _translated(self, argument: Any) -> Any:
        def value(part: Any) -> Any:
            return self._values[part] if isinstance(part, fx.Node) else part

        return map_aggregate(argument, value)

    def _is_unknown(self, node: fx.Node) -> bool:
        """Whether a function reads what could not be read, which is reported already."""
        return any(self._values[read] is None for read in node.all_input_nodes)

    def _called(self, node: fx.Node) -> Any:
        target: Any = node.target
        if self._is_unknown(node):
            return None
        if getattr(target, "__name__", "") == "getitem":
            several, index = self._translated(node.args)
            return several[index]
        function = _name(target)
        where = f"{function} in {self._module(node)[0] or 'the model itself'}{_line(node)}"
        if not isinstance(target, OpOverload):
            return self.builder.problem("control flow, or a function of Python, cannot be expressed", where)
        plain = function.removesuffix("_") if function.count(".") == 1 else function.replace("_.", ".")
        arguments = _by_name(target, self._translated(node.args), self._translated(node.kwargs))
        first = next(iter(arguments.values()), None)
        if plain in _VIEWS and isinstance(first, Array):
            # The same numbers in another shape, as a factor for each channel often is.
            given = [own.tensor if isinstance(own, Array) else own for own in arguments.values()]
            return first._replace(tensor=target(*given))
        if plain not in CALLS:
            if not _depends_on_input(arguments):
                return self.builder.problem("computes with weights, which the language does not", where)
            return self.builder.problem("the spec language has no such operation", where)
        shape = _shape(node, self.batch)
        if shape is None:
            return self.builder.problem("changes the batch, or is not floating-point", where)
        readers = frozenset(_name(user.target) for user in node.users)
        name = self._node_name(node, plain)
        given = node.args[0] if node.args else None
        alone = isinstance(given, fx.Node) and len(given.users) == 1
        module = self._module(node)[0]
        call = Call(
            plain, arguments, name, module, where, shape, readers, alone, self.builder, self.arrays, self.remarks
        )
        result = CALLS[plain](call)
        if plain != function:
            # Its input is overwritten: whatever reads that afterwards reads the result.
            self._values[cast("fx.Node", node.args[0])] = result
        return result

    def _module(self, node: fx.Node) -> tuple[str, str]:
        """The path and the class of the module that calls a function."""
        stack: Mapping[str, tuple[str, str]] = node.meta.get("nn_module_stack") or {}
        path, kind = "", ""
        for path, kind in stack.values():
            path = re.sub(r"@\d+$", "", path)
            kind = self.types.get(path, kind)
            if not kind.startswith("torch.nn."):
                self.classes[path] = kind.rpartition(".")[2]
        return path, kind

    def _node_name(self, node: fx.Node, function: str) -> str:
        path, kind = self._module(node)
        if path and kind.startswith("torch.nn.modules.") and "container" not in kind:
            return path
        word = function.split(".")[1].strip("_")
        word = _WORDS.get(word, word)
        return f"{path}.{word}" if path else word


_VIEWS = frozenset({"aten.reshape", "aten.view", "aten.unsqueeze"})

_WORDS = {
    **{f"{kind}avg_pool{rank}d": "avgpool" for kind in ("", "adaptive_") for rank in (1, 2, 3)},
    **{f"{kind}max_pool{rank}d": "maxpool" for kind in ("", "adaptive_") for rank in (1, 2, 3)},
    "cat": "concat",
    "mean": "avgpool",
    "mul": "scale",
    "hardtanh": "relu6",
}
"""Names of nodes that a function makes, where the field has another word than ATen."""


def _name(target: Any) -> str:
    """``aten.conv2d`` of ``aten.conv2d.default``, ``aten.add_.Tensor``."""
    return str(target).removesuffix(".default")


def _by_name(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    schema = target._schema.arguments
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given = dict(zip((argument.name for argument in schema), args, strict=False)) | dict(kwargs)
    return {argument.name: given.get(argument.name, values.get(argument.name)) for argument in schema}


def _depends_on_input(arguments: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, Array) for value in arguments.values()) or any(
        hasattr(value, "shape") and not isinstance(value, Array) for value in arguments.values()
    )


def _shape(node: fx.Node, batch: int) -> Shape | None:
    """The shape of a result without the batch; of the first if there are several."""
    value: Any = node.meta.get("val")
    first: Any = cast("Sequence[Any]", value)[0] if isinstance(value, list | tuple) else value
    if not isinstance(first, torch.Tensor) or not first.is_floating_point():
        return None
    sizes = tuple(first.shape)
    return tuple(int(size) for size in sizes[1:]) if sizes and sizes[0] == batch else None


def _line(node: fx.Node) -> str:
    """The innermost line of the user's own code."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    return _place(_own_line((file, int(line)) for file, line in frames))


def _own_line(frames: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """The last file and line that are not PyTorch's."""
    root = str(Path(torch.__file__).parent)
    own = [(file, line) for file, line in frames if not file.startswith((root, "<"))]
    return own[-1] if own else None


def _place(line: tuple[str, int] | None) -> str:
    if line is None:
        return ""
    file, number = line
    with suppress(ValueError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f" at {file}:{number}"
