"""Arrays into a model and out of it.

The core lays arrays out as PyTorch does, for every role, so that nothing is transposed: an array that fits becomes the
parameter itself, and a memory-mapped file is read when it is first computed with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter


def set_parameters(model: nn.Module, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set every parameter of a model from arrays by the graph's names; batch counters start at 0.

    A parameter still on the meta device becomes a tensor over the array's own memory where dtype and layout fit and the
    array may be written to; otherwise values are copied. Raises WeightsError where a layer was replaced by one of
    another shape.
    """
    modules = dict(model.named_modules())
    targets = [(parameter, *_target(modules, parameter)) for parameter in graph.parameters()]
    problems = [
        Problem(f"the model's tensor has shape {list(tensor.shape)}, not {list(parameter.shape)}", parameter.name)
        for parameter, _, tensor in targets
        if tensor.shape != parameter.shape
    ]
    if problems:
        raise WeightsError(problems)
    taken: set[int] = set()
    for parameter, module, tensor in targets:
        array = arrays[parameter.name]
        if tensor.is_meta:
            _replace(module, parameter, _adopt(array, tensor.dtype, taken))
        else:
            with torch.no_grad():
                tensor.copy_(_adopt(array, tensor.dtype, taken))
    for module in modules.values():
        if isinstance(module, nn.BatchNorm2d):
            _reset_counter(module)


def get_arrays(model: nn.Module, graph: Graph) -> dict[str, NDArray[Any]]:
    """A copy of every parameter, by the graph's names and in its order."""
    modules = dict(model.named_modules())
    return {p.name: _target(modules, p)[1].detach().cpu().numpy().copy() for p in graph.parameters()}


def _target(modules: Mapping[str, nn.Module], parameter: Parameter) -> tuple[nn.Module, Tensor]:
    module = modules[parameter.node]
    return module, getattr(module, parameter.name.rpartition(".")[2])


def _replace(module: nn.Module, parameter: Parameter, tensor: Tensor) -> None:
    name = parameter.name.rpartition(".")[2]
    if parameter.trainable:
        module._parameters[name] = nn.Parameter(tensor)  # noqa: SLF001 - setattr checks again what was just looked up
    else:
        module._buffers[name] = tensor  # noqa: SLF001


def _adopt(array: NDArray[Any], dtype: torch.dtype, taken: set[int]) -> Tensor:
    """A tensor over the array's memory if it can be: not for a view that repeats, nor for an array given twice."""
    address = array.ctypes.data
    plain = array.flags.c_contiguous and array.flags.aligned and array.flags.writeable and array.dtype.isnative
    if not plain or address in taken:
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    taken.add(address)
    return torch.from_numpy(array).to(dtype)


def _reset_counter(norm: nn.BatchNorm2d) -> None:
    counter = norm.num_batches_tracked
    if counter is None:
        return
    if counter.is_meta:
        norm.num_batches_tracked = torch.tensor(0, dtype=torch.long)
    else:
        counter.zero_()
