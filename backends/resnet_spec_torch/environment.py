"""Versions and settings of PyTorch that change rounding."""

from __future__ import annotations

import torch


def describe() -> dict[str, str]:
    """Return versions, threads and settings by name, as reports show them."""
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "onednn": "on" if torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled else "off",
        "tf32": "on" if torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32 else "off",
        "deterministic": "on" if torch.are_deterministic_algorithms_enabled() else "off",
    }
