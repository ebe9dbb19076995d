"""The other end of ``worker``: starts a backend's process, asks it, and tells a death from an answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from resnet_spec.backends import DType, find
from resnet_spec.errors import BackendError
from resnet_spec.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BackendProcess:
    """A backend running in a process of its own, which ends with the ``with`` block.

    ``start`` sends a request and ``finish`` waits for its answer, so that two backends can work at once. Raises
    BackendError where the process cannot start, answers with an error, or dies.
    """

    def __init__(self, name: str) -> None:
        self.name = find(name).name
        self.environment: dict[str, str] = {}

    def __enter__(self) -> BackendProcess:
        self._folder = tempfile.TemporaryDirectory(prefix="resnet-spec-")
        self._errors = tempfile.TemporaryFile("w+")
        # -P: a torch.py in the user's folder must not stand in for the framework.
        command = [sys.executable, "-P", "-m", "resnet_spec.worker", self.name]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
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

    def start(
        self,
        graph: Graph,
        arrays: Mapping[str, NDArray[Any]],
        images: NDArray[Any],
        *,
        dtype: DType = "float32",
        training: bool = False,
    ) -> None:
        """Ask for one pass over ``images`` (batch, channels, height, width)."""
        import numpy as np

        from resnet_spec.weights import write_safetensors

        folder = Path(self._folder.name)
        (folder / "graph.json").write_text(graph.to_json())
        write_safetensors(folder / "weights.safetensors", arrays)
        np.save(folder / "images.npy", images)
        names = {"graph": "graph.json", "weights": "weights.safetensors", "images": "images.npy"}
        names |= {"outputs": "outputs.npz", "after": "after.safetensors"}
        request = {key: str(folder / name) for key, name in names.items()} | {"dtype": dtype, "training": training}
        try:
            assert self._process.stdin is not None  # noqa: S101 - it is a pipe
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendError(self._death()) from None

    def finish(self) -> list[NDArray[np.floating[Any]]]:
        """Wait for the outputs of the pass that was started."""
        import numpy as np

        self._answer()
        with np.load(Path(self._folder.name) / "outputs.npz") as outputs:
            return [outputs[f"arr_{index}"] for index in range(len(outputs.files))]

    def arrays_after(self) -> dict[str, NDArray[Any]]:
        """The arrays after a pass in training mode."""
        from resnet_spec.weights import read_safetensors

        return read_safetensors(Path(self._folder.name) / "after.safetensors")[0]

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
