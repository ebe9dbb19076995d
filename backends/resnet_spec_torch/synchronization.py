"""Batch normalization by the statistics of the whole group of processes, on any device.

``torch.nn.SyncBatchNorm`` refuses tensors on the CPU, and has neither a biased running variance nor statistics of each
position. One collective forward gathers the number of values, the means and the squared deviations of each process, and
one backward adds up the sums of the gradients; in between PyTorch's own kernels compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def is_synchronized(group: ProcessGroup | None) -> bool:
    """Whether there are other processes in a group, or without one in the default group."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size(group) > 1


def synchronized_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float, group: ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalize the batch of all processes, each of which passes its part of it.

    Args:
        input: (N, C, ...); N may differ between processes, and be 0.
        weight: The scale, (C,).
        bias: The offset, (C,).
        epsilon: What is added to the variance.
        group: The processes; all of the default group if it is None.

    Returns:
        This process's part of the output, and of the whole batch the mean and the biased variance of each channel, and
        the number of values of a channel.

    Raises:
        ValueError: The whole batch has one value per channel, which has no variance.
    """
    return cast("Any", _SynchronizedBatchNorm).apply(input, weight, bias, epsilon, group)


class _SynchronizedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float, group: ProcessGroup | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _moments(input, group)
        # The native function takes a scale and an offset of the statistics' dtype only.
        affine = (None if tensor is None else tensor.to(mean.dtype) for tensor in (weight, bias))
        output = functional.batch_norm(input, mean, variance, *affine, training=False, eps=epsilon)
        ctx.save_for_backward(input, weight, mean, torch.rsqrt(variance + epsilon), count)
        ctx.group = group
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (input, weight, bias)]
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        input, weight, mean, deviation_inverse, count = ctx.saved_tensors
        axes = _axes(input)
        wide = gradient.to(mean.dtype)
        normalized = (input - _by_channel(mean, input)) * _by_channel(deviation_inverse, input)
        offset, scale = wide.sum(axes), (wide * normalized).sum(axes)
        gradients: list[Tensor | None] = [None, scale, offset]
        if ctx.needs_input_grad[0]:
            # The mean and the variance depend on the values of all processes, and all outputs depend on them.
            sums = torch.stack([offset, scale])
            cast("Any", distributed).all_reduce(sums, group=ctx.group)
            means = sums / count.clamp(min=1)
            centered = wide - _by_channel(means[0], input) - normalized * _by_channel(means[1], input)
            factor = deviation_inverse if weight is None else deviation_inverse * weight
            gradients[0] = centered * _by_channel(factor, input)
        needed = zip(gradients, ctx.needs_input_grad[:3], ctx.dtypes, strict=True)
        return (*(g.to(dtype) if g is not None and need else None for g, need, dtype in needed), None, None)


def _moments(input: Tensor, group: ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean and the biased variance of the whole batch by channel, and its number of values of a channel."""
    axes, channels = _axes(input), input.shape[1]
    wide = input.to(torch.promote_types(input.dtype, torch.float32))
    count = wide.new_full((1,), input.numel() // channels)
    mean = wide.sum(axes) / count.clamp(min=1)
    deviations = (wide - _by_channel(mean, input)).square().sum(axes)
    own = torch.cat([count, mean, deviations])
    gathered = [torch.empty_like(own) for _ in range(distributed.get_world_size(group))]
    cast("Any", distributed).all_gather(gathered, own, group=group)
    # Chan et al. 1979: the parts' squared deviations, and those of their means. No difference of large squares.
    parts = torch.stack(gathered)
    counts, means, deviations = parts[:, :1], parts[:, 1 : channels + 1], parts[:, channels + 1 :]
    total = counts.sum(0)
    if input.numel() <= channels and total == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    values = total.clamp(min=1)
    mean = (counts * means).sum(0) / values
    variance = (deviations + counts * (means - mean).square()).sum(0) / values
    return mean, variance, total


def _axes(input: Tensor) -> tuple[int, ...]:
    return (0, *range(2, input.ndim))


def _by_channel(vector: Tensor, input: Tensor) -> Tensor:
    return vector.view(-1, *[1] * (input.ndim - 2))
