"""What is written on a drawing's boxes: ``3×3 conv, 64, /2``, as papers do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from resnet_spec.drawing.network import Node
from resnet_spec.operations import Category

_ILLEGAL = re.compile("[^\t\n\r\x20-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SHORT = {
    "batch_norm": "BN", "position_batch_norm": "BN per position", "group_norm": "GN", "layer_norm": "LN",
    "instance_norm": "IN", "evo_norm_s0": "EvoNorm", "filter_response_norm": "FRN", "l2_normalize": "L2 norm",
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "leaky ReLU", "prelu": "PReLU", "elu": "ELU", "silu": "SiLU",
    "gelu": "GELU", "mish": "Mish", "matmul": "product", "global_avg_pool": "global average pool",
    "global_max_pool": "global max pool", "gem_pool": "generalized mean pool", "concat": "concatenate",
    "stochastic_depth": "stochastic depth", "parameter": "learned value",
}  # fmt: skip
"""What operations are called; others are called as in a spec, with spaces."""

STEMS = {
    "conv_transpose": "transposed conv", "conv": "conv", "std_conv": "standardized conv", "max_pool": "max pool",
    "avg_pool": "average pool", "pad": "pad",
}  # fmt: skip
"""What operations are called whose name ends in the rank of their input."""

SIGNS = {"add": "+", "multiply": "×", "subtract": "−"}
"""The joins that are drawn as a sign in a circle."""

KINDS = {
    Category.CONVOLUTION: "conv", Category.LINEAR: "linear", Category.NORMALIZATION: "norm",
    Category.ACTIVATION: "act", Category.POOLING: "pool", Category.JOIN: "join",
}  # fmt: skip
"""The kinds that have colors; all else is ``other``."""

KIND_NAMES = {
    "conv": "convolution", "block": "block", "down": "block that changes the shape", "linear": "linear layer",
    "pool": "pooling", "norm": "normalization", "act": "activation", "join": "join", "other": "other operation",
}  # fmt: skip
"""What a legend calls each kind, in its order."""


def kind_of(node: Node) -> str:
    """The kind by which a node is colored."""
    return KINDS.get(node.operation.category, "other")


def label(node: Node) -> str:
    """What a node does, in few words.

    Examples:
        >>> import resnet_spec
        >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
        >>> [label(graph.by_name[name]) for name in ("conv1", "bn1", "maxpool", "layer1.0.add", "fc")]
        ['7×7 conv, 64, /2', 'BN', '3×3 max pool, /2', '+', 'linear, 1000']
    """
    operation = node.operation
    op = str(getattr(operation, "op", ""))
    stem = op[:-2] if op[-1:] == "d" and op[-2:-1].isdigit() else op
    kernel: Sequence[int] = getattr(operation, "kernel", ())
    words = [SIGNS.get(op) or SHORT.get(op) or STEMS.get(stem) or stem.replace("_", " ")]
    if kernel:
        words[0] = f"{'×'.join(map(str, kernel))} {words[0]}"
    if operation.category is Category.CONVOLUTION:
        words.append(str(node.shape[0]))
    elif op == "linear":
        words.append(str(node.shape[-1]))
    strides: Sequence[int] = getattr(operation, "stride", ()) or ()
    if any(step != 1 for step in strides):
        words.append("/" + "×".join(map(str, strides if len(set(strides)) > 1 else set(strides))))
    groups = int(getattr(operation, "groups", 1) or 1)
    if operation.category is Category.CONVOLUTION and groups > 1:
        words.append("depthwise" if groups == node.shape[0] else f"{groups} groups")
    dilation: Sequence[int] = getattr(operation, "dilation", ()) or ()
    if any(step != 1 for step in dilation):
        words.append("dilation " + "×".join(map(str, dilation if len(set(dilation)) > 1 else set(dilation))))
    return ", ".join(words)


def shape_text(shape: Sequence[int]) -> str:
    """A shape, as it is written beside an edge."""
    return "×".join(map(str, shape))


def legal(text: str) -> str:
    """A text without characters that XML cannot hold, such as the escape codes of colors, or that reverse others."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, length: int = 60) -> str:
    """A text with its middle left out if it is longer."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[1 - length // 2 :]}"


def short(number: int) -> str:
    """A count in three digits: ``25.6 M``."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}" if number < 1000 * size else f"{number / size:,.0f} {letter}"
    return str(number)
