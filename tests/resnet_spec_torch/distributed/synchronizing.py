"""Two processes with parts of a batch against one with the whole: outputs, gradients, running statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import resnet_spec
from resnet_spec_torch import synchronization
from resnet_spec_torch.layers import SynchronizedBatchNorm2d

BLOCKS = """
input: {channels: 3, height: 6, width: 6}
layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: VARIANCE}}, act: relu}
stem: {conv1: {conv2d: {channels: 4, kernel: 3, padding: 1}}, bn1: norm, relu: act}
stages: {layer1: {block: cifar_basic_block, repeat: 2, channels: 4}}
head: {flatten: flatten, fc: {linear: {features: 5}}, bn: norm}
"""

POSITIONS = """
input: {channels: 3, height: 6, width: 6}
layers: {norm: {position_batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: VARIANCE}}, act: relu}
stem: {conv1: {conv2d: {channels: 4, kernel: 3, stride: 2}}, bn1: norm, relu: act}
head: {flatten: flatten, fc: {linear: {features: 5}}}
"""

SIZES = (3, 5)
"""Images of each process."""


def built(text: str, folder: Path, rank: int, *, synchronized: bool, **options: Any) -> nn.Module:
    path = folder / f"{rank}.yaml"
    path.write_text(text, "utf-8")
    model = resnet_spec.build(path, "torch", dtype="float64", training=True, synchronized=synchronized, **options)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        # The scales of residual branches start at 0 in some networks, and hide what is behind them.
        nn.init.normal_(parameter, 1 if "bn" in name else 0, 0.3, generator=generator)
    return model


def _numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def differences(
    rank: int,
    folder: Path,
    text: str = BLOCKS,
    variance: str = "unbiased",
    *,
    synchronized: bool = True,
    momentum: float | None = 0.1,
    change: Callable[[], Any] = nullcontext,
    sizes: tuple[int, ...] = SIZES,
    **options: Any,
) -> Mapping[str, float]:
    """By how much two training steps of the processes differ from those of one."""
    text = text.replace("VARIANCE", variance)
    ours, whole = (
        built(text, folder, rank, synchronized=synchronizes, **options) for synchronizes in (synchronized, False)
    )
    for norm in (norm for model in (ours, whole) for norm in model.modules() if hasattr(norm, "running_var")):
        norm.momentum = momentum
    split = DistributedDataParallel(ours)
    found: dict[str, float] = dict.fromkeys(("outputs", "images", "parameters", "statistics"), 0.0)

    def differ(kind: str, ours: Tensor | None, theirs: Tensor | None) -> None:
        assert ours is not None
        assert theirs is not None
        found[kind] = max(found[kind], (ours.double() - theirs).abs().max().item() if ours.numel() else 0)

    for step in range(2):
        images, directions = _numbers(sum(sizes), 3, 6, 6, seed=step), _numbers(sum(sizes), 5, seed=2 + step)
        part = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        given, own = images.clone().requires_grad_(), images[part].clone().requires_grad_()
        expected = whole(given)
        (expected * directions).sum().backward()
        with change():
            outputs = split(own)
            # DistributedDataParallel averages the gradients of the processes.
            (outputs * directions[part]).sum().mul(len(sizes)).backward()
        differ("outputs", outputs, expected[part])
        assert own.grad is not None
        differ("images", own.grad / len(sizes), given.grad[part] if given.grad is not None else None)
        for one, other in zip(ours.parameters(), whole.parameters(), strict=True):
            differ("parameters", one.grad, other.grad)
            one.data.sub_(one.grad, alpha=0.01)  # type: ignore[arg-type]
            other.data.sub_(other.grad, alpha=0.01)  # type: ignore[arg-type]
            one.grad = other.grad = None
    for name, tensor in whole.state_dict().items():
        differ("statistics", ours.state_dict()[name], tensor)
    with torch.no_grad():
        differ("outputs", ours.eval()(images), whole.eval()(images))
    return found


def _equal_counts() -> Any:
    """Each process counts as much as any other, whatever its share."""
    cat = torch.cat
    return mock.patch.object(torch, "cat", lambda tensors, dim=0: cat([torch.ones_like(tensors[0]), *tensors[1:]], dim))


def _own_sums() -> Any:
    """The gradients of the statistics are each process' own."""
    return mock.patch.object(synchronization.distributed, "all_reduce")


