"""Checkpoints that slim's users have, and what slim restores from others: a process of its own, as for the networks.

``python -m tests.oracles.originals.slim_files {save,restore} FOLDER NETWORK...``: ``save`` trains each network for one
step with a momentum and moving averages, and leaves a checkpoint and all its values; ``restore`` leaves what slim's
network has after it has restored ``FOLDER/NETWORK.ckpt``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .slim import resnet_utils, resnet_v1, resnet_v2, tf_slim
from .tensorflow1 import as_written, tf

CLASSES = 10


def build(name: str, is_training: bool) -> Any:
    """The logits of a network for two small images."""
    images = tf.random_uniform([2, 33, 33, 3], seed=1)
    with warnings.catch_warnings(), tf_slim.arg_scope(resnet_utils.resnet_arg_scope()):
        # Every function of tf.layers warns that it is deprecated.
        warnings.simplefilter("ignore")
        module = resnet_v1 if "_v1_" in name else resnet_v2
        return getattr(module, name)(images, CLASSES, is_training=is_training)[0]


def save(folder: Path, name: str) -> None:
    """Leave ``NETWORK.ckpt-1`` and ``NETWORK.npz``, every variable's value by its name."""
    logits = build(name, is_training=True)
    step = tf.train.get_or_create_global_step()
    averages = tf.train.ExponentialMovingAverage(0.9)
    train = tf.train.MomentumOptimizer(0.01, 0.9).minimize(tf.reduce_sum(logits**2), step)
    with tf.control_dependencies([train, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]):
        train = averages.apply(tf.trainable_variables())
    with tf.Session(config=as_written()) as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        np.savez(folder / f"{name}.npz", **session.run({v.op.name: v for v in tf.global_variables()}))
        tf.train.Saver().save(session, str(folder / f"{name}.ckpt"), global_step=step)


def restore(folder: Path, name: str) -> None:
    """Leave ``NETWORK.restored.npz``, the network's values after it has restored ``NETWORK.ckpt``."""
    build(name, is_training=False)
    variables = tf_slim.get_model_variables()
    with tf.Session(config=as_written()) as session:
        # Raises where the checkpoint lacks one, or has another shape.
        tf.train.Saver(variables).restore(session, str(folder / f"{name}.ckpt"))
        np.savez(folder / f"{name}.restored.npz", **session.run({v.op.name: v for v in variables}))


def main() -> None:
    """Run the requested actions, each network in its own graph."""
    action, folder, *names = sys.argv[1:]
    for name in names:
        with tf.Graph().as_default():
            {"save": save, "restore": restore}[action](Path(folder), name)


if __name__ == "__main__":
    main()
