"""The page for people: whole in itself, nothing unescaped, the verdict first, and nothing told by color alone."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from math import inf, nan
from typing import Any

import pytest

from resnet_spec import load
from resnet_spec.parity.render.html import html_page
from resnet_spec.parity.report import Finding, outline_of

VOID = {"meta", "br", "hr", "line", "rect"}
UNPRINTED = {"style", "title"}


class Page(HTMLParser):
    """A page's elements, and its text in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self._open[-1] if self._open else "", []).append(data.strip())
            if self._open and self._open[-1] not in UNPRINTED:
                self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


@pytest.fixture
def bisected(handmade: Any) -> Any:
    """A report with every kind of trouble: a wrong node, a wrong wiring, no number, and a stem, stages and a head."""
    nodes = (
        handmade.node("conv1", 0.0, 0.2),
        handmade.node("layer1.0.conv1", 0.5, 0.02, stage="layer1", block="layer1.0"),
        handmade.node("layer1.0.bn1", 3e6, 0.1, stage="layer1", block="layer1.0", operation="batch_norm"),
        handmade.node("layer1.1.conv1", 0.1, 0.1, stage="layer1", block="layer1.1"),
        handmade.node("layer2.0.conv1", nan, inf, stage="layer2", block="layer2.0"),
        handmade.node("fc", 1.0, 0.3, operation="linear"),
    )
    wrong = nodes[2].differences[0]
    rewired = handmade.difference(0.4, quantity="assembly", subject="layer1.1.conv1")
    findings = (
        Finding("tensorflow", "layer1.0.bn1", "node", wrong, ("epsilon 0.001 instead of 1e-05",), 19),
        Finding("tensorflow", "layer1.1.conv1", "assembly", rewired, (), 12),
    )
    return handmade.report(differences=(handmade.difference(0.2),), nodes=nodes, findings=findings)


def test_a_page_needs_nothing_from_elsewhere(bisected: Any) -> None:
    page = Page(html_page([bisected, bisected], {"other": "killed"}))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base"}
    assert not re.search(r"https?:|url\(|@import|src=", page.source)
    assert all(target.startswith("#") for target in page.attributes("href"))


def test_every_link_leads_to_one_place(bisected: Any) -> None:
    page = Page(html_page([bisected, bisected]))
    places = Counter(page.attributes("id"))
    assert set(places.values()) == {1}
    targets = {target.removeprefix("#") for target in page.attributes("href")}
    assert targets <= places.keys()
    assert len(targets) == 2 + 2 * 2


@pytest.mark.parametrize("count", [1, 3])
def test_headings_are_in_order_and_the_page_says_what_it_is(bisected: Any, count: int) -> None:
    page = Page(html_page([bisected] * count))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.elements[0] == ("html", {"lang": "en"})
    assert page.texts["title"] == ["DIFFERS: family/net · parity" if count == 1 else "0 of 3 specs agree · parity"]
    headings = [attributes for tag, attributes in page.elements if tag == "th"]
    assert all("scope" in attributes for attributes in headings)


def test_the_verdict_comes_first_then_where_to_look(bisected: Any, handmade: Any) -> None:
    text = Page(html_page([bisected])).text
    assert text.startswith("✗ DIFFERS family/net torch and tensorflow ran with the same random weights")
    assert text.index("Where to look first") < text.index("Differences") < text.index("Network")
    assert "confirmed cause: epsilon 0.001 instead of 1e-05" in text
    right = Page(html_page([handmade.report()])).text
    assert right.startswith("✓ agrees family/net")
    assert "Where to look first" not in right
    assert "DIFFERS" not in right


def test_where_nodes_were_not_compared_it_says_how_to(handmade: Any) -> None:
    text = Page(html_page([handmade.report(differences=(handmade.difference(0.2),))])).text
    assert "logits (tensorflow against torch, float64): 2.0e-01, where 1.0e-09 is allowed (2e+08 ×)" in text
    assert "--bisect" in text
    assert "Network" not in text


def test_nodes_stand_in_their_stages(bisected: Any, handmade: Any) -> None:
    page = Page(html_page([bisected]))
    assert [name for name in page.texts["h3"] if name != "Network"] == ["stem", "layer1", "layer2", "head"]
    assert Page(html_page([handmade.report(nodes=(handmade.node("fc", 0.1),))])).texts["h3"] == ["network"]


