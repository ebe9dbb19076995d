"""pydantic's errors as ours: each type that a model can raise has a row, and none of pydantic's English is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast, get_args

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core.core_schema import ErrorType

from resnet_spec.errors.validation import (
    _MESSAGES,  # pyright: ignore[reportPrivateUsage]
    _PATTERNS,  # pyright: ignore[reportPrivateUsage]
    InvalidValue,
    invalid_values,
    keys_at,
    known_path,
)
from resnet_spec.graph import Graph
from resnet_spec.operations import OPERATIONS
from resnet_spec.spec.models import Layer, Network
from resnet_spec.spec.published import Preprocessing
from resnet_spec.spec.spec import Spec

MODELS: list[type[BaseModel]] = [Spec, Graph, Preprocessing, Layer, *OPERATIONS.values()]

# What a validator of each of pydantic's core schemas may raise; constraints add those below.
RAISES: dict[str, set[str]] = {
    "any": set(),
    "bool": {"bool_type", "bool_parsing"},
    "default": set(),
    "definition-ref": set(),
    "definitions": set(),
    "dict": {"dict_type"},
    "float": {"float_type", "float_parsing", "finite_number"},
    "function-after": {"value_error"},
    "function-before": {"value_error"},
    "function-plain": {"value_error"},
    "function-wrap": {"value_error"},
    "int": {"int_type", "int_parsing", "int_parsing_size", "int_from_float"},
    "list": {"list_type"},
    "literal": {"literal_error"},
    "model": {"model_type", "model_attributes_type"},
    "model-field": {"missing"},
    "model-fields": {"model_type", "model_attributes_type", "extra_forbidden"},
    "none": set(),
    "nullable": set(),
    "str": {"string_type", "string_unicode"},
    "tagged-union": {"union_tag_invalid", "union_tag_not_found"},
    "tuple": {"tuple_type", "too_short", "too_long", "missing"},
    "union": set(),
}
CONSTRAINTS = {
    "ge": "greater_than_equal",
    "gt": "greater_than",
    "le": "less_than_equal",
    "lt": "less_than",
    "max_length": "string_too_long",
    "min_length": "string_too_short",
    "multiple_of": "multiple_of",
    "pattern": "string_pattern_mismatch",
}


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """Every core schema inside a model's."""
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        if isinstance(mapping.get("type"), str):
            yield mapping
        for key, inner in mapping.items():
            if key not in ("serialization", "metadata", "function"):
                yield from schemas(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("list[Any]", value):
            yield from schemas(inner)


def kinds(model: type[BaseModel]) -> set[str]:
    found: set[str] = set()
    for schema in schemas(model.__pydantic_core_schema__):
        # A schema that is not listed above may raise what nobody has thought of.
        found |= RAISES[schema["type"]]
        if schema["type"] in ("int", "float", "str"):
            found |= {CONSTRAINTS[key] for key in schema.keys() & CONSTRAINTS.keys()}
    return found


@pytest.mark.parametrize("model", MODELS)
def test_every_error_that_a_model_can_raise_has_a_message(model: type[BaseModel]) -> None:
    assert kinds(model) <= _MESSAGES.keys()


def test_messages_are_for_errors_that_there_are() -> None:
    assert _MESSAGES.keys() <= set(get_args(ErrorType))


@pytest.mark.parametrize("model", MODELS)
def test_every_pattern_has_words(model: type[BaseModel]) -> None:
    patterns = {schema["pattern"] for schema in schemas(model.__pydantic_core_schema__) if "pattern" in schema}
    assert patterns <= _PATTERNS.keys()


# -- messages ----------------------------------------------------------------------------------------------------


def found(model: type[BaseModel], data: Any) -> list[InvalidValue]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return invalid_values(caught.value, data, model)


def said(model: type[BaseModel], data: Any) -> list[str]:
    return [str(invalid.problem()) for invalid in found(model, data)]


STEM: dict[str, Any] = {"stem": {"a": "relu"}}
URL = {"url": "https://host/file"}


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ([], ["must be a mapping, not []"]),
        ({"name": 5}, ["name: must be text, not 5"]),
        ({"name": "a b"}, ["name: must be letters, digits and . _ -, in parts joined by slashes, not 'a b'"]),
        ({"name": "x" * 101}, ["name: must have at most 100 characters, not '" + "x" * 56 + "..."]),
        ({"depth": 0}, ["depth: must be at least 1, not 0"]),
        ({"depth": True}, ["depth: must be a whole number, not true"]),
        ({"depth": "50"}, ["depth: must be a whole number, not '50'"]),
        ({"input": {"height": 2**17}}, ["input.height: must be at most 65536, not 131072"]),
        ({"input": {"hight": 1}}, ["input: unknown key 'hight'; did you mean 'height'?"]),
        ({"input": {"zzz": 1}}, ["input: unknown key 'zzz' (known: channels, height, width, features, length, depth)"]),
        ({"named_outputs": "yes"}, ["named_outputs: must be true or false, not 'yes'"]),
        ({"outputs": {"a": 1}}, ["outputs: must be a list, or 'features', not {'a': 1}"]),
        ({"outputs": "feature"}, ["outputs: must be a list, or 'features', not 'feature'"]),
        ({"outputs": ["a", 5]}, ["outputs.1: must be text, not 5"]),
        ({"stages": {"s": {}}}, ["stages.s: needs 'block'"]),
        ({"stages": {"s t": {"block": "b"}}}, [
            "stages.s t: 's t' is not a valid key: must be letters, digits, _ and -, in parts joined by dots, a letter"
            " or digit first",
        ]),
        ({"stages": {"s": {"block": "b", "repeat": 1.5}}}, ["stages.s.repeat: must be a whole number, not 1.5"]),
        ({"stages": {"s": {"block": "b", "stride_in": "mid"}}},
            ["stages.s.stride_in: must be 'first' or 'last', not 'mid'"]),
        ({"stem": {"a": {"relu": None, "when": 1}}}, ["stem.a.when: must be true, false or an expression, not 1"]),
        ({"stem": {"a": {"relu": None, "from": 1}}}, ["stem.a.from: must be a list, not 1"]),
        ({"stem": {"a": {"relu": None, "from": [1]}}}, ["stem.a.from.0: must be text, not 1"]),
        ({"stem": {"a": 5}},
            ["stem.a: must be a layer's name or a mapping such as {conv2d: {channels: 64, kernel: 3}}"]),
        ({"blocks": {"b": {"mian": {}}}},
            ["blocks.b: needs 'main'", "blocks.b: unknown key 'mian'; did you mean 'main'?"]),
        ({"blocks": {"b": {"main": {}, "declare": ["mian"]}}},
            ["blocks.b.declare.0: must be 'main', 'shortcut' or 'after', not 'mian'"]),
        ({"blocks": {"b": {"main": {}, "shortcut": {"otherwise": {"layer": {}}}}}},
            ["blocks.b.shortcut.otherwise: unknown key 'layer'; did you mean 'layers'?"]),
        ({"initialization": {"conv_kernel": {"constant": "1"}}},
            ["initialization.conv_kernel.constant: must be a number, not '1'"]),
        ({"initialization": {"conv_kernel": {"distribution": "normal", "scale": 0, "fan": "fan_in"}}},
            ["initialization.conv_kernel.scale: must be greater than 0, not 0"]),
        ({"initialization": {"conv_kernel": {"distribution": "normal", "scale": 1, "fan": "fan_in", "fann": 1}}},
            ["initialization.conv_kernel: unknown key 'fann'; did you mean 'fan'?"]),
        ({"initialization": {"conv_kernel": {"scale": 1}}},
            ["initialization.conv_kernel: needs 'distribution'", "initialization.conv_kernel: needs 'fan'"]),
        ({"weights": {"a": {**URL, "licence": "mit"}}},
            ["weights.a: unknown key 'licence'; did you mean 'license'?"]),
        ({"weights": {"a": {**URL, "size": [1]}}}, ["weights.a.size: must be a whole number or text, not [1]"]),
        ({"weights": {"a": {**URL, "accuracy": {"top1": "80"}}}},
            ["weights.a.accuracy.top1: must be a number, not '80'"]),
        ({"weights": {"a": {**URL, "preprocessing": {"mean": [1, 2]}}}},
            ["weights.a.preprocessing.mean: must have 3 values, not [1, 2]"]),
        ({"weights": {"a": {**URL, "preprocessing": {"mean": []}}}},
            ["weights.a.preprocessing.mean: must have 3 values, not []"]),
        ({"weights": {"a": {**URL, "preprocessing": {"mean": [1, 2, 3, 4]}}}},
            ["weights.a.preprocessing.mean: must have at most 3 values, not [1, 2, 3, 4]"]),
        ({"weights": {"a": {**URL, "preprocessing": {"mean": [1, float("inf"), "x"]}}}}, [
            "weights.a.preprocessing.mean.1: must be a finite number, not inf",
            "weights.a.preprocessing.mean.2: must be a number, not 'x'",
        ]),
        ({"weights": {"a": {**URL, "preprocessing": {"crop": 0}}}},
            ["weights.a.preprocessing.crop: must be at least 1, not 0"]),
        ({"weights": {"a": {**URL, "preprocessing": {"crop": [1, 0]}}}},
            ["weights.a.preprocessing.crop.1: must be at least 1, not 0"]),
        ({"weights": {"a": {**URL, "preprocessing": {"crop": "224"}}}},
            ["weights.a.preprocessing.crop: must be a whole number or a list, not '224'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_spec(data: Any, wanted: list[str]) -> None:
    assert said(Network, STEM | data if isinstance(data, dict) else data) == wanted


NODE = {"name": "a", "operation": {"op": "relu"}, "inputs": ["input"], "shape": [3, 4, 4]}
GRAPH = {"name": "g", "input": {"height": 4, "width": 4}, "nodes": [NODE], "outputs": ["a"]}


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"nodes": [NODE | {"operation": {"op": "rellu"}}]},
            ["nodes.0.operation: unknown op 'rellu'; did you mean 'relu'?"]),
        ({"nodes": [NODE | {"operation": {}}]}, ["nodes.0.operation: needs 'op', not {}"]),
        ({"nodes": [NODE | {"operation": {"op": "linear", "features": 0}}]}, [
            "nodes.0.operation.features: must be at least 1, not 0",
        ]),
        ({"nodes": [NODE | {"shape": []}]}, ["nodes.0.shape: must have at least 1 value, not []"]),
        ({"nodes": [NODE | {"name": "a b"}]}, [
            "nodes.0.name: must be letters, digits, _ and -, in parts joined by dots, a letter or digit first,"
            " not 'a b'",
        ]),
        ({"nodes": {}}, ["nodes: must be a list, not {}"]),
        ({"format": 2}, ["format: must be 1, not 2"]),
        ({"node": []}, ["unknown key 'node'; did you mean 'nodes'?"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_graph(data: dict[str, Any], wanted: list[str]) -> None:
    assert said(Graph, GRAPH | data) == wanted


ENGLISH = re.compile("Input should|Extra inputs|Field required|String should|Value error|should have", re.IGNORECASE)


class _Everything(BaseModel):
    """What no model here has, but some model may have one day."""

    model_config = ConfigDict(extra="forbid")

    strict: int = Field(strict=True, ge=0)
    short: list[int] = Field(max_length=1)


def test_an_error_that_no_message_is_for_is_named_by_its_type() -> None:
    assert said(_Everything, {"strict": 1, "short": "x"}) == ["short: is not valid (list_type), not 'x'"]


@pytest.mark.parametrize("data", [{"strict": -1, "short": [1, 2], "more": 1}, {"strict": None, "short": []}, {}])
def test_no_english_of_pydantic_is_shown(data: dict[str, Any]) -> None:
    assert not [text for text in said(_Everything, data) if ENGLISH.search(text)]


# -- paths and keys ----------------------------------------------------------------------------------------------


def test_a_location_is_a_path_in_the_data() -> None:
    data = {"nodes": [{"operation": {"op": "conv2d", "kernel": [3, 0]}}]}
    assert known_path(("nodes", 0, "operation", "conv2d", "kernel", "tuple", 1), data) == (
        "nodes", 0, "operation", "kernel", 1,
    )  # fmt: skip
    assert known_path(("nodes", 7), data) == ("nodes",)


def test_the_keys_at_a_path_are_those_of_the_model_there() -> None:
    assert keys_at(Spec, ("weights", "x", "accuracy")) == ["top1", "top5"]
    assert keys_at(Spec, ("blocks", "b", "shortcut")) == ["when", "from", "layers", "otherwise"]
    assert keys_at(Spec, ("initialization", "conv_kernel")) == ["constant", "distribution", "std", "scale", "fan"]
    assert keys_at(Graph, ("nodes", 3)) == ["name", "operation", "inputs", "shape", "calls", "parameter_names"]
    assert keys_at(Spec, ("description",)) == keys_at(Spec, ("parameters", "x")) == keys_at(Spec, ("no", "such")) == []
