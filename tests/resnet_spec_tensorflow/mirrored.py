"""MirroredStrategy on two logical devices of the CPU against one device with the whole batch.

``python -m tests.resnet_spec_tensorflow.mirrored FOLDER``, in a process of its own: devices are made before TensorFlow
starts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import resnet_spec
from resnet_spec_keras.layers import UnbiasedBatchNormalization
from tests.resnet_spec_torch.distributed.synchronizing import BLOCKS, POSITIONS

REPLICAS = 2


def built(text: str, folder: Path, **options: Any) -> Any:
    path = folder / "net.yaml"
    path.write_text(text, "utf-8")
    return resnet_spec.build(path, "tensorflow", dtype="float64", **options)


PARTS = slice(0, 3), slice(3, 8)
"""The images of each replica."""


def differences(
    strategy: Any,
    folder: Path,
    text: str = BLOCKS,
    variance: str = "unbiased",
    *,
    synchronized: bool,
    local: slice = slice(0, 8),
    **options: Any,
) -> dict[str, float]:
    """By how much a training step of the replicas differs from that of one device; ``local`` is this worker's part."""
    text = text.replace("VARIANCE", variance)
    random = np.random.default_rng(0)
    with strategy.scope():
        ours = built(text, folder, synchronized=synchronized, **options)
    whole = built(text, folder, **options)
    weights = [array if array.ndim > 1 else array + random.normal(0, 0.3, array.shape) for array in whole.get_weights()]
    weights = [np.abs(array) for array in weights]
    images, directions = random.standard_normal((8, 6, 6, 3)), random.standard_normal((8, 5))
    for model in (ours, whole):
        model.set_weights(weights)

    def step(model: Any, batch: Any, directions: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            outputs = model(batch, training=True)
            loss = tf.reduce_sum(outputs * directions)
        image, *gradients = tape.gradient(loss, [batch, *model.trainable_variables])
        replica: Any = tf.distribute.get_replica_context()
        return outputs, image, replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    parts = [(tf.constant(images[part]), tf.constant(directions[part])) for part in PARTS]
    spread = strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )

    @tf.function
    def replicas() -> Any:
        return strategy.run(lambda part: step(ours, *part), args=(spread,))

    outputs, image, gradients = tf.nest.map_structure(
        strategy.experimental_local_results, replicas(), expand_composites=False
    )
    expected, expected_image, expected_gradients = step(whole, tf.constant(images), tf.constant(directions))

    def differ(ours: Any, theirs: Any) -> float:
        return float(np.max(np.abs(np.asarray(ours) - np.asarray(theirs))))

    return {
        "outputs": differ(np.concatenate(outputs), expected[local]),
        "images": differ(np.concatenate(image), expected_image[local]),
        "parameters": max(
            differ(each, other) for one, other in zip(gradients, expected_gradients, strict=True) for each in one
        ),
        "statistics": max(
            differ(one, other) for one, other in zip(ours.get_weights(), whole.get_weights(), strict=True)
        ),
    }


def cancellation() -> dict[str, float]:
    """The relative error in float32 of the variance of values around 100, by what a layer moves its statistics to."""
    values = (100 + np.random.default_rng(0).standard_normal((8192, 1))).astype(np.float32)
    found: dict[str, float] = {}
    for name, synchronized in (("synchronized", True), ("not synchronized", False)):
        layer = keras.layers.BatchNormalization(momentum=0.0, synchronized=synchronized)
        layer(values, training=True)
        found[name] = abs(float(layer.moving_variance[0]) / values.astype(np.float64).var() - 1)
    return found


def _own_count(layer: Any, inputs: Any) -> Any:
    """The number of values in a replica minus 1, where that of the whole batch is meant."""
    return tf.size(inputs[..., 0]) - 1


def main(folder: Path) -> None:
    """Write what is found to a file of the folder."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(REPLICAS)])
    found = {
        "as the frameworks do": differences(strategy, folder, synchronized=True),
        "unbiased": differences(strategy, folder, synchronized=True, exact_statistics=True),
        "positions": differences(strategy, folder, POSITIONS, synchronized=True),
        "positions, unbiased": differences(strategy, folder, POSITIONS, synchronized=True, exact_statistics=True),
        "not synchronized": differences(strategy, folder, synchronized=False),
    }
    with mock.patch.object(UnbiasedBatchNormalization, "_others", _own_count):
        found["counts ignored"] = differences(strategy, folder, synchronized=True, exact_statistics=True)
    found["cancellation"] = cancellation()
    (folder / "found.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
