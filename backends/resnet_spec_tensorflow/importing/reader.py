"""Reads calls of Keras layers into a graph, and follows where each Keras tensor's axes are in the graph's value.

Keras' maps are channels last, the graph's are channels first. A tensor here is a value of the graph and the place of
each of its axes there, so that a permutation by itself adds nothing: a ``transpose`` is added where an operation needs
the axes in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np

from resnet_spec.backend.graph_builder import GraphBuilder, Value
from resnet_spec.backend.table import Table
from resnet_spec.errors import listed
from resnet_spec_tensorflow.importing.calls import Call, Calls, Ref

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

Axes: TypeAlias = tuple[int, ...]
"""For each axis of a Keras tensor without the batch, the axis of the graph's value."""


CONSTANTS = "constants that are parameters of the graph, which training would change"


class Tensor(NamedTuple):
    """A Keras tensor as it is in the graph.

    Attributes:
        value: The graph's value.
        axes: For each axis of the Keras tensor without the batch, the axis of the value.
        order: For a vector whose elements are in another order, the index in the value of each of Keras' elements.
    """

    value: Value
    axes: Axes
    order: NDArray[np.intp] | None = None

    @property
    def shape(self) -> Shape:
        """The Keras tensor's shape, without the batch."""
        return tuple(self.value.shape[axis] for axis in self.axes)


def last_first(rank: int) -> Axes:
    """The axes of a Keras tensor whose last axis is the value's first."""
    return (*range(1, rank), 0)


def identity(rank: int) -> Axes:
    """The axes of a Keras tensor that has the value's."""
    return tuple(range(rank))


