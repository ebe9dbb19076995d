"""TF-Slim's ResNets, in a TensorFlow 1 graph and session; in its own process, since slim needs Keras 2.

``python -m tests.oracles.originals.slim FOLDER`` does what ``FOLDER/plan.json`` asks: lists the variables of networks,
and runs some in float64 with slim's own arguments.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph
from resnet_spec.weights.formats.safetensors import read_safetensors

from ..original import Original
from .tensorflow1 import as_written, tf

# Slim looks for tf.layers where it was before Keras moved it.
for part in ("", ".base", ".core", ".normalization", ".convolutional", ".pooling", ".variable_scope_shim"):
    home = "tf_keras.legacy_tf_layers" + part
    sys.modules[home] = importlib.import_module(home.replace("tf_keras.", "tf_keras.src."))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tf_slim
    from tf_slim.nets import resnet_utils, resnet_v1, resnet_v2

SUFFIXES = {
    "weights": "weight",
    "biases": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Network(Original):
    """A network of slim's under the scope that it chooses itself."""

    version = f"TF-Slim {importlib.metadata.version('tf-slim')}"

    def __init__(self, graph: Graph, dtype: str, output_stride: int | None = None, global_pool: bool = True) -> None:
        self.name, self._dtype = graph.name.rpartition("/")[2], dtype
        self._arguments = {
            "num_classes": next(p.shape[0] for p in graph.parameters() if p.name == "logits.bias"),
            "output_stride": output_stride,
            "global_pool": global_pool,
            "reuse": tf.AUTO_REUSE,
        }
        self._graph = tf.Graph()
        with self._graph.as_default():
            self._images = tf.placeholder(dtype, [None, None, None, graph.input.channels])
            self._logits = self._build(is_training=False)
            self._variables: dict[str, Any] = {_our_name(v.op.name): v for v in tf.global_variables()}
            self._session = tf.Session(config=as_written())

    def _build(self, is_training: bool) -> Any:
        # A decay of 0 leaves nothing of the old statistics. TensorFlow's fused kernel has no float64.
        decay, fused = 0.0 if is_training else 0.997, self._dtype == "float32"
        network = getattr(resnet_v1 if "_v1_" in self.name else resnet_v2, self.name)
        with (
            warnings.catch_warnings(),
            tf_slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=decay)),
            tf_slim.arg_scope([tf_slim.layers.batch_norm], fused=fused),
        ):
            # Every function of tf.layers warns that it is deprecated.
            warnings.simplefilter("ignore")
            return network(self._images, is_training=is_training, **self._arguments)[0]

    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        differing = sorted(arrays.keys() ^ self._variables.keys())
        if differing:
            raise ValueError(f"only on one side: {', '.join(differing)}")
        # One run for all: TensorFlow prepares the graph again for each set of requested values.
        initializers = [variable.initializer for variable in self._variables.values()]
        values = {
            variable.initializer.inputs[1]: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            for variable, array in ((self._variables[name], array) for name, array in arrays.items())
        }
        # Raises itself where a shape differs.
        self._session.run(initializers, values)

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with self._graph.as_default():
            step = [self._build(is_training=True), *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
        self._session.run(step, {self._images: np.moveaxis(images, 1, -1)})
        return {name: _as_torch(array) for name, array in self._session.run(self._variables).items()}

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        """(batch, classes) as slim's users squeeze them, or the map where nothing is pooled."""
        result = self._session.run(self._logits, {self._images: np.moveaxis(images, 1, -1)})
        result = np.ascontiguousarray(np.moveaxis(result, -1, 1))
        return result[:, :, 0, 0] if result.shape[2:] == (1, 1) else result

    def save(self, folder: Path) -> list[Path]:
        with self._graph.as_default():
            return [Path(tf.train.Saver().save(self._session, str(folder / "model.ckpt")))]

    def shapes(self) -> dict[str, list[int]]:
        """Those of all variables, by slim's names."""
        with self._graph.as_default():
            return _shapes()

    def parameters(self) -> int:
        with self._graph.as_default():
            return sum(variable.shape.num_elements() for variable in tf.trainable_variables())


def _shapes() -> dict[str, list[int]]:
    return {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}


def variables(name: str) -> dict[str, list[int]]:
    """The shapes of a network's variables by their names, with slim's root scope."""
    with (
        tf.Graph().as_default(),
        warnings.catch_warnings(),
        tf_slim.arg_scope(resnet_utils.resnet_arg_scope()),
    ):
        warnings.simplefilter("ignore")
        getattr(resnet_v1 if "_v1_" in name else resnet_v2, name)(tf.zeros([1, 33, 33, 3]), 1000, is_training=False)
        return _shapes()


def _our_name(variable: str) -> str:
    """A variable's name without slim's own root scope, in the words of PyTorch."""
    layer, _, last = re.sub(r"^resnet_v\d_\d+/", "", variable).rpartition("/")
    return f"{layer.replace('/', '.')}.{SUFFIXES[last]}"


def _as_torch(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array


def main() -> None:
    """Leave the variables in ``variables.json``, and the logits of each case in its own file."""
    folder = Path(sys.argv[1])
    # A variable takes half as many nodes of a graph.
    tf.disable_resource_variables()
    plan = json.loads((folder / "plan.json").read_text())
    found: dict[str, dict[str, list[int]]] = {}
    images = np.load(folder / "images.npy")
    for name, arguments in plan["cases"].items():
        graph = Graph.from_json((folder / f"{name}.json").read_bytes())
        original = Network(graph, "float64", **arguments)
        original.set(read_safetensors(folder / f"{name}.safetensors").tensors)
        np.save(folder / f"{name}.npy", original.logits(images))
        found[original.name] = original.shapes()
    # The others, without values.
    found |= {name: variables(name) for name in plan["names"] if name not in found}
    (folder / "variables.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
