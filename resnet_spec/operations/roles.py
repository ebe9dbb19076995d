"""Roles of parameters, which decide layout, name and initialization in every framework."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a parameter is for; each framework's layout and name of it follow from the role."""

    CONV_KERNEL = "conv_kernel"
    CONV_BIAS = "conv_bias"
    CONV_GAIN = "conv_gain"
    CONV_TRANSPOSE_KERNEL = "conv_transpose_kernel"
    LINEAR_KERNEL = "linear_kernel"
    LINEAR_BIAS = "linear_bias"
    NORM_SCALE = "norm_scale"
    NORM_OFFSET = "norm_offset"
    NORM_MEAN = "norm_mean"
    NORM_VARIANCE = "norm_variance"
    NORM_GATE = "norm_gate"
    NORM_THRESHOLD = "norm_threshold"
    ACTIVATION_SLOPE = "activation_slope"
    POOL_POWER = "pool_power"
    LEARNED_SCALE = "learned_scale"
    LEARNED_OFFSET = "learned_offset"
    LEARNED_VALUE = "learned_value"
    POSITION_SCALE = "position_scale"
    POSITION_OFFSET = "position_offset"
    POSITION_MEAN = "position_mean"
    POSITION_VARIANCE = "position_variance"

    @property
    def trainable(self) -> bool:
        """Whether an optimizer updates the parameter; running statistics are not trained."""
        return self not in STATISTICS


KERNELS = frozenset({Role.CONV_KERNEL, Role.CONV_TRANSPOSE_KERNEL, Role.LINEAR_KERNEL})
BIASES = frozenset({Role.CONV_BIAS, Role.LINEAR_BIAS})
SCALES = frozenset({Role.NORM_SCALE, Role.POSITION_SCALE})
OFFSETS = frozenset({Role.NORM_OFFSET, Role.POSITION_OFFSET})
MEANS = frozenset({Role.NORM_MEAN, Role.POSITION_MEAN})
VARIANCES = frozenset({Role.NORM_VARIANCE, Role.POSITION_VARIANCE})
STATISTICS = MEANS | VARIANCES
LEARNED = frozenset({Role.LEARNED_SCALE, Role.LEARNED_OFFSET, Role.LEARNED_VALUE})
