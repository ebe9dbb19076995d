"""Exported programs compute paddings and normalizations at sizes other than the example's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.resnet_spec_torch.graphs import (
    Builder,
    build,
)

SLOW = pytest.mark.slow
ROUNDED_UP = {"kernel": 3, "stride": 3, "padding": [[0, 1], [1, 0]], "ceil_mode": True}


def normalized() -> Any:
    b = Builder(3, 6, 6).add("conv", "conv_transpose2d", channels=4, kernel=3, stride=2, padding="same")
    b.add("gn", "group_norm", groups=2, epsilon=1e-5).add("relu", "relu")
    b.add("evo", "evo_norm_s0", groups=4, epsilon=1e-5).add("mirror", "pad2d", padding=1, mode="reflect")
    b.add("frn", "filter_response_norm", epsilon=1e-5, threshold=True).add("wide", "pad_channels", before=1, after=1)
    b.add("drop", "stochastic_depth", rate=0.1).add("max", "global_max_pool").add("row", "reshape", shape=[1, 6])
    b.add("eca", "conv1d", channels=1, kernel=3, padding=1).add("gate", "reshape", shape=[6, 1, 1])
    b.add("scaled", "multiply", "drop", "gate")
    return b.graph()


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("std_conv2d", {"channels": 4, "kernel": 3, "stride": 2, "padding": "same", "epsilon": 1e-6}),
        ("conv_transpose2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": "same"}),
        *(
            pytest.param(
                "conv_transpose2d", {"channels": 2, "kernel": 2, "stride": stride, "padding": "same"}, marks=SLOW
            )
            for stride in (2, 3)
        ),
        ("avg_pool2d", {"kernel": [2, 3], "stride": 2, "padding": "same", "count_include_pad": False}),
        pytest.param(
            "avg_pool2d", {"kernel": 2, "stride": 3, "padding": "same", "count_include_pad": True}, marks=SLOW
        ),
        pytest.param("avg_pool2d", {**ROUNDED_UP, "count_include_pad": False}, marks=SLOW),
        ("avg_pool2d", {**ROUNDED_UP, "count_include_pad": True}),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
        ("max_pool2d", ROUNDED_UP),
    ],
)
def test_windows_follow_the_size_after_export(op: str, fields: dict[str, Any]) -> None:
    model = build(Builder(3, 24, 24).add("x", op, **fields).graph())
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(model, (torch.rand(2, 3, 24, 24),), dynamic_shapes=(dynamic,))
    exported = program.module()
    for batch, height, width in [(1, 24, 24), (3, 23, 30), (2, 41, 38), (2, 29, 31)]:
        images = torch.rand(batch, 3, height, width)
        torch.testing.assert_close(exported(images), model(images))


def test_normalizations_follow_the_size_after_export() -> None:
    model = build(normalized())
    dynamic = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(model, (torch.rand(2, 3, 6, 6),), dynamic_shapes=(dynamic,)).module()
    for batch, height, width in [(1, 6, 6), (3, 5, 9)]:
        images = torch.rand(batch, 3, height, width)
        torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("conv2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": "same"}),
        ("conv2d", {"channels": 2, "kernel": 1, "stride": 2, "padding": "same"}),
        ("std_conv2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": "same", "epsilon": 1e-6}),
        ("avg_pool2d", {"kernel": 2, "stride": 3, "padding": "same", "count_include_pad": False}),
        ("max_pool2d", ROUNDED_UP),
    ],
)
def test_computed_paddings_are_traced_by_fx(op: str, fields: dict[str, Any]) -> None:
    model = build(Builder(3, 24, 24).add("x", op, **fields).graph())
    traced = torch.fx.symbolic_trace(model)
    for height, width in [(24, 24), (23, 30)]:
        images = torch.rand(2, 3, height, width)
        assert torch.equal(traced(images), model(images))
