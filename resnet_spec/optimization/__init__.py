"""Passes that rewrite a graph for inference: the same outputs by fewer layers, in any backend.

A pass is a function from a graph to a ``Rewriting``: another graph, and from which arrays each of its parameters is
computed. Its docstring states what it requires and what it ensures. Every pass is exact but for rounding, keeps the
names, the order and the shapes of the outputs, and changes nothing when it is applied again. ``optimize`` applies all.
"""

from resnet_spec.optimization.folding import (
    fold_learned_factors,
    fold_normalizations,
    fold_preceding_normalizations,
)
from resnet_spec.optimization.groups import split_groups
from resnet_spec.optimization.kernels import compute_standardized_kernels
from resnet_spec.optimization.padding import merge_padding
from resnet_spec.optimization.pipeline import PASSES, optimize
from resnet_spec.optimization.removal import remove_training_only
from resnet_spec.optimization.rewriting import Formula, Pass, Rewriting

__all__ = [
    "PASSES",
    "Formula",
    "Pass",
    "Rewriting",
    "compute_standardized_kernels",
    "fold_learned_factors",
    "fold_normalizations",
    "fold_preceding_normalizations",
    "merge_padding",
    "optimize",
    "remove_training_only",
    "split_groups",
]
