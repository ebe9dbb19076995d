"""The table of the normal forms of ONNX operators."""

from __future__ import annotations

import pytest

from resnet_spec_onnx.reading.operations import NODE_FORMS


def test_a_second_normal_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'Conv' has two normal forms"):
        NODE_FORMS.register("Conv")(lambda node: node.computed())
