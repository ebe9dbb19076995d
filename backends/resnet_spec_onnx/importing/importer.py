"""Reads an ONNX model as a graph: in the layout that fits it, at its own input size or at several."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto, NodeProto

from resnet_spec.backend.graph_builder import GraphBuilder, input_of
from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import GraphError, ModelError, Problem, WeightsError, listed
from resnet_spec.graph import Graph, scope_class_name
from resnet_spec.operations.fields import as_text
from resnet_spec.structure.steps import IncomparableError, NormalForm
from resnet_spec_onnx.importing.graph_building import GraphReader
from resnet_spec_onnx.importing.names import Names
from resnet_spec_onnx.importing.node_forms import STATED_FORMS
from resnet_spec_onnx.importing.passes import stated, with_pads
from resnet_spec_onnx.importing.running import in_float32, inner_values, runner
from resnet_spec_onnx.importing.standardized import WeightExpressions
from resnet_spec_onnx.importing.stated_form import StatedForm
from resnet_spec_onnx.importing.written import written_graph
from resnet_spec_onnx.reading.checkpoint import unsupported_part
from resnet_spec_onnx.reading.node_view import ANY_BATCH, CHANNELS_FIRST, CHANNELS_LAST, Computed, Layout, NodeView
from resnet_spec_onnx.reading.normal_form import MAX_NODES, InnerValue, image_input, interpret
from resnet_spec_onnx.reading.protobuf import Contents, read_contents

if TYPE_CHECKING:
    from resnet_spec.operations.fields import Shape

BIASED = ("tf2onnx", "keras")
"""Producers whose framework divides a running variance by n; ONNX itself states neither."""

SIZE = 224
"""Height and width of a model that states neither."""

MAX_BATCH = 1024
"""The largest batch that a file may state, since a smaller one is filled up to be run."""

OTHER_SIZES = (1, 19)
"""Rows and columns to add to the images of a model that accepts any size, to see what depends on it."""


@dataclass
class _Reading:
    """A file's network at one input size: the number of axes of its outputs, their order, and what is not supported.

    Each problem is a message and the node that it is about.
    """

    layout: Layout
    network: StatedForm
    ranks: list[int]
    orders: list[tuple[int, ...]]
    problems: list[tuple[str, str]]


def import_onnx(model: Path | str | ModelProto, shape: Shape | None = None) -> SourceModel:
    """Read a model.

    Args:
        model: A file, whose external data are in its folder, or a model in memory.
        shape: The input's shape without the batch, channels first, for a model whose size is dynamic; 224 × 224 by
            default.

    Returns:
        The graph, the weights, and how to run the model by ONNX Runtime.

    Raises:
        ModelError: With every node that the language cannot express, or what is wrong with the file.
    """
    if isinstance(model, ModelProto):
        return _import_proto(model, shape)
    path = Path(model)
    try:
        contents = read_contents(path)
    except WeightsError as error:
        raise ModelError(error.problems) from None
    return _import(contents, path.stem, path, shape, str(path))


def _import_proto(model: ModelProto, shape: Shape | None) -> SourceModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            content = model.SerializeToString()
            path.write_bytes(content)
            contents = read_contents(path)
        except (ValueError, WeightsError) as error:
            raise ModelError(f"the model cannot be read: {error}".replace(f"{path}: ", "")) from None
    return _import(contents, model.graph.name or "model", content, shape, "the model")


def _import(contents: Contents, name: str, source: Path | bytes, shape: Shape | None, where: str) -> SourceModel:
    if unsupported := unsupported_part(contents):
        raise ModelError(Problem(f"has {unsupported}, which are not supported", where))
    if (count := len(contents.graph.node)) > MAX_NODES:
        raise ModelError(Problem(f"it has {count} nodes; at most {MAX_NODES} are supported", where))
    initializers = _initializers(contents)
    if graph := written_graph(contents):
        return _as_written(contents, graph, source)
    try:
        reading = min(_readings(contents, shape), key=lambda reading: len(reading.problems))
        networks = with_pads([*_networks(contents, reading, initializers)])
    except IncomparableError as error:
        raise ModelError(Problem(str(error), where)) from None
    remarks = [*_size_remarks(reading.layout, shape, len(networks))]
    names = Names(contents.model, initializers, networks[0].steps)
    builder = GraphBuilder(name, input_of(reading.layout.shape))
    for message, node in reading.problems:
        builder.problem(message, names.where(node))
    variance = "biased" if contents.model.producer_name in BIASED else "unbiased"
    reader = GraphReader(builder, networks, names, initializers, variance)
    reader.read()
    try:
        graph = builder.finish([] if reading.problems else reader.outputs(reading.ranks))
    except ModelError as error:
        raise ModelError([*error.problems, *(Problem(remark, where) for remark in remarks)]) from None
    except GraphError as error:
        raise ModelError(error.problems) from None
    if reading.layout.axes == CHANNELS_LAST:
        remarks.append("takes channels-last images")
    if folded := sum(step.folded for step in networks[0].steps):
        remarks.append(
            f"has folded normalizations as nodes after {folded} convolutions; they were multiplied into the weights"
        )
    if reader.constants:
        remarks.append(f"has constants where the graph has learned layers: {listed(reader.constants)}")
    run = runner(source, contents, reading.layout, reading.orders)
    values = inner_values(source, contents, reading.layout, graph, reader.tensors_of_nodes())
    return SourceModel(graph, reader.arrays(graph), run, names.named, names.classes, tuple(remarks), values)


def _as_written(contents: Contents, graph: Graph, source: Path | bytes) -> SourceModel:
    """Return a file that is exactly what this package writes for a graph."""
    arrays = {parameter.name: in_float32(contents.arrays[parameter.name]) for parameter in graph.parameters()}
    layout = Layout(ANY_BATCH, graph.input.shape, tuple(range(len(graph.input.shape) + 1)))
    orders = [tuple(range(len(graph.by_name[name].shape) + 1)) for name in graph.outputs]
    outputs = {name: output.name for name, output in zip(graph.outputs, contents.graph.output, strict=True)}
    tensors = {
        node.name: InnerValue(outputs.get(node.name, node.name), tuple(range(len(node.shape) + 1)))
        for node in graph.nodes
    }
    values = inner_values(source, contents, layout, graph, tensors)
    return SourceModel(graph, arrays, runner(source, contents, layout, orders), classes=_blocks(graph), values=values)


def _blocks(graph: Graph) -> dict[str, str]:
    return {scope.name: scope_class_name(scope.block) for scope in graph.scopes if scope.block}


def _initializers(contents: Contents) -> frozenset[str]:
    """Return the names of the weights, with those that an exporter gave to copies of equal ones."""
    copies = (node for node in contents.graph.node if node.op_type == "Identity" and node.input and node.output)
    copied = {node.output[0] for node in copies if node.input[0] in contents.arrays}
    # Numbered by torch's exporter, unlike weights, which keep their names.
    return frozenset(name for name in copied.union(contents.arrays) if not re.fullmatch(r"val_\d+", name))


# ---------------------------------------------------------------------------------------------------------------
# Readings


def _readings(contents: Contents, shape: Shape | None) -> Iterator[_Reading]:
    """Yield the file's network in each layout that it can have, up to the first without a problem."""
    failure: IncomparableError | None = None
    found = False
    for layout in _layouts(contents, shape):
        try:
            yield (reading := _reading(contents, layout))
        except IncomparableError as error:
            failure = failure or error
            continue
        found = True
        if not reading.problems:
            return
    if not found and failure:
        raise failure


