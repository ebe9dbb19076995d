"""Sets, reads and initializes parameters in Keras layers, by the tables of names and layouts."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.graph.initialization import fans
from resnet_spec.graph.initialization_rules import Constant, FixedDeviation, Rule, VarianceScaling
from resnet_spec.operations import KERNELS
from resnet_spec.operations.fields import Shape
from resnet_spec.weights.layouts import KERAS_NAMES, tensorflow_axes
from resnet_spec_keras.framework import keras, tf
from resnet_spec_keras.portable_names import hyphenated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter


def variables(model: Any, graph: Graph) -> dict[str, Any]:
    """Return the Keras variable of every parameter, by the graph's names; the model may have those of a file."""
    layers = _layers(model)
    owners = {p.name: layers.get(p.node) or layers[hyphenated(p.node)] for p in graph.parameters()}
    return {p.name: getattr(owners[p.name], KERAS_NAMES[p.role]) for p in graph.parameters()}


def set_arrays(model: Any, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set every parameter of a model from arrays in PyTorch's layout, by the graph's names."""
    by_name = variables(model, graph)
    for parameter in graph.parameters():
        variable = by_name[parameter.name]
        array = np.asarray(arrays[parameter.name], variable.dtype)
        axes = tensorflow_axes(parameter.role, len(parameter.shape))
        # A position's statistics are a flat vector.
        if tf is None:
            # A copy, since JAX may take over an array's memory.
            variable.assign(np.array(array.transpose(axes), order="C").reshape(variable.shape))
        else:
            # TensorFlow's transposition is several times faster than NumPy's copy of a strided array.
            tensor = tf.convert_to_tensor(array)
            variable.assign(tf.reshape(tf.transpose(tensor, axes) if len(axes) > 1 else tensor, variable.shape))


def get_arrays(model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return a copy of every parameter in PyTorch's layout, by the graph's names."""
    by_name = variables(model, graph)
    # The framework's own variable, since Keras' conversion to NumPy warns under NumPy 2.
    return {p.name: laid_out(p, np.asarray(by_name[p.name].value)) for p in graph.parameters()}


def laid_out(parameter: Parameter, value: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of a parameter's values, or of its gradient, in PyTorch's layout."""
    axes = tensorflow_axes(parameter.role, len(parameter.shape))
    # NumPy itself has no bfloat16.
    value = value.astype("float32") if value.dtype.name == "bfloat16" else value
    shaped = value.reshape([parameter.shape[axis] for axis in axes])
    return shaped.transpose(np.argsort(axes)).copy(order="C")


def set_initializers(model: Any, graph: Graph) -> None:
    """Give the layers the graph's initialization, for anyone who clones the model or rebuilds it from its config."""
    layers = _layers(model)
    kernels = {p.node: p.shape for p in graph.parameters() if p.role in KERNELS}
    for parameter in graph.parameters():
        initializer = _initializer(parameter, graph.initialization.rule(parameter), kernels.get(parameter.node))
        setattr(layers[parameter.node], f"{KERAS_NAMES[parameter.role]}_initializer", initializer)


def _initializer(parameter: Parameter, rule: Rule, kernel: Shape | None) -> Any:
    # One object per parameter: a Keras initializer returns the same numbers each time it is called.
    if isinstance(rule, Constant):
        return {0.0: keras.initializers.Zeros, 1.0: keras.initializers.Ones}.get(
            rule.constant, lambda: keras.initializers.Constant(rule.constant)
        )()
    if isinstance(rule, VarianceScaling) and parameter.shape == kernel:
        distribution = "untruncated_normal" if rule.distribution == "normal" else rule.distribution
        return keras.initializers.VarianceScaling(rule.scale, rule.fan, distribution)
    return _initializer_of(rule, kernel or (prod(parameter.shape[:1]), 1))


def _initializer_of(rule: VarianceScaling | FixedDeviation, kernel: Shape) -> Any:
    """Keras would use a vector's own length as its fans; the rule means those of the layer's kernel."""
    deviation = rule.deviation(*fans(kernel))
    if rule.distribution == "uniform":
        return keras.initializers.RandomUniform(-sqrt(3) * deviation, sqrt(3) * deviation)
    if rule.distribution == "normal":
        return keras.initializers.RandomNormal(0.0, deviation)
    # The standard deviation of a normal distribution cut at ±2.
    return keras.initializers.TruncatedNormal(0.0, deviation / 0.87962566103423978)


def _layers(model: Any) -> dict[str, Any]:
    # get_layer searches the whole list each time.
    return {layer.name: layer for layer in model.layers}
