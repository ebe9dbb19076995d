"""Reads the weights of an ONNX file: by its initializers' names where those are a graph's, else by their place in it.

Either way the file says which architecture it is, so where it can be compared with the graph it must be the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

from resnet_spec.checkpoints.checkpoint import Checkpoint
from resnet_spec.checkpoints.naming import by_graph_names
from resnet_spec.errors import GraphError, WeightsError
from resnet_spec.folding import fold
from resnet_spec_onnx.absorbing import absorbed
from resnet_spec_onnx.assembly import FINGERPRINT
from resnet_spec_onnx.contents import Contents, read_contents
from resnet_spec_onnx.expected import IncomparableError, expected
from resnet_spec_onnx.matching import Label, MismatchError, matched, with_widths, without_widths
from resnet_spec_onnx.network import Network, Step, Tensor
from resnet_spec_onnx.simplifying import BATCH, CHANNELS_FIRST, CHANNELS_LAST, Layout, image_input, simplified

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph

    Arrays = Mapping[str, NDArray[Any]]

FOLDED = (
    "its batch normalisations are folded into the convolutions before them; "
    "a spec with 'folded: true' (--set folded=true) has them so"
)
NOT_FOLDED = (
    "its batch normalisations are not folded into the convolutions, as the spec says; "
    "read it with the spec as it is unfolded, and 'resnet-spec convert --fold' folds them"
)

OTHER_SIZES = (1, 19)
"""Rows and columns by which images are larger too, where a file takes any: odd and even ones, at each stage."""


def read_onnx(path: Path, graph: Graph | None = None) -> Checkpoint:
    """The floating-point weights of a file; bfloat16 is widened, exactly.

    They go by their initializers' names, in the file's layout, where there is no graph or the names are its
    parameters', in whatever library's words. Else they go by the graph's names, found by their place in the network
    once that is shown to be the graph's. Of a file that has convolutions with constants behind them, in the place of
    folded normalisations, these are multiplied out.

    Raises WeightsError for a file that is broken, holds what is not read (graphs within nodes, functions, sparse
    tensors), is another network than the graph, or leaves two ways to load it.
    """
    contents = read_contents(path)
    _refuse_foreign(path, contents)
    metadata = {entry.key: entry.value for entry in contents.model.metadata_props}
    weights = _named(contents)
    if graph is None or metadata.get(FINGERPRINT, graph.fingerprint) != graph.fingerprint:
        # Of one that we have written, the caller says in our own words how it differs.
        return _checkpoint(contents, metadata, weights, [], ())
    names = _known_names(graph, weights)
    by_name = {parameter.name for parameter in graph.parameters()} <= set(names.values())
    try:
        found = Comparison(contents, graph, names if by_name else {}).run()
    except MismatchError as error:
        raise WeightsError(f"{path}: {error}") from None
    except IncomparableError as error:
        if not by_name:
            raise WeightsError(f"{path}: cannot be read by the places of its weights: {error}") from None
        known = metadata.get(FINGERPRINT) == graph.fingerprint
        remarks = () if known else (f"is read by names alone, and not shown to be the same network: {error}",)
        return _checkpoint(contents, metadata, weights, [], remarks)
    if by_name:
        placed = {name: weights[name] for name in weights if names.get(name) is not None}
    else:
        placed = _placed(path, graph, found, names)
    used = {name for tensor in found.tensors.values() for name in tensor.names}
    rest = {name: weights[name] for name in found.others if name in weights and name not in used and name not in placed}
    left = [name for name in weights if name not in used and name not in rest and name not in placed]
    return _checkpoint(contents, metadata, placed | rest, left, found.remarks, found.tensors if not by_name else {})
