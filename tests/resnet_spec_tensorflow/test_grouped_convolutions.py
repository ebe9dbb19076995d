"""Grouped convolutions are split as measured, or as the environment says, and the model computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec.backend.optimizing import finish, optimized
from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph
from resnet_spec.weights.converting import write_model
from resnet_spec_tensorflow import TensorFlowBackend, grouped_convolutions
from resnet_spec_tensorflow.framework import keras, tf
from tests.resnet_spec_torch.graphs import Builder, random_arrays
from tests.without_package import run_without_package

VARIABLE = grouped_convolutions.VARIABLE


def small() -> Graph:
    builder = Builder(8, 9, 9).add("conv1", "conv2d", channels=64, kernel=1).add("bn1", "batch_norm")
    builder.add("grouped", "conv2d", channels=128, kernel=3, stride=2, padding=1, groups=16).add("bn2", "batch_norm")
    builder.add("relu", "relu").add("pool", "global_avg_pool").add("flat", "flatten")
    return builder.add("fc", "linear", features=3).graph()


def built(graph: Graph, *, optimize: bool) -> tuple[Any, Graph]:
    backend, arrays = TensorFlowBackend(), random_arrays(graph)
    if optimize:
        forms = optimized(backend, graph)
        graph, arrays = forms.graphs[-1], forms.rewriting.arrays(arrays)
    model = backend.compile(graph, dtype="float32")
    backend.load(model, graph, arrays)
    if optimize:
        finish(backend, model)
    return model, graph


@pytest.mark.parametrize(("choice", "parts"), [("layer", 0), ("16", 4), ("24", 2), ("64", 1), ("1000", 1)])
def test_the_environment_chooses(choice: str, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, choice)
    assert grouped_convolutions.group_parts(small()) == ({"grouped": parts} if parts else {})


def test_another_choice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(BackendError, match=f"{VARIABLE} is 'fast'"):
        grouped_convolutions.group_parts(small())


@pytest.mark.parametrize(
    ("seconds", "parts"),
    [
        ({4: 3.0, 2: 1.0, 1: 2.0, None: 9.0}, 2),
        # Fewer convolutions, where the time is nearly the same.
        ({4: 1.0, 2: 1.05, 1: 2.0, None: 9.0}, 2),
        ({4: 3.0, 2: 2.0, 1: 2.0, None: 1.0}, None),
    ],
)
def test_the_fastest_is_chosen(
    seconds: dict[int | None, float], parts: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    def split(shape: Any, parts: int) -> int:
        return parts

    def seconds_of(form: Any, shape: Any) -> float:
        return seconds[form if isinstance(form, int) else None]

    monkeypatch.setattr(grouped_convolutions, "split", split)
    monkeypatch.setattr(grouped_convolutions, "seconds_of", seconds_of)
    grouped_convolutions.fastest.cache_clear()
    assert grouped_convolutions.group_parts(small()) == ({"grouped": parts} if parts else {})
    grouped_convolutions.fastest.cache_clear()


def test_the_forms_that_are_measured_compute_something_of_the_right_shape() -> None:
    shape = grouped_convolutions.LayerShape((8, 6, 6), 16, (3, 3), (2, 2), (1, 1), 4)
    assert grouped_convolutions.split(shape, 2)(tf.zeros((1, 6, 6, 8))).shape == (1, 3, 3, 16)
    assert grouped_convolutions.seconds_of(grouped_convolutions.split(shape, 4), shape) > 0


def test_the_split_model_computes_the_same_and_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "32")
    model, graph = built(small(), optimize=True)
    plain, _ = built(small(), optimize=False)
    assert [node.operation.op for node in graph.nodes].count("conv2d") == 3
    images = np.random.default_rng(0).standard_normal((2, 9, 9, 8)).astype("float32")
    np.testing.assert_allclose(model(images), plain(images), rtol=1e-4, atol=1e-5)
    assert model.trainable_variables == []


def test_an_optimized_model_is_written_for_a_process_without_this_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "32")
    model, graph = built(small(), optimize=True)
    images = tf.constant(np.random.default_rng(0).standard_normal((2, 9, 9, 8)).astype("float32"))
    write_model(model, graph, tmp_path / "saved", "tensorflow")
    write_model(model, graph, tmp_path / "model.keras", "tensorflow")
    # Constants, not variables.
    function = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    assert function.variables == () or list(function.variables) == []
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not any(type(layer).__module__.startswith("resnet_spec") for layer in loaded.layers)
    for value in (function(images)["logits"], loaded(images)):
        np.testing.assert_allclose(value, model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("ending", ["", ".keras", ".tflite"])
def test_a_fixed_size_is_that_of_the_input(
    ending: str, optimize: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "layer")
    builder = Builder(3, 9, 9).add("conv", "conv2d", channels=4, kernel=3, padding=1).add("bn", "batch_norm")
    model, graph = built(builder.add("pool", "global_avg_pool").add("flat", "flatten").graph(), optimize=optimize)
    path = tmp_path / f"fixed{ending}"
    write_model(model, graph, path, "tensorflow", fixed=(2, 3, 8, 6))
    images = np.random.default_rng(0).standard_normal((2, 8, 6, 3)).astype("float32")
    if ending == ".tflite":
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()
        (place,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        shape = tuple(place["shape_signature"])
        interpreter.set_tensor(place["index"], images)
        interpreter.invoke()
        value = interpreter.get_tensor(result["index"])
    elif ending == ".keras":
        loaded = keras.models.load_model(path)
        shape, value = loaded.input_shape, loaded(images)
    else:
        function = tf.saved_model.load(str(path)).signatures["serving_default"]
        shape = tuple(function.structured_input_signature[1]["input"].shape)
        (value,) = function(tf.constant(images)).values()
    assert shape == (2, 8, 6, 3)
    np.testing.assert_allclose(value, model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [None, (2, 8, 9, 9)])
@pytest.mark.parametrize("ending", ["", ".keras", ".tflite"])
def test_the_artifacts_run_without_this_package(
    ending: str, fixed: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "32")
    model, graph = built(small(), optimize=True)
    images = np.random.default_rng(0).standard_normal((2, 9, 9, 8)).astype("float32")
    path = tmp_path / f"optimized{ending}"
    write_model(model, graph, path, "tensorflow", fixed=fixed)
    np.testing.assert_allclose(run_without_package(path, images), model(images), rtol=1e-4, atol=1e-5)
