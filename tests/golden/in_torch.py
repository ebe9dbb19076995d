"""The originals on PyTorch: its own functions, and the blocks of torchvision, timm, transformers and the papers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

# transformers reads this at import: no access to the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_spec import Graph
from resnet_spec.graph import INPUT, Node

from ..oracles.originals import papers
from ..oracles.torchvision_original import models
from .original import PREFIX, Arrays, Original, only

# timm and transformers import torchvision, whose operators must be registered first.
models()

from timm.layers.attention_pool2d import AttentionPool2d  # noqa: E402
from timm.layers.blur_pool import BlurPool2d, create_aa  # noqa: E402
from timm.layers.create_conv2d import create_conv2d  # noqa: E402
from timm.layers.drop import DropPath  # noqa: E402
from timm.layers.eca import EcaModule  # noqa: E402
from timm.layers.evo_norm import EvoNorm2dS0, EvoNorm2dS0a  # noqa: E402
from timm.layers.filter_response_norm import FilterResponseNormAct2d, FilterResponseNormTlu2d  # noqa: E402
from timm.layers.layer_scale import LayerScale, LayerScale2d  # noqa: E402
from timm.layers.norm import LayerNorm2d  # noqa: E402
from timm.layers.norm_act import BatchNormAct2d, GroupNormAct  # noqa: E402
from timm.layers.squeeze_excite import SEModule  # noqa: E402
from timm.layers.std_conv import ScaledStdConv2d, StdConv2d, StdConv2dSame  # noqa: E402
from timm.models import byobnet, resnet, resnetv2  # noqa: E402
from torchvision.models import resnet as torchvision  # noqa: E402
from transformers.models.resnet import modeling_resnet as transformers  # noqa: E402

Function = Callable[..., Tensor]


# ---------------------------------------------------------------------------------------------------------------
# Functions


def _function(name: str, call: Function) -> Original:
    """A function of the batch, given the layer's arrays by keywords."""

    def value(images: NDArray[Any], own: dict[str, NDArray[Any]]) -> NDArray[Any]:
        tensors = {key: torch.from_numpy(array) for key, array in own.items()}
        return call(torch.from_numpy(images), **tensors).numpy()

    return Original(f"torch.{name}", ("torch",), only(value))


def _in_nn(name: str, **options: Any) -> Original:
    """A function of ``torch.nn.functional`` with options."""
    return _function(f"nn.functional.{name}", partial(getattr(F, name), **options))


def _uneven(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (0, 2, 1, 0)), weight, stride=(2, 3))


