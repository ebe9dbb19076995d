"""PyTorch models under other names load into specs by their structure, from programs and live."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from resnet_spec import WeightsError, build, load, read_weights
from resnet_spec.spec.spec import Spec

SIZE, WIDTH, CLASSES = 32, 4, 5


class Block(nn.Module):
    """A basic block by functions; what is passed to ``Network`` is what a test changes."""

    def __init__(self, inputs: int, channels: int, stride: int, change: dict[str, Any]) -> None:
        super().__init__()
        strides = (1, stride) if change.get("late_stride") else (stride, 1)
        self.a = nn.Conv2d(inputs, channels, 3, strides[0], 1, bias=False)
        self.an = nn.BatchNorm2d(channels, eps=change.get("epsilon", 1e-5))
        self.b = nn.Conv2d(channels, channels, 3, strides[1], 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.skip = nn.ModuleList()
        if stride > 1:
            self.skip += [nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)]
        self.change = change

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.an(self.a(x))
        y = self.bn(self.b(y if self.change.get("linear") else functional.relu(y)))
        for layer in self.skip:
            x = layer(x)
        return y + x if self.change.get("without_end") else functional.relu(y + x)


class Network(nn.Module):
    """A ResNet-18 whose names are nobody else's."""

    def __init__(self, **change: Any) -> None:
        super().__init__()
        self.change = change
        self.entry = nn.Sequential(nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False), nn.BatchNorm2d(WIDTH))
        widths = [WIDTH * 2**stage for stage in range(4) for _ in range(2)]
        pairs = zip([WIDTH, *widths], widths, strict=False)
        blocks = [Block(before, after, 1 if before == after else 2, change) for before, after in pairs]
        self.body = nn.ModuleList(blocks)
        self.out = nn.Linear(widths[-1], CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.entry(x))
        x = (functional.avg_pool2d if self.change.get("average") else functional.max_pool2d)(x, 3, 2, 1)
        for block in self.body:
            x = block(x)
        return self.out(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def randomized(model: Network) -> Network:
    """Statistics near those of a batch, scales around 1, and residual branches damped."""
    generator = torch.Generator().manual_seed(0)

    def uniform(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    damped = {block.bn for block in model.body if isinstance(block, Block)}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            factor = 0.2 if norm in damped else 1.0
            norm.weight.copy_(factor * uniform(norm.weight, 0.5, 1.5))
            norm.bias.copy_(factor * uniform(norm.bias, -0.5, 0.5))
            norm.momentum = None
        model.train()(torch.randn(16, 3, SIZE, SIZE, generator=generator))
        for norm in norms:
            assert norm.running_var is not None
            norm.running_var.mul_(uniform(norm.running_var, 0.8, 1.25))
    return model.eval()


def spec_of(**more: Any) -> Spec:
    widths = {f"stages.layer{stage + 1}.channels": WIDTH * 2**stage for stage in range(4)}
    size = {"input.height": SIZE, "input.width": SIZE, "parameters.classes": CLASSES}
    return load("torchvision/resnet18", {**widths, **size, "stem.conv1.conv2d.channels": WIDTH, **more})


def exported(model: nn.Module, path: Path, batch: int = 2) -> Path:
    torch.export.save(torch.export.export(model, (torch.zeros(batch, 3, SIZE, SIZE),)), path)
    return path


def logits(model: nn.Module) -> np.ndarray[Any, Any]:
    images = np.random.default_rng(1).standard_normal((2, 3, SIZE, SIZE)).astype("f4")
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("live", [True, False], ids=["live", "pt2"])
def test_other_names_load_and_give_the_same_logits(live: bool, tmp_path: Path) -> None:
    model = randomized(Network())
    wanted = logits(model)
    found = logits(build(spec_of(), "torch", weights=model if live else exported(model, tmp_path / "model.pt2")))
    assert np.abs(found - wanted).max() < 3e-5 * wanted.std()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"epsilon": 1e-3},
            "'layer1.0.bn1' (batch_norm) in the spec and 'body.0.an' (batch_norm) in the model differ in epsilon: "
            "1e-05 and 0.001",
        ),
        (
            {"late_stride": True},
            "'layer2.0.conv1' (conv2d) in the spec and 'body.2.a' (conv2d) in the model differ in stride: "
            "[2, 2] and [1, 1]",
        ),
        ({"average": True}, "the spec has 'maxpool' (max_pool2d) where the model has 'avgpool1' (avg_pool2d)"),
        ({"linear": True}, "the spec has 'layer1.0.relu1' (relu) where the model has 'body.0.b' (conv2d)"),
        ({"without_end": True}, "the spec has 'layer1.0.relu2' (relu) where the model has 'body.1.a' (conv2d)"),
    ],
    ids=["epsilon", "stride", "pool", "activation", "end"],
)
def test_a_difference_is_reported_by_both_names(change: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        build(spec_of(), "torch", weights=Network(**change))
    assert str(caught.value).endswith(f": its weights cannot be found by structure: {message}")


def test_a_folded_spec_says_what_the_model_lacks() -> None:
    with pytest.raises(WeightsError, match="its batch normalizations are not folded into the convolutions"):
        build(spec_of(folded=True), "torch", weights=Network())


def test_another_number_of_classes_is_adapted() -> None:
    model = randomized(Network())
    with pytest.raises(WeightsError, match=r"fc\.weight: has shape \[5, 32\], not \[7, 32\]"):
        build(spec_of(**{"parameters.classes": 7}), "torch", weights=model)
    found = build(spec_of(**{"parameters.classes": 7}), "torch", weights=model, adapt="classes")
    assert torch.equal(found.layer1[0].conv1.weight, model.body[0].a.weight)
    assert found.fc.out_features == 7


def test_the_model_is_left_as_it_was() -> None:
    model = randomized(Network()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = build(spec_of(), "torch", weights=model)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.zero_()
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_program_whose_names_fit_and_whose_network_does_not_is_doubted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = build(spec_of(**{"layers.norm.batch_norm.epsilon": 1e-3}), "torch")
    path = exported(other, tmp_path / "model.pt2")
    graph = spec_of().to_graph()
    arrays = read_weights(path, graph)
    assert np.array_equal(arrays["fc.weight"], other.fc.weight.detach().numpy())
    assert "is for another architecture than torchvision/resnet18: 'bn1' (batch_norm) in the spec" in caplog.text
    with pytest.raises(WeightsError, match="is for another architecture"):
        read_weights(path, graph, strict_graph=True)


def test_a_program_that_names_code_is_refused(tmp_path: Path) -> None:
    path, hostile = exported(Network(), tmp_path / "model.pt2"), tmp_path / "hostile.pt2"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(hostile, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if "/models/" in name:
                data = json.loads(content)
                data["graph_module"]["graph"]["nodes"][0]["target"] = "os.system"
                content = json.dumps(data).encode()
            copy.writestr(name, content)
    with pytest.raises(WeightsError, match=r"its network cannot be read: calls 'os\.system'"):
        read_weights(hostile, spec_of().to_graph())
