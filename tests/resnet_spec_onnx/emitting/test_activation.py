"""Activations and softmax, against the torch backend."""

from __future__ import annotations

import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, single


@pytest.mark.parametrize("op", ["relu", "sigmoid"])
def test_activations(op: str) -> None:
    assert_as_torch(single(op, 4, 5, 6), *MAPS)


def test_softmax() -> None:
    assert_as_torch(single("softmax", 7), (2, 7))
