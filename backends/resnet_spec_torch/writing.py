"""Writes models as state_dicts and exported programs, one function per file ending."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resnet_spec.errors import OutputError, Problem, WeightsError
from resnet_spec.weights.matching import too_large
from resnet_spec_torch.quantization import kernels_as_codes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resnet_spec.graph import Graph


def write(model: nn.Module, graph: Graph, path: Path, *, half: bool, batch: int | None = None) -> None:
    """Write a model in inference mode in the format of the path's ending.

    Raises OutputError for another ending, for ``half`` if the format has no half precision, and for a fixed ``batch``
    if the format has no input.
    """
    if batch is not None:
        if path.suffix != ".pt2" or half:
            raise OutputError(f"{path}: a fixed size is for a whole model in single precision (.pt2)")
        _write_fixed_program(model, graph, path, batch)
        return
    writers = _HALF_WRITERS if half else _WRITERS
    if path.suffix not in writers:
        precision = " in half precision" if half else ""
        raise OutputError(f"{path}: the torch backend writes {' and '.join(writers)}{precision}, not {path.suffix}")
    writers[path.suffix](model, graph, path)


def _write_state_dict(model: nn.Module, graph: Graph, path: Path) -> None:
    """Write a model's state_dict in torch's zip format, on the CPU whatever the model is on."""
    _save(_on_cpu(model.state_dict()), path)


def _write_half_state_dict(model: nn.Module, graph: Graph, path: Path) -> None:
    """Write a model's state_dict rounded to half precision; raises WeightsError if a number is too large."""
    state = _on_cpu(model.state_dict())
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    if problems := too_large({name: tensor.numpy() for name, tensor in floats.items()}, "float16"):
        raise WeightsError([Problem("some values are too large for half precision"), *problems])
    for name, tensor in floats.items():
        state[name] = tensor.half()
    _save(state, path)


def _save(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # What PyTorch makes of a full disk.
        raise OutputError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from error


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """Move the tensors of a state_dict, which keeps the attributes that ``torch.save`` saves."""
    for name, tensor in state.items():
        state[name] = tensor.cpu()
    return state


def _write_program(model: nn.Module, graph: Graph, path: Path) -> None:
    """Write a model as a ``torch.export`` program, which runs without this package.

    The batch is dynamic; so are the sizes of the input, unless the graph's parameters depend on them. A map that is 1×1
    at the graph's own size must stay so, and no other may become 1×1: torch treats a size of 1 as a constant.
    """
    fixed = graph.depends_on_size or graph.input.features is not None
    axes = range(2, 2 + len(graph.input.positions))
    sizes = {} if fixed else dict.fromkeys(axes, torch.export.Dim.AUTO)
    # Two images, since torch treats a dimension of 1 as a constant.
    shapes = ({0: torch.export.Dim.DYNAMIC, **sizes},)
    images = _zeros(model, graph, 2)
    with kernels_as_codes(model):
        program = torch.export.export(model, (images,), dynamic_shapes=shapes)
    _save_program(program, path)


def _write_fixed_program(model: nn.Module, graph: Graph, path: Path, batch: int) -> None:
    """Write a model as a program for one size of its input."""
    images = _zeros(model, graph, batch)
    with kernels_as_codes(model):
        program = torch.export.export(model, (images,))
    _save_program(program, path)


def _zeros(model: nn.Module, graph: Graph, batch: int) -> torch.Tensor:
    images = torch.zeros(batch, *graph.input.shape)
    parameter = next(model.parameters(), images)
    return images.to(parameter.device, parameter.dtype)


def _save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    # In memory, since a full disk would end the process.
    buffer = BytesIO()
    with warnings.catch_warnings():
        # What torch says of kernels that are channels last, which it then writes whole.
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
        torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())


_WRITERS: dict[str, Callable[[nn.Module, Graph, Path], None]] = {".pth": _write_state_dict, ".pt2": _write_program}
_HALF_WRITERS = {".pth": _write_half_state_dict}
