"""torchvision's ResNets compared with ours: names, weights, logits in both backends, one training step in torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

import resnet_spec
from resnet_spec import Graph
from resnet_spec.parity.process import BackendProcess

from .common import SHAPES, assert_within_gates, deviation_of, images, relative
from .torchvision_original import fill, models, randomized

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
FULL_SIZE = NAMES[:3]
# For the deeper, wider and grouped ones, which have the same layers: even at every stage, and odd at the stem.
# `make oracles` compares them at the size that they are trained at.
SMALLER = ((128, 1), (75, 2))
EVEN, ODD = SMALLER[:1], SMALLER[1:]
# More of the same blocks: one of the two sizes each.
DEEPEST = {
    "resnet101": EVEN,
    "resnet152": ODD,
    "resnext101_32x8d": EVEN,
    "resnext101_64x4d": ODD,
    "wide_resnet101_2": ODD,
}


class Original(NamedTuple):
    """A torchvision model with randomized weights, which it wrote to both files itself."""

    graph: Graph
    model: nn.Module
    pth: Path
    safetensors: Path
    logits: dict[tuple[int, int], dict[str, NDArray[Any]]]


@pytest.fixture(scope="module")
def tensorflow() -> Iterator[BackendProcess]:
    # Not the one that other modules use: with ten large networks its memory grows by gigabytes.
    with BackendProcess("tensorflow") as process:
        process.ready()
        yield process


@pytest.fixture(scope="module", params=NAMES)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    graph = resnet_spec.load(f"torchvision/{name}").to_graph()
    # Statistics of images of a third of the pixels are as good.
    model = randomized(graph.at_size(128, 128), lambda: getattr(models(), name)(weights=None))
    torch.save(model.state_dict(), folder / "weights.pth")
    save_file(model.state_dict(), folder / "weights.safetensors")
    shapes = SHAPES if name in FULL_SIZE else DEEPEST.get(name, SMALLER)
    logits = {(size, batch): reference(model, size, batch) for size, batch in shapes}
    return Original(graph, model, folder / "weights.pth", folder / "weights.safetensors", logits)


def reference(model: nn.Module, size: int, batch: int) -> dict[str, NDArray[Any]]:
    inputs = torch.from_numpy(images(size, batch))
    with torch.inference_mode():
        logits = {"float32": model(inputs.float()).numpy(), "float64": model.double()(inputs).numpy()}
        model.float()
    return logits


def run(model: nn.Module, batch: NDArray[Any]) -> NDArray[Any]:
    with torch.inference_mode():
        return model(torch.from_numpy(batch)).numpy()


def test_keys_order_and_shapes_equal_the_originals(original: Original) -> None:
    ours = resnet_spec.build(original.graph.name, "torch", weights=original.pth).state_dict()
    theirs = original.model.state_dict()
    assert list(ours) == list(theirs)
    assert [tuple(value.shape) for value in ours.values()] == [tuple(value.shape) for value in theirs.values()]
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs if "num_batches" not in key)


def test_logits_equal_the_originals_in_torch(original: Original) -> None:
    from_pth = resnet_spec.build(original.graph.name, "torch", weights=original.pth)
    state = resnet_spec.build(original.graph.name, "torch", weights=original.safetensors).state_dict()
    assert all(torch.equal(state[key], value) for key, value in from_pth.state_dict().items())
    deviation = deviation_of(original.logits)
    for (size, batch), wanted in original.logits.items():
        inputs = images(size, batch).astype(np.float32)
        assert relative(run(from_pth, inputs), wanted["float32"], deviation) < 1e-6


def test_logits_are_within_the_gates_in_tensorflow(original: Original, tensorflow: BackendProcess) -> None:
    assert_within_gates(tensorflow, original.graph, original.safetensors, original.logits)


def test_a_training_step_equals_the_originals_in_torch(original: Original) -> None:
    ours = resnet_spec.build(original.graph.name, "torch", weights=original.pth, dtype="float64")
    theirs = original.model.double()
    try:
        batch = torch.from_numpy(images(64, 2))
        (result, state, gradients), wanted = trained(ours, batch), trained(theirs, batch)
        torch.testing.assert_close(result, wanted[0], rtol=1e-12, atol=1e-12)
        assert list(state) == list(wanted[1])
        for key, value in wanted[1].items():
            torch.testing.assert_close(state[key], value, rtol=1e-12, atol=1e-12, msg=key)
        scale = max(float(gradient.norm()) for gradient in wanted[2].values())
        assert list(gradients) == list(wanted[2])
        for key, value in wanted[2].items():
            assert float((gradients[key] - value).abs().max()) < 1e-12 * scale, key
    finally:
        fill(theirs.float().eval(), torch.load(original.pth, weights_only=True))


def trained(model: nn.Module, batch: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits of a training-mode pass, the state after it, and the gradient of every parameter and of the input."""
    inputs = batch.clone().requires_grad_()
    model.train()
    logits = model(inputs)
    weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).reshape(logits.shape)
    (logits * weights).sum().backward()
    gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    assert len(gradients) == len(list(model.parameters()))
    assert inputs.grad is not None
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval().zero_grad()
    return logits.detach(), state, gradients | {"input": inputs.grad}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext101_32x8d", "resnext101_64x4d"])
