"""The mutated PyTorch backend; changes that a graph cannot express are made to a module's ``forward`` or optimizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec_torch import TorchBackend, training
from tests.lab.changes import Change
from tests.lab.mutated import Mutated

Forward = Callable[[Any, Callable[[Tensor], Tensor], Tensor], Tensor]
"""A module, its own ``forward``, and its input, to its output."""


def _zero_padded(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    rows, columns = module.padding
    padded = functional.pad(value, (columns, columns, rows, rows))
    return functional.max_pool2d(padded, module.kernel_size, module.stride)


def _batch_statistics(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    return functional.batch_norm(value, None, None, module.weight, module.bias, True, 0.0, module.eps)


def _interleaved(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    return forward(value.unflatten(1, (-1, module.groups)).transpose(1, 2).flatten(1, 2))


def _epsilon_outside(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    mean, deviation = module.running_mean[:, None, None], module.running_var[:, None, None] ** 0.5
    return (value - mean) / (deviation + module.eps) * module.weight[:, None, None] + module.bias[:, None, None]


def _unbiased_groups(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    grouped = value.unflatten(1, (module.num_groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=1, keepdim=True)
    normal = ((grouped - mean) * torch.rsqrt(variance + module.eps)).flatten(1, 2)
    return normal * module.weight[:, None, None] + module.bias[:, None, None]


def _unbiased_kernel(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    variance, mean = torch.var_mean(module.weight, (1, 2, 3), correction=1, keepdim=True)
    kernel = (module.weight - mean) * torch.rsqrt(variance + module.epsilon)
    return functional.conv2d(value, kernel, module.bias, module.stride, module.padding)


def _constant_statistics(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Return training mode's values, with mean and variance as constants in the gradient."""
    if not module.training:
        return forward(value)
    forward(value)
    variance, mean = torch.var_mean(value.detach(), (0, 2, 3), correction=0, keepdim=True)
    normal = (value - mean) * torch.rsqrt(variance + module.eps)
    return normal * module.weight[:, None, None] + module.bias[:, None, None]


def _leaking_gradient(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    below = 0.01 * value.clamp(max=0)
    return value.clamp(min=0) + below - below.detach()


def _rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype).to(value.dtype) if value.dtype == torch.float32 else value


