"""The file of an 8-bit network: grids, what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_spec import Quantization
from resnet_spec.errors import QuantizationError
from resnet_spec.quantization import CalibrationImages, Grid, covering, hash_of, kernel_codes, kernel_scales

FORM = Quantization(
    network="net",
    fingerprint="0" * 64,
    weights="b" * 64,
    method="minmax",
    images=CalibrationImages(count=2, sha256="a" * 64),
    kept=("head.*",),
    values={"input": Grid(scale=0.5, zero_point=-3), "conv1": Grid(scale=0.25, zero_point=127)},
    kernels={"conv1.weight": (0.5, 0.125)},
)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_covering_grid_has_zero_and_loses_no_number_of_its_range(one: float, other: float) -> None:
    low, high = sorted((one, other))
    grid = covering(low, high)
    assert grid.rounded(np.array([0.0])) == [0.0]
    assert grid.scale == np.float32(grid.scale)
    values = np.linspace(min(low, 0), max(high, 0), 1001)
    # The zero point is a whole number, which moves the range by half a step at most.
    assert np.abs(grid.rounded(values) - values).max() <= 1.0001 * grid.scale


def test_a_grid_rounds_halves_to_even_codes_and_limits() -> None:
    grid = Grid(scale=2.0, zero_point=1)
    assert grid.codes(np.array([1.0, 3.0, 5.0, -1.0, 1e9, -1e9])).tolist() == [1, 3, 3, 1, 127, -128]
    assert grid.limits == (-258.0, 252.0)


@pytest.mark.parametrize("high", [127, 63])
def test_a_kernel_keeps_its_largest_number_in_every_channel(high: int) -> None:
    kernel = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype("float32")
    kernel[2] = 0
    scales = kernel_scales(kernel, high)
    codes = kernel_codes(kernel, scales)
    assert np.abs(codes.reshape(5, -1)).max(axis=1).tolist() == [high, high, 0, high, high]
    error = codes * np.array(scales).reshape(-1, 1, 1, 1) - kernel
    assert (np.abs(error).reshape(5, -1).max(axis=1) <= np.array(scales) * 0.5001).all()


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(FORM.to_json())
    assert Quantization.read(path) == FORM
    # A grid a line, to be edited and compared.
    assert '    "conv1": {"scale": 0.25, "zero_point": 127}' in FORM.to_json().splitlines()
    assert str(FORM) == "Quantization('net', 2 values, 1 kernels, minmax)"


def test_a_file_without_the_hash_of_weights_is_of_any() -> None:
    data = json.loads(FORM.to_json())
    del data["weights"]
    older = Quantization.model_validate(data)
    assert older.weights is None
    assert older.remark_on({"fc.bias": np.ones(2)}) == ""
    assert FORM.remark_on({"fc.bias": np.ones(2)}).startswith(
        "the 8-bit grids of net were chosen with the weights bbbbbbbb, and these are "
    )


def test_the_hash_of_weights_depends_on_names_shapes_and_numbers_only() -> None:
    arrays = {"a": np.arange(6, dtype="float32").reshape(2, 3), "b": np.ones(2, "float32")}
    wanted = hash_of(arrays)
    same = {"b": arrays["b"].astype("float64"), "a": np.asfortranarray(arrays["a"].astype("float64"))}
    assert hash_of(same) == wanted
    assert FORM.model_copy(update={"weights": wanted}).remark_on(same) == ""
    others = (
        arrays | {"a": arrays["a"].reshape(3, 2)},
        {"a": arrays["a"], "c": arrays["b"]},
        arrays | {"b": arrays["b"] + np.float32(1e-7)},
    )
    assert len({wanted, *map(hash_of, others)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format: q.json: must be 1, not 2"),
        ({"kernel": {}}, "q.json: unknown key 'kernel'; did you mean 'kernels'?"),
        ({"method": "max"}, "method: q.json: must be 'minmax', 'percentile', 'mse' or 'entropy', not 'max'"),
        (
            {"values": {"conv1": {"scale": 0.0, "zero_point": 0}}},
            "values.conv1.scale: q.json: must be at least 1.1",
        ),
        (
            {"values": {"conv1": {"scale": 1e39, "zero_point": 0}}},
            "values.conv1.scale: q.json: must be at most 3.4",
        ),
        ({"values": {"conv1": {"scale": 1.0, "zero_point": 200}}}, "values.conv1.zero_point: q.json: must be at most"),
        ({"kernels": {"conv1.weight": []}}, "kernels.conv1.weight: q.json: must have at least 1 value"),
        ({"images": {"count": 1, "sha256": "x"}}, "images.sha256: q.json: must be 64 hexadecimal digits, not 'x'"),
    ],
)
def test_every_mistake_has_its_place(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(json.dumps(FORM.model_dump(mode="json") | change))
    with pytest.raises(QuantizationError) as error:
        Quantization.read(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of 'resnet-spec quantize'"),
        (b"\xff\xfe", "is not a file of 'resnet-spec quantize'"),
        (b"[" * 100_000, "is not a file of 'resnet-spec quantize'"),
        (b"[]", "it is a list or a single value"),
        (b'{"values": {"a": 1, "a": 2}}', "'a' is there twice"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_bytes(content)
    with pytest.raises(QuantizationError, match=message.replace("(", r"\(")):
        Quantization.read(path)


def test_a_missing_file_a_folder_and_a_large_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="no such file"):
        Quantization.read(tmp_path / "none.json")
    with pytest.raises(QuantizationError, match="is not a regular file"):
        Quantization.read(tmp_path)
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(2**27)
    with pytest.raises(QuantizationError, match="has more than 64 MiB"):
        Quantization.read(path)
