"""A third party's backend with runtimes, of NumPy alone; all but ``quick`` and ``slow`` have something wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy_backends import Plain  # pyright: ignore[reportMissingImports]

from resnet_spec.backend.runtime import Runtime
from resnet_spec.errors import BackendError, MissingLibraryError


class Timed(Plain):  # pyright: ignore
    """``Plain`` with runtimes."""

    name = "timed"
    runtimes: ClassVar[dict[str, str]] = {
        "quick": "takes a millisecond",
        "slow": "takes five",
        "wrong": "adds a hundredth to every logit",
        "nan": "computes no number",
        "absent": "is not installed",
        "refusing": "cannot express the network",
        "dying": "ends when it loads a file",
        "ending": "ends at two images",
    }

    def write_runtime(self, name: str, graph: Any, arrays: Any, folder: Path) -> Path:
        if name == "absent":
            raise MissingLibraryError("the runtime absent needs absent: pip install absent")
        if name == "refusing":
            raise BackendError("refusing cannot express 'relu'")
        assert not [*folder.iterdir()]
        path = folder / "model.npz"
        np.savez(path, **arrays)
        return path

    def open_runtime(self, name: str, graph: Any, path: Path, threads: int) -> Runtime:
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
