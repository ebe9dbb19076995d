"""From an ONNX file to named arrays.

In order: ``protobuf`` splits the file into model and weights; ``normal_form`` turns its nodes into the steps of
``resnet_spec.structure`` (``operations``, with ``constant_folding``); ``comparison`` compares them with a graph's,
which gives the array of each parameter, and ``checkpoint`` gives it its name.
"""

from resnet_spec_onnx.reading.checkpoint import read_onnx

__all__ = ["read_onnx"]
