"""A model is saved as it is now, in the format of the path's ending, from the spec that it was built from."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import WeightsError, build, building, get_backend, initialize, load, read_weights, save
from tests.needs import need

need("torch")

SPEC = load("cifar/resnet20", "parameters.classes=7")
GRAPH = SPEC.to_graph()

Lines = Callable[..., list[str]]


@pytest.fixture
def model() -> Any:
    """A model that has changed since it was built."""
    import torch

    built = build(SPEC, "torch")
    with torch.no_grad():
        built.linear.bias += 1
    return built


def held(model: Any) -> dict[str, Any]:
    return get_backend("torch").arrays(model, GRAPH)


def same(path: Path, model: Any) -> bool:
    arrays = read_weights(path, GRAPH)
    return all(np.array_equal(arrays[name], array) for name, array in held(model).items())


@pytest.mark.parametrize(
    "name",
    ["x.safetensors", "x.npz", "x.msgpack", "x.pth", "x.onnx", pytest.param("x.pt2", marks=pytest.mark.slow)],
)
def test_what_is_saved_is_read_back(tmp_path: Path, model: Any, name: str) -> None:
    save(model, tmp_path / name)

    assert same(tmp_path / name, model)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_what_is_not_finite_is_saved_with_a_warning(
    tmp_path: Path, model: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    with torch.no_grad():
        model.linear.bias[0] = float("nan")
    save(model, tmp_path / name)

    said = f"{tmp_path / name}: linear.bias: 1 of 7 elements are NaN, 0 infinite"
    assert [record.message for record in caplog.records] == [said]
    assert (tmp_path / name).is_file()


@pytest.mark.slow
def test_a_program_that_was_written_is_built_and_imported_again(tmp_path: Path, model: Any) -> None:
    from resnet_spec import import_model

    path = tmp_path / "x.pt2"
    save(model, path)
    again = build(SPEC, "torch", path)
    imported = import_model(path)

    assert all(np.array_equal(array, held(model)[name]) for name, array in held(again).items())
    assert len(imported.arrays) == len(GRAPH.parameters())


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_is_replaced_by_the_model_that_was_loaded_from_it(tmp_path: Path, lines: Lines, mmap: bool) -> None:
    import torch

    path = tmp_path / "x.safetensors"
    save(build(SPEC, "torch"), path)
    model = build(SPEC, "torch", path, mmap=mmap)
    before = held(model)
    with torch.no_grad():
        model.linear.bias += 1

    assert lines(lambda: save(model, path)) == [f"{path} exists already; force=True replaces it"]
    save(model, path, force=True)
    assert same(path, model)
    assert not same(path, build(SPEC, "torch", before))


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, model: Any) -> None:
    import torch

    path = tmp_path / "x.safetensors"
    path.write_text("old")
    with torch.no_grad():
        model.linear.bias += 1e30
    with pytest.raises(WeightsError, match="too large for its type"):
        save(model, path, half=True, force=True)

    assert path.read_text() == "old"


def test_half_precision(tmp_path: Path, model: Any) -> None:
    save(model, tmp_path / "full.npz")
    save(model, tmp_path / "half.npz", half=True)

    assert os.path.getsize(tmp_path / "half.npz") < 0.7 * os.path.getsize(tmp_path / "full.npz")


def test_a_model_of_unknown_origin_needs_a_spec(tmp_path: Path, model: Any) -> None:
    copy = deepcopy(model)
    with pytest.raises(TypeError, match=r"build\(\) did not return this .*ResNet: give what it is built from"):
        save(copy, tmp_path / "x.pth")
    for number, spec in enumerate([SPEC, GRAPH]):
        save(copy, tmp_path / f"{number}.safetensors", spec)
        assert same(tmp_path / f"{number}.safetensors", model)


@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("x.pht", None, "no installed backend writes pht; did you mean 'pth'?"),
        ("missing/x.pth", None, "the folder"),
        ("x.safetensors", "tutorial/resnet18", ""),
    ],
)
def test_what_cannot_be_saved_is_refused(
    tmp_path: Path, model: Any, lines: Lines, name: str, spec: str | None, said: str
) -> None:
    assert said in lines(lambda: save(model, tmp_path / name, spec))[0]
    assert [*tmp_path.iterdir()] == []


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"build\(\) did not return this builtins\.dict"):
        save({}, tmp_path / "x.pth")
    with pytest.raises(TypeError, match=r"not builtins\.dict"):
        save({}, tmp_path / "x.pth", SPEC)


def test_a_model_can_be_freed() -> None:
    gc.collect()
    before = len(building._BUILT)
    model = build(SPEC, "torch", initialize(GRAPH))
    assert len(building._BUILT) == before + 1
    del model
    gc.collect()

    assert len(building._BUILT) == before
