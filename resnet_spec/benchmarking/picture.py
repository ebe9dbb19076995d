"""Runtimes as points: how long a run takes, and how far its logits are from the reference's, both on log scales."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from resnet_spec.benchmarking import words
from resnet_spec.benchmarking.report import RuntimeReport, Timing

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 16, 40
"""The room around the points; names are a column to the right."""

LINE = 14
"""The least distance of two names."""


class Point(NamedTuple):
    """A runtime's place in the picture, and that of its name."""

    name: str
    x: float
    y: float
    label_y: float
    title: str


class Tick(NamedTuple):
    """A line of a scale."""

    place: float
    text: str


class Picture(NamedTuple):
    """The points, the scales' lines, and the height of the bound."""

    points: Sequence[Point]
    across: Sequence[Tick]
    up: Sequence[Tick]
    bound: float


def picture(timings: Sequence[tuple[RuntimeReport, Timing]]) -> Picture | None:
    """Return the picture of the timings of one batch size that have a figure; None if none has."""
    shown = [pair for pair in timings if words.is_shown(pair[1]) and pair[1].difference.relative > 0]
    if not shown:
        return None
    bound = shown[0][1].difference.bound
    times = [log10(1000 * timing.latency.median) for _, timing in shown]
    errors = [log10(timing.difference.relative) for _, timing in shown]
    low, high = floor(2 * min(times)) / 2, ceil(2 * max(times)) / 2
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    bottom, top = floor(min(errors)), ceil(max(*errors, log10(bound)) + 0.01)

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    points: list[Point] = []
    for time, error, (runtime, timing) in sorted(zip(times, errors, shown, strict=True), key=lambda item: -item[1]):
        spent = words.milliseconds(timing.latency.median)
        title = f"{runtime.name}: {spent} ms, |Δ| {timing.difference.relative:.1e}"
        points.append(Point(runtime.name, x(time), y(error), y(error), title))
    steps = [low + number / 2 for number in range(round(2 * (high - low)) + 1)]
    across = [Tick(x(step), words.milliseconds(10**step / 1000)) for step in steps]
    up = [Tick(y(power), f"1e{power}") for power in range(bottom, top + 1)]
    return Picture(_with_labels_apart(points), across, up, y(log10(bound)))


def _with_labels_apart(points: Sequence[Point]) -> list[Point]:
    """Return points, from top to bottom, whose names are on lines of their own."""
    places: list[float] = []
    for point in points:
        places.append(max(point.y, places[-1] + LINE if places else TOP))
    lowest = HEIGHT - BOTTOM
    for place in reversed(range(len(places))):
        places[place] = min(places[place], lowest)
        lowest = places[place] - LINE
    return [point._replace(label_y=place) for point, place in zip(points, places, strict=True)]
