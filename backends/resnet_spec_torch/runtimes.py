"""What ``resnet-spec bench`` runs: the module of a state_dict, eager or compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from resnet_spec.backend.runtime import Runtime
from resnet_spec_torch import execution, parameters

if TYPE_CHECKING:
    from torch import nn


def open_runtime(name: str, model: nn.Module, threads: int) -> Runtime:
    """Run a module in the form that the runtime's name says."""
    torch.set_num_threads(threads)
    run: Any = model
    if name in ("torch-compiled", "torch-frozen"):
        # Freezing makes weights constants, which the compiler then lays out for its kernels.
        options = {"freezing": True} if name == "torch-frozen" else None
        run = cast("Any", torch).compile(model, options=options)

    def timed(images: torch.Tensor) -> Any:
        # The compiler freezes in no_grad only.
        with torch.no_grad():
            return run(images)

    return Runtime(
        convert=lambda images: execution.batch_for(model, images),
        run=timed,
        values=lambda found: [parameters.to_numpy(tensor) for tensor in execution.listed(found)],
    )
