"""Types, external data, and files that are invalid, incomplete or hostile."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from resnet_spec.errors import WeightsError
from resnet_spec_onnx.reading import protobuf, read_onnx
from resnet_spec_onnx.reading.checkpoint import NOT_WEIGHTS
from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    anonymous,
    assert_equal,
    convolution,
    made,
    node,
    proto,
    read,
    refused,
)
from tests.resnet_spec_torch.graphs import random_arrays, small_resnet


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_precision_is_read_as_it_is_stored(kind: int, raw: bool, tmp_path: Path) -> None:
    stored = KERNEL.astype(helper.tensor_dtype_to_np_dtype(kind))
    tensor = helper.make_tensor("kernel", kind, KERNEL.shape, stored.tobytes() if raw else stored.reshape(-1), raw)
    model = made([node("Conv", "x kernel", "y")], {})
    model.graph.initializer.append(tensor)
    for graph, name in ((convolution(), "conv.weight"), (None, "kernel")):
        checkpoint = read(model, graph, tmp_path)
        widened = kind == TensorProto.BFLOAT16
        assert_equal(checkpoint, {name: stored.astype(np.float32) if widened else stored})
        assert checkpoint.widened == ({name} if widened else set())


def external(folder: Path, location: str, **settings: int) -> Path:
    model = proto(convolution())
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    for key, value in settings.items():
        tensor.external_data.add(key=key, value=str(value))
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(bytes(64) + data)
    (folder.parent / "outside.bin").write_bytes(bytes(64) + data)
    return folder / "model.onnx"


def test_external_data_are_read(tmp_path: Path) -> None:
    path = external(tmp_path / "model", "weights.bin", offset=64, length=432)
    assert_equal(read_onnx(path, convolution()), random_arrays(convolution()))
    assert_equal(read_onnx(path), random_arrays(convolution()))


@pytest.mark.parametrize(
    ("location", "settings", "message"),
    [
        ("../outside.bin", {"offset": 64}, "refused: its data file .* is outside the model's folder"),
        ("link.bin", {"offset": 64}, "refused: its data file .* is outside the model's folder"),
        ("", {}, "refused: its data file .* is outside the model's folder"),
        ("absent.bin", {}, "cannot be read"),
        ("weights.bin", {"offset": 65}, "are incomplete"),
        ("weights.bin", {"offset": -1}, "are incomplete"),
        ("weights.bin", {"length": 431}, "are incomplete"),
        ("weights.bin", {"offset": 2**80}, "are incomplete"),
        ("weights\0.bin", {}, "null"),
    ],
)
def test_external_data_outside_the_folder_or_incomplete_are_refused(
    location: str, settings: dict[str, int], message: str, tmp_path: Path
) -> None:
    path = external(tmp_path / "model", location, **settings)
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "outside.bin")
    for graph in (convolution(), None):
        with pytest.raises(WeightsError, match=message):
            read_onnx(path, graph)


def test_an_absolute_location_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path / "model", str(tmp_path / "outside.bin"), offset=64)
    with pytest.raises(WeightsError, match="refused"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.dims.append(2), "has 432 bytes, but its shape [4, 3, 3, 3, 2] needs another number"),
        (lambda tensor: tensor.dims.__setitem__(0, 2**40), "needs another number"),
        (lambda tensor: tensor.dims.__setitem__(0, -4), "has the shape [-4, 3, 3, 3]"),
        (lambda tensor: tensor.dims.extend([1] * 80), "maximum supported dimension"),
        (lambda tensor: tensor.ClearField("raw_data"), "kernel"),
    ],
)
def test_a_tensor_whose_data_do_not_fit_its_shape_is_refused(
    change: Callable[[TensorProto], Any], message: str, tmp_path: Path
) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    change(model.graph.initializer[0])
    for graph in (convolution(), None):
        assert message in refused(model, graph, tmp_path)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    model.graph.initializer.append(model.graph.initializer[0])
    assert refused(model, None, tmp_path) == "is not a complete ONNX file (two initializers are named 'kernel')"


def test_an_unsupported_type_is_reported_only_where_it_is_needed(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    tensor = model.graph.initializer[0]
    tensor.data_type, tensor.raw_data = TensorProto.FLOAT8E4M3FN, bytes(KERNEL.size)
    assert "'y' (Conv) has an unknown input: 'kernel' has an unsupported type" in refused(
        model, convolution(), tmp_path
    )
    assert read(model, None, tmp_path).ignored == {NOT_WEIGHTS: 1}


def test_too_many_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_spec.weights.formats.protobuf.MAX_FIELDS", 100)
    (tmp_path / "x.onnx").write_bytes(b"\x08\x08" * 200)
    with pytest.raises(WeightsError, match="it has more than 100 fields"):
        read_onnx(tmp_path / "x.onnx")


@pytest.mark.parametrize("content", [b"", b"\x08", b"This is no model.\n" * 20, b"\x08\x08", bytes(1000), b"\xff" * 99])
def test_a_file_that_is_not_a_model_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    for graph in (None, small_resnet()):
        with pytest.raises(WeightsError, match=r"^[^\n]*x\.onnx: is not a complete ONNX file \([^\n]*\)$"):
            read_onnx(tmp_path / "x.onnx", graph)


@pytest.mark.parametrize("name", [b"kernel", b"metadata", b"doubled"])
def test_names_that_are_not_utf8_are_reported(name: bytes, tmp_path: Path) -> None:
    nodes = [node("Identity", "kernel", "doubled"), node("Conv", "x doubled", "y")]
    model = made(nodes, {"kernel": KERNEL})
    helper.set_model_props(model, {"metadata": ""})
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString().replace(name, b"\xff" + name[1:]))
    for graph in (None, convolution()):
        with pytest.raises(WeightsError, match=r"is not a complete ONNX file \(a name is not valid UTF-8\)"):
            read_onnx(tmp_path / "x.onnx", graph)


def test_an_unreadable_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_onnx(tmp_path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_onnx(tmp_path / "absent.onnx")


def test_a_file_truncated_at_every_tenth_is_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    whole = proto(graph).SerializeToString()
    path = tmp_path / "model.onnx"
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        for wanted in (graph, None):
            with pytest.raises(WeightsError, match="is not a complete ONNX file"):
                read_onnx(path, wanted)


def test_a_file_that_is_truncated_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory map of it would end the process by SIGBUS."""
    path = tmp_path / "model.onnx"
    path.write_bytes(proto(small_resnet()).SerializeToString())
    parse = protobuf._parse_except

    def truncating(walk: Any, fields: Any, message: Any, name: str) -> Any:
        if name == "initializer":
            os.truncate(path, 0)
        return parse(walk, fields, message, name)

    monkeypatch.setattr(protobuf, "_parse_except", truncating)
    with pytest.raises(WeightsError, match="is not a complete ONNX file"):
        read_onnx(path)


def test_flipped_bytes_raise_nothing_but_a_weights_error(tmp_path: Path) -> None:
    """Every error is a WeightsError of one line; outside of the weights' own bytes, most changes are detected."""
    graph = small_resnet()
    rng = random.Random(5)
    detected = lines = 0
    for model in (proto(graph), anonymous(proto(graph))):
        whole = model.SerializeToString()
        for _ in range(80):
            broken = bytearray(whole)
            broken[rng.randrange(len(whole) // 3)] ^= 1 << rng.randrange(8)
            (tmp_path / "x.onnx").write_bytes(broken)
            try:
                read_onnx(tmp_path / "x.onnx", graph)
            except WeightsError as error:
                detected += 1
                lines = max(lines, str(error).count("\n") + 1)
    assert lines == 1
    assert detected > 50
