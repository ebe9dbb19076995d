"""How far a port may be from its original, in standard deviations of the original's float64 logits."""

from __future__ import annotations

from resnet_spec.backend.protocol import DType

GATES: dict[DType, float] = {"float64": 1e-9, "float32": 3e-5}
