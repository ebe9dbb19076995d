"""Roles of parameters, which decide layout, name and initialization in every framework."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a parameter is for; each framework's layout and name of it follow from the role.

    Attributes:
        conv_kernel: Kernel of a convolution.
        conv_bias: Bias of a convolution.
        conv_gain: The gain of ``std_conv2d``.
        conv_transpose_kernel: Kernel of a transposed convolution.
        linear_kernel: Kernel of a linear layer.
        linear_bias: Bias of a linear layer.
        norm_scale: Scale of a normalization.
        norm_offset: Offset of a normalization.
        norm_mean: Running mean.
        norm_variance: Running variance.
        norm_gate: The factor before the sigmoid of ``evo_norm_s0``.
        norm_threshold: The threshold of ``filter_response_norm``.
        activation_slope: The slope of ``prelu``.
        pool_power: The power of ``gem_pool``.
        learned_scale: The factor of ``scale``.
        learned_offset: The term of ``offset``.
        learned_value: The value of ``parameter``.
        position_scale: Scale of a normalization at each position.
        position_offset: Offset of a normalization at each position.
        position_mean: Running mean at each position.
        position_variance: Running variance at each position.
    """

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
