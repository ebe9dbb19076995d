"""Convolutions that are strided and dilated are read as one, however they are written; a pool of the user's stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import ModelError
from resnet_spec.graph.difference import same_but_for_names
from resnet_spec_tensorflow.framework import keras, tf
from tests.resnet_spec_tensorflow.importing.test_graphs import frozen
from tests.resnet_spec_tensorflow.importing.test_model import agree, layers, normalized, randomized

WINDOWS: dict[str, dict[str, Any]] = {
    "stride and dilation alike": {"stride": 2, "dilation": 2, "padding": 2},
    "common factor": {"stride": 4, "dilation": 6, "padding": 6},
    "nothing in common": {"stride": 2, "dilation": 3, "padding": 3, "bias": True},
    "other on each axis": {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 0), (2, 2)), "bias": True},
    "without padding": {"stride": 3, "dilation": 3},
    "dilation only": {"dilation": 2, "padding": 2, "groups": 2, "bias": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("saved", [False, True], ids=["layers", "graph"])
@pytest.mark.parametrize("name", WINDOWS)
def test_a_convolution_is_one(
    name: str, saved: bool, tmp_path: Path, backend: Any, single: Any, make: Any, images: Any
) -> None:
    graph = single("conv2d", (4, 20, 21), channels=6, kernel=3, **WINDOWS[name])
    model = make(graph)
    if saved:
        backend.write(model, graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model" if saved else model, graph.input.shape)
    assert same_but_for_names(normalized(graph), normalized(source.graph))
    agree(backend, source, images(2, 4, 20, 21))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_a_dilated_layer_of_keras(kind: str, padding: str, tmp_path: Path, backend: Any, images: Any) -> None:
    inputs = keras.Input((11, 12, 4))
    options: dict[str, Any] = {"dilation_rate": 3, "padding": padding, "name": "layer"}
    layer = layers.Conv2D(6, 3, **options) if kind == "conv" else layers.DepthwiseConv2D(3, **options)
    model = randomized(keras.Model(inputs, layer(inputs)))
    source = backend.import_model(frozen(model, tmp_path / "model.pb"))
    (node,) = source.graph.nodes
    assert node.operation.dilation == (3, 3)
    assert node.operation.fixed_padding == (((3, 3),) * 2 if padding == "same" else ((0, 0),) * 2)
    agree(backend, source, images(2, 4, 11, 12))


@pytest.mark.parametrize("saved", [False, True], ids=["layers", "graph"])
def test_a_pool_of_single_positions_stays_a_pool(saved: bool, tmp_path: Path, backend: Any) -> None:
    inputs = keras.Input((9, 9, 3))
    x = layers.MaxPooling2D(1, 2, name="pick")(inputs)
    x = layers.Conv2D(4, 3, name="conv")(x)
    model = keras.Model(inputs, layers.MaxPooling2D(1, 2, name="last")(x))
    source = backend.import_model(frozen(model, tmp_path / "model.pb") if saved else model)
    assert [node.operation.op for node in source.graph.nodes] == ["max_pool2d", "conv2d", "max_pool2d"]


def test_an_unusual_crop_is_reported(tmp_path: Path, backend: Any) -> None:
    """Rows that are cropped at the start belong to no dilated convolution."""
    inputs = keras.Input((9, 9, 3))
    path = frozen(keras.Model(inputs, layers.Conv2D(4, 3, dilation_rate=2)(inputs)), tmp_path / "model.pb")
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    back = next(node for node in graph.node if node.op == "BatchToSpaceND")
    graph.node.add(op="Const", name="crops")
    added = graph.node[-1].attr
    added["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array([[1, 0], [0, 0]], np.int32)))
    added["dtype"].type = tf.int32.as_datatype_enum
    back.input[2] = "crops"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match=r"SpaceToBatchND.*the spec language has no such operation"):
        backend.import_model(path)
