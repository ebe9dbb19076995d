"""Layers of which Keras exports several nodes are one operation again, and what only looks like one is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import ModelError
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.graph_def import FOLDED
from tests.resnet_spec_tensorflow.importing.test_graphs import frozen
from tests.resnet_spec_tensorflow.importing.test_model import agree, randomized
from tests.resnet_spec_tensorflow.importing.tutorials import layers

PATTERNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "layer norm": (layers.LayerNormalization(epsilon=1e-6), {"op": "layer_norm", "epsilon": 1e-6, "axis": 0}),
    "without scale": (layers.LayerNormalization(scale=False), {"op": "layer_norm", "scale": False, "offset": True}),
    "without offset": (layers.LayerNormalization(center=False), {"op": "layer_norm", "scale": True, "offset": False}),
    "plain": (layers.LayerNormalization(center=False, scale=False), {"op": "layer_norm", "offset": False}),
    "group norm": (layers.GroupNormalization(2), {"op": "group_norm", "groups": 2, "epsilon": 1e-3}),
    "instance norm": (layers.GroupNormalization(-1), {"op": "instance_norm"}),
    "gelu": (layers.Activation("gelu"), {"op": "gelu", "approximate": False}),
    "approximate gelu": (lambda x: keras.activations.gelu(x, approximate=True), {"op": "gelu", "approximate": True}),
    "mish": (layers.Activation("mish"), {"op": "mish"}),
    "softmax of rows": (layers.Softmax(axis=1), {"op": "softmax"}),
    "prelu": (layers.PReLU(shared_axes=[1, 2], alpha_initializer="uniform"), {"op": "prelu", "per_channel": True}),
}


def model_of(step: Any) -> Any:
    inputs = keras.Input((6, 5, 4))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = step(x)
    return randomized(keras.Model(inputs, layers.Dense(3, name="fc")(layers.GlobalAveragePooling2D()(x))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PATTERNS)
def test_a_layer_is_one_operation(name: str, tmp_path: Path, backend: Any, images: Any) -> None:
    step, fields = PATTERNS[name]
    source = backend.import_model(frozen(model_of(step), tmp_path / "model.pb"))
    # Keras brings another axis than the last one to the end first.
    nodes = [node for node in source.graph.nodes if node.operation.op != "transpose"]
    ops = [node.operation.op for node in nodes]
    assert ops == ["conv2d", fields["op"], "global_avg_pool", "flatten", "linear"]
    operation = nodes[1].operation
    assert {field: getattr(operation, field) for field in fields} == fields
    agree(backend, source, images(3, 4, 6, 5))


@pytest.mark.parametrize("bounds", [(0, 2**40, 1), (0, 3, 0), (3, 0, 1)])
def test_a_node_that_counts_too_far_is_refused(bounds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at most"):
        FOLDED["Range"](*map(np.int64, bounds))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: 0.5 * x * keras.ops.erf(0.9 * x), "(Erf): the spec language has no such operation"),
        (lambda x: 0.4 * x * (1 + keras.ops.erf(x * float(np.sqrt(0.5)))), "(Erf): the spec language"),
        (lambda x: x - keras.ops.relu(-x) * 2 + keras.ops.relu(x), "(Neg): the spec language"),
        (lambda x: x * keras.ops.rsqrt(keras.ops.var(x, -1, keepdims=True) + 1e-3), "the spec language"),
    ],
)
def test_what_is_almost_one_is_reported(step: Any, message: str, tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ModelError) as caught:
        backend.import_model(frozen(model_of(step), tmp_path / "model.pb"))
    assert message in str(caught.value)
