"""Files that are read give the same results, and nothing in a hostile one is executed or built."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from resnet_spec import ModelError
from resnet_spec_tensorflow.framework import keras
from tests.resnet_spec_tensorflow.importing.test_model import agree, randomized
from tests.resnet_spec_tensorflow.importing.tutorials import MODELS, layers, ops


def save(model: Any, path: Path) -> None:
    """Save a model; Keras reads its variables in a way that NumPy 2 deprecates."""
    with warnings.catch_warnings(action="ignore"):
        model.save(path)


# Subclassed models have no configuration, and Keras cannot read functions from the older format.
SAVED = [(name, ".keras") for name in MODELS if name != "subclassed"]
OLDER = [(name, ".h5") for name, _ in SAVED if name not in ("shared", "attention")]


@pytest.mark.parametrize(("name", "ending"), [*SAVED, *OLDER])
def test_a_file_and_its_graph_agree(name: str, ending: str, tmp_path: Path, backend: Any, images: Any) -> None:
    make, shape = MODELS[name]
    model = randomized(make())
    path = tmp_path / f"model{ending}"
    save(model, path)
    source = backend.import_model(path)
    live = backend.import_model(model)
    assert source.graph.nodes == live.graph.nodes
    assert all(np.array_equal(array, live.arrays[key]) for key, array in source.arrays.items())
    agree(backend, source, images(2, *shape))


def small() -> Any:
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x), name="small")


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], Any], make: Callable[[], Any] = small) -> Path:
    """A ``.keras`` file whose configuration is changed."""
    path, result = tmp_path / "whole.keras", tmp_path / "changed.keras"
    save(make(), path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as copy:
        config = json.loads(whole.read("config.json"))
        config = change(config) or config
        copy.writestr("config.json", json.dumps(config))
        for name in ("metadata.json", "model.weights.h5"):
            copy.writestr(name, whole.read(name))
    return result


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)


def test_a_lambda_is_not_run(tmp_path: Path, backend: Any) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x, name="code")(inputs))
    path = tmp_path / "model.keras"
    save(model, path)
    with pytest.raises(ModelError, match=r"code \(Lambda\): runs code that the file holds; it is not run"):
        backend.import_model(path)


class Custom(layers.Layer):
    """A layer that the file names, and whose making leaves a trace."""

    made = 0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        Custom.made += 1

    def call(self, x: Any) -> Any:
        return x


def test_a_custom_layer_is_not_made_even_if_it_is_registered(tmp_path: Path, backend: Any) -> None:
    keras.saving.register_keras_serializable(package="strange")(Custom)
    inputs = keras.Input((4,))
    save(keras.Model(inputs, layers.Dense(2)(Custom(name="own")(inputs))), tmp_path / "model.keras")
    before = Custom.made
    with pytest.raises(ModelError, match=r"own \(Custom\): is of the custom class 'strange>Custom', whose code is not"):
        backend.import_model(tmp_path / "model.keras")
    assert Custom.made == before


def _as_other(config: dict[str, Any]) -> None:
    layer(config, "head")["registered_name"] = "strange>Custom"


def _function(config: dict[str, Any]) -> None:
    layer(config, "conv")["config"]["activation"] = {
        "class_name": "function",
        "module": "keras.utils",
        "config": "get_file",
        "registered_name": "get_file",
    }


def _named_function(config: dict[str, Any]) -> None:
    layer(config, "conv")["config"]["activation"] = "strange>activation"


def _module(config: dict[str, Any]) -> None:
    layer(config, "head")["module"] = "os"


def _initializer(config: dict[str, Any]) -> None:
    layer(config, "head")["config"]["kernel_initializer"] = {
        "class_name": "Popen",
        "module": "subprocess",
        "config": {"args": ["touch", "trace"]},
        "registered_name": None,
    }


def _saved_model(config: dict[str, Any]) -> None:
    layer(config, "head") | {}
    layer(config, "head").update(class_name="TFSMLayer", config={"filepath": "/tmp", "name": "head"})


def _subclass(config: dict[str, Any]) -> None:
    config.update(class_name="MyModel", module="mine", registered_name="mine>MyModel")


def _cycle(config: dict[str, Any]) -> None:
    layer(config, "conv")["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["pool", 0, 0]


def _unknown_layer(config: dict[str, Any]) -> None:
    layer(config, "pool")["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["nowhere", 0, 0]


def _huge(config: dict[str, Any]) -> None:
    layer(config, "head")["config"]["units"] = 10**12


def _many(config: dict[str, Any]) -> None:
    config["config"]["layers"] += [{"name": f"l{index}", "inbound_nodes": []} for index in range(100_000)]


def _backwards(config: dict[str, Any]) -> None:
    relu = {"module": "keras.layers", "class_name": "ReLU", "registered_name": None}
    for index in range(5000):
        history = [f"l{index + 1}" if index < 4999 else "images", 0, 0]
        tensor = {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "", "keras_history": history}}
        nodes = [{"args": [tensor], "kwargs": {}}]
        config["config"]["layers"].append(relu | {"name": f"l{index}", "config": {}, "inbound_nodes": nodes})


def _deep(config: dict[str, Any]) -> Any:
    inner: Any = config
    for _ in range(200):
        inner = {"class_name": "Sequential", "module": "keras", "config": {"name": "deep", "layers": [inner]}}
    return inner


HOSTILE = {
    _as_other: r"head \(Dense\): is of the custom class 'strange>Custom'",
    _function: "names the function 'get_file', which is not Keras'; it is not run",
    _named_function: "names the function 'strange>activation'",
    _module: r"head \(Dense\): the spec language has no such operation",
    _initializer: "Popen: the spec language has no such operation",
    _saved_model: r"head \(TFSMLayer\): the spec language has no such operation",
    _subclass: "is a model of the class MyModel, whose code the file does not hold; import it live",
    _cycle: "its layers are in a cycle, in which 'conv' is",
    _unknown_layer: "reads from 'nowhere', which is not one of its layers",
    _huge: r"its layers need 4,000,000,000,\d+|its layers need 5,000,000,000,\d+ numbers, of which the file holds 122",
    _many: "has more than 10,000 layers",
    _backwards: "lists its layers in an order that would take Keras too long",
    _deep: "does not state the shape of its input",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_file_is_refused(change: Callable[[Any], Any], tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ModelError, match=HOSTILE[change]):
        backend.import_model(changed(tmp_path, change))


def test_memory_for_a_refused_file_is_not_taken_later(tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ModelError):
        backend.import_model(changed(tmp_path, _huge))
    # Keras initializes whatever waits for it at the end of any such scope.
    with keras.StatelessScope():
        pass


def test_every_class_that_is_unknown_is_listed(tmp_path: Path, backend: Any) -> None:
    def change(config: dict[str, Any]) -> None:
        layer(config, "pool")["class_name"] = "GlobalPooling9D"
        layer(config, "head")["class_name"] = "Dens"

    with pytest.raises(ModelError) as error:
        backend.import_model(changed(tmp_path, change))
    assert [problem.path for problem in error.value.problems] == ["pool (GlobalPooling9D)", "head (Dens)"]


def test_training_in_a_file_is_not_built(tmp_path: Path, backend: Any) -> None:
    def make() -> Any:
        model = small()
        model.compile("adam", loss=lambda one, other: ops.mean(one - other))
        return model

    assert len(backend.import_model(changed(tmp_path, lambda config: None, make)).graph.nodes) == 5


def test_a_file_of_weights_only_is_refused(tmp_path: Path, backend: Any) -> None:
    with warnings.catch_warnings(action="ignore"):
        small().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(ModelError, match="holds weights and no architecture"):
        backend.import_model(tmp_path / "only.weights.h5")


def test_a_broken_file_is_refused(tmp_path: Path, backend: Any) -> None:
    (tmp_path / "broken.keras").write_bytes(b"PK\3\4 and nothing else")
    with pytest.raises(ModelError, match=r"broken\.keras: its configuration cannot be read"):
        backend.import_model(tmp_path / "broken.keras")
    with pytest.raises(ModelError, match=r"missing\.keras"):
        backend.import_model(tmp_path / "missing.keras")


def test_a_link_to_another_file_is_refused(tmp_path: Path, backend: Any) -> None:
    path = tmp_path / "model.h5"
    save(small(), path)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv"]
        file["model_weights/conv"] = h5py.ExternalLink("elsewhere.h5", "/conv")
    with pytest.raises(ModelError, match="is a link to somewhere else"):
        backend.import_model(path)


def test_a_file_of_keras_2_is_read(tmp_path: Path, backend: Any, images: Any) -> None:
    """The notation of calls and the modules that Keras 2.15 wrote."""

    def change(config: dict[str, Any]) -> None:
        for entry in config["config"]["layers"]:
            for index, node in enumerate(entry["inbound_nodes"]):
                (tensor,) = node["args"]
                entry["inbound_nodes"][index] = [[*tensor["config"]["keras_history"], {}]]
            entry["config"].pop("dtype")
            if "batch_shape" in entry["config"]:
                entry["config"]["batch_input_shape"] = entry["config"].pop("batch_shape")
        config["config"]["input_layers"] = [config["config"]["input_layers"]]
        config["config"]["output_layers"] = [config["config"]["output_layers"]]

    source = backend.import_model(changed(tmp_path, change))
    assert [node.name for node in source.graph.nodes] == ["conv", "conv_relu", "pool", "pool_flatten", "head"]
    agree(backend, source, images(2, 3, 8, 8))
