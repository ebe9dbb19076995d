"""From operation to stock Keras layers: one short function each, in a table that refuses a second one.

An emitter makes empty layers and never sees weights. It returns the steps that take a node's input to its value, most
often one layer; a padding that the layer itself cannot express is a step before it. Maps are channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from resnet_spec.errors import BackendError, Problem
from resnet_spec.operations import (
    Add,
    BaseOperation,
    BatchNorm,
    Conv2d,
    Edges,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    Multiply,
    Operation,
    Pad2d,
    ReLU,
    Sigmoid,
    Softmax,
    symmetric_same,
)
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.layers import UnbiasedBatchNormalization

Steps: TypeAlias = tuple[Callable[[Any], Any], ...]
"""Applied one after another to a Keras tensor (a list of them, for an operation that joins)."""

CHANNELS_LAST = "channels_last"
UNPADDED: Edges = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Site:
    """Where an operation stands: what its layers are called, their dtype policy, and what is known of its input.

    ``producers`` are the operations whose values reach the layer, over all its calls; ``rank`` counts the axes of its
    input without the batch.
    """

    name: str
    helper: str
    policy: Any
    producers: frozenset[str]
    rank: int
    exact_statistics: bool

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of the layer that bears the node's name."""
        return {"name": self.name, "dtype": self.policy}

    def fed_by(self, op: str) -> bool:
        """Whether nothing but the values of this operation reaches the layer."""
        return self.producers == frozenset({op})


Emitter: TypeAlias = Callable[[Any, Site], Steps]
AnyOperation = TypeVar("AnyOperation", bound=BaseOperation)

EMITTERS: dict[str, Emitter] = {}
"""Every emitter by the name of its operation."""


def emits(
    op: str,
) -> Callable[[Callable[[AnyOperation, Site], Steps]], Callable[[AnyOperation, Site], Steps]]:
    """Enter a function into the table; raises ValueError where the operation has an emitter already."""

    def enter(function: Callable[[AnyOperation, Site], Steps]) -> Callable[[AnyOperation, Site], Steps]:
        if op in EMITTERS:
            raise ValueError(f"{op} has two emitters")
        EMITTERS[op] = function
        return function

    return enter


def emit(operation: Operation, site: Site) -> Steps:
    """The steps of one operation; raises BackendError where Keras cannot express it."""
    if operation.op not in EMITTERS:
        raise BackendError(Problem(f"the tensorflow backend has no {operation.op}", site.name))
    return EMITTERS[operation.op](operation, site)


# ---------------------------------------------------------------------------------------------------------------
# Padding


def _mode(op: Conv2d | MaxPool2d) -> str | None:
    """Keras' name for an operation's padding, or None where the rows have to be added before it.

    Symmetric padding is ``same`` where the two are equal at every input size, which saves a layer and a copy.
    """
    dilation = op.dilation if isinstance(op, Conv2d) else (1, 1)
    if op.padding == UNPADDED:
        return "valid"
    if op.padding == "same" or op.padding == symmetric_same(op.kernel, op.stride, dilation):
        return "same"
    return None


def _zeros(edges: Edges, name: str, policy: Any) -> Any:
    return keras.layers.ZeroPadding2D(edges, data_format=CHANNELS_LAST, name=name, dtype=policy)


class _ConstantPad:
    """Padding with any value, as an operation of the functional model, which saves and loads like a layer."""

    def __init__(self, edges: Edges, value: float, name: str) -> None:
        self._edges = edges
        self._value = value
        self._name = name
        self._operation: Any = None

    def __call__(self, inputs: Any) -> Any:
        if self._operation is not None:
            return self._operation(inputs, constant_values=self._value)
        outputs = keras.ops.pad(inputs, ((0, 0), *self._edges, (0, 0)), constant_values=self._value)
        # keras.ops takes no name, and the one it makes up could be a node's.
        self._operation = outputs._keras_history.operation
        self._operation.name = self._name
        return outputs


