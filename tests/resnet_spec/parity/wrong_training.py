"""A backend that trains wrongly on purpose, each graph's name saying how, so that one process serves every mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from resnet_spec.backend.optimizers import SGD, AdamW, Optimizer
from resnet_spec.backend.protocol import Gradients
from resnet_spec.graph import Graph
from resnet_spec_torch import TorchBackend, training
from resnet_spec_torch.replicas import TorchReplicas

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import Batch


class Wrong(TorchBackend):
    """PyTorch, with the mistake that the graph is named after."""

    name = "wrong"

    def compile(self, graph: Graph, *, exact_statistics: bool = False, **settings: Any) -> Any:
        if graph.name == "inexact":
            exact_statistics = False
        if graph.name == "momentum of statistics":
            graph = graph.with_nodes(
                node.model_copy(update={"operation": node.operation.model_copy(update={"momentum": 0.9})})
                if node.operation.op == "batch_norm"
                else node
                for node in graph.nodes
            )
        model = super().compile(graph, exact_statistics=exact_statistics, **settings)
        if graph.name == "detached":
            # Forward nothing changes, and backward the residual branch is cut off.
            model.get_submodule("layer1.0.bn2").register_forward_hook(lambda layer, given, value: value.detach())
        return model

    def gradients(self, model: Any, graph: Graph, images: Any, targets: Sequence[Any]) -> Gradients:
        found = super().gradients(model, graph, images, targets)
        match graph.name:
            case "one kernel":
                # The smallest there is, by little.
                return found._replace(parameters={**found.parameters, "fc.bias": found.parameters["fc.bias"] * 1.0001})
            case "images":
                return found._replace(images=found.images[:, ::-1].copy())
            case "nan":
                return found._replace(
                    parameters={**found.parameters, "fc.bias": found.parameters["fc.bias"] * torch.nan}
                )
            case "scale":
                return self._unscaled(model, graph, images, targets)
            case "gradient of nothing":
                wrong = found.parameters["conv.weight"] + 1e-30
                return found._replace(parameters={**found.parameters, "conv.weight": wrong})
            case _:
                return found

    def _unscaled(self, model: Any, graph: Graph, images: Any, targets: Sequence[Any]) -> Gradients:
        scale, training.LOSS_SCALE = training.LOSS_SCALE, 1.0
        try:
            return super().gradients(model, graph, images, targets)
        finally:
            training.LOSS_SCALE = scale

    def replicas(self, count: int) -> WrongReplicas:
        return WrongReplicas(count)

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        right = training._native
        training._native = lambda held, asked: MISTAKES.get(graph.name, right)(held, asked)
        try:
            return super().train(model, graph, batches, optimizer)
        finally:
            training._native = right


class WrongReplicas(TorchReplicas):
    """Replicas with the mistake that the graph is named after."""

    name = ""

    def compile(self, graph: Graph, **settings: Any) -> Graph:
        self.name = graph.name
        self.synchronized = graph.name != "own statistics"
        if graph.name == "a replica fails":
            self._ask("no_such_command")
        return super().compile(graph, **settings)

    def gradients(self, model: Any, graph: Graph, images: Any, targets: Sequence[Any]) -> Gradients:
        found = super().gradients(model, graph, images, targets)
        if graph.name == "summed":
            return found._replace(parameters={name: 2 * array for name, array in found.parameters.items()})
        return found

    def _parts(self, images: Any, targets: Sequence[Any]) -> list[Batch]:
        first, second = super()._parts(images, targets)
        match self.name:
            case "the same part":
                return [first, first]
            case "the last image":
                # As where a partial batch is dropped, the loss is the mean of those that are left.
                (few, wanted), last = second, -1
                return [first, (few[:last], [target[:last] for target in wanted])]
            case _:
                return [first, second]


def _decoupled(held: list[Any], optimizer: Optimizer) -> Any:
    """SGD with AdamW's weight decay, as in Keras."""
    if not isinstance(optimizer, SGD):
        return torch.optim.AdamW(held, betas=(optimizer.beta1, optimizer.beta2), weight_decay=optimizer.weight_decay)
    native = torch.optim.SGD(held, momentum=optimizer.momentum)

    def decay(native: Any, *given: Any) -> None:
        with torch.no_grad():
            for tensor in held:
                tensor.mul_(1 - native.param_groups[0]["lr"] * optimizer.weight_decay)

    native.register_step_pre_hook(decay)
    return native


def _coupled(held: list[Any], optimizer: Optimizer) -> Any:
    """Adam with L2 regularization where AdamW is meant."""
    settings = {"weight_decay": optimizer.weight_decay}
    if isinstance(optimizer, AdamW):
        return torch.optim.Adam(held, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.epsilon, **settings)
    return torch.optim.SGD(held, momentum=optimizer.momentum, **settings)


def _epsilon(held: list[Any], optimizer: Optimizer) -> Any:
    """Adam's epsilon inside the bias correction, as in Keras."""
    native = _coupled(held, optimizer) if isinstance(optimizer, SGD) else _adamw(held, optimizer)
    steps = iter(range(1, 1000))

    def correct(native: Any, *given: Any) -> None:
        if isinstance(optimizer, AdamW):
            native.param_groups[0]["eps"] = optimizer.epsilon / (1 - optimizer.beta2 ** next(steps)) ** 0.5

    native.register_step_pre_hook(correct)
    return native


def _adamw(held: list[Any], optimizer: AdamW) -> Any:
    return torch.optim.AdamW(
        held,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
    )


def _momentum(held: list[Any], optimizer: Optimizer) -> Any:
    """A velocity that holds the learning rates of its gradients, as in Keras."""
    if isinstance(optimizer, AdamW):
        return _adamw(held, optimizer)
    native = _coupled(held, optimizer)

    def rescale(native: Any, *given: Any) -> None:
        for state in native.state.values():
            state["momentum_buffer"].div_(optimizer.rate_factor)

    native.register_step_pre_hook(rescale)
    return native


def _nesterov(held: list[Any], optimizer: Optimizer) -> Any:
    if isinstance(optimizer, AdamW):
        return _adamw(held, optimizer)
    return torch.optim.SGD(held, momentum=optimizer.momentum, weight_decay=optimizer.weight_decay, nesterov=True)


def _unrounded(held: list[Any], optimizer: Optimizer) -> Any:
    """Numbers that were not rounded to float32: a momentum of 0.9 and a beta of 0.999."""
    if isinstance(optimizer, AdamW):
        return torch.optim.AdamW(held, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    return torch.optim.SGD(held, momentum=0.9, weight_decay=1e-4)


def _never_still(held: list[Any], optimizer: Optimizer) -> Any:
    """A step that moves a weight whose gradient is zero."""
    native = _coupled(held, optimizer) if isinstance(optimizer, SGD) else _adamw(held, optimizer)

    def move(native: Any, *given: Any) -> None:
        with torch.no_grad():
            held[0].add_(1e-30)

    native.register_step_post_hook(move)
    return native


MISTAKES: dict[str, Callable[[list[Any], Any], Any]] = {
    "decoupled decay": _decoupled,
    "coupled decay": _coupled,
    "epsilon": _epsilon,
    "momentum form": _momentum,
    "nesterov": _nesterov,
    "unrounded": _unrounded,
    "step of nothing": _never_still,
}
