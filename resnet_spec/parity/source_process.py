"""Run a model of another library in a process of its own, which may crash or never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import BackendError, ModelError, ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.process import WorkerProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.operations.fields import Shape

SECONDS = 900.0
"""How long a model may take to be read, or to compute one batch."""


class SourceProcess(WorkerProcess):
    """A process that reads and runs models, which ends with the ``with`` block.

    Raises ModelError if a model cannot be read, and BackendError if the process dies or its library is missing.
    """

    def __init__(self, seconds: float | None = SECONDS) -> None:
        super().__init__("the model", "resnet_spec.parity.source_worker", seconds=seconds)
        self.environment: Mapping[str, str] = {}
        # The process says that it has started.
        self._pending = 1

    def read(self, model: str | Path, shapes: Sequence[Shape | None]) -> SourceModel:
        """Read a model at the first of some input shapes that it accepts; it is run by this process.

        ``None`` is the shape that the model states. A model that is read later replaces it.
        """
        if self._process.poll() is not None:
            raise BackendError(self._death())
        path = self._new("graph.json")
        self._ask_with_files("read", {}, model=str(model), shapes=shapes, graph=str(path))
        # Waiting deletes what was requested.
        self._requested.remove(path)
        answer = self.wait()
        graph = Graph.from_json(path.read_bytes())
        path.unlink()
        self.environment = answer["environment"]
        return SourceModel(
            graph=graph,
            arrays=self.named_outputs(),
            run=self._run,
            named=answer["named"],
            classes=answer["classes"],
            remarks=tuple(answer["remarks"]),
            values=self._values if answer["gives_values"] else None,
        )

    def _run(self, images: NDArray[Any]) -> list[NDArray[Any]]:
        self._ask_with_files("run", {"images": images.astype("float32")})
        return self.outputs()

    def _values(self, images: NDArray[Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        self._ask_with_files("values", {"images": images.astype("float32")}, names=[*names])
        return self.named_outputs()

    def _failure(self, answer: Mapping[str, Any]) -> ResnetSpecError:
        kinds = {"ModelError": ModelError, "BackendError": BackendError}
        kind = kinds.get(answer.get("class", ""))
        return BackendError(f"the model failed: {answer['error']}") if kind is None else kind(answer["message"])
