"""What the golden traces are of: each operation and each shipped block, as small specs, and what goes through them.

A case of an operation is a stem, a case of a block a stage of one; sizes are small, with one side even and one odd, as
``same`` padding treats them differently. Weights and statistics are random and none of them the one that would hide a
mistake (a scale of 1, a mean of 0).
"""

from __future__ import annotations

import json
import zlib
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.graph import Input, Parameter
from resnet_spec.operations import BIASES, LEARNED, MEANS, OFFSETS, SCALES, VARIANCES, Role
from resnet_spec.parity.randomization import random_images

FOLDER = Path(__file__).parent / "traces"

SEED = 5
BATCH = 2

_RANGES: dict[Role, tuple[float, float]] = {
    **dict.fromkeys(SCALES | {Role.NORM_GATE, Role.CONV_GAIN}, (0.5, 1.5)),
    **dict.fromkeys(OFFSETS | BIASES | MEANS | {Role.NORM_THRESHOLD}, (-0.5, 0.5)),
    **dict.fromkeys(VARIANCES, (0.5, 2.0)),
    Role.ACTIVATION_SLOPE: (0.1, 0.4),
    Role.POOL_POWER: (2.0, 4.0),
    **dict.fromkeys(LEARNED, (-1.5, 1.5)),
}


class Case(NamedTuple):
    """A spec, but for its name: ``layers`` are those of the stem, ``stage`` the one stage; shapes are inputs'."""

    layers: dict[str, Any] = {}  # noqa: RUF012 - never written to
    stage: dict[str, Any] | None = None
    shape: tuple[int, ...] = (4, 9, 8)
    definitions: dict[str, Any] = {}  # noqa: RUF012 - never written to
    blocks: dict[str, Any] = {}  # noqa: RUF012 - never written to


# ---------------------------------------------------------------------------------------------------------------
# Operations


def _only(operation: str, shape: tuple[int, ...] = (4, 9, 8), **fields: Any) -> Case:
    """One layer, called ``layer``."""
    return Case({"layer": {operation: fields}}, shape=shape)


_BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.1, "running_variance": "biased"}

_VOLUME = (4, 5, 4, 7)

