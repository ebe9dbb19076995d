"""Mutations, each a row of data: the change in one backend, where it must be located, and its cause.

``python -m tests.lab.mutations`` runs them; see ``detection``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.lab.changes import Arrays, Change

Expected = Literal["inference", "float32", "training", "bisection", "none"]
"""What must detect it: the float64 logits, only the float32 logits, training, only the bisection, or nothing."""


@dataclass(frozen=True)
class Mutation:
    """One mutation.

    ``pitfall`` is the number of the known pitfall, 0 if it is none of them. ``spec`` is one of specs/. ``at`` is the
    node that a bisection must find first, and ``cause`` a part of the text of one of its confirmed causes; a mutation
    of training has neither. ``size`` is the height and width if they are not the spec's.
    """

    name: str
    pitfall: int
    spec: str
    backend: Literal["torch", "tensorflow"]
    change: Change = field(compare=False)
    at: str = ""
    cause: str = ""
    expected: Expected = "inference"
    size: int | None = None


# ---------------------------------------------------------------------------------------------------------------
# Changes of arrays


def _array(name: str, change: Callable[[Any], Any]) -> Change:
    """Replace an array."""
    return Change(arrays=lambda arrays: arrays | {name: change(arrays[name])})


def _swapped(*pairs: tuple[str, str]) -> Change:
    """Swap pairs of arrays."""

    def exchange(arrays: dict[str, Any]) -> Arrays:
        return arrays | {name: arrays[other] for pair in pairs for name, other in (pair, pair[::-1])}

    return Change(arrays=exchange)


def _norm(layer: str, **values: float) -> Change:
    """Replace a normalization's arrays by constants."""
    return Change(
        arrays=lambda arrays: arrays | {f"{layer}.{n}": 0 * arrays[f"{layer}.{n}"] + v for n, v in values.items()}
    )


def _learned(name: str, value: float) -> Change:
    """Replace a learned value by a constant."""
    return _array(name, lambda array: 0 * array + value)


def _channels_last(value: Any) -> Any:
    """Read the memory of a (C, H, W) array as (H, W, C)."""
    return value.reshape(*value.shape[1:], -1).transpose(2, 0, 1).copy()


def _first_everywhere(value: Any) -> Any:
    return 0 * value + value[:1]


def _turned(kernel: Any) -> Any:
    return kernel.T.copy()


def _other_order(kernel: Any) -> Any:
    """Read the memory of an OIHW kernel as HWIO, which raises no error if shapes are not checked."""
    height_first = kernel.reshape([kernel.shape[axis] for axis in (2, 3, 1, 0)])
    return height_first.transpose(3, 2, 0, 1)


def _without_sharing(call: str, layer: str) -> Change:
    """Create a new layer with default values instead of calling a layer again."""

    def fresh(arrays: dict[str, Any]) -> Arrays:
        values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        return arrays | {f"{call}.{name}": 0 * arrays[f"{layer}.{name}"] + value for name, value in values.items()}

    return Change(own_layers=(call,), arrays=fresh)


def _in_float32_only(change: Callable[[Any], Any], *names: str) -> Change:
    """Change the named arrays of float32 models, or all kernels."""

    def narrow(arrays: dict[str, Any]) -> Arrays:
        return {
            name: change(array)
            if array.dtype == "float32" and (name in names or (not names and array.ndim > 1))
            else array
            for name, array in arrays.items()
        }

    return Change(arrays=narrow)


