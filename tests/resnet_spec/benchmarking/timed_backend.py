"""A third party's backend with runtimes, of NumPy alone; all but ``quick`` and ``slow`` have something wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy_backends import Plain  # pyright: ignore[reportMissingImports]

from resnet_spec.backend.runtime import Runtime, RuntimeKind
from resnet_spec.errors import BackendError, MissingLibraryError


class Timed(Plain):  # pyright: ignore
    """``Plain`` with runtimes."""

    name = "timed"
    outputs: ClassVar[dict[str, str]] = {".npz": "arrays", ".no": "cannot express the network"}
    runtimes: ClassVar[dict[str, RuntimeKind]] = {
        "quick": RuntimeKind("takes a millisecond", ".npz"),
        "slow": RuntimeKind("takes five, optimized", ".npz", optimized=True),
        "wrong": RuntimeKind("adds a hundredth to every logit", ".npz"),
        "nan": RuntimeKind("computes no number", ".npz"),
        "absent": RuntimeKind("is not installed", ".npz"),
        "refusing": RuntimeKind("cannot express the network", ".no"),
        "dying": RuntimeKind("ends when it loads a file", ".npz"),
        "ending": RuntimeKind("ends at two images", ".npz"),
    }

    def write(self, model: Any, graph: Any, path: Path, *, half: bool = False) -> None:
        if path.suffix == ".no":
            raise BackendError("refusing cannot express 'relu'")
        assert not [*path.parent.iterdir()]
        np.savez(path, **model.arrays)

    def open_runtime(self, name: str, graph: Any, path: Path, threads: int) -> Runtime:
        if name == "absent":
            raise MissingLibraryError("the runtime absent needs absent: pip install absent")
        if name == "dying":
            os.kill(os.getpid(), signal.SIGKILL)
        model = self.compile(graph)
        self.load(model, graph, dict(np.load(path)))

        def run(images: Any) -> Any:
            if name == "ending" and len(images) > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.005 if name == "slow" else 0.001)
            return self.forward(model, images)

        def values(found: list[Any]) -> list[Any]:
            wrong = {"wrong": 0.01, "nan": np.nan}.get(name, 0.0)
            return [value + np.float32(wrong) for value in found]

        return Runtime(convert=np.ascontiguousarray, run=run, values=values)
