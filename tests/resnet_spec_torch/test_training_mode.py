"""``training=True``, and what a model keeps through training: its mode, its counts, its files to the bit.

The loops of other libraries are those of docs/training.md, which run with the documents' code.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint

import resnet_spec
from resnet_spec import BackendError
from tests.needs import need
from tests.resnet_spec_torch.checkpointing import statistics_kept

SPEC = "cifar/resnet20"
COUNTER = "bn1.num_batches_tracked"


def built(training: bool = True, **options: Any) -> Any:
    return resnet_spec.build(SPEC, "torch", training=training, **options)


def batch(seed: int = 0, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.arange(size) % 10


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    images, targets = batch(seed)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), targets).backward()
    optimizer.step()


def modes(model: nn.Module) -> set[bool]:
    return {module.training for module in model.modules()}


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same parameters, statistics and counts, to the bit."""
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


# -- modes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_is_kept(training: bool, tmp_path: Path) -> None:
    model = built(training)
    resnet_spec.save(model, tmp_path / "w.safetensors")
    resnet_spec.load_weights(model, tmp_path / "w.safetensors")
    copied = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    pickled = torch.load(buffer, weights_only=False)
    for each in (model, copied, pickled):
        assert modes(each) == {training}
        assert all(parameter.requires_grad for parameter in each.parameters())


def test_what_is_frozen_stays_frozen(tmp_path: Path) -> None:
    model = built()
    model.requires_grad_(False)
    model.linear.requires_grad_(True)
    model.bn1.eval()
    resnet_spec.load_weights(model, resnet_spec.initialize(resnet_spec.load(SPEC).to_graph(), seed=1))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["linear.weight", "linear.bias"]
    assert not model.bn1.training
    before = statistics(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    step(model, optimizer, 0)
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    assert not any(name.startswith("bn1.") for name in moved)
    assert "layer1.0.bn1.running_mean" in moved


def test_a_model_that_does_not_train_is_refused() -> None:
    with pytest.raises(TypeError, match="a model with optimize=True does not train"):
        built(optimize=True)
    need("onnx")
    with pytest.raises(BackendError, match=r"models of the onnx backend do not train; leave out training=True"):
        resnet_spec.build(SPEC, "onnx", training=True)


# -- save and resume ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mmap"),
    [("w.safetensors", True), *(pytest.param("w.pth", mmap, marks=pytest.mark.slow) for mmap in (False, True))],
)
def test_training_goes_on_from_a_file_to_the_bit(name: str, mmap: bool, tmp_path: Path) -> None:
    whole = built()
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.05, momentum=0.9)
    for seed in range(4):
        step(whole, optimizer, seed)

    path = tmp_path / name
    resnet_spec.save(built(), path)
    state = None
    for first in (0, 2):
        model = built(weights=path, mmap=mmap)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if state is not None:
            optimizer.load_state_dict(state)
        step(model, optimizer, first)
        resnet_spec.save(model, path, force=True)
        # The file that is mapped was replaced, and the model trains on.
        step(model, optimizer, first + 1)
        resnet_spec.save(model, path, force=True)
        state = copy.deepcopy(optimizer.state_dict())
    resumed = built(weights=path)
    assert resumed.state_dict()[COUNTER] == 4
    assert equal(resumed, whole)
    assert equal(model, whole)


