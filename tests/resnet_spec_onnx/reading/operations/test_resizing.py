"""Resizing that exporters write, and what has no normal form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from resnet_spec.graph import Graph
from tests.resnet_spec_onnx.reading.files import KERNEL, anonymous, assert_equal, made, node, proto, read, refused
from tests.resnet_spec_torch.graphs import Builder, random_arrays

KINDS: dict[str, dict[str, str]] = {
    "linear": {"mode": "bilinear", "coordinates": "half_pixel"},
    "aligned": {"mode": "bilinear", "coordinates": "align_corners"},
    "floor": {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
    "centered": {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up"},
}


def resized(kind: str, **fields: Any) -> Graph:
    b = Builder(3, 9, 8).add("conv", "conv2d", channels=4, kernel=3)
    sources = ("conv", "input") if fields.get("like") else ("conv",)
    return b.add("x", "resize", *sources, **KINDS[kind], **fields).graph()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", [{"scale": 2}, {"scale": [3, 1]}, {"size": [12, 5]}, {"like": True}])
def test_our_own_are_read_without_names(kind: str, fields: dict[str, Any], tmp_path: Path) -> None:
    graph = resized(kind, **fields)
    arrays = random_arrays(graph)
    assert_equal(read(anonymous(proto(graph, arrays)), graph, tmp_path), arrays)
    other = resized("aligned" if kind != "aligned" else "linear", **fields)
    assert "differ in interpolation" in refused(anonymous(proto(graph, arrays)), other, tmp_path)


CONSTANTS = {
    "kernel": KERNEL,
    "twice": np.array([1, 1, 2, 2], np.float32),
    "half": np.array([1, 1, 1.45, 2], np.float32),
    "channels": np.array([1, 2, 1, 1], np.float32),
    "sizes": np.array([1, 4, 14, 12]),
    "positions": np.array([14, 12]),
    "last": np.array([1, 14, 12, 4]),
    "none": np.zeros(0, np.float32),
    "reversed": np.array([6, 5, 4, 3, 2, 1, 0]),
}
PYTORCH = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
FLOOR = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
WRITTEN: dict[str, tuple[str, int, list[NodeProto]]] = {
    "by PyTorch": ("linear", 17, [node("Resize", "c none none sizes", "y", **PYTORCH)]),
    "of some axes": ("linear", 18, [node("Resize", "c none none positions", "y", axes=[2, 3], **PYTORCH)]),
    "scales": ("floor", 13, [node("Resize", "c none twice", "y", **FLOOR)]),
    "the default rounding": ("centered", 13, [node("Resize", "c none twice", "y", mode="nearest")]),
    "version 10": ("floor", 9, [node("Upsample", "c twice", "y", mode="nearest")]),
    "channels last": (
        "aligned",
        17,
        [
            node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
            node("Resize", "t none none last", "r", mode="linear", coordinate_transformation_mode="align_corners"),
            node("Transpose", "r", "y", perm=[0, 3, 1, 2]),
        ],
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_exporters_write(case: str, tmp_path: Path) -> None:
    kind, opset, nodes = WRITTEN[case]
    model = made([node("Conv", "x kernel", "c"), *nodes], CONSTANTS, (1, 3, 9, 8), opset)
    for fields in ({"scale": 2}, {"size": [14, 12]}):
        assert_equal(read(model, resized(kind, **fields), tmp_path), {"conv.weight": KERNEL})
    assert "differ in" in refused(model, resized("linear" if kind != "linear" else "aligned", scale=2), tmp_path)
    assert "differ in" in refused(model, resized(kind, size=[14, 13]), tmp_path)


@pytest.mark.parametrize(
    ("resize", "message"),
    [
        (node("Resize", "c none twice", "y", mode="cubic"), "with mode 'cubic'"),
        (node("Resize", "c none twice", "y", mode="linear", coordinate_transformation_mode="asymmetric"), "asymmetric"),
        (node("Resize", "c none half", "y", mode="linear"), "scales to 10.15 values, which is not supported"),
        (node("Resize", "c none channels", "y", mode="linear"), "along other axes than height and width"),
        (node("Resize", "c none none last", "y", mode="linear"), "along other axes than height and width"),
        (node("Resize", "c none none positions", "y", mode="linear"), "which is not supported"),
        (node("Resize", "c none twice", "y", mode="linear", antialias=1), "unsupported value of 'antialias'"),
        (node("Gather", "c reversed", "y", axis=2), "selects values in a way that is not supported"),
        (node("Gather", "c reversed", "y", axis=0), "selects values in a way that is not supported"),
    ],
)
def test_others_are_reported(resize: NodeProto, message: str, tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "c"), resize], CONSTANTS, (1, 3, 9, 8))
    assert message in refused(model, resized("linear", scale=2), tmp_path)
