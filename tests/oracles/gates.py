"""How far a port may be from its original, in standard deviations of the original's float64 logits."""

from __future__ import annotations

from resnet_spec.backend.protocol import DType

GATES: dict[DType, float] = {"float64": 1e-9, "float32": 3e-5}

ILL_CONDITIONED = frozenset(
    {
        "monai/resnet152",
        "monai/resnet200",
        "smp/unet_resnet34",
        "timm/gcresnet33ts",
        "timm/gcresnet50t",
        "timm/gcresnext50ts",
        "timm/resnest101e",
        "timm/resnest200e",
        "timm/resnest269e",
        "timm/resnet50x64_clip_gap",
        "torchvision/fcn_resnet101",
    }
)
"""Networks that amplify rounding under random weights, so that correct float32 results lie beyond the gate.

Their limits are the bounds of `resnet-spec parity`, which are computed from the network.
"""
