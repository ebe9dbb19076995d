"""Arrays into a model and out of it.

The core lays arrays out as PyTorch does, whatever a parameter's role, so that nothing is transposed: an array that fits
becomes the parameter itself, and a memory-mapped file is read when it is first computed with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import Problem, WeightsError
from resnet_spec.operations import MEANS, Role
from resnet_spec_torch.layers import AnyBatchNorm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter

from_numpy: Callable[[NDArray[Any]], Tensor] = torch.from_numpy  # pyright: ignore

ALIGNMENT = 64
"""Bytes to which PyTorch aligns its own memory. Of a memory-mapped file's tensors only a linear kernel must be: the
matrix product of one image rounds differently at other addresses, so that a model would depend on its file's layout."""


class _Slot(NamedTuple):
    """Where a model keeps one of the graph's parameters."""

    parameter: Parameter
    module: nn.Module
    name: str
    tensor: Tensor


def set_parameters(model: nn.Module, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set every parameter of a model from arrays by the graph's names; batch counters start at 0.

    A parameter still on the meta device moves to PyTorch's default device. It becomes a tensor over the array's own
    memory where device, dtype and layout fit and the array may be written to; otherwise values are copied. Raises
    WeightsError if a layer of the model was removed or replaced by one of another shape.
    """
    slots = _slots(model, graph)
    taken: set[int] = set()
    device = torch.get_default_device()
    for slot in slots:
        value = _adopt(arrays[slot.parameter.name], slot.tensor.dtype, taken)
        if slot.parameter.role is Role.LINEAR_KERNEL and value.data_ptr() % ALIGNMENT:
            value = value.clone()
        if slot.tensor.is_meta:
            _replace(slot, value.to(device))
        else:
            with torch.no_grad():
                slot.tensor.copy_(value)
    for module in {slot.parameter.node: slot.module for slot in slots}.values():
        if isinstance(module, AnyBatchNorm):
            _reset_counter(module)


def get_arrays(model: nn.Module, graph: Graph) -> dict[str, NDArray[Any]]:
    """Return a copy of every parameter in the graph's order; raises WeightsError as ``set_parameters`` does."""
    return {name: to_numpy(tensor).copy() for name, tensor in tensors(model, graph).items()}


def counters(model: nn.Module, graph: Graph) -> dict[str, Tensor]:
    """Return the count of batches of every batch normalization that counts, by the graph's name of the layer."""
    modules = _modules(model, "", {"": model})
    names = dict.fromkeys(parameter.node for parameter in graph.parameters() if parameter.role in MEANS)
    found = {f"{name}.{COUNTER}": _tensor(modules.get(name), COUNTER) for name in names}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def put_channels_last(model: nn.Module) -> None:
    """Lay out the kernels of 2-d convolutions with the channels last; values and shapes stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's values; those in bfloat16, which NumPy does not have, as float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()


def tensors(model: nn.Module, graph: Graph) -> dict[str, Tensor]:
    """Return a model's own tensors in the graph's order; raises WeightsError as ``set_parameters`` does."""
    return {slot.parameter.name: slot.tensor for slot in _slots(model, graph)}


def _modules(module: nn.Module, prefix: str, found: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Return every module by its path, a shared one by each of its paths; ``named_modules`` is several times slower."""
    for name, child in cast("Any", module)._modules.items():
        if child is not None:
            found[prefix + name] = child
            _modules(child, f"{prefix}{name}.", found)
    return found


def _tensor(module: nn.Module | None, name: str) -> Tensor | None:
    """Return a module's tensor from its dictionaries, or another attribute of that name."""
    kept = cast("Any", module)
    if module is None or (tensor := kept._parameters.get(name, kept._buffers.get(name))) is None:
        return getattr(module, name, None)
    return tensor


def _slots(model: nn.Module, graph: Graph) -> list[_Slot]:
    modules = _modules(model, "", {"": model})
    slots: list[_Slot] = []
    problems: list[Problem] = []
    for parameter in graph.parameters():
        path, _, name = parameter.name.rpartition(".")
        module = modules.get(path)
        tensor = _tensor(module, name)
        if module is None or tensor is None:
            problems.append(Problem("the model has no such tensor", parameter.name))
        elif tensor.shape != parameter.shape:
            message = f"the model's tensor has shape {list(tensor.shape)}, not {list(parameter.shape)}"
            problems.append(Problem(message, parameter.name))
        else:
            slots.append(_Slot(parameter, module, name, tensor))
    if problems:
        raise WeightsError(problems)
    return slots


def _replace(slot: _Slot, value: Tensor) -> None:
    # Assigning to the attribute would repeat the lookup, slowly.
    module = cast("Any", slot.module)
    if slot.name in module._parameters:
        module._parameters[slot.name] = nn.Parameter(value)
    else:
        module._buffers[slot.name] = value


def _adopt(array: NDArray[Any], dtype: torch.dtype, taken: set[int]) -> Tensor:
    """Return a tensor that shares the array's memory, or a copy for a strided view or an array that occurs twice."""
    if not (array.flags.carray and array.dtype.isnative):
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    tensor = from_numpy(array)
    address = tensor.data_ptr()
    if address in taken:
        tensor = tensor.clone()
    taken.add(address)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _reset_counter(norm: AnyBatchNorm) -> None:
    counter = norm.num_batches_tracked
    if counter is None:
        return
    if counter.is_meta:
        norm._buffers["num_batches_tracked"] = torch.zeros((), dtype=torch.long)  # pyright: ignore[reportPrivateUsage]
    else:
        counter.zero_()
