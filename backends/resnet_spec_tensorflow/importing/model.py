"""Reads a Keras model, live or from a file, into what the core imports."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.graph_builder import GraphBuilder, input_of
from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import ModelError
from resnet_spec.graph import parameter_name
from resnet_spec_keras.execution import quiet
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.importing.calls import Calls, calls_of, functional_of, needed
from resnet_spec_tensorflow.importing.files import load_file
from resnet_spec_tensorflow.importing.graph_def import GraphNode, calls_of_graph, input_of_graph, owner_name
from resnet_spec_tensorflow.importing.graph_patterns import with_patterns
from resnet_spec_tensorflow.importing.inner_values import (
    fetching_calls,
    fetching_tensors,
    in_the_graphs_layout,
    inner_values,
)
from resnet_spec_tensorflow.importing.reader import Axes, Reader, Tensor, identity, is_read, key_of, last_first
from resnet_spec_tensorflow.importing.saved_model import read_graph, runner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph
    from resnet_spec.operations.fields import Shape
    from resnet_spec_tensorflow.importing.inner_values import Fetch

SIZE = 224
"""Height and width of images where a model states none."""


AUTOMATIC = re.compile(r"(depthwise_|separable_)?(conv2d|dense|batch_normalization)(_transpose)?(_\d+)?")
"""Names that Keras gives to layers with arrays."""


def import_model(model: Any, shape: Shape | None = None) -> SourceModel:
    """Read a Keras model and its weights.

    Args:
        model: A ``keras.Model``, or the path of a ``.keras`` or ``.h5`` file, of a SavedModel's folder or of a ``.pb``
            file with a frozen graph; nothing in them is executed.
        shape: The input's shape without the batch, channels first, for a model that does not state it.

    Raises:
        ModelError: With every layer that the language cannot express, or what is wrong with the file.
    """
    trusted = isinstance(model, keras.Model)
    with quiet():
        if not trusted and (os.path.isdir(model) or str(model).endswith(".pb")):
            return _graph_source(Path(model), shape)
        model = model if trusted else load_file(Path(model))
        first = keras.config.image_data_format() == "channels_first"
        functional = functional_of(model, shape and _arranged(shape, first))
        calls = calls_of(functional, is_read, trusted=trusted)
        axes = _input_axes(calls)
        known, remarks = _input_shape(calls.input.shape[1:], axes, shape)
        fetch = fetching_calls(calls, axes)
        return _source(calls, axes, known, remarks, str(model.name), _caller(model, axes), fetch)


def _graph_source(path: Path, shape: Shape | None) -> SourceModel:
    """Read a SavedModel or a frozen graph; its size is fixed first, so that sizes within it are constants."""
    graph, outputs = read_graph(path)
    stated, first = input_of_graph(graph)
    if stated is None:
        if shape is None:
            raise ModelError(f"{path}: does not state the shape of its input; pass shape")
        stated = (None,) * (len(shape) + 1)
    rank = len(stated) - 1
    axes = identity(rank) if first else last_first(rank)
    known, remarks = _input_shape(stated[1:], axes, shape)
    calls = calls_of_graph(graph, outputs, (1, *(known[axis] for axis in axes)))
    run = runner(graph, outputs, stated[0])

    def tensors(images: Any, names: Sequence[str]) -> list[Any]:
        return runner(graph, names, stated[0])(images)

    fetch = fetching_tensors(calls.calls, tensors)
    calls.calls = needed(with_patterns(calls.calls), calls.outputs)
    return _source(calls, axes, known, remarks, path.stem, run, fetch)


def _source(
    calls: Calls,
    axes: Axes,
    shape: Shape,
    remarks: list[str],
    name: str,
    call: Callable[[Any], list[Any]],
    fetch: Fetch,
) -> SourceModel:
    builder = GraphBuilder(name, input_of(shape))
    for problem in calls.problems:
        builder.problem(problem.message, problem.path)
    reader = Reader(builder, calls, axes)
    outputs = reader.read()
    graph = builder.finish([output and output.value for output in outputs])
    results = [output for output in outputs if output is not None]
    layers = _layers(calls)
    return SourceModel(
        graph=graph,
        arrays=_arrays(graph, reader.arrays),
        run=_runner(call, axes, results),
        named=2 * sum(map(_is_automatic, layers)) <= len(layers),
        classes={prefix: name for prefix, name in calls.classes.items() if prefix},
        remarks=(*remarks, *reader.remarks(graph)),
        values=inner_values(reader, calls, graph, axes, fetch),
    )


def _layers(calls: Calls) -> list[Any]:
    """The layers with arrays, each by one of its calls."""
    layers = [call.operation for call in calls.calls]
    return [layer for layer in layers if getattr(layer, "owner", None) is not None or getattr(layer, "weights", ())]


def _is_automatic(layer: Any) -> bool:
    """Whether Keras has named a layer, after its class and with a number: ``conv2d_7``."""
    if isinstance(layer, GraphNode):
        name = "" if layer.owner is None else owner_name(layer.owner).rpartition("/")[2]
        return AUTOMATIC.fullmatch(name) is not None
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
    return re.fullmatch(rf"{words}(_\d+)?", layer.name) is not None


def _arranged(shape: Shape, first: bool) -> Shape:
    return tuple(shape) if first or len(shape) == 1 else (*shape[1:], shape[0])


def _input_axes(calls: Calls) -> Axes:
    """Where the axes of the model's input are in the graph's: as the first layer that depends on it says."""
    rank = len(calls.input.shape) - 1
    for call in calls.calls:
        kind = key_of(call.operation).partition(".")[2]
        if kind in ("Permute", "Transpose"):
            break
        if rank > 1 and hasattr(call.operation, "data_format") and not kind.startswith(("ZeroPadding", "Flatten")):
            return identity(rank) if call.operation.data_format == "channels_first" else last_first(rank)
    return last_first(rank)


def _input_shape(sizes: Sequence[int | None], axes: Axes, shape: Shape | None) -> tuple[Shape, list[str]]:
    """The input's shape without the batch, channels first, of which the caller may state what the model does not.

    And a remark if neither does.
    """
    stated = [sizes[axes.index(place)] for place in range(len(axes))]
    if shape is not None:
        fits = len(shape) == len(stated) and all(own in (None, size) for own, size in zip(stated, shape, strict=False))
        if not fits:
            text = "×".join("?" if size is None else str(size) for size in stated)
            raise ModelError(f"its input is {text}, not {'×'.join(map(str, shape))}")
        return tuple(shape), []
    if None not in stated:
        return tuple(size for size in stated if size is not None), []
    if len(stated) != 3 or stated[0] is None:
        raise ModelError("its input has no fixed shape; pass shape")
    known = tuple(SIZE if size is None else size for size in stated)
    return known, [f"the input's size is not fixed; it is read at {SIZE}×{SIZE}"]


def _arrays(graph: Graph, arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Each parameter's array; raises ModelError where one has not the parameter's shape."""
    found = {parameter_name(layer, slot): array for layer, own in arrays.items() for slot, array in own.items()}
    result = {parameter.name: found[parameter.name] for parameter in graph.parameters()}
    wrong = [p.name for p in graph.parameters() if result[p.name].shape != p.shape]
    if wrong:
        raise ModelError(f"{wrong[0]}: has the shape {list(result[wrong[0]].shape)}, which its layer cannot have")
    return result


def _caller(model: Any, axes: Axes) -> Callable[[Any], list[Any]]:
    """A function that calls a model in inference mode."""
    # TensorFlow's own kernels for the CPU are channels last.
    first = axes == identity(len(axes)) and len(axes) > 1
    call: Any = tf.function(model, jit_compile=True) if first else model
    structure = getattr(model, "_inputs_struct", None)

    def run(images: Any) -> list[Any]:
        inputs = images if structure is None else keras.tree.pack_sequence_as(structure, [images])
        return keras.tree.flatten(call(inputs, training=False))

    return run


def _runner(
    call: Callable[[Any], list[Any]], axes: Axes, results: list[Tensor]
) -> Callable[[NDArray[np.float32]], list[Any]]:
    def run(images: NDArray[np.float32]) -> list[NDArray[np.floating[Any]]]:
        # Keras' axis i is the graph's axis axes[i].
        arranged = np.ascontiguousarray(images.transpose(0, *(axis + 1 for axis in axes)))
        with quiet():
            outputs = call(arranged)
        return [in_the_graphs_layout(output, tensor) for output, tensor in zip(outputs, results, strict=True)]

    return run
