"""The graph in a file's own metadata, of a file that this package wrote and that nothing has changed since.

What only training depends on is nowhere else in such a file: dropout, momentum, a layer's initial value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import GraphProto, TensorProto, helper

from resnet_spec.errors import ResnetSpecError
from resnet_spec.graph import Graph
from resnet_spec.operations import Category
from resnet_spec_onnx.compilation import GRAPH, build_skeleton
from resnet_spec_onnx.reading.normal_form import image_input

if TYPE_CHECKING:
    from resnet_spec_onnx.reading.protobuf import Contents

MAX_CHANNELS = 2**24
"""The most channels of all normalizations together, for some of which writing a graph makes constants."""


def written_graph(contents: Contents) -> Graph | None:
    """Return the graph that a file states, if writing that graph gives exactly the file's nodes; else None."""
    texts = [entry.value for entry in contents.model.metadata_props if entry.key == GRAPH]
    if len(texts) != 1:
        return None
    try:
        graph = Graph.from_json(texts[0])
        parameters = {parameter.name: parameter.shape for parameter in graph.parameters()}
        norms = (node for node in graph.nodes if node.operation.category is Category.NORMALIZATION)
        sizes = {tensor.name: tuple(tensor.dims) for tensor in contents.graph.initializer}
        if parameters != sizes or sum(node.shape[0] for node in norms) > MAX_CHANNELS:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(image_input(contents).type.tensor_type.elem_type)
        half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in contents.graph.initializer)
        skeleton = build_skeleton(graph, np.dtype(dtype), half=half)
    except ResnetSpecError:
        return None
    same = all(one == other for one, other in zip(_parts(skeleton.graph), _parts(contents.graph), strict=True))
    return graph if same else None


def _parts(graph: GraphProto) -> Iterator[Any]:
    """Yield what a network consists of, without the data of its weights."""
    yield from ([*graph.node], [*graph.input], [*graph.output])
    yield [(tensor.name, tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer]
