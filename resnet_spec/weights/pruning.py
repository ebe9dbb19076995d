"""Applies the masks that ``torch.nn.utils.prune`` saves beside the weights that they prune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.errors import Problem, WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]


def without_masks(tensors: Tensors) -> tuple[Tensors, list[str]]:
    """Tensors with PyTorch's pruning masks applied: ``weight_orig`` times ``weight_mask`` is ``weight``."""
    masks = {name: f"{name.removesuffix('_mask')}_orig" for name in tensors if name.endswith("_mask")}
    pruned = {mask: original for mask, original in masks.items() if original in tensors}
    if not pruned:
        return tensors, []
    parts = {*pruned, *pruned.values()}
    kept = {name: tensor for name, tensor in tensors.items() if name not in parts}
    applied: dict[str, NDArray[Any]] = {}
    for mask, original in pruned.items():
        if tensors[mask].shape != tensors[original].shape:
            raise WeightsError([Problem("its shape is not that of the tensor it prunes", mask)])
        applied[mask.removesuffix("_mask")] = tensors[original] * tensors[mask].astype(tensors[original].dtype)
    return {**kept, **applied}, [f"applied {len(pruned)} pruning masks"]
