"""Runs a file in ONNX Runtime as it is: its own layout, its own batch, its own type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from resnet_spec.errors import BackendError
from resnet_spec_onnx.execution import PROVIDERS, import_runtime
from resnet_spec_onnx.reading.node_view import ANY_BATCH, Layout
from resnet_spec_onnx.reading.normal_form import InnerValue, image_input
from resnet_spec_onnx.reading.protobuf import Contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape

    Images = NDArray[np.float32]
    Results = list[NDArray[np.floating[Any]]]


def runner(
    source: Path | bytes, contents: Contents, layout: Layout, orders: Sequence[tuple[int, ...]]
) -> Callable[[Images], Results]:
    """Return a function that runs a file, or the bytes of one, on (batch, channels, height, width) images.

    ``orders`` are the axes of each output in the file, as those of the result. The session is made at the first call.
    """
    sessions: list[Any] = []

    def run(images: Images) -> Results:
        if not sessions:
            sessions.append(_session(source))
        joined = _in_batches(sessions[0], contents, layout, images)
        return [in_float32(array.transpose(np.argsort(o))) for array, o in zip(joined, orders, strict=True)]

    return run


def inner_values(
    source: Path | bytes, contents: Contents, layout: Layout, graph: Graph, tensors: Mapping[str, InnerValue]
) -> Callable[[Images, Sequence[str]], dict[str, NDArray[Any]]]:
    """Return a function that computes the values of some nodes by name: their tensors become outputs of the file."""
    computed = {output for node in contents.graph.node for output in node.output}
    known = {name: tensor for name, tensor in tensors.items() if tensor.name in computed and 0 in tensor.axes}

    def values(images: Images, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        wanted = [name for name in names if name in known]
        distinct = list(dict.fromkeys(known[name].name for name in wanted))
        session = _session(_with_outputs(source, distinct), optimized=False)
        results = dict(zip(distinct, _in_batches(session, contents, layout, images, distinct), strict=True))
        return {
            name: _in_the_graphs_layout(results[known[name].name], known[name].axes, graph.by_name[name].shape)
            for name in wanted
        }

    return values


def _with_outputs(source: Path | bytes, names: Sequence[str]) -> bytes:
    """Return a file whose outputs are some of its tensors."""
    library: Any = onnx
    model: ModelProto = library.load_from_string(source) if isinstance(source, bytes) else library.load(source)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        return model.SerializeToString()
    except ValueError:
        message = "the model is too large to compute its inner values: ONNX limits one file to 2 GiB"
        raise BackendError(message) from None


def _in_the_graphs_layout(array: NDArray[Any], axes: Sequence[int | None], shape: Shape) -> NDArray[Any]:
    """Return a tensor with the axes of a node's value: sizes of 1 are added and left out."""
    places = [(axis, size) for axis, size in zip(axes, array.shape, strict=True) if axis is not None]
    kept = array.reshape([size for _, size in places])
    found = kept.transpose(np.argsort([axis for axis, _ in places]))
    return in_float32(np.ascontiguousarray(found).reshape(len(array), *shape))


INEXACT = ["Pad_Fusion"]
"""Optimizations of ONNX Runtime that change what a file computes: zeros before a max pool become minus infinity."""


def _session(source: Path | bytes, *, optimized: bool = True) -> Any:
    ort = import_runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        content = source if isinstance(source, bytes) else str(source)
        return ort.InferenceSession(content, options, providers=PROVIDERS, disabled_optimizers=INEXACT)
    except Exception as error:
        raise BackendError(f"ONNX Runtime rejects the model: {str(error).strip()}") from None


def _in_batches(
    session: Any, contents: Contents, layout: Layout, images: Images, outputs: Sequence[str] | None = None
) -> Results:
    """Run a file on images in its own layout, type and batch; return its outputs, or some of them, as they are."""
    tensor = image_input(contents)
    values = images.astype(helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type)).transpose(layout.axes)
    size = len(values) if layout.batch == ANY_BATCH else layout.batch
    pieces = [values[at : at + size] for at in range(0, len(values), size)]
    parts = [_run(session, tensor.name, piece, size, outputs) for piece in pieces]
    return [np.concatenate(arrays)[: len(values)] for arrays in zip(*parts, strict=True)]


def _run(session: Any, name: str, values: NDArray[Any], size: int, outputs: Sequence[str] | None) -> list[NDArray[Any]]:
    """Run one batch, filled up with zeros to the size that the file has."""
    missing = np.zeros((size - len(values), *values.shape[1:]), values.dtype)
    try:
        results: list[NDArray[Any]] = session.run(outputs, {name: np.concatenate([values, missing])})
    except Exception as error:
        raise BackendError(f"ONNX Runtime cannot run the model: {str(error).strip()}") from None
    return results


def in_float32(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in a type that is computed in: half precision is only stored."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
