"""Normalizations by the statistics of a batch, of groups of channels, or of single channels."""

from __future__ import annotations

from math import prod
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from resnet_spec.operations.base import NORMALIZING, TRANSCENDENTAL, BaseOperation, Category, ParameterSlot, as_fields
from resnet_spec.operations.fields import (
    Axis,
    Count,
    Epsilon,
    Flag,
    Real,
    Shape,
    ShapeError,
    as_text,
    need_axes,
    need_axis,
    need_positions,
)
from resnet_spec.operations.roles import Role


class _BatchNormalization(BaseOperation):
    """Normalization by the statistics of a batch in training and by running statistics in inference.

    Attributes:
        epsilon: Added to the variance before the root is taken.
        momentum: Weight of the newest batch in the running statistics, as in PyTorch. A spec states ``momentum`` or
            ``decay``.
        decay: 1 - momentum, as in Keras and TensorFlow; a graph has ``momentum``.
        running_variance: Whether the running variance is divided by n - 1 (``unbiased``, PyTorch) or by n
            (``biased``, Keras).
        scale: Whether the result is multiplied by a trainable scale.
        offset: Whether a trainable offset is added to the result.
    """

    category = Category.NORMALIZATION
    aliases = ("decay",)
    training_fields = MappingProxyType({"momentum": 0.1, "running_variance": "unbiased"})

    epsilon: Epsilon
    momentum: Annotated[Real, Field(ge=0, le=1)]
    running_variance: Literal["biased", "unbiased"]
    scale: Flag = True
    offset: Flag = True

    @model_validator(mode="before")
    @classmethod
    def _momentum_from_decay(cls, data: Any) -> Any:
        fields = as_fields(data)
        decay = fields.get("decay")
        if "momentum" in fields and "decay" in fields:
            raise ValueError("momentum and decay exclude each other (decay is 1 - momentum); remove one")
        if "momentum" in fields or isinstance(decay, bool) or not isinstance(decay, int | float):
            return cast("object", data)
        # Rounded, so that a decay of 0.99 is the same graph as a momentum of 0.01.
        return {k: v for k, v in fields.items() if k != "decay"} | {"momentum": round(1 - decay, 12)}

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING

    def _slots(self, shape: Shape, roles: tuple[Role, Role, Role, Role]) -> tuple[ParameterSlot, ...]:
        scale, offset, mean, variance = roles
        affine = [ParameterSlot("weight", shape, scale)] if self.scale else []
        if self.offset:
            affine.append(ParameterSlot("bias", shape, offset))
        return (*affine, ParameterSlot("running_mean", shape, mean), ParameterSlot("running_var", shape, variance))


class _Grouped(BaseOperation):
    """Normalization over groups of channels and all positions of one image.

    Attributes:
        groups: Number of groups of channels; it must divide the channels.
        epsilon: Added to the variance before the root is taken.
    """

    category = Category.NORMALIZATION

    groups: Count
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_axes(inputs[0])
        if shape[0] % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} channels")
        return shape

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0]) // self.groups


class _Affine(BaseOperation):
    """A normalization with a scale and an offset, one number of each along one axis.

    Attributes:
        scale: Whether the result is multiplied by a trainable scale.
        offset: Whether a trainable offset is added to the result.
    """

    category = Category.NORMALIZATION

    scale: Flag = True
    offset: Flag = True

    def _affine(self, size: int) -> tuple[ParameterSlot, ...]:
        scale = (ParameterSlot("weight", (size,), Role.NORM_SCALE),) if self.scale else ()
        return (*scale, ParameterSlot("bias", (size,), Role.NORM_OFFSET)) if self.offset else scale


class BatchNorm(_BatchNormalization):
    """Batch normalization (Ioffe and Szegedy 2015) over the batch and all positions, with (channels,) parameters.

    A vector is normalized over the batch, with (features,) parameters.
    """

    label = "BatchNorm2d"

    op: Literal["batch_norm"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_axes(inputs[0])

    def label_for(self, *inputs: Shape) -> str:
        return f"BatchNorm{_rank(inputs[0])}d"

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.NORM_SCALE, Role.NORM_OFFSET, Role.NORM_MEAN, Role.NORM_VARIANCE)
        return self._slots((inputs[0][0],), roles)


class PositionBatchNorm(_BatchNormalization):
    """Batch normalization over the batch only, with (channels, height, width) parameters.

    The input size is part of the architecture.
    """

    label = "PositionBatchNorm2d"

    op: Literal["position_batch_norm"]

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_positions(inputs[0])

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.POSITION_SCALE, Role.POSITION_OFFSET, Role.POSITION_MEAN, Role.POSITION_VARIANCE)
        return self._slots(inputs[0], roles)


