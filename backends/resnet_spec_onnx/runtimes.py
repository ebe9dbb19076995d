"""What ``resnet-spec bench`` runs: the ONNX file in ONNX Runtime and in OpenVINO, on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.backend.runtime import Runtime
from resnet_spec.errors.extras import needs
from resnet_spec.graph import INPUT
from resnet_spec_onnx.execution import PROVIDERS, import_runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

OPENVINO = "openvino"


def open_runtime(name: str, path: Path, threads: int) -> Runtime:
    """Load the ONNX file in one of the two."""
    run = (_in_openvino if name.startswith(OPENVINO) else _in_onnx_runtime)(path, threads)
    return Runtime(convert=lambda images: images, run=run, values=lambda found: list(found))


def _in_onnx_runtime(path: Path, threads: int) -> Callable[[Any], list[NDArray[Any]]]:
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(str(path), options, providers=PROVIDERS)
    # A file of another program may call its input otherwise.
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _in_openvino(path: Path, threads: int) -> Callable[[Any], list[NDArray[Any]]]:
    with needs(OPENVINO, "the runtime openvino"):
        import openvino  # pyright: ignore
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", settings)  # pyright: ignore
    request = compiled.create_infer_request()

    def run(images: NDArray[Any]) -> list[NDArray[Any]]:
        found = request.infer({INPUT: images})
        return [found[output] for output in compiled.outputs]

    return run
