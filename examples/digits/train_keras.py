"""Train by Keras' fit on two devices of tf.distribute: python train_keras.py OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import data
import keras
import tensorflow as tf

import resnet_spec


def main(output: Path) -> None:
    """Train, and record."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    images, classes = data.digits()
    images = images.transpose(0, 2, 3, 1)
    with strategy.scope():
        model = resnet_spec.build(
            data.SPEC, "tensorflow", output / "start.safetensors", exact_statistics=True, synchronized=True
        )
        model.compile(
            keras.optimizers.SGD(data.RATE, momentum=data.MOMENTUM),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    tested = images[data.TRAINED :], classes[data.TRAINED :]
    losses, accuracies = [], []
    for epoch in range(data.EPOCHS):
        order = [index for batch in data.batches(epoch) for index in batch]
        trained = tf.data.Dataset.from_tensor_slices((images[order], classes[order])).batch(data.BATCH)
        found = model.fit(trained, verbose=0)
        losses += found.history["loss"]
        accuracies.append(model.evaluate(*tested, verbose=0, return_dict=True)["accuracy"])
    data.record(output / "keras.json", losses, accuracies)
    resnet_spec.save(model, output / "keras.safetensors", force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
