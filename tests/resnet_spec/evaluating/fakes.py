"""A backend that sees the class of an image in its red, and a reader, both within this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from resnet_spec.evaluating.worker import _Worker

CLASSES = ("ape", "cat", "dog", "emu", "fox", "gnu")
STEP = 40
"""What the red of an image is divided by to give the class that a fake backend sees in it."""


class Fake:
    """A backend that sees the class in the red of an image, and in whose logits a function may change something."""

    changes: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    seen: ClassVar[list[int]] = []
    """How many images each request was about."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment = {"version": "1"}

    def load(self, *_arguments: Any) -> None:
        pass

    def wait(self) -> None:
        pass

    def ask_about(self, images: Path, command: str, **_request: Any) -> None:
        assert command == "forward"
        self.images = np.load(images)
        self.seen.append(len(self.images))

    def outputs(self) -> list[Any]:
        red = np.rint(self.images[:, 0].mean(axis=(1, 2)) * 255)
        logits = np.zeros((len(red), len(CLASSES)), np.float32)
        logits[np.arange(len(red)), np.minimum(red // STEP, 5).astype(int)] = 4
        # The rest of the red is the runner-up.
        logits[np.arange(len(red)), np.minimum(red % STEP, 5).astype(int)] += 3
        return [self.changes.get(self.name, lambda values: values)(logits)]


class InProcess:
    """A reader within this process."""

    def __init__(self) -> None:
        self.answers: list[Any] = [{}]
        self.worker = _Worker()

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_exception: Any) -> None:
        pass

    def ask(self, images: Sequence[str], preprocessing: Any, size: Any, path: Path) -> None:
        request = {"images": images, "preprocessing": preprocessing, "size": size, "path": str(path)}
        self.answers.append(self.worker.read(request))

    def next(self) -> Any:
        return self.answers.pop(0)


def picture(path: Path, seen: int, second: int = 0, *, size: tuple[int, int] = (16, 16), **options: Any) -> None:
    """Write an image in which a fake backend sees a class, and another as the next one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (STEP * seen + second, 0, 0)).save(path, **options)