def _uneven_transpose(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv_transpose2d(x, weight, stride=(3, 2))[:, :, 1:, :-2]


def _uneven_max(x: Tensor) -> Tensor:
    return F.max_pool2d(F.pad(x, (0, 1, 1, 0), value=-torch.inf), (3, 2), (2, 1))


def _row_groups(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x.reshape(len(x), 4, 9), 2, weight, bias)


# ---------------------------------------------------------------------------------------------------------------
# Modules


def _module(
    make: Callable[[], nn.Module],
    *,
    prefix: str = PREFIX,
    called: Mapping[str, Sequence[str]] | None = None,
    renamed: Mapping[str, str] | None = None,
    name: str = "",
) -> Original:
    """A module whose layers have the names of the nodes, behind ``prefix``.

    ``renamed`` says how the paths of modules begin where they have other names; ``called`` whose values a module gives
    where those are not named as it is, in the order of its calls. ``name`` is the module's own where its class does not
    tell it.
    """

    def run(graph: Graph, arrays: Arrays, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        model = make().double().eval()
        names = {path: _renamed(path, renamed or {}) for path, _ in model.named_modules()}
        _load(model, {key.removeprefix(prefix): array for key, array in arrays.items()}, names)
        recorder = _Recorder(graph, prefix)
        for path, module in model.named_modules():
            recorder.watch(module, names[path], (called or {}).get(path, [names[path]]))
        # EvoNorm and filter response normalization compute in float32 for any input type.
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            value = model(torch.from_numpy(images))
        return {**recorder.values, graph.outputs[-1]: value.numpy()}

    kind = type(make())
    name = name or f"{kind.__module__}.{kind.__qualname__}"
    library = name.partition(".")[0]
    return Original(name, ("torch",) if library == "tests" else (library, "torch"), run)


def _renamed(path: str, renamed: Mapping[str, str]) -> str:
    beginning = next((theirs for theirs in renamed if f"{path}.".startswith(f"{theirs}.")), "")
    return renamed[beginning] + path.removeprefix(beginning) if beginning else path


def _load(model: nn.Module, arrays: Arrays, names: Mapping[str, str]) -> None:
    """Set every parameter and statistic; raises if one is left over on either side."""
    state = model.state_dict()
    theirs: dict[str, str] = {}
    for key in state:
        path, _, last = key.rpartition(".")
        theirs[f"{names[path]}.{last}".lstrip(".")] = key
    given = {theirs[name]: torch.from_numpy(array) for name, array in arrays.items()}
    counters = {key: value for key, value in state.items() if key.endswith("num_batches_tracked")}
    model.load_state_dict(given | counters)


class _Recorder:
    """What modules give and are given, as the values of nodes, copied before anything changes them in place."""

    def __init__(self, graph: Graph, prefix: str) -> None:
        self.values: dict[str, NDArray[Any]] = {}
        self._graph = graph
        self._prefix = prefix

    def watch(self, module: nn.Module, path: str, names: Sequence[str]) -> None:
        """Keep what a module gives as the values of these nodes, one each time it is called, if they are nodes."""
        full = [f"{self._prefix}{name}".rstrip(".") for name in names]
        # With a node's own activation or normalization in it, a module gives that one's value.
        inner = any(node.startswith(f"{full[0]}.") for node in self._graph.by_name)
        if full[0] not in self._graph.by_name or inner:
            return
        calls = iter([self._graph.by_name[name] for name in full])
        given: list[Tensor] = []
        module.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].clone()))
        # What a module of several nodes is given is not what the last of them is.
        several = names[0].startswith(f"{path}." if path else "")
        module.register_forward_hook(
            lambda module, inputs, output: self._keep(next(calls), None if several else given.pop(), output)
        )

    def _keep(self, node: Node, given: Tensor | None, output: Tensor) -> None:
        self.values[node.name] = output.clone().numpy()
        if given is not None and len(node.inputs) == 1 and node.inputs[0] != INPUT:
            self.values.setdefault(node.inputs[0], given.numpy())


_layer = partial(_module, prefix="layer.", called={"": ["layer"]})
"""A module that is one layer; its path is empty."""

_CALLED = {"relu": ["relu1", "relu2"]}
_CALLED_THRICE = {"relu": ["relu1", "relu2", "relu3"]}
_ACTIVATIONS = {f"act{index}": f"relu{index}" for index in (1, 2, 3)}
_TRANSFORMERS = {
    "shortcut.convolution": "downsample.0",
    "shortcut.normalization": "downsample.1",
    **{f"layer.{index}.convolution": f"conv{index + 1}" for index in range(3)},
    **{f"layer.{index}.normalization": f"bn{index + 1}" for index in range(3)},
    "layer.0.activation": "relu1",
}


