"""What computes logits: a backend with the spec's network, or the file of a whole model; each in its own process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resnet_spec.backend.registry import ALIASES, backend_names, find, importers, runtime_for
from resnet_spec.benchmarking.benchmark import processors
from resnet_spec.benchmarking.process import Artifact, RuntimeProcess
from resnet_spec.errors import BackendError, ModelError, ResnetSpecError, SpecError
from resnet_spec.parity.process import BackendProcess, WorkerProcess
from resnet_spec.parity.source_process import SourceProcess

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

SECONDS = 900.0
"""How long a model may take to be loaded, or to compute a batch."""


class Runner(NamedTuple):
    """Computes logits.

    Attributes:
        name: The backend, or the file of a model.
        process: Where it computes.
        command: What the process is asked for.
        request: The rest of such a request.
        environment: Versions and settings, by what they are.
    """

    name: str
    process: WorkerProcess
    command: str
    request: Mapping[str, object]
    environment: Mapping[str, str]

    def ask(self, images: Path) -> None:
        """Ask for the logits of a file of images."""
        self.process.ask_about(images, self.command, **self.request)

    def logits(self) -> NDArray[Any]:
        """Wait, and return the logits, or the probabilities of a model that ends in them."""
        return self.process.outputs()[-1]


def is_file(name: str) -> bool:
    """Whether a text is the path of a model, and not the name of a backend."""
    if name in ALIASES or name in backend_names():
        return False
    return any(character in name for character in {".", "/", os.sep}) or os.path.exists(name)


def checked_names(names: Sequence[str]) -> list[str]:
    """The names of backends, and files of models.

    Raises SpecError if there are none, or one twice, and BackendError or ModelError for one that there is not.
    """
    found = [name if is_file(name) else find(name).name for name in names]
    if not found or len(found) > len({*found}):
        raise SpecError("name at least one backend or file of a model, and each only once")
    missing = [ModelError(f"{name}: no such file") for name in found if is_file(name) and not os.path.exists(name)]
    if missing:
        raise ModelError([problem for error in missing for problem in error.problems])
    return found


def digest(path: str) -> str:
    """The SHA-256 of a file, or of all files in a folder."""
    found = hashlib.sha256()
    root = Path(path)
    for file in [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file()):
        found.update(f"{file.relative_to(root)}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()


def of_backend(process: BackendProcess, graph: Graph, weights: Path) -> Runner:
    """Load the spec's network into a backend, in float32."""
    process.load(graph, weights)
    process.wait()
    request = {"dtype": None, "training": False}
    return Runner(process.name, process, "forward", request, process.environment)


def of_file(stack: ExitStack, path: str, graph: Graph, folder: Path) -> Runner:
    """Load a model from a file, in a process that ends with the stack.

    One that ``import_model`` reads is run by its own library, whatever names its input and outputs have. Any other,
    such as an 8-bit one, is loaded by the first runtime that loads files of its ending.

    Raises:
        ModelError: No installed backend reads or runs such a file.
        BackendError: The process cannot be started, or was killed.
    """
    ending = Path(path).suffix.lower() if os.path.isfile(path) else ""
    imported, runtime = ending in importers(), runtime_for(ending)
    if not imported and runtime is None:
        raise ModelError(f"{path}: no installed backend runs {ending or 'files without an ending'}")
    if imported:
        source = stack.enter_context(SourceProcess(SECONDS))
        try:
            source.read(path, [graph.input.shape])
        except ResnetSpecError:
            if runtime is None:
                raise
        else:
            return Runner(path, source, "run", {}, source.environment)
    assert runtime is not None  # noqa: S101 - else an error was raised above
    name, backend = runtime
    return _of_runtime(stack.enter_context(RuntimeProcess(backend, name, SECONDS)), path, graph, folder)


def _of_runtime(process: RuntimeProcess, path: str, graph: Graph, folder: Path) -> Runner:
    import numpy as np

    file = folder / "graph.json"
    file.write_text(graph.to_json(), "utf-8")
    artifact = Artifact(Path(path), file, 0, "", "plain")
    try:
        process.open(artifact, processors(), np.zeros((1, *graph.input.shape), np.float32))
    except BackendError as error:
        raise ModelError(f"{path}: {str(error).strip()}") from None
    return Runner(path, process, "prepare", {}, process.environment)
