"""The shipped networks as parameters of a test: a few of them in ``make test``, every one in ``make test-all``."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from resnet_spec import Graph, available, load

SAMPLE = {
    "cifar/resnet20",
    "keras/resnet50v2",
    "mirror/decoder18",
    "mirror/encoder18",
    "msra/resnet50",
    "slim/resnet_v2_50",
    "timm/resnetv2_50d_evos",
    "timm/seresnext26d_32x4d",
    "torchvision/resnet18",
    "tutorial/resnet18",
}
"""Networks of every family, and of the kinds of blocks."""


@cache
def shipped(name: str) -> Graph:
    """The graph of a shipped spec, lowered once for all tests of a process."""
    return load(name).to_graph()


def networks() -> list[Any]:
    """Every shipped network; those that are not in the sample are slow."""
    return slow_unless(SAMPLE, available())


def slow_unless(fast: set[str], names: list[str]) -> list[Any]:
    """Names as parameters, all but the fast ones marked slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]
