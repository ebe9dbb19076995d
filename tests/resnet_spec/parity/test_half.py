"""Half precision, compared with float64 by a bound for sums in float32."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import BackendError, SpecError, compare
from resnet_spec.parity.precision import PRECISIONS
from resnet_spec.parity.rounding import STORED, UNIT, Noise

WIDE = "input: {features: 2048}\nstem: {one: {linear: {features: 2048}}, relu: relu, fc: {linear: {features: 20}}}\n"


@pytest.fixture
def spec(numpy_backends: None, tmp_path: Path) -> Path:
    path = tmp_path / "wide.yaml"
    path.write_text(WIDE, "utf-8")
    return path


def test_sums_in_float32_agree_and_sums_in_half_precision_do_not(spec: Path) -> None:
    report = compare(spec, ("plain", "reordered"), half="float16")

    halves = {difference.backend: difference for difference in report.differences if difference.dtype == "float16"}
    # NumPy multiplies matrices of float16 with float32 sums; the other backend adds float16 to float16.
    assert {name: difference.passed for name, difference in halves.items()} == {"plain": True, "reordered": False}
    assert all(difference.passed for difference in report.differences if difference.dtype != "float16")
    assert {difference.reference for difference in halves.values()} == {"plain float64", "reordered float64"}


def test_a_backend_without_the_precision_is_an_error(spec: Path) -> None:
    with pytest.raises(BackendError, match="bfloat16"):
        compare(spec, ("plain", "reordered"), half="bfloat16")


def test_other_precisions_are_refused(spec: Path) -> None:
    with pytest.raises(
        SpecError, match="half is one of float16, bfloat16, mixed_float16, mixed_bfloat16, not 'float32'"
    ):
        compare(spec, ("plain", "reordered"), half="float32")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_is_that_of_the_precision_up_to_a_formula_and_of_float32_beyond(dtype: str) -> None:
    noise = Noise.of(dtype)  # type: ignore[arg-type]

    unit, single = UNIT[dtype], UNIT["float32"]  # type: ignore[index]
    assert noise.deviations(0, of_a_sum=True) == noise.deviations(0, of_a_sum=False) == (0, 0)
    assert noise.deviations(4, of_a_sum=False) == pytest.approx((2 * unit, 2 * unit))
    beyond = (STORED * unit**2 + 1000 * single**2) ** 0.5
    assert noise.deviations(STORED + 1000, of_a_sum=False) == pytest.approx((beyond, beyond))
    assert noise.deviations(900, of_a_sum=True) == pytest.approx((30 * single, (unit**2 + 900 * single**2) ** 0.5))
    # The largest relative error of rounding to it.
    values = 1 + (0.5 + UNIT["float32"] * 2.0**-8) * 2 * UNIT[dtype]  # type: ignore[index]
    assert abs(PRECISIONS[dtype](np.array([values]))[0] / values - 1) == pytest.approx(UNIT[dtype], rel=1e-2)  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_of_full_precision_is_the_same_in_sums(dtype: str) -> None:
    unit = UNIT[dtype]  # type: ignore[index]
    for of_a_sum in (True, False):
        assert Noise.of(dtype).deviations(100, of_a_sum=of_a_sum) == (10 * unit, 10 * unit)  # type: ignore[arg-type]


def test_the_command_says_what_half_precision_hides(spec: Path, command: Callable[..., Any]) -> None:
    done = command("resnet-spec", "parity", str(spec), "--backends", "plain,reordered", "--half", "float16")

    assert done.status == 1
    assert re.search(r"plain +float16 +plain float64 .* agrees", done.out)
    assert re.search(r"reordered +float16 +reordered\s.* DIFFERS", done.out)
    assert re.search(r"note: float16 hides mistakes that move the logits by less than \de-0\d of their size", done.out)
