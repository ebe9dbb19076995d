"""Operations in NumPy against PyTorch's own functions, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from resnet_spec.quantization.arithmetic import FORMULAS, convolve
from tests.resnet_spec_torch.graphs import OPERATION, run

CONVOLUTIONS = [
    {"kernel": 3, "padding": 1},
    {"kernel": 3, "stride": 2, "padding": "same"},
    {"kernel": (5, 3), "stride": (1, 2), "padding": ((0, 2), (1, 0))},
    {"kernel": 3, "dilation": 2, "padding": 2, "groups": 2},
    {"kernel": 1, "stride": 2, "groups": 4},
]


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (2, 4, height, width)).astype("float64")


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("fields", CONVOLUTIONS, ids=str)
def test_convolutions_of_whole_numbers_are_exact(fields: dict[str, Any], size: tuple[int, int]) -> None:
    operation = OPERATION.validate_python({"op": "conv2d", "channels": 8, **fields})
    shape = (8, 4 // operation.groups, *operation.kernel)
    kernel = np.random.default_rng(1).integers(-127, 128, shape).astype("float64")
    found = convolve(operation, image(*size), kernel)
    np.testing.assert_array_equal(found, run("conv2d", image(*size), {"weight": kernel}, channels=8, **fields))


def test_convolutions_have_any_rank() -> None:
    for rank in (1, 3):
        operation = OPERATION.validate_python({"op": f"conv{rank}d", "channels": 1, "kernel": 2, "padding": "same"})
        value = np.arange(3.0**rank).reshape(1, 1, *[3] * rank)
        found = convolve(operation, value, np.ones((1, 1, *[2] * rank)))
        assert found.shape == value.shape
        corner = (0, 0, *[0] * rank)
        assert found[corner] == value[(0, 0, *[slice(0, 2)] * rank)].sum()


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1}),
        ("max_pool2d", {"kernel": 3, "stride": 2, "ceil_mode": True}),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": "same"}),
        ("avg_pool2d", {"kernel": 2, "stride": 2, "count_include_pad": True, "ceil_mode": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True, "ceil_mode": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 1, "padding": "same", "count_include_pad": False}),
        ("global_avg_pool", {}),
        ("mean", {"axis": [0]}),
        ("relu", {}),
        ("relu6", {}),
        ("flatten", {}),
        ("pad2d", {"padding": [[1, 2], [0, 1]]}),
        ("pad2d", {"padding": 2, "mode": "reflect"}),
        ("pad_channels", {"before": 1, "after": 2}),
        ("slice", {"part": 1, "parts": 2}),
        ("slice", {"axis": 1, "start": 2, "stop": 5}),
        ("transpose", {"axes": [1, 2, 0]}),
    ],
    ids=str,
)
def test_other_operations_equal_pytorch(op: str, fields: dict[str, Any], size: tuple[int, int]) -> None:
    operation = OPERATION.validate_python({"op": op, **fields})
    found = FORMULAS[type(operation)](operation, image(*size))
    np.testing.assert_allclose(found, run(op, image(*size), **fields), rtol=1e-14)


def test_joins_broadcast() -> None:
    value, row = image(5, 4), image(5, 4)[:, :, :1]
    add, multiply, concat = (
        OPERATION.validate_python(data) for data in ({"op": "add"}, {"op": "multiply", "factor": 0.5}, {"op": "concat"})
    )
    np.testing.assert_array_equal(FORMULAS[type(add)](add, value, row, value), value + row + value)
    np.testing.assert_array_equal(FORMULAS[type(multiply)](multiply, value, row), value * row / 2)
    np.testing.assert_array_equal(FORMULAS[type(concat)](concat, value, value)[:, 4:], value)
