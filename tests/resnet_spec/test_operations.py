"""Each operation's shapes, parameters and multiply-accumulates, against figures worked out by hand."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from resnet_spec.operations import OPERATIONS, Category, Operation, Role, ShapeError, same_padding, symmetric_same

NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}
ADAPTER: TypeAdapter[Any] = TypeAdapter(Operation)
MAP = (4, 9, 10)


def make(op: str, **fields: Any) -> Any:
    return ADAPTER.validate_python({"op": op, **fields})


def test_every_operation_is_found_by_the_word_it_is_written_with() -> None:
    assert list(OPERATIONS) == [
        "conv2d",
        "linear",
        "batch_norm",
        "relu",
        "sigmoid",
        "softmax",
        "max_pool2d",
        "global_avg_pool",
        "pad2d",
        "flatten",
        "add",
        "multiply",
    ]
    assert all(cls.__doc__ and cls.label and isinstance(cls.category, Category) for cls in OPERATIONS.values())


# -- same --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        (224, 7, 2, 1, (2, 3)),
        (225, 7, 2, 1, (3, 3)),
        (224, 3, 2, 1, (0, 1)),
        (225, 3, 2, 1, (1, 1)),
        (5, 3, 1, 1, (1, 1)),
        (5, 2, 1, 1, (0, 1)),
        (5, 3, 1, 2, (2, 2)),
        (6, 3, 3, 1, (0, 0)),
        (7, 3, 3, 1, (1, 1)),
        (8, 3, 3, 1, (0, 1)),
        (8, 1, 2, 1, (0, 0)),
        (1, 3, 2, 1, (1, 1)),
    ],
)
def test_same_pads_as_tensorflow_defines_it(
    size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride, dilation) == pads


_SMALL = st.integers(1, 5)


@given(st.integers(1, 40), _SMALL, _SMALL, _SMALL)
@settings(deadline=None)
def test_same_gives_one_output_for_each_stride_begun(size: int, kernel: int, stride: int, dilation: int) -> None:
    operation = make("conv2d", channels=1, kernel=kernel, stride=stride, dilation=dilation, padding="same")

    assert operation.output_shape((1, size, size)) == (1, -(-size // stride), -(-size // stride))


@given(_SMALL, _SMALL, _SMALL)
@settings(deadline=None)
def test_same_is_written_as_explicit_padding_only_where_that_holds_at_every_size(
    kernel: int, stride: int, dilation: int
) -> None:
    edges = symmetric_same((kernel, kernel), (stride, stride), (dilation, dilation))
    pads = {same_padding(size, kernel, stride, dilation) for size in range(kernel * dilation, 60)}

    if edges is not None:
        assert pads == {edges[0]}
    else:
        assert len(pads) > 1 or any(before != after for before, after in pads)


# -- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "shapes", "output"),
    [
        (make("conv2d", channels=8, kernel=3), [MAP], (8, 7, 8)),
        (make("conv2d", channels=8, kernel=3, padding=1), [MAP], (8, 9, 10)),
        (make("conv2d", channels=8, kernel=3, stride=2, padding=1), [MAP], (8, 5, 5)),
        (make("conv2d", channels=8, kernel=3, dilation=2), [MAP], (8, 5, 6)),
        (make("conv2d", channels=8, kernel=[3, 1], stride=[1, 2]), [MAP], (8, 7, 5)),
        (make("conv2d", channels=8, kernel=3, padding=[[0, 1], [2, 3]]), [MAP], (8, 8, 13)),
        (make("conv2d", channels=8, kernel=3, stride=2, padding="same"), [MAP], (8, 5, 5)),
        (make("conv2d", channels=8, kernel=9), [MAP], (8, 1, 2)),
        (make("linear", features=3), [(7,)], (3,)),
        (make("batch_norm", **NORM), [MAP], MAP),
        (make("relu"), [MAP], MAP),
        (make("sigmoid"), [(7,)], (7,)),
        (make("softmax"), [(7,)], (7,)),
        (make("max_pool2d", kernel=3), [MAP], (4, 3, 3)),
        (make("max_pool2d", kernel=3, stride=2, padding=1), [MAP], (4, 5, 5)),
        (make("max_pool2d", kernel=3, stride=2, padding="same"), [MAP], (4, 5, 5)),
        (make("global_avg_pool"), [MAP], (4, 1, 1)),
        (make("pad2d", padding=3), [MAP], (4, 15, 16)),
        (make("pad2d", padding=[[0, 1], [2, 3]]), [MAP], (4, 10, 15)),
        (make("flatten"), [MAP], (360,)),
        (make("add"), [MAP, MAP, MAP], MAP),
        (make("multiply"), [MAP, (4, 1, 1)], MAP),
        (make("multiply"), [(7,), (7,)], (7,)),
    ],
)
def test_an_output_has_its_shape(operation: Any, shapes: list[tuple[int, ...]], output: tuple[int, ...]) -> None:
    assert operation.output_shape(*shapes) == output


@pytest.mark.parametrize(
    ("operation", "shapes", "said"),
    [
        (
            make("conv2d", channels=8, kernel=[10, 1]),
            [MAP],
            "the feature map vanishes: a 10×1 window does not fit an input of 4×9×10",
        ),
        (
            make("max_pool2d", kernel=11),
            [MAP],
            "the feature map vanishes: a 11×11 window does not fit an input of 4×9×10",
        ),
        (make("conv2d", channels=8, kernel=3, groups=3), [MAP], "3 groups do not divide 4 input and 8 output channels"),
        (make("conv2d", channels=6, kernel=3, groups=4), [MAP], "4 groups do not divide 4 input and 6 output channels"),
        (make("conv2d", channels=8, kernel=1), [(7,)], "needs a feature map (channels × height × width), not 7"),
        (make("global_avg_pool"), [(7,)], "needs a feature map (channels × height × width), not 7"),
        (make("pad2d", padding=1), [(7,)], "needs a feature map (channels × height × width), not 7"),
        (make("linear", features=3), [MAP], "needs a vector, not 4×9×10; put a flatten before it"),
        (make("softmax"), [MAP], "needs a vector, not 4×9×10"),
        (make("add"), [MAP, (4, 9, 9)], "cannot add 4×9×10 and 4×9×9"),
        (make("multiply"), [(4, 1, 1), MAP], "cannot multiply 4×1×1 by 4×9×10"),
    ],
)
def test_shapes_that_do_not_suit_are_refused(operation: Any, shapes: list[tuple[int, ...]], said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        operation.output_shape(*shapes)

    assert str(caught.value) == said


# -- parameters and multiply-accumulates -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "shape", "slots"),
    [
        (make("conv2d", channels=8, kernel=[3, 5]), MAP, [("weight", (8, 4, 3, 5), Role.CONV_KERNEL)]),
        (
            make("conv2d", channels=8, kernel=3, groups=2, bias=True),
            MAP,
            [("weight", (8, 2, 3, 3), Role.CONV_KERNEL), ("bias", (8,), Role.CONV_BIAS)],
        ),
        (make("linear", features=3), (7,), [("weight", (3, 7), Role.LINEAR_KERNEL), ("bias", (3,), Role.LINEAR_BIAS)]),
        (make("linear", features=3, bias=False), (7,), [("weight", (3, 7), Role.LINEAR_KERNEL)]),
        (
            make("batch_norm", **NORM),
            MAP,
            [
                ("weight", (4,), Role.NORM_SCALE),
                ("bias", (4,), Role.NORM_OFFSET),
                ("running_mean", (4,), Role.NORM_MEAN),
                ("running_var", (4,), Role.NORM_VARIANCE),
            ],
        ),
        (
            make("batch_norm", **NORM, scale=False, offset=False),
            MAP,
            [("running_mean", (4,), Role.NORM_MEAN), ("running_var", (4,), Role.NORM_VARIANCE)],
        ),
        *[(make(op), MAP, []) for op in ("relu", "sigmoid", "global_avg_pool", "flatten", "add", "multiply")],
    ],
)
def test_an_operation_owns_its_parameters(operation: Any, shape: tuple[int, ...], slots: list[Any]) -> None:
    assert [tuple(slot) for slot in operation.parameters(shape)] == slots


def test_only_running_statistics_are_not_trained() -> None:
    assert {role for role in Role if not role.trainable} == {Role.NORM_MEAN, Role.NORM_VARIANCE}


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("conv2d", channels=64, kernel=7, stride=2, padding=3), (3, 224, 224), 112 * 112 * 64 * 3 * 49),
        (make("conv2d", channels=8, kernel=3, groups=2, bias=True), MAP, 7 * 8 * 8 * 2 * 9),
        (make("linear", features=1000), (512,), 512_000),
        (make("batch_norm", **NORM), MAP, 0),
        (make("max_pool2d", kernel=3), MAP, 0),
        (make("relu"), MAP, 0),
    ],
)
def test_multiply_accumulates_are_those_of_convolutions_and_linear_layers(
    operation: Any, shape: tuple[int, ...], macs: int
) -> None:
    assert operation.macs((shape,), operation.output_shape(shape)) == macs


def test_a_biased_convolution_counts_as_torchvision_does() -> None:
    plain, biased = (make("conv2d", channels=8, kernel=3, bias=bias) for bias in (False, True))

    assert plain.macs((MAP,), (8, 7, 8)) == biased.macs((MAP,), (8, 7, 8)) == prod((8, 7, 8)) * 4 * 9


# -- fields ------------------------------------------------------------------------------------------------------


def test_numbers_stand_for_pairs_and_edges() -> None:
    assert make("conv2d", channels=8, kernel=3, stride=2, padding=1) == make(
        "conv2d", channels=8, kernel=[3, 3], stride=(2, 2), padding=[[1, 1], [1, 1]]
    )


def test_a_pool_strides_by_its_kernel_unless_told() -> None:
    assert make("max_pool2d", kernel=[3, 2]).stride == (3, 2)
    assert make("max_pool2d", kernel=3, stride=2).stride == (2, 2)


@pytest.mark.parametrize(("decay", "momentum"), [(0.99, 0.01), (0.9, 0.1), (0.997, 0.003), (1, 0), (0, 1)])
def test_decay_is_one_minus_momentum_to_the_last_digit(decay: float, momentum: float) -> None:
    fields = {"epsilon": 1e-3, "running_variance": "biased"}

    assert make("batch_norm", decay=decay, **fields) == make("batch_norm", momentum=momentum, **fields)


@pytest.mark.parametrize("missing", ["epsilon", "momentum", "running_variance"])
def test_what_frameworks_default_differently_must_be_said(missing: str) -> None:
    with pytest.raises(ValidationError, match=f"{missing}\n  Field required"):
        make("batch_norm", **{key: value for key, value in NORM.items() if key != missing})


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("conv2d", {"channels": 8, "kernel": 3, "nonsense": 1}),
        ("conv2d", {"channels": "8", "kernel": 3}),
        ("conv2d", {"channels": 8.0, "kernel": 3}),
        ("conv2d", {"channels": 8, "kernel": 0}),
        ("conv2d", {"channels": 8, "kernel": 10**9}),
        ("conv2d", {"channels": 8, "kernel": 3, "padding": "valid"}),
        ("max_pool2d", {"kernel": 2, "padding": 2}),
        ("batch_norm", {**NORM, "decay": 0.9}),
        ("batch_norm", {**NORM, "epsilon": float("nan")}),
        ("batch_norm", {**NORM, "momentum": 1.5}),
        ("batch_norm", {**NORM, "scale": 1}),
        ("pad2d", {"padding": 1, "value": float("inf")}),
        ("gelu", {}),
    ],
)
def test_a_wrong_field_is_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)
