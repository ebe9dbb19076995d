"""Files of keras.applications, in and out again to the bit, and those of Keras 2."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.weights.layouts import from_layout, tensorflow_names
from resnet_spec_tensorflow import TensorFlowBackend

from .keras_original import extract
from .originals.keras import application
from .verification import python

ENDINGS = (".h5", ".weights.h5", ".keras")
NETWORKS = ("resnet50-1000", "resnet50v2-10")


class Files(NamedTuple):
    """A network of keras.applications and one to load into, its graph here, and what it saved and we made of that."""

    graph: Graph
    arrays: Mapping[str, NDArray[Any]]
    blank: Any
    folder: Path


@pytest.fixture(scope="module", params=NETWORKS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    name, _, classes = request.param.partition("-")
    graph = resnet_spec.load(f"keras/{name}", {"parameters.classes": int(classes)}).to_graph()
    folder = tmp_path_factory.mktemp("keras")

    original, blank = (application(name, classes=int(classes)) for _ in range(2))
    rng = np.random.default_rng(5)
    original.set_weights([rng.random(variable.shape, "float32") for variable in original.variables])
    backend = TensorFlowBackend()
    ours = backend.compile(graph)
    save(original, folder, "theirs")
    backend.load(ours, graph, resnet_spec.read_weights(folder / "theirs.h5", graph))
    for ending in ENDINGS:
        backend.write(ours, graph, folder / f"ours{ending}")
    return Files(graph, extract(original, graph), blank, folder)


def save(model: Any, folder: Path, name: str) -> None:
    """A model with an optimizer in all of Keras' formats."""
    model.compile("adam", "categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        # Keras reads its variables in a way that NumPy 2 deprecates.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")


def assert_equal(given: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> None:
    assert given.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(given[name], array, err_msg=name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_keras_saves_is_read_and_its_optimizer_counted(files: Files, ending: str) -> None:
    from resnet_spec.weights.reading import read_checkpoint

    path = files.folder / f"theirs{ending}"
    trainable = sum(parameter.trainable for parameter in files.graph.parameters())

    assert_equal(resnet_spec.read_weights(path, files.graph), files.arrays)
    assert read_checkpoint(path).ignored == {"optimizer slots": 2 * trainable, "counters": 2}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_original_loads_the_weights_that_we_write(files: Files, ending: str) -> None:
    for variable in files.blank.variables:
        variable.assign(np.zeros(variable.shape))
    files.blank.load_weights(files.folder / f"ours{ending}")

    assert_equal(extract(files.blank, files.graph), files.arrays)


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_keras_loads_the_models_that_we_write(files: Files, ending: str) -> None:
    model = keras.saving.load_model(files.folder / f"ours{ending}", compile=False)

    assert_equal(extract(model, files.graph), files.arrays)


# -- Keras 2 -----------------------------------------------------------------------------------------------------


def legacy(action: str, folder: Path) -> None:
    python("tests.oracles.originals.legacy_keras", action, folder)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return resnet_spec.load("keras/resnet50", {"parameters.classes": 10}).to_graph()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what Keras 2 saves."""
    folder = tmp_path_factory.mktemp("legacy")
    legacy("save", folder)
    return folder


def values(path: Path, graph: Graph) -> dict[str, NDArray[Any]]:
    """Values that Keras 2 left by its variables' names, by the graph's."""
    known = tensorflow_names(graph)
    with np.load(path) as file:
        return {known[name].name: from_layout(file[name], known[name], "tensorflow") for name in file}


SLOTS, COUNTERS, METRICS = "optimizer slots", "counters", "metrics"


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("whole.h5", {COUNTERS: 1}),
        ("weights.h5", None),
        ("model.keras", {COUNTERS: 1, METRICS: 4}),
        ("saved", {COUNTERS: 2, METRICS: 4}),
        ("checkpoint.index", {COUNTERS: 2}),
        ("old/checkpoint.index", {COUNTERS: 5}),
    ],
)
def test_what_keras_2_saves_is_read(old: Path, graph: Graph, name: str, beside: dict[str, int] | None) -> None:
    from resnet_spec.weights.reading import read_checkpoint

    wanted = values(old / ("old.npz" if name.startswith("old") else "values.npz"), graph)
    slots = {SLOTS: 2 * sum(parameter.trainable for parameter in graph.parameters())}

    assert_equal(resnet_spec.read_weights(old / name, graph), wanted)
    assert read_checkpoint(old / name).ignored == ({} if beside is None else slots | beside)


def test_keras_2_loads_the_weights_of_the_h5_file_that_we_write(old: Path, graph: Graph) -> None:
    backend = TensorFlowBackend()
    model = backend.compile(graph)
    backend.load(model, graph, resnet_spec.read_weights(old / "saved", graph))
    backend.write(model, graph, old / "ours.h5")
    legacy("load", old)

    assert_equal(values(old / "loaded.npz", graph), values(old / "values.npz", graph))