class Made(NamedTuple):
    """What computes a value: an operation with its fields, and the first value that it reads."""

    op: str
    input: Value
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What a reader of one kind of layer gets: the call, its tensors, and how to add nodes."""

    reader: Reader
    call: Call
    tensors: list[Tensor]

    @property
    def layer(self) -> Any:
        """The Keras layer or operation."""
        return self.call.operation

    @property
    def tensor(self) -> Tensor:
        """The only tensor."""
        return self.tensors[0]

    @property
    def name(self) -> str:
        """The layer's name with those of the models that it is in."""
        return self.call.name

    def problem(self, message: str) -> None:
        """Note that the language cannot express the call."""
        self.reader.builder.problem(message, self.call.where)

    def remark(self, kind: str, name: str | None = None) -> None:
        """Note what is read differently from how the source states it; calls of one kind make one sentence."""
        self.reader.note(kind, name or self.name)

    def add(
        self,
        op: str,
        values: Sequence[Value] | Value,
        axes: Axes,
        *,
        name: str = "",
        arrays: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Tensor | None:
        """Add a node.

        Args:
            op: The operation.
            values: What it reads.
            axes: Where the result's axes are.
            name: Its name if it is not the layer's.
            arrays: The layer's arrays by slot, laid out as PyTorch lays them out.
            **fields: The operation's fields.
        """
        return self.reader.add(self.call, op, values, axes, name or self.name, arrays, fields)

    def elementwise(self, op: str, tensor: Tensor | None = None, *, name: str = "", **fields: Any) -> Tensor | None:
        """Add a node that computes each element by itself, in whatever order they are."""
        tensor = tensor or self.tensor
        added = self.add(op, tensor.value, tensor.axes, name=name, **fields)
        return added and added._replace(order=tensor.order)

    def arranged(self, tensor: Tensor, axes: Axes) -> Value | None:
        """The value of a tensor with its axes in the wanted places, by a transpose unless they are there."""
        return self.reader.arranged(self.call, tensor, axes)

    def first(self, tensor: Tensor, axis: int = -1) -> Tensor | None:
        """The tensor with one of its Keras axes as the value's first and the others in order."""
        rank = len(tensor.axes)
        axis %= rank
        others = [place for place in range(rank) if place != axis]
        places = {axis: 0} | {place: index for index, place in enumerate(others, 1)}
        wanted = tuple(places[place] for place in range(rank))
        value = self.arranged(tensor, wanted)
        return value and Tensor(value, wanted)

    def channels_first(self, tensor: Tensor, data_format: str) -> Tensor | None:
        """The tensor with the value's axes (channels, ...), whose channels are where ``data_format`` says."""
        return self.first(tensor, 0 if data_format == "channels_first" else -1)

    def constants(self, steps: Sequence[tuple[str, NDArray[Any]]], *, learned: bool = False) -> Tensor | None:
        """Multiply by, or add, arrays that broadcast to the tensor, in the order given, each as a node.

        Of constants, the language has one factor only; another constant is a parameter of the graph.
        """
        tensor: Tensor | None = self.tensor
        for op, array in steps:
            if tensor is None or (not learned and bool(np.all(array == (op == "scale")))):
                continue
            name = self.name if learned else f"{self.name}_{op}"
            if op == "scale" and not learned and np.size(array) == 1:
                # As it is in float32, unless the source has it in float64.
                number = np.asarray(array).reshape(())
                factor = float(str(number)) if number.dtype == np.float32 else float(number)
                tensor = self._factor(tensor, self.name if len(steps) == 1 else name, factor)
                continue
            tensor = self._constant(op, tensor, np.asarray(array), name, learned)
            if not learned:
                self.remark(CONSTANTS, name)
        return tensor

    def _factor(self, tensor: Tensor, name: str, factor: float) -> Tensor | None:
        """Multiply by a number; a product that the backend wrote as a part of this layer is multiplied by it itself."""
        draft = self.reader.builder.draft(tensor.value)
        alone = self.reader.only_reader(self.call.inputs[0]) is self.call
        part = f"{self.name.rstrip('_')}.product"
        if draft is None or not alone or draft.operation.op != "multiply" or draft.name.rstrip("_") != part:
            return self.elementwise("multiply", tensor, name=name, factor=factor)
        found = self.reader.builder.replace(tensor.value, draft.inputs, name=name, factor=factor)
        return found and tensor._replace(value=found)

    def _constant(self, op: str, tensor: Tensor, array: NDArray[Any], name: str, learned: bool) -> Tensor | None:
        rank = len(tensor.axes)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim < rank else array
        if array.ndim > rank or tensor.order is not None:
            return self.problem("combines values of different ranks")
        own = [axis for axis, size in enumerate(array.shape) if size > 1]
        initial = {} if own else {"initial": float(array.reshape(-1)[0])}
        if not own and not (learned and tensor.value.shape[0] == 1):
            fields, array = {"shape": "scalar"}, array.reshape(())
        elif len(own) <= 1:
            first = self.first(tensor, own[0] if own else -1)
            if first is None:
                return None
            tensor, fields, array = first, {"shape": "channels"}, array.reshape(-1)
        else:
            if learned and len(own) < rank:
                return self.problem("has learned numbers that several positions share, other than one per channel")
            try:
                whole = np.broadcast_to(array, tensor.shape)
            except ValueError:
                return self.problem(f"combines {tensor.shape} with an array of {array.shape}")
            fields, array = {"shape": "map"}, whole.transpose(np.argsort(tensor.axes))
        if array.shape not in ((), tensor.value.shape[:1], tensor.value.shape):
            return self.problem(f"combines {tensor.shape} with an array of another size")
        return self.add(op, tensor.value, tensor.axes, name=name, arrays={"": np.array(array)}, **fields, **initial)

    def alike(self, tensors: Sequence[Tensor]) -> tuple[list[Value], Axes] | None:
        """The values of tensors of one rank with their axes in the same places, and the places."""
        axes = tensors[0].axes
        if any(tensor.axes != axes for tensor in tensors):
            axes = self.reader.usual(len(axes))
        values = [self.arranged(tensor, axes) for tensor in tensors]
        return None if None in values else ([value for value in values if value is not None], axes)

    def axis(self, axis: int, tensor: Tensor | None = None) -> int | None:
        """The value's axis for an axis of the Keras tensor with the batch; None, with a problem, for the batch."""
        tensor = tensor or self.tensor
        rank = len(tensor.axes) + 1
        place = axis + rank if axis < 0 else axis
        if not 1 <= place < rank:
            return self.problem("works along the batch")
        return tensor.axes[place - 1]

    def squeezed(self, tensor: Tensor, gone: set[int]) -> Tensor | None:
        """The tensor without some of its Keras axes, which have a size of 1."""
        if not gone:
            return tensor
        if any(tensor.shape[axis] != 1 for axis in gone) or len(gone) == len(tensor.axes):
            return self.problem("removes an axis whose size is not 1, or every axis")
        kept = [place for axis, place in enumerate(tensor.axes) if axis not in gone]
        axes = tuple(map(sorted(kept).index, kept))
        if len(kept) == 1:
            return self.add("flatten", tensor.value, axes, name=f"{self.name}_flatten")
        shape = tuple(tensor.value.shape[place] for place in sorted(kept))
        return self.add("reshape", tensor.value, axes, name=f"{self.name}_squeeze", shape=shape)

    @property
    def only_reader(self) -> Call | None:
        """The call that reads the result, if it is the only one and the result is not the model's."""
        return self.reader.only_reader(self.call.outputs[0])

    def absorb(self, call: Call) -> None:
        """Read a later call as nothing, since this node does what it does."""
        self.reader.absorbed.add(id(call))

    def defer(self, padding: Any) -> Tensor:
        """Leave a padding to the call that reads the result; see ``padding``."""
        self.reader.paddings[id(self.call.outputs[0])] = padding
        return self.tensor

    @property
    def padding(self) -> Any:
        """The padding that a call before this one has left to it, or None."""
        return self.reader.paddings.get(id(self.call.inputs[0]))


LayerReader: TypeAlias = Callable[[Context], "Tensor | list[Tensor | None] | None"]

READERS: Table[LayerReader] = Table("reader")
"""Every reader by ``layers.Conv2D`` for Keras' layer, ``ops.Relu`` for a function, ``own.LearnedScale`` for ours
and ``tf.Conv2D`` for a node of TensorFlow's graphs."""


def key_of(operation: Any) -> str:
    """The name in the table of readers of a layer or function; of anything else than Keras' and our own, no such name.

    >>> from resnet_spec_tensorflow.framework import keras
    >>> key_of(keras.layers.ReLU())
    'layers.ReLU'
    """
    if hasattr(operation, "reader_key"):
        return str(operation.reader_key)
    kind = cast("Any", type(operation))
    module: str = kind.__module__
    if module.startswith("keras.src.ops"):
        return f"ops.{kind.__name__}"
    if module.startswith("keras.src."):
        return f"layers.{kind.__name__}"
    ours = module in ("resnet_spec_keras.layers", "resnet_spec_keras.window_layers")
    return f"own.{kind.__name__}" if ours else f"{module}.{kind.__name__}"


def is_read(operation: Any) -> bool:
    """Whether an operation has a reader."""
    return key_of(operation) in READERS


def weight(variable: Any, axes: Sequence[int] | None = None) -> NDArray[Any]:
    """A copy of a variable's values, its axes in another order."""
    value = getattr(variable, "value", variable)
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return np.array(array if axes is None else array.transpose(axes), order="C")


class Reader:
    """Reads calls one after another.

    Args:
        builder: Where the nodes go.
        calls: The calls of the model.
        axes: Where the axes of the model's input are.
    """

    def __init__(self, builder: GraphBuilder, calls: Calls, axes: Axes) -> None:
        self.builder = builder
        self._calls = calls
        self._last = axes == last_first(len(axes))
        self._tensors: dict[int, Tensor] = {id(calls.input): Tensor(builder.input, axes)}
        self._readers: dict[int, list[Call]] = {}
        for call in calls.calls:
            for ref in call.inputs:
                self._readers.setdefault(id(ref), []).append(call)
        self._names: dict[tuple[int, str], str] = {}
        self._taken: set[str] = set()
        self._transposed: dict[tuple[int, Axes], Value | None] = {}
        self._operations: dict[int, Made] = {}
        self.absorbed: set[int] = set()
        self.paddings: dict[int, Any] = {}
        self.strides: dict[int, tuple[int, ...]] = {}
        self.arrays: dict[str, dict[str, Any]] = {}
        """The arrays of each layer, by its name."""
        self._notes: dict[str, list[str]] = {}

    def read(self) -> list[Tensor | None]:
        """Read every call; return the model's outputs."""
        for call in self._calls.calls:
            tensors = [self._tensors[id(ref)] for ref in call.inputs if id(ref) in self._tensors]
            if len(tensors) < len(call.inputs):
                # What it reads could not be read.
                continue
            if id(call) in self.absorbed:
                self._tensors[id(call.outputs[0])] = tensors[0]
                continue
            results = READERS[key_of(call.operation)](Context(self, call, tensors))
            known = results if isinstance(results, list) else [results]
            for ref, result in zip(call.outputs, known, strict=False):
                if result is not None:
                    self._tensors[id(ref)] = result
        return [self._tensors.get(id(ref)) for ref in self._calls.outputs]

    def tensor_of(self, ref: Ref) -> Tensor | None:
        """What a tensor was read as; None if nothing was."""
        return self._tensors.get(id(ref))

    def remarks(self, graph: Graph) -> list[str]:
        """A sentence for each kind of note; what became part of another node is left out."""
        kinds = {
            kind: [name for name in names if kind != CONSTANTS or name in graph.by_name]
            for kind, names in self._notes.items()
        }
        return [f"{kind} ({listed(names)})" for kind, names in kinds.items() if names]

    def note(self, kind: str, name: str) -> None:
        """Note something about a layer."""
        names = self._notes.setdefault(kind, [])
        if name not in names:
            names.append(name)

    def usual(self, rank: int) -> Axes:
        """Where the axes of a tensor are in a network like this one."""
        return last_first(rank) if self._last else identity(rank)

    def readers(self, ref: Ref) -> list[Call]:
        """The calls that read a tensor."""
        return self._readers.get(id(ref), [])

    def is_output(self, ref: Ref) -> bool:
        """Whether a tensor is one of the model's outputs."""
        return any(ref is output for output in self._calls.outputs)

    def only_reader(self, ref: Ref) -> Call | None:
        """The only call that reads a tensor, which is not an output."""
        readers = self.readers(ref)
        return readers[0] if len(readers) == 1 and not self.is_output(ref) else None

    def add(
        self,
        call: Call,
        op: str,
        values: Sequence[Value] | Value,
        axes: Axes,
        name: str,
        arrays: Mapping[str, Any] | None,
        fields: Mapping[str, Any],
    ) -> Tensor | None:
        """Add a node; see ``Context.add``."""
        inputs = [values] if isinstance(values, Value) else list(values)
        if arrays is not None:
            name = self._layer_name(call, name)
        value = self.builder.add(op, inputs, name, layer=arrays is not None, where=call.where, **fields)
        if value is None:
            return None
        if arrays is not None:
            self.arrays.setdefault(name, dict(arrays))
        self._operations[value.index] = Made(op, inputs[0], fields)
        return Tensor(value, axes)

    def made(self, value: Value) -> Made | None:
        """What computes a value; None for the graph's input, and for a transpose."""
        return self._operations.get(value.index)

    def arranged(self, call: Call, tensor: Tensor, axes: Axes, *, named: bool = False) -> Value | None:
        """See ``Context.arranged``; ``named`` if the transpose is the call's own."""
        if tensor.order is not None:
            return self.builder.problem("reads a flattened map in an order that only linear layers can", call.where)
        if tensor.axes == axes:
            return tensor.value
        order = tuple(tensor.axes[axes.index(place)] for place in range(len(axes)))
        key = tensor.value.index, order
        if key not in self._transposed:
            moved = [axis for axis in order if tensor.value.shape[axis] > 1]
            if moved == sorted(moved):
                op, field, sizes = "reshape", "shape", tuple(tensor.value.shape[axis] for axis in order)
            else:
                op, field, sizes = "transpose", "axes", order
            fields: dict[str, Any] = {field: sizes}
            name = call.name if named else f"{call.name}_permute"
            self._transposed[key] = self.builder.add(op, [tensor.value], name, where=call.where, **fields)
        return self._transposed[key]

    def _layer_name(self, call: Call, name: str) -> str:
        """A name that no other layer has; a layer that is called again keeps it."""
        # A node of a graph is no layer: those that read one kernel are one.
        owner = getattr(call.operation, "owner", None)
        key = (id(call.operation), name.rpartition(call.operation.name)[2]) if owner is None else (id(owner), "")
        if key not in self._names:
            names = chain([name], (f"{name}_{number}" for number in count(2)))
            self._names[key] = next(unique for unique in names if unique not in self._taken)
            self._taken.add(self._names[key])
        return self._names[key]


def is_single(tensor: Tensor) -> bool:
    """Whether a map has one position, or a value one channel, so that its elements have the same order both ways."""
    moved = [axis for axis in tensor.axes if tensor.value.shape[axis] > 1]
    return moved == sorted(moved)


def positions(tensor: Tensor) -> int:
    """The number of positions of a value (channels, ...)."""
    return prod(tensor.value.shape[1:])
