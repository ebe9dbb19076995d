"""The two tables of normal forms: what they cover, and that a second entry is refused."""

from __future__ import annotations

import pytest

from resnet_spec.operations import OPERATIONS
from resnet_spec_onnx.reading.operations import NODE_FORMS, OPERATION_FORMS

NOT_COMPARED = {"matmul", "transpose", "std_conv2d", "evo_norm_s0", "filter_response_norm", "position_batch_norm"}
"""Operations without a normal form: files that have them are read by name only."""


def test_every_operation_has_a_normal_form_or_is_known_to_have_none() -> None:
    assert set(OPERATIONS) - set(OPERATION_FORMS) == NOT_COMPARED
    assert set(OPERATION_FORMS) < set(OPERATIONS)


def test_a_second_normal_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'relu' has two normal forms"):
        OPERATION_FORMS.register("relu")(lambda: 0)
    with pytest.raises(ValueError, match="'Conv' has two normal forms"):
        NODE_FORMS.register("Conv")(lambda node: node.computed())
