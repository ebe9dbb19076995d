"""From a PyTorch model to a graph.

``recording`` calls ``torch.export``, ``program`` walks what that records, ``call`` is one recorded function with its
arguments, ``formulas`` recognizes what several functions compute together, and the other modules turn a kind of
function into operations each.
"""

from resnet_spec_torch.importing import activation, convolution, joining, normalization, pooling, reshaping, resizing
from resnet_spec_torch.importing.program import import_model

__all__ = ["activation", "convolution", "import_model", "joining", "normalization", "pooling", "reshaping", "resizing"]
