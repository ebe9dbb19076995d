"""Folds a factor and an offset per channel, written after a convolution, into its kernel and bias.

Exporters write a folded batch normalization so, in up to four nodes. They are multiplied in double precision and
rounded once; a single offset becomes the bias unchanged, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resnet_spec.structure.steps import AFFINE, NormalForm, Step, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONVOLUTIONS = ("convolution", "transposed_convolution")


def fold_affine(network: NormalForm) -> NormalForm:
    """Return the network with the scales and shifts that follow a convolution folded into it.

    Requires that nothing else reads the values in between; computes the same up to rounding.
    """
    return _merged(network, AFFINE, _folded)


def drop_batch_norms(network: NormalForm) -> NormalForm:
    """Return the network without the batch normalizations that could be folded, and with the weights as they were.

    Its structure, and not what it computes, is that of the folded network.
    """
    return _merged(network, ("batch_norm",), lambda convolution, norms: convolution)


def with_instance_norms(network: NormalForm) -> NormalForm:
    """Return the network with a normalization of each channel, and its scale and offset, as one step.

    It is written as one of instances, or of groups of one channel.
    """
    steps, consumers = list(network.steps), network.consumers()
    for index, step in enumerate(network.steps):
        if step.kind != "group_norm" or step.fields["groups"] != step.shape[0]:
            continue
        last, tensors = index, dict[str, Tensor]()
        for kind, inverse in (("scale", "divided"), ("shift", "negated")):
            readers = [] if last in network.outputs else [steps[reader] for reader in consumers[last]]
            if len(readers) == 1 and readers[0].kind == kind and not readers[0].fields[inverse]:
                tensors |= readers[0].tensors
                (last,) = consumers[last]
        fields = {"epsilon": step.fields["epsilon"]}
        steps[last] = replace(step, kind="instance_norm", fields=fields, tensors=tensors, values=steps[last].values)
    whole = NormalForm(network.steps[0].shape)
    whole.steps = steps
    return whole.pruned(network.outputs)


def _merged(network: NormalForm, kinds: Sequence[str], merge: Callable[[Step, Sequence[Step]], Step]) -> NormalForm:
    """Return the network with each convolution, and the steps of some kinds that exclusively follow it, merged."""
    consumers = network.consumers()
    owners: dict[int, int] = {}
    chains: dict[int, list[Step]] = defaultdict(list)
    for index, step in enumerate(network.steps):
        if step.kind in CONVOLUTIONS:
            owners[index] = index
        elif step.kind in kinds:
            (read,) = step.inputs
            if read in owners and consumers[read] == [index] and read not in network.outputs:
                owners[index] = owners[read]
                chains[owners[read]].append(step)

    def owner(index: int) -> int:
        return owners.get(index, index)

    def merged(index: int, step: Step) -> Step:
        if index in chains:
            step = replace(merge(step, chains[index]), values=chains[index][-1].values)
        return replace(step, inputs=tuple(map(owner, step.inputs)))

    whole = NormalForm(network.steps[0].shape)
    whole.steps = [merged(index, step) for index, step in enumerate(network.steps)]
    return whole.pruned(map(owner, network.outputs))


def _folded(convolution: Step, chain: Sequence[Step]) -> Step:
    """Return a convolution that computes what it and the scales and shifts after it compute."""
    import numpy as np

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
    tensors = [*convolution.tensors.values(), *(tensor for step in chain for tensor in step.tensors.values())]
    names = tuple(name for tensor in tensors for name in tensor.names)
    with np.errstate(over="ignore", invalid="ignore"):
        folded = {
            "weight": Tensor(names, (kernel * columns).astype(kernel.dtype) if scaled else kernel),
            "bias": Tensor(names, np.broadcast_to(offset, (channels,)).astype(kernel.dtype)),
        }
    return replace(convolution, tensors=folded, folded=True)


def _array(step: Step) -> NDArray[Any]:
    (tensor,) = step.tensors.values()
    array: Any = tensor.array
    return array
