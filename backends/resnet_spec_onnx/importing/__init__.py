"""From an ONNX file to a graph, its weights, and a way to run it.

In order: ``stated_form`` and ``node_forms`` turn the file's nodes into steps, with what ``reading`` knows of them and
nothing left out; ``passes`` makes one step of each operation; ``statements`` says of a ``step_view`` which operation
that is, and ``graph_building`` adds it to the graph under the source's name for it (``names``).
"""

from resnet_spec_onnx.importing.importer import import_onnx

__all__ = ["import_onnx"]
