"""A factor and an offset for each channel, written out behind a convolution, as part of its kernel and bias.

Exporters write a folded batch normalization so, in up to four nodes. They are multiplied out in double precision and
rounded once; a single offset is the bias itself, to the bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec_onnx.reading.network import AFFINE, Network, Step, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONVOLUTIONS = ("convolution", "transposed convolution")


def absorbed(network: Network) -> Network:
    """The same network without the constants that alone follow a convolution."""
    return _merged(network, AFFINE, _carrying)


def without_norms(network: Network) -> Network:
    """The network that is left of one when its batch normalizations are folded, its weights as they were."""
    return _merged(network, ("batch_norm",), lambda convolution, norms: convolution)


def _merged(network: Network, kinds: Sequence[str], merge: Callable[[Step, Sequence[Step]], Step]) -> Network:
    """The network with each convolution and the steps of some kinds that alone follow it as one."""
    readers = network.consumers()
    owners: dict[int, int] = {}
    chains: dict[int, list[Step]] = defaultdict(list)
    for number, step in enumerate(network.steps):
        if step.kind in CONVOLUTIONS:
            owners[number] = number
        elif step.kind in kinds:
            (read,) = step.inputs
            if read in owners and readers[read] == [number] and read not in network.outputs:
                owners[number] = owners[read]
                chains[owners[read]].append(step)

    def place(number: int) -> int:
        return owners.get(number, number)

    def merged(number: int, step: Step) -> Step:
        step = merge(step, chains[number]) if number in chains else step
        return replace(step, inputs=tuple(map(place, step.inputs)))

    whole = Network(network.steps[0].shape)
    whole.steps = [merged(number, step) for number, step in enumerate(network.steps)]
    return whole.pruned(map(place, network.outputs))


def _carrying(convolution: Step, chain: Sequence[Step]) -> Step:
    """A convolution that does what the constants behind it do, too."""
    weight, bias = convolution.tensors["weight"], convolution.tensors.get("bias")
    scaled = any(step.kind == "scale" for step in chain)
    if bias is None and len(chain) == 1 and not scaled:
        array = _array(chain[0])
        bias = Tensor(chain[0].tensors["bias"].names, -array if chain[0].fields["negated"] else array)
        return replace(convolution, tensors={"weight": weight, "bias": bias})
    kernel: Any = weight.array
    factor, offset = np.ones(1), np.zeros(1) if bias is None else np.asarray(bias.array, np.float64)
    for step in chain:
        constant = _array(step).astype(np.float64)
        if step.kind == "shift":
            offset = offset - constant if step.fields["negated"] else offset + constant
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                constant = 1 / constant if step.fields["divided"] else constant
                factor, offset = factor * constant, offset * constant
    axis = 0 if convolution.kind == "convolution" else 1
    columns = factor.reshape([-1 if index == axis else 1 for index in range(kernel.ndim)])
    channels = kernel.shape[axis]
    parts = [*convolution.tensors.values(), *(tensor for step in chain for tensor in step.tensors.values())]
    names = tuple(name for tensor in parts for name in tensor.names)
    with np.errstate(over="ignore", invalid="ignore"):
        tensors = {
            "weight": Tensor(names, (kernel * columns).astype(kernel.dtype) if scaled else kernel),
            "bias": Tensor(names, np.broadcast_to(offset, (channels,)).astype(kernel.dtype)),
        }
    return replace(convolution, tensors=tensors, multiplied=True)


def _array(step: Step) -> NDArray[Any]:
    (tensor,) = step.tensors.values()
    array: Any = tensor.array
    return array
