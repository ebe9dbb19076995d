"""Arrays that do not fit are reported by name, with what was likely meant and the adaptation that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, initialize, load
from resnet_spec.weights.matching import check_weights, nonfinite, report_nonfinite, too_large

Lines = Callable[..., list[str]]


def renamed(arrays: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): array for name, array in arrays.items()}


def resized(small: Graph, **shapes: tuple[int, ...]) -> dict[str, Any]:
    """The arrays of the small network, some of them of other shapes."""
    given = {name.replace("__", "."): np.zeros(shape, "float32") for name, shape in shapes.items()}
    return {**initialize(small), **given}


# -- names -------------------------------------------------------------------------------------------------------


def test_what_fits_is_given_back_in_the_graphs_order(small: Graph) -> None:
    arrays: dict[str, Any] = dict(reversed(initialize(small).items()))
    checked = check_weights(small, {**arrays, "bn1.num_batches_tracked": np.array(7)}, "x")

    assert list(checked) == [parameter.name for parameter in small.parameters()]
    assert all(checked[name] is arrays[name] for name in checked)


def test_the_nearest_names_are_paired_first(small: Graph, lines: Lines) -> None:
    arrays = renamed(initialize(small), {"layer1.0.conv2.weight": "layer1.0.conv2.wieght"})
    del arrays["layer1.0.conv1.weight"]

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == [
        "layer1.0.conv1.weight: missing",
        "layer1.0.conv2.weight: missing; did you mean 'layer1.0.conv2.wieght'?",
        "layer1.0.conv2.wieght: unexpected; did you mean 'layer1.0.conv2.weight'?",
    ]


def test_only_a_name_of_the_same_shape_is_suggested(small: Graph, lines: Lines) -> None:
    arrays = renamed(initialize(small), {"fc.weight": "fcn.weight"})
    arrays["f.weight"] = np.zeros(3, "float32")

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == [
        "fc.weight: missing; did you mean 'fcn.weight'?",
        "fcn.weight: unexpected; did you mean 'fc.weight'?",
        "f.weight: unexpected",
    ]


def test_a_name_that_is_like_none_is_meant_for_none(small: Graph, lines: Lines) -> None:
    arrays = renamed(initialize(small), {"fc.weight": "zzz"})

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == ["fc.weight: missing", "zzz: unexpected"]


def test_names_without_meaning_are_not_paired_by_position(small: Graph, lines: Lines) -> None:
    arrays = initialize(small)
    said = lines(lambda: check_weights(small, {f"l{i}": array for i, array in enumerate(arrays.values())}, "x"))

    assert said[0] == f"x: not the {len(arrays)} tensors of spec ({len(arrays)} missing, {len(arrays)} unexpected)"
    assert said[1:] == [*(f"{name}: missing" for name in arrays), *(f"l{i}: unexpected" for i in range(len(arrays)))]


# -- hints -------------------------------------------------------------------------------------------------------


def test_another_head_is_reported_with_what_reads_the_rest(small: Graph, lines: Lines) -> None:
    arrays = {name: array for name, array in initialize(small).items() if not name.startswith("fc.")}
    arrays |= {"fc.0.weight": np.zeros((8, 12), "float32"), "fc.2.weight": np.zeros((5, 8), "float32")}

    assert lines(lambda: check_weights(small, arrays, "x"))[-1] == (
        'the file has no head; overrides="head=null" removes it from the network too,'
        ' and adapt="backbone" drops what the file has in its place'
    )


def test_other_classes_are_reported_with_what_would_fix_them(small: Graph, lines: Lines) -> None:
    arrays = resized(small, fc__weight=(7, 12), fc__bias=(7,))

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == [
        "fc.weight: has shape [7, 12], not [5, 12]",
        "fc.bias: has shape [7], not [5]",
        'the file has 7 classes, not 5; adapt="classes" reinitializes the head, '
        'overrides="parameters.classes=7" keeps the file\'s',
    ]


def test_a_class_for_the_background_is_reported_with_what_would_fix_it(
    lower: Callable[..., Graph], lines: Lines
) -> None:
    graph = lower("{stem: {pool: global_avg_pool, flat: flatten}, head: {fc: {linear: {features: 1000}}}}")
    arrays = {"fc.weight": np.zeros((1001, 3)), "fc.bias": np.zeros(1001)}

    assert lines(lambda: check_weights(graph, arrays, "x"))[-2:] == [
        'the file has 1001 classes, not 1000; adapt="classes" reinitializes the head, '
        'overrides="parameters.classes=1001" keeps the file\'s',
        'adapt="background" drops the first of the 1001',
    ]


def test_other_input_channels_are_reported_with_what_would_fix_them(lines: Lines) -> None:
    graph = load("resnet18", ["input.channels=4"]).to_graph()
    shapes = {p.name: np.broadcast_to(np.float32(0), p.shape) for p in load("resnet18").to_graph().parameters()}

    assert lines(lambda: check_weights(graph, shapes, "x"))[1:] == [
        "conv1.weight: has shape [64, 3, 7, 7], not [64, 4, 7, 7]",
        'the file is for red, green and blue; adapt="channels" derives the kernels of other channels from theirs',
    ]


def test_one_channel_for_three_is_reported_with_the_network_that_it_fits(small: Graph, lines: Lines) -> None:
    arrays = resized(small, conv1__weight=(8, 1, 3, 3))

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == [
        "conv1.weight: has shape [8, 1, 3, 3], not [8, 3, 3, 3]",
        'the file is for another number of input channels; overrides="input.channels=1" has as many',
    ]


def test_a_head_too_many_and_a_head_too_few_are_reported_with_what_would_fix_them(small: Graph, lines: Lines) -> None:
    arrays: dict[str, Any] = initialize(small)
    backbone = load("spec.yaml", ["head=null"]).to_graph()

    assert lines(lambda: check_weights(backbone, arrays, "x"))[1:] == [
        "fc.weight: unexpected",
        "fc.bias: unexpected",
        'adapt="backbone" drops the layers after the network\'s end',
    ]
    assert lines(lambda: check_weights(small, initialize(backbone), "x"))[1:] == [
        "fc.weight: missing",
        "fc.bias: missing",
        'the file has no head; overrides="head=null" removes it from the network too',
    ]


@pytest.mark.parametrize(
    ("parts", "hint"),
    [
        (("weight_g", "weight_v"), "the file has weights in parts (weight or spectral normalization)"),
        (("weight_orig", "weight_u"), "the file has weights in parts (weight or spectral normalization)"),
        (("parametrizations.weight.original0", "parametrizations.weight.original1"), "the file has weights in parts"),
        (("parametrizations.weight.original",), "the file has weights in parts"),
        (("base_layer.weight", "lora_A.default.weight"), "the file has LoRA's factors beside the weights"),
    ],
)
def test_a_factor_of_a_weight_is_not_suggested_for_it(
    small: Graph, lines: Lines, parts: tuple[str, ...], hint: str
) -> None:
    arrays = initialize(small)
    kernel = arrays.pop("fc.weight")
    said = lines(lambda: check_weights(small, {**arrays, **{f"fc.{part}": kernel for part in parts}}, "x"))

    assert said[1:-1] == ["fc.weight: missing", *(f"fc.{part}: unexpected" for part in parts)]
    assert said[-1].startswith(hint)


@pytest.mark.parametrize("axes", [(2, 3, 1, 0), (0, 2, 3, 1)])
def test_kernels_with_their_axes_in_another_order_are_reported_as_such(
    small: Graph, lines: Lines, axes: tuple[int, ...]
) -> None:
    arrays = {name: array.transpose(axes) if array.ndim == 4 else array for name, array in initialize(small).items()}

    assert lines(lambda: check_weights(small, arrays, "x"))[-1] == (
        "the kernels have their axes in another order than PyTorch's: output channels, input channels, height, width"
    )


def test_a_deeper_network_is_reported_without_a_hint(small: Graph, lines: Lines) -> None:
    deeper = load("spec.yaml", ["stages.layer1.repeat=3"]).to_graph()
    said = lines(lambda: check_weights(small, initialize(deeper), "x"))

    assert "layer1.2.conv1.weight: unexpected" in said
    assert not [line for line in said if "adapt" in line]


# -- numbers -----------------------------------------------------------------------------------------------------


def test_numbers_that_are_not_floating_point_are_reported(small: Graph, lines: Lines) -> None:
    arrays: dict[str, Any] = initialize(small)
    for name, dtype in (("conv1.bias", "int64"), ("bn1.bias", "bool"), ("fc.bias", "complex64")):
        arrays[name] = arrays[name].astype(dtype)

    assert lines(lambda: check_weights(small, arrays, "x"))[1:] == [
        "conv1.bias: holds int64, not floating-point numbers",
        "bn1.bias: holds bool, not floating-point numbers",
        "fc.bias: holds complex64, not floating-point numbers",
    ]


def test_finite_numbers_whose_sum_is_not_are_finite() -> None:
    assert nonfinite({"a": np.full(4, 3e38, "float32"), "b": np.array([6e4, 6e4], "float16")}) == []


def test_what_is_not_finite_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    report_nonfinite({"a": np.array([1, np.nan, np.inf]), "b": np.zeros(2)}, "x")

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "x: a: 1 of 3 elements are NaN, 1 infinite")
    ]


def test_many_that_are_not_finite_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    report_nonfinite({**dict.fromkeys("abcdefgh", np.array([np.nan])), "i": np.zeros(2)}, "x")

    assert [record.message for record in caplog.records] == [
        "x: 8 of 9 tensors are not all finite: a, b, c, d, e, f and 2 more"
    ]


def test_only_what_a_smaller_type_cannot_hold_is_too_large() -> None:
    arrays = {"a": np.array([1e39, -1e39, np.inf, 3e38]), "b": np.array([3e38], "float32")}

    assert list(map(str, too_large(arrays, "float32"))) == ["a: 2 of 4 elements are too large for float32"]
    assert too_large(arrays, "float64") == []
    assert len(too_large(arrays, "float16")) == 2
