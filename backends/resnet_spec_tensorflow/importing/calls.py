"""The calls of a model's layers in one flat list: models within it and layers of the user's own are opened.

A functional model records its calls. A subclassed model or layer records none: its ``call`` is run once on symbolic
tensors, which is the user's own code in the user's own process; models from files have no such layers.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

import resnet_spec_keras
import resnet_spec_tensorflow
from resnet_spec.backend.graph_builder import valid_name
from resnet_spec.errors import ModelError, Problem
from resnet_spec_tensorflow.framework import keras, tf

FUNCTIONAL: Any = import_module("keras.src.models.functional").Functional
"""The class that ``keras.Model`` makes of inputs and outputs, which has no public name."""

LIBRARIES = tuple(
    os.path.dirname(str(module.__file__)) for module in (keras, tf, resnet_spec_keras, resnet_spec_tensorflow)
)
"""Folders of code that is not the user's."""

MAX_DEPTH = 50
"""The most models within models."""


def as_list(value: Any) -> list[Any]:
    """A list of what may be one value, a list or a tuple."""
    return [*cast("list[Any]", value)] if isinstance(value, list | tuple) else [value]


class Ref:
    """A value in the flat list of calls; not a tuple, which Keras' trees would take apart."""

    def __init__(self, shape: Any) -> None:
        self.shape = tuple(shape)
        """As Keras infers it, the batch first; a size that is not known is None."""


@dataclass(eq=False)
class Call:
    """One call of a layer or of a function: ``args`` and ``kwargs`` have a ``Ref`` for each tensor."""

    operation: Any
    name: str
    args: Any
    kwargs: Mapping[str, Any]
    outputs: list[Ref]
    inputs: list[Ref] = field(init=False)
    """The tensors among the arguments in their order, and those of a sum in reverse."""

    def __post_init__(self) -> None:
        self.inputs = [x for x in keras.tree.flatten((self.args, dict(self.kwargs))) if isinstance(x, Ref)]
        # As the backend writes them, and as keras.applications does: the shortcut is before the block's main path.
        if isinstance(self.operation, keras.layers.Add) or getattr(self.operation, "kind", "") in ("Add", "AddV2"):
            self.inputs.reverse()

    @property
    def where(self) -> str:
        """The call in the source's own words."""
        kind = getattr(self.operation, "kind", type(self.operation).__name__)
        return f"{self.name} ({kind})"


@dataclass
class Calls:
    """The calls that a model's outputs need, in an order in which they can be made.

    ``classes`` has the class of each model or layer that was opened, by the dotted prefix of its calls, and
    ``problems`` those that cannot be.
    """

    input: Ref
    outputs: list[Ref]
    calls: list[Call]
    classes: dict[str, str]
    problems: list[Problem]


def functional_of(model: Any, shape: tuple[int, ...] | None) -> Any:
    """The functional model that computes what a model does.

    Args:
        model: A functional, sequential or subclassed model.
        shape: The input's shape without the batch, as the model takes it, if it is known.

    Raises:
        ModelError: The model has not one input tensor, or cannot be called on symbolic tensors.
    """
    inner = _recorded(model)
    if inner is None:
        inner = _traced(model, shape)
    if len(inner.inputs) != 1:
        raise ModelError(f"{model.name}: has {len(inner.inputs)} inputs; a model of one is supported")
    return inner


def calls_of(functional: Any, is_read: Callable[[Any], bool], *, trusted: bool) -> Calls:
    """The calls of a functional model, those of models and of the user's layers within it included.

    Args:
        functional: A functional model.
        is_read: Whether an operation needs no opening.
        trusted: Whether ``call`` of a layer that is not read may be run on symbolic tensors.

    Raises:
        ModelError: An output does not depend on the input.
    """
    opener = _Opener(is_read, trusted)
    (tensor,) = functional.inputs
    start = Ref(tensor.shape)
    outputs = opener.open(functional, [start], "", 0)
    return Calls(start, outputs, needed(opener.calls, outputs), opener.classes, opener.problems)


def _recorded(model: Any) -> Any:
    """The functional model that records a model's calls, or None."""
    if isinstance(model, keras.Sequential):
        return model._functional if model.built else None
    # A subclass that calls the constructor with inputs and outputs is functional too, unless it has a call of its own.
    kind = cast("Any", type(model))
    return model if isinstance(model, FUNCTIONAL) and kind.call is FUNCTIONAL.call else None


def _traced(model: Any, shape: tuple[int, ...] | None) -> Any:
    if isinstance(model, keras.Sequential):
        if shape is None:
            raise ModelError(f"{model.name}: has no input shape; pass shape, or begin the model with keras.Input")
        model.build((None, *shape))
        return model._functional if model._functional is not None else _symbolic(model, _sequence(model), shape)
    shape = shape or _built_shape(model)
    if shape is None:
        raise ModelError(f"{model.name}: is subclassed and has no input shape; pass shape")
    return _symbolic(model, model, shape)


def _sequence(model: Any) -> Any:
    """A function that calls the layers of a sequential model, which Keras could not make functional."""

    class Sequence:
        name = model.name

        def call(self, x: Any) -> Any:
            for layer in model.layers:
                x = layer(x)
            return x

    return Sequence()


