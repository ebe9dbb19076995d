"""Figures of timings with known runs: intervals, ratios, when a machine is too busy, and how texts show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from math import nan

import numpy as np
import pytest

from resnet_spec.benchmarking import words
from resnet_spec.benchmarking.page import html_page
from resnet_spec.benchmarking.picture import HEIGHT, WIDTH, picture
from resnet_spec.benchmarking.report import BenchmarkReport, Interval, RuntimeReport, Timing
from resnet_spec.parity.report import Difference


def difference(largest: float = 1e-7) -> Difference:
    return Difference("logits", "float32", "fast", "torch float64", largest, 1e-5, 1.0)


def timing(rounds: Sequence[float], reference: Sequence[float] | None = None, largest: float = 1e-7) -> Timing:
    return Timing(4, [[seconds] * 3 for seconds in rounds], reference or rounds, difference(largest))


def report(*runtimes: RuntimeReport) -> BenchmarkReport:
    return BenchmarkReport("net", (3, 8, 8), "random", "torch", 2, {"processor": "<b>"}, runtimes)


def test_an_interval_is_that_of_the_median() -> None:
    values = [*np.random.default_rng(3).normal(10, 1, 400)]
    found = Interval.of(values)
    # The standard error of a normal sample's median is 1.2533 σ / √n; its 95 % interval is 1.96 of them to each side.
    half = 1.96 * 1.2533 / 20
    assert found.median == np.median(values)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.3)
    assert found == Interval.of(values)


def test_ratios_are_of_the_same_round() -> None:
    # The machine became twice as slow after three rounds; the ratio did not change.
    own, other = [0.02] * 3 + [0.04] * 3, [0.01] * 3 + [0.02] * 3
    found = timing(own, other)
    assert found.ratio == (2, 2, 2)
    assert found.latency.noisy
    assert found.noisy


def test_a_quiet_timing_has_figures_and_a_noisy_one_says_so() -> None:
    quiet = timing([0.0100, 0.0101, 0.0099] * 4, [0.0200, 0.0202, 0.0198] * 4)
    assert words.figures(quiet) == {
        "median": "10.0", "p95": "10.1", "throughput": "400", "ratio": "0.50", "interval": "0.50 to 0.50",
    }  # fmt: skip
    noisy = timing([0.01, 0.02] * 5)
    assert words.figures(noisy)["median"] == "noisy"
    assert set(words.figures(noisy).values()) == {"noisy", ""}
    data = noisy.to_dict()
    assert data["noisy"] is True
    assert data["seconds"] is data["p95"] is data["throughput"] is data["ratio"] is None


def test_what_differs_has_no_figure_even_where_it_is_quiet() -> None:
    wrong = timing([0.01] * 5, largest=0.5)
    assert set(words.figures(wrong).values()) == {""}
    assert words.agreement(wrong) == "DIFFERS"
    data = wrong.to_dict()
    assert data["agreement"]["passed"] is False
    assert data["seconds"] is data["ratio"] is None


@pytest.mark.parametrize("largest", [nan, float("inf")])
def test_json_has_neither_nan_nor_infinity(largest: float) -> None:
    runtime = RuntimeReport("fast", "numpy", timings=[timing([0.01] * 5, largest=largest)])
    data = report(runtime).to_dict()
    json.dumps(data, allow_nan=False)
    assert data["passed"] is False


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_every_runtime_and_escapes_what_others_named() -> None:
    fast = RuntimeReport("<i>fast</i>", "numpy", "quick & good", 2**20, 0.1, 2**28, [timing([0.01] * 5)])
    broken = RuntimeReport("broken", "numpy", error="<script>alert(1)</script>")
    wrong = RuntimeReport("wrong", "numpy", timings=[timing([0.01] * 5, largest=nan)])
    page = html_page([report(fast, broken, wrong)])
    parser = _Text()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "i" not in parser.tags
    assert "b" not in parser.tags
    for text in ("<i>fast</i>", "quick & good", "<script>alert(1)</script>", "✗ DIFFERS", "✓ agrees", "256", "<b>"):
        assert text in parser.text
    assert page.count("<circle") == 1


def test_points_lie_in_the_picture_and_names_on_lines_of_their_own() -> None:
    times = [0.001, 0.0011, 0.0012, 0.3]
    pairs = [(RuntimeReport(f"r{t}", "numpy"), timing([t] * 5, largest=e)) for t in times for e in (1e-7, 1.1e-7, 0.3)]
    found = picture(pairs)
    assert found is not None
    # What differs has no place in it.
    assert len(found.points) == 8
    for point in found.points:
        assert 0 < point.x < WIDTH
        assert 0 < point.y < HEIGHT
    labels = sorted(point.label_y for point in found.points)
    assert 0 < labels[0] < labels[-1] < HEIGHT
    assert min(np.diff(labels)) >= 13.9
    by_time = {point.name: point.x for point in found.points}
    assert by_time["r0.001"] < by_time["r0.0011"] < by_time["r0.3"]
    assert all(point.y > found.bound for point in found.points)
    assert picture([(RuntimeReport("noisy", "numpy"), timing([0.01, 0.02] * 5))]) is None
    assert picture([(RuntimeReport("one", "numpy"), timing([0.01] * 5))]) is not None
