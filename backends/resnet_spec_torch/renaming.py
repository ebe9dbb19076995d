"""Layers whose parameters have other names than PyTorch's: the ones that a spec's original gives them.

A layer of PyTorch reads ``self.weight``. A subclass has a property of that name for each renamed parameter, so that
``state_dict``, ``named_parameters`` and what an optimizer stores all have the original's names.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from torch import Tensor, nn


def rename_parameters(layer: nn.Module, names: Mapping[str, str]) -> None:
    """Give parameters and buffers of a layer other names, in place; ``names`` maps its own names to new ones."""
    kept = cast("Any", layer)
    for tensors in (kept._parameters, kept._buffers):
        renamed = {names.get(name, name): tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)
    layer.__class__ = _class(type(layer), tuple(names.items()))


@cache
def _class(kind: type[nn.Module], names: tuple[tuple[str, str], ...]) -> type[nn.Module]:
    """Return a subclass that finds parameters by their new names."""
    namespace: dict[str, Any] = {"__module__": __name__, "__doc__": kind.__doc__}
    namespace |= {name: _property(new) for name, new in names}
    renamed = type(kind.__name__, (kind,), namespace)
    # No module has the class as an attribute, so that an instance is copied and pickled with what it is made of.
    copyreg.pickle(renamed, lambda layer: (_blank, (kind, names), layer.__getstate__()))  # type: ignore[arg-type]
    return renamed


def _property(name: str) -> property:
    def read(layer: Any) -> Tensor | None:
        return layer._parameters[name] if name in layer._parameters else layer._buffers[name]

    return property(read)


def _blank(kind: type[nn.Module], names: tuple[tuple[str, str], ...]) -> nn.Module:
    """Return an instance for ``copy`` and ``pickle`` to fill."""
    renamed = _class(kind, names)
    return renamed.__new__(renamed)
