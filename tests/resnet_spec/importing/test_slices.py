"""Slices that share out an axis equally are its parts, and others stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

from resnet_spec.backend import GraphBuilder
from resnet_spec.graph import Graph, Input
from resnet_spec.importing.slices import in_equal_parts


def sliced(*fields: dict[str, Any]) -> Graph:
    builder = GraphBuilder("slices", Input(channels=12, height=4, width=4))
    x = builder.add("relu", [builder.input], "relu")
    return builder.finish([builder.add("slice", [x], f"part{index}", **each) for index, each in enumerate(fields)])


def test_equal_slices_are_parts() -> None:
    graph = in_equal_parts(sliced({"stop": 4}, {"start": 8}, {"start": 4, "stop": 8}, {"start": 4, "stop": 8}))
    operations: list[Any] = [node.operation for node in graph.nodes[1:]]
    assert [(operation.part, operation.parts) for operation in operations] == [(0, 3), (2, 3), (1, 3), (1, 3)]
    assert in_equal_parts(graph) is graph


@pytest.mark.parametrize(
    "fields",
    [
        [{"stop": 4}, {"start": 4, "stop": 8}],
        [{"stop": 4}, {"start": 4}],
        [{"stop": 8}, {"start": 4}],
        [{"stop": 6}],
        [{"stop": 6}, {"axis": 1, "start": 2}],
    ],
)
def test_other_slices_are_left_as_they_are(fields: list[dict[str, Any]]) -> None:
    graph = sliced(*fields)
    assert in_equal_parts(graph) is graph
