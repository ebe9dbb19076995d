"""Assertions of a spec: what require, depth and trainable state is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_spec import Graph
from resnet_spec.spec.assertions import weighted_depth

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]


INPUT = "input: {channels: 4, height: 8, width: 8}\n"


REQUIRE = """
parameters: {stride: 2}
require:
  stride == 1 or stride == 2: stride must be 1 or 2
  in_height % stride == 0: the height must be a multiple of the stride
stem: {pool: {max_pool2d: {kernel: stride}}}
"""


def test_what_is_required_holds(lower: Lower) -> None:
    assert lower(INPUT + REQUIRE).by_name["pool"].shape == (4, 4, 4)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["input.height=9"], ["6:3: require.in_height % stride == 0: the height must be a multiple of the stride"]),
        (
            ["parameters.stride=3"],
            [
                "5:3: require.stride == 1 or stride == 2: stride must be 1 or 2",
                "6:3: require.in_height % stride == 0: the height must be a multiple of the stride",
            ],
        ),
    ],
)
def test_what_does_not_hold_is_reported_with_its_message_where_it_is_required(
    mistakes: Mistakes, overrides: list[str], said: list[str]
) -> None:
    assert mistakes(INPUT + REQUIRE, overrides) == [f"spec.yaml:{line}" for line in said]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "in_heigth > 1",
            "unknown name 'in_heigth'; did you mean 'in_height'? (known: in_channels, in_height, in_width)",
        ),
        ("in_height ** 2", "'in_height ** 2' is not allowed in an expression, which is arithmetic over names"),
    ],
)
def test_a_wrong_expression_that_must_hold_is_reported_alone(mistakes: Mistakes, expression: str, said: str) -> None:
    assert mistakes(f"stem: {{a: relu}}\nrequire:\n  {expression}: untold\n") == [
        f"spec.yaml:3:3: require.{expression}: {said}"
    ]


def test_what_a_wrong_parameter_is_required_to_be_is_not_reported_besides(mistakes: Mistakes) -> None:
    assert mistakes("parameters: {n: two}\nrequire: {n == 2: untold}\nstem: {a: relu}\n") == [
        "spec.yaml:1:17: parameters.n: unknown name 'two' (known: in_channels, in_height, in_width)"
    ]


def test_a_stated_depth_and_number_of_parameters_are_checked(mistakes: Mistakes) -> None:
    assert mistakes("source: {parameters: 100}\ndepth: 2\nstem: {a: {conv2d: {channels: 4, kernel: 3}}}\n") == [
        "spec.yaml:1:22: source.parameters: states 100 trainable parameters, but the network has 108",
        "spec.yaml:2:8: depth: states 2 weighted layers on the main path, but the network has 1",
    ]


def test_statistics_are_not_counted_as_parameters(lower: Lower) -> None:
    norm = "{batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}}"

    assert lower(INPUT + f"source: {{parameters: 8}}\nstem: {{a: {norm}}}\n").outputs == ("a",)


def test_depth_is_that_of_the_main_path_the_first_input_of_each_join(lower: Lower) -> None:
    text = """
layers: {conv: {conv2d: {channels: 4, kernel: 1}}}
stem: {a: conv, b: {conv: null, from: input}, c: conv, d: {add: null, from: [%s]}, e: conv}
"""

    assert weighted_depth(lower(INPUT + text % "a, c")) == 2
    assert weighted_depth(lower(INPUT + text % "c, a")) == 3


@pytest.mark.parametrize(
    ("name", "depth"), [("resnet18", 18), ("resnext101_64x4d", 101), ("keras/resnet50", 50), ("tutorial/resnet34", 34)]
)
def test_shipped_depths_are_those_of_their_names(name: str, depth: int) -> None:
    from resnet_spec import load

    assert load(name).depth == weighted_depth(load(name).to_graph()) == depth
