"""The residual encoder and decoder as TensorFlow 1 networks, written from their description with ``tf.layers``.

``python -m tests.oracles.originals.mirror GRAPH WEIGHTS IMAGES RESULT`` runs one training-mode batch in float64 and
leaves the statistics and everything else as it is then.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph
from resnet_spec.weights.formats.safetensors import read_safetensors, write_safetensors

from ..original import Original
from .tensorflow1 import as_written, tf

REPEATS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SUFFIXES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
POSITIONS = {2: (0, 1), 4: (0, 3, 1, 2)}
"""Axes by which images and vectors become channels first."""


class _Layers:
    """The layers both networks are made of, for inference or for a training step that replaces the statistics."""

    def __init__(self, training: bool) -> None:
        self.training = training

    def normalized(self, value: Any, activate: bool) -> Any:
        momentum = 0.0 if self.training else 0.99
        value = tf.layers.batch_normalization(
            value, axis=[1, 2, 3], momentum=momentum, epsilon=1e-6, training=self.training, name="bn"
        )
        return tf.nn.relu(value) if activate else value


class Encoder(_Layers):
    """Images to logits."""

    def __init__(self, depth: int, filters: int, classes: int, training: bool) -> None:
        super().__init__(training)
        self.depth, self.filters, self.classes = depth, filters, classes

    def __call__(self, images: Any) -> Any:
        window = (images.shape[1] // 32, images.shape[2] // 32)
        value = self.unit("conv1", images, self.filters, window, 2)
        value = tf.layers.max_pooling2d(value, 2, 2, padding="same")
        for n, repeat in enumerate(REPEATS[self.depth]):
            for i in range(repeat):
                stride = 2 if n > 0 and i == 0 else 1
                value = self.block(f"res_{n}_{i}", value, self.filters * 2**n, stride, project=i == 0)
        value = tf.layers.average_pooling2d(value, window, 1, padding="valid")
        return tf.layers.dense(tf.layers.flatten(value), self.classes, name="fc")

    def unit(self, name: str, value: Any, filters: int, kernel: Any, stride: int = 1, activate: bool = True) -> Any:
        with tf.variable_scope(name):
            value = tf.layers.conv2d(value, filters, kernel, stride, padding="same", use_bias=True, name="conv")
            return self.normalized(value, activate)

    def block(self, name: str, value: Any, width: int, stride: int, project: bool) -> Any:
        if self.depth < 50:
            out = width
            left = self.unit(f"{name}_left_myconv1", value, width, 3, stride)
            left = self.unit(f"{name}_left_myconv2", left, width, 3)
        else:
            out = 4 * width
            left = self.unit(f"{name}_left_myconv1", value, width, 1, stride)
            left = self.unit(f"{name}_left_myconv2", left, width, 3)
            left = self.unit(f"{name}_left_myconv3", left, out, 1, activate=False)
        right = self.unit(f"{name}_right_myconv", value, out, 1, stride, activate=False) if project else value
        return tf.nn.relu(left + right)


class Decoder(_Layers):
    """Vectors to images."""

    def __init__(self, depth: int, filters: int, shape: tuple[int, int, int], training: bool) -> None:
        super().__init__(training)
        self.depth, self.filters, self.shape = depth, filters, shape

    def __call__(self, vectors: Any) -> Any:
        channels, height, width = self.shape
        window = (height // 32, width // 32)
        value = tf.layers.dense(vectors, self.filters, activation=tf.nn.relu, name="fc")
        value = tf.reshape(value, [-1, 1, 1, self.filters])
        value = self.bare("deconv1", value, self.filters, window, 1, padding="valid", activation=tf.nn.relu)
        for stage in (4, 3, 2, 1):
            for i in reversed(range(REPEATS[self.depth][stage - 1])):
                stride = 2 if stage > 1 and i == 0 else 1
                value = self.block(f"res_{stage - 1}_{i}", value, self.filters // 2 ** (4 - stage), stride)
        value = self.bare("deconv2", value, 64, 3, 2, padding="same", activation=tf.nn.relu)
        return self.bare("deconv3", value, channels, window, 2, padding="same")

    def bare(self, name: str, value: Any, filters: int, kernel: Any, stride: int, **options: Any) -> Any:
        return tf.layers.conv2d_transpose(value, filters, kernel, stride, use_bias=True, name=name, **options)

    def unit(self, name: str, value: Any, filters: int, kernel: int, stride: int = 1, activate: bool = True) -> Any:
        with tf.variable_scope(name):
            value = self.bare("deconv", value, filters, kernel, stride, padding="same")
            return self.normalized(value, activate)

    def block(self, name: str, value: Any, filters: int, stride: int) -> Any:
        if self.depth < 50:
            out = filters
            left = self.unit(f"{name}_left_mydeconv1", value, filters, 3)
            left = self.unit(f"{name}_left_mydeconv2", left, filters, 3, stride)
        else:
            out = filters // 4
            left = self.unit(f"{name}_deconv1", value, filters, 1)
            left = self.unit(f"{name}_deconv2", left, out, 3)
            left = self.unit(f"{name}_deconv3", left, out, 1, stride, activate=False)
        projected = stride == 2 or int(value.shape[3]) != out
        right = self.unit(f"{name}_right_deconv", value, out, 1, stride) if projected else value
        return tf.nn.relu(left + right)


def _network(graph: Graph, training: bool) -> Encoder | Decoder:
    """The network of the graph's name; the graph says how large it is to be."""
    kind, depth = graph.name.rpartition("/")[2][:7], int(graph.name.rpartition("/")[2][7:])
    shapes = {parameter.name: parameter.shape for parameter in graph.parameters()}
    if kind == "encoder":
        return Encoder(depth, shapes["conv1.conv.weight"][0], shapes["fc.weight"][0], training)
    channels, *window = shapes["deconv3.weight"][1:]
    return Decoder(depth, shapes["fc.weight"][0], (channels, 32 * window[0], 32 * window[1]), training)


