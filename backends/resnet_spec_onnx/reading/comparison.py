"""Compares a file with a graph, and finds the file's array for each of the graph's parameters by structure only.

They are compared at the file's own input size, or at several sizes if it accepts any, and in either layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from resnet_spec.operations import Category, Multiply
from resnet_spec.structure.comparison import Comparison, at_input_size, compare
from resnet_spec.structure.forms import OPERATION_FORMS
from resnet_spec.structure.matching import MismatchError
from resnet_spec.structure.steps import IncomparableError, NormalForm, to_float32
from resnet_spec_onnx.reading.node_view import ANY_BATCH, Layout, channels_first, channels_last
from resnet_spec_onnx.reading.normal_form import form_of_file, image_input
from resnet_spec_onnx.reading.protobuf import Contents

if TYPE_CHECKING:
    from resnet_spec.graph import Graph

OTHER_SIZES = (1, 19)
"""Rows and columns to add to the images of a file that accepts any size: every stage sees odd and even sizes."""


def compare_file(contents: Contents, graph: Graph, names: Mapping[str, str]) -> Comparison:
    """Find a file's arrays for a graph; ``names`` maps initializers to the parameters they are named after, if any.

    Raises MismatchError if the networks differ or more than one array fits a parameter, IncomparableError if one of
    them has an operation without a normal form.
    """
    # First, so that an operation without a form is reported by its name in the spec.
    _check_forms(graph)
    file, layout = _interpret(contents, graph)
    comparison = _compare(file, layout, at_input_size(graph, layout.shape), names)
    for more in OTHER_SIZES if not layout.fixed else ():
        larger = replace(layout, shape=(layout.shape[0], *(size + more for size in layout.shape[1:])))
        try:
            other = at_input_size(graph, larger.shape)
        except MismatchError:
            # Not every network accepts every size.
            continue
        _compare(form_of_file(contents, larger), larger, other, names)
    return comparison


def _check_forms(graph: Graph) -> None:
    """Raise IncomparableError for an operation whose nodes in a file are not read."""
    for node in graph.nodes:
        op = node.operation.op
        if op not in OPERATION_FORMS or (op == "linear" and len(node.shape) > 1):
            raise IncomparableError(f"{node.name!r} ({op}) is not compared with files")


def _interpret(contents: Contents, graph: Graph) -> tuple[NormalForm, Layout]:
    """Return the file's network in the first layout that it can have; raises the error of the likelier one."""
    failure: IncomparableError | None = None
    for layout in _layouts(contents, graph):
        try:
            return form_of_file(contents, layout), layout
        except IncomparableError as error:
            failure = failure or error
    raise failure or IncomparableError("its input has no supported layout")


def _layouts(contents: Contents, graph: Graph) -> Iterator[Layout]:
    tensor = image_input(contents).type.tensor_type
    own = graph.input.shape
    sizes: list[int] = [max(dimension.dim_value, 0) for dimension in tensor.shape.dim] or [0] * (len(own) + 1)
    if len(sizes) != len(own) + 1:
        raise MismatchError(f"its input has {len(sizes)} axes, but the spec's has {len(own) + 1}")
    alone = any(node.operation.category is Category.LEARNED for node in graph.nodes)
    learned = frozenset(contents.arrays) if alone else frozenset[str]()
    products = [node.operation for node in graph.nodes if isinstance(node.operation, Multiply)]
    factors = frozenset(to_float32(product.factor) for product in products if product.factor != 1)
    rank = len(own) - 1
    orders = [channels_first(rank), channels_last(rank)] if rank else [(0, 1)]
    if rank and sizes[-1] == own[0] != sizes[1]:
        orders.reverse()
    for axes in orders:
        stated = [sizes[axes.index(axis)] for axis in range(1, len(sizes))]
        shape = tuple(size or wanted for size, wanted in zip(stated, own, strict=True))
        yield Layout(sizes[0] or ANY_BATCH, shape, axes, all(stated[1:]), learned, factors)


def _compare(file: NormalForm, layout: Layout, graph: Graph, names: Mapping[str, str]) -> Comparison:
    """Compare at one input size."""
    found = compare(graph, file, names, "the file")
    last = layout.axes[1:2] != (1,)
    return replace(found, remarks=(*found.remarks, "takes channels-last images")) if last else found
