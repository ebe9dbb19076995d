"""A format is known by a file's bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from resnet_spec.weights.formats import detection
from tests.resnet_spec.weights.formats.wire import data, number


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 2**20])
def test_a_pattern_is_found_wherever_a_block_ends(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(detection, "BLOCK", block)
    content = b"abaabaaab" * 3
    expected = [place for place in range(len(content)) if content.startswith(b"aba", place)]

    assert detection.occurrences(BytesIO(content), b"aba") == expected
    assert detection.occurrences(BytesIO(b""), b"aba") == []


NODE = data(1, data(1, "conv1/kernel"), data(2, "Const"), data(3, "x"))
LAYER = data(100, data(1, "conv1"), data(2, "Convolution"))
OLD_LAYER = data(2, data(3, "top"), data(4, "conv1"), number(5, 4))


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (NODE, ".pb"),
        (data(1, data(1, "x" * 200), data(2, "Placeholder")) + NODE, ".pb"),
        # What a .meta of TensorFlow begins with is a message too: a description, and then a graph.
        (data(1, data(1, "1"), data(2, data(1, data(1, "Const")))), ".bin"),
        (LAYER, ".caffemodel"),
        (data(1, "ResNet-50") + LAYER, ".caffemodel"),
        (data(1, "net") + data(3, "data") + number(4, 1) * 4 + OLD_LAYER, ".caffemodel"),
        (data(1, "net") + data(3, "data") + number(4, 1) * 100 + OLD_LAYER, ".bin"),
        (number(1, 10) + data(2, "pytorch") + data(7, "graph"), ".onnx"),
        (number(1, 1) + data(2, "\nproducer"), "saved_model.pb"),
        (number(1, 1), ".onnx"),
        (number(1, 100) + data(2, "text"), ".bin"),
        (bytes.fromhex("1201000000000000") + bytes(16), ".params"),
        (bytes.fromhex("1201000000000000") + b"\1" * 16, ".bin"),
        (b"\x82\xa6params\x80\xa4step\x01", ".msgpack"),
        (b"\xde\0\x10\xd9\x20" + b"x" * 32, ".msgpack"),
        # A map whose keys are numbers is none of Flax'.
        (b"\x82\1\2\3\4", ".bin"),
        (b"", ".bin"),
        (b"\n", ".bin"),
        (b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ".bin"),
        (b"text of any kind", ".bin"),
        (b"\nname: x\nkind: y\n", ".bin"),
    ],
)
def test_the_first_fields_or_bytes_of_a_file_decide(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)

    assert detection.ending_of(path) == ending


def test_a_truncated_file_keeps_the_ending_of_its_name(tmp_path: Path) -> None:
    """Or is still known; nothing else becomes of it."""
    for content, ending in ((NODE, ".pb"), (LAYER, ".caffemodel"), (number(1, 10) + data(2, "pytorch"), ".onnx")):
        path = tmp_path / f"weights{ending}"
        for end in range(len(content)):
            path.write_bytes(content[:end])
            assert detection.ending_of(path) == ending
