"""Every shipped network is drawn, in each way, with nothing on top of anything else; and networks made to be hard."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from resnet_spec import Graph
from resnet_spec.drawing import dot, html, mermaid, svg
from resnet_spec.graph import Input, Node
from resnet_spec.operations import Add, Concat, ReLU
from tests.shipped import networks, shipped

NAMESPACE = "{http://www.w3.org/2000/svg}"


def boxes(picture: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each part, in the order of their tops."""
    found: list[tuple[float, float, float, float]] = []
    for group in ElementTree.fromstring(picture).iter(f"{NAMESPACE}g"):
        rectangles = [item for item in group.findall(f"{NAMESPACE}rect") if item.get("class", "").startswith("box")]
        if "data-part" in group.attrib and rectangles:
            x, y, width, height = (float(rectangles[-1].get(name, "")) for name in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return sorted(found, key=lambda box: (box[1], box[0]))


def check(picture: str) -> None:
    found = boxes(picture)
    assert found
    for one, other in pairwise(found):
        assert one[3] <= other[1] or one[2] <= other[0] or other[2] <= one[0]


@pytest.mark.parametrize("name", networks())
def test_a_shipped_network_is_drawn(name: str) -> None:
    graph = shipped(name)

    check(svg(graph))
    check(svg(graph, expand=["all"], color="macs"))
    check(svg(graph, nodes=True))
    html(graph, marks={graph.nodes[0].name: 0.5})
    assert dot(graph).count("->") == mermaid(graph).count("-->")


def hard(kind: str, count: int) -> Graph:
    """A network of so many nodes, with long skips or many branches."""
    names = [f"n{place}" for place in range(count)]
    inputs: list[tuple[str, ...]] = [("input",), ("n0",), ("n1",)]
    for place in range(3, count):
        skip = {"first": "n0", "scattered": f"n{place * 7919 % (place - 1)}"}.get(kind)
        inputs.append(("input",) if kind == "wide" else (names[place - 1], *([skip] if skip else [])))
    nodes = [
        Node(name=name, operation=Add(op="add") if len(read) > 1 else ReLU(op="relu"), inputs=read, shape=(8,))
        for name, read in zip(names, inputs, strict=True)
    ]
    end = Node(name="end", operation=Concat(op="concat"), inputs=tuple(names), shape=(8 * count,))
    return Graph(name=kind, input=Input(features=8), nodes=(*nodes, end), outputs=("end",))


@pytest.mark.parametrize("kind", ["first", "scattered", "dense", "wide"])
@pytest.mark.parametrize("count", [40, pytest.param(3000, marks=pytest.mark.slow)])
def test_long_skips_and_many_branches_are_drawn(kind: str, count: int) -> None:
    check(svg(hard(kind, count), nodes=True))
