"""The process of a runtime: it writes what the runtime loads, or loads and runs it.

Run as ``python -m resnet_spec.benchmarking.worker BACKEND``; requests and answers are those of ``parity.worker``.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.backend.optimizing import core_forms, finish, optimized
from resnet_spec.backend.quantizing import quantizing
from resnet_spec.backend.registry import get_backend, prepare_process
from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.exchange import save_arrays
from resnet_spec.parity.worker import answer, answer_stream, serve
from resnet_spec.quantization import Quantization
from resnet_spec.weights.formats.safetensors import read_safetensors

if TYPE_CHECKING:
    from resnet_spec.backend.runtime import RunningBackend, Runtime


class _Worker:
    """The backend, and the network that a runtime has loaded."""

    def __init__(self, backend: RunningBackend) -> None:
        self.backend = backend
        self.runtime: Runtime
        self.run: Callable[[], Any]

    def write(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the file or folder that a runtime loads, and the graph that it holds."""
        kind = self.backend.runtimes[request["runtime"]]
        graph = Graph.from_json(Path(request["graph"]).read_bytes())
        arrays: Mapping[str, Any] = read_safetensors(Path(request["weights"])).tensors
        if kind.optimized or kind.quantized:
            forms = core_forms(graph) if kind.quantized else optimized(self.backend, graph)
            graph, arrays = forms.graphs[-1], forms.rewriting.arrays(arrays, "float32")
        if kind.quantized:
            quantization = Quantization.read(request["quantization"])
            model = quantizing(self.backend).compile_quantized(graph, quantization, dtype="float32")
        else:
            model = self.backend.compile(graph, dtype="float32")
        self.backend.load(model, graph, arrays)
        if kind.optimized:
            finish(self.backend, model)
        folder = Path(request["folder"])
        path, held = folder / f"model{kind.ending}", folder / "graph.json"
        self.backend.write(model, graph, path)
        held.write_text(graph.to_json(), "utf-8")
        return {
            "path": str(path),
            "graph": str(held),
            "size": _size(path),
            "description": kind.description,
            "form": "quantized" if kind.quantized else "optimized" if kind.optimized else "plain",
        }

    def open(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Load the file, and run it once: compilers work at the first run."""
        graph = Graph.from_json(Path(request["graph"]).read_bytes())
        begin = perf_counter()
        self.runtime = self.backend.open_runtime(request["runtime"], graph, Path(request["path"]), request["threads"])
        self.prepare(request)
        return {"seconds": perf_counter() - begin, "environment": self.backend.environment()}

    def prepare(self, request: Mapping[str, Any]) -> None:
        """Run the network on images once, and save the outputs; these images are run from now on."""
        import numpy as np

        images = self.runtime.convert(np.load(request["images"]))
        self.run = lambda: self.runtime.run(images)
        save_arrays(Path(request["result"]), dict(enumerate(self.runtime.values(self.run()))))

    def time(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the network for a time, and return the seconds of each run but the first, which finds caches cold."""
        self.run()
        gc.collect()
        gc.disable()
        found: list[float] = []
        end = perf_counter() + request["seconds"]
        while not found or perf_counter() < end:
            begin = perf_counter()
            self.run()
            found.append(perf_counter() - begin)
        gc.enable()
        return {"seconds": found}

    def memory(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the most memory that the process has used, in bytes; None on systems that do not say it."""
        return {"memory": _peak()}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _peak() -> int | None:
    # getrusage would count the process that started this one.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text("utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answer requests until standard input ends."""
    answers = answer_stream()
    try:
        prepare_process(sys.argv[1])
        worker = _Worker(cast("RunningBackend", get_backend(sys.argv[1])))
    except ResnetSpecError as error:
        answer(answers, {"error": str(error)})
        return
    answer(answers, {})
    commands = {name: getattr(worker, name) for name in ("write", "open", "prepare", "time", "memory")}
    serve(commands, sys.stdin, answers)


if __name__ == "__main__":
    main()
