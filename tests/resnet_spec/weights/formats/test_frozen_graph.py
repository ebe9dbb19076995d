"""The constants of TensorFlow's frozen graphs are read without it; nothing of a graph is executed.

The graphs are written here from the format's published messages; ``tests/oracles/test_frozen_graphs.py`` has those that
TensorFlow writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import WeightsError
from resnet_spec.weights.formats.frozen_graph import read_frozen_graph
from resnet_spec.weights.reading import read_checkpoint
from tests.resnet_spec.weights.formats.wire import data, floats, number, varint

Lines = Callable[..., list[str]]

FLOAT, DOUBLE, INT32, HALF, BFLOAT16 = 1, 2, 3, 19, 14

VALUES = np.arange(6).reshape(2, 3)


def tensor(kind: int, shape: tuple[int, ...], *content: bytes) -> bytes:
    # A length of 0 is not written.
    dimensions = (data(2, number(1, length) if length else b"") for length in shape)
    return number(1, kind) + data(2, *dimensions) + b"".join(content)


def constant(name: str, value: bytes, operation: str = "Const", key: str = "value") -> bytes:
    kind = data(5, data(1, "dtype"), data(2, number(6, FLOAT)))
    return data(1, data(1, name), data(2, operation), kind, data(5, data(1, key), data(2, data(8, value))))


def graph(path: Path, *nodes: bytes) -> Path:
    image = data(1, data(1, "image"), data(2, "Placeholder"))
    path.write_bytes(image + b"".join(nodes) + data(4, number(1, 1882)))
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"), [(FLOAT, "<f4"), (DOUBLE, "<f8"), (HALF, "<f2"), (BFLOAT16, "<u2")], ids=str
)
def test_every_type_by_its_bytes(tmp_path: Path, kind: int, dtype: str) -> None:
    stored = (VALUES.astype("<f4").view("<u4") >> 16).astype("<u2") if kind == BFLOAT16 else VALUES.astype(dtype)
    path = graph(tmp_path / "x.pb", constant("layer/kernel", tensor(kind, (2, 3), data(4, stored.tobytes()))))
    checkpoint = read_checkpoint(path)

    assert list(checkpoint.tensors) == ["layer/kernel"]
    assert np.array_equal(checkpoint.tensors["layer/kernel"], VALUES)
    assert checkpoint.tensors["layer/kernel"].dtype == ("float32" if kind == BFLOAT16 else dtype)
    assert checkpoint.widened == ({"layer/kernel"} if kind == BFLOAT16 else set())
    assert checkpoint.tensors["layer/kernel"].flags.writeable


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (FLOAT, data(5, struct.pack("<3f", 1, 2, 4))),
        (FLOAT, floats(5, (1, 2, 4))),
        (DOUBLE, data(6, struct.pack("<3d", 1, 2, 4))),
        # The bits of halves are numbers of variable length, packed or not.
        (HALF, data(13, varint(0x3C00), varint(0x4000), varint(0x4400))),
        (HALF, number(13, 0x3C00) + number(13, 0x4000) + number(13, 0x4400)),
        (BFLOAT16, data(13, varint(0x3F80), varint(0x4000), varint(0x4080))),
    ],
)
def test_the_last_of_too_few_numbers_stands_for_the_rest(tmp_path: Path, kind: int, content: bytes) -> None:
    path = graph(tmp_path / "x.pb", constant("a", tensor(kind, (2, 3), content)))

    assert read_frozen_graph(path).tensors["a"].tolist() == [[1, 2, 4], [4, 4, 4]]


def test_a_constant_without_numbers_is_zero(tmp_path: Path) -> None:
    path = graph(tmp_path / "x.pb", constant("a", tensor(FLOAT, (2,))), constant("b", tensor(FLOAT, (0, 2))))
    tensors = read_frozen_graph(path).tensors

    assert tensors["a"].tolist() == [0, 0]
    assert tensors["b"].shape == (0, 2)


def test_what_is_no_weight_is_left_out(tmp_path: Path) -> None:
    one = data(5, struct.pack("<f", 1))
    path = graph(
        tmp_path / "x.pb",
        constant("weight", tensor(FLOAT, (1,), one)),
        constant("scalar", tensor(FLOAT, (), one)),
        constant("axes", tensor(INT32, (1,), data(7, varint(1)))),
        constant("other", tensor(FLOAT, (1,), one), operation="Identity"),
        constant("strange", tensor(FLOAT, (1,), one), key="values"),
        data(2, data(1, constant("in_a_function", tensor(FLOAT, (1,), one)))),
    )

    assert list(read_frozen_graph(path).tensors) == ["weight"]


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = graph(tmp_path / "frozen", constant("a", tensor(FLOAT, (1,), data(5, struct.pack("<f", 1)))))

    assert read_checkpoint(path).tensors["a"].tolist() == [1]


def test_a_saved_models_graph_is_none(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "saved_model.pb"
    path.write_bytes(number(1, 1) + data(2, data(1, data(4, "serve")), data(2, constant("a", tensor(FLOAT, (1,))))))

    assert lines(lambda: read_checkpoint(path)) == [
        f"{path}: is the graph of a SavedModel without its weights; give its folder, {tmp_path}"
    ]


def test_a_frozen_graph_may_be_named_as_a_saved_model(tmp_path: Path) -> None:
    path = graph(tmp_path / "saved_model.pb", constant("a", tensor(FLOAT, (2,), data(5, struct.pack("<f", 1)))))

    assert read_checkpoint(path).tensors["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "holds no weights: none of its nodes is a constant of floating-point numbers"),
        ([constant("a", tensor(FLOAT, (1,)))] * 2, "two nodes are named 'a'"),
        ([constant("a", tensor(FLOAT, (2,), data(4, bytes(4))))], "'a' has 4 bytes, but its shape [2] needs another"),
        ([constant("a", tensor(FLOAT, (2**40,), data(4, bytes(4))))], "'a' has 4 bytes, but its shape [1099511627776]"),
        (
            [constant("a", tensor(FLOAT, (2**40,)))],
            "refused: a claims 4,398,046,511,104 bytes, of which the file",
        ),
        ([constant("a", tensor(FLOAT, (2**62, 2**62)))], "refused: a claims"),
        ([constant(f"{n}", tensor(FLOAT, (2**17,))) for n in range(3)], "refused: 2 claims 524,288 bytes"),
        ([constant("a", tensor(FLOAT, (-1,)))], "'a' has the shape [-1]"),
        ([constant("a", tensor(FLOAT, (1,) * 33))], "'a' has 33 axes"),
        ([constant("a", tensor(FLOAT, (0, 2**63 - 1, 2**63 - 1)))], ""),
        ([constant("a", tensor(FLOAT, (1,), data(5, bytes(8))))], "'a' has 2 numbers, but its shape is [1]"),
        ([constant("a", tensor(FLOAT, (1,), data(5, bytes(3))))], "buffer size must be a multiple of element size"),
        ([data(1, data(1, b"\xff"), data(2, "Const"))], "a name is not valid UTF-8"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, lines: Lines, nodes: list[bytes], said: str) -> None:
    path = graph(tmp_path / "x.pb", *nodes)
    (line,) = lines(lambda: read_frozen_graph(path))

    assert line.startswith((f"{path}: {said}", f"{path}: is not a complete frozen graph of TensorFlow ({said}"))


def test_too_many_fields_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_spec.weights.formats.protobuf.MAX_FIELDS", 100)
    path: Any = graph(tmp_path / "x.pb", constant("a", tensor(HALF, (200,), data(13, bytes(200)))))
    with pytest.raises(WeightsError, match="it has more than 100 fields"):
        read_frozen_graph(path)
