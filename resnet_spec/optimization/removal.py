"""Layers that act in training only."""

from __future__ import annotations

from resnet_spec.graph import Graph
from resnet_spec.operations import Category
from resnet_spec.optimization.rewriting import Rewriting, replaced


def remove_training_only(graph: Graph) -> Rewriting:
    """Remove dropout and stochastic depth, which pass values on in inference.

    Requires:
        The graph is used for inference only.

    Ensures:
        No such node is left, except one whose value is an output.

    Args:
        graph: Any graph.

    Returns:
        The graph without them; no array changes.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import remove_training_only
        >>> graph = resnet_spec.load("faces/iresnet18").to_graph()
        >>> removed = remove_training_only(graph).graph
        >>> len(graph.nodes), len(removed.nodes), removed.by_name["flatten"].inputs
        (72, 71, ('bn2',))
    """
    kept = {node.layer for node in graph.nodes if node.name in graph.outputs}
    removed = {
        node.name: node.inputs[0]
        for node in graph.nodes
        if node.operation.category is Category.REGULARIZATION and node.layer not in kept
    }
    return replaced(graph, {}, removed, {}) if removed else Rewriting.unchanged(graph)