def _projected(inputs: int, outputs: int, stride: int = 2) -> nn.Module:
    """A projection as torchvision writes it where it makes a stage."""
    return nn.Sequential(torchvision.conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


def _average(stride: int = 2) -> nn.Module:
    aa = create_aa(nn.AvgPool2d, channels=4, stride=stride)
    assert aa is not None
    return aa


def _gated_basic() -> nn.Module:
    projection = resnet.downsample_avg(4, 8, 1, stride=2)
    parts = {"attn_layer": SEModule, "aa_layer": BlurPool2d, "drop_path": DropPath(0.2)}
    return resnet.BasicBlock(4, 8, 2, projection, **parts)


def _dilated_bottleneck() -> nn.Module:
    projection = resnet.downsample_conv(4, 16, 3, dilation=2, first_dilation=1)
    return resnet.Bottleneck(4, 4, 1, projection, reduce_first=2, dilation=2, first_dilation=1)


_POOLED = {"bottle_ratio": 0.5, "layers": byobnet.get_layer_fns(byobnet.model_cfgs["resnet50_clip"])}
_EVOLVING = byobnet.get_layer_fns(byobnet.model_cfgs["regnetz_c16_evos"])
_FUSED = {f"{name}.bn.act": f"{name}.act" for name in ("conv1_1x1", "conv2_kxk")}
_WITH_ITS_ACTIVATION = {f"{name}.bn": ["every"] for name in ("conv1_1x1", "conv2_kxk")}
"""Modules whose value is that of no node."""

_unit = partial(resnetv2.PreActBottleneck, bottle_ratio=0.5)
_convolving = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d}
_standardized = {
    "conv_layer": partial(StdConv2d, eps=1e-8),
    "norm_layer": partial(GroupNormAct, num_groups=4, eps=1e-5),
}
_EVOLVED = {"conv_layer": create_conv2d, "norm_layer": partial(EvoNorm2dS0, groups=4)}
_RESPONDING = {"conv_layer": create_conv2d, "norm_layer": FilterResponseNormTlu2d}


def _split(unit: papers.PreactivationUnit) -> nn.Module:
    """The first unit of a network, whose first activation is common to both paths."""
    unit.common = True
    return unit


_deep = partial(resnet.ResNet, resnet.BasicBlock, [1, 1, 1, 1], stem_width=4)