def test_a_quantizable_twin_has_the_same_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        twin = getattr(models().quantization, name)(weights=None, quantize=False)
    theirs = {key: tuple(value.shape) for key, value in twin.state_dict().items() if "num_batches" not in key}
    ours = resnet_spec.load(f"torchvision/{name}").to_graph().parameters()
    assert [(parameter.name, parameter.shape) for parameter in ours] == list(theirs.items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_quantizable_twin_computes_the_same_before_it_is_quantized(name: str) -> None:
    graph = resnet_spec.load(f"torchvision/{name}").to_graph()
    twin = randomized(graph.at_size(64, 64), lambda: getattr(models().quantization, name)(weights=None, quantize=False))
    twin.double()
    state = {key: value.numpy() for key, value in twin.state_dict().items() if "num_batches" not in key}
    ours = resnet_spec.build(graph.name, "torch", weights=state, dtype="float64")
    inputs = images(75, 2)
    np.testing.assert_allclose(run(ours, inputs), run(twin, inputs), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_both_heads_for_segmentation_are_the_originals(name: str) -> None:
    graph = resnet_spec.load(f"torchvision/{name}").to_graph()
    make = getattr(models().segmentation, name)
    theirs = randomized(
        graph.at_size(64, 64), lambda: make(weights=None, weights_backbone=None, aux_loss=True)
    ).double()
    state = {key: value.numpy() for key, value in theirs.state_dict().items() if "num_batches" not in key}
    ours = resnet_spec.build(graph.name, "torch", weights=state, dtype="float64")
    assert list(state) == [parameter.name for parameter in graph.parameters()]
    batch = torch.from_numpy(images(75, 2))
    with torch.inference_mode():
        results, wanted = ours(batch), theirs(batch)
    assert results.keys() == wanted.keys() == {"aux", "out"}
    for head, value in wanted.items():
        torch.testing.assert_close(results[head], value, rtol=1e-13, atol=1e-13)


def test_every_map_of_a_feature_pyramid_is_torchvisions() -> None:
    utils = models().detection.backbone_utils
    backbone = {"backbone_name": "resnet18", "weights": None, "trainable_layers": 5, "norm_layer": nn.BatchNorm2d}
    theirs = utils.resnet_fpn_backbone(**backbone).double().eval()
    ours = resnet_spec.build("torchvision/resnet18_fpn", "torch", dtype="float64")
    ours.load_state_dict(theirs.state_dict())

    batch = torch.from_numpy(images(75, 1))
    with torch.inference_mode():
        maps, own = [*theirs(batch).values()], ours(batch)[::-1]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(maps) == len(own) == 5
    assert all(torch.equal(a, b) for a, b in zip(maps, own, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_in_training_mode_where_asked_for(training: bool) -> None:
    original = models().resnet18()
    ours = resnet_spec.build("resnet18", "torch", training=training)
    modes, wanted = [[module.training for module in model.modules()] for model in (ours, original)]
    assert set(modes) == {training}
    assert set(wanted) == {True}
    gradients = [{name: p.requires_grad for name, p in model.named_parameters()} for model in (ours, original)]
    assert gradients[0] == gradients[1]
