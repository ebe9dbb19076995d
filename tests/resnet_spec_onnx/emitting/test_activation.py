"""Activations and softmax, against the torch backend."""

from __future__ import annotations

import pytest

from tests.activation_formulas import CASES, Case
from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, single


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_activations(case: Case) -> None:
    assert_as_torch(single(case.op, 4, 5, 6, **case.fields), *MAPS)


@pytest.mark.parametrize("per_channel", [True, False])
def test_learned_slopes(per_channel: bool) -> None:
    assert_as_torch(single("prelu", 4, 5, 6, per_channel=per_channel), *MAPS)
    assert_as_torch(single("prelu", 7, per_channel=per_channel), (2, 7))


def test_softmax() -> None:
    assert_as_torch(single("softmax", 7), (2, 7))
