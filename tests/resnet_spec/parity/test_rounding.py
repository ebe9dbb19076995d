"""The model of float32's rounding: the noise, and the tolerances that follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.parity.rounding import UNIT, with_noise


def test_the_units_are_half_the_distance_from_1_to_the_next_number() -> None:
    assert [UNIT["float32"], UNIT["float64"]] == [np.finfo(np.float32).eps / 2, np.finfo(np.float64).eps / 2]


@pytest.mark.parametrize("roundings", [1, 9, 400])
def test_noise_moves_each_element_by_a_part_of_itself_of_the_deviation_stated(roundings: int) -> None:
    value = np.geomspace(1e-3, 1e3, 200_000) * np.where(np.arange(200_000) % 2, 1, -1)

    part = with_noise(value, roundings**0.5 * 2.0**-24, np.random.default_rng(0)) / value - 1

    wanted = roundings**0.5 * 2.0**-24
    assert part.std() == pytest.approx(wanted, rel=0.01)
    assert abs(part.mean()) < wanted / 100
    # Large elements are moved by no larger a part than small ones.
    assert part[:1000].std() == pytest.approx(part[-1000:].std(), rel=0.1)


def test_noise_keeps_dtype_and_shape_and_leaves_the_value() -> None:
    value = np.ones((2, 3), np.float64)

    moved = with_noise(value, 2 * UNIT["float32"], np.random.default_rng(0))

    assert (moved.dtype, moved.shape) == (value.dtype, value.shape)
    assert (value == 1).all()
    assert (moved != 1).all()


def test_what_is_not_rounded_is_not_moved() -> None:
    value = np.ones(5)
    generator = np.random.default_rng(0)

    assert with_noise(value, 0, generator) is value
    assert generator.random() == np.random.default_rng(0).random()