def _built_shape(model: Any) -> tuple[int, ...] | None:
    """The shape that a subclassed model was built or called with, if it is one tensor's."""
    built: Any = getattr(model, "_build_shapes_dict", None)
    if not isinstance(built, dict) or len(cast("dict[str, Any]", built)) != 1:
        return None
    (shape,) = cast("dict[str, Any]", built).values()
    sizes = as_list(shape)[1:]
    return tuple(sizes) if sizes and all(isinstance(size, int) for size in sizes) else None


def _symbolic(model: Any, called: Any, shape: tuple[int, ...]) -> Any:
    tensor = keras.Input(shape, name="input")
    outputs = _called(called, (tensor,), {})
    return keras.Model(tensor, outputs, name=model.name)


def _called(layer: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What a layer's own ``call`` returns for symbolic tensors, in inference mode."""
    parameters = inspect.signature(layer.call).parameters
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}
    if "training" in parameters:
        kwargs["training"] = False
    try:
        outputs = layer.call(*args, **kwargs)
        if all(keras.backend.is_keras_tensor(value) for value in keras.tree.flatten(outputs)):
            return outputs
        reason = "call returns something else than Keras tensors"
    # The user's code may raise anything.
    except Exception as error:
        reason = _reason(error)
    message = f"cannot be traced symbolically ({reason}); write its call with Keras layers and keras.ops"
    raise ModelError(Problem(message, f"{layer.name} ({type(layer).__name__})")) from None


def _reason(error: Exception) -> str:
    """The first sentence of an exception, and the line of the user's code."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 160 else text[:157] + "..."
    frame = error.__traceback__
    place = ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(LIBRARIES):
            place = f"{file}:{frame.tb_lineno}: "
        frame = frame.tb_next
    return f"{place}{text or type(error).__name__}"


class _Opener:
    def __init__(self, is_read: Callable[[Any], bool], trusted: bool) -> None:
        self._is_read = is_read
        self._trusted = trusted
        self._prefixes: dict[int, str] = {}
        self.calls: list[Call] = []
        self.classes: dict[str, str] = {}
        self.problems: list[Problem] = []

    def open(self, functional: Any, inputs: Iterable[Ref], prefix: str, depth: int) -> list[Ref]:
        """Add the calls of a functional model for given inputs; return its outputs."""
        known = {id(tensor): ref for tensor, ref in zip(functional.inputs, inputs, strict=True)}
        nodes_by_depth = functional._nodes_by_depth
        for level in sorted(nodes_by_depth, reverse=True):
            for node in nodes_by_depth[level]:
                if not node.is_input and all(id(x) in known for x in node.input_tensors):
                    self._node(node, known, prefix, depth)
        missing = [tensor for tensor in functional.outputs if id(tensor) not in known]
        if missing:
            raise ModelError(f"{functional.name}: an output does not depend on the input")
        return [known[id(tensor)] for tensor in functional.outputs]

    def _node(self, node: Any, known: dict[int, Ref], prefix: str, depth: int) -> None:
        operation = node.operation
        name = f"{prefix}{valid_name(operation.name)}"
        args, kwargs = node.arguments.fill_in(known)
        if self._is_read(operation):
            outputs = [Ref(tensor.shape) for tensor in node.outputs]
            self.calls.append(Call(operation, name, args, kwargs, outputs))
        else:
            outputs = self._opened(node, name, [known[id(x)] for x in node.input_tensors], depth)
        known.update((id(tensor), ref) for tensor, ref in zip(node.outputs, outputs, strict=True))

    def _opened(self, node: Any, name: str, inputs: list[Ref], depth: int) -> list[Ref]:
        operation = node.operation
        # A layer called again has the names of its first call.
        prefix = self._prefixes.setdefault(id(operation), f"{name}.")
        try:
            if depth > MAX_DEPTH:
                raise ModelError(f"{name}: models are more than {MAX_DEPTH} deep")
            inner = _recorded(operation) if isinstance(operation, keras.Model) else None
            if inner is None:
                inner = self._trace(node)
            self.classes.setdefault(prefix[:-1], type(operation).__name__)
            return self.open(inner, inputs, prefix, depth + 1)
        except ModelError as error:
            self.problems += error.problems
            return [Ref(tensor.shape) for tensor in node.outputs]

    def _trace(self, node: Any) -> Any:
        layer = node.operation
        where = f"{layer.name} ({type(layer).__name__})"
        if not self._trusted or not isinstance(layer, keras.Layer) or isinstance(layer, keras.layers.Lambda):
            raise ModelError(Problem("the spec language has no such operation", where))
        # Symbolic tensors of its own, since those of the node belong to the model.
        fresh = {id(x): keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in node.input_tensors}
        args, kwargs = node.arguments.fill_in(fresh)
        outputs = keras.tree.flatten(_called(layer, args, kwargs))
        return keras.Model([fresh[id(x)] for x in node.input_tensors], outputs)


def needed(calls: list[Call], outputs: list[Ref]) -> list[Call]:
    """The calls on which the outputs depend, each right before the first that reads it, first inputs first.

    What the last output needs comes first: an auxiliary head of an earlier one would be in the midst of the network.
    """
    makers = {id(ref): call for call in calls for ref in call.outputs}
    order: dict[int, Call] = {}
    waiting: list[tuple[Call, bool]] = [(makers[id(ref)], False) for ref in outputs if id(ref) in makers]
    while waiting:
        call, inputs_done = waiting.pop()
        if id(call) in order:
            continue
        if inputs_done:
            order[id(call)] = call
            continue
        waiting.append((call, True))
        waiting += [(makers[id(ref)], False) for ref in reversed(call.inputs) if id(ref) in makers]
    return list(order.values())
