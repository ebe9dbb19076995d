"""What Keras 2 saves of its ResNets, and what it loads from us: a process of its own, beside Keras 3.

``python -m tests.oracles.originals.legacy_keras save FOLDER`` trains a network for one step and leaves it in every form
that Keras 2 has, with all its values; ``load FOLDER`` leaves what it has after it has loaded ``FOLDER/ours.h5``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tf_keras

FILES = ("whole.h5", "weights.h5", "model.keras", "saved", "checkpoint.index", "old/checkpoint.index")


def build() -> Any:
    return tf_keras.applications.ResNet50(weights=None, input_shape=(33, 33, 3), classes=10)


def train(optimizer: Any) -> Any:
    """A network after one step, whose batch moves the running statistics too."""
    tf_keras.utils.set_random_seed(1)
    model = build()
    # What is compiled for one step takes longer than the step.
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    model.fit(np.random.default_rng(1).random((2, 33, 33, 3), "float32"), np.eye(2, 10), verbose=0)
    return model


def keep(model: Any, path: Path) -> None:
    np.savez(path, **{variable.name.partition(":")[0]: variable.numpy() for variable in model.variables})


def save(folder: Path) -> None:
    """Leave all of ``FILES`` and ``values.npz``; those in ``old`` have the optimizer that Keras had before 2.11."""
    model = train(tf_keras.optimizers.Adam(1e-3))
    keep(model, folder / "values.npz")
    with warnings.catch_warnings():
        # That HDF5 is an older format.
        warnings.simplefilter("ignore")
        model.save(folder / "whole.h5")
        model.save_weights(folder / "weights.h5")
        model.save(folder / "model.keras")
        model.save(folder / "saved")
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / "checkpoint"))
    old = train(tf_keras.optimizers.legacy.Adam(1e-3))
    keep(old, folder / "old.npz")
    tf.train.Checkpoint(model=old, optimizer=old.optimizer).write(str(folder / "old" / "checkpoint"))


def load(folder: Path) -> None:
    """Leave ``loaded.npz``."""
    model = build()
    model.load_weights(folder / "ours.h5")
    keep(model, folder / "loaded.npz")


if __name__ == "__main__":
    {"save": save, "load": load}[sys.argv[1]](Path(sys.argv[2]))
