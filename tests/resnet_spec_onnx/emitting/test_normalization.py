"""Normalizations, against the torch backend and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.resnet_spec_onnx.support import MAPS, assert_as_torch, run, single
from tests.resnet_spec_torch.graphs import NORM, Builder


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_normalizations(op: str, scale: bool, offset: bool) -> None:
    graph = single(op, 4, 3, 5, scale=scale, offset=offset)
    assert_as_torch(graph, (2, 4, 3, 5), (1, 4, 3, 5))


def test_the_epsilon_of_a_batch_normalization_counts() -> None:
    arrays = {"weight": [1.0], "bias": [0.0], "running_mean": [0.0], "running_var": [0.0]}
    given = {name: np.array(values) for name, values in arrays.items()}
    result = run("batch_norm", np.ones((1, 1, 1, 1)), given, **(NORM | {"epsilon": 0.25}))
    assert result.item() == 2


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_group_norm(groups: int, scale: bool, offset: bool) -> None:
    assert_as_torch(single("group_norm", 4, 5, 6, groups=groups, scale=scale, offset=offset, epsilon=1e-3), *MAPS)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("gate", [True, False])
def test_evo_norm_s0(groups: int, gate: bool) -> None:
    assert_as_torch(single("evo_norm_s0", 4, 5, 6, groups=groups, epsilon=1e-3, gate=gate), *MAPS)


@pytest.mark.parametrize("threshold", [True, False])
def test_filter_response_norm(threshold: bool) -> None:
    assert_as_torch(single("filter_response_norm", 4, 5, 6, epsilon=1e-3, threshold=threshold), *MAPS)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("group_norm", {"groups": 1, "scale": False, "offset": False}),
        ("evo_norm_s0", {"groups": 1}),
        ("filter_response_norm", {"threshold": False}),
    ],
)
def test_the_epsilon_of_a_normalization_counts(op: str, fields: dict[str, Any]) -> None:
    arrays = {"weight": np.ones(1), "bias": np.zeros(1), "v": np.ones(1)}
    own = {"evo_norm_s0": ("weight", "bias", "v"), "filter_response_norm": ("weight", "bias")}.get(op, ())
    image = np.array([[[[-1.0, 1.0]]]])
    given = {name: arrays[name] for name in own}
    result = run(op, image, given, epsilon=3.0, **fields)
    gate = 1 / (1 + np.exp(-image)) if op == "evo_norm_s0" else 1
    np.testing.assert_allclose(result, image * gate / 2, atol=1e-12)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
def test_batch_normalization_of_a_vector(scale: bool, offset: bool) -> None:
    assert_as_torch(single("batch_norm", 6, scale=scale, offset=offset), (2, 6), (1, 6))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("epsilon", [1e-3, 0.125])
def test_normalizations_of_each_image_by_itself(scale: bool, offset: bool, epsilon: float) -> None:
    fields = {"epsilon": epsilon, "scale": scale, "offset": offset}
    for axis in (0, 1, 2):
        assert_as_torch(
            Builder(4, 7, 8).add("x", "layer_norm", axis=axis, **fields).graph(), (2, 4, 7, 8), (1, 4, 7, 8)
        )
    assert_as_torch(Builder(4, 7, 8).add("x", "instance_norm", **fields).graph(), *MAPS)
    assert_as_torch(Builder(6).add("x", "layer_norm", **fields).graph(), (3, 6), (1, 6))


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 2, 2)])
def test_values_of_any_rank(shape: tuple[int, ...]) -> None:
    grouped = {"groups": 2, "epsilon": 1e-3}
    for op, fields in {"batch_norm": {}, "group_norm": grouped, "layer_norm": {"epsilon": 1e-3}}.items():
        b = Builder(4, 2, 3).add("values", "reshape", shape=shape).add("x", op, **fields)
        assert_as_torch(b.add("x2", "instance_norm", epsilon=1e-3).graph(), (3, 4, 2, 3), (1, 4, 2, 3))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_l2_normalize(axis: int) -> None:
    assert_as_torch(single("l2_normalize", 4, 5, 6, axis=axis, epsilon=2.0), *MAPS)
