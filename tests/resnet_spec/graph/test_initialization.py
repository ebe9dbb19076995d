"""Weights are initialized at random by the rules of a spec, once, and alike on every system."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from pydantic import ValidationError

from resnet_spec import Graph, initialize, load
from resnet_spec.errors import SpecError
from resnet_spec.graph.initialization import fans
from resnet_spec.graph.initialization_rules import InitializationRules

Lower = Callable[..., Graph]

ONE = """
    input: {{channels: 16, height: 8, width: 8}}
    initialization: {{conv_kernel: {{{rule}}}}}
    stem: {{conv: {{conv2d: {{channels: 64, kernel: 5}}}}}}
"""
FAN_IN, FAN_OUT = 16 * 25, 64 * 25


def draw(lower: Lower, rule: str, seed: int = 0) -> np.ndarray:
    return initialize(lower(ONE.format(rule=rule)), seed)["conv.weight"]


# -- the same everywhere -----------------------------------------------------------------------------------------


def test_every_parameter_is_initialized_in_order_as_float32(small: Graph) -> None:
    arrays = initialize(small)

    assert list(arrays) == [parameter.name for parameter in small.parameters()]
    assert [array.shape for array in arrays.values()] == [parameter.shape for parameter in small.parameters()]
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}


def test_the_same_seed_gives_the_same_weights(small: Graph) -> None:
    first, second = initialize(small, 3), initialize(small, 3)

    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(small: Graph) -> None:
    first, second = initialize(small, 3), initialize(small, 4)

    assert not np.array_equal(first["conv1.weight"], second["conv1.weight"])
    assert not np.array_equal(first["fc.weight"], second["fc.weight"])


def test_initialization_is_reproducible_on_another_machine() -> None:
    arrays = initialize(load("resnet18").to_graph())

    assert arrays["conv1.weight"].ravel()[:3] == pytest.approx([-0.02328134, 0.01851330, -0.04083201], rel=1e-6)
    assert arrays["fc.weight"].ravel()[:3] == pytest.approx([-0.02682076, 0.02207750, 0.01887934], rel=1e-6)


def test_a_layer_more_leaves_the_others_as_they_were() -> None:
    plain = initialize(load("resnet18").to_graph())
    longer = initialize(load("resnet18", ["stages.layer1.repeat=3", "parameters.classes=10"]).to_graph())

    assert all(np.array_equal(plain[name], longer[name]) for name in plain if not name.startswith("fc."))


def test_two_layers_of_one_shape_do_not_get_the_same_weights(small: Graph) -> None:
    arrays = initialize(small)

    assert not np.array_equal(arrays["layer1.0.conv1.weight"], arrays["layer1.0.conv2.weight"])


# -- the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize(
    ("fan", "size"), [("fan_in", FAN_IN), ("fan_out", FAN_OUT), ("fan_avg", (FAN_IN + FAN_OUT) / 2)]
)
def test_mean_and_variance_are_those_of_the_rule(lower: Lower, distribution: str, fan: str, size: float) -> None:
    values = draw(lower, f"distribution: {distribution}, scale: 2, fan: {fan}")

    # 25,600 values: four standard errors of a mean and of a variance.
    assert abs(values.mean()) < 4 * sqrt(2 / size / values.size)
    assert values.var() == pytest.approx(2 / size, rel=4 * sqrt(2 / values.size))


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_a_stated_deviation_does_not_depend_on_the_size_of_the_layer(lower: Lower, distribution: str) -> None:
    values = draw(lower, f"distribution: {distribution}, std: 0.01")

    assert values.std() == pytest.approx(0.01, rel=4 * sqrt(1 / 2 / values.size))


def test_a_deviation_and_a_scale_exclude_each_other(lower: Lower) -> None:
    with pytest.raises(SpecError, match=r"initialization.conv_kernel: unknown key 'scale'"):
        draw(lower, "distribution: normal, std: 0.01, scale: 2")


def test_a_truncated_normal_ends_at_two_standard_deviations_of_the_normal(lower: Lower) -> None:
    values = np.abs(draw(lower, "distribution: truncated_normal, scale: 2, fan: fan_in")) / sqrt(2 / FAN_IN)
    end = 2 / 0.87962566103423978

    assert 0.98 * end < values.max() <= end * (1 + 1e-6)


def test_a_uniform_distribution_ends_where_its_variance_says(lower: Lower) -> None:
    values = np.abs(draw(lower, "distribution: uniform, scale: 1, fan: fan_avg"))
    end = sqrt(3 / ((FAN_IN + FAN_OUT) / 2))

    assert 0.99 * end < values.max() <= end * (1 + 1e-6)


def test_a_normal_distribution_has_tails(lower: Lower) -> None:
    values = np.abs(draw(lower, "distribution: normal, scale: 2, fan: fan_in")) / sqrt(2 / FAN_IN)

    assert values.max() > 3


def test_a_constant_is_everywhere(lower: Lower) -> None:
    assert set(draw(lower, "constant: 0.25").ravel()) == {0.25}


@pytest.mark.parametrize(
    ("kernel", "expected"), [((64, 16, 5, 5), (400, 1600)), ((10, 512), (512, 10)), ((8, 1, 3, 3), (9, 72))]
)
def test_fans_are_counted_as_pytorch_counts_them(kernel: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert fans(kernel) == expected


def test_torchvisions_rules_are_torchvisions() -> None:
    arrays = initialize(load("resnet18").to_graph())

    assert arrays["layer4.1.conv2.weight"].std() == pytest.approx(sqrt(2 / (512 * 9)), rel=0.01)
    assert np.abs(arrays["fc.weight"]).max() == pytest.approx(1 / sqrt(512), rel=0.001)
    assert np.abs(arrays["fc.bias"]).max() == pytest.approx(1 / sqrt(512), rel=0.01)
    assert set(arrays["bn1.weight"]) == set(arrays["bn1.running_var"]) == {1.0}
    assert set(arrays["bn1.bias"]) == set(arrays["bn1.running_mean"]) == {0.0}


def test_keras_rules_are_glorots() -> None:
    arrays = initialize(load("tutorial/resnet18").to_graph())

    assert np.abs(arrays["fc.weight"]).max() == pytest.approx(sqrt(6 / (512 + 10)), rel=0.01)
    assert set(arrays["fc.bias"]) == set(arrays["conv.bias"]) == {0.0}


def test_a_bias_has_the_fans_of_its_kernel(lower: Lower) -> None:
    graph = lower("""
        initialization: {linear_bias: {distribution: uniform, scale: 0.3333333333333333, fan: fan_in}}
        stem: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 4096}}}
        """)

    assert np.abs(initialize(graph)["fc.bias"]).max() == pytest.approx(1 / sqrt(3), rel=0.01)


def test_every_role_has_a_default_initialization(lower: Lower) -> None:
    norm = "{epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}"
    arrays = initialize(
        lower(f"""
        input: {{channels: 4, height: 4, width: 4}}
        stem:
          up: {{conv_transpose2d: {{channels: 32, kernel: 5, bias: true}}}}
          bn: {{batch_norm: {norm}}}
          position: {{position_batch_norm: {norm}}}
          evo: {{evo_norm_s0: {{groups: 2, epsilon: 1.0e-5}}}}
          frn: {{filter_response_norm: {{epsilon: 1.0e-5, threshold: true}}}}
          flat: flatten
          fc: {{linear: {{features: 2}}}}
        """)
    )

    ones = {name for name, array in arrays.items() if set(array.ravel()) == {1.0}}
    zeros = {name for name, array in arrays.items() if set(array.ravel()) == {0.0}}
    norms = ("bn", "position")
    assert ones == {f"{n}.{p}" for n in norms for p in ("weight", "running_var")} | {
        "evo.weight",
        "evo.v",
        "frn.weight",
    }
    assert zeros == {f"{n}.{p}" for n in norms for p in ("bias", "running_mean")} | {
        *("up.bias", "evo.bias", "frn.bias", "frn.tau", "fc.bias")
    }
    # The kernel is (in, out, ...): its fan out, counted as PyTorch and Keras do, is its input's.
    assert arrays["up.weight"].std() == pytest.approx(sqrt(2 / (4 * 25)), rel=0.05)


# -- which rule for which parameter ------------------------------------------------------------------------------


def test_patterns_choose_parameters_by_name_and_the_last_match_wins() -> None:
    zero_last_scales = {
        "initialization": {
            "*.bn2.weight": {"constant": 0},
            "layer4.?.bn2.weight": {"constant": 0.5},
            "norm_offset": {"constant": 0.25},
        }
    }
    arrays = initialize(load("resnet18", zero_last_scales).to_graph())

    assert arrays["layer1.0.bn2.weight"].max() == 0
    assert set(arrays["layer4.1.bn2.weight"]) == {0.5}
    assert set(arrays["bn1.bias"]) == {0.25}
    assert set(arrays["layer1.0.bn1.weight"]) == {1.0}


@pytest.mark.parametrize(
    "rule",
    [
        {"distribution": "normal", "scale": 0, "fan": "fan_in"},
        {"distribution": "normal", "scale": -1, "fan": "fan_in"},
        {"distribution": "gaussian", "scale": 1, "fan": "fan_in"},
        {"distribution": "normal", "scale": 1},
        {"distribution": "normal", "scale": 1, "fan": "fan_in", "gain": 2},
        {"constant": "zero"},
        {"constant": float("nan")},
        {},
        "zeros",
    ],
)
def test_a_wrong_rule_is_refused(rule: object) -> None:
    with pytest.raises(ValidationError):
        InitializationRules.model_validate({"conv_kernel": rule})


def test_a_key_is_a_role_or_a_pattern() -> None:
    with pytest.raises(ValidationError, match=r"'conv_kernal' is neither a role .* nor a pattern over names"):
        InitializationRules.model_validate({"conv_kernal": {"constant": 0}})


def test_a_stated_initial_value_unless_a_rule_says_otherwise() -> None:
    nodes = [
        ("gamma", {"op": "scale", "shape": "channels", "initial": 1e-6}),
        ("gain", {"op": "scale", "shape": "scalar", "initial": -2.0}),
        ("positions", {"op": "offset", "shape": "map"}),
    ]
    shape = (4, 2, 3)
    inputs = ["input", *(name for name, _ in nodes)]
    data = {
        "name": "test/learned",
        "input": {"channels": 4, "height": 2, "width": 3},
        "nodes": [
            {"name": name, "operation": operation, "inputs": [source], "shape": shape}
            for (name, operation), source in zip(nodes, inputs, strict=False)
        ],
        "outputs": ["positions"],
        "initialization": {
            "positions*": {"distribution": "normal", "scale": 0.0004, "fan": "fan_in"},
            "ga[i]n": {"distribution": "uniform", "scale": 3.0, "fan": "fan_in"},
        },
    }
    arrays = initialize(Graph.model_validate(data), 1)
    assert np.array_equal(arrays["gamma"], np.full(4, 1e-6, np.float32))
    assert arrays["gain"].shape == ()
    assert -3 < arrays["gain"] < 3
    assert 0 < arrays["positions"].std() < 0.04