def half(rank: int, folder: Path) -> float:
    """The difference of outputs in bfloat16 under autocast, whose statistics are in float32."""
    model = built(BLOCKS.replace("VARIANCE", "unbiased"), folder, rank, synchronized=True).float()
    whole = built(BLOCKS.replace("VARIANCE", "unbiased"), folder, rank, synchronized=False).float()
    images = _numbers(8, 3, 6, 6, seed=0).float()
    part = slice(*((0, 3), (3, 8))[rank])
    with torch.autocast("cpu", torch.bfloat16):
        outputs, expected = model(images[part]), whole(images)[part]
    outputs.float().sum().backward()
    model, images = model.bfloat16(), images.bfloat16()
    model(images[part]).sum().backward()
    return (outputs - expected).abs().max().item()


def cancellation(rank: int, folder: Path) -> float:
    """The relative error in float32 of the variance of values around 100."""
    values = 100 + _numbers(4096, 1, seed=rank).float()
    both = torch.cat([100 + _numbers(4096, 1, seed=seed).float() for seed in (0, 1)])
    _, _, variance, _ = synchronization.synchronized_batch_norm(values, None, None, 0.0, None)
    return abs(variance.item() / both.double().var(correction=0).item() - 1)


def groups(rank: int, folder: Path) -> bool:
    """Whether a group of one process is as none, and a model in inference mode waits for nobody."""
    own = [distributed.new_group([each]) for each in range(2)][rank]
    model = built(BLOCKS.replace("VARIANCE", "unbiased"), folder, rank, synchronized=True)
    plain = built(BLOCKS.replace("VARIANCE", "unbiased"), folder, rank, synchronized=False)
    images = _numbers(4, 3, 6, 6, seed=rank)
    if rank == 0:
        model.eval()(images)
    model.train()
    for module in model.modules():
        if hasattr(module, "process_group"):
            module.process_group = own
    return torch.equal(model(images), plain(images))


def emptiness(rank: int, folder: Path) -> bool:
    """Whether a batch without images leaves the statistics as they are, and one value of all is refused everywhere."""
    layer = synchronized_layer()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items() if name.startswith("running")}
    outputs = layer(torch.zeros(0, 4, 6, 6))
    kept = all(torch.equal(tensor, layer.state_dict()[name]) for name, tensor in before.items())
    try:
        layer(torch.ones(1 - rank, 4, 1, 1))
    except ValueError:
        return kept and outputs.shape == (0, 4, 6, 6)
    return False


def synchronized_layer() -> nn.Module:
    """A layer whose statistics are those of a batch."""
    layer = SynchronizedBatchNorm2d(4)
    layer.synchronized = True
    layer(torch.randn(8, 4, 3, 3))
    return layer


CHECKS: dict[str, Callable[[int, Path], Any]] = {
    "as the frameworks do": differences,
    "biased": partial(differences, variance="biased", exact_statistics=True),
    "positions": partial(differences, text=POSITIONS),
    "positions, biased": partial(differences, text=POSITIONS, variance="biased", exact_statistics=True),
    "averages of all batches": partial(differences, momentum=None),
    "a process without images": partial(differences, sizes=(8, 0)),
    "not synchronized": partial(differences, synchronized=False),
    "counts ignored": partial(differences, change=_equal_counts),
    "gradients of the statistics not summed": partial(differences, change=_own_sums),
    "half": half,
    "cancellation": cancellation,
    "groups": groups,
    "emptiness": emptiness,
}
