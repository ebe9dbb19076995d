"""Drawings as SVG: valid, self-contained, and with all that they should say as text."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import resnet_spec
from resnet_spec.describing.differences import compare
from resnet_spec.describing.marks import marks_of
from resnet_spec.drawing import svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")]


def test_a_drawing_says_what_a_figure_in_a_paper_says() -> None:
    found = texts(svg(resnet_spec.load("torchvision/resnet50").to_graph()))

    assert {"input 3×224×224", "7×7 conv, 64, /2", "layer1", "bottleneck", "5 ×", "512×28×28", "output"} <= set(found)


def test_a_drawing_needs_no_other_file() -> None:
    picture = svg(resnet_spec.load("torchvision/resnet18").to_graph())

    assert not re.search(r"<script|href|url\(|@import|@font-face|<image", picture)
    assert re.findall(r"https?://[^\"]*", picture) == ["http://www.w3.org/2000/svg"]


def test_wider_values_have_wider_boxes() -> None:
    root = ElementTree.fromstring(svg(resnet_spec.load("torchvision/resnet18").to_graph()))
    widths = {
        group.get("data-part"): max(float(rect.get("width", 0)) for rect in group.iter(f"{NAMESPACE}rect"))
        for group in root.iter(f"{NAMESPACE}g")
        if group.get("data-part", "").startswith("layer")
    }

    assert widths["layer1.0"] < widths["layer2.0"] < widths["layer3.0"] < widths["layer4.0"]


def test_shortcuts_are_dashed_where_layers_change_the_shape() -> None:
    picture = svg(resnet_spec.load("torchvision/resnet18").to_graph())

    assert picture.count('class="line dashed"') == 3


def test_costs_are_written_and_their_shares_add_up() -> None:
    found = texts(svg(resnet_spec.load("torchvision/resnet18").to_graph(), color="params"))
    shares = [float(text.partition("(")[2].strip("<%)")) for text in found if text.endswith("%)")]

    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_marks_that_are_words_are_outlines_with_signs() -> None:
    graph = resnet_spec.load("torchvision/resnet18").to_graph()
    picture = svg(graph, marks={"layer2.0.conv1": "changed", "fc": "added"})

    assert len(re.findall('class="marked m-changed"', picture)) == 2
    assert {"~", "+"} <= set(texts(picture))


def test_marks_that_are_shares_are_colors_and_what_is_beyond_has_a_sign() -> None:
    graph = resnet_spec.load("torchvision/resnet18").to_graph()
    picture = svg(graph, marks={"layer2.0.conv1": 7.0, "layer2.0.conv2": 0.001, "fc": float("nan"), "conv1": 0.02})

    assert len(re.findall(r'<rect class="box beyond"', picture)) == 3
    assert texts(picture).count("✗") == 2


def test_two_networks_are_side_by_side() -> None:
    one, other = (resnet_spec.load(name).to_graph() for name in ("torchvision/resnet18", "torchvision/resnet50"))

    assert {"torchvision/resnet18", "torchvision/resnet50"} <= set(texts(svg(one, against=other)))


def heights(picture: str) -> list[dict[str, float]]:
    """Of each network in a drawing, where each part begins."""
    found: list[dict[str, float]] = []
    for network in list(ElementTree.fromstring(picture).iter(f"{NAMESPACE}g")):
        parts = [part for part in network.iter(f"{NAMESPACE}g") if "data-part" in part.attrib]
        if parts and network.get("transform", "").endswith(" 26)"):
            boxes = [[box for box in part if box.get("class", "").startswith("box")][-1] for part in parts]
            tops = (float(box.get("y") or float(box.get("cy", 0)) - 11) for box in boxes)
            found.append(dict(zip((part.get("data-part", "") for part in parts), tops, strict=True)))
    return found


def drawn_beside(name: str, other: str) -> tuple[dict[str, float], dict[str, float]]:
    """Where the parts of two networks begin that are compared and drawn side by side."""
    one, two = (resnet_spec.load(each).to_graph() for each in (name, other))
    removed, added = marks_of(compare(two, one).alignment)
    first, second = heights(svg(one, against=two, marks=added, marks_against=removed))
    return first, second


@pytest.mark.parametrize("swapped", [False, True])
def test_what_two_networks_have_in_common_is_level_and_the_rest_leaves_a_gap(swapped: bool) -> None:
    sides = drawn_beside(*sorted(("torchvision/resnet101", "torchvision/resnet152"), reverse=not swapped))
    more, less = sides[::-1] if swapped else sides

    assert less == {name: y for name, y in more.items() if name in less}
    assert sorted(more.keys() - less) == ["layer2.4", "layer3.23"]


def test_blocks_of_other_kinds_and_sizes_are_level() -> None:
    first, second = drawn_beside("timm/resnest50d", "timm/resnet50")

    assert first.keys() - second == {"bn1"}
    assert second == {name: y for name, y in first.items() if name in second}


def test_stages_of_other_names_are_level() -> None:
    first, second = drawn_beside("torchvision/resnet50", "keras/resnet50")

    assert set(first.values()) <= set(second.values())


def test_a_block_that_shares_only_some_layers_is_level() -> None:
    first, second = drawn_beside("timm/nf_resnet50", "timm/resnet50")

    assert first["stages.0.0"] == second["layer1.0"]
    assert first["stages.3.1"] == second["layer4.1"]


def test_operations_side_by_side_are_level() -> None:
    one, other = (resnet_spec.load(f"torchvision/resnet{depth}").to_graph() for depth in (18, 34))
    first, second = heights(svg(one, against=other, expand=["all"]))

    assert first["layer4.0.conv1"] == second["layer4.0.conv1"]
    assert first["fc"] == second["fc"]


def test_names_are_escaped() -> None:
    graph = resnet_spec.load("cifar/resnet20").to_graph().model_copy(update={"name": "<b>&"})

    assert "<b>&" in texts(svg(graph))


def test_names_of_any_length_and_letters_are_drawn() -> None:
    graph = resnet_spec.load("cifar/resnet20").to_graph()
    picture = svg(graph.model_copy(update={"name": "a\x1b[0m" + "very/" * 90 + "long.onnx"}))
    root = ElementTree.fromstring(picture)

    assert float(root.get("width", 0)) < 500
    assert any(
        text.startswith("a\N{REPLACEMENT CHARACTER}[0m") and text.endswith("long.onnx") for text in texts(picture)
    )


def test_the_picture_in_the_documents_is_what_the_command_draws() -> None:
    picture = svg(resnet_spec.load("resnet18").to_graph(), expand=["layer2"])

    # If not: resnet-spec draw resnet18 --expand layer2 -o docs/resnet18.svg
    assert (Path(__file__).parents[3] / "docs/resnet18.svg").read_text("utf-8") == picture