class GroupNorm(_Affine, _Grouped):
    """Group normalization (Wu and He 2018) with (channels,) parameters."""

    label = "GroupNorm"

    op: Literal["group_norm"]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return self._affine(inputs[0][0])


class LayerNorm(_Affine):
    """Layer normalization (Ba et al. 2016) over one axis, at each position of the others.

    Over the channels of a map it is ConvNeXt's LayerNorm2d, over the last axis of a sequence PyTorch's LayerNorm. The
    variance is divided by n.

    Attributes:
        axis: The axis that is normalized, whose size scale and offset have; 0 is the channels.
        epsilon: Added to the variance before the root is taken.
    """

    label = "LayerNorm"

    op: Literal["layer_norm"]
    axis: Axis = 0
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        need_axis(need_axes(inputs[0]), self.axis)
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return self._affine(inputs[0][self.axis])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + inputs[0][self.axis]


class InstanceNorm(_Affine):
    """Instance normalization (Ulyanov et al. 2016): each channel over all its positions, with (channels,) parameters.

    The variance is divided by n.

    Attributes:
        epsilon: Added to the variance before the root is taken.
    """

    label = "InstanceNorm2d"

    op: Literal["instance_norm"]
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_axes(inputs[0], 2)
        if prod(shape[1:]) == 1:
            raise ShapeError(f"normalizes over positions, of which {as_text(shape)} has only one; remove it")
        return shape

    def label_for(self, *inputs: Shape) -> str:
        return f"InstanceNorm{_rank(inputs[0])}d"

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        return self._affine(inputs[0][0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0][1:])


def _rank(shape: Shape) -> int:
    """Return the rank in the name of PyTorch's module, which counts positions; a vector is a row of one."""
    return max(1, len(shape) - 1)


class EvoNormS0(_Grouped):
    """EvoNorm-S0 (Liu et al. 2020), a normalization and activation in one.

    x · sigmoid(v · x) / sqrt(variance + epsilon) · scale + offset, with a variance divided by n over each group of
    channels and all positions. Scale, offset and ``v`` are (channels,).

    Attributes:
        gate: Whether the sigmoid is a factor; without it only the normalization is left.
    """

    label = "EvoNormS0"

    op: Literal["evo_norm_s0"]
    gate: Flag = True

    def output_shape(self, *inputs: Shape) -> Shape:
        return super().output_shape(need_positions(inputs[0]))

    def roundings(self, *inputs: Shape) -> int:
        return super().roundings(*inputs) + TRANSCENDENTAL * self.gate

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        affine = ParameterSlot("weight", shape, Role.NORM_SCALE), ParameterSlot("bias", shape, Role.NORM_OFFSET)
        return (*affine, ParameterSlot("v", shape, Role.NORM_GATE)) if self.gate else affine


class FilterResponseNorm(BaseOperation):
    """Filter response normalization (Singh and Krishnan 2020): division by each channel's root mean square.

    x / sqrt(mean(x²) + epsilon) · scale + offset, with the mean over all positions and (channels,) parameters.

    Attributes:
        epsilon: Added to the mean square before the root is taken.
        threshold: Whether the paper's thresholded linear unit follows: max(x, tau) with a trainable ``tau``.
    """

    category = Category.NORMALIZATION
    label = "FilterResponseNorm"

    op: Literal["filter_response_norm"]
    epsilon: Epsilon
    threshold: Flag

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_positions(inputs[0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0][1:])

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        affine = ParameterSlot("weight", shape, Role.NORM_SCALE), ParameterSlot("bias", shape, Role.NORM_OFFSET)
        return (*affine, ParameterSlot("tau", shape, Role.NORM_THRESHOLD)) if self.threshold else affine


class L2Normalize(BaseOperation):
    """Division by the Euclidean norm along an axis, which is at least ``epsilon``: x / max(‖x‖, epsilon).

    Attributes:
        axis: The axis, counted without the batch: 0 is the channels, or the features of a vector.
        epsilon: The smallest divisor.
    """

    category = Category.NORMALIZATION
    label = "L2Normalize"

    op: Literal["l2_normalize"]
    axis: Axis = 0
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        need_axis(inputs[0], self.axis)
        return inputs[0]

    def roundings(self, *inputs: Shape) -> int:
        # A square and a sum for each value, a root and a quotient.
        return inputs[0][self.axis] + 3
