"""A Keras model is saved as it is now, in its own formats and in others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnet_spec import build, get_backend, load, read_weights, save

slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["x.weights.h5", "x.safetensors", pytest.param("x.keras", marks=slow), pytest.param("x", marks=slow)]
)
def test_what_is_saved_is_read_back(tmp_path: Path, name: str) -> None:
    graph = load("cifar/resnet20").to_graph()
    model = build("cifar/resnet20", "tensorflow")
    kernel = model.trainable_variables[0]
    kernel.assign(kernel + 1)
    save(model, tmp_path / name)
    arrays = read_weights(tmp_path / name, graph)

    assert [path.name for path in tmp_path.iterdir()] == [name]
    held = get_backend("tensorflow").arrays(model, graph)
    assert all(np.array_equal(arrays[parameter], array) for parameter, array in held.items())
