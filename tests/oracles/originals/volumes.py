"""MONAI's ResNets of volumes in plain PyTorch, written from its documentation of their parts.

Names and shapes of all parameters, and the logits of resnet10, resnet50 and resnet18 with shortcut type A, were found
equal to those of MONAI 1.6.1, which the tests do not need. Differences from torchvision's: stride 1 in the stem's
convolution, a bias in the projections (``bias_downsample``), and with shortcut type A channels of zeros after every
second position.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from .torch_network import TorchNetwork

DEPTHS = {10: [1, 1, 1, 1], 18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}
BOTTLENECK_DEPTHS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3], 200: [3, 24, 36, 3]}


class Unit(nn.Module):
    """Convolutions of some extents, the first of more than 1 strided, and a shortcut of one of two types."""

    def __init__(self, inputs: int, widths: Sequence[int], kernels: Sequence[int], stride: int, added: bool) -> None:
        super().__init__()
        before, strides = (
            inputs,
            [stride if kernel == 3 and 3 not in kernels[:i] else 1 for i, kernel in enumerate(kernels)],
        )
        for number, (width, kernel, step) in enumerate(zip(widths, kernels, strides, strict=True), 1):
            self.add_module(f"conv{number}", nn.Conv3d(before, width, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm3d(width))
            before = width
        self.count, self.stride, self.added = len(widths), stride, 0
        self.downsample: nn.Module = nn.Identity()
        if (stride > 1 or inputs != before) and added:
            self.added = before - inputs
        elif stride > 1 or inputs != before:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, before, 1, stride), nn.BatchNorm3d(before))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            y = F.relu(y) if number < self.count else y
        if self.added:
            every = slice(None, None, self.stride)
            return F.relu(y + F.pad(x[:, :, every, every, every], (0, 0, 0, 0, 0, 0, 0, self.added)))
        return F.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """The network of a depth for volumes."""

    def __init__(self, depth: int, channels: int, classes: int, *, added: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, 64, 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        before = 64
        counts = (DEPTHS | BOTTLENECK_DEPTHS)[depth]
        for index, count in enumerate(counts):
            width = 64 * 2**index
            widths, kernels = ([width, width], [3, 3]) if depth in DEPTHS else ([width, width, 4 * width], [1, 3, 1])
            units: list[nn.Module] = []
            for number in range(count):
                units.append(Unit(before, widths, kernels, 2 if index and not number else 1, added))
                before = widths[-1]
            self.add_module(f"layer{index + 1}", nn.Sequential(*units))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3, 4)))


class Network(TorchNetwork):
    """A network of MONAI by its name, with shortcut type A if it ends in ``_a``."""

    version = f"plain PyTorch {torch.__version__.partition('+')[0]}, as MONAI 1.6.1"

    def build(self, name: str) -> nn.Module:
        depth, _, kind = name.removeprefix("resnet").partition("_")
        return ResNet(int(depth), 3, 400, added=kind == "a")
