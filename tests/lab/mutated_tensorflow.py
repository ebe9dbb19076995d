"""The mutated TensorFlow backend; changes that a graph cannot express are made to the steps of an emitter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar
from unittest.mock import patch

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec_tensorflow import TensorFlowBackend
from tests.lab.changes import Change
from tests.lab.mutated import Mutated

Steps = tuple[Callable[[Any], Any], ...]


def _keras() -> Any:
    from resnet_spec_tensorflow.framework import keras

    return keras


def _through(change: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Steps], Steps]:
    """Apply a function of ``keras.ops`` and a value before the steps."""
    return lambda op, context, steps: (lambda value: change(_keras().ops, value), *steps)


def _then(change: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Steps], Steps]:
    """Apply a function of ``keras.ops`` and a value after the steps."""
    return lambda op, context, steps: (*steps, lambda value: change(_keras().ops, value))


def _rounded(dtype: str) -> Callable[[Any, Any], Any]:
    """Round float32 values to a narrower type; keep float64 values."""

    def change(ops: Any, value: Any) -> Any:
        own = getattr(value.dtype, "name", value.dtype)
        return ops.cast(ops.cast(value, dtype), own) if own == "float32" else value

    return change


def _zero_padded(op: Any, context: Any, steps: Steps) -> Steps:
    layers = _keras().layers
    pad = layers.ZeroPadding2D(op.padding, data_format="channels_last", **context.helper("pad"))
    return pad, layers.MaxPooling2D(op.kernel, strides=op.stride, data_format="channels_last", **context.common)


def _edge_mirrored(op: Any, context: Any, steps: Steps) -> Steps:
    return (lambda value: _keras().ops.pad(value, ((0, 0), *op.padding, (0, 0)), "symmetric"),)


def _batch_statistics(op: Any, context: Any, steps: Steps) -> Steps:
    class Always(_keras().layers.BatchNormalization):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            return super().call(inputs, training=True, mask=mask)

    return (Always(momentum=1.0, epsilon=op.epsilon, **context.common),)


def _counting(op: Any, context: Any, steps: Steps) -> Steps:
    """Average with partial windows divided by the full window size."""
    layers = _keras().layers
    pad = layers.ZeroPadding2D(((0, 1), (0, 1)), data_format="channels_last", **context.helper("pad"))
    return pad, layers.AveragePooling2D(op.kernel, strides=op.stride, data_format="channels_last", **context.common)


def _with_activation(name: str) -> Callable[[Any, Any, Steps], Steps]:
    def change(op: Any, context: Any, steps: Steps) -> Steps:
        (layer,) = steps
        layer.activation = _keras().activations.get(name)
        return steps

    return change


def _instead(make: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Steps], Steps]:
    """Emit another layer, made from ``keras.layers``, the operation and the common arguments."""
    return lambda op, context, steps: (make(_keras().layers, op, context),)


def _detached(op: Any, context: Any, steps: Steps) -> Steps:
    return (*steps, lambda value: _keras().ops.stop_gradient(value))


def _narrow(op: Any, context: Any, steps: Steps) -> Steps:
    from resnet_spec_keras.emitting import emit

    own = context.policy.compute_dtype
    inner = emit(op, replace(context, policy=_keras().DTypePolicy("float32")))
    return (*inner, lambda value: _keras().ops.cast(value, own))


STEPS: dict[str, Callable[[Any, Any, Steps], Steps]] = {
    "leaky": _instead(lambda layers, op, context: layers.LeakyReLU(0.3, **context.common)),
    "hard": _instead(lambda layers, op, context: layers.Activation("hard_sigmoid", **context.common)),
    "silu": _instead(lambda layers, op, context: layers.Activation("silu", **context.common)),
    "softmax behind": _with_activation("softmax"),
    "relu behind": _with_activation("relu"),
    "plain flatten": lambda op, context, steps: steps[-1:],
    "plain reshape": lambda op, context, steps: (
        _keras().layers.Reshape((*op.shape[1:], op.shape[0]), **context.common),
    ),
    "columns first": _through(lambda ops, value: ops.swapaxes(value, 1, 2)),
    "four fifths": _then(lambda ops, value: 0.8 * value),
    "ten ninths": _then(lambda ops, value: value / 0.9),
    # Use the second input too, or the model loses its layers.
    "first alone": lambda op, context, steps: (lambda values: values[0] + 0.0 * values[1],),
    "mean": _instead(lambda layers, op, context: layers.Average(**context.common)),
    "largest": _instead(lambda layers, op, context: layers.Maximum(**context.common)),
    "every second": lambda op, context, steps: (lambda value: value[..., ::2],),
    "reversed": lambda op, context, steps: (lambda values: values[::-1], *steps),
    "minimum": lambda op, context, steps: (lambda value: _keras().ops.min(value, -1, keepdims=True),),
    "alternating": lambda op, context, steps: (
        *steps,
        lambda value: _keras().ops.take(value, [0, 4, 1, 5, 2, 6, 3, 7], -1),
    ),
    "edge mirrored too": _edge_mirrored,
    "zero pad": _zero_padded,
    "counting": _counting,
    "batch statistics": _batch_statistics,
    "in float32": _narrow,
    "inputs in bfloat16": _through(_rounded("bfloat16")),
    "result in float16": _then(_rounded("float16")),
    "detached": _detached,
}


# ---------------------------------------------------------------------------------------------------------------
# Optimizers


def _own_epsilon(keras: Any, adamw: AdamW) -> Any:
    """Keras' AdamW with Keras' own meaning of epsilon."""

    class Own(keras.optimizers.AdamW):  # type: ignore[misc]
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, adamw.epsilon if name == "epsilon" else value)

    return Own(adamw.learning_rate, adamw.weight_decay, adamw.beta1, adamw.beta2, adamw.epsilon)


OPTIMIZERS: dict[str, tuple[type[Optimizer], Callable[[Any, Any], Any]]] = {
    "Nesterov's form": (
        SGD,
        lambda keras, sgd: keras.optimizers.SGD(sgd.learning_rate, momentum=sgd.momentum, nesterov=True),
    ),
    "decay twice": (
        SGD,
        lambda keras, sgd: keras.optimizers.SGD(
            sgd.learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
        ),
    ),
    "no momentum": (SGD, lambda keras, sgd: keras.optimizers.SGD(sgd.learning_rate)),
    "no decay": (
        AdamW,
        lambda keras, adamw: keras.optimizers.Adam(adamw.learning_rate, adamw.beta1, adamw.beta2, adamw.epsilon),
    ),
    "own epsilon": (AdamW, _own_epsilon),
}


class MutatedTensorFlow(Mutated, TensorFlowBackend):
    name: ClassVar[str] = "mutated_tensorflow"

    def emitting(self, change: Change) -> AbstractContextManager[Any]:
        from resnet_spec_keras import compilation
        from resnet_spec_keras.emitting import emit

        def emit_wrong(operation: Any, context: Any) -> Steps:
            steps = emit(operation, context)
            return (
                STEPS[change.layers[context.name]](operation, context, steps)
                if context.name in change.layers
                else steps
            )

        return patch.object(compilation, "emit", emit_wrong)

    def optimizing(self, name: str) -> AbstractContextManager[Any]:
        from resnet_spec_keras import training

        kind, make = OPTIMIZERS[name]
        own = training._native
        return patch.object(training, "_native", lambda o: make(_keras(), o) if isinstance(o, kind) else own(o))
