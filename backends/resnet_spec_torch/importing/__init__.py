"""From a PyTorch model to a graph.

``program`` walks what ``torch.export`` records, ``call`` is one recorded function with its arguments, and the other
modules turn a kind of function into operations each.
"""

from resnet_spec_torch.importing import activation, convolution, joining, normalization, pooling, reshaping
from resnet_spec_torch.importing.program import import_model

__all__ = ["activation", "convolution", "import_model", "joining", "normalization", "pooling", "reshaping"]