def _tf32(value: Tensor) -> Tensor:
    """Round float32 to TF32, which has ten bits after the leading one."""
    if value.dtype != torch.float32:
        return value
    return ((value.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _tf32_product(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    product: Any = functional.conv2d if isinstance(module, nn.Conv2d) else functional.linear
    settings = (module.stride, module.padding, module.dilation, module.groups) if isinstance(module, nn.Conv2d) else ()
    return product(_tf32(value), _tf32(module.weight), module.bias, *settings)


def _narrow(module: Any, value: Tensor) -> Tensor:
    """Compute a convolution in float32, also in a float64 model."""
    settings = module.stride, module.padding, module.dilation, module.groups
    return functional.conv2d(value.float(), module.weight.float(), module.bias, *settings).to(value.dtype)


def _frozen(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    return functional.batch_norm(
        value, module.running_mean, module.running_var, module.weight, module.bias, False, 0.0, module.eps
    )


def _detached_bias(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    return functional.conv2d(value, module.weight, module.bias.detach(), module.stride, module.padding)


def _dropping(module: Any, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    # Deterministic: with seven nonzero values, random dropout drops none of them one time in five.
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return functional.dropout(value, 0.2, training=True)


FORWARDS: dict[str, Forward] = {
    "left out": lambda module, forward, x: x,
    "leaky": lambda module, forward, x: functional.leaky_relu(x, 0.01),
    "stops at 6": lambda module, forward, x: functional.relu6(x),
    "hard": lambda module, forward, x: functional.hardsigmoid(x),
    "dropping": _dropping,
    "softmax behind": lambda module, forward, x: forward(x).softmax(-1),
    "sum": lambda module, forward, x: x.sum((2, 3), keepdim=True),
    "relu behind": lambda module, forward, x: forward(x).relu(),
    "nine tenths": lambda module, forward, x: 0.9 * x,
    "from the second row": lambda module, forward, x: forward(x[:, :, 1:, 1:]),
    "frozen": _frozen,
    "zero pad": _zero_padded,
    # Axis 1 is the channels in one layout only.
    "over height": lambda module, forward, x: forward(x.transpose(1, 2)).transpose(1, 2),
    "batch statistics": _batch_statistics,
    "epsilon outside": _epsilon_outside,
    "interleaved channels": _interleaved,
    "unbiased groups": _unbiased_groups,
    "unbiased kernel": _unbiased_kernel,
    "in float32": lambda module, forward, x: _narrow(module, x),
    "inputs in float16": lambda module, forward, x: forward(_rounded(x, torch.float16)),
    "result in bfloat16": lambda module, forward, x: _rounded(forward(x), torch.bfloat16),
    "product in TF32": _tf32_product,
    "detached bias": _detached_bias,
    "detached": lambda module, forward, x: forward(x).detach(),
    "doubled gradient": lambda module, forward, x: 2 * forward(x) - forward(x).detach(),
    "constant statistics": _constant_statistics,
    "leaking gradient": _leaking_gradient,
}


def _bound(change: Forward, module: Any) -> Callable[[Tensor], Tensor]:
    own = type(module).forward.__get__(module)
    return lambda value: change(module, own, value)


# ---------------------------------------------------------------------------------------------------------------
# Optimizers


class _Decoupled(torch.optim.SGD):
    """Apply weight decay to the weights themselves."""

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(1 - group["lr"] * group["decay"])
        super().step(closure)


def _decoupled(parameters: list[Tensor], sgd: SGD) -> torch.optim.Optimizer:
    optimizer = _Decoupled(parameters, sgd.learning_rate, momentum=sgd.momentum)
    optimizer.param_groups[0]["decay"] = sgd.weight_decay
    return optimizer


def _sgd(parameters: list[Tensor], sgd: SGD, **settings: Any) -> torch.optim.Optimizer:
    stated = {"lr": sgd.learning_rate, "momentum": sgd.momentum, "weight_decay": sgd.weight_decay}
    return torch.optim.SGD(parameters, **stated | settings)


def _adamw(parameters: list[Tensor], adamw: AdamW, kind: Any = torch.optim.AdamW, **settings: Any) -> Any:
    stated = {
        "lr": adamw.learning_rate,
        "betas": (adamw.beta1, adamw.beta2),
        "eps": adamw.epsilon,
        "weight_decay": adamw.weight_decay,
    }
    return kind(parameters, **stated | settings)


OPTIMIZERS: dict[str, tuple[type[Optimizer], Callable[..., torch.optim.Optimizer]]] = {
    "decoupled decay": (SGD, _decoupled),
    "no decay": (SGD, lambda parameters, sgd: _sgd(parameters, sgd, weight_decay=0.0)),
    "Nesterov's form": (SGD, lambda parameters, sgd: _sgd(parameters, sgd, nesterov=True)),
    "dampened": (SGD, lambda parameters, sgd: _sgd(parameters, sgd, dampening=sgd.momentum)),
    "coupled decay": (AdamW, lambda parameters, adamw: _adamw(parameters, adamw, torch.optim.Adam)),
    "larger epsilon": (AdamW, lambda parameters, adamw: _adamw(parameters, adamw, eps=1e-7)),
    "betas swapped": (
        AdamW,
        lambda parameters, adamw: _adamw(parameters, adamw, betas=(adamw.beta2, adamw.beta1)),
    ),
    "largest second moment": (AdamW, lambda parameters, adamw: _adamw(parameters, adamw, amsgrad=True)),
}


class MutatedTorch(Mutated, TorchBackend):
    name: ClassVar[str] = "mutated_torch"

    def altered(self, model: Any, change: Change) -> None:
        for node, what in change.layers.items():
            try:
                module = model.get_submodule(node)
            except AttributeError:
                continue  # a part of the network without it
            module.forward = _bound(FORWARDS[what], module)

    def optimizing(self, name: str) -> AbstractContextManager[Any]:
        kind, make = OPTIMIZERS[name]
        own = training._native
        return patch.object(training, "_native", lambda p, o: make(p, o) if isinstance(o, kind) else own(p, o))
