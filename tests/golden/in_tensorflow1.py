"""The originals on TensorFlow 1: ``tf.layers``, TF-Slim's units, and the encoder's and decoder's blocks.

A module of its own, since they need Keras 2, which a process has instead of Keras 3.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph

from ..oracles.originals import mirror, slim
from ..oracles.originals.slim import resnet_utils, resnet_v1, resnet_v2, tf, tf_slim
from .original import PREFIX, Arrays, Original

_VALUES = ("Conv2D", "Conv2DBackpropInput", "BatchToSpaceND", "BiasAdd", "AddV2", "Relu", "MaxPool")
"""The types of operations whose values are those of nodes."""

_SUFFIXES = {**slim.SUFFIXES, **mirror.SUFFIXES}

Make = Callable[[Any], Any]
"""From images with channels last to a value, both of them in TensorFlow's current graph."""


def _session(name: str, libraries: tuple[str, ...], make: Make, our_name: Callable[[str], str]) -> Original:
    """Run what a function adds to a TensorFlow graph; ``our_name`` maps an operation to the node whose value it has."""

    def run(graph: Graph, arrays: Arrays, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with tf.Graph().as_default() as theirs, warnings.catch_warnings(), tf.Session() as session:
            # Every function of tf.layers warns that it is deprecated.
            warnings.simplefilter("ignore")
            channels, *size = graph.input.shape
            given = tf.placeholder("float64", [None, *size, channels])
            output = make(given)
            named = ((variable, *variable.op.name.rsplit("/", 1)) for variable in tf.global_variables())
            variables = {f"{our_name(layer)}.{_SUFFIXES[last]}": variable for variable, layer, last in named}
            differing = arrays.keys() ^ variables.keys()
            if differing:
                raise ValueError(f"only on one side: {', '.join(sorted(differing))}")
            values = {v.initializer.inputs[1]: _channels_last(arrays[key]) for key, v in variables.items()}
            session.run([variable.initializer for variable in variables.values()], values)
            # The last of a name: a bias is added to what goes by the layer's name.
            fetched = {our_name(op.name): op.outputs[0] for op in theirs.get_operations() if op.type in _VALUES}
            fetched = {node: tensor for node, tensor in fetched.items() if node in graph.by_name}
            fetched[graph.outputs[-1]] = output
            values = session.run(fetched, {given: np.moveaxis(images, 1, -1)})
        return {node: np.ascontiguousarray(np.moveaxis(value, -1, 1)) for node, value in values.items()}

    return Original(name, libraries, run)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """A parameter in TensorFlow's layout: (H, W, in, out), of a transposed convolution (H, W, out, in)."""
    if array.ndim == 3:
        # One for each position.
        return array.transpose(1, 2, 0)[np.newaxis]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


# ---------------------------------------------------------------------------------------------------------------
# TF-Slim and tf.layers


def _slim(module: Any, stride: int = 1, rate: int = 1) -> Original:
    """A unit of 8 channels and a width of 2."""

    def make(images: Any) -> Any:
        inference = tf_slim.arg_scope(resnet_utils.resnet_arg_scope())
        # TensorFlow's fused kernel has no float64.
        with inference, tf_slim.arg_scope([tf_slim.layers.batch_norm], fused=False, is_training=False):
            return module.bottleneck(images, 8, 2, stride, rate, scope="block")

    return _session(f"{module.__name__}.bottleneck", ("tf-slim", "tensorflow"), make, _slim_name)


def _slim_name(theirs: str) -> str:
    return PREFIX + _layer(theirs).removeprefix("block/").replace("/", ".")


def _layer(theirs: str) -> str:
    """The layer whose value an operation's is: a kernel's, a bias's or a normalization's last part has its name."""
    return re.sub(r"/(Conv2D(/BatchToSpaceND)?|conv2d_transpose|BiasAdd|batchnorm(_1)?/add_1)$", "", theirs)


def _layers(name: str, block: Callable[[Any], Any]) -> Original:
    """A block of ``tf.layers`` called ``block``."""
    return _session(f"tests.oracles.originals.mirror.{name}.block", ("tensorflow", "tf_keras"), block, _layers_name)


def _layers_name(theirs: str) -> str:
    return PREFIX + _layer(theirs).removeprefix("block_").replace("/", ".").replace("Relu", "relu")


def _encoder(depth: int, width: int, stride: int, *, project: bool) -> Original:
    encoder = mirror.Encoder(depth, width, 10, training=False)
    return _layers("Encoder", lambda images: encoder.block("block", images, width, stride, project))


def _decoder(depth: int, width: int, stride: int) -> Original:
    decoder = mirror.Decoder(depth, width, (3, 32, 32), training=False)
    return _layers("Decoder", lambda images: decoder.block("block", images, width, stride))


def _positions(*, affine: bool) -> Original:
    def make(images: Any) -> Any:
        return tf.layers.batch_normalization(
            images, axis=[1, 2, 3], epsilon=1e-3, center=affine, scale=affine, training=False, name="layer"
        )

    name = "tensorflow.compat.v1.layers.batch_normalization"
    return _session(name, ("tensorflow", "tf_keras"), make, _layer)


ORIGINALS: dict[str, Original] = {
    "operations/position_batch_norm": _positions(affine=True),
    "operations/position_batch_norm_plain": _positions(affine=False),
    "blocks/mirror_basic_decoder": _decoder(18, 4, 2),
    "blocks/mirror_basic_decoder_identity": _decoder(18, 4, 1),
    "blocks/mirror_basic_encoder": _encoder(18, 4, 2, project=True),
    "blocks/mirror_basic_encoder_identity": _encoder(18, 4, 1, project=False),
    "blocks/mirror_bottleneck_decoder": _decoder(50, 8, 2),
    "blocks/mirror_bottleneck_decoder_identity": _decoder(50, 8, 1),
    "blocks/mirror_bottleneck_encoder": _encoder(50, 2, 2, project=True),
    "blocks/mirror_bottleneck_encoder_identity": _encoder(50, 2, 1, project=False),
    "blocks/slim_bottleneck": _slim(resnet_v1, 2),
    "blocks/slim_bottleneck_pooled": _slim(resnet_v1, 2),
    "blocks/slim_bottleneck_dilated": _slim(resnet_v1, rate=2),
    "blocks/slim_preact_bottleneck": _slim(resnet_v2, 2),
    "blocks/slim_preact_bottleneck_pooled": _slim(resnet_v2, 2),
    "blocks/slim_preact_bottleneck_dilated": _slim(resnet_v2, rate=2),
}
