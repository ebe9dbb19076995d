"""FSDP2 from slices of a file, DistributedDataParallel with compilation and checkpointing: against one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import resnet_spec
from tests.resnet_spec_torch.checkpointing import statistics_kept

SPEC = """
input: {channels: 3, height: 8, width: 8}
layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}, act: relu}
stem: {conv1: {conv2d: {channels: 5, kernel: 3, padding: 1}}, bn1: norm, relu: act}
stages: {layer1: {block: cifar_basic_block, repeat: 2, channels: 5}}
head: {pool: global_avg_pool, flatten: flatten, fc: {linear: {features: 3}}}
"""
"""Five channels, which two processes do not share alike."""

STEPS = 3


def spec(folder: Path, rank: int) -> Path:
    path = folder / f"sharded{rank}.yaml"
    path.write_text(SPEC, "utf-8")
    return path


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 8, 8, dtype=torch.float64, generator=generator), torch.arange(8) % 3


def train(model: nn.Module, part: slice, optimizers: type[torch.optim.Optimizer] = torch.optim.SGD) -> nn.Module:
    optimizer = optimizers(model.parameters(), lr=0.1)
    for step in range(STEPS):
        images, targets = batch(step)
        nn.functional.cross_entropy(model(images[part]), targets[part]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def difference(model: nn.Module, whole: nn.Module) -> float:
    """The largest difference of a parameter or a statistic."""
    found = 0.0
    for (name, ours), theirs in zip(model.state_dict().items(), whole.state_dict().values(), strict=True):
        tensor = ours.full_tensor() if hasattr(ours, "full_tensor") else ours
        assert tensor.dtype == theirs.dtype, name
        found = max(found, (tensor.double() - theirs.double()).abs().max().item())
    return found


def sharded(rank: int, folder: Path) -> dict[str, Any]:
    """A model that no process ever held whole: its layers, its parts of the file, three steps, and its checkpoint."""
    path = spec(folder, rank)
    graph = resnet_spec.load(path).to_graph()
    weights = folder / "weights"
    if rank == 0:
        weights.mkdir()
        resnet_spec.write_weights(weights / "model.safetensors", graph, resnet_spec.initialize(graph, 1))
    distributed.barrier()
    backend: Any = resnet_spec.get_backend("torch")
    model: Any = backend.compile(graph, dtype="float64", synchronized=True).train()
    assert all(parameter.is_meta for parameter in model.parameters())
    _sharded(model).to_empty(device="cpu")
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            tensor.zero_()
    stored = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    dcp.load(stored, storage_reader=dcp.HuggingFaceStorageReader(str(weights)))
    whole = resnet_spec.build(path, "torch", weights / "model.safetensors", dtype="float64", training=True)
    found = {"loaded": difference(model, whole)}
    held = sum(parameter.to_local().numel() for parameter in model.parameters())
    found["held"] = held / sum(parameter.numel() for parameter in whole.parameters())
    part = slice(rank, None, distributed.get_world_size())
    train(whole, slice(None))
    train(model, part)
    found["trained"] = difference(model, whole)
    dcp.save({"model": model.state_dict()}, checkpoint_id=folder / "checkpoint")
    distributed.barrier()
    read = resnet_spec.build(path, "torch", folder / "checkpoint", dtype="float64", training=True)
    found["read"] = difference(read, whole)
    return found


def _sharded(model: Any) -> nn.Module:
    for block in model.layer1:
        fully_shard(block)
    return fully_shard(model)


def _checkpointed(model: Any, *, keeping: bool = True) -> nn.Module:
    for block in model.layer1:
        options = {"context_fn": lambda block=block: (nullcontext(), statistics_kept(block))} if keeping else {}
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, **options)
    return model


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="aot_eager")  # type: ignore[return-value]


def _block_by_block(model: Any) -> nn.Module:
    for block in model.layer1:
        block.compile(backend="aot_eager")
    return model


def _not_averaged(model: nn.Module) -> nn.Module:
    replicated = DistributedDataParallel(model)
    replicated.register_comm_hook(None, _summed)
    return replicated


def _summed(_, bucket):  # type: ignore[no-untyped-def]  # PyTorch refuses annotations that are text
    return distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])


FORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "replicated": DistributedDataParallel,
    "compiled": lambda model: _compiled(DistributedDataParallel(model)),
    "checkpointed": lambda model: DistributedDataParallel(_checkpointed(model)),
    "sharded and compiled": lambda model: _sharded(_block_by_block(model)),
    "sharded and checkpointed": lambda model: _sharded(_checkpointed(model)),
    "gradients not averaged": _not_averaged,
    # Without a context that keeps the statistics, the second forward pass of a block moves them again.
    "statistics moved twice": lambda model: DistributedDataParallel(_checkpointed(model, keeping=False)),
}
"""How a model is given to two processes."""


def trained(form: str, rank: int, folder: Path) -> float:
    """The difference between a model that two processes trained in a form and one that one process trained."""
    path = spec(folder, rank)
    model, whole = (
        resnet_spec.build(path, "torch", dtype="float64", training=True, synchronized=synchronized)
        for synchronized in (True, False)
    )
    train(FORMS[form](model), slice(rank, None, distributed.get_world_size()))
    return difference(model, train(whole, slice(None)))


CHECKS: dict[str, Callable[[int, Path], Any]] = {"sharded": sharded, **{form: partial(trained, form) for form in FORMS}}
