"""Names of other libraries are mapped to the graph's, one to one, and prefixes of wrappers are removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, load
from resnet_spec.weights.naming import RENAMES, by_graph_names, from_transformers, to_transformers, unwrapped

Lower = Callable[..., Graph]

NAMES = {
    "conv1.weight": "resnet.embedder.embedder.convolution.weight",
    "bn1.running_mean": "resnet.embedder.embedder.normalization.running_mean",
    "layer1.0.downsample.0.weight": "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
    "layer12.3.downsample.1.bias": "resnet.encoder.stages.11.layers.3.shortcut.normalization.bias",
    "layer3.22.conv1.weight": "resnet.encoder.stages.2.layers.22.layer.0.convolution.weight",
    "layer4.0.bn3.num_batches_tracked": "resnet.encoder.stages.3.layers.0.layer.2.normalization.num_batches_tracked",
    "fc.bias": "classifier.1.bias",
}

SMALL = {"parameters.classes": 3}


def named(names: Iterable[str]) -> dict[str, Any]:
    """Arrays to tell apart."""
    return {name: np.array(number) for number, name in enumerate(names)}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load("torchvision/resnet18", SMALL).to_graph()


@pytest.fixture(scope="module")
def wanted(graph: Graph) -> dict[str, Any]:
    return named(parameter.name for parameter in graph.parameters())


def theirs(wanted: dict[str, Any], before: str = "") -> dict[str, Any]:
    return {f"{before}{to_transformers(name)}": array for name, array in wanted.items()}


@pytest.mark.parametrize(("ours", "name"), NAMES.items())
def test_a_name_is_translated_both_ways(ours: str, name: str) -> None:
    assert to_transformers(ours) == name
    assert from_transformers(name) == ours


@pytest.mark.parametrize("spec", ["torchvision/resnet18", "torchvision/resnet152", "timm/resnet26"])
def test_renaming_is_one_to_one(spec: str) -> None:
    names = [parameter.name for parameter in load(spec).to_graph().parameters()]
    translated = [to_transformers(name) for name in names]

    assert len({*translated}) == len(names)
    assert [from_transformers(str(name)) for name in translated] == names


def test_each_rule_is_used() -> None:
    used = {to_transformers(name) for name in NAMES}

    assert len(used) == len(RENAMES)
    assert len({*RENAMES.values()}) == len(RENAMES)


@pytest.mark.parametrize(
    "name",
    [
        "weight",
        "",
        "resnet.encoder.stages.00.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.-1.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.٣.layers.0.layer.0.convolution.weight",
        f"resnet.encoder.stages.{'9' * 5000}.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight.data",
        "xresnet.embedder.embedder.convolution.weight",
        "resnet.embedder.embedder.convolution\n.weight",
        "vit.encoder.layer.0.output.dense.weight",
        "conv1.weight",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert from_transformers(name) is None


@pytest.mark.parametrize(
    "name", ["conv1.0.weight", "layer0.0.conv1.weight", "layer1.0.conv0.weight", "layer1.0.se.fc1.bias"]
)
def test_layers_that_transformers_lacks_have_no_name(name: str) -> None:
    assert to_transformers(name) is None


@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.module.", "model."])
def test_a_transformers_model_has_the_graphs_names(graph: Graph, wanted: dict[str, Any], before: str) -> None:
    assert by_graph_names(graph, theirs(wanted, before)) == wanted


def test_a_transformers_model_without_classifier_has_the_graphs_names(wanted: dict[str, Any]) -> None:
    graph = load("torchvision/resnet18", {"head": None}).to_graph()
    trunk = {name: array for name, array in wanted.items() if not name.startswith("fc.")}
    bare = {name.removeprefix("resnet."): array for name, array in theirs(trunk).items()}

    assert by_graph_names(graph, bare) == trunk
    assert by_graph_names(graph, theirs(trunk)) == trunk


def test_a_tensor_that_the_graph_lacks_keeps_its_name(graph: Graph, wanted: dict[str, Any]) -> None:
    more = {"resnet.encoder.stages.3.layers.7.layer.0.convolution.weight": np.array(-1)}

    assert by_graph_names(graph, {**theirs(wanted), **more}) == {**wanted, **more}


def test_of_two_names_for_one_parameter_the_second_stays(graph: Graph, wanted: dict[str, Any]) -> None:
    first, bare = "resnet.embedder.embedder.convolution.weight", "embedder.embedder.convolution.weight"

    assert by_graph_names(graph, {**theirs(wanted), bare: np.array(-1)}) == {**wanted, bare: np.array(-1)}
    assert by_graph_names(graph, {first: np.array(-1), **wanted}) == {first: np.array(-1), **wanted}


def test_a_graph_may_have_transformers_own_names(lower: Lower) -> None:
    graph = lower("""
        name: theirs
        stem:
          resnet.embedder.embedder.convolution: {conv2d: {channels: 4, kernel: 3}}
        head: {pool: global_avg_pool, flat: flatten, classifier.1: {linear: {features: 2}}}
    """)
    wanted = named(parameter.name for parameter in graph.parameters())

    assert by_graph_names(graph, wanted) == wanted


def test_prefixes_of_wrappers_are_removed_where_all_names_have_them() -> None:
    assert list(unwrapped(named(["module._orig_mod.module.a", "module._orig_mod.module.b.c"]))) == ["a", "b.c"]
    assert list(unwrapped(named(["module.a", "b"]))) == ["module.a", "b"]
    assert unwrapped({}) == {}
    assert list(unwrapped(named(["module." * 10**4 + "a"]))) == ["a"]


def test_a_scope_is_removed_where_the_names_fit_only_then(graph: Graph, wanted: dict[str, Any]) -> None:
    scoped = {f"timm_model.{name}": array for name, array in wanted.items()}

    assert by_graph_names(graph, scoped) == wanted
    del scoped["timm_model.conv1.weight"]
    assert by_graph_names(graph, scoped) == scoped
