"""From an ONNX file to named arrays.

In order: ``protobuf`` splits the file into model and weights; ``normal_form`` turns its nodes, as the graph, into a
``network`` of steps, one form for everything that computes the same (``operations``, with ``constant_folding`` and
``affine_folding``); ``matching`` finds which step of one network is which of the other; ``comparison`` takes from there
the array of each parameter, and ``checkpoint`` gives it its name.
"""

from resnet_spec_onnx.reading.checkpoint import read_onnx

__all__ = ["read_onnx"]
