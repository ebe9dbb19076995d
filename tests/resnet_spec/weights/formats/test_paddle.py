"""PaddlePaddle's files are read without it; ``made/make_paddle.py`` made them with paddlepaddle 3.3.1."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[..., list[str]]

MADE = Path(__file__).parents[1] / "made"

VALUES = np.arange(6).reshape(2, 3)

SEVENTHS = np.array([0, 0x3E12, 0x3E92, 0x3EDB, 0x3F12, 0x3F37], "uint32")
"""The bits of sevenths in bfloat16."""


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_type_that_the_library_wrote(protocol: int) -> None:
    """Outside of a state_dict, Paddle saves a tensor as a pair with its name."""
    checkpoint = read_checkpoint(MADE / f"paddle_types_{protocol}.pdparams")
    tensors = checkpoint.tensors

    for dtype in ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"):
        assert tensors[dtype].dtype == dtype
        assert np.array_equal(tensors[dtype], VALUES.astype(dtype))
    assert np.array_equal(tensors["bfloat16"], (SEVENTHS << 16).view("float32").reshape(2, 3))
    assert checkpoint.widened == {"bfloat16"}
    assert float(tensors["nested.scalar"]) == 2.5
    assert len(tensors) == 10


def test_a_state_dict_has_the_networks_names() -> None:
    tensors = read_checkpoint(MADE / "paddle_resnet.pdparams").tensors

    assert tensors["conv1.weight"].shape == (64, 3, 7, 7)
    assert tensors["layer1.0.downsample.1._variance"].shape == (8,)
    # Linear layers have inputs first.
    assert tensors["fc.weight"].shape == (64, 5)
    assert all(tensor.dtype == "float32" and tensor.flags.writeable for tensor in tensors.values())


def test_bfloat16_in_a_state_dict_is_widened(tmp_path: Path) -> None:
    """Its bits are the only numbers of 16 bits without a sign in such a file; in any other they are numbers."""
    path, array = tmp_path / "x.pdparams", SEVENTHS.astype("uint16")
    path.write_bytes(pickle.dumps({"weight": array, "StructuredToParameterName@@": {"weight": "w_0"}}, protocol=4))
    checkpoint = read_checkpoint(path)

    assert np.array_equal(checkpoint.tensors["weight"], (SEVENTHS << 16).view("float32"))
    assert checkpoint.widened == {"weight"}
    path.write_bytes(pickle.dumps({"weight": array}, protocol=4))
    assert np.array_equal(read_checkpoint(path).tensors["weight"], SEVENTHS)


def test_parameters_in_pieces_are_refused_with_advice(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x.pdparams"
    pieces = {"weight": {"OriginShape": (4,), "slices": ["weight@@.0", "weight@@.1"]}}
    parts = {"weight@@.0": np.zeros(2, "float32"), "weight@@.1": np.zeros(2, "float32")}
    path.write_bytes(pickle.dumps({**parts, "UnpackBigParamInfor@@": pieces}, protocol=2))

    assert lines(lambda: read_checkpoint(path)) == [
        f"{path}: has parameters in pieces, which are not joined; save it again by paddle.save(…, protocol=4)"
    ]
