"""What a parameter is: the role by which every framework lays it out and names it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a parameter is, hence how each framework lays it out and names it."""

    CONV_KERNEL = "conv_kernel"
    CONV_BIAS = "conv_bias"
    CONV_TRANSPOSE_KERNEL = "conv_transpose_kernel"
    LINEAR_KERNEL = "linear_kernel"
    LINEAR_BIAS = "linear_bias"
    NORM_SCALE = "norm_scale"
    NORM_OFFSET = "norm_offset"
    NORM_MEAN = "norm_mean"
    NORM_VARIANCE = "norm_variance"
    NORM_GATE = "norm_gate"
    NORM_THRESHOLD = "norm_threshold"
    POSITION_SCALE = "position_scale"
    POSITION_OFFSET = "position_offset"
    POSITION_MEAN = "position_mean"
    POSITION_VARIANCE = "position_variance"

    @property
    def trainable(self) -> bool:
        return self not in STATISTICS


KERNELS = frozenset({Role.CONV_KERNEL, Role.CONV_TRANSPOSE_KERNEL, Role.LINEAR_KERNEL})


BIASES = frozenset({Role.CONV_BIAS, Role.LINEAR_BIAS})


SCALES = frozenset({Role.NORM_SCALE, Role.POSITION_SCALE})


OFFSETS = frozenset({Role.NORM_OFFSET, Role.POSITION_OFFSET})


MEANS = frozenset({Role.NORM_MEAN, Role.POSITION_MEAN})


VARIANCES = frozenset({Role.NORM_VARIANCE, Role.POSITION_VARIANCE})


STATISTICS = MEANS | VARIANCES
