"""What a reader makes of another library's model: its network, its weights, and how to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph


@dataclass(frozen=True)
class SourceModel:
    """A model of another library, as its backend has read it.

    Attributes:
        graph: The network, its nodes named as in the source.
        arrays: The graph's parameters in the source's own order, laid out as PyTorch lays them out.
        run: Computes the outputs of images (batch, channels, height, width) by the source's own library, in float32;
            the results are laid out as the graph's values are.
        named: Whether the nodes' names are the source's own, so that its checkpoints have them.
        classes: Names of classes of the source's modules, by the dotted prefix of their nodes.
        remarks: What was read differently from how the source states it, a sentence each.
        values: Computes the values of some of the graph's nodes for images in the same way, by their names; nodes whose
            value the library does not compute by itself are left out. None if the library gives no inner values.
        counters: How many batches normalizations were trained with, by the names of their running means in ``arrays``.
    """

    graph: Graph
    arrays: Mapping[str, NDArray[Any]]
    run: Callable[[NDArray[np.float32]], list[NDArray[np.floating[Any]]]]
    named: bool = True
    classes: Mapping[str, str] = field(default_factory=dict[str, str])
    remarks: tuple[str, ...] = ()
    values: Callable[[NDArray[np.float32], Sequence[str]], dict[str, NDArray[np.floating[Any]]]] | None = None
    counters: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
