"""Layers in ``.keras`` files have names without dots, and every framework of Keras loads them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from resnet_spec.weights.formats.keras import read_graph_names
from resnet_spec_keras.portable_names import layer_names, make_portable, portable, renamed


def layer(name: str, *sources: str, kind: str = "ReLU", **config: Any) -> dict[str, Any]:
    history = [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [s, 0, 0]}}]} for s in sources]
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": history}


MODEL = {
    "class_name": "Functional",
    "config": {
        "name": "net",
        "layers": [
            layer("input"),
            layer("layer1.0.conv1", "input"),
            layer("relu", "layer1.0.conv1", activation="relu"),
        ],
        "input_layers": [["input", 0, 0]],
        "output_layers": [["layer1.0.conv1", 0, 0], ["relu", 0, 0]],
    },
}


def test_names_have_hyphens_for_dots_wherever_they_are_used() -> None:
    names = portable(layer_names(MODEL))
    assert names == {"layer1.0.conv1": "layer1-0-conv1"}
    config = renamed(MODEL, names)["config"]
    assert [each["name"] for each in config["layers"]] == ["input", "layer1-0-conv1", "relu"]
    assert [each["config"]["name"] for each in config["layers"]] == ["input", "layer1-0-conv1", "relu"]
    (node,) = config["layers"][2]["inbound_nodes"]
    assert node["args"][0]["config"]["keras_history"] == ["layer1-0-conv1", 0, 0]
    assert config["output_layers"] == [["layer1-0-conv1", 0, 0], ["relu", 0, 0]]
    assert renamed(renamed(MODEL, names), {new: old for old, new in names.items()}) == MODEL


def test_a_name_that_is_taken_is_not_given_twice() -> None:
    assert portable(iter(["a-b", "a.b", "a.b", "c.d"])) == {"a.b": "a-b_", "c.d": "c-d"}


def test_classes_are_not_renamed() -> None:
    assert renamed({"module": "a.b", "name": "a.b"}, {"a.b": "a-b"}) == {"module": "a.b", "name": "a-b"}


def archive(path: Path, model: Any, metadata: Any) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps(metadata))
        file.writestr("config.json", json.dumps(model))
        file.writestr("model.weights.h5", b"weights")
    return path


def test_a_file_is_rewritten_with_the_graphs_names_in_its_metadata(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.keras", MODEL, {"keras_version": "3"})
    make_portable(path)
    with zipfile.ZipFile(path) as file:
        assert file.read("model.weights.h5") == b"weights"
        assert json.loads(file.read("config.json"))["config"]["layers"][1]["name"] == "layer1-0-conv1"
        assert json.loads(file.read("metadata.json"))["keras_version"] == "3"
        assert read_graph_names(file, 10**4) == {"layer1-0-conv1": "layer1.0.conv1"}
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_without_dots_stays_as_it_is(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.keras", {"config": {"layers": [layer("conv1_1")]}}, {})
    before = path.read_bytes()
    make_portable(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("metadata", [[], {"resnet_spec_names": 1}, {"resnet_spec_names": {"a": ["b"]}}])
def test_other_metadata_give_no_names(metadata: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive(tmp_path / "a.keras", MODEL, metadata)) as file:
        assert read_graph_names(file, 10**4) == {}
