"""Walks the functions that ``torch.export`` records for a model in inference mode."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from resnet_spec.backend import GraphBuilder, SourceModel, Value, input_of
from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import ModelError, listed
from resnet_spec.operations import MEANS
from resnet_spec_torch.importing.archive import load_program
from resnet_spec_torch.importing.call import CALLS, TAKES_EXPRESSIONS, Array, Call, Expression
from resnet_spec_torch.importing.formulas import (
    EXPRESSIBLE,
    MAX_FUNCTIONS,
    OPENED,
    arrays_of,
    functions,
    parts,
    recognized,
    values,
)
from resnet_spec_torch.importing.inner_values import inner_values
from resnet_spec_torch.importing.pooling import average_of_counted
from resnet_spec_torch.importing.recording import exported, inference, like_parameters, own_line, place, quiet
from resnet_spec_torch.importing.reshaping import UNCHANGED

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
        with quiet():
            module = torch.export.unflatten(program)
        return _read(exported(module, batch, shape or _sizes(stated[1:])), module, shape or _sizes(stated[1:]), batch)
    shape = shape or _guessed_shape(model)
    input_of(shape)
    with inference(model):
        program = exported(model, BATCH, shape)
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


def _read(program: ExportedProgram, model: nn.Module, shape: Shape, batch: int) -> SourceModel:
    # What torch.export has unflattened knows the classes of the original's modules.
    modules = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    types: dict[str, str] = {path: own for path, part in modules if (own := getattr(part, "_ty", None))}
    reader = _Reader(program, model, shape, batch, types)
    graph = reader.graph()
    state = model.state_dict()
    order = {name: index for index, name in enumerate(state)}
    found = sorted(reader.arrays.items(), key=lambda item: order[item[1].name])
    kept = {parameter.name: parameter.role for parameter in graph.parameters()}
    means = {name: array.name.rpartition(".")[0] for name, array in found if kept.get(name) in MEANS}
    counters = {name: state.get(f"{layer}.{COUNTER}") for name, layer in means.items()}

    def run(images: NDArray[np.float32]) -> list[NDArray[np.floating[Any]]]:
        like = like_parameters(model)
        tensor = torch.as_tensor(images).to(like.device, like.dtype)
        # A program may have a fixed batch.
        parts: Sequence[torch.Tensor] = torch.split(tensor, batch) if types else [tensor]
        with quiet(), inference(model), torch.no_grad():
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
        counters={name: count.cpu().numpy().copy() for name, count in counters.items() if count is not None},
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

    def __init__(
        self, program: ExportedProgram, model: nn.Module, shape: Shape, batch: int, types: Mapping[str, str]
    ) -> None:
        self.program = program
        # What torch.export has unflattened has no settings of layers.
        self._modules = {} if types else dict(cast("Iterable[tuple[str, nn.Module]]", model.named_modules()))
        name = types.get("", type(model).__name__).rpartition(".")[2]
        self.batch = batch
        self.types = types
        self.builder = GraphBuilder(name, input_of(shape))
        self.arrays: dict[str, Array] = {}
        self.classes: dict[str, str] = {}
        self.remarks: dict[str, list[str]] = {}
        self._values: dict[fx.Node, Any] = {}
        self._reported: dict[int, Expression] = {}
        self._formulas: dict[int, Expression] = {}
        """What computes each value, by its index, where it may be a part of a longer formula."""
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
                outputs = [self._returned(value) for value in self._translated(node.args[0])]
            else:
                self.builder.problem("is a part of a program that is not supported", str(node.target))
        return self.builder.finish(outputs)

    def _returned(self, value: Any) -> Any:
        return self._unexpressed(value) if isinstance(value, Expression) else value

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
        if self._is_unknown(node) or _name(target) in _ASSERTIONS:
            return None
        args, kwargs = self._translated(node.args), self._translated(node.kwargs)
        if getattr(target, "__name__", "") == "getitem":
            several, index = args
            if isinstance(several, Expression):
                return Expression(target, args, {}, _full_shape(node), False, several.where, several.message)
            return several[index]
        function = _name(target)
        where = f"{function} in {self._module(node)[0] or 'the model itself'}{_line(node)}"
        if not isinstance(target, OpOverload):
            return self.builder.problem("control flow, or a function of Python, cannot be expressed", where)
        plain = function.removesuffix("_") if function.count(".") == 1 else function.replace("_.", ".")
        arguments = _by_name(target, args, kwargs)
        first = next(iter(arguments.values()), None)
        if plain in _VIEWS and isinstance(first, Array):
            # The same numbers in another shape, as a factor for each channel often is.
            given = [own.tensor if isinstance(own, Array) else own for own in arguments.values()]
            return first._replace(tensor=target(*given))
        if plain in UNCHANGED and isinstance(first, Array | Expression) and _keeps_type(node):
            return first

        function_of = cast("Callable[..., Any]", target)

        def defer(message: str) -> Expression:
            return Expression(function_of, args, kwargs, _full_shape(node), plain != function, where, message)

        call = self._call(node, plain, arguments, where, defer)
        result = self._result(call, _shape(node, self.batch))
        if isinstance(result, Value) and plain in OPENED:
            self._formulas.setdefault(result.index, defer(_LACKING))
        if plain != function:
            # Its input is overwritten: whatever reads that afterwards reads the result.
            self._values[cast("fx.Node", node.args[0])] = result
        return result

    def _call(
        self, node: fx.Node, function: str, arguments: dict[str, Any], where: str, defer: Callable[[str], Expression]
    ) -> Call:
        given = node.args[0] if node.args else None
        return Call(
            function=function,
            arguments=arguments,
            name=self._node_name(node, function),
            module=self._module(node)[0],
            layer=self._modules.get(self._module(node)[0]),
            where=where,
            # Without one, no reader is called.
            shape=_shape(node, self.batch) or (),
            readers=frozenset(_name(user.target) for user in node.users),
            alone=isinstance(given, fx.Node) and len(given.users) == 1,
            builder=self.builder,
            arrays=self.arrays,
            remarks=self.remarks,
            defer=defer,
            unexpressed=self._unexpressed,
        )

    def _result(self, call: Call, shape: Shape | None) -> Any:
        read = [*parts(call.arguments)]
        expressions = [part for part in read if isinstance(part, Expression)]
        of_values = any(isinstance(part, Value) or (isinstance(part, Expression) and values(part)) for part in read)
        of_weights = not of_values and any(isinstance(v, Array) or arrays_of(cast("Expression", v)) for v in read)
        lacking = "computes with weights, which the language does not" if of_weights else _LACKING
        is_call = call.function in CALLS and not expressions and (shape is not None or not of_weights)
        if is_call and not (of_weights and call.function in EXPRESSIBLE - _REPEATS):
            if shape is None:
                return call.refuse("changes the batch, or is not floating-point")
            return CALLS[call.function](call)
        if call.function == "aten.new_ones":
            # Of its argument only the type counts.
            return dataclasses.replace(call.defer(_LACKING), target=torch.ones, args=[call["size"]], kwargs={})
        if call.function in TAKES_EXPRESSIONS and of_values and shape is not None:
            return CALLS[call.function](call)
        if call.function in EXPRESSIBLE:
            return self._formula(call, call.defer(lacking), whole=shape is not None)
        for expression in expressions:
            self._unexpressed(expression)
        return None if expressions else call.refuse(lacking)

    def _formula(self, call: Call, expression: Expression, *, whole: bool) -> Any:
        """The operation that an expression is, if it is ``whole``, with each image; else itself as a part of one."""
        if len(functions(expression)) > MAX_FUNCTIONS:
            return self._unexpressed(expression)
        if call.function == "aten.div.Tensor" and isinstance(call["self"], Value):
            averaged = average_of_counted(call, call["self"], call["other"])
            if averaged is not None:
                return averaged
        found = recognized(expression, call.function, self._formulas) if whole else None
        if found is None:
            return expression
        (op, fields, slots), x = found
        return call.reshaped(call.add_layer(op, x, slots, **fields))

    def _unexpressed(self, expression: Expression) -> None:
        """Report the functions that an expression, which is not an operation, begins with."""
        for own in functions(expression):
            if not any(isinstance(part, Expression) for part in parts((own.args, own.kwargs))):
                if id(own) not in self._reported:
                    self.builder.problem(own.message, own.where)
                self._reported[id(own)] = own

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


_LACKING = "the spec language has no such operation"

_ASSERTIONS = frozenset({"aten._assert_tensor_metadata"})
"""Functions without a result; ``Tensor.to`` is recorded with one."""

_REPEATS = frozenset({"aten.expand", "aten.expand_as"})
"""Functions by which a learned value is the same for each image."""

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


def _full_shape(node: fx.Node) -> Shape | None:
    """The shape of a result with the batch; None if there are several results."""
    value: Any = node.meta.get("val")
    return tuple(int(size) for size in value.shape) if isinstance(value, torch.Tensor) else None


def _keeps_type(node: fx.Node) -> bool:
    own, given = node.meta.get("val"), cast("fx.Node", node.args[0]).meta.get("val")
    return isinstance(own, torch.Tensor) and isinstance(given, torch.Tensor) and own.dtype == given.dtype


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
    return place(own_line((file, int(line)) for file, line in frames))
