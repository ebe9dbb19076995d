"""What the preview shows of a file."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

import resnet_spec
from resnet_spec.preview.content import read
from resnet_spec.preview.page import fragment, page
from resnet_spec.spec.dependencies import files
from tests.resnet_spec.conftest import SMALL

MINE = """\
extends: torchvision/resnet18
stages:
  layer2: {repeat: 3}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, "utf-8")
    return path


def test_a_network_is_compared_with_what_it_extends(spec: Path) -> None:
    network = read(spec).network
    assert network is not None
    assert network.base == "torchvision/resnet18"
    assert next(line.text for line in network.comparison.lines()) == "3 blocks instead of 2"
    assert network.marks == {node.name: "added" for node in network.graph.nodes if node.name.startswith("layer2.2")}
    assert network.summary.parameters == resnet_spec.summarize(network.graph).parameters


def test_a_layer_that_is_there_and_differs_is_changed(spec: Path) -> None:
    spec.write_text("extends: torchvision/resnet18\nhead: {fc: {linear: {features: 10}}}\n", "utf-8")
    network = read(spec).network
    assert network is not None
    assert network.marks == {"fc": "changed"}


def test_a_network_without_a_base_is_compared_with_its_first_version(spec: Path) -> None:
    text = dedent(SMALL)
    spec.write_text(text, "utf-8")
    first = read(spec)
    assert first.network is not None
    assert not first.network.marks
    spec.write_text(text.replace("repeat: 2", "repeat: 3"), "utf-8")
    again = read(spec, first)
    third = read(spec, again)
    for content in (again, third):
        assert content.network is not None
        assert not content.network.comparison.same


def test_a_mistake_is_shown_in_its_line_and_the_last_valid_network_stays(spec: Path) -> None:
    valid = read(spec)
    spec.write_text(MINE.replace("repeat: 3", "repeat: 0, widht: 3"), "utf-8")
    content = read(spec, valid)
    assert content.outdated
    assert content.network is valid.network
    marked = [[line for line in mistake.lines if line.wrong] for mistake in content.mistakes]
    assert [[(line.number, line.wrong) for line in lines] for lines in marked] == [[(3, "0")], [(3, "widht: 3")]]
    spec.write_text(MINE, "utf-8")
    assert not read(spec, content).mistakes


def test_a_mistake_in_another_file_is_shown_there(spec: Path) -> None:
    base = spec.with_name("base.yaml")
    base.write_text(MINE.replace("3", "-3"), "utf-8")
    spec.write_text("extends: base.yaml\n", "utf-8")
    (mistake,) = read(spec).mistakes
    assert mistake.problem.position is not None
    assert Path(mistake.problem.position.file).name == "base.yaml"
    assert [line.wrong for line in mistake.lines if line.wrong] == ["-3"]
    assert base in files(spec)


@pytest.mark.parametrize("text", ["", "a: [", "\0", "extends: mine.yaml", "stages: 3", "🙂: {", "extends: gone.yaml"])
def test_any_text_is_shown_as_a_mistake(spec: Path, text: str) -> None:
    spec.write_text(text, "utf-8")
    content = read(spec)
    assert content.mistakes
    assert "mistake" in fragment(content)


def test_a_file_that_is_not_there_or_a_folder_is_a_mistake(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.yaml", tmp_path):
        assert read(path).mistakes
        assert files(path)


def test_texts_of_a_file_are_escaped(spec: Path) -> None:
    spec.write_text(f"description: <script>alert(1)</script>\n{MINE}", "utf-8")
    valid = fragment(read(spec))
    spec.write_text(f"<script>alert(1)</script>: 1\n{MINE}", "utf-8")
    for text in (valid, fragment(read(spec)), page([read(spec)])):
        assert "<script>alert" not in text
        assert "alert(1)" in text


def test_files_of_one_name_are_told_apart_by_their_folders(spec: Path) -> None:
    other = spec.parent / "other" / "mine.yaml"
    other.parent.mkdir()
    other.write_text(MINE, "utf-8")
    text = page([read(spec), read(other)])
    assert 'aria-label="other/mine.yaml"' in text
    assert f'aria-label="{spec.parent.name}/mine.yaml"' in text


def test_a_text_cannot_reverse_what_the_page_says(spec: Path) -> None:
    spec.write_text(f'description: "a\\u202Eb"\n{MINE}', "utf-8")
    assert "a\N{REPLACEMENT CHARACTER}b" in fragment(read(spec))
