"""Fields that several operations share."""

from __future__ import annotations

from tests.resnet_spec.operations.support import make


def test_numbers_stand_for_pairs_and_edges() -> None:
    assert make("conv2d", channels=8, kernel=3, stride=2, padding=1) == make(
        "conv2d", channels=8, kernel=[3, 3], stride=(2, 2), padding=[[1, 1], [1, 1]]
    )
