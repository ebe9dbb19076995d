"""Networks in the styles of tutorials."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


def sequential() -> nn.Module:
    """Everything in one Sequential, with automatic names."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(16 * 3 * 3, 20), nn.Dropout(0.5), nn.Linear(20, 10),
    )  # fmt: skip


class Functional(nn.Module):
    """Functions in forward, a normalization used twice, a layer that another one shares."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.bn(self.conv1(x)), 0.1)
        y = self.bn(self.conv2(x))
        y = F.relu_(y)
        y = y + self.conv2(y)
        y = torch.cat([x, y], dim=1)[:, 4:12]
        y = F.adaptive_avg_pool2d(y, 1)
        return self.fc(torch.flatten(y, 1))


class Block(nn.Module):
    """A residual block as people write it."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.proj = nn.Conv2d(channels_in, channels, 1, stride) if stride != 1 or channels_in != channels else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.gelu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.proj is not None:
            x = self.proj(x)
        return F.gelu(x + y, approximate="tanh")


class Residual(nn.Module):
    """A list of blocks, whose widths grow; the mean of positions in place of a pool."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        widths = [8, 8, 16, 16, 32, 32, 32]
        ins = [8, *widths[:-1]]
        self.blocks = nn.ModuleList(Block(a, b, 1 if a == b else 2) for a, b in zip(ins, widths, strict=True))
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.drop(x.mean((2, 3))))


class Gated(nn.Module):
    """Squeeze-and-excitation by views, a learned scale, and attention by a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.squeeze = nn.Linear(16, 4)
        self.excite = nn.Linear(4, 16)
        self.gamma = nn.Parameter(torch.full((16,), 0.3))
        self.norm = nn.GroupNorm(4, 16)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.out = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardswish(self.norm(self.conv(x)))
        weights = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=[2, 3])))))
        x = x * weights[:, :, None, None] * self.gamma.view(1, -1, 1, 1) / 0.7
        first, second = x.chunk(2, dim=1)
        x = torch.maximum(first, second) - F.pad(second, (0, 0, 1, 0))[:, :, 1:]
        return self.out(self.up(x)).softmax(1)


class Signal(nn.Module):
    """A network for signals."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(2, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(3, 2, 1),
            nn.Conv1d(8, 16, 3, dilation=2, padding="same", groups=2), nn.ELU(0.5), nn.AvgPool1d(2),
        )  # fmt: skip
        self.fc = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.adaptive_max_pool1d(self.features(x), 1).squeeze(-1))


def volume() -> nn.Module:
    """A network for volumes."""
    return nn.Sequential(
        nn.Conv3d(1, 4, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)), nn.BatchNorm3d(4), nn.ReLU6(), nn.MaxPool3d(2),
        nn.ConvTranspose3d(4, 3, 2, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
    )  # fmt: skip


MODELS = {
    "sequential": (sequential, (1, 17, 17)),
    "functional": (Functional, (3, 16, 17)),
    "residual": (Residual, (3, 16, 16)),
    "gated": (Gated, (3, 9, 8)),
    "signal": (Signal, (2, 33)),
    "volume": (volume, (1, 4, 9, 10)),
}
"""Makers, and the shapes of their inputs."""