def test_what_is_wrong_is_marked_without_color(bisected: Any) -> None:
    page = Page(html_page([bisected]))
    (network,) = re.findall(r"<h3>stem.*</details>", page.source, re.DOTALL)
    cells = re.findall(r'<span class="cell level-(\d)" title="([\w.]+):[^"]*">(.?)</span>', network)
    assert cells == [
        ("4", "conv1", ""),
        ("5", "layer1.0.conv1", ""),
        ("8", "layer1.0.bn1", "✗"),
        ("3", "layer1.1.conv1", "!"),
        ("8", "layer2.0.conv1", "✗"),
        ("5", "fc", ""),
    ]
    assert network.count('<details class="block" open>') == 1
    assert network.index("open>") < network.index("layer1.0.bn1") < network.index(">layer1.1<")


def test_each_node_s_figures_are_there_without_a_pointer(bisected: Any) -> None:
    text = Page(html_page([bisected])).text
    for node in bisected.nodes:
        assert f"{node.name} {node.operation}, 8×4×4; accumulated error 2.0e-14" in text
    assert "✗ layer1.0.bn1 batch_norm" in text
    assert "tensorflow against torch, float64 ✗ DIFFERS 3e+06 × 3.0e-08 1.0e-14" in text


@pytest.mark.parametrize(
    ("part", "level"),
    [(0.0, 0), (1e-5, 1), (0.01, 1), (0.02, 2), (0.1, 3), (0.2, 4), (1.0, 5), (1.01, 6), (999.0, 7), (1e9, 8), (inf, 8),
     (nan, 8)],
)  # fmt: skip
def test_a_cell_s_color_is_its_worst_share(handmade: Any, part: float, level: int) -> None:
    page = html_page([handmade.report(nodes=(handmade.node("conv1", 0.0, part),))])
    assert re.findall(r'class="cell level-(\d)" title="conv1', page) == [str(level)]


def test_the_network_is_drawn_with_each_part_in_the_color_of_its_worst_node(handmade: Any) -> None:
    graph = load("cifar/resnet20").to_graph()
    shares = {"layer2.1.conv2": (5.0,), "layer2.1.bn1": (0.2,), "layer1.0.conv1": (0.02,)}
    nodes = tuple(handmade.node(node.name, *shares.get(node.name, (0.0,))) for node in graph.nodes)
    page = html_page([handmade.report(nodes=nodes, outline=outline_of(graph, nodes))])
    parts = dict(re.findall(r'<g data-part="([^"]*)".*?class="box ([^"]*)"', page, re.DOTALL))

    # The block with the wrong node is drawn by its layers, and the others as blocks.
    assert parts["layer2.1.conv2"] == "beyond"
    assert parts["layer2.1.conv1"] == "s-4"
    assert parts["layer1.0"] == "s-2"
    assert parts["layer3.1"] == "s-0"


def test_without_nodes_there_is_no_drawing(handmade: Any) -> None:
    assert "net-drawing" not in html_page([handmade.report()])
    assert outline_of(load("cifar/resnet20").to_graph(), ()) is None


def test_nan_and_infinity_are_reported_in_words(bisected: Any, handmade: Any) -> None:
    differences = (handmade.difference(nan), handmade.difference(inf, dtype="float32", reference="tensorflow float64"))
    page = Page(html_page([bisected, handmade.report(differences=differences, rounding_tolerance=inf)]))
    assert "not a number" in page.text
    assert "infinite" in page.text
    assert "infinite" in page.text
    assert not {"nan", "inf", "nan%", "inf%"} & set(page.words)


def test_a_histogram_counts_every_node_each_precision_apart(bisected: Any) -> None:
    page = Page(html_page([bisected]))
    figures = re.findall(r"<figure>.*?</figure>", page.source, re.DOTALL)
    assert [re.findall(r"<strong>(\w+)</strong>: ([^<]*)", figure) for figure in figures] == [
        [("float64", "6 nodes, 2 beyond their bounds, 1 without any difference")],
        [("float32", "6 nodes, 1 beyond their bounds, 0 without any difference")],
    ]
    for figure, beyond in zip(figures, (2, 1), strict=True):
        limit = float(re.findall(r'class="limit" x1="([\d.]+)"', figure)[0])
        bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)".*?>\n<text[^>]*>(\d+)<', figure)
        assert sum(int(count) for _, _, count in bars) == 6
        assert sum(int(count) for kind, _, count in bars if kind == "beyond") == beyond
        assert all((float(x) > limit) == (kind == "beyond") for kind, x, _ in bars)