def test_ctrl_c_leaves_the_file_that_was_saved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_spec.weights import io as weights_io

    model, path = built(), tmp_path / "w.safetensors"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    step(model, optimizer, 0)
    resnet_spec.save(model, path)
    kept = copy.deepcopy(model)
    step(model, optimizer, 1)
    write = weights_io.write_safetensors

    def interrupted(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(weights_io, "write_safetensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resnet_spec.save(model, path, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]
    assert equal(built(weights=path), kept)


def test_counts_of_batches_are_read_from_every_source(tmp_path: Path) -> None:
    model = built()
    step(model, torch.optim.SGD(model.parameters(), lr=0.05), 0)
    torch.save({"state_dict": {f"module.{name}": t for name, t in model.state_dict().items()}}, tmp_path / "c.pth")
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for weights in (tmp_path / "c.pth", arrays):
        assert equal(built(weights=weights), model)
    resnet_spec.save(model, tmp_path / "w.safetensors", half=True)
    read = built(weights=tmp_path / "w.safetensors", adapt="half")
    assert read.state_dict()[COUNTER] == 1
    # A model that counts goes back to 0 with weights that do not.
    resnet_spec.load_weights(read, resnet_spec.initialize(resnet_spec.load(SPEC).to_graph()))
    assert read.state_dict()[COUNTER] == 0


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.npz", "w.msgpack"])
def test_every_way_of_saving_keeps_the_counts_of_batches(name: str, tmp_path: Path) -> None:
    model = built()
    for _ in range(2):
        model(batch()[0][:1])
    resnet_spec.save(model, tmp_path / name, half=True)
    assert built(weights=tmp_path / name, adapt="half").state_dict()[COUNTER] == 2
    # A copy is known by its structure only.
    resnet_spec.save(copy.deepcopy(model), tmp_path / f"copy_{name}", SPEC)
    assert equal(built(weights=tmp_path / f"copy_{name}"), model)


def test_a_live_model_gives_its_counts_of_batches() -> None:
    model = built()
    model(batch()[0][:1])
    assert equal(built(weights=copy.deepcopy(model)), model)


@pytest.mark.slow
def test_a_program_keeps_the_counts_of_batches(tmp_path: Path) -> None:
    model = built()
    model(batch()[0][:1])
    resnet_spec.save(model, tmp_path / "w.pt2")
    assert equal(built(weights=tmp_path / "w.pt2"), model)


def test_a_model_that_was_not_trained_is_saved_without_counts(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = built()
    resnet_spec.save(model, tmp_path / "new.safetensors")
    resnet_spec.save(copy.deepcopy(model), tmp_path / "copy.safetensors", SPEC)
    step(model, torch.optim.SGD(model.parameters(), lr=0.05), 0)
    resnet_spec.save(model, tmp_path / "trained.safetensors")
    found = [COUNTER in load_file(tmp_path / f"{name}.safetensors") for name in ("new", "copy", "trained")]
    assert found == [False, False, True]


# -- averages ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_averaged_model_is_saved_and_has_its_statistics_computed_again(use_buffers: bool, tmp_path: Path) -> None:
    model = built()
    averaged = AveragedModel(model, use_buffers=use_buffers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    weights = []
    for seed in range(2):
        step(model, optimizer, seed)
        averaged.update_parameters(model)
        weights.append(model.conv1.weight.detach().clone())
    torch.testing.assert_close(averaged.module.conv1.weight, sum(weights) / 2)
    before = statistics(averaged.module)
    update_bn([batch(seed) for seed in range(3)], averaged)
    after = statistics(averaged.module)
    assert after[COUNTER] == 3
    assert not torch.equal(before["bn1.running_mean"], after["bn1.running_mean"])
    resnet_spec.save(averaged.module, tmp_path / "a.safetensors", SPEC)
    read = resnet_spec.build(SPEC, "torch", tmp_path / "a.safetensors")
    torch.testing.assert_close(read.bn1.running_var, after["bn1.running_var"], rtol=0, atol=0)


# -- activation checkpointing ------------------------------------------------------------------------------------


def with_checkpoints(model: Any, context: Callable[[nn.Module], Any]) -> Any:
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.forward = checkpointed(stage, context)
    return model


def checkpointed(stage: nn.Module, context: Callable[[nn.Module], Any]) -> Callable[[Tensor], Any]:
    forward = stage.forward
    return lambda x: checkpoint(forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), context(stage)))


def test_activation_checkpointing_trains_alike_to_the_bit() -> None:
    plain, saving = built(), with_checkpoints(built(), statistics_kept)
    # Without the context the statistics move twice, of which the page warns.
    twice = with_checkpoints(built(), lambda stage: nullcontext())
    for model in (plain, saving, twice):
        step(model, torch.optim.SGD(model.parameters(), lr=0.05), 0)
    assert equal(plain, saving)
    assert twice.layer1[0].bn1.num_batches_tracked == 2
