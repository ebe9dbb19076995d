"""Activations and softmax against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.activation_formulas import CASES, NUMBERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_activations(run, single, case):
    graph = single(case.op, NUMBERS.shape[1:], **case.fields)
    np.testing.assert_allclose(run(graph, NUMBERS, dtype="float64"), case.expected(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(run(graph, NUMBERS), case.expected(), rtol=1e-6, atol=1e-6)


def test_softmax(run, builder):
    b = builder(3, 1, 1)
    b("flatten", "flatten", "input")
    b("softmax", "softmax", "flatten")
    x = np.log([1.0, 2.0, 5.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(run(b.graph(), x, dtype="float64"), [[0.125, 0.25, 0.625]], rtol=1e-14)