def _layouts(contents: Contents, shape: Shape | None) -> Iterator[Layout]:
    sizes = _stated_sizes(contents) or [0] * (len(shape or (3, SIZE, SIZE)) + 1)
    rank = len(sizes)
    if rank not in (2, 3, 4, 5):
        raise IncomparableError(
            f"its input has {rank} axes; two to five are supported, of which the first is the batch"
        )
    if sizes[0] > MAX_BATCH:
        raise IncomparableError(f"its batch is fixed at {sizes[0]} images; at most {MAX_BATCH} are supported")
    orders = [CHANNELS_FIRST, CHANNELS_LAST] if rank == 4 else [tuple(range(rank))]
    if rank == 4 and 0 < sizes[3] <= 4 < sizes[1]:
        orders.reverse()
    fitting = 0
    for axes in orders:
        stated = [sizes[axes.index(axis)] for axis in range(1, rank)]
        if shape is None or (
            len(shape) == rank - 1 and all(size in (0, own) for size, own in zip(stated, shape, strict=True))
        ):
            fitting += 1
            wanted = shape or (3, *[SIZE] * (rank - 2))
            found = tuple(size or own for size, own in zip(stated, wanted, strict=True))
            yield Layout(sizes[0] or ANY_BATCH, found, axes, all(stated[1:]), frozenset(contents.arrays))
    if not fitting:
        stated = [sizes[orders[0].index(axis)] or "any" for axis in range(1, rank)]
        raise IncomparableError(f"its input is {'×'.join(map(str, stated))}, not {as_text(shape or ())}")


