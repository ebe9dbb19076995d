"""Every pair of backends computes the same network; ``make test-all`` compares many networks with their originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import pytest

from resnet_spec.parity.compare import Comparison
from resnet_spec.parity.process import BackendProcess, started
from tests.needs import need

BACKENDS = ("torch", "tensorflow", "onnx")


@pytest.fixture(scope="module")
def running(kept_backends: None) -> Iterator[Mapping[str, BackendProcess]]:
    for framework in BACKENDS:
        need(framework)
    with started(BACKENDS) as processes:
        yield {process.name: process for process in processes}


@pytest.mark.parametrize("pair", list(combinations(BACKENDS, 2)), ids="-".join)
def test_two_backends_agree(pair: tuple[str, str], running: Mapping[str, BackendProcess], tmp_path: Path) -> None:
    comparison = Comparison([running[name] for name in pair], tmp_path, lambda step: None)
    report = comparison.run("cifar/resnet20")
    assert report.passed, report
    assert {(difference.dtype, difference.backend) for difference in report.differences} == {
        ("float64", pair[1]), ("float32", pair[0]), ("float32", pair[1]),
    }  # fmt: skip
