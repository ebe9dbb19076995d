"""What Python and notebooks show of objects, and that they can be compared, hashed and pickled."""

from __future__ import annotations

import base64
import pickle
import re
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from resnet_spec import ParityReport, Prediction, load, notebook, summarize
from resnet_spec.drawing import svg
from resnet_spec.parity.report import outline_of
from tests.resnet_spec.conftest import difference, node, report

SPEC = load("cifar/resnet20")
REPORT = ParityReport("net", "c0ffee", (64, 64), 2, "random", 0, 0.5, 1e-5, (difference(), difference(2e-9)))
LOGITS = {"torch": np.array([[2.0, 1.0]]), "onnx": np.array([[2.0, 1.0]])}
PREDICTION = Prediction("net", "w.pth", ("a <cat>.png",), ("cat", "dog"), LOGITS, 1.0)

SHOWN = {
    "spec": (SPEC, "Spec('cifar/resnet20', input (3, 32, 32), stages layer1, layer2, layer3)"),
    "graph": (SPEC.to_graph(), "Graph('cifar/resnet20', input (3, 32, 32), 73 nodes, fingerprint "),
    "summary": (
        summarize(SPEC.to_graph()),
        "Summary('cifar/resnet20', 269,722 parameters, 1,376 statistics, 40,551,040 MACs)",
    ),
    "report": (REPORT, "ParityReport('net' DIFFERS: 2 differences, 2.0e+00 of the bound)"),
    "prediction": (PREDICTION, "Prediction('net', 1 images, torch, onnx)"),
}


class Page(HTMLParser):
    """The tags that are open, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.images: list[dict[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("kind", SHOWN)
def test_an_object_is_shown_in_a_line(kind: str) -> None:
    shown, start = SHOWN[kind]

    assert repr(shown).startswith(start)
    assert len(repr(shown)) < 120
    assert "\n" not in repr(shown)


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("spec", {"block: cifar_basic_block"}),
        ("graph", {"layer3", "64×8×8", "203,520"}),
        ("summary", {"layer1.0.conv1", "Conv2d", "2,304"}),
        ("report", {"logits", "agrees", "DIFFERS"}),
        ("prediction", {"a <cat>.png", "cat", "73.11%"}),
    ],
)
def test_a_notebook_shows_a_whole_table_of_escaped_text(kind: str, some: set[str]) -> None:
    page = Page(SHOWN[kind][0]._repr_html_())

    assert page.open == []
    assert all(any(text in shown for shown in page.texts) for text in some)


@pytest.mark.parametrize("kind", ["spec", "graph"])
def test_a_notebook_shows_the_drawing_as_an_image(kind: str) -> None:
    # JupyterLab removes inline SVG from what it does not trust, and leaves its texts.
    (image,) = Page(SHOWN[kind][0]._repr_html_()).images

    assert image["alt"] == "drawing of cifar/resnet20"
    assert b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")).decode() == svg(SPEC.to_graph())


def test_a_notebook_shows_the_text_of_a_spec_that_is_invalid() -> None:
    invalid = load("cifar/resnet20", {"outputs": ["layer9"]})

    assert "<img" not in invalid._repr_html_()
    assert any("cifar_basic_block" in text for text in Page(invalid._repr_html_()).texts)


def test_a_description_commands_no_terminal_and_reverses_no_text() -> None:
    spec = load("cifar/resnet20", {"description": "a \x1b[31m\u202e b"})

    for shown in (spec, spec.to_graph()):
        assert "a \\x1b[31m\\u202e b" in "".join(Page(shown._repr_html_()).texts)


def test_columns_of_numbers_are_aligned_on_the_right() -> None:
    text = notebook.table("t", ["name", "count"], [["a1", "1,000"], ["b", "20"]], "a <note>")

    assert text.count("text-align:right") == 3
    assert "a &lt;note&gt;" in text


@pytest.mark.parametrize("kind", ["spec", "graph", "summary"])
def test_equal_objects_have_one_hash_and_come_back_from_a_pickle(kind: str) -> None:
    shown: Any = SHOWN[kind][0]
    again, other = pickle.loads(pickle.dumps(shown)), load("cifar/resnet32")

    assert again == shown
    assert {again, shown} == {shown}
    assert shown != {"spec": other, "graph": other.to_graph(), "summary": summarize(other.to_graph())}[kind]


def test_a_spec_that_was_pickled_knows_its_places() -> None:
    again = pickle.loads(pickle.dumps(SPEC))

    assert again.position(("stages", "layer1")) == SPEC.position(("stages", "layer1"))
    assert again.to_graph() == SPEC.to_graph()


def test_a_notebook_shows_the_drawing_of_a_report_in_the_colors_of_its_nodes() -> None:
    graph = SPEC.to_graph()
    nodes = tuple(node(item.name, 9.0 if item.name == "layer2.0.conv1" else 0.5) for item in graph.nodes)
    shown = report(nodes=nodes, outline=outline_of(graph, nodes))
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', shown._repr_html_())

    assert 'class="box beyond"' in base64.b64decode(picture).decode()
    assert shown.marks["layer2.0.conv1"] == float("inf")
    assert shown.marks["layer2.0.conv2"] == pytest.approx(0.5)
