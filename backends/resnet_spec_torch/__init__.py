"""PyTorch backend of resnet-spec; torch itself is imported when the backend is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_spec.backend.runtime import RuntimeKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_spec_torch.backend import TorchBackend

__all__ = ["IMPORTS", "INPUTS", "MODEL_CLASSES", "OUTPUTS", "RUNTIMES", "TorchBackend"]

INPUTS = ()
"""What the backend reads: the core reads PyTorch's files itself."""

IMPORTS = (".pt2",)
"""Models that it imports from a file."""

MODEL_CLASSES = ("torch.nn.modules.module.Module",)
"""Models that it imports from Python."""

OUTPUTS = {".pth": "PyTorch state_dict", ".pt2": "torch.export program"}
"""What it writes, known without torch."""

RUNTIMES: Mapping[str, RuntimeKind] = {
    "torch": RuntimeKind("PyTorch, eager", ".pth"),
    "torch-optimized": RuntimeKind("PyTorch, eager, optimized", ".pth", optimized=True),
    "torch-compiled": RuntimeKind("PyTorch, torch.compile", ".pth"),
    "torch-frozen": RuntimeKind("PyTorch, optimized, torch.compile with constant weights", ".pth", optimized=True),
}
"""In what `resnet-spec bench` runs its models."""


def __getattr__(name: str) -> Any:
    if name == "TorchBackend":
        from resnet_spec_torch.backend import TorchBackend

        return TorchBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
