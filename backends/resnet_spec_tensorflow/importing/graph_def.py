"""Reads TensorFlow's frozen graphs: their nodes become calls like those of Keras' layers, their constants are folded.

Only operations in the table of readers, and arithmetic of constants, are accepted: whatever else a file names is a
problem, and is never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.graph_builder import valid_name
from resnet_spec.errors import ModelError, Problem
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.importing.calls import Call, Calls, Ref, needed
from resnet_spec_tensorflow.importing.reader import READERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_NODES = 100_000
"""The most nodes of a graph."""

MAX_RANGE = 2**24
"""The most numbers that a node may count, which its inputs do not show."""

LARGE = 2**16
"""The most bytes of a constant on which shapes of other values may depend."""

CALL = ">"
"""Follows the number of the function's call in the name of a node that was in a function."""

INPUTS = ("Placeholder", "PlaceholderWithDefault")


@dataclass(eq=False)
class Constant:
    """An array of a graph: its name, and the arithmetic that it is computed by, if it is not stored."""

    array: NDArray[Any]
    name: str
    op: str = "Const"
    inputs: Sequence[Constant] = ()


@dataclass(eq=False)
class GraphNode:
    """A node of a graph; ``values`` has a ``Ref`` or a ``Constant`` for each input."""

    name: str
    kind: str
    attributes: Any
    values: list[Ref | Constant]
    owner: Constant | None = None
    """The array by which it is the same layer as another node."""

    @property
    def reader_key(self) -> str:
        """Its name in the table of readers."""
        return f"tf.{self.kind}"

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as Python's own value."""
        if name not in self.attributes:
            return default
        value = self.attributes[name]
        kind = value.WhichOneof("value")
        found: Any = getattr(value, kind)
        if kind == "list":
            return [*found.i] or [*found.f]
        return found.decode() if kind == "s" else found

    def constant(self, index: int) -> NDArray[Any] | None:
        """The array of an input, or None if it is not constant."""
        value = self.values[index] if -len(self.values) <= index < len(self.values) else None
        return value.array if isinstance(value, Constant) else None


def _same(x: Any) -> Any:
    return x


def _rsqrt(x: Any) -> Any:
    return 1 / np.sqrt(x)


def _reshape(x: Any, shape: Any) -> Any:
    return x.reshape(shape)


def _squeeze(x: Any) -> Any:
    return np.squeeze(x)


def _expand_dims(x: Any, axis: Any) -> Any:
    return np.expand_dims(x, int(axis))


def _pack(*values: Any) -> Any:
    return np.stack([*values])


def _concat(*values: Any) -> Any:
    return np.concatenate([*values[:-1]], int(values[-1]))


def _gather(x: Any, indices: Any, axis: Any) -> Any:
    return np.take(x, indices, int(axis))


def _prod(x: Any, axes: Any) -> Any:
    along: Any = tuple(np.atleast_1d(axes).tolist())
    return np.multiply.reduce(x, axis=along)


def _range(start: Any, stop: Any, step: Any) -> Any:
    count = (float(stop) - float(start)) / (float(step) or np.nan)
    if not 0 <= count <= MAX_RANGE:
        raise ValueError(f"it counts {count:,.0f} numbers; at most {MAX_RANGE:,} are read")
    return np.arange(start, stop, step, dtype=start.dtype)


def _squared_difference(x: Any, y: Any) -> Any:
    return np.square(x - y)


FOLDED: Mapping[str, Callable[..., Any]] = {
    "Identity": _same,
    "StopGradient": _same,
    "Cast": _same,
    "Rsqrt": _rsqrt,
    "Sqrt": np.sqrt,
    "Neg": np.negative,
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Pack": _pack,
    "ConcatV2": _concat,
    "GatherV2": _gather,
    "Prod": _prod,
    "Range": _range,
    "Less": np.less,
    "SelectV2": np.where,
    "Floor": np.floor,
    "Square": np.square,
    "SquaredDifference": _squared_difference,
    "FloorDiv": np.floor_divide,
    "FloorMod": np.mod,
    "Transpose": np.transpose,
}
"""Arithmetic of constants, from their arrays."""


