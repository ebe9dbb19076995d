"""Each operation's shapes, parameters and multiply-accumulates, against figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from resnet_spec.operations import (
    BIASES,
    KERNELS,
    MEANS,
    OFFSETS,
    OPERATIONS,
    SCALES,
    VARIANCES,
    Category,
    Operation,
    Role,
)
from resnet_spec.operations.fields import ShapeError
from tests.every_operation import every_operation

NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}
ADAPTER: TypeAdapter[Any] = TypeAdapter(Operation)
MAP = (4, 9, 10)
STANDARDIZED = {"channels": 8, "kernel": 3, "epsilon": 1e-8}
GROUPED = {"groups": 2, "epsilon": 1e-5}


def make(op: str, **fields: Any) -> Any:
    return ADAPTER.validate_python({"op": op, **fields})


def test_every_operation_is_found_by_the_word_it_is_written_with() -> None:
    assert list(OPERATIONS) == [
        *("conv2d", "std_conv2d", "conv_transpose2d", "conv1d", "linear"),
        *("batch_norm", "position_batch_norm", "group_norm", "evo_norm_s0", "filter_response_norm"),
        *("relu", "sigmoid", "softmax", "dropout", "stochastic_depth"),
        *("max_pool2d", "avg_pool2d", "global_avg_pool", "global_max_pool"),
        *("pad2d", "pad_channels", "flatten", "reshape", "add", "multiply"),
    ]
    assert all(cls.__doc__ and cls.label and isinstance(cls.category, Category) for cls in OPERATIONS.values())


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
        (make("std_conv2d", **STANDARDIZED, stride=2, padding="same"), [MAP], (8, 5, 5)),
        (make("conv_transpose2d", channels=8, kernel=3), [MAP], (8, 11, 12)),
        (make("conv_transpose2d", channels=8, kernel=[3, 1], stride=[2, 3]), [MAP], (8, 19, 28)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding=[[1, 0], [2, 1]]), [MAP], (8, 18, 18)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding="same"), [MAP], (8, 18, 20)),
        (make("conv_transpose2d", channels=8, kernel=1, stride=[1, 3], padding="same"), [MAP], (8, 9, 30)),
        (make("conv1d", channels=2, kernel=3), [(1, 7)], (2, 5)),
        (make("conv1d", channels=1, kernel=5, padding=2), [(1, 7)], (1, 7)),
        (make("linear", features=3), [(7,)], (3,)),
        (make("batch_norm", **NORM), [MAP], MAP),
        (make("position_batch_norm", **NORM), [MAP], MAP),
        (make("group_norm", **GROUPED), [MAP], MAP),
        (make("evo_norm_s0", **GROUPED), [MAP], MAP),
        (make("filter_response_norm", epsilon=1e-6, threshold=True), [MAP], MAP),
        (make("dropout", rate=0.5), [(7,)], (7,)),
        (make("stochastic_depth", rate=0.5), [MAP], MAP),
        (make("relu"), [MAP], MAP),
        (make("sigmoid"), [(7,)], (7,)),
        (make("softmax"), [(7,)], (7,)),
        (make("max_pool2d", kernel=3), [MAP], (4, 3, 3)),
        (make("max_pool2d", kernel=3, stride=2, padding=1), [MAP], (4, 5, 5)),
        (make("max_pool2d", kernel=3, stride=2, padding="same"), [MAP], (4, 5, 5)),
        (make("avg_pool2d", kernel=2), [MAP], (4, 4, 5)),
        (make("avg_pool2d", kernel=2, padding=[[0, 1], [0, 0]], count_include_pad=True), [MAP], (4, 5, 5)),
        (make("avg_pool2d", kernel=2, padding="same", count_include_pad=False), [MAP], (4, 5, 5)),
        (make("global_avg_pool"), [MAP], (4, 1, 1)),
        (make("global_max_pool"), [MAP], (4, 1, 1)),
        (make("pad2d", padding=3), [MAP], (4, 15, 16)),
        (make("pad2d", padding=[[0, 1], [2, 3]]), [MAP], (4, 10, 15)),
        (make("pad2d", padding=[[8, 0], [0, 9]], mode="reflect"), [MAP], (4, 17, 19)),
        (make("pad_channels", before=1, after=2), [MAP], (7, 9, 10)),
        (make("flatten"), [MAP], (360,)),
        (make("reshape", shape=[360]), [MAP], (360,)),
        (make("reshape", shape=[1, 4]), [(4, 1, 1)], (1, 4)),
        (make("reshape", shape=[4, 10, 9]), [MAP], (4, 10, 9)),
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
        (make("group_norm", groups=3, epsilon=1e-5), [MAP], "3 groups do not divide 4 channels"),
        (make("evo_norm_s0", groups=8, epsilon=1e-5), [MAP], "8 groups do not divide 4 channels"),
        (
            make("conv_transpose2d", channels=8, kernel=1, padding=[[4, 5], [0, 0]]),
            [MAP],
            "the feature map vanishes: the crop leaves nothing of 4×9×10",
        ),
        (make("conv1d", channels=1, kernel=3), [MAP], "needs channels × length, not 4×9×10"),
        (make("conv1d", channels=1, kernel=8), [(1, 7)], "a window of 8 does not fit an input of 1×7"),
        (
            make("pad2d", padding=[[9, 0], [0, 0]], mode="reflect"),
            [MAP],
            "cannot reflect 4×9×10: the padding must be smaller than the map",
        ),
        (
            make("pad2d", padding=[[0, 0], [0, 10]], mode="reflect"),
            [MAP],
            "cannot reflect 4×9×10: the padding must be smaller than the map",
        ),
        (make("reshape", shape=[4, 91]), [MAP], "cannot reshape 4×9×10 to 4×91, which has another size"),
        (make("linear", features=3), [MAP], "needs a vector, not 4×9×10; add a flatten before it"),
        (make("softmax"), [MAP], "needs a vector, not 4×9×10; add a flatten before it"),
        (make("add"), [MAP, (4, 9, 9)], "cannot add 4×9×10 and 4×9×9"),
        (make("multiply"), [(4, 1, 1), MAP], "cannot multiply 4×1×1 by 4×9×10"),
    ],
)
def test_shapes_that_do_not_suit_are_refused(operation: Any, shapes: list[tuple[int, ...]], said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        operation.output_shape(*shapes)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    "operation",
    [
        make("conv2d", channels=8, kernel=1),
        make("conv_transpose2d", channels=8, kernel=1),
        make("batch_norm", **NORM),
        make("position_batch_norm", **NORM),
        make("group_norm", **GROUPED),
        make("filter_response_norm", epsilon=1e-5, threshold=False),
        make("avg_pool2d", kernel=1),
        make("global_avg_pool"),
        make("global_max_pool"),
        make("pad2d", padding=1),
        make("pad_channels", after=1),
    ],
)
def test_what_works_on_maps_takes_nothing_else(operation: Any) -> None:
    for shape in ((7,), (1, 7)):
        with pytest.raises(ShapeError, match=r"^needs a feature map"):
            operation.output_shape(shape)


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
        (make("std_conv2d", **STANDARDIZED, groups=4), MAP, [("weight", (8, 1, 3, 3), Role.CONV_KERNEL)]),
        (
            make("conv_transpose2d", channels=8, kernel=[3, 5], bias=True),
            MAP,
            [("weight", (4, 8, 3, 5), Role.CONV_TRANSPOSE_KERNEL), ("bias", (8,), Role.CONV_BIAS)],
        ),
        (make("conv1d", channels=2, kernel=3), (1, 7), [("weight", (2, 1, 3), Role.CONV_KERNEL)]),
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
        (
            make("position_batch_norm", **NORM),
            MAP,
            [
                ("weight", MAP, Role.POSITION_SCALE),
                ("bias", MAP, Role.POSITION_OFFSET),
                ("running_mean", MAP, Role.POSITION_MEAN),
                ("running_var", MAP, Role.POSITION_VARIANCE),
            ],
        ),
        (make("group_norm", **GROUPED), MAP, [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET)]),
        (make("group_norm", **GROUPED, scale=False), MAP, [("bias", (4,), Role.NORM_OFFSET)]),
        (
            make("evo_norm_s0", **GROUPED),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET), ("v", (4,), Role.NORM_GATE)],
        ),
        (
            make("filter_response_norm", epsilon=1e-5, threshold=True),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET), ("tau", (4,), Role.NORM_THRESHOLD)],
        ),
        (
            make("filter_response_norm", epsilon=1e-5, threshold=False),
            MAP,
            [("weight", (4,), Role.NORM_SCALE), ("bias", (4,), Role.NORM_OFFSET)],
        ),
        *[(make(op), MAP, []) for op in ("relu", "sigmoid", "global_avg_pool", "flatten", "add", "multiply")],
        *[(make(op, rate=0.5), MAP, []) for op in ("dropout", "stochastic_depth")],
        *[(make(op, kernel=2), MAP, []) for op in ("max_pool2d", "avg_pool2d")],
    ],
)
def test_an_operation_owns_its_parameters(operation: Any, shape: tuple[int, ...], slots: list[Any]) -> None:
    assert [tuple(slot) for slot in operation.parameters(shape)] == slots


def test_only_running_statistics_are_not_trained() -> None:
    assert {str(role) for role in Role if not role.trainable} == {
        f"{kind}_{statistic}" for kind in ("norm", "position") for statistic in ("mean", "variance")
    }


def test_the_groups_of_roles_have_no_role_twice() -> None:
    groups = [KERNELS, BIASES, SCALES, OFFSETS, MEANS, VARIANCES, {Role.NORM_GATE, Role.NORM_THRESHOLD}]

    assert sorted(role for group in groups for role in group) == sorted(Role)


@pytest.mark.parametrize(
    ("operation", "shape", "macs"),
    [
        (make("conv2d", channels=64, kernel=7, stride=2, padding=3), (3, 224, 224), 112 * 112 * 64 * 3 * 49),
        (make("conv2d", channels=8, kernel=3, groups=2, bias=True), MAP, 7 * 8 * 8 * 2 * 9),
        (make("std_conv2d", **STANDARDIZED), MAP, 7 * 8 * 8 * 4 * 9),
        # Each value of the input meets the whole kernel, whatever of the output is cropped.
        (make("conv_transpose2d", channels=8, kernel=3, stride=2), MAP, 9 * 10 * 4 * 8 * 9),
        (make("conv_transpose2d", channels=8, kernel=3, stride=2, padding="same"), MAP, 9 * 10 * 4 * 8 * 9),
        (make("conv1d", channels=2, kernel=3, padding=1), (4, 7), 7 * 2 * 4 * 3),
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


# -- roundings ---------------------------------------------------------------------------------------------------


ROUNDINGS = [
    # A kernel's weights for one output, and its bias.
    (make("conv2d", channels=8, kernel=3), [MAP], 4 * 9),
    (make("conv2d", channels=8, kernel=[3, 1], groups=2, bias=True), [MAP], 2 * 3 + 1),
    (make("std_conv2d", **STANDARDIZED), [MAP], 4 * 9),
    # Of a kernel of 3 at a stride of 2 two weights at most meet in one row.
    (make("conv_transpose2d", channels=8, kernel=3, stride=2), [MAP], 4 * 2 * 2),
    (make("conv_transpose2d", channels=8, kernel=[4, 2], stride=[1, 2], bias=True), [MAP], 4 * 4 * 1 + 1),
    (make("conv1d", channels=2, kernel=3), [(4, 7)], 4 * 3),
    (make("conv1d", channels=2, kernel=3, bias=True), [(4, 7)], 4 * 3 + 1),
    (make("linear", features=1000), [(512,)], 512 + 1),
    (make("linear", features=1000, bias=False), [(512,)], 512),
    *[(make(op, **NORM), [MAP], 8) for op in ("batch_norm", "position_batch_norm")],
    # The sums over a group, or a channel, behind its mean and variance, and what comes after.
    (make("group_norm", **GROUPED), [MAP], 4 * 9 * 10 // GROUPED["groups"] + 8),
    (make("evo_norm_s0", **GROUPED), [MAP], 4 * 9 * 10 // GROUPED["groups"] + 8 + 4),
    (make("filter_response_norm", epsilon=1e-6, threshold=True), [MAP], 9 * 10 + 8),
    (make("relu"), [MAP], 0),
    (make("sigmoid"), [MAP], 4),
    (make("softmax"), [(10,)], 10 + 4),
    *[(make(op, rate=0.5), [MAP], 0) for op in ("dropout", "stochastic_depth")],
    (make("max_pool2d", kernel=3), [MAP], 0),
    (make("avg_pool2d", kernel=[2, 3]), [MAP], 2 * 3),
    (make("global_avg_pool"), [MAP], 9 * 10),
    (make("global_max_pool"), [MAP], 0),
    (make("pad2d", padding=1), [MAP], 0),
    (make("pad_channels", after=1), [MAP], 0),
    (make("flatten"), [MAP], 0),
    (make("reshape", shape=[4, 90]), [MAP], 0),
    (make("add"), [MAP, MAP], 1),
    (make("add"), [MAP, MAP, MAP], 2),
    (make("multiply"), [MAP, (4, 1, 1)], 1),
]


@pytest.mark.parametrize(("operation", "shapes", "roundings"), ROUNDINGS)
def test_a_value_meets_as_many_roundings_as_a_sum_has_terms(
    operation: Any, shapes: list[tuple[int, ...]], roundings: int
) -> None:
    assert operation.roundings(*shapes) == roundings


def test_the_roundings_of_every_operation_are_stated() -> None:
    assert {operation.op for operation, _, _ in ROUNDINGS} == set(OPERATIONS)


def test_the_graph_that_backends_run_node_by_node_has_every_operation() -> None:
    assert {node.operation.op for node in every_operation().nodes} == set(OPERATIONS)


# -- resolution --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        (make("conv2d", channels=8, kernel=3, stride=[2, 3]), (2, 3)),
        (make("std_conv2d", **STANDARDIZED, stride=2), (2, 2)),
        (make("conv_transpose2d", channels=8, kernel=3, stride=[2, 4]), (Fraction(1, 2), Fraction(1, 4))),
        (make("max_pool2d", kernel=3, stride=2), (2, 2)),
        (make("avg_pool2d", kernel=2), (2, 2)),
        (make("pad2d", padding=3), (1, 1)),
        (make("pad_channels", after=3), (1, 1)),
        (make("relu"), (1, 1)),
        (make("add"), (1, 1)),
        *[(make(op), None) for op in ("global_avg_pool", "global_max_pool", "flatten")],
        (make("reshape", shape=[4, 10, 9]), None),
        (make("linear", features=3), None),
        (make("conv1d", channels=2, kernel=3), None),
    ],
)
def test_an_operation_knows_how_much_coarser_its_output_is(operation: Any, stride: Any) -> None:
    assert operation.spatial_stride() == stride


# -- fields ------------------------------------------------------------------------------------------------------


def test_numbers_stand_for_pairs_and_edges() -> None:
    assert make("conv2d", channels=8, kernel=3, stride=2, padding=1) == make(
        "conv2d", channels=8, kernel=[3, 3], stride=(2, 2), padding=[[1, 1], [1, 1]]
    )


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_the_default_stride_of_a_pool_is_its_kernel(op: str) -> None:
    assert make(op, kernel=[3, 2]).stride == (3, 2)
    assert make(op, kernel=3, stride=2).stride == (2, 2)


def test_whether_padding_counts_must_be_said_where_there_is_some() -> None:
    for nothing in ({}, {"padding": 0}, {"padding": [[0, 0], [0, 0]]}):
        assert make("avg_pool2d", kernel=2, **nothing) == make("avg_pool2d", kernel=2, count_include_pad=False)
    for padding in (1, "same", [[0, 1], [0, 0]]):
        with pytest.raises(ValidationError, match="count_include_pad\n  Field required"):
            make("avg_pool2d", kernel=2, padding=padding)


@pytest.mark.parametrize("op", ["batch_norm", "position_batch_norm"])
@pytest.mark.parametrize(("decay", "momentum"), [(0.99, 0.01), (0.9, 0.1), (0.997, 0.003), (1, 0), (0, 1)])
def test_decay_is_one_minus_momentum_to_the_last_digit(op: str, decay: float, momentum: float) -> None:
    fields = {"epsilon": 1e-3, "running_variance": "biased"}

    assert make(op, decay=decay, **fields) == make(op, momentum=momentum, **fields)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("batch_norm", NORM),
        ("position_batch_norm", NORM),
        ("group_norm", GROUPED),
        ("evo_norm_s0", GROUPED),
        ("filter_response_norm", {"epsilon": 1e-6, "threshold": True}),
        ("std_conv2d", STANDARDIZED),
        ("dropout", {"rate": 0.5}),
        ("stochastic_depth", {"rate": 0.5}),
    ],
)
def test_what_frameworks_default_differently_must_be_said(op: str, fields: dict[str, Any]) -> None:
    for missing in fields:
        with pytest.raises(ValidationError, match=f"{missing}\n  Field required"):
            make(op, **{key: value for key, value in fields.items() if key != missing})


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("conv2d", {"channels": 8, "kernel": 3, "nonsense": 1}),
        ("conv2d", {"channels": "8", "kernel": 3}),
        ("conv2d", {"channels": 8.0, "kernel": 3}),
        ("conv2d", {"channels": 8, "kernel": 0}),
        ("conv2d", {"channels": 8, "kernel": 10**9}),
        ("conv2d", {"channels": 8, "kernel": 3, "padding": "valid"}),
        ("conv_transpose2d", {"channels": 8, "kernel": 3, "dilation": 2}),
        ("conv1d", {"channels": 8, "kernel": [3]}),
        ("conv1d", {"channels": 8, "kernel": 3, "padding": "same"}),
        ("max_pool2d", {"kernel": 2, "padding": 2}),
        ("max_pool2d", {"kernel": 3, "padding": [[0, 0], [0, 2]]}),
        ("max_pool2d", {"kernel": 2, "padding": "same", "ceil_mode": True}),
        ("avg_pool2d", {"kernel": 2, "count_include_pad": 1}),
        ("global_max_pool", {"kernel": 2}),
        ("group_norm", {**GROUPED, "groups": 0}),
        ("filter_response_norm", {"epsilon": -1.0, "threshold": True}),
        ("filter_response_norm", {"epsilon": 0, "threshold": True}),
        ("group_norm", {**GROUPED, "epsilon": 0}),
        ("std_conv2d", {**STANDARDIZED, "epsilon": 0}),
        ("position_batch_norm", {**NORM, "epsilon": 0}),
        ("std_conv2d", {**STANDARDIZED, "epsilon": "small"}),
        ("dropout", {"rate": 1}),
        ("stochastic_depth", {"rate": -0.1}),
        ("batch_norm", {**NORM, "decay": 0.9}),
        ("batch_norm", {**NORM, "epsilon": float("nan")}),
        ("batch_norm", {**NORM, "momentum": 1.5}),
        ("batch_norm", {**NORM, "scale": 1}),
        ("pad2d", {"padding": 1, "value": float("inf")}),
        ("pad2d", {"padding": 1, "value": 1.0, "mode": "reflect"}),
        ("pad2d", {"padding": 1, "mode": "edge"}),
        ("pad_channels", {"before": -1}),
        ("reshape", {"shape": []}),
        ("reshape", {"shape": [1, 2, 3, 4]}),
        ("reshape", {"shape": [4, -1]}),
        ("gelu", {}),
    ],
)
def test_a_wrong_field_is_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(op, **fields)
