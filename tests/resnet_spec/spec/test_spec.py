"""A spec knows its text, its data and the place of its words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import Graph, Spec, load
from resnet_spec.errors import Position
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.diagnostics import Diagnostics
from resnet_spec.spec.resolution import Resolver
from tests.shipped import networks

Write = Callable[..., Path]


@pytest.mark.parametrize("name", networks())
def test_a_spec_as_yaml_is_the_same_network(name: str, write: Write, shipped: Callable[[str], Graph]) -> None:
    text = load(name).to_yaml()
    again = load(write(text))

    assert again.to_graph() == shipped(name)
    assert again.to_yaml() == text


def test_a_spec_may_be_made_of_plain_data(write: Write) -> None:
    loaded = load("resnet18")
    made = Spec.model_validate(loaded.data())

    assert made.to_graph() == loaded.to_graph()
    assert load(write(made.to_yaml())).to_graph() == loaded.to_graph()


def test_places_are_those_of_the_files_each_word_comes_from(write: Write) -> None:
    spec = load(write("extends: resnet18\nstages:\n  layer1: {repeat: 3}\n"))

    assert spec.position(("stages", "layer1", "repeat")) == Position("spec.yaml", 3, 20)
    assert spec.position(("stages", "layer1", "repeat"), key=True) == Position("spec.yaml", 3, 12)
    for path, file, text in (
        (("stages", "layer2", "channels"), "torchvision/resnet18", "128"),
        (("stem", "conv1", "conv2d", "kernel"), "torchvision/resnet50", "7"),
        (("blocks", "basic_block", "shortcut", "when"), "blocks/basic_block", "stride != 1"),
    ):
        place = spec.position(path)
        assert place is not None
        assert Path(place.file) == Catalog.shipped().root / f"{file}.yaml"
        assert (
            Path(place.file)
            .read_text(encoding="utf-8")
            .splitlines()[place.line - 1][place.column - 1 :]
            .startswith(text)
        )


def test_a_spec_made_of_plain_data_has_no_places() -> None:
    assert Spec.model_validate({"stem": {"a": "relu"}}).position(("stem",)) is None


def test_the_blocks_that_could_be_named_are_the_specs_own_and_the_shipped(write: Write) -> None:
    spec = load(write("blocks: {mine: {main: {a: relu}}}\nstages: {s: {block: mine}}\n"))

    assert Resolver(spec, Diagnostics(spec.position)).block_names() == {"mine", *Catalog.shipped().blocks()}


@pytest.mark.parametrize("name", list(Catalog.shipped().blocks()))
def test_a_shipped_block_is_named_as_its_file(name: str) -> None:
    catalog = Catalog.shipped()

    assert catalog.document(catalog.blocks()[name]).data["block"] == name