def input_of_graph(graph_def: Any) -> tuple[tuple[int | None, ...] | None, bool]:
    """The shape that a graph states for its input, the batch first, and whether its maps are channels first.

    Raises ModelError unless it has one input.
    """
    inputs = [node for node in graph_def.node if node.op in INPUTS]
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs[:6])
        raise ModelError(f"the graph has {len(inputs)} inputs ({names}); one is supported")
    formats = [node.attr["data_format"].s for node in graph_def.node if "data_format" in node.attr]
    stated = inputs[0].attr["shape"].shape
    shape = (
        None if stated.unknown_rank or not stated.dim else tuple(d.size if d.size >= 0 else None for d in stated.dim)
    )
    return shape, bool(formats) and formats[0].startswith(b"NC")


def calls_of_graph(graph_def: Any, output_names: Sequence[str], shape: Sequence[int | None] | None) -> Calls:
    """The calls of a frozen graph.

    Args:
        graph_def: A ``GraphDef`` without variables and function calls.
        output_names: The tensors that it returns.
        shape: The input's shape with the batch, or None for the graph's own.

    Raises:
        ModelError: The graph is broken, or has not one input.
    """
    return _Folder(graph_def, shape).calls(output_names)


class _Folder:
    def __init__(self, graph_def: Any, shape: Sequence[int | None] | None) -> None:
        self._nodes: dict[str, Any] = {node.name: node for node in graph_def.node}
        self._values: dict[str, Ref | Constant] = {}
        self._calls: list[Call] = []
        self._problems: list[Problem] = []
        self._shape = shape
        self._input: Ref | None = None
        self._graph: Any = None

    def calls(self, output_names: Sequence[str]) -> Calls:
        order = self._ordered([_node_of(name) for name in output_names])
        inputs = [name for name in order if self._nodes[name].op in INPUTS]
        if len(inputs) != 1:
            raise ModelError(f"the graph has {len(inputs)} inputs ({', '.join(inputs[:6])}); one is supported")
        self._graph = self._with_shapes(order, inputs[0])
        for name in order:
            self._read(name)
        outputs = [self._value(name) for name in output_names]
        if self._input is None or not all(isinstance(value, Ref) for value in outputs):
            raise ModelError("an output does not depend on the input")
        refs = [value for value in outputs if isinstance(value, Ref)]
        calls = needed(self._calls, refs)
        _shorten(calls)
        for call in calls:
            call.name = valid_name(call.name)
        return Calls(self._input, refs, calls, {}, self._problems)

    def _ordered(self, outputs: Sequence[str]) -> list[str]:
        """The names of the nodes that the outputs need, each after its inputs."""
        if len(self._nodes) > MAX_NODES:
            raise ModelError(f"the graph has {len(self._nodes):,} nodes; at most {MAX_NODES:,} are read")
        order: dict[str, None] = {}
        begun: set[str] = set()
        waiting = [(name, False) for name in reversed(outputs)]
        while waiting:
            name, inputs_done = waiting.pop()
            if name in order:
                continue
            if name not in self._nodes:
                raise ModelError(f"the graph reads from {name!r}, which it does not have")
            if inputs_done:
                order[name] = None
                continue
            if name in begun:
                raise ModelError(f"the graph has a cycle, in which {name!r} is")
            begun.add(name)
            waiting.append((name, True))
            sources = [_node_of(text) for text in self._nodes[name].input if not text.startswith("^")]
            waiting += [(source, False) for source in reversed(sources) if source not in order]
        return [*order]

    def _with_shapes(self, order: Sequence[str], placeholder: str) -> Any:
        """The nodes in a TensorFlow graph, which infers shapes; nothing is run."""
        whole: Any = tf.compat.v1.GraphDef()
        unknown = [name for name in order if not _is_known(self._nodes[name].op)]
        for name in order:
            copy = whole.node.add()
            node = self._nodes[name]
            if node.op == "Const" and node.ByteSize() > LARGE:
                # Only its shape matters, and TensorFlow takes a graph of 2 GiB at most.
                copy.name, copy.op = node.name, "Placeholder"
                copy.attr["dtype"].CopyFrom(node.attr["dtype"])
                copy.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
            else:
                copy.CopyFrom(node)
            controls = [text for text in copy.input if text.startswith("^")]
            for text in controls:
                copy.input.remove(text)
            if name == placeholder and self._shape is not None:
                size = tf.TensorShape(self._shape).as_proto()
                copy.attr["shape"].shape.CopyFrom(size)
        graph: Any = tf.Graph()
        if unknown:
            # Their shapes do not matter, and they are not looked up.
            return graph
        try:
            with graph.as_default():
                tf.import_graph_def(whole, name="")
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:200]
            raise ModelError(f"TensorFlow cannot read the graph ({reason})") from None
        return graph

    def _read(self, name: str) -> None:
        node = self._nodes[name]
        values = [self._value(text) for text in node.input if not text.startswith("^")]
        if node.op in INPUTS:
            self._values[name] = self._input = Ref(self._static(f"{name}:0") or ())
        elif node.op == "Const":
            self._values[name] = Constant(tf.make_ndarray(node.attr["value"].tensor), name)
        elif node.op == "Shape" and (sizes := self._static(str(node.input[0]))) and None not in sizes:
            self._values[name] = Constant(np.asarray(sizes, np.int32), name)
        elif values and all(isinstance(value, Constant) for value in values) and node.op in (*FOLDED, *STATED):
            self._fold(name, node, [value for value in values if isinstance(value, Constant)])
        else:
            self._call(name, node, values)

    def _call(self, name: str, node: Any, values: list[Ref | Constant]) -> None:
        readable = f"tf.{node.op}" in READERS
        # Without shapes, since something else is unknown, sizes are not constants.
        if not readable and (self._graph.get_operations() or not _is_known(node.op)):
            self._problems.append(Problem("the spec language has no such operation", f"{name} ({node.op})"))
        count = len(self._graph.get_operation_by_name(name).outputs) if self._graph.get_operations() else 8
        outputs = [Ref(self._static(f"{name}:{index}") or ()) for index in range(count)]
        self._values.update({(name if not index else f"{name}:{index}"): ref for index, ref in enumerate(outputs)})
        if readable:
            args = [value for value in values if isinstance(value, Ref)]
            call = Call(GraphNode(name, node.op, node.attr, values), layer_name(name), args, {}, outputs)
            self._calls.append(call)

    def _fold(self, name: str, node: Any, values: Sequence[Constant]) -> None:
        arrays = [value.array for value in values]
        if sum(array.size for array in arrays) > 2**28:
            raise ModelError(f"{name}: refused: it computes with {sum(a.size for a in arrays):,} constants")
        try:
            array = STATED[node.op](node, *arrays) if node.op in STATED else FOLDED[node.op](*arrays)
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise ModelError(f"{name} ({node.op}): its constants do not fit ({error})") from None
        if node.op == "Identity":
            # A variable's value, which has the name of the variable.
            self._values[name] = values[0]
        else:
            self._values[name] = Constant(np.asarray(array), name, node.op, values)

    def _value(self, text: str) -> Ref | Constant:
        name = text.removesuffix(":0")
        if name not in self._values:
            raise ModelError(f"the graph reads from {text!r}, which it does not have")
        return self._values[name]

    def _static(self, text: str) -> tuple[int | None, ...] | None:
        if not self._graph.get_operations():
            return None
        shape = self._graph.get_tensor_by_name(text if ":" in text else f"{text}:0").shape
        return tuple(shape.as_list()) if shape.rank is not None else None


