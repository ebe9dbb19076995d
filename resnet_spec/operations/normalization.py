"""Normalizations: by the statistics of a batch, of groups of channels, and of single channels."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from resnet_spec.operations.base import NORMALIZING, TRANSCENDENTAL, BaseOperation, Category, ParameterSlot, mapping
from resnet_spec.operations.fields import Count, Epsilon, Flag, Real, Shape, ShapeError, need_map
from resnet_spec.operations.roles import Role


class _BatchNormalization(BaseOperation):
    """Normalization by the statistics of a batch, which are kept for inference.

    ``momentum`` is the weight of the newest batch in the running statistics, as PyTorch counts it; a spec may say
    ``decay`` instead, the weight of the old value, as Keras and TensorFlow count it. ``running_variance`` says
    whether the variance that is kept is divided by n-1 (``unbiased``, PyTorch) or by n (``biased``, Keras).
    """

    category = Category.NORMALIZATION
    aliases = ("decay",)

    epsilon: Epsilon
    momentum: Annotated[Real, Field(ge=0, le=1)]
    running_variance: Literal["biased", "unbiased"]
    scale: Flag = True
    offset: Flag = True

    @model_validator(mode="before")
    @classmethod
    def _momentum_from_decay(cls, data: Any) -> Any:
        fields = mapping(data)
        decay = fields.get("decay")
        if "momentum" in fields and "decay" in fields:
            raise ValueError("takes momentum or decay, which is 1 - momentum, not both")
        if "momentum" in fields or isinstance(decay, bool) or not isinstance(decay, int | float):
            return cast("object", data)
        # Rounded, so that a decay of 0.99 is the same graph as a momentum of 0.01.
        return {k: v for k, v in fields.items() if k != "decay"} | {"momentum": round(1 - decay, 12)}

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_map(inputs[0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING

    def _slots(self, shape: Shape, roles: tuple[Role, Role, Role, Role]) -> tuple[ParameterSlot, ...]:
        scale, offset, mean, variance = roles
        affine = [ParameterSlot("weight", shape, scale)] if self.scale else []
        if self.offset:
            affine.append(ParameterSlot("bias", shape, offset))
        return (*affine, ParameterSlot("running_mean", shape, mean), ParameterSlot("running_var", shape, variance))


class _Grouped(BaseOperation):
    """A normalization over groups of channels and all positions of one image."""

    category = Category.NORMALIZATION

    groups: Count
    epsilon: Epsilon

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = need_map(inputs[0])
        if shape[0] % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide {shape[0]} channels")
        return shape

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0]) // self.groups


class BatchNorm(_BatchNormalization):
    """Batch normalization over batch, height and width."""

    label = "BatchNorm2d"

    op: Literal["batch_norm"]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.NORM_SCALE, Role.NORM_OFFSET, Role.NORM_MEAN, Role.NORM_VARIANCE)
        return self._slots((inputs[0][0],), roles)


class PositionBatchNorm(_BatchNormalization):
    """Batch normalization over the batch alone: each channel has statistics, scale and offset at each position."""

    label = "PositionBatchNorm2d"

    op: Literal["position_batch_norm"]

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        roles = (Role.POSITION_SCALE, Role.POSITION_OFFSET, Role.POSITION_MEAN, Role.POSITION_VARIANCE)
        return self._slots(inputs[0], roles)


class GroupNorm(_Grouped):
    """Normalization of each image over groups of channels and all positions (Wu and He 2018)."""

    label = "GroupNorm"

    op: Literal["group_norm"]
    scale: Flag = True
    offset: Flag = True

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        scale = (ParameterSlot("weight", shape, Role.NORM_SCALE),) if self.scale else ()
        return (*scale, ParameterSlot("bias", shape, Role.NORM_OFFSET)) if self.offset else scale


class EvoNormS0(_Grouped):
    """Normalization and activation in one (Liu et al. 2020, EvoNorm-S0).

    x · sigmoid(v · x) / sqrt(variance + epsilon) · scale + offset, with a biased variance over each group of channels
    and all positions.
    """

    label = "EvoNormS0"

    op: Literal["evo_norm_s0"]

    def roundings(self, *inputs: Shape) -> int:
        return super().roundings(*inputs) + TRANSCENDENTAL

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        return (
            ParameterSlot("weight", shape, Role.NORM_SCALE),
            ParameterSlot("bias", shape, Role.NORM_OFFSET),
            ParameterSlot("v", shape, Role.NORM_GATE),
        )


class FilterResponseNorm(BaseOperation):
    """Division by each channel's root mean square over all positions (Singh and Krishnan 2020).

    x / sqrt(mean(x²) + epsilon) · scale + offset; with ``threshold`` the paper's activation follows, a thresholded
    linear unit: the larger of that and a learned ``tau``.
    """

    category = Category.NORMALIZATION
    label = "FilterResponseNorm"

    op: Literal["filter_response_norm"]
    epsilon: Epsilon
    threshold: Flag

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_map(inputs[0])

    def roundings(self, *inputs: Shape) -> int:
        return NORMALIZING + prod(inputs[0][1:])

    def parameters(self, *inputs: Shape) -> tuple[ParameterSlot, ...]:
        shape = (inputs[0][0],)
        affine = ParameterSlot("weight", shape, Role.NORM_SCALE), ParameterSlot("bias", shape, Role.NORM_OFFSET)
        return (*affine, ParameterSlot("tau", shape, Role.NORM_THRESHOLD)) if self.threshold else affine
