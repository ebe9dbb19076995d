"""Graphs that TensorFlow itself freezes, read without it: of a Keras model, and of the names of its official ResNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import resnet_spec
from resnet_spec.weights.reading import read_checkpoint

MAX_RELATIVE = 3e-5


def test_every_variable_of_a_keras_model_is_a_constant(tmp_path: Path) -> None:
    image = keras.Input((9, 9, 3))
    features = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv")(image))
    output = keras.layers.Dense(5, name="fc")(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(image, output)
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(variable.shape, "float32") for variable in model.variables])
    concrete = tf.function(model).get_concrete_function(tf.TensorSpec((1, 9, 9, 3), tf.float32))
    path = tmp_path / "frozen.pb"
    path.write_bytes(convert_variables_to_constants_v2(concrete).graph.as_graph_def().SerializeToString())

    arrays = list(read_checkpoint(path).tensors.values())
    for variable in model.variables:
        wanted = variable.numpy()
        assert sum(array.shape == wanted.shape and np.array_equal(array, wanted) for array in arrays) == 1, (
            variable.path
        )


class Official:
    """The official ResNet v1.5 as MLPerf froze it, with the names that TensorFlow 1's layers count; narrow."""

    def __init__(self, graph_mode: Any) -> None:
        self.v1 = graph_mode
        self.counts: dict[str, int] = {}
        self.rng = np.random.default_rng(0)

    def variable(self, layer: str, word: str, shape: tuple[int, ...], low: float, high: float) -> Any:
        values = self.rng.uniform(low, high, shape).astype("float32")
        return self.v1.get_variable(f"{layer}/{word}", initializer=values)

    def named(self, kind: str) -> str:
        number = self.counts[kind] = self.counts.get(kind, -1) + 1
        return f"{kind}_{number}" if number else kind

    def conv(self, x: Any, channels: int, kernel: int, stride: int) -> Any:
        name, padding = self.named("conv2d"), "SAME"
        if stride > 1:
            before = (kernel - 1) // 2
            x = tf.pad(x, [[0, 0], [before, kernel - 1 - before], [before, kernel - 1 - before], [0, 0]])
            padding = "VALID"
        weight = self.variable(name, "kernel", (kernel, kernel, x.shape[-1], channels), -0.5, 0.5)
        return tf.nn.conv2d(x, weight, stride, padding)

    def norm(self, x: Any) -> Any:
        name, size = self.named("batch_normalization"), (x.shape[-1],)
        scale, offset = self.variable(name, "gamma", size, 0.5, 1.5), self.variable(name, "beta", size, -0.1, 0.1)
        mean = self.variable(name, "moving_mean", size, -0.1, 0.1)
        variance = self.variable(name, "moving_variance", size, 0.5, 1.5)
        return self.v1.nn.fused_batch_norm(x, scale, offset, mean, variance, epsilon=1e-5, is_training=False)[0]

    def block(self, x: Any, width: int, stride: int, projected: bool) -> Any:
        shortcut = self.norm(self.conv(x, 4 * width, 1, stride)) if projected else x
        x = tf.nn.relu(self.norm(self.conv(x, width, 1, 1)))
        x = tf.nn.relu(self.norm(self.conv(x, width, 3, stride)))
        return tf.nn.relu(self.norm(self.conv(x, 4 * width, 1, 1)) + shortcut)

    def network(self, image: Any) -> Any:
        x = tf.nn.relu(self.norm(self.conv(image, 2, 7, 2)))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        for stage, count in enumerate((2, 1, 1, 1)):
            for index in range(count):
                x = self.block(x, 2 * 2**stage, 2 if stage and not index else 1, not index)
        x = tf.reduce_mean(x, [1, 2])
        weight = self.variable("dense", "kernel", (x.shape[-1], 5), -0.5, 0.5)
        return tf.matmul(x, weight) + self.variable("dense", "bias", (5,), -0.5, 0.5)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A frozen graph of the official ResNet, images, and its logits."""
    v1 = tf.compat.v1
    image = np.random.default_rng(1).normal(size=(2, 48, 48, 3)).astype("float32")
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        placeholder = v1.placeholder(tf.float32, image.shape, "input_tensor")
        with v1.variable_scope("resnet_model", use_resource=False):
            logits = tf.identity(Official(v1).network(placeholder), "logits")
        session.run(v1.global_variables_initializer())
        expected = session.run(logits, {placeholder: image})
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [logits.op.name])
    path = tmp_path_factory.mktemp("frozen") / "resnet50_v1.pb"
    path.write_bytes(frozen.SerializeToString())
    return path, image, expected


OVERRIDES: Mapping[str, Any] = {
    "parameters.classes": 5,
    "parameters.base_width": 2,
    "stem.conv1.conv2d.channels": 2,
    "stem.maxpool.max_pool2d.padding": "same",
    "stages.layer1.repeat": 2,
    **{f"stages.layer{stage}.repeat": 1 for stage in (2, 3, 4)},
    **{f"stages.layer{stage}.channels": 4 * 2**stage for stage in range(1, 5)},
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_mlperfs_frozen_graph_computes_the_same(official: tuple[Path, Any, Any]) -> None:
    path, image, expected = official
    model = resnet_spec.build("resnet50", "tensorflow", weights=path, overrides=OVERRIDES)
    logits = np.asarray(model(image))

    assert np.abs(logits - expected).max() / expected.std() < MAX_RELATIVE