def _stated_sizes(contents: Contents) -> list[int]:
    """Return the sizes of the input's axes in the file, 0 for a dynamic one."""
    return [max(dimension.dim_value, 0) for dimension in image_input(contents).type.tensor_type.shape.dim]


def _reading(contents: Contents, layout: Layout) -> _Reading:
    reading = _Reading(layout, StatedForm(layout.shape, WeightExpressions(contents)), [], [], [])

    def report(node: NodeView, error: IncomparableError) -> None:
        message = str(error).removeprefix(node.source).lstrip(": ")
        reading.problems.append((message, node.source))

    for output, value in zip(
        contents.graph.output,
        interpret(contents, layout, reading.network, STATED_FORMS, report),
        strict=True,
    ):
        node = NodeView(NodeProto(name=output.name, op_type="output"), [], reading.network, 0, layout)
        if value is None:
            continue
        if not isinstance(value, Computed):
            report(node, node.error("does not depend on the input"))
            continue
        rank = len(value.axes)
        in_layout = value.axes == layout.axes == CHANNELS_LAST
        try:
            step = value.step if in_layout else node.channels_first(value, rank)
        except IncomparableError as error:
            report(node, error)
            continue
        reading.network.outputs.append(step)
        reading.ranks.append(rank - 1)
        reading.orders.append(value.axes if in_layout else tuple(range(rank)))  # pyright: ignore[reportArgumentType]
    return reading


def _networks(contents: Contents, reading: _Reading, initializers: frozenset[str]) -> Iterator[NormalForm]:
    """Yield the network at the file's size, and at others if the file accepts any and it is built alike at them."""
    yield (network := _whole(reading, initializers))
    if reading.problems or reading.layout.fixed:
        return
    _, *stated = (
        [_stated_sizes(contents)[reading.layout.axes.index(axis)] for axis in range(1, len(reading.layout.axes))]
        if (_stated_sizes(contents))
        else [0] * len(reading.layout.shape)
    )
    structure = [(step.kind, step.inputs) for step in network.steps]
    for more in OTHER_SIZES:
        channels, *own = reading.layout.shape
        shape = channels, *(size if fixed else size + more for size, fixed in zip(own, stated, strict=True))
        try:
            other = _reading(contents, replace(reading.layout, shape=shape))
        except IncomparableError:
            continue
        if not other.problems:
            found = _whole(other, initializers)
            if [(step.kind, step.inputs) for step in found.steps] == structure:
                yield found


def _whole(reading: _Reading, initializers: frozenset[str]) -> NormalForm:
    outputs = reading.network.outputs
    if reading.problems:
        # What does not depend on these nodes is looked at too.
        outputs = [index for index, readers in enumerate(reading.network.consumers()) if not readers]
    return stated(reading.network.pruned(outputs), initializers)


def _size_remarks(layout: Layout, shape: Shape | None, readings: int) -> Iterator[str]:
    if layout.fixed:
        return
    size = as_text(layout.shape)
    if shape is None:
        yield f"accepts images of any size; it was read at {size}, unless you give its input's shape"
    if readings <= len(OTHER_SIZES):
        yield f"was read at {size} only: at other sizes it is another network, or none"