@pytest.mark.parametrize(("part", "kind"), [(0.0, "within"), (0.99, "within"), (1.0, "within"), (1.01, "beyond")])
def test_a_bar_s_color_says_whether_it_is_beyond_the_bound(handmade: Any, part: float, kind: str) -> None:
    page = html_page([handmade.report(nodes=(handmade.node("conv1", part),))])
    assert re.findall(r'<rect class="(\w+)"', page) == [kind]


def test_a_histogram_holds_whatever_is_drawn_in_it(handmade: Any) -> None:
    nodes = [handmade.node(f"n{index}", 10.0**power) for index, power in enumerate(range(-300, 300, 7))]
    page = html_page([handmade.report(nodes=tuple(nodes))])
    places = [float(x) for x in re.findall(r'<(?:rect|text)[^>]* x="([\d.]+)"', page)]
    assert min(places) >= 0
    assert max(places) <= 360


def test_what_users_wrote_is_escaped(handmade: Any) -> None:
    evil = '<script>alert("1")</script>&amp;'
    made = handmade.report(
        spec=evil,
        weights=evil,
        differences=(handmade.difference(1.0, backend=evil, subject=evil),),
        nodes=(handmade.node(evil, 2.0, stage=evil, block=evil, operation=evil),),
        findings=(Finding(evil, evil, "node", handmade.difference(1.0), (evil,), 1),),
        environment={evil: {evil: evil}},
    )
    page = Page(html_page([made, made], {evil: evil}))
    assert not {tag for tag, _ in page.elements} & {"script"}
    assert page.text.count('alert("1")</script>&amp;') > 10
    assert Page(html_page([made])).texts["title"] == [f"DIFFERS: {evil} · parity"]


def test_a_backend_s_last_words_may_hold_anything() -> None:
    page = html_page([], {"net": "killed \x1b[31mred\x00 \ud800"})
    assert "killed \ufffd[31mred\ufffd \ufffd" in page
    page.encode()


def test_several_reports_begin_with_all_verdicts(bisected: Any, handmade: Any) -> None:
    page = Page(html_page([handmade.report(), bisected], {"late": "the torch backend's process was killed by SIGKILL"}))
    assert page.text.startswith(
        "1 of 3 specs agree spec verdict late the torch backend's process was killed by SIGKILL not compared "
        "family/net 2×64×48 ✓ agrees family/net 2×64×48; tensorflow computes layer1.0.bn1 differently; "
        "confirmed cause: "
    )


def test_a_vector_and_a_single_image_are_reported_as_such(handmade: Any) -> None:
    made = handmade.report(size=(6,), batch=1, environment={})
    text = Page(html_page([made])).text
    assert "torch and tensorflow ran with the same random weights on the same 1 input of 6." in text


def test_text_is_legible_in_light_and_in_dark() -> None:
    css = files("resnet_spec.parity.render").joinpath("templates", "page.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("prefers-color-scheme: dark"))
    assert light.keys() == dark.keys()
    pairs = [(word, page) for word in ("ink", "quiet", "bad") for page in ("page", "raised", "neutral-page")]
    pairs += [("good", "good-page"), ("good", "raised"), ("good", "neutral-page"), ("bad", "bad-page")]
    pairs += [("link", "page"), *(("mark", f"level-{level}") for level in range(4))]
    pairs += [(f"mark-{level}", f"level-{level}") for level in range(4, 9)]
    for colors in (light, dark):
        assert [pair for pair in pairs if contrast(*(colors[name] for name in pair)) < 4.5] == []
        assert contrast(colors["edge"], colors["raised"]) >= 3


def contrast(first: str, second: str) -> float:
    """The ratio by which WCAG measures legibility."""
    low, high = sorted(luminance(color) for color in (first, second))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
