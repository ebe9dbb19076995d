"""The table of emitters, and operations that are exactly one ONNX node."""

from __future__ import annotations

from typing import Any

import pytest

from resnet_spec.errors import BackendError
from resnet_spec.operations import OPERATIONS
from resnet_spec_onnx import OnnxBackend
from resnet_spec_onnx.emitting import EMITTERS, emitters
from tests.resnet_spec_onnx.support import nodes, single


def test_every_operation_has_an_emitter_and_every_emitter_an_operation() -> None:
    assert set(EMITTERS) == set(OPERATIONS)


def test_a_second_emitter_is_refused() -> None:
    with pytest.raises(ValueError, match="'relu' has two emitters"):
        EMITTERS.register("relu")(lambda: "")


def test_an_operation_without_an_emitter_is_reported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitters, "EMITTERS", {op: emit for op, emit in EMITTERS.items() if op != "relu"})
    with pytest.raises(BackendError, match=r"^x: the onnx backend has no relu$"):
        OnnxBackend().compile(single("relu", 3, 4, 4))


@pytest.mark.parametrize(
    ("op", "fields", "wanted"),
    [
        ("conv2d", {"channels": 2, "kernel": 3, "padding": [[0, 1], [1, 0]], "bias": True}, "Conv"),
        ("conv2d", {"channels": 2, "kernel": 7, "stride": 2, "padding": "same"}, "Conv"),
        ("conv_transpose2d", {"channels": 2, "kernel": 3, "stride": 2, "padding": "same"}, "ConvTranspose"),
        ("batch_norm", {}, "BatchNormalization"),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": "same"}, "MaxPool"),
        ("max_pool2d", {"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, "MaxPool"),
        ("avg_pool2d", {"kernel": 2, "ceil_mode": True, "count_include_pad": False}, "AveragePool"),
        ("avg_pool2d", {"kernel": 3, "stride": 2, "padding": "same", "count_include_pad": True}, "AveragePool"),
        ("global_avg_pool", {}, "GlobalAveragePool"),
        ("global_max_pool", {}, "GlobalMaxPool"),
        ("pad2d", {"padding": 1}, "Pad"),
        ("flatten", {}, "Flatten"),
    ],
)
def test_operations_that_onnx_has_are_one_node(op: str, fields: dict[str, Any], wanted: str) -> None:
    assert [node.op_type for node in nodes(op, (4, 9, 9), **fields)] == [wanted]
