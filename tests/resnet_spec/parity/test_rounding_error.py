"""The rounding error of a network: float64's is proportional to float32's, or estimated by its own noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.rounding import UNIT

EXACT = np.linspace(-1, 1, 400)


class Amplifier(BackendProcess):
    """The process of a network that multiplies noise by ``factor``, and whose logits cannot move by more than 2.

    Its nodes together give another result than the whole model where there is a ``mistake``.
    """

    def __init__(self, factor: float, mistake: float = 0.0) -> None:
        self.factor, self.mistake = factor, mistake
        self.asked: list[float] = []

    def _ask_with_files(self, command: str, arrays: Mapping[str, NDArray[Any]], **request: Any) -> None:
        self.asked.append(request["noise"].value)

    def outputs(self) -> list[NDArray[Any]]:
        return [EXACT + self.mistake + min(2, self.factor * self.asked[-1])]


def test_a_small_effect_is_proportional_to_the_noise() -> None:
    process = Amplifier(1e4)

    error = process.rounding_error(np.zeros(1), 0, EXACT)

    assert error.float32 == error.float64 == pytest.approx(1e4 * 2.0**-24, rel=1e-9)
    assert process.asked == [UNIT["float32"]]


def test_an_effect_as_large_as_the_logits_says_nothing_about_float64() -> None:
    process = Amplifier(1e10)

    error = process.rounding_error(np.zeros(1), 0, EXACT)

    assert error.float32 == pytest.approx(2)
    # As a part of the noise it is float64's effect, and not float32's, which is limited.
    assert error.float64 == pytest.approx(1e10 * 2.0**-24, rel=1e-3)
    assert process.asked == [UNIT["float32"], 0, UNIT["float64"]]


def test_a_wrongly_connected_model_is_not_excused_by_its_own_mistake() -> None:
    error = Amplifier(1e4, mistake=1.0).rounding_error(np.zeros(1), 0, EXACT)

    assert error.float64 == pytest.approx(1e4 * 2.0**-24, rel=1e-3)
