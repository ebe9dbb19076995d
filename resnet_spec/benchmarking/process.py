"""Start the process of a runtime, and ask it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resnet_spec.errors import BackendError, MissingLibraryError, ResnetSpecError
from resnet_spec.parity.process import WorkerProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Artifact(NamedTuple):
    """What a runtime loads: its file or folder, the graph that it holds, its bytes, and what the runtime is.

    ``form`` is the graph's: ``plain``, ``optimized`` or ``quantized``.
    """

    path: Path
    graph: Path
    size: int
    description: str
    form: str


class RuntimeProcess(WorkerProcess):
    """A process in which a backend writes files for its runtimes, or in which one runtime loads and runs one."""

    def __init__(self, backend: str, runtime: str = "", seconds: float | None = None) -> None:
        super().__init__(runtime or f"the {backend} backend", "resnet_spec.benchmarking.worker", backend,
                         seconds=seconds)  # fmt: skip
        self.runtime = runtime
        self.load_seconds = 0.0
        self.form = "plain"
        self.environment: Mapping[str, str] = {}
        # The process says that it has started.
        self._pending = 1

    def write(
        self, runtime: str, graph: Path, weights: Path, folder: Path, quantization: Path | None = None
    ) -> Artifact:
        """Write what a runtime loads."""
        paths = {"graph": graph, "weights": weights, "folder": folder, "quantization": quantization}
        self._ask("write", runtime=runtime, **{name: str(path) for name, path in paths.items()})
        answer = self.wait()
        return Artifact(
            Path(answer["path"]), Path(answer["graph"]), answer["size"], answer["description"], answer["form"]
        )

    def open(self, artifact: Artifact, threads: int, images: NDArray[Any]) -> None:
        """Load a file, and run it once; raises MissingLibraryError if the runtime is not installed."""
        self._ask_with_files(
            "open",
            {"images": images},
            runtime=self.runtime,
            path=str(artifact.path),
            graph=str(artifact.graph),
            threads=threads,
        )
        answer = self.wait()
        self.form = artifact.form
        self.load_seconds, self.environment = answer["seconds"], answer["environment"]

    def prepare(self, images: NDArray[Any]) -> NDArray[Any]:
        """Run the network on other images from now on, and return its last output."""
        self._ask_with_files("prepare", {"images": images})
        return self.outputs()[-1]

    def time(self, seconds: float) -> list[float]:
        """Run the network for a time, and return the seconds of each run."""
        self._ask("time", seconds=seconds)
        return self.wait()["seconds"]

    def memory(self) -> int | None:
        """Return the most memory that the process has used, in bytes."""
        self._ask("memory")
        return self.wait()["memory"]

    def _failure(self, answer: Mapping[str, Any]) -> ResnetSpecError:
        if answer.get("class") == "MissingLibraryError":
            return MissingLibraryError(answer["message"])
        return BackendError(f"{self.subject} failed: {answer['error']}")
