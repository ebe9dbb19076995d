"""All passes in the order in which each makes work for the next."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_spec.graph import Graph
from resnet_spec.optimization.folding import (
    fold_learned_factors,
    fold_normalizations,
    fold_preceding_normalizations,
)
from resnet_spec.optimization.kernels import compute_standardized_kernels
from resnet_spec.optimization.padding import merge_padding
from resnet_spec.optimization.removal import remove_training_only
from resnet_spec.optimization.rewriting import Pass, Rewriting

PASSES: tuple[Pass, ...] = (
    remove_training_only,
    compute_standardized_kernels,
    merge_padding,
    fold_normalizations,
    fold_learned_factors,
    fold_preceding_normalizations,
)
"""The passes that ``optimize`` applies, in this order."""


def optimize(graph: Graph, passes: Sequence[Pass] | None = None) -> Rewriting:
    """Apply all passes until none changes anything.

    Requires:
        The graph is used for inference only.

    Ensures:
        No pass changes the result. Names, order and shapes of the outputs are those of ``graph``.

    Args:
        graph: Any graph.
        passes: Passes to apply instead of ``PASSES``.

    Returns:
        The optimized graph, and how its arrays follow.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import optimize
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> optimized = optimize(graph).graph
        >>> optimized.outputs, optimized == optimize(optimized).graph
        (('fc',), True)
    """
    whole = Rewriting.unchanged(graph)
    before = None
    while before != whole.graph.nodes:
        before = whole.graph.nodes
        for rewrite in PASSES if passes is None else passes:
            whole = whole.then(rewrite)
    return whole
