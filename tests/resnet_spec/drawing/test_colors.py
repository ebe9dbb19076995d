"""Text is legible on every color, in light and in dark."""

from __future__ import annotations

import pytest

from resnet_spec.drawing.colors import BEYOND, KIND_COLORS, MARKS, SCALE, THEMES, WORDS
from resnet_spec.drawing.words import KIND_NAMES, KINDS


def luminance(color: str) -> float:
    """As WCAG defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_text_is_legible(side: int) -> None:
    theme = THEMES[side]
    for _, color in [*KIND_COLORS.items(), *enumerate(SCALE), ("beyond", BEYOND), ("paper", (theme.paper,) * 2)]:
        assert contrast(theme.ink, color[side]) >= 4.5
    assert contrast(theme.soft, theme.paper) >= 4.5
    assert contrast(theme.soft, theme.frame) >= 4.5


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_more_is_darker_or_in_dark_lighter(side: int) -> None:
    steps = [luminance(color[side]) for color in SCALE]

    assert steps == sorted(steps, reverse=side == 0)


def test_every_kind_and_mark_has_a_color_and_a_name() -> None:
    assert set(KIND_COLORS) == set(KIND_NAMES) >= {*KINDS.values(), "block", "down", "other"}
    assert set(MARKS) == set(WORDS)