class Network(Original):
    """An encoder or a decoder in its own session."""

    version = f"TensorFlow {tf.__version__}, tf.compat.v1.layers"

    def __init__(self, graph: Graph, dtype: str) -> None:
        self._described = graph
        self._graph = tf.Graph()
        with self._graph.as_default():
            first, *positions = graph.input.shape
            self._images = tf.placeholder(dtype, [None, *positions, first])
            self._logits = self._run(training=False)
            self._variables: dict[str, Any] = {_our_name(v.op.name): v for v in tf.global_variables()}
            self._session = tf.Session(config=as_written())

    def _run(self, training: bool) -> Any:
        """The network's value; a second time with the variables of the first."""
        with warnings.catch_warnings(), tf.variable_scope("", reuse=tf.AUTO_REUSE):
            # Every function of tf.layers warns that it is deprecated.
            warnings.simplefilter("ignore")
            return _network(self._described, training)(self._images)

    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        differing = sorted(arrays.keys() ^ self._variables.keys())
        if differing:
            raise ValueError(f"only on one side: {', '.join(differing)}")
        names = list(self._variables)
        # Each run costs as much as the graph is large, and holds what it is fed: neither one nor all at a time.
        for start in range(0, len(names), 40):
            few = {name: self._variables[name] for name in names[start : start + 40]}
            values = {v.initializer.inputs[1]: _as_tensorflow(arrays[name], v.shape) for name, v in few.items()}
            self._session.run([variable.initializer for variable in few.values()], values)

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with self._graph.as_default():
            value = self._run(training=True)
            # Only those of this run.
            updates = tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)
            self._session.run([value, *updates], {self._images: _channels_last(images)})
            updates.clear()
        values = self._session.run(self._variables)
        return {name: _as_torch(value, "/bn/" in self._variables[name].op.name) for name, value in values.items()}

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        result = self._session.run(self._logits, {self._images: _channels_last(images)})
        return np.ascontiguousarray(result.transpose(POSITIONS[result.ndim]))

    def save(self, folder: Path) -> list[Path]:
        with self._graph.as_default():
            return [Path(tf.train.Saver().save(self._session, str(folder / "model.ckpt")))]

    def parameters(self) -> int:
        with self._graph.as_default():
            return sum(variable.shape.num_elements() for variable in tf.trainable_variables())


def _our_name(name: str) -> str:
    layer, _, variable = name.rpartition("/")
    return f"{layer.replace('/', '.')}.{SUFFIXES[variable]}"


def _channels_last(images: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(images, 1, -1)


def _as_tensorflow(array: NDArray[Any], shape: Any) -> NDArray[Any]:
    """An array in TensorFlow's layout: (H, W, in, out), of a transposed convolution (H, W, out, in)."""
    if array.ndim == 3:
        # Statistics of each position.
        array = array.transpose(1, 2, 0)[np.newaxis]
    else:
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if array.shape != tuple(shape):
        raise ValueError(f"an array of shape {array.shape} where the original has {tuple(shape)}")
    return array


def _as_torch(array: NDArray[Any], normalization: bool) -> NDArray[Any]:
    if normalization:
        array = array[0].transpose(2, 0, 1)
    else:
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array)


def main() -> None:
    """One training-mode batch in float64."""
    graph, weights, images, result = map(Path, sys.argv[1:])
    original = Network(Graph.from_json(graph.read_bytes()), "float64")
    original.set(read_safetensors(weights).tensors)
    write_safetensors(result, original.train(np.load(images)))


if __name__ == "__main__":
    main()
