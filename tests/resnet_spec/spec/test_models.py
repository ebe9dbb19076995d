"""What a person may write, before it is given a meaning."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.models import Block, Layer, Network, Shortcut, Stage, Step


def refusals(model: type[BaseModel], data: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return [str(item.get("ctx", {}).get("error", item["msg"])) for item in caught.value.errors()]


@pytest.mark.parametrize(
    ("written", "kind", "arguments"),
    [
        ("relu", "relu", {}),
        ({"relu": None}, "relu", {}),
        ({"conv2d": {"channels": 8, "kernel": 3}}, "conv2d", {"channels": 8, "kernel": 3}),
        (None, "none", {}),
        ("none", "none", {}),
    ],
)
def test_a_layer_is_a_word_or_a_word_with_arguments(written: Any, kind: str, arguments: dict[str, Any]) -> None:
    layer = Layer.model_validate(written)

    assert (layer.kind, layer.arguments) == (kind, arguments)


@pytest.mark.parametrize("written", [5, True, ["relu"], 1.5])
def test_a_layer_is_nothing_else(written: object) -> None:
    assert refusals(Layer, written) == [
        "must be a layer's name or a mapping such as {conv2d: {channels: 64, kernel: 3}}"
    ]


def test_a_layer_names_one_thing() -> None:
    assert refusals(Layer, {"relu": {}, "sigmoid": {}})[0].startswith("must name one layer, not 2: relu, sigmoid")
    assert refusals(Layer, {}) == ["must name one layer, not 0"]


def test_arguments_are_a_mapping() -> None:
    assert refusals(Layer, {"conv2d": 3}) == ["the arguments of 'conv2d' must be a mapping, such as {conv2d: {...}}"]


def test_a_step_takes_one_input_or_several() -> None:
    assert Step.model_validate({"relu": None, "from": "conv1"}).from_ == ("conv1",)
    assert Step.model_validate({"add": None, "from": ["a", "b"]}).from_ == ("a", "b")
    assert Step.model_validate("relu").from_ == ()


def test_a_step_that_calls_a_layer_again_names_no_other() -> None:
    assert Step.model_validate({"call": "bn"}).call == "bn"
    assert refusals(Step, {"call": "bn", "relu": None}) == ["a step with 'call' names no other layer, such as 'relu'"]


@pytest.mark.parametrize(
    "pattern",
    [
        "{stage}.{index}.{layer}",
        "{stage}_block{number}_{layer}",
        "b{remaining}-{layer}",
        "features.{overall_index}.{layer}",
    ],
)
def test_a_pattern_names_every_layer_of_every_block(pattern: str) -> None:
    assert Stage.model_validate({"block": "b", "names": pattern}).names == pattern


@pytest.mark.parametrize("pattern", ["{stage}", "{stage}.{index}", "layer", ""])
def test_a_pattern_without_the_layer_would_name_two_layers_alike(pattern: str) -> None:
    assert refusals(Stage, {"block": "b", "names": pattern}) == ["a pattern of names must contain {layer}"]


@pytest.mark.parametrize(
    "pattern", ["{stage}.{indx}.{layer}", "{index}/{layer}", "{index} {layer}", "{{index}}{layer}"]
)
def test_a_pattern_of_anything_else_lists_what_it_may_hold(pattern: str) -> None:
    known = "{stage}, {index}, {number}, {remaining}, {overall_index}, {overall_number}, {layer}"
    assert refusals(Stage, {"block": "b", "names": pattern}) == [
        f"a pattern of names may contain {known}, letters, digits and . _ -"
    ]


def test_a_stage_hands_unknown_keys_to_its_block() -> None:
    stage = Stage.model_validate({"block": "b", "repeat": 2, "stride": 2, "width": 8, "groups": [1, 2]})

    assert stage.arguments == {"width": 8, "groups": [1, 2]}


@pytest.mark.parametrize("repeat", [0, -1, 10**9, 1.0, "2", True])
def test_a_stage_repeats_its_block_a_sensible_number_of_times(repeat: object) -> None:
    assert len(refusals(Stage, {"block": "b", "repeat": repeat})) == 1


def test_a_number_may_be_an_expression_and_anything_else_is_rejected_in_one_line() -> None:
    assert Stage.model_validate({"block": "b", "stride": "width // 2"}).stride == "width // 2"
    assert refusals(Stage, {"block": "b", "stride": [2, 1]}) == ["must be a number or an expression, not [2, 1]"]
    assert refusals(Shortcut, {"when": [1]}) == ["must be true, false or an expression, not [1]"]


def test_a_block_names_each_layer_once_across_its_sections() -> None:
    twice = {"main": {"conv": "relu"}, "after": {"conv": "relu"}}
    assert refusals(Block, twice) == ["'conv' names two layers of the block"]
    twice = {"main": {"conv": "relu"}, "shortcut": {"layers": {"a": "relu"}, "otherwise": {"layers": {"a": "relu"}}}}
    assert refusals(Block, twice) == ["'a' names two layers of the block"]


@pytest.mark.parametrize("order", [["main", "after"], ["main", "main", "after"], []])
def test_a_block_declares_each_section_once(order: list[str]) -> None:
    assert refusals(Block, {"main": {}, "declare": order}) == [
        "'declare' must list main, shortcut and after, each once"
    ]


def test_a_block_keeps_clear_of_the_keys_of_a_stage() -> None:
    assert refusals(Block, {"main": {}, "parameters": {"names": 1}}) == [
        "a parameter may not be named 'names', which is a key of every stage"
    ]
    assert Block.model_validate({"main": {}, "parameters": {"stride": 1}}).parameters == {"stride": 1}


@pytest.mark.parametrize("name", [*OPERATIONS, "none"])
def test_an_operation_cannot_be_redefined(name: str) -> None:
    stem = {"stem": {"a": "relu"}}
    assert refusals(Network, stem | {"layers": {name: "relu"}}) == [
        f"{name!r} under layers is the name of an operation"
    ]
    assert refusals(Network, stem | {"blocks": {name: {"main": {}}}}) == [
        f"{name!r} under blocks is the name of an operation"
    ]


def test_a_word_means_one_thing() -> None:
    data = {"stem": {"a": "relu"}, "layers": {"x": "relu"}, "blocks": {"x": {"main": {}}}}
    assert refusals(Network, data) == ["'x' names both a layer and a block"]


def test_stem_stages_and_head_share_one_set_of_names() -> None:
    data = {"stem": {"a": "relu"}, "stages": {"b": {"block": "x"}}, "head": {"a": "relu"}}
    assert refusals(Network, data) == ["'a' names two of the spec's layers or stages"]


def test_a_network_has_layers() -> None:
    assert refusals(Network, {"name": "x"}) == ["the spec describes no layers: stem, stages, final and head are empty"]


@pytest.mark.parametrize("name", ["a b", "", "a..b", ".a", "a.", "é", "a/b", "x" * 101])
def test_a_layers_name_is_one_every_framework_and_file_can_hold(name: str) -> None:
    assert refusals(Network, {"stem": {name: "relu"}})


@pytest.mark.parametrize("model", [Network, Block, Shortcut])
def test_an_unknown_key_is_refused(model: type[BaseModel]) -> None:
    assert "Extra inputs are not permitted" in refusals(model, {"main": {}, "stem": {"a": "relu"}, "nonsense": 1})


def test_a_spec_cannot_be_changed_after_it_was_checked() -> None:
    network = Network.model_validate({"stem": {"a": "relu"}})

    with pytest.raises(ValidationError, match="frozen"):
        network.depth = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["skip", "input"], "the first of 'inputs' must be 'input'"),
        (["input", "a"], "'a' names an input and a layer of the block"),
        (["input", "b", "b"], "'b' names two inputs of the block"),
        (["input", "input"], "'input' names two inputs of the block"),
    ],
)
def test_the_inputs_of_a_block_have_names_of_their_own(inputs: list[str], said: str) -> None:
    assert refusals(Block, {"main": {"a": "relu"}, "inputs": inputs}) == [said]
