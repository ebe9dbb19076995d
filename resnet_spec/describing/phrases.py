"""Operations and their fields in the field's words: ``3×3 convolution, stride 2, 64 channels``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

from resnet_spec.graph import Node
from resnet_spec.importing.fields import fields_of
from resnet_spec.operations import Category, Conv

WORDS = {
    "std_conv2d": "standardized convolution", "linear": "linear layer", "matmul": "matrix product",
    "batch_norm": "batch norm", "group_norm": "group norm", "layer_norm": "layer norm",
    "instance_norm": "instance norm", "position_batch_norm": "batch norm per position", "evo_norm_s0": "EvoNorm-S0",
    "filter_response_norm": "filter response norm", "l2_normalize": "L2 normalization",
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "leaky ReLU", "prelu": "PReLU", "elu": "ELU", "silu": "SiLU",
    "gelu": "GELU", "mish": "Mish", "hard_sigmoid": "hard sigmoid", "hard_swish": "hard swish",
    "stochastic_depth": "stochastic depth", "global_avg_pool": "global average pool",
    "global_max_pool": "global max pool", "gem_pool": "generalized mean pool", "pad_channels": "padding of channels",
    "add": "addition", "multiply": "product", "subtract": "difference", "concat": "concatenation",
    "scale": "learned factor", "offset": "learned term", "parameter": "learned value",
}  # fmt: skip
"""What operations are called; others are called as in a spec, with spaces."""

STEMS = {
    "conv_transpose": "transposed convolution", "conv": "convolution", "max_pool": "max pool",
    "avg_pool": "average pool", "pad": "padding",
}  # fmt: skip
"""What operations are called whose name ends in the rank of their input."""

FIELDS = {
    "epsilon": "ε", "count_include_pad": "padding in its mean", "ceil_mode": "ceiling mode",
    "running_variance": "running variance", "per_channel": "slope per channel", "features": "features",
    "scale": "scale", "gain": "learned gain",
}  # fmt: skip
"""What fields are called; others are called as in a spec, with spaces."""

KERNELS = (Category.CONVOLUTION, Category.POOLING)


def word(op: str) -> str:
    """What an operation is called."""
    stem = op[:-2] if op[-1:] == "d" and op[-2:-1].isdigit() else ""
    return WORDS.get(op) or STEMS.get(stem) or (stem or op).replace("_", " ")


def value_text(value: Any) -> str:
    """A field's value: ``1e-3``, ``3×3``, ``yes``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return "×".join(value_text(part) for part in cast("Sequence[Any]", value))
    if value == "same":
        return "'same'"
    return "none" if value is None else str(value)


def number(value: float) -> str:
    """A number as papers write it: ``1e-3`` instead of ``0.001``."""
    if value == int(value):
        return str(int(value))
    text = f"{value:.12g}"
    digits, _, power = f"{value:.11e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return f"{digits}e{int(power)}" if abs(value) < 0.01 else text


def extents(value: Any, rank: int) -> str:
    """A kernel with a size for each axis: ``7×7``."""
    sizes = cast("list[int]", value) if isinstance(value, list) else [value] * rank
    return "×".join(map(str, sizes))


def rank_of(node: Node) -> int:
    """The number of a window's axes."""
    return len(getattr(node.operation, "kernel", ()))


def noun(node: Node) -> str:
    """What a layer is called, with its kernel: ``3×3 convolution``, ``ReLU``."""
    text = word(node.operation.op)
    return f"{extents(fields_of(node)['kernel'], rank_of(node))} {text}" if rank_of(node) else text


def phrase(node: Node, *, channels: bool = True) -> str:
    """A layer in words, with what is not usual: ``3×3 convolution, stride 2, 64 channels``."""
    fields = fields_of(node)
    parts = [noun(node)]
    if fields.get("stride", 1) != 1:
        parts.append(f"stride {value_text(fields['stride'])}")
    if channels and "channels" in fields:
        parts.append(f"{fields['channels']} channels")
    if fields.get("groups", 1) != 1:
        parts.append(f"{fields['groups']} groups")
    if fields.get("dilation", 1) != 1:
        parts.append(f"dilation {value_text(fields['dilation'])}")
    if node.operation.op.startswith("pad") and "padding" in fields:
        parts[0] = (
            f"{value_text(fields['value']) if fields['value'] else 'zero'} padding {value_text(fields['padding'])}"
        )
    if "slope" in fields:
        parts[0] += f" {number(fields['slope'])}"
    if "features" in fields and node.operation.op == "linear":
        parts[0] = f"linear layer of {fields['features']} features"
    return ", ".join(parts)


def change_text(field: str, before: Any, after: Any, rank: int = 0) -> str:
    """What is said of a field that differs: ``stride 1 instead of 2``, ``with bias``."""
    name = FIELDS.get(field, field.replace("_", " "))
    if isinstance(before, bool) and isinstance(after, bool):
        return f"with {name}" if after else f"without {name}"
    if field == "kernel":
        return f"{extents(after, rank)} instead of {extents(before, rank)}"
    if field in ("channels", "groups", "features"):
        return f"{value_text(after)} {name} instead of {value_text(before)}"
    return f"{name} {value_text(after)} instead of {value_text(before)}"


def listed(parts: Iterable[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    found = list(parts)
    return f" {last} ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def row_text(nodes: Iterable[Node]) -> str:
    """A row of layers: ``3×3 convolutions of 32, 32 and 64 channels, the first with stride 2, then ReLU``."""
    return counted(text for _, row in groupby(nodes, _plain_convolution) for text in _row_texts([*row]))


def _plain_convolution(node: Node) -> str:
    """The kernel of a convolution that only its channels and its stride tell from others; else the node's own name."""
    operation = node.operation
    plain = isinstance(operation, Conv) and operation.groups == 1 == max(operation.dilation)
    return noun(node) if plain else f"the layer {node.name}"


def _row_texts(row: Sequence[Node]) -> Iterator[str]:
    """Layers in words; three or more convolutions are one text if at most the first has a stride."""
    strides = [phrase(node, channels=False).removeprefix(noun(node)) for node in row]
    if len(row) < 3 or any(strides[1:]):
        yield from map(phrase, row)
    else:
        first = f", the first with{strides[0].removeprefix(',')}" if strides[0] else ""
        yield f"{noun(row[0])}s of {listed(str(fields_of(node)['channels']) for node in row)} channels{first}"


def counted(texts: Iterable[str]) -> str:
    """A row of layers, equal neighbors once: ``2 × ReLU, then flatten``."""
    found: list[list[Any]] = []
    for text in texts:
        if found and found[-1][0] == text:
            found[-1][1] += 1
        else:
            found.append([text, 1])
    return ", then ".join(text if times == 1 else f"{times} × {text}" for text, times in found)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields that differ, in order."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]
