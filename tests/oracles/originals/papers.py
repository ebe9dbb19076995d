"""Networks of papers in plain PyTorch, written from the papers and independent of the specs.

A network has the names of the checkpoints that people have: pytorch_resnet_cifar10 and pytorch-cifar (He et al. 2015),
pytorch_image_classification (He et al. 2016), WideResNet-pytorch, ResNeXt.pytorch, insightface, detectron2 and
SimCLRv2-Pytorch.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, relu

from resnet_spec import Graph

from ..torchvision_original import models
from .torch_network import TorchNetwork

_Unit = Callable[[int, int, int], nn.Module]
"""A residual unit from its input channels, output channels and stride."""


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)


def pooled(x: Tensor) -> Tensor:
    """The mean of each channel."""
    return x.mean((2, 3))


def in_a_row(unit: _Unit, names: Iterable[str], inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Units of one width, the first of which changes width and size."""
    units: OrderedDict[str, nn.Module] = OrderedDict()
    for index, name in enumerate(names):
        units[name] = unit(outputs, outputs, 1) if index else unit(inputs, outputs, stride)
    return nn.Sequential(units)


def counted(count: int, start: int = 0, prefix: str = "") -> list[str]:
    """Names of units."""
    return [f"{prefix}{index}" for index in range(start, start + count)]


# ---------------------------------------------------------------------------------------------------------------
# He et al. 2015, "Deep Residual Learning for Image Recognition"


class ZeroPadded(nn.Module):
    """Option A: every other pixel, with as many channels of zeros on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        zeros = torch.zeros_like(x[:, :1]).expand(-1, self.extra // 2, -1, -1)
        return torch.cat([zeros, x, zeros], dim=1)


def projected(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Option B: a normalized 1×1 convolution."""
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, option: _Unit = projected) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else option(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.shortcut(x) + self.bn2(self.conv2(y)))


class BottleneckUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else projected(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        return relu(self.shortcut(x) + self.bn3(self.conv3(y)))


class ResNet(nn.Module):
    """Stages that double their width and halve the size, all but the first."""

    def __init__(self, channels: int, classes: int, start: int, width: int, counts: list[int], unit: _Unit) -> None:
        super().__init__()
        self.conv1 = convolution(channels, start, 3)
        self.bn1 = nn.BatchNorm2d(start)
        self.stages = [f"layer{index}" for index in range(1, len(counts) + 1)]
        inputs = start
        for index, count in enumerate(counts):
            outputs = width * 2**index
            self.add_module(self.stages[index], in_a_row(unit, counted(count), inputs, outputs, 2 if index else 1))
            inputs = outputs
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.linear(pooled(x))


def resnet(depth: int, option: _Unit, channels: int, classes: int) -> nn.Module:
    """The networks of section 4.2, of 6n + 2 layers."""
    assert depth % 6 == 2
    return ResNet(channels, classes, 16, 16, [(depth - 2) // 6] * 3, partial(BasicUnit, option=option))


def resnet_of_imagenet(depth: int, channels: int, classes: int) -> nn.Module:
    """The networks of section 4.1 behind a stem that keeps the size."""
    if depth == 18:
        return ResNet(channels, classes, 64, 64, [2, 2, 2, 2], BasicUnit)
    return ResNet(channels, classes, 64, 256, [3, 4, 6, 3], BottleneckUnit)


# ---------------------------------------------------------------------------------------------------------------
# He et al. 2016, "Identity Mappings in Deep Residual Networks"


class PreactivationUnit(nn.Module):
    """Normalization, activation and convolution by turns; the kernels and widths are those of the convolutions.

    Where the width grows, and in the first unit of the network with two convolutions, the first activation is common
    to both paths.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        widths = [outputs // 4] * 2 + [outputs] if len(kernels) == 3 else [outputs] * 2
        self.common = inputs != outputs
        self.pairs = len(kernels)
        before = inputs
        for index, (kernel, width) in enumerate(zip(kernels, widths, strict=True), 1):
            self.add_module(f"bn{index}", nn.BatchNorm2d(before))
            self.add_module(f"conv{index}", convolution(before, width, kernel, stride if index == 1 else 1))
            before = width
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.add_module("conv", convolution(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.get_submodule("bn1")(x))
        shortcut = self.shortcut(y if self.common else x)
        y = self.get_submodule("conv1")(y)
        for index in range(2, self.pairs + 1):
            y = self.get_submodule(f"conv{index}")(relu(self.get_submodule(f"bn{index}")(y)))
        return shortcut + y


class PreactivationResNet(nn.Module):
    def __init__(self, channels: int, classes: int, widths: tuple[int, int, int], count: int, unit: _Unit) -> None:
        super().__init__()
        self.conv = convolution(channels, 16, 3)
        names = counted(count, 1, "block")
        self.stage1 = in_a_row(unit, names, 16, widths[0], 1)
        self.stage2 = in_a_row(unit, names, widths[0], widths[1], 2)
        self.stage3 = in_a_row(unit, names, widths[1], widths[2], 2)
        self.bn = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], classes)
        first = self.stage1.get_submodule("block1")
        assert isinstance(first, PreactivationUnit)
        first.common = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.conv(x))))
        return self.fc(pooled(relu(self.bn(x))))


def preactivation_resnet(depth: int, channels: int, classes: int) -> nn.Module:
    """Of two convolutions a unit up to 110 layers, of three beyond."""
    kernels, widths = ((3, 3), (16, 32, 64)) if depth <= 110 else ((1, 3, 1), (64, 128, 256))
    count, rest = divmod(depth - 2, 3 * len(kernels))
    assert rest == 0
    return PreactivationResNet(channels, classes, widths, count, partial(PreactivationUnit, kernels=kernels))


# ---------------------------------------------------------------------------------------------------------------
# Zagoruyko and Komodakis 2016, "Wide Residual Networks"


class WideUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.convShortcut = convolution(inputs, outputs, 1, stride) if inputs != outputs else None
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        y = self.dropout(relu(self.bn2(self.conv1(y))))
        return shortcut + self.conv2(y)


class WideGroup(nn.Module):
    def __init__(self, units: nn.Sequential) -> None:
        super().__init__()
        self.layer = units

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth: int, factor: int, channels: int, classes: int, rate: float = 0.3) -> None:
        super().__init__()
        assert depth % 6 == 4
        names, width = counted((depth - 4) // 6), 16 * factor

        def group(inputs: int, outputs: int, stride: int) -> nn.Module:
            return WideGroup(in_a_row(partial(WideUnit, rate=rate), names, inputs, outputs, stride))

        self.conv1 = convolution(channels, 16, 3)
        self.block1 = group(16, width, 1)
        self.block2 = group(width, 2 * width, 2)
        self.block3 = group(2 * width, 4 * width, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(pooled(relu(self.bn1(x))))


# ---------------------------------------------------------------------------------------------------------------
# Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks"


class AggregatedUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, group_width: int) -> None:
        super().__init__()
        # The first stage's groups have the width in the network's name; it doubles with the output.
        width = groups * group_width * outputs // 256
        self.conv_reduce = convolution(inputs, width, 1)
        self.bn_reduce = nn.BatchNorm2d(width)
        self.conv_conv = convolution(width, width, 3, stride, groups=groups)
        self.bn = nn.BatchNorm2d(width)
        self.conv_expand = convolution(width, outputs, 1)
        self.bn_expand = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.add_module("shortcut_conv", convolution(inputs, outputs, 1, stride))
            self.shortcut.add_module("shortcut_bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn_reduce(self.conv_reduce(x)))
        y = relu(self.bn(self.conv_conv(y)))
        return relu(self.shortcut(x) + self.bn_expand(self.conv_expand(y)))


class ResNeXt(nn.Module):
    def __init__(self, depth: int, groups: int, group_width: int, channels: int, classes: int) -> None:
        super().__init__()
        assert depth % 9 == 2
        unit = partial(AggregatedUnit, groups=groups, group_width=group_width)

        def stage(index: int, inputs: int, outputs: int, stride: int) -> nn.Module:
            names = counted((depth - 2) // 9, prefix=f"stage_{index}_bottleneck_")
            return in_a_row(unit, names, inputs, outputs, stride)

        self.conv_1_3x3 = convolution(channels, 64, 3)
        self.bn_1 = nn.BatchNorm2d(64)
        self.stage_1 = stage(1, 64, 256, 1)
        self.stage_2 = stage(2, 256, 512, 2)
        self.stage_3 = stage(3, 512, 1024, 2)
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn_1(self.conv_1_3x3(x)))
        return self.classifier(pooled(self.stage_3(self.stage_2(self.stage_1(x)))))


# ---------------------------------------------------------------------------------------------------------------
# The networks that He et al. 2015 published: the stride in a unit's first convolution


class NormalizedConvolution(nn.Conv2d):
    """A convolution that its normalization belongs to."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class MsraUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.shortcut = NormalizedConvolution(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = NormalizedConvolution(inputs, outputs // 4, 1, stride)
        self.conv2 = NormalizedConvolution(outputs // 4, outputs // 4, 3, dilation=dilation)
        self.conv3 = NormalizedConvolution(outputs // 4, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(relu(self.conv2(relu(self.conv1(x)))))
        return relu(y + (x if self.shortcut is None else self.shortcut(x)))


class MsraStem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = NormalizedConvolution(channels, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(relu(self.conv1(x)))


class MsraResNet(nn.Module):
    def __init__(self, depth: int, channels: int, classes: int, output_stride: int = 32) -> None:
        super().__init__()
        counts = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]

        def stage(count: int, inputs: int, outputs: int, reached: int) -> nn.Module:
            """Units that reach a stride where they may, and are dilated by what is missing to it."""
            dilation = max(1, reached // output_stride)
            stride = 2 if 4 < reached <= output_stride else 1
            return in_a_row(partial(MsraUnit, dilation=dilation), counted(count), inputs, outputs, stride)

        self.stem = MsraStem(channels)
        self.res2 = stage(counts[0], 64, 256, 4)
        self.res3 = stage(counts[1], 256, 512, 8)
        self.res4 = stage(counts[2], 512, 1024, 16)
        self.res5 = stage(counts[3], 1024, 2048, 32)
        self.linear = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.res5(self.res4(self.res3(self.res2(self.stem(x)))))
        return self.linear(pooled(x))


# ---------------------------------------------------------------------------------------------------------------
# Deng et al. 2018, "ArcFace", section 3.2.2: a normalization before and after each convolution, PReLU between them


class FaceUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = convolution(outputs, outputs, 3, stride)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = projected(inputs, outputs, stride) if (inputs, stride) != (outputs, 1) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + self.downsample(x)


class FaceResNet(nn.Module):
    """Four stages that all halve the size, from 112×112 to 7×7, and a normalized embedding of all positions."""

    def __init__(self, depth: int, channels: int, features: int) -> None:
        super().__init__()
        counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 200: (6, 26, 60, 6)}[
            depth
        ]
        self.conv1 = convolution(channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        inputs = 64
        for index, count in enumerate(counts):
            outputs = 64 * 2**index
            self.add_module(f"layer{index + 1}", in_a_row(FaceUnit, counted(count), inputs, outputs, 2))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout(0.0)
        self.fc = nn.Linear(512 * 7 * 7, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.dropout(self.bn2(x)).flatten(1)))


# ---------------------------------------------------------------------------------------------------------------
# Caron et al. 2020 (SwAV), Chen et al. 2020 (SimCLR): ResNet-50 with every layer wider


def wider(factor: int, channels: int, classes: int) -> nn.Module:
    """torchvision's own blocks and stages, of this many times the channels."""
    resnet = models().resnet
    network = resnet.ResNet(resnet.Bottleneck, [3, 4, 6, 3], num_classes=classes)
    network.inplanes = 64 * factor
    network.conv1 = nn.Conv2d(channels, network.inplanes, 7, 2, 3, bias=False)
    network.bn1 = nn.BatchNorm2d(network.inplanes)
    for index, count in enumerate((3, 4, 6, 3)):
        stage = network._make_layer(resnet.Bottleneck, 64 * factor * 2**index, count, stride=2 if index else 1)
        setattr(network, f"layer{index + 1}", stage)
    network.fc = nn.Linear(2048 * factor, classes)
    return network


# ---------------------------------------------------------------------------------------------------------------
# Chen et al. 2020 (SimCLRv2): selective kernels of two streams, average pools before the projections, and a stem of
# three convolutions whose pool is padded as TensorFlow does


def normalized(channels: int, *, active: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU() if active else nn.Identity())


class StreamKernel(nn.Module):
    """One convolution makes both streams; the width between is a sixteenth of the channels, at least 32."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        width = max(channels // 16, 32)
        self.main_conv = nn.Sequential(convolution(channels, 2 * channels, 3, stride), normalized(2 * channels))
        self.mixing_conv = nn.Sequential(
            convolution(channels, width, 1), normalized(width), convolution(width, 2 * channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.main_conv(x).chunk(2, 1)
        one, other = self.mixing_conv(pooled(first + second)[..., None, None]).chunk(2, 1)
        # A softmax over two.
        share = torch.sigmoid(one - other)
        return first * share + second * (1 - share)


class StreamProjection(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        padded = nn.ZeroPad2d((0, 1, 0, 1))
        pool = nn.AvgPool2d(2, stride)
        self.shortcut = nn.Sequential(padded, pool, convolution(inputs, outputs, 1))
        self.bn = normalized(outputs, active=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        padded, pool, projection = self.shortcut
        y = pool(padded(x))
        if self.stride == 1:
            # Padding that TensorFlow adds itself does not count.
            y = y / pool(padded(torch.ones_like(x)))
        return self.bn(projection(y))


class StreamUnit(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.projection = StreamProjection(inputs, outputs, stride) if inputs != outputs else nn.Identity()
        self.net = nn.Sequential(
            convolution(inputs, width, 1),
            normalized(width),
            StreamKernel(width, stride),
            convolution(width, outputs, 1),
            normalized(outputs, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.projection(x) + self.net(x))


class StreamStage(nn.Module):
    def __init__(self, count: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.blocks = in_a_row(StreamUnit, counted(count), inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class StreamResNet(nn.Module):
    def __init__(self, factor: int, channels: int, classes: int) -> None:
        super().__init__()
        width = 32 * factor
        stem = nn.Sequential(
            convolution(channels, width, 3, 2),
            normalized(width),
            convolution(width, width, 3),
            normalized(width),
            convolution(width, 2 * width, 3),
            normalized(2 * width),
        )
        stages: list[nn.Module] = []
        inputs = 2 * width
        for index, count in enumerate((3, 4, 6, 3)):
            outputs = 256 * factor * 2**index
            stages.append(StreamStage(count, inputs, outputs, 2 if index else 1))
            inputs = outputs
        self.net = nn.Sequential(stem, *stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        stem, *stages = self.net
        x = stem(x)
        # A row and a column on both sides only where the size is odd.
        height, width = x.shape[2:]
        x = max_pool2d(pad(x, (width % 2, 1, height % 2, 1), value=-torch.inf), 3, 2)
        for stage in stages:
            x = stage(x)
        return self.fc(pooled(x))


# ---------------------------------------------------------------------------------------------------------------
# Wang, Yan, Oates 2017: the residual network for time series, with Keras' normalization as the authors use it; the
# shortcut of a block that adds no channels is a normalization alone


class SeriesUnit(nn.Module):
    """Convolutions of 8, 5 and 3 values, padded to the same length, the odd zero after."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 8)
        self.bn1 = nn.BatchNorm1d(outputs, 1e-3, 0.01)
        self.conv2 = nn.Conv1d(outputs, outputs, 5, padding=2)
        self.bn2 = nn.BatchNorm1d(outputs, 1e-3, 0.01)
        self.conv3 = nn.Conv1d(outputs, outputs, 3, padding=1)
        self.bn3 = nn.BatchNorm1d(outputs, 1e-3, 0.01)
        self.expand = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)
        self.bn = nn.BatchNorm1d(outputs, 1e-3, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(pad(x, (3, 4)))))
        y = relu(self.bn2(self.conv2(y)))
        return relu(self.bn3(self.conv3(y)) + self.bn(self.expand(x)))


class SeriesResNet(nn.Module):
    """Three units and the mean over time."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = [channels, 64, 128, 128]
        for number in (1, 2, 3):
            self.add_module(f"block{number}", nn.Sequential(SeriesUnit(widths[number - 1], widths[number])))
        self.fc = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block3(self.block2(self.block1(x))).mean(2))


# ---------------------------------------------------------------------------------------------------------------


_Builder = Callable[[list[int], int, int], nn.Module]
"""A network from the numbers in its name, its input channels and its classes."""

_BUILDERS: dict[str, _Builder] = {
    r"cifar/resnet(18|50)": lambda n, channels, classes: resnet_of_imagenet(n[0], channels, classes),
    r"cifar/resnet(\d+)": lambda n, channels, classes: resnet(n[0], ZeroPadded, channels, classes),
    r"cifar/resnet(\d+)b": lambda n, channels, classes: resnet(n[0], projected, channels, classes),
    r"cifar/preact_resnet(\d+)": lambda n, channels, classes: preactivation_resnet(n[0], channels, classes),
    r"cifar/wrn_(\d+)_(\d+)": lambda n, channels, classes: WideResNet(n[0], n[1], channels, classes),
    r"cifar/resnext(\d+)_(\d+)x(\d+)d": lambda n, channels, classes: ResNeXt(n[0], n[1], n[2], channels, classes),
    r"faces/iresnet(\d+)": lambda n, channels, features: FaceResNet(n[0], channels, features),
    r"simclr/r50_(\d)x_sk1": lambda n, channels, classes: StreamResNet(n[0], channels, classes),
    r"signals/tsc_resnet": lambda n, channels, classes: SeriesResNet(channels, classes),
    r"swav/resnet50w(\d)": lambda n, channels, classes: wider(n[0], channels, classes),
    r"msra/resnet(\d+)": lambda n, channels, classes: MsraResNet(n[0], channels, classes),
}


def build(name: str, channels: int, classes: int) -> nn.Module:
    """The network of this name."""
    for pattern, builder in _BUILDERS.items():
        if match := re.fullmatch(pattern, name):
            return builder([int(number) for number in match.groups()], channels, classes)
    raise ValueError(f"no paper has a network {name!r}")


class Network(TorchNetwork):
    """A network of a paper."""

    version = f"plain PyTorch {torch.__version__.partition('+')[0]}"

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.graph = graph
        super().__init__(graph, dtype)

    def build(self, name: str) -> nn.Module:
        return build(self.graph.name, self.graph.input.channels, self.graph.by_name[self.graph.logits].shape[0])

    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        dropouts = [module for module in self.model.modules() if isinstance(module, nn.Dropout)]
        rates = [module.p for module in dropouts]
        for module in dropouts:
            module.p = 0.0
        arrays = super().train(images)
        for module, rate in zip(dropouts, rates, strict=True):
            module.p = rate
        return arrays
