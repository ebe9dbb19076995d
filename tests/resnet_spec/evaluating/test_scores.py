"""What is kept of logits: ranks, ties, intervals, and differences."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.evaluating.scores import Results, change, is_probabilities, score, wilson
from tests.needs import need

LOGITS = np.array([[0.0, 3.0, 1.0], [2.0, 2.0, 2.0], [np.nan, 1.0, 0.0]], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (8, 10), (40_429, 50_000), (1, 1)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    need("scipy")
    from scipy import stats

    wanted = stats.binomtest(right, count).proportion_ci(0.95, "wilson")
    found = wilson(right, count)
    assert found.share == right / count
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_the_interval_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0, 0, 1)


def test_the_rank_is_the_place_of_the_own_class() -> None:
    found = score(Results(LOGITS[:1].repeat(3, axis=0), False), np.array([0, 1, 2]))
    assert found.rank.tolist() == [2, 0, 1]
    assert found.top.tolist() == [[1, 2, 0]] * 3
    assert found.probability == pytest.approx(np.exp(3) / (1 + np.exp(3) + np.exp(1)))


def test_of_equal_logits_the_first_class_is_the_likeliest() -> None:
    found = score(Results(LOGITS[1:2].repeat(3, axis=0), False), np.array([0, 1, 2]))
    assert found.rank.tolist() == [0, 1, 2]


def test_an_image_whose_logits_are_not_finite_is_never_right() -> None:
    found = score(Results(LOGITS[2:].repeat(3, axis=0), False), np.array([0, 1, 2]))
    assert found.rank.tolist() == [3, 3, 3]
    assert found.probability.tolist() == [0, 0, 0]


def test_five_of_many_classes_are_kept() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    found = score(Results(logits, False), np.zeros(4, int))
    assert found.top.tolist() == np.argsort(-logits, axis=1)[:, :5].tolist()


def test_the_gap_is_the_preference_of_the_reference() -> None:
    first = np.array([[1.0, 0.9, 0.0], [1.0, 0.0, 0.0]], np.float32)
    other = np.array([[0.9, 1.0, 0.0], [1.5, 0.0, 0.0]], np.float32)
    found = change(Results(first, False), Results(other, False), np.array([0, 0]), np.array([1, 0]))
    assert found.gap.tolist() == pytest.approx([0.1, 0.0])
    assert found.logits.tolist() == pytest.approx([0.1, 0.5])
    assert 0 < found.probabilities[0] < 0.1


def test_probabilities_are_compared_with_logits_as_probabilities() -> None:
    logits = np.array([[2.0, 1.0, 0.0]], np.float32)
    shares = np.exp(logits) / np.exp(logits).sum()
    for pair in ((logits, False), (shares, True)), ((shares, True), (logits, False)):
        found = change(*(Results(*side) for side in pair), np.array([0]), np.array([1]))
        assert np.isnan(found.logits[0])
        assert found.probabilities[0] < 1e-7
        assert found.gap[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[0.2, 0.3, 0.5]], True),
        ([[0.25, 0.28, 0.5], [1, 0, 0]], True),
        ([[0.2, 0.3, 5]], False),
        ([[-0.2, 0.7, 0.5]], False),
        ([[0.9, 0.9, 0.9]], False),
        ([[np.nan, 0.5, 0.5]], False),
    ],
)
def test_probabilities_are_told_apart_from_logits(values: list[list[float]], found: bool) -> None:
    assert is_probabilities(np.array(values)) is found