OPERATIONS: dict[str, Case] = {
    "conv2d": _only("conv2d", channels=5, kernel=3, padding=1, bias=True),
    "conv2d_uneven": _only("conv2d", channels=3, kernel=[3, 2], stride=[2, 3], padding=[[1, 0], [0, 2]]),
    "conv2d_dilated_groups": _only("conv2d", channels=6, kernel=3, padding=[[2, 2], [1, 1]], dilation=[2, 1], groups=2),
    "conv2d_same": _only("conv2d", channels=5, kernel=3, stride=2, padding="same"),
    "conv2d_same_even": _only("conv2d", channels=3, kernel=[4, 2], stride=2, padding="same", bias=True),
    "conv2d_same_wide_stride": _only("conv2d", channels=5, kernel=2, stride=3, padding="same"),
    "conv2d_same_dilated": _only("conv2d", channels=3, kernel=[3, 2], dilation=2, padding="same"),
    "std_conv2d": _only("std_conv2d", channels=5, kernel=3, stride=2, padding=1, epsilon=1e-8),
    "std_conv2d_dilated_groups": _only(
        "std_conv2d", channels=6, kernel=3, padding=2, dilation=2, groups=2, bias=True, epsilon=1e-6
    ),
    "std_conv2d_same": _only("std_conv2d", channels=5, kernel=3, stride=2, padding="same", epsilon=1e-6),
    "std_conv2d_gain": _only(
        "std_conv2d", channels=6, kernel=3, padding=1, groups=2, bias=True, epsilon=1e-6, gain=True, gamma=1.7
    ),
    "conv_transpose2d": _only("conv_transpose2d", (4, 5, 4), channels=3, kernel=3, stride=2, padding=1, bias=True),
    "conv_transpose2d_uneven": _only(
        "conv_transpose2d", (4, 5, 4), channels=3, kernel=[4, 3], stride=[3, 2], padding=[[1, 0], [0, 2]]
    ),
    "conv_transpose2d_same": _only(
        "conv_transpose2d", (4, 5, 4), channels=3, kernel=3, stride=2, padding="same", bias=True
    ),
    "conv_transpose2d_same_small": _only("conv_transpose2d", (4, 5, 4), channels=3, kernel=1, stride=2, padding="same"),
    "conv1d": Case(
        {"row": {"reshape": {"shape": [4, 9]}}, "layer": {"conv1d": {"channels": 3, "kernel": 3, "padding": 1}}},
        shape=(4, 3, 3),
    ),
    "conv1d_biased": Case(
        {"row": {"reshape": {"shape": [4, 9]}}, "layer": {"conv1d": {"channels": 3, "kernel": 4, "bias": True}}},
        shape=(4, 3, 3),
    ),
    "conv1d_dilated_groups": _only(
        "conv1d", (4, 15), channels=6, kernel=3, stride=2, padding=[[3, 1]], dilation=2, groups=2
    ),
    "conv1d_same": _only("conv1d", (4, 10), channels=3, kernel=3, stride=2, padding="same", bias=True),
    "conv3d": _only("conv3d", _VOLUME, channels=5, kernel=3, padding=1, bias=True),
    "conv3d_uneven": _only(
        "conv3d", _VOLUME, channels=3, kernel=[3, 1, 2], stride=[1, 2, 2], padding=[[1, 0], 0, [0, 2]]
    ),
    "conv3d_dilated_groups": _only(
        "conv3d", _VOLUME, channels=6, kernel=[3, 1, 3], stride=[1, 2, 2], padding=2, dilation=2, groups=2
    ),
    "conv3d_same": _only("conv3d", _VOLUME, channels=3, kernel=3, stride=[1, 2, 2], padding="same"),
    "conv_transpose1d": _only("conv_transpose1d", (4, 5), channels=3, kernel=3, stride=2, padding=1, bias=True),
    "conv_transpose1d_same": _only("conv_transpose1d", (4, 5), channels=3, kernel=3, stride=2, padding="same"),
    "conv_transpose3d": _only(
        "conv_transpose3d", (4, 3, 2, 4), channels=3, kernel=[1, 2, 3], stride=[1, 2, 2], padding=[0, 0, 1]
    ),
    "linear": _only("linear", (6,), features=5),
    "linear_unbiased": _only("linear", (6,), features=5, bias=False),
    "linear_of_rows": Case({"rows": {"reshape": {"shape": [9, 32]}}, "layer": {"linear": {"features": 5}}}),
    "linear_of_a_map": _only("linear", features=5, bias=False),
    "matmul": Case({"other": "sigmoid", "layer": {"matmul": {"transpose_second": True}, "from": ["input", "other"]}}),
    "matmul_broadcast": Case(
        {
            "first": {"slice": {"stop": 1}},
            "layer": {"matmul": {"transpose_first": True, "factor": 0.3}, "from": ["first", "input"]},
        }
    ),
    "scale": Case({"layer.gamma": {"scale": {"shape": "channels", "initial": 1e-6}}}),
    "scale_of_a_vector": Case({"layer.gamma": {"scale": {"shape": "channels"}}}, shape=(6,)),
    "scale_by_a_number": Case({"layer": {"scale": {"shape": "scalar", "initial": 0.0}}}),
    "scale_of_each_element": Case({"layer": {"scale": {"shape": "map"}}}),
    "offset": Case({"layer": {"offset": {"shape": "channels"}}}),
    "offset_of_a_number": Case({"layer": {"offset": {"shape": "scalar", "initial": 1.0}}}),
    "offset_of_each_element": Case({"layer": {"offset": {"shape": "map"}}}),
    "parameter": Case({"layer": {"parameter": {"shape": [3, 5, 2]}}}),
    "batch_norm": _only("batch_norm", epsilon=1e-5, momentum=0.1, running_variance="unbiased"),
    "batch_norm_keras": _only("batch_norm", **_BATCH_NORM),
    "batch_norm_unscaled": _only("batch_norm", **_BATCH_NORM, scale=False),
    "batch_norm_plain": _only("batch_norm", **_BATCH_NORM, scale=False, offset=False),
    "batch_norm_of_a_vector": _only("batch_norm", (6,), epsilon=1e-5, momentum=0.1, running_variance="unbiased"),
    "batch_norm_of_a_row": Case(
        {"row": {"reshape": {"shape": [4, 9]}}, "layer": {"batch_norm": _BATCH_NORM}}, shape=(4, 3, 3)
    ),
    "batch_norm_of_four_axes": Case(
        {"row": {"reshape": {"shape": [4, 3, 3, 1]}}, "layer": {"batch_norm": _BATCH_NORM}}, shape=(4, 3, 3)
    ),
    "position_batch_norm": _only("position_batch_norm", (3, 5, 4), **_BATCH_NORM),
    "position_batch_norm_plain": _only("position_batch_norm", (3, 5, 4), **_BATCH_NORM, scale=False, offset=False),
    "group_norm": _only("group_norm", groups=2, epsilon=1e-5),
    "group_norm_plain": _only("group_norm", groups=4, epsilon=1e-3, scale=False, offset=False),
    "group_norm_of_a_row": Case(
        {"row": {"reshape": {"shape": [4, 9]}}, "layer": {"group_norm": {"groups": 2, "epsilon": 1e-5}}},
        shape=(4, 3, 3),
    ),
    "layer_norm": _only("layer_norm", epsilon=1e-6),
    "layer_norm_of_rows": _only("layer_norm", axis=2, epsilon=1e-3, scale=False),
    "layer_norm_of_a_vector": _only("layer_norm", (6,), epsilon=1e-5),
    "instance_norm": _only("instance_norm", epsilon=1e-5),
    "instance_norm_plain": _only("instance_norm", epsilon=1e-3, scale=False, offset=False),
    "evo_norm_s0": _only("evo_norm_s0", groups=2, epsilon=1e-5),
    "evo_norm_s0_without_its_gate": _only("evo_norm_s0", groups=2, epsilon=1e-3, gate=False),
    "filter_response_norm": _only("filter_response_norm", epsilon=1e-5, threshold=True),
    "filter_response_norm_linear": _only("filter_response_norm", epsilon=1e-3, threshold=False),
    "relu": _only("relu"),
    "relu6": _only("relu6"),
    "leaky_relu": _only("leaky_relu", slope=0.1),
    "prelu": _only("prelu", per_channel=True),
    "prelu_of_one_slope": _only("prelu", per_channel=False),
    "prelu_of_a_vector": _only("prelu", (6,), per_channel=True),
    "elu": _only("elu"),
    "elu_scaled": _only("elu", alpha=0.7),
    "silu": _only("silu"),
    "gelu": _only("gelu", approximate=False),
    "gelu_approximate": _only("gelu", approximate=True),
    "mish": _only("mish"),
    "sigmoid": _only("sigmoid"),
    "hard_sigmoid": _only("hard_sigmoid"),
    "hard_swish": _only("hard_swish"),
    "tanh": _only("tanh"),
    "softplus": _only("softplus"),
    "softmax": _only("softmax", (6,)),
    "dropout": _only("dropout", rate=0.3),
    "stochastic_depth": _only("stochastic_depth", rate=0.3),
    "max_pool1d": _only("max_pool1d", (4, 10), kernel=3, stride=2, padding=1),
    "max_pool1d_same": _only("max_pool1d", (4, 10), kernel=3, stride=2, padding="same"),
    "max_pool2d": _only("max_pool2d", kernel=3, stride=2, padding=1),
    "max_pool2d_uneven": _only("max_pool2d", kernel=[3, 2], stride=[2, 1], padding=[[1, 0], [0, 1]]),
    "max_pool2d_ceil": _only("max_pool2d", kernel=3, stride=2, padding=1, ceil_mode=True),
    "max_pool2d_same": _only("max_pool2d", kernel=3, stride=2, padding="same"),
    "max_pool3d": _only("max_pool3d", _VOLUME, kernel=[3, 2, 3], stride=[1, 2, 2], padding=[1, 1, [0, 1]]),
    "max_pool3d_ceil": _only("max_pool3d", _VOLUME, kernel=3, stride=2, padding=1, ceil_mode=True),
    "avg_pool1d": _only("avg_pool1d", (4, 10), kernel=3, stride=2, padding=1, count_include_pad=True),
    "avg_pool1d_without_pad": _only("avg_pool1d", (4, 10), kernel=4, stride=3, padding=2, count_include_pad=False),
    "avg_pool3d": _only("avg_pool3d", _VOLUME, kernel=3, stride=2, padding=1, count_include_pad=True),
    "avg_pool3d_ceil_without_pad": _only("avg_pool3d", _VOLUME, kernel=2, ceil_mode=True),
    "avg_pool2d": _only("avg_pool2d", kernel=3, stride=2, padding=1, count_include_pad=True),
    "avg_pool2d_without_pad": _only("avg_pool2d", kernel=3, stride=2, padding=1, count_include_pad=False),
    "avg_pool2d_ceil": _only("avg_pool2d", kernel=3, stride=2, padding=1, ceil_mode=True, count_include_pad=True),
    "avg_pool2d_ceil_without_pad": _only("avg_pool2d", kernel=2, ceil_mode=True),
    "avg_pool2d_same": _only("avg_pool2d", kernel=3, stride=2, padding="same", count_include_pad=False),
    "global_avg_pool": _only("global_avg_pool"),
    "global_max_pool": _only("global_max_pool"),
    "gem_pool": _only("gem_pool", epsilon=1e-3),
    "l2_normalize": _only("l2_normalize", epsilon=1e-3),
    "l2_normalize_of_columns": _only("l2_normalize", axis=2, epsilon=2.0),
    "mean": _only("mean", axis=[1, 2]),
    "mean_of_channels": _only("mean", axis=0),
    "max": _only("max", axis=[0, 2]),
    "max_of_rows": _only("max", axis=1),
    "sum": _only("sum", axis=0),
    "sum_of_columns": _only("sum", axis=2),
    "softmax_of_channels": _only("softmax"),
    "softmax_of_columns": _only("softmax", axis=2),
    "global_avg_pool_of_a_signal": _only("global_avg_pool", (4, 9)),
    "global_avg_pool_of_a_volume": _only("global_avg_pool", _VOLUME),
    "global_max_pool_of_a_signal": _only("global_max_pool", (4, 9)),
    "global_max_pool_of_a_volume": _only("global_max_pool", _VOLUME),
    "pad1d": _only("pad1d", (4, 6), padding=[[2, 1]], mode="reflect"),
    "pad3d": _only("pad3d", _VOLUME, padding=[[0, 1], 0, [2, 3]], value=-0.5),
    "pad_channels_of_a_volume": _only("pad_channels", _VOLUME, before=1, after=2),
    "pad2d": _only("pad2d", padding=[[0, 1], [2, 3]], value=-0.5),
    "pad2d_reflect": _only("pad2d", padding=[[0, 1], [2, 3]], mode="reflect"),
    "pad_channels": _only("pad_channels", before=1, after=2),
    "flatten": _only("flatten"),
    "transpose": _only("transpose", axes=[2, 0, 1]),
    "transpose_of_four_axes": Case(
        {"four": {"reshape": {"shape": [2, 2, 9, 8]}}, "layer": {"transpose": {"axes": [2, 0, 3, 1]}}}
    ),
    "flatten_positions": _only("flatten", axis=1),
    "reshape": Case({"layer": {"reshape": {"shape": [8, 9, 4]}}}),
    "slice": _only("slice", start=1, stop=3),
    "slice_of_rows": _only("slice", axis=1, start=2),
    "slice_part": _only("slice", part=1, parts=2),
    "slice_part_of_columns": _only("slice", axis=2, part=3, parts=4),
    "resize": _only("resize", mode="bilinear", coordinates="half_pixel", scale=2),
    "resize_to_a_size": _only("resize", mode="bilinear", coordinates="half_pixel", size=[13, 5]),
    "resize_aligned": _only("resize", mode="bilinear", coordinates="align_corners", size=[5, 13]),
    "resize_nearest": _only("resize", mode="nearest", coordinates="asymmetric", rounding="floor", size=[13, 5]),
    "resize_nearest_centered": _only(
        "resize", (2, 5, 4), mode="nearest", coordinates="half_pixel", rounding="half_up", scale=3
    ),
    "resize_like": Case(
        {
            "less": {"slice": {"axis": 1, "start": 4}},
            "layer": {
                "resize": {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up", "like": True},
                "from": ["less", "input"],
            },
        }
    ),
    "concat": Case({"other": "sigmoid", "layer": {"concat": {}, "from": ["other", "input"]}}),
    "concat_of_rows": Case(
        {"top": {"slice": {"axis": 1, "stop": 2}}, "layer": {"concat": {"axis": 1}, "from": ["top", "input", "top"]}}
    ),
    "add_broadcast": Case(
        {
            "row": {"slice": {"axis": 1, "stop": 1}},
            "column": {"slice": {"axis": 2, "stop": 1}, "from": "input"},
            "layer": {"add": {}, "from": ["row", "column"]},
        }
    ),
    "add": Case(
        {
            "first": "sigmoid",
            "other": {"relu": {}, "from": "input"},
            "layer": {"add": {}, "from": ["first", "other", "input"]},
        }
    ),
    "multiply": Case({"other": "sigmoid", "layer": {"multiply": {}, "from": ["input", "other"]}}),
    "multiply_by_a_constant": Case({"layer": {"multiply": {"factor": 0.3}}}),
    "multiply_twice": Case({"other": "sigmoid", "layer": {"multiply": {"factor": -1.7}, "from": ["input", "other"]}}),
    "subtract": Case({"other": "sigmoid", "layer": {"subtract": {}, "from": ["input", "other"]}}),
    "maximum": Case({"other": "sigmoid", "layer": {"maximum": {}, "from": ["input", "other"]}}),
    "multiply_gate": Case({"gate": "global_avg_pool", "layer": {"multiply": {}, "from": ["input", "gate"]}}),
}

# ---------------------------------------------------------------------------------------------------------------
# Blocks

_NORMALIZED = {
    "norm": {"batch_norm": {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}},
    "act": "relu",
}
_PREACTIVATED = {**_NORMALIZED, "conv": "conv2d"}
_BIT = {
    "conv": {"std_conv2d": {"epsilon": 1e-8}},
    "norm": {"group_norm": {"groups": 4, "epsilon": 1e-5}},
    "act": "relu",
}
_EVOLVED = {"conv": "conv2d", "norm": {"evo_norm_s0": {"groups": 4, "epsilon": 1e-5}}, "act": "none"}
_RESPONDING = {
    "conv": "conv2d",
    "norm": {"filter_response_norm": {"epsilon": 1e-5, "threshold": True}},
    "act": "none",
}
_KERAS = {
    "conv": {"conv2d": {"bias": True}},
    "norm": {"batch_norm": {"epsilon": 1.001e-5, "decay": 0.99, "running_variance": "biased"}},
    "act": "relu",
}
_HUB = {"norm": {"batch_norm": {"epsilon": 1e-5, "decay": 0.9, "running_variance": "biased"}}, "act": "relu"}
_TUTORIAL = {**_KERAS, "norm": {"batch_norm": {"epsilon": 1e-3, "decay": 0.99, "running_variance": "biased"}}}
_SLIM = {
    "norm": {"batch_norm": {"epsilon": 1e-5, "decay": 0.997, "running_variance": "unbiased"}},
    "act": "relu",
}
_POSITIONS = {
    "norm": {"position_batch_norm": {"epsilon": 1e-6, "decay": 0.99, "running_variance": "biased"}},
    "act": "relu",
}


def _stage(
    block: str, definitions: dict[str, Any], inputs: int = 4, size: tuple[int, int] = (7, 6), **args: Any
) -> Case:
    """One block, whose nodes are called ``block.0.…``."""
    return Case(stage={"block": block, **args}, shape=(inputs, *size), definitions=definitions)


def _mirrored(block: str, kind: str, inputs: int, size: tuple[int, int] = (5, 4), **args: Any) -> Case:
    """A block of an encoder or a decoder, whose units are of convolutions (``conv``) or their transposes."""
    operation = {"conv": "conv2d", "deconv": "conv_transpose2d"}[kind]
    unit = {
        "parameters": {"channels": "int", "kernel": "int", "stride": 1, "activation": "act"},
        "main": {
            kind: {kind: {"channels": "channels", "kernel": "kernel", "stride": "stride"}},
            "bn": "norm",
            "relu": "activation",
        },
    }
    definitions = {kind: {operation: {"padding": "same", "bias": True}}, **_POSITIONS}
    return Case(stage={"block": block, **args}, shape=(inputs, *size), definitions=definitions, blocks={"unit": unit})


BLOCKS: dict[str, Case] = {
    "attention_pool": _stage("attention_pool", {}, size=(3, 2), heads=2, features=5),
    "average": _stage("average", {}, stride=2),
    "avg_projection": _stage("avg_projection", _NORMALIZED, channels=8, stride=2),
    "avg_projection_dilated": _stage("avg_projection", _NORMALIZED, channels=8, dilation=2),
    "avg_projection_unpooled": _stage("avg_projection", _NORMALIZED, channels=8),
    "basic_block": _stage("basic_block", _NORMALIZED, channels=8, stride=2),
    "basic_block_identity": _stage("basic_block", _NORMALIZED, channels=4),
    "basic_block_transformers": _stage("basic_block", _NORMALIZED, channels=8, stride=2),
    "basic_block_dilated": _stage("basic_block", _NORMALIZED, channels=4, dilation=2, first_dilation=1),
    "basic_block_gated": _stage(
        "basic_block",
        _NORMALIZED,
        size=(5, 4),
        channels=8,
        stride=2,
        anti_alias="blur",
        attention="squeeze_excite",
        projection="avg_projection",
        drop_path={"stochastic_depth": {"rate": 0.2}},
    ),
    "blur": _stage("blur", {}, stride=2),
    "bottleneck": _stage("bottleneck", _NORMALIZED, width=3, channels=12, stride=2),
    "bottleneck_identity": _stage("bottleneck", _NORMALIZED, 8, (5, 6), width=2, channels=8),
    "bottleneck_grouped": _stage("bottleneck", _NORMALIZED, width=4, channels=8, stride=2, groups=2),
    "bottleneck_transformers": _stage("bottleneck", _NORMALIZED, width=2, channels=8, stride=2),
    "bottleneck_gated": _stage(
        "bottleneck",
        _NORMALIZED,
        size=(6, 8),
        width=2,
        channels=8,
        stride=2,
        anti_alias="average",
        attention="eca_gate",
        projection="avg_projection",
    ),
    "bottleneck_dilated": _stage(
        "bottleneck",
        _NORMALIZED,
        size=(4, 3),
        width=4,
        first_width=2,
        channels=16,
        dilation=2,
        first_dilation=1,
        projection={"conv_projection": {"kernel": 3}},
    ),
    "byob_pooled_bottleneck": _stage(
        "byob_pooled_bottleneck", _NORMALIZED, size=(4, 2), width=8, channels=16, stride=2
    ),
    "byob_pooled_bottleneck_identity": _stage("byob_pooled_bottleneck", _NORMALIZED, 16, (3, 4), width=8, channels=16),
    "byob_regnetz_evo_norm_bottleneck": _stage(
        "byob_regnetz_evo_norm_bottleneck",
        {"norm": {"evo_norm_s0": {"epsilon": 1e-3}}, "act": "none"},
        16,
        (3, 2),
        channels=16,
        expansion=1,
        group_width=16,
        attention={"squeeze_excite": {"reduction": 4}},
    ),
    "cifar_basic_block": _stage("cifar_basic_block", _NORMALIZED, channels=8, stride=2),
    "cifar_basic_block_padded": _stage(
        "cifar_basic_block", _NORMALIZED, channels=8, stride=2, projection="zero_padding"
    ),
    "cifar_bottleneck": _stage("cifar_bottleneck", _NORMALIZED, width=2, channels=8, stride=2),
    "cifar_preact_basic_block": _stage("cifar_preact_basic_block", _NORMALIZED, channels=8, stride=2),
    "cifar_preact_basic_block_identity": _stage("cifar_preact_basic_block", _NORMALIZED, channels=4),
    "cifar_preact_basic_block_split": _stage("cifar_preact_basic_block", _NORMALIZED, channels=4, split_activated=True),
    "cifar_preact_bottleneck": _stage("cifar_preact_bottleneck", _NORMALIZED, width=2, channels=8, stride=2),
    "cifar_preact_bottleneck_identity": _stage("cifar_preact_bottleneck", _NORMALIZED, 8, (5, 6), width=2, channels=8),
    "conv_projection": _stage("conv_projection", _NORMALIZED, channels=8, stride=2),
    "conv_projection_dilated": _stage("conv_projection", _NORMALIZED, channels=8, dilation=2, kernel=3),
    "deep_stem": _stage("deep_stem", _NORMALIZED, 3, (9, 8), width=4),
    "deep_stem_tiered": _stage("deep_stem", _NORMALIZED, 3, (9, 8), width=4, first_width=3),
    "eca_gate": _stage("eca_gate", {}, 6),
    "eca_gate_wide": _stage("eca_gate", {}, 6, kernel=5),
    "keras_bottleneck": _stage("keras_bottleneck", _KERAS, width=2, channels=8, stride=2),
    "keras_bottleneck_identity": _stage("keras_bottleneck", _KERAS, 8, (5, 6), width=2, channels=8),
    "keras_hub_basic_block": _stage("keras_hub_basic_block", _HUB, channels=8, stride=2),
    "keras_hub_basic_block_average": _stage(
        "keras_hub_basic_block", _HUB, 8, (3, 2), channels=8, average=True, projects=True
    ),
    "keras_hub_bottleneck": _stage("keras_hub_bottleneck", _HUB, width=2, channels=8, stride=2),
    "keras_hub_bottleneck_average": _stage("keras_hub_bottleneck", _HUB, width=2, channels=8, stride=2, average=True),
    "keras_hub_bottleneck_identity": _stage("keras_hub_bottleneck", _HUB, 8, (5, 6), width=2, channels=8),
    "keras_hub_preact_bottleneck": _stage("keras_hub_preact_bottleneck", _HUB, width=2, channels=8, stride=2),
    "keras_preact_bottleneck": _stage("keras_preact_bottleneck", _KERAS, width=2, channels=8, stride=2),
    "keras_preact_bottleneck_pooled": _stage(
        "keras_preact_bottleneck", _KERAS, 8, (5, 6), width=2, channels=8, stride=2
    ),
    "mirror_basic_decoder": _mirrored("mirror_basic_decoder", "deconv", 4, (3, 2), width=4, stride=2),
    "mirror_basic_decoder_identity": _mirrored("mirror_basic_decoder", "deconv", 4, width=4),
    "mirror_basic_encoder": _mirrored("mirror_basic_encoder", "conv", 3, width=4, stride=2, project=True),
    "mirror_basic_encoder_identity": _mirrored("mirror_basic_encoder", "conv", 4, width=4, project=False),
    "mirror_bottleneck_decoder": _mirrored("mirror_bottleneck_decoder", "deconv", 4, (3, 2), width=8, stride=2),
    "mirror_bottleneck_decoder_identity": _mirrored("mirror_bottleneck_decoder", "deconv", 2, width=8),
    "mirror_bottleneck_encoder": _mirrored("mirror_bottleneck_encoder", "conv", 3, width=2, stride=2, project=True),
    "mirror_bottleneck_encoder_identity": _mirrored("mirror_bottleneck_encoder", "conv", 8, width=2, project=False),
    "msra_bottleneck": _stage("msra_bottleneck", _NORMALIZED, width=2, channels=8, stride=2),
    "msra_bottleneck_dilated": _stage("msra_bottleneck", _NORMALIZED, 8, (5, 6), width=2, channels=8, dilation=2),
    "preact_basic_block": _stage(
        "preact_basic_block",
        _PREACTIVATED,
        8,
        (5, 4),
        width=16,
        channels=16,
        stride=2,
        projection={"preact_projection": {"average": True}},
    ),
    "preact_basic_block_dilated": _stage(
        "preact_basic_block",
        _PREACTIVATED,
        8,
        (5, 4),
        width=8,
        channels=8,
        dilation=2,
        first_dilation=1,
        projection={"preact_projection": {"average": True}},
    ),
    "preact_basic_block_identity": _stage(
        "preact_basic_block",
        _PREACTIVATED,
        8,
        (5, 4),
        width=8,
        channels=8,
        projection="preact_projection",
        drop_path={"stochastic_depth": {"rate": 0.2}},
    ),
    "preact_bottleneck": _stage(
        "preact_bottleneck", _BIT, 8, (5, 4), width=8, channels=16, stride=2, projection="preact_projection"
    ),
    "preact_bottleneck_identity": _stage("preact_bottleneck", _PREACTIVATED, 8, (5, 4), width=8, channels=8),
    "preact_bottleneck_evolved": _stage(
        "preact_bottleneck",
        _EVOLVED,
        8,
        (5, 4),
        width=8,
        channels=16,
        stride=2,
        projection={"preact_projection": {"average": True}},
    ),
    "preact_bottleneck_responding": _stage(
        "preact_bottleneck", _RESPONDING, 8, (5, 4), width=8, channels=8, dilation=2, first_dilation=1
    ),
    "preact_projection": _stage("preact_projection", _BIT, channels=8, stride=2),
    "preact_projection_average": _stage("preact_projection", _PREACTIVATED, channels=8, stride=2, average=True),
    "preact_projection_dilated": _stage("preact_projection", _PREACTIVATED, channels=8, dilation=2, average=True),
    "resnext_bottleneck": _stage("resnext_bottleneck", _NORMALIZED, width=4, channels=8, groups=2, stride=2),
    "resnext_bottleneck_identity": _stage("resnext_bottleneck", _NORMALIZED, 8, (5, 6), width=4, channels=8, groups=2),
    "simclr_bottleneck": _stage("simclr_bottleneck", _NORMALIZED, width=2, channels=8, stride=2),
    "simclr_bottleneck_identity": _stage("simclr_bottleneck", _NORMALIZED, 8, (3, 4), width=2, channels=8),
    "simclr_bottleneck_unstrided": _stage("simclr_bottleneck", _NORMALIZED, size=(3, 4), width=2, channels=8),
    "slim_bottleneck": _stage("slim_bottleneck", _SLIM, width=2, channels=8, stride=2),
    "slim_bottleneck_pooled": _stage("slim_bottleneck", _SLIM, 8, (5, 6), width=2, channels=8, stride=2),
    "slim_bottleneck_dilated": _stage("slim_bottleneck", _SLIM, 8, (5, 6), width=2, channels=8, dilation=2),
    "slim_preact_bottleneck": _stage("slim_preact_bottleneck", _SLIM, width=2, channels=8, stride=2),
    "slim_preact_bottleneck_pooled": _stage("slim_preact_bottleneck", _SLIM, 8, (5, 6), width=2, channels=8, stride=2),
    "slim_preact_bottleneck_dilated": _stage(
        "slim_preact_bottleneck", _SLIM, 8, (5, 6), width=2, channels=8, dilation=2
    ),
    "squeeze_excite": _stage("squeeze_excite", {}, 6),
    "squeeze_excite_wide": _stage("squeeze_excite", {}, 16, (5, 4), reduction=1),
    "tutorial_block": _stage("tutorial_block", _TUTORIAL, channels=6, stride=2),
    "tutorial_block_identity": _stage("tutorial_block", _TUTORIAL, channels=4),
    "wide_basic_block": _stage("wide_basic_block", _NORMALIZED, channels=8, stride=2, dropout_rate=0.3),
    "wide_basic_block_identity": _stage("wide_basic_block", _NORMALIZED, channels=4),
    "zero_padding": _stage("zero_padding", {}, channels=8, stride=2),
}

CASES: dict[str, Case] = {f"operations/{name}": case for name, case in OPERATIONS.items()}
CASES |= {f"blocks/{name}": case for name, case in BLOCKS.items()}
"""Every case by its name, which is its trace's path below ``FOLDER`` too."""

# ---------------------------------------------------------------------------------------------------------------
# What goes through them


def path_of(name: str) -> Path:
    """Where a case's trace is."""
    return FOLDER / f"{name}.safetensors"


def graph_of(name: str) -> Graph:
    """A case's graph, by way of a spec's file as anyone would write it."""
    case = CASES[name]
    spec = {
        "name": name,
        "input": Input.of(case.shape).model_dump(),
        "layers": case.definitions,
        "blocks": case.blocks,
        "stem": case.layers,
        "stages": {"block": case.stage} if case.stage else {},
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, "spec.yaml")
        path.write_text(json.dumps(spec), encoding="utf-8")
        return resnet_spec.load(path).to_graph()


def arrays_of(graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Random values for every parameter."""
    return {parameter.name: _drawn(parameter) for parameter in graph.parameters()}


def _drawn(parameter: Parameter) -> NDArray[np.float32]:
    rng = np.random.default_rng([SEED, zlib.crc32(parameter.name.encode())])
    if parameter.role in _RANGES:
        return rng.uniform(*_RANGES[parameter.role], parameter.shape).astype(np.float32)
    return (rng.standard_normal(parameter.shape) / prod(parameter.shape[1:]) ** 0.5).astype(np.float32)


def images_of(graph: Graph) -> NDArray[np.float64]:
    """A batch of inputs, each value one that float32 holds too.

    They reach from below 0 throughout, in the first channel, to beyond 6: the pad of a pool shows, and the limit of
    another activation.
    """
    normal = random_images((BATCH, *graph.input.shape), SEED)
    shifts = np.linspace(-10, 2, graph.input.shape[0]).reshape(-1, *[1] * (normal.ndim - 2))
    return (3 * normal + shifts).astype(np.float32).astype(np.float64)
