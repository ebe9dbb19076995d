"""The other end of ``worker``: starts a backend's process, asks it, and tells a death from an answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from resnet_spec.backends import DType, find
from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Progress = Callable[[str], None]
"""Is told what is being done."""


@contextmanager
def started(names: Sequence[str], progress: Progress = lambda step: None) -> Generator[list[BackendProcess]]:
    """Backends in processes of their own, started at once and ready."""
    with ExitStack() as stack:
        processes = [stack.enter_context(BackendProcess(name)) for name in names]
        progress(f"starting {' and '.join(process.name for process in processes)}")
        for process in processes:
            process.ready()
        yield processes


class BackendProcess:
    """A backend running in a process of its own, which ends with the ``with`` block.

    ``load`` and ``forward`` only ask, and ``outputs`` waits, so that two backends can work at once. Raises
    BackendError where the process cannot start, answers with an error, or dies.
    """

    def __init__(self, name: str) -> None:
        self.name = find(name).name
        self.environment: dict[str, str] = {}
        self._pending = 0

    def __enter__(self) -> BackendProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="resnet-spec-")
        self._errors = tempfile.TemporaryFile("w+")
        # -P: a torch.py in the user's folder must not stand in for the framework.
        command = [sys.executable, "-P", "-m", "resnet_spec.worker", self.name]
        # On the processor, whatever the machine has: an accelerator may round to TF32 without a word.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def ready(self) -> None:
        """Wait until the framework is imported."""
        self.environment = self._answer()["environment"]

    def load(self, graph: Graph, weights: Path, dtype: DType = "float32") -> None:
        """Ask for a model with the weights of a safetensors file."""
        path = self._path("graph.json")
        path.write_text(graph.to_json())
        self._ask(command="load", graph=str(path), weights=str(weights), dtype=dtype)

    def forward(self, images: NDArray[Any], *, training: bool = False) -> None:
        """Ask for one pass over ``images`` (batch, channels, height, width)."""
        import numpy as np

        np.save(self._path("images.npy"), images)
        names = {"images": "images.npy", "outputs": "outputs.npz", "after": "after.safetensors"}
        paths = {key: str(self._path(name)) for key, name in names.items()}
        self._ask(command="forward", training=training, **paths)

    def outputs(self) -> list[NDArray[np.floating[Any]]]:
        """Wait until everything asked for is done; the outputs of the last pass."""
        import numpy as np

        while self._pending:
            self._answer()
            self._pending -= 1
        with np.load(self._path("outputs.npz")) as outputs:
            return [outputs[f"arr_{index}"] for index in range(len(outputs.files))]

    def arrays_after(self) -> dict[str, NDArray[Any]]:
        """The arrays after a pass in training mode."""
        from resnet_spec.checkpoints.safetensors_files import read_safetensors

        return dict(read_safetensors(self._path("after.safetensors")).tensors)

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _ask(self, **request: Any) -> None:
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendError(self._death()) from None
        self._pending += 1

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise BackendError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(f"the {self.name} backend failed: {answer['error']}")
        return answer

    def _death(self) -> str:
        """How the process ended, with the last thing it said."""
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()[-1:]
        if status < 0:
            name = signal.Signals(-status).name
            how = f"was killed by {name}" + (" (the system may be out of memory)" if name == "SIGKILL" else "")
        else:
            how = f"ended with status {status}"
        return f"the {self.name} backend's process {how}" + (f": {said[0]}" if said else "")
