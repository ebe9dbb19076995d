"""What ``resnet-spec bench`` runs: the module of a state_dict, eager or compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from resnet_spec.backend.runtime import Runtime
from resnet_spec.weights.io import read_weights
from resnet_spec_torch import execution, parameters

if TYPE_CHECKING:
    from torch import nn

    from resnet_spec.backend.protocol import Arrays, Backend
    from resnet_spec.graph import Graph


def write(backend: Backend, graph: Graph, arrays: Arrays, folder: Path) -> Path:
    """Write the state_dict from which every form of the module is made."""
    path = folder / "weights.pth"
    backend.write(_filled(backend, graph, arrays), graph, path)
    return path


def open_runtime(backend: Backend, name: str, graph: Graph, path: Path, threads: int) -> Runtime:
    """Make the module, in the form that the runtime's name says."""
    torch.set_num_threads(threads)
    model = _filled(backend, graph, read_weights(path, graph))
    run: Any = model
    if name == "torch-compiled":
        run = cast("Any", torch).compile(model)

    def timed(images: torch.Tensor) -> Any:
        with torch.inference_mode():
            return run(images)

    return Runtime(
        convert=lambda images: execution.batch_for(model, images),
        run=timed,
        values=lambda found: [parameters.to_numpy(tensor) for tensor in execution.listed(found)],
    )


def _filled(backend: Backend, graph: Graph, arrays: Arrays) -> nn.Module:
    model = backend.compile(graph, dtype="float32")
    backend.load(model, graph, arrays)
    return model