# ---------------------------------------------------------------------------------------------------------------
# Emitters


@emits("conv2d")
def _conv2d(op: Conv2d, site: Site) -> Steps:
    # A kernel of one row or column has nothing to dilate, and Keras refuses a stride beside a dilation.
    dilation = tuple(d if k > 1 else 1 for k, d in zip(op.kernel, op.dilation, strict=True))
    if max(op.stride) > 1 and max(dilation) > 1:
        raise BackendError(Problem("TensorFlow has no convolution that is both strided and dilated", site.name))
    mode = _mode(op)
    conv = keras.layers.Conv2D(
        op.channels,
        op.kernel,
        strides=op.stride,
        padding=mode or "valid",
        data_format=CHANNELS_LAST,
        dilation_rate=dilation,
        groups=op.groups,
        use_bias=op.bias,
        kernel_initializer="zeros",
        **site.common,
    )
    if mode is None and op.padding != "same":
        return _zeros(op.padding, site.helper, site.policy), conv
    return (conv,)


@emits("linear")
def _linear(op: Linear, site: Site) -> Steps:
    return (keras.layers.Dense(op.features, use_bias=op.bias, kernel_initializer="zeros", **site.common),)


@emits("batch_norm")
def _batch_norm(op: BatchNorm, site: Site) -> Steps:
    unbiased = site.exact_statistics and op.running_variance == "unbiased"
    layer = UnbiasedBatchNormalization if unbiased else keras.layers.BatchNormalization
    # Rounded, so that a momentum of 0.01 gives Keras' 0.99 and not 0.98999….
    momentum = round(1 - op.momentum, 12)
    return (layer(axis=-1, momentum=momentum, epsilon=op.epsilon, scale=op.scale, center=op.offset, **site.common),)


@emits("relu")
def _relu(op: ReLU, site: Site) -> Steps:
    return (keras.layers.ReLU(**site.common),)


@emits("sigmoid")
def _sigmoid(op: Sigmoid, site: Site) -> Steps:
    return (keras.layers.Activation("sigmoid", **site.common),)


@emits("softmax")
def _softmax(op: Softmax, site: Site) -> Steps:
    return (keras.layers.Softmax(axis=-1, **site.common),)


@emits("max_pool2d")
def _max_pool2d(op: MaxPool2d, site: Site) -> Steps:
    mode = _mode(op)
    pool = keras.layers.MaxPooling2D(
        op.kernel, strides=op.stride, padding=mode or "valid", data_format=CHANNELS_LAST, **site.common
    )
    if mode is not None or op.padding == "same":
        return (pool,)
    if site.fed_by("relu"):
        # A zero never beats what a ReLU puts out, no window is padding only, and a layer is plainer than an operation.
        return _zeros(op.padding, site.helper, site.policy), pool
    return _ConstantPad(op.padding, float("-inf"), site.helper), pool


@emits("global_avg_pool")
def _global_avg_pool(op: GlobalAvgPool, site: Site) -> Steps:
    return (keras.layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, keepdims=True, **site.common),)


@emits("pad2d")
def _pad2d(op: Pad2d, site: Site) -> Steps:
    if op.value == 0:
        return (_zeros(op.padding, site.name, site.policy),)
    return (_ConstantPad(op.padding, op.value, site.name),)


@emits("flatten")
def _flatten(op: Flatten, site: Site) -> Steps:
    flatten = keras.layers.Flatten(data_format=CHANNELS_LAST, **site.common)
    if site.rank == 1 or site.fed_by("global_avg_pool"):
        return (flatten,)
    return keras.layers.Permute((3, 1, 2), name=site.helper, dtype=site.policy), flatten


@emits("add")
def _add(op: Add, site: Site) -> Steps:
    return (keras.layers.Add(**site.common),)


@emits("multiply")
def _multiply(op: Multiply, site: Site) -> Steps:
    return (keras.layers.Multiply(**site.common),)
