"""Linear layers, against the torch backend."""

from __future__ import annotations

import pytest

from tests.resnet_spec_onnx.support import assert_as_torch, single


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    assert_as_torch(single("linear", 5, features=3, bias=bias), (4, 5), (1, 5))
