"""Resizing as PyTorch expressions."""

from __future__ import annotations

from resnet_spec import operations as ops
from resnet_spec_torch.emitting.emitters import EXPRESSIONS


@EXPRESSIONS.register("resize")
def _resize(op: ops.Resize, x: str, like: str = "") -> str:
    size = f"scale_factor={op.scale}" if op.scale else f"size={op.size or f'{like}.shape[2:]'}"
    if op.mode == "bilinear":
        return (
            f'functional.interpolate({x}, {size}, mode="bilinear", align_corners={op.coordinates == "align_corners"})'
        )
    centered = op.rounding == "half_up"
    if op.scale:
        return f'functional.interpolate({x}, {size}, mode="{"nearest-exact" if centered else "nearest"}")'
    # The native function rounds positions in float32, and is off by one at some sizes.
    return f"resize_nearest({x}, {size}, centered={centered})"
