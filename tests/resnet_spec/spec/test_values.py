"""Values are found by the names of steps and of their parts, and their sizes by the names that expressions use."""

from __future__ import annotations

import pytest

from resnet_spec.spec.expressions import UNKNOWN
from resnet_spec.spec.values import StepSizes, Value, find, names

INNER = Value("inner", (5,))
VALUES = {
    "input": Value("input", (3, 8, 6)),
    "body": Value("b", (4, 9), {"0": Value("b0", None, {"layer4.1": INNER}), "low.1": Value("low", (2,))}),
    "body.1": Value("other", (1,)),
}


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("input", "input"),
        ("body", "b"),
        ("body.0", "b0"),
        ("body.low.1", "low"),
        ("body.0.layer4.1", "inner"),
        ("body.0.0", "inner"),
    ],
)
def test_a_value_is_found_through_its_parts(name: str, node: str) -> None:
    found = find(VALUES, name)
    assert found is not None
    assert found.node == node


@pytest.mark.parametrize(
    "name", ["", ".", "body.", ".body", "body.2", "body.-1", "body.٠", "body." + "9" * 5000, "input.0", "body.0.layer4"]
)
def test_another_name_is_not_found(name: str) -> None:
    assert find(VALUES, name) is None


def test_a_step_hides_a_part_of_the_same_name() -> None:
    found = find(VALUES | {"body.0": Value("step", (1,))}, "body.0")
    assert found is not None
    assert found.node == "step"


def test_every_name_is_found() -> None:
    assert names(VALUES) == ["input", "body", "body.0", "body.0.layer4.1", "body.low.1", "body.1"]
    assert all(find(VALUES, name) for name in names(VALUES))


def test_sizes_have_the_names_of_their_rank() -> None:
    sizes = StepSizes(VALUES)

    assert sizes["input"] == {"channels": 3, "height": 8, "width": 6}
    assert sizes["body"] == {"channels": 4, "length": 9}
    assert sizes["body.low.1"] == {"features": 2}
    assert sizes["body.0"] is UNKNOWN
    assert StepSizes({"x": Value("x", (2, 3, 4, 5))})["x"] == {"channels": 2, "depth": 3, "height": 4, "width": 5}
    assert list(sizes) == names(VALUES)
    assert len(sizes) == 6
    assert "body.7" not in sizes