def _bfloat16(array: Any) -> Any:
    """Round float32 values to bfloat16, which has seven bits after the leading one."""
    bits = array.view("uint32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view("float32")


def _layer(node: str, what: str) -> Change:
    return Change(layers={node: what})


def _fields(node: str, **fields: Any) -> Change:
    return Change(fields={node: fields})


def _operation(node: str, op: str, **fields: Any) -> Change:
    return Change(operations={node: {"op": op, **fields}})


def _own_value(node: str) -> Change:
    """Return only the first input of an addition or a product."""
    return _operation(node, "dropout", rate=0.0)


def _flipped(kernel: Any) -> Any:
    """Flip a kernel along all axes of positions."""
    return kernel[(..., *[slice(None, None, -1)] * (kernel.ndim - 2))].copy()


_AVERAGE_OF_A_SIGNAL = _operation("maxpool", "avg_pool1d", kernel=3, stride=2, padding=1, count_include_pad=False)
_AVERAGE_OF_A_VOLUME = _operation(
    "maxpool", "avg_pool3d", kernel=3, stride=[1, 2, 2], padding=1, count_include_pad=False
)
_LARGEST_OF_A_SIGNAL = _operation("avgpool", "max_pool1d", kernel=3, stride=2, padding=1)
_LARGEST_OF_A_VOLUME = _operation("avgpool", "max_pool3d", kernel=2, stride=1, padding=[0, [0, 1], [1, 0]])
_WITH_A_GATE = Change(
    fields={"plain": {"gate": True}}, arrays=lambda arrays: arrays | {"plain.v": 0 * arrays["plain.weight"] + 1}
)

SAME = "(TensorFlow's same)"
SYMMETRIC = "(symmetric)"
SHARED = "res_block1.listLayers.0"

_TABLE = (
    # Padding
    Mutation(
        "stem convolution padded as same", 2, "plain", "tensorflow", _fields("conv1", padding="same"), "conv1", SAME
    ),
    Mutation("stem pool padded as same", 2, "plain", "torch", _fields("maxpool", padding="same"), "maxpool", SAME),
    Mutation(
        "strided 3×3 padded as same, in PyTorch",
        2,
        "plain",
        "torch",
        _fields("layer2.0.conv2", padding="same"),
        "layer2.0.conv2",
        SAME,
    ),
    Mutation(
        "strided 3×3 padded as same, in TensorFlow",
        2,
        "plain",
        "tensorflow",
        _fields("layer3.0.conv2", padding="same"),
        "layer3.0.conv2",
        SAME,
    ),
    Mutation(
        "stem convolution padded on both sides", 2, "shared", "torch", _fields("conv", padding=3), "conv", SYMMETRIC
    ),
    Mutation("stem pool padded on both sides", 2, "shared", "tensorflow", _fields("mp", padding=1), "mp", SYMMETRIC),
    Mutation(
        "strided 3×3 padded on both sides",
        2,
        "shared",
        "tensorflow",
        _fields("res_block2.listLayers.0.conv1", padding=1),
        "res_block2.listLayers.0.conv1",
        SYMMETRIC,
    ),
    Mutation(
        "explicit pad one row and column short",
        2,
        "preactivation",
        "torch",
        _fields("conv1_pad", padding=((2, 3), (2, 3))),
        "conv1_pad",
        "[[2, 3], [2, 3]]",
    ),
    Mutation(
        "blur pads with zeros",
        2,
        "modern",
        "torch",
        _fields("layer2.0.aa.pad", mode="constant"),
        "layer2.0.aa.pad",
        "the pad is zeros",
    ),
    Mutation(
        "blur mirrors the edge too",
        2,
        "modern",
        "tensorflow",
        _layer("layer2.0.aa.pad", "edge mirrored too"),
        "layer2.0.aa.pad",
        "the mirrored map with its edge",
    ),
    Mutation(
        "stem convolution padded as same at an odd size",
        2,
        "plain",
        "tensorflow",
        _fields("conv1", padding="same"),
        "conv1",
        SAME,
        size=76,
    ),
    # Where the stride sits
    Mutation(
        "stride in the first 1×1 (v1 for v1.5)",
        3,
        "plain",
        "torch",
        Change(fields={"layer2.0.conv1": {"stride": 2}, "layer2.0.conv2": {"stride": 1}}),
        "layer2.0.conv1",
        "stride 2 instead of 1",
    ),
    Mutation(
        "stride in a stage's first block instead of the last",
        3,
        "preactivation",
        "tensorflow",
        Change(
            fields={
                "conv2_block1_0_conv": {"stride": 2},
                "conv2_block1_2_conv": {"stride": 2},
                "conv2_block3_0_pool": {"stride": 1},
                "conv2_block3_2_conv": {"stride": 1},
            }
        ),
        "conv2_block1_2_conv",
        "stride 2 instead of 1",
    ),
    Mutation(
        "stride that begins at the second row",
        3,
        "option_a",
        "torch",
        _layer("layer2.0.shortcut.subsample", "from the second row"),
        "layer2.0.shortcut.subsample",
        "starting at the second row and column",
    ),
    Mutation(
        "shortcut averages what it should leave out",
        3,
        "option_a",
        "tensorflow",
        _operation("layer2.0.shortcut.subsample", "avg_pool2d", kernel=2),
        "layer2.0.shortcut.subsample",
        "the mean of each 2×2",
    ),
    # Normalization
    Mutation(
        "Keras' default epsilon everywhere",
        4,
        "plain",
        "tensorflow",
        _fields("*", epsilon=1e-3),
        "bn1",
        "epsilon 0.001 instead of 1e-05",
    ),
    Mutation(
        "one epsilon of keras.applications",
        4,
        "plain",
        "torch",
        _fields("layer2.1.bn2", epsilon=1.001e-5),
        "layer2.1.bn2",
        "epsilon 1.001e-05 instead of 1e-05",
    ),
    Mutation(
        "PyTorch's epsilon for keras.applications'",
        4,
        "preactivation",
        "tensorflow",
        _fields("*", epsilon=1e-5),
        "conv2_block1_preact_bn",
        "epsilon 1e-05 instead of 1.001e-05",
    ),
    Mutation(
        "epsilon of a group normalization",
        4,
        "bit",
        "torch",
        _fields("stages.1.blocks.0.norm2", epsilon=1e-6),
        "stages.1.blocks.0.norm2",
        "epsilon 1e-06 instead of 1e-05",
    ),
    Mutation(
        "epsilon of a standardized kernel",
        4,
        "bit",
        "tensorflow",
        _fields("stem.conv", epsilon=1e-5),
        "stem.conv",
        "epsilon 1e-05 instead of 1e-08",
    ),
    Mutation(
        "epsilon of a normalization at each position",
        4,
        "decoder",
        "tensorflow",
        _fields("*", epsilon=1e-3),
        "res_3_0_deconv1.bn",
        "epsilon 0.001 instead of 1e-06",
    ),
    Mutation(
        "epsilon of a filter response normalization",
        4,
        "assorted",
        "torch",
        _fields("frn", epsilon=1e-6),
        "frn",
        "epsilon 1e-06 instead of 1e-05",
    ),
    Mutation(
        "epsilon of a normalization of vectors",
        4,
        "projection",
        "torch",
        _fields("projector.1", epsilon=1e-3),
        "projector.1",
        "epsilon 0.001 instead of 1e-05",
    ),
    Mutation(
        "scale of a normalization of vectors dropped",
        4,
        "projection",
        "tensorflow",
        _norm("projector.4", weight=1.0),
        "projector.4",
        "the scale is left out",
    ),
    Mutation(
        "offset of a normalization of vectors dropped",
        4,
        "projection",
        "torch",
        _norm("projector.1", bias=0.0),
        "projector.1",
        "the offset is left out",
    ),
    Mutation(
        "the batch's statistics of vectors in inference",
        4,
        "projection",
        "torch",
        _layer("projector.4", "batch statistics"),
        "projector.4",
        "batch statistics",
    ),
    Mutation(
        "epsilon added to the deviation",
        4,
        "plain",
        "torch",
        _layer("layer1.0.bn2", "epsilon outside"),
        "layer1.0.bn2",
        "epsilon is added to the standard deviation",
    ),
    Mutation(
        "scale dropped",
        4,
        "plain",
        "tensorflow",
        _norm("layer1.1.bn3", weight=1.0),
        "layer1.1.bn3",
        "the scale is left out",
    ),
    Mutation(
        "offset dropped", 4, "preactivation", "torch", _norm("post_bn", bias=0.0), "post_bn", "the offset is left out"
    ),
    Mutation(
        "running mean dropped",
        4,
        "signed",
        "tensorflow",
        _norm("norm", running_mean=0.0),
        "norm",
        "the running mean is left out",
    ),
    Mutation(
        "running variance used as a standard deviation",
        4,
        "plain",
        "torch",
        _array("layer2.0.bn1.running_var", lambda v: v**2),
        "layer2.0.bn1",
        "the running variance is used as a standard deviation",
    ),
    Mutation(
        "scale and offset swapped",
        4,
        "plain",
        "tensorflow",
        _swapped(("layer2.1.bn1.weight", "layer2.1.bn1.bias")),
        "layer2.1.bn1",
        "scale and offset are swapped",
    ),
    Mutation(
        "mean and variance swapped",
        4,
        "signed",
        "torch",
        Change(
            arrays=lambda a: (
                a | {"norm.running_mean": a["norm.running_var"], "norm.running_var": abs(a["norm.running_mean"])}
            )
        ),
        "norm",
        "mean and variance are swapped",
    ),
    Mutation(
        "the batch's statistics in inference, in PyTorch",
        4,
        "plain",
        "torch",
        _layer("layer2.0.bn2", "batch statistics"),
        "layer2.0.bn2",
        "batch statistics",
    ),
    Mutation(
        "the batch's statistics in inference, in TensorFlow",
        4,
        "shared",
        "tensorflow",
        _layer("bn", "batch statistics"),
        "bn",
        "batch statistics",
    ),
    Mutation(
        "normalized over the height instead of the channels",
        4,
        "plain",
        "torch",
        _layer("layer1.0.bn3", "over height"),
        "layer1.0.bn3",
        "height instead of the channels",
    ),
    Mutation(
        "a group for each channel",
        4,
        "bit",
        "tensorflow",
        _fields("stages.0.blocks.0.norm1", groups=8),
        "stages.0.blocks.0.norm1",
        "groups 8 instead of 4",
    ),
    Mutation(
        "groups of an EvoNorm", 4, "assorted", "tensorflow", _fields("evo", groups=12), "evo", "groups 12 instead of 3"
    ),
    Mutation(
        "variance of a group divided by n-1",
        4,
        "bit",
        "torch",
        _layer("stages.0.blocks.0.norm3", "unbiased groups"),
        "stages.0.blocks.0.norm3",
        "the variance is divided by n-1",
    ),
    Mutation(
        "variance of a kernel divided by n-1",
        4,
        "bit",
        "torch",
        _layer("stages.0.blocks.0.conv3", "unbiased kernel"),
        "stages.0.blocks.0.conv3",
        "the kernel's variance is divided by n-1",
    ),
    Mutation(
        "kernel not standardized",
        4,
        "bit",
        "tensorflow",
        _operation("stages.0.blocks.0.conv3", "conv2d", channels=16, kernel=1),
        "stages.0.blocks.0.conv3",
        "the kernel is not standardized",
    ),
    Mutation(
        "EvoNorm without its gate's factor",
        4,
        "assorted",
        "torch",
        _array("evo.v", lambda v: 0 * v + 1),
        "evo",
        "the gate's factor is left out",
    ),
    Mutation(
        "EvoNorm without its gate", 4, "assorted", "torch", _fields("evo", gate=False), "evo", "the gate is left out"
    ),
    Mutation(
        "threshold of a filter response normalization dropped",
        4,
        "assorted",
        "tensorflow",
        _array("frn.tau", lambda v: 0 * v),
        "frn",
        "the threshold is left out",
    ),
    Mutation(
        "running mean of a normalization at each position dropped",
        4,
        "decoder",
        "torch",
        _norm("res_3_0_deconv1.bn", running_mean=0.0),
        "res_3_0_deconv1.bn",
        "the running mean is left out",
    ),
    # Transposed convolutions
    Mutation(
        "TensorFlow's crop for PyTorch's",
        5,
        "decoder",
        "tensorflow",
        _fields("deconv2", padding="same"),
        "deconv2",
        "TensorFlow's same",
    ),
    Mutation(
        "PyTorch's crop for TensorFlow's",
        5,
        "decoder",
        "torch",
        _fields("deconv3", padding=((1, 0), (1, 0))),
        "deconv3",
        "mirrored",
    ),
    Mutation(
        "transposed kernel flipped",
        5,
        "decoder",
        "tensorflow",
        _array("deconv2.weight", lambda w: w[:, :, ::-1, ::-1]),
        "deconv2",
        "flipped",
    ),
    Mutation(
        "transposed kernel's height and width swapped",
        5,
        "decoder",
        "torch",
        _array("res_3_0_deconv2.deconv.weight", lambda w: w.swapaxes(2, 3)),
        "res_3_0_deconv2.deconv",
        "height and width are swapped",
    ),
    Mutation(
        "transposed kernel (out, in) for (in, out)",
        9,
        "decoder",
        "torch",
        _array("res_3_0_deconv1.deconv.weight", lambda w: w.swapaxes(0, 1)),
        "res_3_0_deconv1.deconv",
        "input and output channels are swapped",
    ),
    # Pools
    Mutation(
        "zeros before the pool of a signed map, in PyTorch",
        6,
        "assorted",
        "torch",
        _layer("signed", "zero pad"),
        "signed",
        "the pad is 0 instead of minus infinity",
    ),
    Mutation(
        "zeros before the pool of a signed map, in TensorFlow",
        6,
        "assorted",
        "tensorflow",
        _layer("signed", "zero pad"),
        "signed",
        "the pad is 0 instead of minus infinity",
    ),
    Mutation(
        "padding counted in an average",
        0,
        "assorted",
        "torch",
        _fields("average", count_include_pad=True),
        "average",
        "count_include_pad True instead of False",
    ),
    Mutation(
        "partial windows are divided by the full window size",
        0,
        "modern",
        "tensorflow",
        _layer("layer2.0.downsample.0", "counting"),
        "layer2.0.downsample.0",
        "partial windows",
        size=75,
    ),
    Mutation(
        "ceil_mode dropped",
        0,
        "assorted",
        "tensorflow",
        _fields("pool", ceil_mode=False),
        "pool",
        "ceil_mode False instead of True",
    ),
    Mutation(
        "average for the largest value",
        0,
        "plain",
        "tensorflow",
        _operation("maxpool", "avg_pool2d", kernel=3, stride=2, padding=1, count_include_pad=False),
        "maxpool",
        "average instead of max pooling",
    ),
    Mutation(
        "global maximum for the mean",
        0,
        "plain",
        "torch",
        _operation("avgpool", "global_max_pool"),
        "avgpool",
        "the maximum instead of the mean",
    ),
    Mutation(
        "global sum for the mean",
        0,
        "modern",
        "torch",
        _layer("layer1.0.se.squeeze", "sum"),
        "layer1.0.se.squeeze",
        "the sum instead of the mean",
    ),
    Mutation(
        "channels of zeros all after",
        0,
        "option_a",
        "torch",
        _fields("layer2.0.shortcut.pad", before=0, after=6),
        "layer2.0.shortcut.pad",
        "0 channels of zeros before and 6 after",
    ),
    Mutation(
        "channels of zeros all before",
        0,
        "option_a",
        "tensorflow",
        _fields("layer3.0.shortcut.pad", before=12, after=0),
        "layer3.0.shortcut.pad",
        "12 channels of zeros before and 0 after",
    ),
    # Precision
    Mutation(
        "one kernel's weights in bfloat16",
        7,
        "plain",
        "torch",
        _in_float32_only(_bfloat16, "layer1.0.conv2.weight"),
        "layer1.0.conv2",
        "weights in bfloat16",
        "float32",
    ),
    Mutation(
        "all kernels in float16",
        7,
        "plain",
        "tensorflow",
        _in_float32_only(lambda w: w.astype("float16").astype("float32")),
        "conv1",
        "weights in float16",
        "float32",
    ),
    Mutation(
        "a convolution's inputs in bfloat16",
        7,
        "plain",
        "tensorflow",
        _layer("layer2.0.conv3", "inputs in bfloat16"),
        "layer2.0.conv3",
        "inputs in bfloat16",
        "float32",
    ),
    Mutation(
        "a convolution's inputs in float16",
        7,
        "preactivation",
        "torch",
        _layer("conv2_block2_1_conv", "inputs in float16"),
        "conv2_block2_1_conv",
        "inputs in float16",
        "float32",
    ),
    Mutation(
        "a convolution in TF32",
        7,
        "plain",
        "torch",
        _layer("conv1", "product in TF32"),
        "conv1",
        "weights and inputs in TF32",
        "float32",
    ),
    Mutation(
        "a linear layer in TF32",
        7,
        "plain",
        "torch",
        _layer("fc", "product in TF32"),
        "fc",
        "kernel and inputs in TF32",
        "float32",
    ),
    Mutation(
        "a normalization's result in float16",
        7,
        "shared",
        "tensorflow",
        _layer("bn", "result in float16"),
        "bn",
        "the result in float16",
        "float32",
    ),
    Mutation(
        "an activation's result in bfloat16",
        7,
        "modern",
        "torch",
        _layer("layer1.0.relu3", "result in bfloat16"),
        "layer1.0.relu3",
        "the result in bfloat16",
        "float32",
    ),
    Mutation(
        "float32 within a float64 model, in PyTorch",
        7,
        "plain",
        "torch",
        _layer("layer1.1.conv2", "in float32"),
        "layer1.1.conv2",
        "computed in float32",
    ),
    Mutation(
        "float32 within a float64 model, in TensorFlow",
        7,
        "plain",
        "tensorflow",
        _layer("layer1.0.downsample.0", "in float32"),
        "layer1.0.downsample.0",
        "computed in float32",
    ),
    Mutation(
        "kernel stored in half precision",
        7,
        "plain",
        "tensorflow",
        _array("layer2.0.conv1.weight", lambda w: w.astype("float16").astype(w.dtype)),
        "layer2.0.conv1",
        "weights in float16",
    ),
    Mutation(
        "kernel off by one part in ten million",
        1,
        "plain",
        "torch",
        _array("layer1.0.conv3.weight", lambda w: w * (1 + 1e-7)),
        "layer1.0.conv3",
    ),
    # Weights in the wrong place
    Mutation(
        "two convolutions' kernels swapped",
        8,
        "plain",
        "torch",
        _swapped(("layer1.0.conv2.weight", "layer1.1.conv2.weight")),
        "layer1.0.conv2",
        "the parameters of layer1.1.conv2",
    ),
    Mutation(
        "two normalizations' statistics swapped",
        8,
        "plain",
        "tensorflow",
        _swapped(
            ("layer2.0.bn1.running_mean", "layer2.0.bn2.running_mean"),
            ("layer2.0.bn1.running_var", "layer2.0.bn2.running_var"),
        ),
        "layer2.0.bn1",
        "the statistics of layer2.0.bn2",
    ),
    Mutation(
        "a normalization's scale from another layer",
        8,
        "preactivation",
        "torch",
        Change(arrays=lambda a: a | {"conv3_block2_1_bn.weight": a["conv3_block1_1_bn.weight"]}),
        "conv3_block2_1_bn",
        "the scale of conv3_block1_1_bn",
    ),
    Mutation(
        "statistics not loaded",
        8,
        "plain",
        "tensorflow",
        _norm("layer1.0.bn2", running_mean=0.0, running_var=1.0),
        "layer1.0.bn2",
        "running statistics of 0 and 1",
    ),
    Mutation(
        "normalization not loaded at all",
        8,
        "signed",
        "torch",
        _norm("stages.0.blocks.0.norm2", weight=1.0, bias=0.0, running_mean=0.0, running_var=1.0),
        "stages.0.blocks.0.norm2",
        "its weights are not loaded",
    ),
    Mutation(
        "normalization not shared",
        8,
        "shared",
        "torch",
        _without_sharing(f"{SHARED}.bn2", f"{SHARED}.bn"),
        f"{SHARED}.bn2",
        "its weights are not loaded",
    ),
    Mutation(
        "bias of a convolution missing",
        8,
        "preactivation",
        "tensorflow",
        _fields("conv2_block1_0_conv", bias=False),
        "conv2_block1_0_conv",
        "the bias is left out",
    ),
    Mutation(
        "bias of a linear layer missing", 8, "plain", "torch", _fields("fc", bias=False), "fc", "the bias is left out"
    ),
    # Layouts
    Mutation(
        "kernel's height and width swapped",
        9,
        "plain",
        "tensorflow",
        _array("conv1.weight", lambda w: w.swapaxes(2, 3)),
        "conv1",
        "height and width are swapped",
    ),
    Mutation(
        "kernel flipped, as a convolution in the strict sense",
        9,
        "plain",
        "torch",
        _array("layer1.0.conv2.weight", lambda w: w[:, :, ::-1, ::-1]),
        "layer1.0.conv2",
        "flipped in height and width",
    ),
    Mutation(
        "kernel (in, out) for (out, in)",
        9,
        "plain",
        "tensorflow",
        _array("layer1.1.conv2.weight", lambda w: w.swapaxes(0, 1)),
        "layer1.1.conv2",
        "input and output channels are swapped",
    ),
    Mutation(
        "kernel in another layout",
        9,
        "modern",
        "torch",
        _array("conv1.3.weight", _other_order),
        "conv1.3",
        "in another layout",
    ),
    Mutation(
        "kernel of a linear layer transposed",
        9,
        "assorted",
        "tensorflow",
        _array("fc2.weight", lambda w: w.T),
        "fc2",
        "the kernel is transposed",
    ),
    Mutation(
        "map flattened channels last",
        9,
        "assorted",
        "tensorflow",
        _layer("flatten", "plain flatten"),
        "flatten",
        "(height, width, channels)",
    ),
    Mutation(
        "kernel of a 1-d convolution flipped",
        9,
        "assorted",
        "torch",
        _array("gate.conv.weight", lambda w: w[..., ::-1]),
        "gate.conv",
        "the kernel is flipped",
    ),
    Mutation(
        "channels interleaved across the groups",
        9,
        "modern",
        "torch",
        _layer("layer1.0.conv2", "interleaved channels"),
        "layer1.0.conv2",
        "interleaved across the groups",
    ),
    # Heads and inputs
    Mutation(
        "colors in the order blue, green, red",
        11,
        "plain",
        "tensorflow",
        _array("conv1.weight", lambda w: w[:, ::-1]),
        "conv1",
        "input channels are in reverse",
    ),
    Mutation(
        "softmax left in the head, in TensorFlow",
        11,
        "shared",
        "tensorflow",
        _layer("fc", "softmax behind"),
        "fc",
        "a softmax follows",
    ),
    Mutation(
        "softmax left in the head, in PyTorch",
        11,
        "plain",
        "torch",
        _layer("fc", "softmax behind"),
        "fc",
        "a softmax follows",
    ),
    # Dilation
    Mutation(
        "dilation dropped",
        0,
        "modern",
        "tensorflow",
        _fields("layer4.1.conv2", dilation=1, padding=1),
        "layer4.1.conv2",
        "dilation 1 instead of 2",
    ),
    Mutation(
        "dilation in the first block already",
        0,
        "modern",
        "torch",
        _fields("layer4.0.conv2", dilation=2, padding=2),
        "layer4.0.conv2",
        "dilation 2 instead of 1",
    ),
    Mutation(
        "dilation dropped, its padding kept",
        0,
        "assorted",
        "torch",
        Change(fields={"conv2": {"dilation": 1}, "conv3": {"padding": 0}}),
        "conv2",
        "dilation 1 instead of 2",
    ),
    # Activations
    Mutation(
        "activation missing",
        0,
        "plain",
        "torch",
        _layer("layer2.0.relu1", "left out"),
        "layer2.0.relu1",
        "the node is left out",
    ),
    Mutation(
        "leaky activation of slope 0.01",
        0,
        "plain",
        "torch",
        _layer("relu", "leaky"),
        "relu",
        "a leaky ReLU of slope 0.01",
    ),
    Mutation(
        "leaky activation of slope 0.3",
        0,
        "preactivation",
        "tensorflow",
        _layer("conv2_block2_1_relu", "leaky"),
        "conv2_block2_1_relu",
        "a leaky ReLU of slope 0.3",
    ),
    Mutation(
        "activation that stops at 6",
        0,
        "bit",
        "torch",
        _layer("norm.act", "stops at 6"),
        "norm.act",
        "a ReLU6",
    ),
    *(
        Mutation(f"{now}: {what}", 0, "normalizations", backend, change, now, cause)
        for now, backend, what, change, cause in (
            ("conv1", "torch", "gain left out", _norm("conv1", gain=1.0), "the gain is left out"),
            ("conv1", "tensorflow", "gain of every channel the first", _array("conv1.gain", _first_everywhere), "gain"),
            ("conv2", "torch", "gamma left out", _fields("conv2", gamma=1.0), "gamma 1.0 instead of 1.71395"),
            ("conv2", "tensorflow", "another epsilon", _fields("conv2", epsilon=1e-3), "epsilon 0.001"),
            ("norm2", "torch", "another epsilon", _fields("norm2", epsilon=1e-5), "epsilon 1e-05 instead of 1e-06"),
            (
                "norm2",
                "tensorflow",
                "over the image",
                _operation("norm2", "group_norm", groups=1, epsilon=1e-6),
                "all axes",
            ),
            ("norm3", "torch", "scale left out", _norm("norm3", weight=1.0), "the scale is left out"),
            ("norm3", "tensorflow", "of the channels", _operation("norm3", "layer_norm", epsilon=1e-5), "the channels"),
            ("norm4", "torch", "along the width", _fields("norm4", axis=2), "axis 2 instead of 1"),
            ("norm4", "tensorflow", "offset left out", _norm("norm4", bias=0.0), "the offset is left out"),
            ("norm5", "torch", "one group", _fields("norm5", groups=1), "groups 1 instead of 3"),
            ("norm3", "torch", "another epsilon", _fields("norm3", epsilon=1e-3), "epsilon 0.001 instead of 1e-05"),
            (
                "norm6",
                "tensorflow",
                "another epsilon",
                _fields("norm6", epsilon=1e-3),
                "epsilon 0.001 instead of 1e-05",
            ),
        )
    ),
    *(
        Mutation(f"{now}: {what}", 0, "attention", backend, change, now, cause)
        for now, backend, what, change, cause in (
            ("query", "torch", "bias left out", _norm("query", bias=0.0), "the bias is left out"),
            ("value", "tensorflow", "kernel transposed", _array("value.weight", _turned), "the kernel is transposed"),
            ("scores", "torch", "factor left out", _fields("scores", factor=1.0), "the factor is left out"),
            ("mixed", "tensorflow", "divided", _fields("mixed", factor=0.125), "the root of the number of terms"),
            ("tokens", "torch", "reshaped", _operation("tokens", "reshape", shape=(64, 8)), "it is reshaped"),
            ("joined", "tensorflow", "reshaped", _operation("joined", "reshape", shape=(64, 2, 4)), "it is reshaped"),
        )
    ),
    *(
        Mutation(f"{now}: {what}", 0, "learned", backend, change, now, cause)
        for now, backend, what, change, cause in (
            ("layer1.0.ls.gamma", "torch", "left at its initial value", _learned("layer1.0.ls.gamma", 1e-6), "(1e-06)"),
            ("layer1.1.gain", "tensorflow", "left at 1", _learned("layer1.1.gain", 1.0), "not loaded (1)"),
            ("layer1.1.gain", "torch", "left out", _operation("layer1.1.gain", "dropout", rate=0.0), "left out"),
            ("layer1.0.gain", "tensorflow", "left at 0", _learned("layer1.0.gain", 0.0), "not loaded (0)"),
            ("positions", "torch", "not loaded", _learned("positions", 0.0), "not loaded (0)"),
            ("positions", "tensorflow", "channels last", _array("positions", _channels_last), "in another layout"),
            ("bias", "torch", "subtracted", _array("bias", lambda array: -array), "the other sign"),
            ("bias", "tensorflow", "multiplied", _operation("bias", "scale", shape="channels"), "a product instead"),
            ("token", "torch", "not loaded", _learned("token", 0.0), "not loaded (0)"),
            ("token", "tensorflow", "one channel's", _array("token", _first_everywhere), "the first channel's value"),
        )
    ),
    *(
        Mutation(f"{now}: {what}", 0, "activations", backend, change, f"{now}", cause)
        for now, backend, what, change, cause in (
            ("relu6", "torch", "no limit", _operation("relu6", "relu"), "a ReLU"),
            ("relu6", "tensorflow", "a SiLU", _operation("relu6", "silu"), "a SiLU"),
            ("leaky", "torch", "PyTorch's slope", _fields("leaky", slope=0.01), "a leaky ReLU of slope 0.01"),
            ("leaky", "tensorflow", "Keras' slope", _fields("leaky", slope=0.3), "a leaky ReLU of slope 0.3"),
            ("prelu", "torch", "slopes not loaded", _norm("prelu", weight=0.25), "the slopes are not loaded (0.25)"),
            (
                "prelu",
                "tensorflow",
                "one slope",
                _array("prelu.weight", lambda slopes: 0 * slopes + slopes[0]),
                "every channel has the first channel's slope",
            ),
            ("elu", "torch", "another alpha", _fields("elu", alpha=0.1), "alpha 0.1 instead of 1.0"),
            ("elu", "tensorflow", "a ReLU", _operation("elu", "relu"), "a ReLU"),
            ("silu", "torch", "a GELU", _operation("silu", "gelu", approximate=False), "a GELU"),
            ("silu", "tensorflow", "a hard Swish", _operation("silu", "hard_swish"), "a hard Swish"),
            ("gelu", "torch", "approximated", _fields("gelu", approximate=True), "a GELU approximated by tanh"),
            ("gelu", "tensorflow", "a SiLU", _operation("gelu", "silu"), "a SiLU"),
            ("gelu_tanh", "torch", "not approximated", _fields("gelu_tanh", approximate=False), "a GELU"),
            ("gelu_tanh", "tensorflow", "a ReLU", _operation("gelu_tanh", "relu"), "a ReLU"),
            ("mish", "torch", "a SiLU", _operation("mish", "silu"), "a SiLU"),
            ("mish", "tensorflow", "a softplus", _operation("mish", "softplus"), "a softplus"),
            ("hard_sigmoid", "torch", "a sigmoid", _operation("hard_sigmoid", "sigmoid"), "a sigmoid"),
            ("hard_sigmoid", "tensorflow", "a tanh", _operation("hard_sigmoid", "tanh"), "a tanh"),
            ("hard_swish", "torch", "a SiLU", _operation("hard_swish", "silu"), "a SiLU"),
            ("hard_swish", "tensorflow", "a ReLU6", _operation("hard_swish", "relu6"), "a ReLU6"),
            ("tanh", "torch", "a sigmoid", _operation("tanh", "sigmoid"), "a sigmoid"),
            ("tanh", "tensorflow", "a hard sigmoid", _operation("tanh", "hard_sigmoid"), "a hard sigmoid"),
            ("softplus", "torch", "a ReLU", _operation("softplus", "relu"), "a ReLU"),
            ("softplus", "tensorflow", "an ELU", _operation("softplus", "elu"), "an ELU"),
        )
    ),
    Mutation("SiLU for ReLU", 0, "signed", "tensorflow", _layer("norm.act", "silu"), "norm.act", "a SiLU"),
    Mutation("sigmoid for ReLU", 0, "assorted", "torch", _operation("relu4", "sigmoid"), "relu4", "a sigmoid"),
    Mutation(
        "hard sigmoid in a gate, in PyTorch",
        0,
        "modern",
        "torch",
        _layer("layer1.0.se.gate", "hard"),
        "layer1.0.se.gate",
        "a hard sigmoid",
    ),
    Mutation(
        "hard sigmoid in a gate, in TensorFlow",
        0,
        "assorted",
        "tensorflow",
        _layer("gate.gate", "hard"),
        "gate.gate",
        "a hard sigmoid",
    ),
    Mutation(
        "activation before the addition too",
        0,
        "plain",
        "torch",
        _layer("layer1.1.bn3", "relu behind"),
        "layer1.1.bn3",
        "a ReLU follows",
    ),
    Mutation(
        "activation after the last layer",
        0,
        "plain",
        "tensorflow",
        _layer("fc", "relu behind"),
        "fc",
        "a ReLU follows",
    ),
    # What acts in training only
    Mutation(
        "dropout in inference", 0, "assorted", "torch", _layer("dropout", "dropping"), "dropout", "dropped at random"
    ),
    Mutation(
        "stochastic depth's factor in inference",
        0,
        "modern",
        "torch",
        _layer("layer2.0.drop_path", "nine tenths"),
        "layer2.0.drop_path",
        "multiplied by the keep probability",
    ),
    Mutation(
        "dropout's factor in inference",
        0,
        "assorted",
        "tensorflow",
        _layer("dropout", "four fifths"),
        "dropout",
        "multiplied by the keep probability",
    ),
    Mutation(
        "stochastic depth's divisor in inference",
        0,
        "modern",
        "tensorflow",
        _layer("layer2.0.drop_path", "ten ninths"),
        "layer2.0.drop_path",
        "divided by the keep probability",
    ),
    # Joins
    Mutation("shortcut dropped", 0, "plain", "torch", _own_value("layer2.1.add"), "layer2.1.add", "input 1 only"),
    Mutation(
        "gate not multiplied by",
        0,
        "modern",
        "tensorflow",
        _layer("layer1.0.se.scale", "first alone"),
        "layer1.0.se.scale",
        "input 1 only",
    ),
    Mutation(
        "branches multiplied",
        0,
        "plain",
        "torch",
        _operation("layer1.1.add", "multiply"),
        "layer1.1.add",
        "the product of the inputs",
    ),
    Mutation(
        "branches averaged",
        0,
        "shared",
        "tensorflow",
        _layer(f"{SHARED}.add", "mean"),
        f"{SHARED}.add",
        "the mean of the inputs",
    ),
    Mutation(
        "the larger of the branches",
        0,
        "option_a",
        "tensorflow",
        _layer("layer2.1.add", "largest"),
        "layer2.1.add",
        "the maximum of the inputs",
    ),
    *(
        Mutation(f"joined.yaml, {at}: {what}", 0, "joined", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("first", "torch", "the other half", _fields("first", part=1), "4 to 8 instead of 0 to 4"),
            ("second", "tensorflow", "shifted by one", _fields("second", start=4, stop=8), "4 to 8 instead of 3 to 7"),
            (
                "first",
                "tensorflow",
                "every second channel",
                _layer("first", "every second"),
                "one in 2 along the axis, from 0",
            ),
            ("row", "torch", "the next row", _fields("row", start=5, stop=6), "5 to 6 instead of 4 to 5"),
            ("difference", "torch", "a sum", _operation("difference", "add"), "the sum of the inputs"),
            ("difference", "tensorflow", "reversed", _layer("difference", "reversed"), "the inputs are swapped"),
            ("largest", "torch", "a sum", _operation("largest", "add"), "the sum of the inputs"),
            ("largest", "tensorflow", "a mean", _layer("largest", "mean"), "the mean of the inputs"),
            ("joined", "tensorflow", "reversed", _layer("joined", "reversed"), "the order is reversed"),
            ("joined", "tensorflow", "alternating", _layer("joined", "alternating"), "the inputs alternate"),
            (
                "joined",
                "torch",
                "inputs swapped",
                Change(wiring={"joined": ("bn2", "largest")}),
                "its inputs are swapped",
            ),
            ("spread", "torch", "a product", _operation("spread", "multiply"), "the product of the inputs"),
            ("spread", "tensorflow", "a maximum", _operation("spread", "maximum"), "the maximum of the inputs"),
        )
    ),
    *(
        Mutation(f"damped.yaml, {at}: {what}", 0, "damped", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("damped", "torch", "divided", _fields("damped", factor=5.0), "it is divided by the factor"),
            ("damped", "tensorflow", "twice", _fields("damped", factor=0.04), "the factor is applied twice"),
            ("gated", "torch", "factor left out", _fields("gated", factor=1.0), "the factor is left out"),
            ("gated", "tensorflow", "divided", _fields("gated", factor=1 / 1.7868), "it is divided by the factor"),
        )
    ),
    *(
        Mutation(f"reduced.yaml, {at}: {what}", 0, "reduced", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("average", "torch", "a maximum", _operation("average", "max", axis=0), "the maximum instead of the mean"),
            ("average", "tensorflow", "a sum", _operation("average", "sum", axis=0), "the sum instead of the mean"),
            ("highest", "torch", "a mean", _operation("highest", "mean", axis=0), "the mean instead of the maximum"),
            (
                "highest",
                "tensorflow",
                "a minimum",
                _layer("highest", "minimum"),
                "the minimum instead of the maximum",
            ),
            ("weights", "torch", "over the rows", _fields("weights", axis=1), "axis 1 instead of 2"),
            ("weights", "tensorflow", "over the channels", _fields("weights", axis=0), "axis 0 instead of 2"),
            ("pooled", "torch", "a mean", _operation("pooled", "mean", axis=2), "the mean instead of the sum"),
            ("pooled", "tensorflow", "over the rows", _fields("pooled", axis=[1]), "axis 1 instead of 2"),
        )
    ),
    *(
        Mutation(f"signal.yaml, {at}: {what}", 0, "signal", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("conv1", "torch", "padded on both sides", _fields("conv1", padding=2), SYMMETRIC),
            ("conv1", "tensorflow", "flipped", _array("conv1.weight", _flipped), "the kernel is flipped"),
            ("conv2", "torch", "not dilated", _fields("conv2", dilation=1, padding=1), "dilation 1 instead of 2"),
            ("maxpool", "torch", "a mean", _AVERAGE_OF_A_SIGNAL, "average instead of max pooling"),
            (
                "avgpool",
                "tensorflow",
                "zeros counted",
                _fields("avgpool", count_include_pad=True),
                "count_include_pad True",
            ),
            ("up", "torch", "cropped at the start", _fields("up", padding=[[1, 0]]), "the crop is [[1, 0]]"),
            ("pad", "tensorflow", "zeros", _fields("pad", mode="constant"), "the pad is zeros"),
            ("pad", "torch", "mirrored", _fields("pad", padding=[[1, 2]]), "padding [[1, 2]] instead of [[2, 1]]"),
            ("maxpool", "tensorflow", "padded as same", _fields("maxpool", padding="same"), SAME),
            ("avgpool", "torch", "a maximum", _LARGEST_OF_A_SIGNAL, "max instead of average pooling"),
            ("conv2", "torch", "channels interleaved", _layer("conv2", "interleaved channels"), "across the groups"),
            ("up", "tensorflow", "flipped", _array("up.weight", _flipped), "the kernel is flipped"),
        )
    ),
    *(
        Mutation(f"volume.yaml, {at}: {what}", 0, "volume", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("conv1", "tensorflow", "padded on both sides", _fields("conv1", padding=1), SYMMETRIC),
            (
                "conv1",
                "torch",
                "depth and width swapped",
                _array("conv1.weight", lambda kernel: kernel.swapaxes(2, 4)),
                "the kernel's depth and width are swapped",
            ),
            ("conv1", "tensorflow", "flipped", _array("conv1.weight", _flipped), "in depth, height and width"),
            ("conv2", "torch", "flipped", _array("conv2.weight", _flipped), "in depth, height and width"),
            ("maxpool", "tensorflow", "a mean", _AVERAGE_OF_A_VOLUME, "average instead of max pooling"),
            ("bn1", "torch", "other epsilon", _fields("bn1", epsilon=1e-3), "epsilon 0.001"),
            ("avgpool", "torch", "zeros not counted", _fields("avgpool", count_include_pad=False), "count_include_pad"),
            ("up", "tensorflow", "cropped at the start", _fields("up", padding=[0, [1, 0], [1, 0]]), "(mirrored)"),
            ("pad", "torch", "zeros", _fields("pad", value=0.0), "the pad is zeros"),
            ("pad", "tensorflow", "mirrored", _fields("pad", mode="reflect", value=0.0), "mirrored map without"),
            ("maxpool", "torch", "padded as same", _fields("maxpool", padding="same"), SAME),
            ("avgpool", "tensorflow", "a maximum", _LARGEST_OF_A_VOLUME, "max instead of average pooling"),
            ("up", "torch", "flipped", _array("up.weight", _flipped), "in depth, height and width"),
        )
    ),
    *(
        Mutation(f"resized.yaml, {at}: {what}", 0, "resized", backend, change, at, cause)
        for at, backend, what, change, cause in (
            (
                "up",
                "torch",
                "corners aligned",
                _fields("up", coordinates="align_corners"),
                "bilinear with coordinates align_corners instead of bilinear with half_pixel",
            ),
            (
                "up",
                "tensorflow",
                "the nearest",
                _fields("up", mode="nearest", rounding="half_up"),
                "nearest with coordinates half_pixel instead of bilinear with half_pixel",
            ),
            (
                "up",
                "tensorflow",
                "the nearest, rounded down",
                _fields("up", mode="nearest", coordinates="asymmetric", rounding="floor"),
                "nearest with coordinates asymmetric instead of bilinear with half_pixel",
            ),
            (
                "larger",
                "torch",
                "interpolated",
                _fields("larger", mode="bilinear", coordinates="half_pixel", rounding=None),
                "bilinear with coordinates half_pixel instead of nearest with asymmetric",
            ),
        )
    ),
    *(
        Mutation(f"embedding.yaml, {at}: {what}", 0, "embedding", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("unit", "torch", "along the rows", _fields("unit", axis=1), "axis 1 instead of 0"),
            ("unit", "tensorflow", "along the columns", _fields("unit", axis=2), "axis 2 instead of 0"),
            ("unit", "torch", "another epsilon", _fields("unit", epsilon=1e-3), "epsilon 0.001 instead of 2.0"),
            ("pool", "torch", "a mean", _operation("pool", "global_avg_pool"), "the mean instead of the generalized"),
            ("pool", "tensorflow", "power not loaded", _norm("pool", p=3.0), "the power is not loaded (3)"),
        )
    ),
    *(
        Mutation(f"varied.yaml, {at}: {what}", 0, "varied", backend, change, at, cause)
        for at, backend, what, change, cause in (
            ("evo", "tensorflow", "another epsilon", _fields("evo", epsilon=1e-3), "epsilon 0.001 instead of 1e-05"),
            ("plain", "tensorflow", "a gate", _WITH_A_GATE, "a sigmoid is a factor"),
            ("plain", "torch", "groups", _fields("plain", groups=1), "groups 1 instead of 4"),
            ("rows", "tensorflow", "columns first", _layer("rows", "columns first"), "the order is (width, height)"),
            ("turned", "torch", "transposed", _operation("turned", "transpose", axes=[1, 0]), "it is transposed"),
            ("maps", "tensorflow", "channels last", _layer("maps", "plain reshape"), "another order (channels last)"),
            ("largest", "torch", "a sum", _layer("largest", "sum"), "the sum instead of the maximum"),
            ("largest", "tensorflow", "a mean", _operation("largest", "global_avg_pool"), "the mean instead of the"),
            ("general", "torch", "another epsilon", _fields("general", epsilon=1e-3), "epsilon 0.001 instead of 0.1"),
        )
    ),
    # Wiring: every node is right by itself
    Mutation(
        "projection from before the pre-activation",
        0,
        "preactivation",
        "tensorflow",
        Change(wiring={"conv2_block1_0_conv": ("pool1_pool",)}),
        "conv2_block1_0_conv",
        "its input is pool1_pool instead of conv2_block1_preact_relu",
    ),
    Mutation(
        "identity from after the pre-activation",
        0,
        "preactivation",
        "torch",
        Change(wiring={"conv2_block2_out": ("conv2_block2_3_conv", "conv2_block2_preact_relu")}),
        "conv2_block2_out",
        "its input is conv2_block2_preact_relu instead of conv2_block1_out",
    ),
    Mutation(
        "activation before the addition instead of after",
        0,
        "plain",
        "torch",
        Change(
            wiring={
                "layer2.1.relu3": ("layer2.1.bn3",),
                "layer2.1.add": ("layer2.1.relu3", "layer2.0.relu3"),
                "layer3.0.conv1": ("layer2.1.add",),
                "layer3.0.downsample.0": ("layer2.1.add",),
            }
        ),
        "layer2.1.add",
        "a ReLU over input 1",
    ),
    Mutation(
        "activation before the normalization",
        0,
        "plain",
        "tensorflow",
        Change(
            wiring={
                "layer1.0.relu1": ("layer1.0.conv1",),
                "layer1.0.bn1": ("layer1.0.relu1",),
                "layer1.0.conv2": ("layer1.0.bn1",),
            }
        ),
        "layer1.0.bn1",
        "an extra ReLU precedes",
    ),
    Mutation(
        "gate fed from before the normalization",
        0,
        "modern",
        "torch",
        Change(wiring={"layer1.0.se.squeeze": ("layer1.0.conv3",)}),
        "layer1.0.se.squeeze",
        "its input is layer1.0.conv3 instead of layer1.0.bn3",
    ),
    Mutation(
        "shortcut from the block before",
        0,
        "plain",
        "tensorflow",
        Change(wiring={"layer2.1.add": ("layer2.1.bn3", "layer2.0.add")}),
        "layer2.1.add",
        "its input is layer2.0.add instead of layer2.0.relu3",
    ),
    Mutation(
        "a node jumped over",
        0,
        "signed",
        "torch",
        Change(wiring={"stages.0.blocks.0.conv2": ("stages.0.blocks.0.norm1.act",)}),
        "stages.0.blocks.0.conv2",
        "its input is stages.0.blocks.0.norm1.act instead of stages.0.blocks.0.norm2.act",
    ),
    # Training
    Mutation("momentum a tenth", 4, "plain", "torch", _fields("*", momentum=0.01), expected="training"),
    Mutation(
        "momentum used as decay", 4, "preactivation", "tensorflow", _fields("*", momentum=0.99), expected="training"
    ),
    Mutation(
        "momentum of a normalization of vectors",
        4,
        "projection",
        "tensorflow",
        _fields("projector.4", momentum=0.01),
        expected="training",
    ),
    Mutation(
        "momentum of one layer 0", 4, "plain", "torch", _fields("layer1.0.bn2", momentum=0.0), expected="training"
    ),
    Mutation(
        "running variance biased for unbiased",
        4,
        "preactivation",
        "torch",
        Change(exact_statistics=True),
        expected="training",
    ),
    Mutation(
        "running variance unbiased for biased",
        4,
        "plain",
        "tensorflow",
        Change(exact_statistics=True),
        expected="training",
    ),
    Mutation(
        "running variance not the one stated",
        4,
        "plain",
        "tensorflow",
        Change(exact_statistics=False),
        expected="training",
    ),
    Mutation(
        "running statistics in training", 4, "plain", "torch", _layer("layer2.0.bn2", "frozen"), expected="training"
    ),
    Mutation(
        "statistics without a gradient",
        18,
        "plain",
        "torch",
        _layer("layer2.0.bn2", "constant statistics"),
        expected="training",
    ),
    Mutation(
        "gate without a gradient", 18, "modern", "torch", _layer("layer1.0.se.gate", "detached"), expected="training"
    ),
    Mutation(
        "shortcut without a gradient",
        18,
        "plain",
        "tensorflow",
        _layer("layer2.0.downsample.0", "detached"),
        expected="training",
    ),
    Mutation("stem without a gradient", 18, "plain", "tensorflow", _layer("conv1", "detached"), expected="training"),
    Mutation(
        "activation whose gradient leaks",
        18,
        "plain",
        "torch",
        _layer("layer2.0.relu2", "leaking gradient"),
        expected="training",
    ),
    Mutation(
        "a gradient twice as large",
        18,
        "plain",
        "torch",
        _layer("layer1.0.bn3", "doubled gradient"),
        expected="training",
    ),
    Mutation(
        "normalization not shared, but loaded alike",
        18,
        "shared",
        "torch",
        Change(own_layers=(f"{SHARED}.bn2",)),
        expected="training",
    ),
    Mutation(
        "SGD: weight decay decoupled", 0, "plain", "torch", Change(training="decoupled decay"), expected="training"
    ),
    Mutation("SGD: no weight decay", 0, "plain", "torch", Change(training="no decay"), expected="training"),
    Mutation("SGD: weight decay twice", 0, "plain", "tensorflow", Change(training="decay twice"), expected="training"),
    Mutation(
        "SGD: Nesterov's form, in PyTorch", 0, "plain", "torch", Change(training="Nesterov's form"), expected="training"
    ),
    Mutation(
        "SGD: Nesterov's form, in TensorFlow",
        0,
        "plain",
        "tensorflow",
        Change(training="Nesterov's form"),
        expected="training",
    ),
    Mutation("SGD: gradients dampened", 0, "plain", "torch", Change(training="dampened"), expected="training"),
    Mutation("SGD: no momentum", 0, "plain", "tensorflow", Change(training="no momentum"), expected="training"),
    Mutation("AdamW: weight decay coupled", 0, "plain", "torch", Change(training="coupled decay"), expected="training"),
    Mutation("AdamW: no weight decay", 0, "plain", "tensorflow", Change(training="no decay"), expected="training"),
    Mutation(
        "AdamW: epsilon inside the bias correction",
        0,
        "plain",
        "tensorflow",
        Change(training="own epsilon"),
        expected="training",
    ),
    Mutation(
        "AdamW: epsilon ten times as large", 0, "plain", "torch", Change(training="larger epsilon"), expected="training"
    ),
    Mutation("AdamW: betas swapped", 0, "plain", "torch", Change(training="betas swapped"), expected="training"),
    Mutation(
        "AdamW: the largest second moment (AMSGrad)",
        0,
        "plain",
        "torch",
        Change(training="largest second moment"),
        expected="training",
    ),
    # What cannot be heard, or not by the logits
    Mutation(
        "zeros before a pool of which an activation keeps no negative value",
        6,
        "signed",
        "torch",
        _layer("stem.pool", "zero pad"),
        "stem.pool",
        "the pad is 0 instead of minus infinity",
        "bisection",
    ),
    Mutation(
        "minus infinity for the zeros before a pool",
        6,
        "preactivation",
        "torch",
        _fields("pool1_pad", value=-1e30),
        "pool1_pad",
        expected="bisection",
    ),
    Mutation(
        "variance divided by n-1 before a normalization",
        4,
        "bit",
        "torch",
        _layer("stages.0.blocks.0.conv2", "unbiased kernel"),
        "stages.0.blocks.0.conv2",
        "the kernel's variance is divided by n-1",
        "bisection",
    ),
    Mutation(
        "stem convolution padded as same, where that is both sides",
        2,
        "plain",
        "torch",
        _fields("conv1", padding="same"),
        expected="none",
        size=75,
    ),
    Mutation(
        "zeros before a pool after an activation", 6, "plain", "torch", _layer("maxpool", "zero pad"), expected="none"
    ),
    Mutation(
        "bias before a normalization without a gradient",
        18,
        "shared",
        "torch",
        _layer("res_block1.listLayers.0.conv1", "detached bias"),
        expected="none",
    ),
)

MUTATIONS: Mapping[str, Mutation] = {mutation.name: mutation for mutation in _TABLE}
"""Every mutation by its name."""

if __name__ == "__main__":
    from tests.lab.detection import main

    main()