ORIGINALS: dict[str, Original] = {
    "operations/conv2d": _in_nn("conv2d", padding=1),
    "operations/conv2d_uneven": _function("nn.functional.conv2d", _uneven),
    "operations/conv2d_dilated_groups": _in_nn("conv2d", padding=(2, 1), dilation=(2, 1), groups=2),
    "operations/std_conv2d": _layer(partial(StdConv2d, 4, 5, 3, stride=2, padding=1, eps=1e-8)),
    "operations/std_conv2d_dilated_groups": _layer(
        partial(StdConv2d, 4, 6, 3, padding=2, dilation=2, groups=2, bias=True)
    ),
    "operations/std_conv2d_gain": _layer(partial(ScaledStdConv2d, 4, 6, 3, padding=1, groups=2, gamma=1.7)),
    "operations/std_conv2d_same": _layer(partial(StdConv2dSame, 4, 5, 3, stride=2)),
    "operations/conv_transpose2d": _in_nn("conv_transpose2d", stride=2, padding=1),
    "operations/conv_transpose2d_uneven": _function("nn.functional.conv_transpose2d", _uneven_transpose),
    "operations/conv1d": _function("nn.functional.conv1d", lambda x, weight: F.conv1d(x.flatten(2), weight, padding=1)),
    "operations/conv1d_biased": _function("nn.functional.conv1d", lambda x, **own: F.conv1d(x.flatten(2), **own)),
    "operations/conv1d_dilated_groups": _function(
        "nn.functional.conv1d", lambda x, weight: F.conv1d(F.pad(x, (3, 1)), weight, stride=2, dilation=2, groups=2)
    ),
    "operations/conv3d": _in_nn("conv3d", padding=1),
    "operations/conv3d_uneven": _function(
        "nn.functional.conv3d", lambda x, weight: F.conv3d(F.pad(x, (0, 2, 0, 0, 1, 0)), weight, stride=(1, 2, 2))
    ),
    "operations/conv3d_dilated_groups": _in_nn("conv3d", stride=(1, 2, 2), padding=2, dilation=2, groups=2),
    "operations/conv_transpose1d": _in_nn("conv_transpose1d", stride=2, padding=1),
    "operations/conv_transpose3d": _in_nn("conv_transpose3d", stride=(1, 2, 2), padding=(0, 0, 1)),
    "operations/linear": _in_nn("linear"),
    "operations/linear_unbiased": _in_nn("linear"),
    "operations/scale": _module(partial(LayerScale2d, 4), prefix="layer.", called={"": ["gamma"]}),
    "operations/scale_of_a_vector": _module(partial(LayerScale, 6), prefix="layer.", called={"": ["gamma"]}),
    "operations/scale_by_a_number": _function("mul", lambda x, layer: torch.mul(x, layer)),
    "operations/scale_of_each_element": _function("mul", lambda x, layer: torch.mul(x, layer)),
    "operations/offset": _function("add", lambda x, layer: torch.add(x, layer.view(1, -1, 1, 1))),
    "operations/offset_of_a_number": _function("add", lambda x, layer: torch.add(x, layer)),
    "operations/offset_of_each_element": _function("add", lambda x, layer: torch.add(x, layer)),
    "operations/parameter": _function("broadcast_to", lambda x, layer: torch.broadcast_to(layer, (len(x), 3, 5, 2))),
    "operations/linear_of_rows": _function(
        "nn.functional.linear", lambda x, weight, bias: F.linear(x.reshape(len(x), 9, 32), weight, bias)
    ),
    "operations/linear_of_a_map": _in_nn("linear"),
    "operations/matmul": _function("matmul", lambda x: torch.matmul(x, x.sigmoid().mT)),
    "operations/matmul_broadcast": _function("matmul", lambda x: torch.matmul(x[:, :1].mT, x) * 0.3),
    "operations/transpose": _function("permute", lambda x: torch.permute(x, (0, 3, 1, 2))),
    "operations/transpose_of_four_axes": _function(
        "permute", lambda x: torch.permute(x.reshape(len(x), 2, 2, 9, 8), (0, 3, 1, 4, 2))
    ),
    "operations/batch_norm": _in_nn("batch_norm"),
    "operations/batch_norm_of_a_vector": _layer(partial(nn.BatchNorm1d, 6)),
    "operations/group_norm": _in_nn("group_norm", num_groups=2),
    "operations/group_norm_plain": _in_nn("group_norm", num_groups=4, eps=1e-3),
    "operations/group_norm_of_a_row": _function("nn.functional.group_norm", _row_groups),
    "operations/layer_norm": _layer(partial(LayerNorm2d, 4, eps=1e-6)),
    "operations/layer_norm_of_rows": _function(
        "nn.functional.layer_norm", lambda x, bias: F.layer_norm(x, (8,), None, bias, eps=1e-3)
    ),
    "operations/layer_norm_of_a_vector": _in_nn("layer_norm", normalized_shape=(6,)),
    "operations/instance_norm": _in_nn("instance_norm"),
    "operations/instance_norm_plain": _in_nn("instance_norm", eps=1e-3),
    "operations/evo_norm_s0": _layer(partial(EvoNorm2dS0, 4, groups=2)),
    "operations/evo_norm_s0_without_its_gate": _layer(partial(EvoNorm2dS0a, 4, groups=2, apply_act=False)),
    "operations/filter_response_norm": _layer(partial(FilterResponseNormTlu2d, 4)),
    "operations/filter_response_norm_linear": _layer(partial(FilterResponseNormAct2d, 4, apply_act=False, eps=1e-3)),
    "operations/relu": _in_nn("relu"),
    "operations/relu6": _in_nn("relu6"),
    "operations/leaky_relu": _in_nn("leaky_relu", negative_slope=0.1),
    "operations/prelu": _in_nn("prelu"),
    "operations/prelu_of_one_slope": _in_nn("prelu"),
    "operations/prelu_of_a_vector": _in_nn("prelu"),
    "operations/elu": _in_nn("elu"),
    "operations/elu_scaled": _in_nn("elu", alpha=0.7),
    "operations/silu": _in_nn("silu"),
    "operations/gelu": _in_nn("gelu"),
    "operations/gelu_approximate": _in_nn("gelu", approximate="tanh"),
    "operations/mish": _in_nn("mish"),
    "operations/sigmoid": _function("sigmoid", torch.sigmoid),
    "operations/hard_sigmoid": _in_nn("hardsigmoid"),
    "operations/hard_swish": _in_nn("hardswish"),
    "operations/tanh": _function("tanh", torch.tanh),
    "operations/softplus": _in_nn("softplus"),
    "operations/softmax": _in_nn("softmax", dim=1),
    "operations/dropout": _in_nn("dropout", p=0.3, training=False),
    "operations/stochastic_depth": _layer(partial(DropPath, 0.3)),
    "operations/max_pool1d": _in_nn("max_pool1d", kernel_size=3, stride=2, padding=1),
    "operations/max_pool3d": _function(
        "nn.functional.max_pool3d",
        lambda x: F.max_pool3d(F.pad(x, (0, 1, 1, 1, 1, 1), value=-torch.inf), (3, 2, 3), (1, 2, 2)),
    ),
    "operations/max_pool3d_ceil": _in_nn("max_pool3d", kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "operations/avg_pool1d": _in_nn("avg_pool1d", kernel_size=3, stride=2, padding=1),
    "operations/avg_pool1d_without_pad": _in_nn(
        "avg_pool1d", kernel_size=4, stride=3, padding=2, count_include_pad=False
    ),
    "operations/avg_pool3d": _in_nn("avg_pool3d", kernel_size=3, stride=2, padding=1),
    "operations/avg_pool3d_ceil_without_pad": _in_nn("avg_pool3d", kernel_size=2, ceil_mode=True),
    "operations/max_pool2d": _in_nn("max_pool2d", kernel_size=3, stride=2, padding=1),
    "operations/max_pool2d_uneven": _function("nn.functional.max_pool2d", _uneven_max),
    "operations/max_pool2d_ceil": _in_nn("max_pool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "operations/avg_pool2d": _in_nn("avg_pool2d", kernel_size=3, stride=2, padding=1),
    "operations/avg_pool2d_without_pad": _in_nn(
        "avg_pool2d", kernel_size=3, stride=2, padding=1, count_include_pad=False
    ),
    "operations/avg_pool2d_ceil": _in_nn("avg_pool2d", kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "operations/avg_pool2d_ceil_without_pad": _in_nn("avg_pool2d", kernel_size=2, ceil_mode=True),
    "operations/global_avg_pool": _in_nn("adaptive_avg_pool2d", output_size=1),
    "operations/global_max_pool": _in_nn("adaptive_max_pool2d", output_size=1),
    "operations/global_avg_pool_of_a_signal": _in_nn("adaptive_avg_pool1d", output_size=1),
    "operations/global_avg_pool_of_a_volume": _in_nn("adaptive_avg_pool3d", output_size=1),
    "operations/global_max_pool_of_a_signal": _in_nn("adaptive_max_pool1d", output_size=1),
    "operations/global_max_pool_of_a_volume": _in_nn("adaptive_max_pool3d", output_size=1),
    "operations/pad1d": _in_nn("pad", pad=(2, 1), mode="reflect"),
    "operations/pad3d": _in_nn("pad", pad=(2, 3, 0, 0, 0, 1), value=-0.5),
    "operations/pad_channels_of_a_volume": _in_nn("pad", pad=(0, 0, 0, 0, 0, 0, 1, 2)),
    "operations/pad2d": _in_nn("pad", pad=(2, 3, 0, 1), value=-0.5),
    "operations/pad2d_reflect": _in_nn("pad", pad=(2, 3, 0, 1), mode="reflect"),
    "operations/pad_channels": _in_nn("pad", pad=(0, 0, 0, 0, 1, 2)),
    "operations/flatten": _function("flatten", partial(torch.flatten, start_dim=1)),
    "operations/flatten_positions": _function("flatten", partial(torch.flatten, start_dim=2)),
    "operations/reshape": _function("reshape", lambda x: torch.reshape(x, (len(x), 8, 9, 4))),
    "operations/mean": _function("mean", lambda x: torch.mean(x, (2, 3), keepdim=True)),
    "operations/mean_of_channels": _function("mean", lambda x: torch.mean(x, 1, keepdim=True)),
    "operations/max_of_rows": _function("max", lambda x: torch.max(x, 2, keepdim=True).values),
    "operations/sum": _function("sum", lambda x: torch.sum(x, 1, keepdim=True)),
    "operations/softmax_of_channels": _in_nn("softmax", dim=1),
    "operations/resize": _in_nn("interpolate", scale_factor=2, mode="bilinear"),
    "operations/resize_to_a_size": _in_nn("interpolate", size=(13, 5), mode="bilinear"),
    "operations/resize_aligned": _in_nn("interpolate", size=(5, 13), mode="bilinear", align_corners=True),
    "operations/resize_nearest": _in_nn("interpolate", size=(13, 5)),
    "operations/gem_pool": _function(
        "nn.functional.avg_pool2d", lambda x, p: F.avg_pool2d(x.clamp(min=1e-3).pow(p), (9, 8)).pow(1 / p)
    ),
    "operations/l2_normalize": _in_nn("normalize", eps=1e-3),
    "operations/l2_normalize_of_columns": _in_nn("normalize", dim=3, eps=2.0),
    "operations/slice": _function("narrow", partial(torch.narrow, dim=1, start=1, length=2)),
    "operations/slice_of_rows": _function("narrow", partial(torch.narrow, dim=2, start=2, length=7)),
    "operations/slice_part": _function("chunk", lambda x: torch.chunk(x, 2, 1)[1]),
    "operations/concat": _function("cat", lambda x: torch.cat([torch.sigmoid(x), x], 1)),
    "operations/add_broadcast": _function("add", lambda x: torch.add(x[:, :, :1], x[..., :1])),
    "operations/subtract": _function("sub", lambda x: torch.sub(x, torch.sigmoid(x))),
    "operations/maximum": _function("maximum", lambda x: torch.maximum(x, torch.sigmoid(x))),
    "operations/add": _function("add", lambda x: torch.add(torch.add(torch.sigmoid(x), torch.relu(x)), x)),
    "operations/multiply": _function("mul", lambda x: torch.mul(x, torch.sigmoid(x))),
    "operations/multiply_by_a_constant": _function("mul", lambda x: torch.mul(x, 0.3)),
    "operations/multiply_twice": _function("mul", lambda x: torch.mul(torch.mul(x, torch.sigmoid(x)), -1.7)),
    "operations/multiply_gate": _function("mul", lambda x: torch.mul(x, x.mean((2, 3), keepdim=True))),
    # timm computes every token's query and projection and then takes the first.
    "blocks/attention_pool": _module(
        partial(AttentionPool2d, 4, (3, 2), out_features=5, num_heads=2, qkv_separate=True),
        called={"q": ["every"], "proj": ["every"]},
    ),
    "blocks/average": _module(_average, called={"": ["pool"]}),
    "blocks/avg_projection": _module(
        partial(resnet.downsample_avg, 4, 8, 1, 2), name="timm.models.resnet.downsample_avg"
    ),
    "blocks/avg_projection_dilated": _module(
        partial(resnet.downsample_avg, 4, 8, 1, dilation=2), name="timm.models.resnet.downsample_avg"
    ),
    "blocks/avg_projection_unpooled": _module(
        partial(resnet.downsample_avg, 4, 8, 1), name="timm.models.resnet.downsample_avg"
    ),
    "blocks/basic_block": _module(lambda: torchvision.BasicBlock(4, 8, 2, _projected(4, 8)), called=_CALLED),
    "blocks/basic_block_identity": _module(lambda: torchvision.BasicBlock(4, 4), called=_CALLED),
    "blocks/basic_block_transformers": _module(
        lambda: transformers.ResNetBasicLayer(4, 8, 2), renamed={**_TRANSFORMERS, "activation": "relu2"}
    ),
    "blocks/basic_block_dilated": _module(
        partial(resnet.BasicBlock, 4, 4, dilation=2, first_dilation=1), renamed=_ACTIVATIONS
    ),
    "blocks/basic_block_gated": _module(
        _gated_basic, called={"aa": ["aa.second"], "se": ["se.scale"]}, renamed=_ACTIVATIONS
    ),
    "blocks/blur": _module(lambda: BlurPool2d(4), called={"": ["second"]}),
    "blocks/bottleneck": _module(lambda: torchvision.Bottleneck(4, 3, 2, _projected(4, 12)), called=_CALLED_THRICE),
    "blocks/bottleneck_identity": _module(lambda: torchvision.Bottleneck(8, 2), called=_CALLED_THRICE),
    "blocks/bottleneck_grouped": _module(
        lambda: torchvision.Bottleneck(4, 2, 2, _projected(4, 8), groups=2), called=_CALLED_THRICE
    ),
    "blocks/bottleneck_transformers": _module(
        lambda: transformers.ResNetBottleNeckLayer(4, 8, 2),
        renamed={**_TRANSFORMERS, "layer.1.activation": "relu2", "activation": "relu3"},
    ),
    "blocks/bottleneck_gated": _module(
        lambda: resnet.Bottleneck(
            4, 2, 2, resnet.downsample_avg(4, 8, 1, 2), attn_layer=EcaModule, aa_layer=nn.AvgPool2d
        ),
        called={"aa": ["aa.pool"], "se": ["se.scale"]},
        renamed=_ACTIVATIONS,
    ),
    "blocks/bottleneck_dilated": _module(_dilated_bottleneck, renamed=_ACTIVATIONS),
    "blocks/byob_pooled_bottleneck": _module(
        partial(byobnet.BottleneckBlock, 4, 16, stride=2, **_POOLED), called=_WITH_ITS_ACTIVATION, renamed=_FUSED
    ),
    "blocks/byob_pooled_bottleneck_identity": _module(
        partial(byobnet.BottleneckBlock, 16, 16, **_POOLED), called=_WITH_ITS_ACTIVATION, renamed=_FUSED
    ),
    "blocks/byob_regnetz_evo_norm_bottleneck": _module(
        partial(byobnet.BottleneckBlock, 16, 16, group_size=16, bottle_in=True, linear_out=True, layers=_EVOLVING),
        called={"attn": ["attn.scale"]},
    ),
    "blocks/cifar_basic_block": _module(lambda: papers.BasicUnit(4, 8, 2)),
    "blocks/cifar_basic_block_padded": _module(
        lambda: papers.BasicUnit(4, 8, 2, papers.ZeroPadded), called={"shortcut": ["shortcut.pad"]}
    ),
    "blocks/cifar_bottleneck": _module(lambda: papers.BottleneckUnit(4, 8, 2)),
    "blocks/cifar_preact_basic_block": _module(lambda: papers.PreactivationUnit(4, 8, 2, (3, 3))),
    "blocks/cifar_preact_basic_block_identity": _module(lambda: papers.PreactivationUnit(4, 4, 1, (3, 3))),
    "blocks/cifar_preact_basic_block_split": _module(lambda: _split(papers.PreactivationUnit(4, 4, 1, (3, 3)))),
    "blocks/cifar_preact_bottleneck": _module(lambda: papers.PreactivationUnit(4, 8, 2, (1, 3, 1))),
    "blocks/cifar_preact_bottleneck_identity": _module(lambda: papers.PreactivationUnit(8, 8, 1, (1, 3, 1))),
    "blocks/conv_projection": _module(
        partial(resnet.downsample_conv, 4, 8, 1, 2), name="timm.models.resnet.downsample_conv"
    ),
    "blocks/conv_projection_dilated": _module(
        partial(resnet.downsample_conv, 4, 8, 3, dilation=2), name="timm.models.resnet.downsample_conv"
    ),
    "blocks/deep_stem": _module(lambda: _deep(stem_type="deep").conv1, name="timm.models.resnet.ResNet.conv1"),
    "blocks/deep_stem_tiered": _module(
        lambda: _deep(stem_type="deep_tiered").conv1, name="timm.models.resnet.ResNet.conv1"
    ),
    "blocks/eca_gate": _module(lambda: EcaModule(6), called={"": ["scale"]}),
    "blocks/eca_gate_wide": _module(lambda: EcaModule(kernel_size=5), called={"": ["scale"]}),
    "blocks/msra_bottleneck": _module(lambda: papers.MsraUnit(4, 8, 2, 1)),
    "blocks/msra_bottleneck_dilated": _module(lambda: papers.MsraUnit(8, 8, 1, 2)),
    "blocks/preact_basic_block": _module(
        partial(resnetv2.PreActBasic, 8, 16, stride=2, proj_layer=resnetv2.DownsampleAvg, **_convolving)
    ),
    "blocks/preact_basic_block_dilated": _module(
        partial(
            resnetv2.PreActBasic, 8, 8, dilation=2, first_dilation=1, proj_layer=resnetv2.DownsampleAvg, **_convolving
        )
    ),
    "blocks/preact_basic_block_identity": _module(
        partial(resnetv2.PreActBasic, 8, 8, proj_layer=resnetv2.DownsampleConv, drop_path_rate=0.2, **_convolving)
    ),
    "blocks/preact_bottleneck": _module(
        partial(_unit, 8, 16, stride=2, proj_layer=resnetv2.DownsampleConv, **_standardized)
    ),
    "blocks/preact_bottleneck_identity": _module(partial(_unit, 8, 8, **_convolving)),
    "blocks/preact_bottleneck_evolved": _module(
        partial(_unit, 8, 16, stride=2, proj_layer=resnetv2.DownsampleAvg, **_EVOLVED)
    ),
    "blocks/preact_bottleneck_responding": _module(partial(_unit, 8, 8, dilation=2, first_dilation=1, **_RESPONDING)),
    "blocks/preact_projection": _module(partial(resnetv2.DownsampleConv, 4, 8, 2, **_standardized)),
    "blocks/preact_projection_average": _module(partial(resnetv2.DownsampleAvg, 4, 8, 2, **_convolving)),
    "blocks/preact_projection_dilated": _module(partial(resnetv2.DownsampleAvg, 4, 8, dilation=2, **_convolving)),
    "blocks/resnext_bottleneck": _module(lambda: papers.AggregatedUnit(4, 8, 2, 2, 64)),
    "blocks/resnext_bottleneck_identity": _module(lambda: papers.AggregatedUnit(8, 8, 1, 2, 64)),
    "blocks/simclr_bottleneck": _module(partial(papers.StreamUnit, 4, 8, 2), called={"net.2": ["net.2.total"]}),
    "blocks/simclr_bottleneck_identity": _module(
        partial(papers.StreamUnit, 8, 8, 1), called={"net.2": ["net.2.total"]}
    ),
    # The pool's value before what TensorFlow does not count is that of no node.
    "blocks/simclr_bottleneck_unstrided": _module(
        partial(papers.StreamUnit, 4, 8, 1),
        called={"net.2": ["net.2.total"], "projection.shortcut.1": ["every"]},
    ),
    "blocks/squeeze_excite": _module(lambda: SEModule(6), called={"": ["scale"]}),
    "blocks/squeeze_excite_wide": _module(lambda: SEModule(16, rd_ratio=1), called={"": ["scale"]}),
    "blocks/wide_basic_block": _module(lambda: papers.WideUnit(4, 8, 2, 0.3)),
    "blocks/wide_basic_block_identity": _module(lambda: papers.WideUnit(4, 4, 1, 0.0)),
    "blocks/zero_padding": _module(lambda: papers.ZeroPadded(4, 8, 2), called={"": ["pad"]}),
}
