"""Nothing that the package hands out is shared with what it hands out next: changing one leaves the other alone."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from resnet_spec import Spec, available, initialize, load
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.loader import headings
from resnet_spec.spec.models import Layer


def spoil(data: Any) -> None:
    """Empty every mapping and list in plain data."""
    if isinstance(data, dict):
        mapping = cast("dict[Any, Any]", data)
        for value in mapping.values():
            spoil(value)
        mapping.clear()
    elif isinstance(data, list):
        items = cast("list[Any]", data)
        for value in items:
            spoil(value)
        items.clear()


def state(name: str) -> tuple[Any, str, str]:
    spec = load(name)
    return copy.deepcopy(spec.data()), spec.to_yaml(), spec.to_graph().to_json()


# A spec of its own file, one that extends another, and one with lists, slots and blocks that extend blocks.
NAMES = ["torchvision/resnet18", "torchvision/wide_resnet50_2", "timm/resnetv2_50d_evos"]


@pytest.mark.parametrize("name", NAMES)
def test_data_is_a_copy(name: str) -> None:
    before, spec = state(name), load(name)
    spoil(spec.data())
    assert spec.data() == before[0]
    assert state(name) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_document_of_the_catalog_is_a_copy(name: str) -> None:
    before, catalog = state(name), Catalog.shipped()
    for path in (catalog.find(name), *catalog.blocks().values()):
        document = catalog.document(path)
        spoil(document.data)
        document.keys.clear()
        document.values.clear()
        assert catalog.document(path).data
        assert catalog.document(path).position(()).line
    assert state(name) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_mappings_inside_a_spec_belong_to_that_spec(name: str) -> None:
    before, spec = state(name), load(name)

    def layer(reference: Layer) -> None:
        spoil(reference.arguments)

    for reference in spec.layers.values():
        layer(reference)
    for block in spec.blocks.values():
        spoil(block.parameters)
        for step in (*block.main.values(), *block.after.values()):
            layer(step.layer)
        block.main.clear()
    for stage in spec.stages.values():
        for mapping in (stage.first, stage.last, stage.arguments):
            spoil(mapping)
    for step in (*spec.stem.values(), *spec.final.values(), *spec.head.values()):
        layer(step.layer)
    spec.initialization.root.clear()
    spec.stages.clear()
    assert state(name) == before


def test_a_graph_does_not_share_the_spec_s_rules() -> None:
    spec = load("torchvision/resnet18", ["initialization={conv_kernel: {constant: 1}}"])
    graph = spec.to_graph()
    graph.initialization.root.clear()
    assert initialize(spec.to_graph())["conv1.weight"].max() == 1


def test_a_spec_made_from_plain_data_does_not_share_it() -> None:
    data = load("torchvision/resnet18").data()
    spec = Spec.model_validate(data)
    before = spec.to_graph().fingerprint
    spoil(data)
    assert spec.to_graph().fingerprint == before


def test_overrides_are_copied() -> None:
    overrides = {"stages.layer1.first": {"channels": 64}, "outputs": ["layer1", "layer2"]}
    spec = load("torchvision/resnet18", overrides)
    before = spec.to_graph().fingerprint
    overrides["outputs"].append("nothing")  # type: ignore[union-attr]
    spoil(overrides)
    assert spec.to_graph().fingerprint == before


def test_defaults_are_not_shared_between_specs() -> None:
    text = {"stem": {"a": "relu"}, "stages": {"s": {"block": "b"}}, "blocks": {"b": {"main": {"x": "relu"}}}}
    one = Spec.model_validate(text)
    one.stages["s"].first["conv"] = "conv2d"
    one.stem["a"].layer.arguments["x"] = 1
    one.blocks["b"].parameters["p"] = 1
    one.layers["norm"] = one.stem["a"].layer
    one.initialization.root["conv_kernel"] = None  # type: ignore[assignment]
    other = Spec.model_validate(text)
    assert (other.stages["s"].first, other.stem["a"].layer.arguments, other.blocks["b"].parameters) == ({}, {}, {})
    assert (other.layers, other.initialization.root) == ({}, {})


def test_lists_of_names_are_copies() -> None:
    available().clear()
    assert available()
    Catalog.shipped().blocks().clear()
    assert Catalog.shipped().blocks()
    spoil(headings())
    assert headings()["torchvision/resnet18"]["description"]
