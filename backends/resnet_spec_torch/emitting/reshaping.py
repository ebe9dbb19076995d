"""Pads, reshapes and slices as PyTorch expressions."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_torch.emitting.emitters import EXPRESSIONS
from resnet_spec_torch.window_layers import pads


@EXPRESSIONS.register("flatten")
def _flatten(op: ops.Flatten, x: str) -> str:
    return f"torch.flatten({x}, {op.axis + 1})"


@EXPRESSIONS.register("pad1d", "pad2d", "pad3d")
def _pad(op: ops.Pad, x: str) -> str:
    how = f"value={op.value!r}" if op.mode == "constant" else f"mode={op.mode!r}"
    return f"functional.pad({x}, {pads(op.padding)}, {how})"


@EXPRESSIONS.register("pad_channels")
def _pad_channels(op: ops.PadChannels, x: str, *, rank: int) -> str:
    return f"functional.pad({x}, {(*[0] * 2 * rank, op.before, op.after)})"


@EXPRESSIONS.register("reshape")
def _reshape(op: ops.Reshape, x: str) -> str:
    return f"{x}.reshape({x}.shape[0], {', '.join(map(str, op.shape))})"


@EXPRESSIONS.register("slice")
def _slice(op: ops.Slice, x: str) -> str:
    if op.parts is not None:
        return f"{x}.chunk({op.parts}, dim={op.axis + 1})[{op.part}]"
    return f"{x}[{':, ' * (op.axis + 1)}{op.start or ''}:{op.stop or ''}]"


@EXPRESSIONS.register("transpose")
def _transpose(op: ops.Transpose, x: str) -> str:
    return f"{x}.permute(0, {', '.join(str(axis + 1) for axis in op.axes)})"
