"""state_dicts are read without running code, and what is written runs where this package is not."""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resnet_spec.errors import WeightsError
from resnet_spec.graph import Graph
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_images, small_resnet

BACKEND = TorchBackend()
TENSORS = OrderedDict(
    {
        "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.tensor([0.5], dtype=torch.float64),
        "b.num_batches_tracked": torch.tensor(3),
    }
)


def error(path: Path) -> str:
    """What reading a file is refused with: one line a problem, that starts with the path."""
    with pytest.raises(WeightsError) as caught:
        BACKEND.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "weights_only" not in text
    return text.removeprefix(f"{path}: ")


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_as_it_stands(zipped: bool, tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    arrays = BACKEND.read(tmp_path / "w.pth")
    assert list(arrays) == list(TENSORS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, TENSORS[name].numpy(), strict=True)


def test_a_module_s_own_state_dict_is_read(tmp_path: Path) -> None:
    torch.save(nn.BatchNorm2d(3).state_dict(), tmp_path / "w.pt")
    assert list(BACKEND.read(tmp_path / "w.pt")) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    torch.save({"w": nn.Parameter(torch.ones(2))}, tmp_path / "w.pt")
    assert BACKEND.read(tmp_path / "w.pt")["w"].tolist() == [1, 1]


def test_writing_to_what_was_read_leaves_the_file(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth")
    before = (tmp_path / "w.pth").read_bytes()
    array = BACKEND.read(tmp_path / "w.pth")["b.weight"]
    array += 1
    assert (tmp_path / "w.pth").read_bytes() == before


def test_views_of_one_storage_are_read(tmp_path: Path) -> None:
    flat = torch.arange(6, dtype=torch.float32)
    torch.save({"a": flat[:2], "b": flat[2:].reshape(2, 2).T}, tmp_path / "w.pth")
    arrays = BACKEND.read(tmp_path / "w.pth")
    assert {name: array.tolist() for name, array in arrays.items()} == {"a": [0, 1], "b": [[2, 4], [3, 5]]}


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([1.5, -3.0], dtype=torch.bfloat16)}, tmp_path / "w.pth")
    array = BACKEND.read(tmp_path / "w.pth")["w"]
    assert (array.dtype, array.tolist()) == (np.float32, [1.5, -3.0])


