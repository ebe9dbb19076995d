"""A folder of images whose classes are in their pixels, and backends and readers within this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from resnet_spec import initialize, load, write_weights
from resnet_spec.evaluating import evaluation, reading
from tests.resnet_spec.conftest import SMALL
from tests.resnet_spec.evaluating.fakes import CLASSES, Fake, InProcess, picture


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """Backends and readers without processes; rounding explains differences of logits of a thousandth."""

    @contextmanager
    def started(names: Sequence[str], _progress: object) -> Generator[list[Fake]]:
        yield [Fake(name) for name in names]

    monkeypatch.setattr(evaluation, "started", started)
    monkeypatch.setattr(evaluation, "allowed_difference", lambda *_arguments: 1e-3)
    monkeypatch.setattr(reading, "_Reader", InProcess)
    monkeypatch.setattr(Fake, "changes", {})
    monkeypatch.setattr(Fake, "seen", [])
    return Fake


@pytest.fixture
def network(write: Callable[..., Path]) -> Path:
    """A spec of as many classes and its weights, in the folder the test runs in."""
    path = write(SMALL.replace("features: 5", f"features: {len(CLASSES)}"), "net.yaml")
    graph = load(path).to_graph()
    write_weights("net.safetensors", graph, initialize(graph))
    return path


@pytest.fixture
def folder(network: Path) -> Path:
    """23 images, of which 17 are seen as what they are, and 20 as that or as the next."""
    root = Path("images")
    for number in range(23):
        own = number % len(CLASSES)
        seen = own if number < 17 else (own + 1) % len(CLASSES)
        picture(root / CLASSES[own] / f"{number:02}.png", seen, own if 17 <= number < 20 else seen)
    return root