def _is_known(op: str) -> bool:
    return f"tf.{op}" in READERS or op in FOLDED or op in (*INPUTS, *STATED, "Const", "Shape")


def _node_of(text: str) -> str:
    return text.removeprefix("^").partition(":")[0]


def _strided(node: Any, x: Any, start: Any, stop: Any, step: Any) -> Any:
    return x[slice_of(GraphNode(node.name, node.op, node.attr, []), start, stop, step)]


def _mean(node: Any, x: Any, axes: Any) -> Any:
    along: Any = tuple(np.atleast_1d(axes).tolist())
    return x.mean(along, keepdims=node.attr["keep_dims"].b)


STATED: Mapping[str, Callable[..., Any]] = {"Mean": _mean, "StridedSlice": _strided}
"""Arithmetic of constants that depends on the node's attributes."""


def slice_of(node: GraphNode, start: Any, stop: Any, step: Any) -> tuple[Any, ...]:
    """The key of a strided slice, whose masks say which ends count and which axes go."""
    masks = {
        name: node.attribute(f"{name}_mask", 0) for name in ("begin", "end", "shrink_axis", "new_axis", "ellipsis")
    }
    if masks["new_axis"]:
        raise ValueError("it adds axes")
    keys: list[Any] = []
    for axis, (first, last, by) in enumerate(zip(start.tolist(), stop.tolist(), step.tolist(), strict=True)):
        bit = 1 << axis
        if masks["ellipsis"] & bit:
            keys.append(Ellipsis)
        elif masks["shrink_axis"] & bit:
            keys.append(first)
        else:
            keys.append(
                slice(
                    None if masks["begin"] & bit else first,
                    None if masks["end"] & bit else last,
                    by if by != 1 else None,
                )
            )
    return tuple(keys)