class _Hostile:
    def __reduce__(self) -> Any:
        return os.system, (f"echo ran > {os.environ['HOSTILE']}",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_file_that_would_run_code_does_not(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTILE", str(tmp_path / "ran"))
    path = tmp_path / "w.pth"
    content = {"a": torch.ones(2), "b": _Hostile()}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    message = error(path)
    if how != "pickle":
        assert message == "refused: besides tensors it holds posix.system, and loading that would run code"
    assert not (tmp_path / "ran").exists()


def test_pickled_modules_and_settings_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    assert "refused: besides tensors it holds torch.nn.modules.linear.Linear" in error(tmp_path / "w.pth")
    torch.save({"state_dict": TENSORS, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    assert "refused: besides tensors it holds argparse.Namespace" in error(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(zipped: bool, tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "w.pth").read_bytes()
    for length in (0, 3, 20, len(whole) // 2, len(whole) - 5):
        (tmp_path / "w.pth").write_bytes(whole[:length])
        message = error(tmp_path / "w.pth")
        assert message.startswith("is not a whole file of tensors (")
        assert "\n" not in message


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"hello world\n" * 50)
    assert error(tmp_path / "w.pth").startswith("is not a whole file of tensors (")
    assert error(tmp_path / "missing.pth") == "cannot be read (No such file or directory)"
    assert error(tmp_path) == "cannot be read (Is a directory)"


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save([torch.ones(2)], path)
    assert error(path) == "holds a list, not named tensors (a state_dict)"
    torch.save({"epoch": 3, "state_dict": TENSORS, 7: torch.ones(2)}, path)
    assert error(path).splitlines() == [
        "is no plain state_dict",
        "epoch: is a int, not a tensor under a name",
        "state_dict: is a OrderedDict, not a tensor under a name",
        "7: is a Tensor, not a tensor under a name",
    ]


def test_tensors_without_an_array_are_refused_by_name(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(2).to_sparse()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w: .*is stored as sparse_coo float32 on cpu, which has no array"):
        BACKEND.read(tmp_path / "w.pth")


# -- writing -----------------------------------------------------------------------------------------------------


def test_a_state_dict_is_written_and_read_again(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph)
    BACKEND.write(model, graph, tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth")
    assert list(state) == list(model.state_dict())
    other = BACKEND.compile(graph)
    BACKEND.load(other, graph, BACKEND.read(tmp_path / "w.pth"))
    images = random_images(1, 3, 32, 32)
    np.testing.assert_array_equal(BACKEND.forward(other, images)[0], BACKEND.forward(model, images)[0])


_RUN = """
import builtins, sys
import numpy, torch

def refuse(name, *rest, _import=builtins.__import__, **keywords):
    if name.partition(".")[0] in ("resnet_spec", "resnet_spec_torch"):
        raise ImportError(name)
    return _import(name, *rest, **keywords)

builtins.__import__ = refuse
programs = {name: torch.export.load(f"{name}.pt2").module() for name in ("any", "one", "vector")}
given = numpy.load("images.npz")
outputs = {}
for name in given.files:
    output = programs[name.partition("-")[0]](torch.from_numpy(given[name]))
    if isinstance(output, dict):
        assert list(output) == ["b", "a"]
        output = list(output.values())
    outputs[name] = (output[-1] if isinstance(output, list) else output).detach().numpy()
numpy.savez("outputs.npz", **outputs)
assert not any(name.partition(".")[0].startswith("resnet_spec") for name in sys.modules)
"""


def any_size() -> Graph:
    b = Builder(3, 40, 40).add("conv1", "conv2d", channels=4, kernel=7, stride=2, padding="same")
    b.add("pool", "max_pool2d", kernel=3, stride=2, padding="same")
    b.add("block.conv1", "conv2d", channels=8, kernel=3, stride=2, padding="same").add("block.bn", "batch_norm")
    b.add("block.conv2", "conv2d", "pool", channels=8, kernel=1, stride=2)
    b.add("block.add", "add", "block.bn", "block.conv2").add("block.relu", "relu")
    b.add("pad", "pad2d", padding=[[0, 1], [2, 0]]).add("odd", "max_pool2d", kernel=2, padding=[[0, 1], [0, 1]])
    b.add("gap", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5).add("p", "softmax")
    return b.graph()


def one_size() -> Graph:
    b = Builder(2, 5, 4).add("conv", "conv2d", channels=3, kernel=3).add("flatten", "flatten")
    graph = b.add("fc", "linear", features=2).graph("conv", "fc")
    assert graph.depends_on_size
    return graph


def vectors() -> Graph:
    b = Builder(6).add("fc", "linear", features=12).add("map", "reshape", shape=[3, 2, 2])
    b.add("up", "conv_transpose2d", channels=2, kernel=3, stride=2, padding="same")
    return b.add("drop", "dropout", rate=0.5).graph("up", "drop", output_names=("b", "a"))


def test_programs_run_where_this_package_is_not(tmp_path: Path) -> None:
    """At every size, or at every batch of the graph's own size where its parameters depend on that."""
    wanted: dict[str, Any] = {}
    images: dict[str, Any] = {}
    for name, graph, sizes in (
        ("any", any_size(), [(1, 3, 40, 40), (2, 3, 39, 41), (3, 3, 64, 50), (1, 3, 17, 100)]),
        ("one", one_size(), [(1, 2, 5, 4), (7, 2, 5, 4)]),
        ("vector", vectors(), [(1, 6), (5, 6)]),
    ):
        model = build(graph)
        BACKEND.write(model, graph, tmp_path / f"{name}.pt2")
        for shape in sizes:
            key = f"{name}-{shape}"
            images[key] = random_images(*shape)
            wanted[key] = BACKEND.forward(model, images[key])[-1]
    np.savez(tmp_path / "images.npz", **images)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-P", "-c", _RUN], check=True, cwd=tmp_path, env=environment)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for key, output in wanted.items():
            np.testing.assert_allclose(outputs[key], output, rtol=1e-5, atol=1e-5, err_msg=key)


def test_a_program_is_in_inference_mode_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    graph = small_resnet()
    model = build(graph).train()
    model.layer1.eval()
    BACKEND.write(model, graph, tmp_path / "m.pt2")
    assert model.training
    assert model.layer2[0].bn1.training
    assert not model.layer1[0].bn1.training
    images = random_images(2, 3, 32, 32)
    program = torch.export.load(tmp_path / "m.pt2").module()
    with torch.no_grad():
        result = program(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(result, BACKEND.forward(model, images)[0], rtol=1e-5, atol=1e-5)
