"""Hand-written torch models in the styles of tutorials, and their exports."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Functions in forward, an empty sequence for the shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ListOfBlocks(nn.Module):
    """A stem as a sequence, a list of modules, an average by ``view``, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.ModuleList([BasicBlock(8, 8, 1), BasicBlock(8, 16, 2)])
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = F.avg_pool2d(x, 4)
        return self.fc(self.drop(x.view(x.size(0), -1)))


class Gated(nn.Module):
    """A gate by linear layers, a module called twice, LayerScale, an addition of three, hard activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)
        self.act = nn.SiLU()
        self.shared = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.norm = nn.GroupNorm(4, 8)
        self.squeeze = nn.Linear(8, 2)
        self.excite = nn.Linear(2, 8)
        self.gamma = nn.Parameter(torch.full((8, 1, 1), 0.1))
        self.head = nn.Sequential(nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        y = self.norm(self.shared(self.act(self.shared(x))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        y = y * gate[:, :, None, None]
        return self.head(x + y * self.gamma + F.gelu(y))


class ShuffledAndResized(nn.Module):
    """A channel shuffle, parts, a resize to another map's size, two outputs, the input normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).reshape(3, 1, 1))
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.lateral = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = (x - self.mean) / 0.25
        y = F.leaky_relu(self.norm(F.relu6(self.down(x))), 0.1)
        first, second = y.chunk(2, dim=1)
        y = torch.cat([self.left(first), second], dim=1)
        n, c, h, w = y.shape
        y = y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        larger = F.interpolate(y[:, :4], size=x.shape[2:], mode="bilinear", align_corners=False)
        return larger + self.lateral(x), F.softmax(self.up(y), dim=1)


MODELS = {"blocks": ListOfBlocks, "gated": Gated, "shuffled": ShuffledAndResized}


def made(name: str) -> nn.Module:
    """A model in inference mode with other statistics than those of its first moment."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
    return model.eval()


def exported(model: nn.Module, path: Path, size: int = 32, *, dynamo: bool = False, **options: Any) -> Path:
    """Write a model by one of torch's exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            options |= {"external_data": False, "verbose": False}
        torch.onnx.export(  # pyright: ignore[reportUnknownMemberType]
            model, (torch.randn(1, 3, size, size),), str(path), dynamo=dynamo, **options
        )
    return path
