"""DOT and Mermaid: brackets that close, edges between what is declared, and text that is quoted."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from resnet_spec import Graph
from resnet_spec.drawing import Outline, dot, mermaid
from tests.shipped import shipped

EXPANDED = [("torchvision/resnet18", ["layer2"]), ("smp/unet_resnet34", ["all"]), ("torchvision/resnet18_fpn", [])]


def strange(name: str) -> Graph:
    return shipped("cifar/resnet20").model_copy(update={"name": name})


@pytest.mark.parametrize(("name", "expand"), EXPANDED)
def test_dot_has_every_part_once_and_every_edge(name: str, expand: list[str]) -> None:
    text, outline = dot(shipped(name), expand=expand), Outline.of(shipped(name), expand)
    declared = Counter(re.findall(r"^ *(\w+) \[label=", text, re.MULTILINE))
    edges = re.findall(r"^ *(\w+) -> (\w+)", text, re.MULTILINE)

    assert len(declared) == len(outline.parts) + len(outline.outputs) + 1
    assert set(declared.values()) == {1}
    assert {end for edge in edges for end in edge} <= set(declared)
    assert len(edges) == sum(len(part.inputs) for part in outline.parts) + len(outline.outputs)
    assert text.count("{") == text.count("}") == len(outline.frames) + 1


@pytest.mark.parametrize(("name", "expand"), EXPANDED)
def test_mermaid_has_every_part_once_and_every_edge(name: str, expand: list[str]) -> None:
    lines, outline = mermaid(shipped(name), expand=expand).splitlines(), Outline.of(shipped(name), expand)
    declared = [found[1] for line in lines if (found := re.match(r" *(part\d+)(?:\[|\(\()\"[^\"]*\"", line))]
    edges = [found.groups() for line in lines if (found := re.match(r' *(\w+) -->(?:\|"[^"]*"\|)? (\w+)', line))]
    ends = sum(line.strip() == "end" for line in lines)

    assert declared == [f"part{place}" for place in range(len(outline.parts))]
    assert {source for source, _ in edges} <= {"input", *declared}
    assert len(edges) == sum(len(part.inputs) for part in outline.parts) + len(outline.outputs)
    assert sum("subgraph" in line for line in lines) == ends == len(outline.frames)


def test_quotes_and_brackets_of_a_name_are_text() -> None:
    text = dot(strange('a "b" \\ {c}'))

    assert text.startswith('digraph "a \\"b\\" \\\\ {c}" {\n')


def test_what_mermaid_would_read_as_code_is_text() -> None:
    graph = shipped("cifar/resnet20")
    scopes = [scope.model_copy(update={"block": '<b>"#'}) for scope in graph.scopes]
    text = mermaid(graph.model_copy(update={"scopes": tuple(scopes)}))

    assert "#lt;b#gt;#quot;#35;" in text
    assert "<b>" not in text
