"""Whatever a result holds, its JSON is JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_spec.document.json_output import plain_data, to_json
from resnet_spec.parity.report import Finding, ParityReport
from resnet_spec.vision.prediction import Prediction

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5) | st.tuples(inner),
    max_leaves=30,
)


def strictly(text: str) -> Any:
    """Parse JSON, and nothing that only Python takes for it."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@given(PLAIN)
def test_any_plain_data_is_strict_json(data: Any) -> None:
    assert strictly(to_json(data)) == plain_data(data)


def test_arrays_paths_and_collections_have_a_form() -> None:
    data = {"a": np.array([1.5, nan]), 2: Path("x"), "b": np.float32(inf), "c": {3}, "d": np.int64(4), "e": (1,)}
    assert plain_data(data) == {"a": [1.5, None], "2": "x", "b": None, "c": [3], "d": 4, "e": [1]}
    with pytest.raises(TypeError, match="JSON has no form for bytes"):
        plain_data(b"")


def with_every_float(value: Any, number: float) -> Any:
    """A dataclass, and those within, with a number in the place of every float."""
    if isinstance(value, float):
        return number
    if isinstance(value, tuple):
        return tuple(with_every_float(item, number) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{f.name: with_every_float(getattr(value, f.name), number) for f in fields(value)})
    return value


@pytest.mark.parametrize("number", [nan, inf, -inf, 1.0])
def test_reports_of_any_numbers_are_strict_json(handmade: Any, number: float) -> None:
    node = handmade.node("conv1", 0.5, 0.5)
    finding = Finding("a", "conv1", "node", node.differences[0], ("cause",), 3)
    report: ParityReport = with_every_float(handmade.report(nodes=(node,), findings=(finding,)), number)
    for part in (report, *report.nodes, *report.findings, *report.differences):
        found = strictly(json.dumps(part.to_dict(), allow_nan=False))
        assert found
    assert ("null" in json.dumps(report.to_dict())) == (number != 1)
    logits = np.full((2, 3), number)
    prediction = Prediction("s", "w", ("a", "b"), ("x", "y", "z"), {"a": logits, "b": logits}, number)
    with np.errstate(invalid="ignore"):
        assert strictly(json.dumps(prediction.to_dict(), allow_nan=False))["passed"] == (number == 1)