def _shorten(calls: Sequence[Call]) -> None:
    """Remove the scope that all calls are in, and the numbers by which Keras tells it from the model's own.

    Arrays are in it, too, where the function's own nodes read them.
    """
    within = [call for call in calls if "/" in call.name]
    scopes = {call.name.partition("/")[0] for call in within}
    if len(scopes) != 1:
        return
    (scope,) = scopes
    numbered = re.search(r"_\d+$", scope) is not None

    def shortened(name: str) -> str:
        parts = name.split("/")[1:]
        return "/".join(re.sub(r"_\d+$", "", part) if numbered else part for part in parts)

    for call in within:
        call.name = shortened(call.name)
    waiting = [value for call in calls for value in call.operation.values if isinstance(value, Constant)]
    seen: set[int] = set()
    while waiting:
        constant = waiting.pop()
        if id(constant) not in seen:
            seen.add(id(constant))
            waiting += constant.inputs
            own = constant.name.rpartition(CALL)[2]
            constant.name = shortened(own) if own.startswith(f"{scope}/") else constant.name


def layer_name(node: str) -> str:
    """A node's name as a layer's: without the function within the layer's scope.

    >>> layer_name("resnet/conv1/convolution"), layer_name("2>resnet/relu/Relu")
    ('resnet/conv1', 'resnet/relu')
    """
    scope, _, last = node.rpartition(CALL)[2].rpartition("/")
    return scope or last


WITHIN = re.compile(
    r"(/(ReadVariableOp|resource|read|Cast|Reshape|convolution|depthwise|conv_transpose|batchnorm"
    r"|BiasAdd|MatMul|kernel|depthwise_kernel|weights|depthwise_weights|bias|biases|gamma|beta|moving_mean"
    r"|moving_variance|mul|Tensordot|value)(_\d+)?)+$"
)
"""What follows a layer's name in that of one of its arrays."""


def owner_name(constant: Constant) -> str:
    """The name of the layer that an array belongs to.

    >>> owner_name(Constant(np.zeros(1), "resnet/conv1/kernel"))
    'resnet/conv1'
    """
    name = constant.name.rpartition(CALL)[2]
    return WITHIN.sub("", name) or name
