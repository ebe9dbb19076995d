"""Caffe's models are read without it.

Caffe is not on PyPI: the files are written here from the format's published messages (``caffe.proto``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec.weights.formats.caffe import read_caffe
from resnet_spec.weights.reading import read_checkpoint
from tests.resnet_spec.weights.formats.wire import data, floats, number, varint

Lines = Callable[..., list[str]]


def blob(values: Any, shape: tuple[int, ...] | None = None, *, old: bool = False, packed: bool = True) -> bytes:
    """A blob; an old one has its shape as number, channels, height and width."""
    values = np.asarray(values)
    shape = values.shape if shape is None else shape
    if old:
        four = (1,) * (4 - len(shape)) + shape
        head = b"".join(number(field, length) for field, length in enumerate(four, 1))
    else:
        head = data(7, data(1, *map(varint, shape)))
    if values.dtype == "float64":
        return head + data(8, values.astype("<f8").tobytes())
    return head + (data(5, values.astype("<f4").tobytes()) if packed else floats(5, values.reshape(-1)))


def layer(name: str, kind: str, *blobs: bytes) -> bytes:
    return data(100, data(1, name), data(2, kind), data(3, "bottom"), data(4, "top"), *(data(7, one) for one in blobs))


def old_layer(name: str, kind: int, *blobs: bytes) -> bytes:
    return data(2, data(2, "bottom"), data(3, "top"), data(4, name), number(5, kind), *(data(6, one) for one in blobs))


def network(path: Path, *layers: bytes, name: str = "ResNet-50") -> Path:
    path.write_bytes((data(1, name) if name else b"") + b"".join(layers))
    return path


def values(*shape: int, dtype: str = "float32") -> Any:
    return (np.arange(np.prod(shape)).reshape(shape) + 1).astype(dtype)


def test_blobs_are_named_after_what_their_layers_do(tmp_path: Path) -> None:
    path = network(
        tmp_path / "x.caffemodel",
        layer("data", "Input"),
        layer("conv1", "Convolution", blob(values(4, 3, 2, 2)), blob(values(4))),
        layer("bn_conv1", "BatchNorm", blob(values(4)), blob(2 * values(4)), blob(np.array([4], "float32"))),
        layer("scale_conv1", "Scale", blob(values(4)), blob(values(4) / 8)),
        layer("conv1_relu", "ReLU"),
        layer("prelu", "PReLU", blob(values(4))),
        layer("fc1000", "InnerProduct", blob(values(5, 4)), blob(values(5))),
    )
    tensors = read_checkpoint(path).tensors

    assert list(tensors) == [
        "conv1/weight", "conv1/bias", "bn_conv1/mean", "bn_conv1/variance", "scale_conv1/weight", "scale_conv1/bias",
        "prelu/0", "fc1000/weight", "fc1000/bias",
    ]  # fmt: skip
    assert np.array_equal(tensors["conv1/weight"], values(4, 3, 2, 2))
    # The statistics are sums, which the third blob divides.
    assert tensors["bn_conv1/mean"].tolist() == [0.25, 0.5, 0.75, 1]
    assert tensors["bn_conv1/variance"].tolist() == [0.5, 1, 1.5, 2]
    assert tensors["scale_conv1/bias"].tolist() == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
    assert np.array_equal(tensors["fc1000/weight"], values(5, 4))
    assert all(tensor.flags.writeable for tensor in tensors.values())


@pytest.mark.parametrize("packed", [True, False])
def test_layers_and_shapes_of_before_2015(tmp_path: Path, packed: bool) -> None:
    """Every blob has four axes; numbers may not be packed."""
    path = network(
        tmp_path / "x.caffemodel",
        old_layer("conv1", 4, blob(values(1, 3, 2, 2), old=True, packed=packed), blob(values(1), old=True)),
        old_layer("fc8", 14, blob(values(5, 4), old=True, packed=packed), blob(values(5), old=True)),
        old_layer("other", 7, blob(values(2), old=True)),
    )
    tensors = read_checkpoint(path).tensors

    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "conv1/weight": (1, 3, 2, 2), "conv1/bias": (1,),

        "fc8/weight": (5, 4), "fc8/bias": (5,), "other/0": (1, 1, 1, 2),
    }  # fmt: skip
    assert np.array_equal(tensors["fc8/weight"], values(5, 4))


def test_a_vector_of_four_axes_is_a_vector(tmp_path: Path) -> None:
    """Forks of Caffe keep a normalization's statistics so."""
    statistics = [blob(values(1, 4, 1, 1)), blob(values(1, 4, 1, 1)), blob(np.ones(1, "float32"))]
    path = network(tmp_path / "x.caffemodel", layer("bn", "BatchNorm", *statistics))

    assert read_caffe(path).tensors["bn/mean"].tolist() == [1, 2, 3, 4]


