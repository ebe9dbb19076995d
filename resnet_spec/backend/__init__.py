"""All that the author of a backend needs.

A backend is a class with ``Backend``'s methods, which an entry point in the group ``GROUP`` names; one that also reads
files has those of ``ReadingBackend``, and one that imports models those of ``ImportingBackend``, which builds a
``SourceModel`` with a ``GraphBuilder``. Its emitters are registered in a ``Table``, ``read`` returns a ``Checkpoint``,
``gradients`` returns ``Gradients``, and ``train`` gets an ``Optimizer``. Graphs and operations are in
``resnet_spec.graph`` and ``resnet_spec.operations``, errors in ``resnet_spec.errors``; docs/adding-a-backend.md builds
a whole backend.
"""

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.backend.graph_builder import Draft, GraphBuilder, Value, input_of
from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.protocol import Arrays, Backend, Batch, DType, Gradients, ImportingBackend, ReadingBackend
from resnet_spec.backend.registry import GROUP, backend_names, get_backend
from resnet_spec.backend.source import SourceModel
from resnet_spec.backend.table import Table

__all__ = [
    "GROUP",
    "SGD",
    "AdamW",
    "Arrays",
    "Backend",
    "Batch",
    "Checkpoint",
    "DType",
    "Draft",
    "Gradients",
    "GraphBuilder",
    "ImportingBackend",
    "Optimizer",
    "ReadingBackend",
    "SourceModel",
    "Table",
    "Value",
    "backend_names",
    "get_backend",
    "input_of",
]
