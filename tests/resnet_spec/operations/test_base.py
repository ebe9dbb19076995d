"""The description of an operation and of its fields comes from its docstring and those of its bases."""

from __future__ import annotations

import pytest

from resnet_spec.operations import OPERATIONS, GroupNorm
from resnet_spec.operations.base import describe


def test_fields_are_described_by_the_class_that_adds_them() -> None:
    description, fields = describe(GroupNorm)
    assert description == "Group normalization (Wu and He 2018) with (channels,) parameters."
    assert fields == {
        "groups": "Number of groups of channels; it must divide the channels.",
        "epsilon": "Added to the variance before the root is taken.",
        "scale": "Whether the result is multiplied by a trainable scale.",
        "offset": "Whether a trainable offset is added to the result.",
    }


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_field_has_a_description(op: str) -> None:
    description, fields = describe(OPERATIONS[op])
    assert description
    assert "Attributes" not in description
    kind = OPERATIONS[op]
    assert fields.keys() == {*kind.model_fields, *kind.aliases} - {"op"}
