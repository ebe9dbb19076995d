"""One call from a spec to a model; what the backend is handed is checked before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import BackendError, build, building, initialize, load, write_weights

Lines = Callable[..., list[str]]


class Recorder:
    """A backend whose model is the record of what it was asked."""

    name = "recorder"

    def begin_training(self, model: dict[str, Any]) -> None:
        model["training"] = True

    def compile(self, graph: Any, **options: Any) -> dict[str, Any]:
        return {"graph": graph, "options": options}

    def load(self, model: dict[str, Any], graph: Any, arrays: Any) -> None:
        assert graph is model["graph"]
        model["arrays"] = arrays


@pytest.fixture(autouse=True)
def _recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "find", lambda name: None)
    monkeypatch.setattr(building, "get_backend", lambda name: Recorder())


def test_without_weights_they_are_initialized_from_the_seed() -> None:
    graph = load("resnet18").to_graph()
    model = build("resnet18", "recorder", seed=5)

    assert model["graph"] == graph
    # Without a dtype the backend's own default counts.
    assert model["options"] == {"exact_statistics": False}
    assert all(np.array_equal(model["arrays"][name], array) for name, array in initialize(graph, 5).items())


def test_weights_are_a_path_or_arrays(tmp_path: Path) -> None:
    graph = load("resnet18").to_graph()
    arrays = initialize(graph, 1)
    write_weights(tmp_path / "w.safetensors", graph, arrays)
    for weights in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors"), arrays):
        model = build("resnet18", "recorder", weights)
        assert all(np.array_equal(model["arrays"][name], array) for name, array in arrays.items())


def test_given_arrays_are_read_only_so_that_a_backend_copies_them() -> None:
    arrays = initialize(load("resnet18").to_graph())
    model = build("resnet18", "recorder", arrays)

    assert not any(array.flags.writeable for array in model["arrays"].values())
    assert all(array.flags.writeable for array in arrays.values())


def test_arrays_that_do_not_fit_are_refused(lines: Lines) -> None:
    arrays = initialize(load("resnet18").to_graph())

    assert lines(lambda: build("resnet18", "recorder", arrays, overrides=["parameters.classes=10"])) == [
        "the given arrays: not the 102 tensors of torchvision/resnet18 (2 mismatched)",
        "fc.weight: has shape [1000, 512], not [10, 512]",
        "fc.bias: has shape [1000], not [10]",
        'the file has 1000 classes, not 10; adapt="classes" reinitializes the head, '
        'overrides="parameters.classes=1000" keeps the file\'s',
    ]


def test_arrays_are_adapted_where_asked_for(lines: Lines) -> None:
    arrays = initialize(load("resnet18").to_graph())
    model = build("resnet18", "recorder", arrays, overrides=["parameters.classes=10"], adapt=["classes"])

    assert model["arrays"]["fc.weight"].shape == (10, 512)
    assert np.array_equal(model["arrays"]["conv1.weight"], arrays["conv1.weight"])
    arrays["fc.bias"][0] = np.nan
    assert lines(lambda: build("resnet18", "recorder", arrays, check_finite=True))[1:] == [
        "fc.bias: 1 of 1000 elements are NaN, 0 infinite"
    ]


def test_options_reach_the_backend() -> None:
    model = build("resnet18", "recorder", dtype="float64", exact_statistics=True, overrides={"parameters.classes": 3})

    assert model["options"] == {"dtype": "float64", "exact_statistics": True}
    assert model["arrays"]["fc.bias"].shape == (3,)


def test_training_mode_is_asked_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build("resnet18", "recorder", training=True)["training"]
    assert "training" not in build("resnet18", "recorder")
    with pytest.raises(TypeError, match="optimize=True does not train"):
        build("resnet18", "recorder", training=True, optimize=True)
    monkeypatch.delattr(Recorder, "begin_training")
    with pytest.raises(BackendError, match="models of the recorder backend do not train; leave out training=True"):
        build("resnet18", "recorder", training=True)


def test_synchronized_statistics_are_asked_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build("resnet18", "recorder", synchronized=True)["options"]["synchronized"]
    with pytest.raises(TypeError, match="optimize=True does not train; leave out optimize or synchronized"):
        build("resnet18", "recorder", synchronized=True, optimize=True)
    monkeypatch.delattr(Recorder, "begin_training")
    with pytest.raises(BackendError, match="models of the recorder backend do not train; leave out synchronized=True"):
        build("resnet18", "recorder", synchronized=True)


def test_a_dtype_is_a_name_or_a_frameworks_own() -> None:
    class Own:
        def __str__(self) -> str:
            return "torch.bfloat16"

    own: Any = Own()
    assert build("resnet18", "recorder", dtype=own)["options"]["dtype"] == "bfloat16"
    wrong: Any = "half"
    with pytest.raises(BackendError, match=r"no model computes in dtype='half' \(known: float32, float64, bf"):
        build("resnet18", "recorder", dtype=wrong)


def test_half_precision_is_read_where_the_model_computes_in_it(tmp_path: Path, lines: Lines) -> None:
    graph = load("resnet18").to_graph()
    write_weights(tmp_path / "w.safetensors", graph, initialize(graph), half="bfloat16")
    assert build("resnet18", "recorder", tmp_path / "w.safetensors", dtype="mixed_bfloat16")["arrays"]
    (line,) = lines(lambda: build("resnet18", "recorder", tmp_path / "w.safetensors", dtype="float32"))
    assert 'in half precision; adapt="half" accepts them' in line


def test_a_spec_that_is_loaded_is_taken_as_it_is() -> None:
    spec = load("resnet18", ["parameters.classes=3"])

    assert build(spec, "recorder")["arrays"]["fc.bias"].shape == (3,)
    with pytest.raises(TypeError, match="overrides apply while a spec is loaded"):
        build(spec, "recorder", overrides=["parameters.classes=4"])
