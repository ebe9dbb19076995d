"""A reference that is zero, constant or a single number: right backends agree, and wrong ones do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import ParityReport
from resnet_spec.backend.optimizers import SGD
from resnet_spec.parity.plan import Plan
from resnet_spec.parity.report import remark_on
from resnet_spec.parity.trace import compare_with_trace, record
from resnet_spec.parity.training import _Run, _Steps  # pyright: ignore[reportPrivateUsage]
from resnet_spec.vision.prediction import Prediction

SPEC = """
    input: {features: 6}
    stem:
      one: {linear: {features: 8}}
      relu: relu
      fc: {linear: {features: 3}}
"""
ONE_LOGIT = SPEC.replace("features: 3", "features: 1")

Compare = Callable[..., ParityReport]


@pytest.fixture
def compare(numpy_backends: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Compare a spec of vectors, some of its weights filled with a number, in backends of NumPy alone."""
    monkeypatch.chdir(tmp_path)

    def compare(spec: str, backend: str, filled: dict[str, float] | None = None, **options: Any) -> ParityReport:
        Path("spec.yaml").write_text(dedent(spec), "utf-8")
        if filled is not None:
            graph = resnet_spec.load(Path("spec.yaml")).to_graph()
            arrays = resnet_spec.initialize(graph)
            for name, value in filled.items():
                arrays[name] = np.full_like(arrays[name], value)
            resnet_spec.write_weights(Path("w.safetensors"), graph, arrays, force=True)
            options["weights"] = Path("w.safetensors")
        return resnet_spec.compare(Path("spec.yaml"), ("plain", backend), **options)

    return compare


ZERO = {"fc.weight": 0.0, "fc.bias": 0.0}
CONSTANT = {"fc.weight": 0.0, "fc.bias": 0.7}
NEGATIVE = {"one.weight": 0.0, "one.bias": -1.0}


@pytest.mark.parametrize("bisect", [False, True])
@pytest.mark.parametrize(
    ("spec", "filled", "options"),
    [(SPEC, ZERO, {}), (SPEC, CONSTANT, {}), (ONE_LOGIT, None, {"batch": 1}), (SPEC, NEGATIVE, {})],
    ids=["zero logits", "constant logits", "a single logit", "a zero node"],
)
def test_backends_that_are_right_agree_and_one_that_shifts_the_logits_does_not(
    compare: Compare, spec: str, filled: dict[str, float] | None, options: dict[str, Any], bisect: bool
) -> None:
    right = compare(spec, "reordered", filled, bisect=bisect, **options)
    assert right.passed, right
    wrong = compare(spec, "shifted", filled, bisect=bisect, **options)
    (exact,) = (d for d in wrong.differences if d.dtype == "float64")
    assert not exact.passed
    assert not wrong.passed
    if bisect:
        assert [node.name for node in wrong.nodes if not node.passed] == ["fc"]


@pytest.mark.parametrize(
    ("spec", "filled", "remark"),
    [
        (SPEC, None, ""),
        (SPEC, ZERO, "all logits are one number"),
        (SPEC, {"fc.weight": 0.0, "fc.bias": np.arange(3.0)}, "the logits are the same for every image"),
        (SPEC, {"fc.weight": 0.5, "fc.bias": 0.0}, ""),
    ],
)
def test_logits_that_hide_mistakes_have_a_remark(
    compare: Compare, spec: str, filled: dict[str, Any] | None, remark: str
) -> None:
    report = compare(spec, "reordered", filled)
    assert report.remark == (f"{remark}, which hides mistakes; a bisection compares every node" if remark else "")
    assert not compare(spec, "reordered", filled, bisect=True).remark


def test_logits_that_are_the_same_at_every_position_have_a_remark() -> None:
    logits = np.broadcast_to(np.arange(6.0).reshape(2, 3, 1, 1), (2, 3, 4, 4))
    assert remark_on(logits).startswith("the logits are the same at every position, ")
    assert not remark_on(logits + np.eye(4))
    assert not remark_on(np.full((2, 3), np.nan))
    assert not remark_on(np.arange(3.0).reshape(1, 3))


def test_garbage_at_a_node_whose_reference_is_zero_is_found(compare: Compare) -> None:
    report = compare(SPEC, "leaky", NEGATIVE, bisect=True)
    assert [node.name for node in report.nodes if not node.passed] == ["relu"]
    difference, *_ = (d for node in report.nodes for d in node.differences if not d.passed)
    assert (difference.size, difference.relative, difference.bound) == (0, np.inf, np.inf)
    # One finding, though the backend's own float64 and float32 values, both wrong, differ by rounding.
    (finding,) = report.findings
    assert (finding.node, finding.difference.dtype) == ("relu", "float64")
    assert "a leaky ReLU of slope 0.1" in finding.causes


def test_infinity_is_never_an_agreement(compare: Compare) -> None:
    assert not compare(SPEC, "infinite").passed
    # On both sides too.
    Path("spec.yaml").write_text(dedent(SPEC), "utf-8")
    report = resnet_spec.compare(Path("spec.yaml"), ("infinite", "infinite"))
    assert not any(difference.passed for difference in report.differences)


def test_a_trace_of_zeros_is_judged_alike(compare: Compare) -> None:
    assert compare(SPEC, "reordered", ZERO).passed
    record(Path("spec.yaml"), "plain", Path("trace.safetensors"), weights=Path("w.safetensors"), nodes=True)
    assert compare_with_trace(Path("trace.safetensors"), "reordered", bisect=True).passed
    wrong = compare_with_trace(Path("trace.safetensors"), "shifted", bisect=True)
    assert not wrong.differences[0].passed
    assert [node.name for node in wrong.nodes if not node.passed] == ["fc"]


@pytest.mark.parametrize(
    ("shift", "passes"), [(0.0, True), (1e-8, True), (0.01, False), (np.nan, False), (np.inf, False)]
)
@pytest.mark.parametrize("logits", [np.zeros((2, 3)), np.full((1, 1), 0.7), np.full((2, 3), -4.0)])
def test_a_prediction_of_equal_logits_is_judged_by_an_absolute_bound(logits: Any, shift: float, passes: bool) -> None:
    other = logits + shift
    found = Prediction("s", "w", ("a",) * len(logits), ("x", "y", "z"), {"a": logits, "b": other}, 1e-7)
    assert found.passed == passes


def test_weights_that_are_zero_and_stay_are_judged_by_the_other_s_movement(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(dedent(SPEC), "utf-8")
    graph = resnet_spec.load(tmp_path / "spec.yaml").to_graph()
    start = {parameter.name: np.zeros(parameter.shape) for parameter in graph.parameters()}
    zero, moved = (_Run(np.zeros(3), {"weights": {n: a + value for n, a in start.items()}}) for value in (0.0, 1.0))
    assert _Steps(graph, start, Plan(3, 2, 0), SGD()).sizes(zero).tolist() == [0, 0]
    assert moved.distance(zero).tolist() == [0, sum(array.size for array in start.values()) ** 0.5]
