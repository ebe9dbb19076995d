"""``SyncBatchNorm.convert_sync_batchnorm``: what can be converted stays the same, what cannot is refused by its name.

PyTorch's own synchronizes statistics on accelerators only, so that on a CPU only inference runs in a process group, and
training without one. ``distributed`` has tests of ours in two processes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

import resnet_spec
from resnet_spec import BackendError

SPEC = "cifar/resnet20"
convert = nn.SyncBatchNorm.convert_sync_batchnorm


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process only."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("exact", [False, True])
def test_a_converted_model_keeps_names_statistics_and_outputs(exact: bool, group: None) -> None:
    model = resnet_spec.build("cifar/resnet20", "torch", exact_statistics=exact)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        model.train()(images)
        converted = convert(copy.deepcopy(model).eval())
        torch.testing.assert_close(converted(images), model.eval()(images), rtol=0, atol=0)
    kinds = {type(module) for module in converted.modules()}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds
    assert list(converted.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(converted.state_dict()[name], tensor), name


def test_a_converted_model_trains_alike() -> None:
    model = resnet_spec.build("cifar/resnet20", "torch").train()
    converted, images = convert(copy.deepcopy(model)), torch.randn(4, 3, 32, 32)
    for each in (model, converted):
        each(images).square().mean().backward()
    for ours, theirs in zip(model.parameters(), converted.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(converted.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("spec", "exact", "name", "why"),
    [
        ("keras/resnet50", True, "conv1_bn", "build the model with synchronized=True"),
        ("mirror/encoder18", False, r"conv1\.bn", "one for each position"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_its_name(spec: str, exact: bool, name: str, why: str) -> None:
    model = resnet_spec.build(spec, "torch", exact_statistics=exact)
    with pytest.raises(BackendError, match=f"^{name}: cannot become a SyncBatchNorm, .*{why}"):
        convert(model)


def test_layers_of_our_own_are_printed() -> None:
    model = resnet_spec.build("mirror/encoder18", "torch", overrides={"input.height": 32, "input.width": 32})
    assert "PositionBatchNorm2d((64, 16, 16), eps=" in repr(model)
    assert "BiasedBatchNorm2d(64, eps=" in repr(resnet_spec.build("keras/resnet50", "torch", exact_statistics=True))


def test_the_biased_variance_of_vectors_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "head.yaml"
    norm = "{batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: biased}}"
    path.write_text(f"input: {{features: 6}}\nhead: {{fc: {{linear: {{features: 4}}}}, bn: {norm}}}\n")
    assert type(convert(resnet_spec.build(path, "torch")).bn) is nn.SyncBatchNorm
    with pytest.raises(BackendError, match=r"^bn: cannot become a SyncBatchNorm"):
        convert(resnet_spec.build(path, "torch", exact_statistics=True))


@pytest.mark.parametrize("spec", ["cifar/resnet20", "mirror/encoder18"])
def test_a_synchronized_model_is_as_any_other_without_a_group(spec: str) -> None:
    sizes = {"input.height": 32, "input.width": 32}
    plain, model = (
        resnet_spec.build(spec, "torch", overrides=sizes, training=True, synchronized=each) for each in (False, True)
    )
    assert list(model.state_dict()) == list(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), plain(images))
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert "synchronized=True" in repr(model)


def test_a_synchronized_model_is_converted_where_torch_computes_the_same() -> None:
    assert nn.SyncBatchNorm in map(type, convert(resnet_spec.build(SPEC, "torch", synchronized=True)).modules())
    model = resnet_spec.build("keras/resnet50", "torch", exact_statistics=True, synchronized=True)
    with pytest.raises(BackendError, match=r"^conv1_bn: cannot become a SyncBatchNorm, .*; it is synchronized already"):
        convert(model)