def test_statistics_without_a_sample_are_zero(tmp_path: Path) -> None:
    """Caffe multiplies by zero where the factor is zero."""
    statistics = [blob(values(2)), blob(values(2)), blob(np.zeros(1, "float32"))]
    path = network(tmp_path / "x.caffemodel", layer("bn", "BatchNorm", *statistics))

    assert read_caffe(path).tensors["bn/variance"].tolist() == [0, 0]


def test_a_normalization_of_another_build_keeps_its_blobs(tmp_path: Path) -> None:
    path = network(tmp_path / "x.caffemodel", layer("bn", "BatchNorm", *[blob(values(2))] * 5))

    assert list(read_caffe(path).tensors) == ["bn/0", "bn/1", "bn/2", "bn/3", "bn/4"]


def test_double_precision(tmp_path: Path) -> None:
    path = network(tmp_path / "x.caffemodel", layer("fc", "InnerProduct", blob(values(2, 3, dtype="float64") / 3)))
    weight = read_caffe(path).tensors["fc/weight"]

    assert weight.dtype == "float64"
    assert np.array_equal(weight, values(2, 3, dtype="float64") / 3)


@pytest.mark.parametrize("name", ["ResNet-50", "", "x" * 300])
def test_a_file_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    for content in (layer("fc", "InnerProduct", blob(values(2))), old_layer("fc", 14, blob(values(2)))):
        path = network(tmp_path / "weights", layer("data", "Input"), content, name=name)
        assert len(read_checkpoint(path).tensors) == 1


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (
            [layer("fc", "InnerProduct")],
            "holds no weights: its layers have no blobs, or are those of Caffe",
        ),
        ([layer("a", "Scale", blob(values(2)))] * 2, "two blobs are named 'a/weight'"),
        (
            [layer("a", "Scale", blob(values(2), (3,)))],
            "'a/weight' has 8 bytes, but its shape [3] needs another",
        ),
        ([layer("a", "Scale", blob(values(2), (2**40,)))], "'a/weight' has 8 bytes, but its shape [1099511627776]"),
        ([layer("a", "Scale", blob(values(2), (2**62, 2**62)))], "'a/weight' has 8 bytes, but its shape ["),
        ([layer("a", "Scale", blob(values(2), (-2,)))], "'a/weight' has the shape [-2]"),
        ([layer("a", "Scale", blob(values(1), (1,) * 33))], "'a/weight' has 33 axes"),
        ([layer("a", "Scale", blob(np.zeros(0, "f4"), (0, 2**63 - 1)))], "'a/weight': "),
        ([layer("a", "Scale", *[blob(values(1))] * 33)], "'a' has more than 32 blobs"),
        ([layer("a", "Scale", blob(values(2)) + data(8, bytes(16)))], "'a/weight' has numbers of two types"),
        ([layer("a", "BatchNorm", blob(values(2)), blob(values(2)), blob(values(2)))], "'a' has 2 factors"),
        ([data(100, data(1, b"\xff"), data(2, "Scale"))], "a name is not valid UTF-8"),
        ([data(100, data(1, "a"))[:-1]], "it ends at byte"),
        ([b"\xff" * 20], "no number begins at byte"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, lines: Lines, layers: list[bytes], said: str) -> None:
    path = network(tmp_path / "x.caffemodel", *layers)
    (line,) = lines(lambda: read_caffe(path))

    assert line.startswith((f"{path}: {said}", f"{path}: is not a complete .caffemodel ({said}"))
