"""torchvision's own models with a CPU build of torch, for which its compiled operators do not load."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from resnet_spec import Graph


# torchvision registers fakes for operators that its library would define; its Python models use none of them.
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor i, Tensor r, float s, int h, int w, int n, bool a) -> Tensor",
    "roi_pool(Tensor i, Tensor r, float s, int h, int w) -> (Tensor, Tensor)",
    "ps_roi_align(Tensor i, Tensor r, float s, int h, int w, int n) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor i, Tensor r, float s, int h, int w) -> (Tensor, Tensor)",
    "deform_conv2d(Tensor i, Tensor w, Tensor o, Tensor m, Tensor b, int a, int c, int d, int e, int f, int g, int h,"
    " int j, bool k) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "_roi_align_backward(Tensor g, Tensor r, float s, int h, int w, int b, int c, int i, int j, int n, bool a)"
    " -> Tensor",
    "_roi_pool_backward(Tensor g, Tensor r, Tensor a, float s, int h, int w, int b, int c, int i, int j) -> Tensor",
    "_ps_roi_align_backward(Tensor g, Tensor r, Tensor c, float s, int h, int w, int n, int b, int d, int i, int j)"
    " -> Tensor",
    "_ps_roi_pool_backward(Tensor g, Tensor r, Tensor c, float s, int h, int w, int b, int d, int i, int j) -> Tensor",
    "_deform_conv2d_backward(Tensor g, Tensor i) -> Tensor",
)

_library = torch.library.Library("torchvision", "FRAGMENT")


def models() -> Any:
    """``torchvision.models``."""
    if not hasattr(torch.ops.torchvision, "nms"):
        for schema in _OPERATORS:
            _library.define(schema)
    return importlib.import_module("torchvision.models")


def randomized(graph: Graph, make: Callable[[], nn.Module], seed: int = 7) -> nn.Module:
    """A model of torchvision with the recipe's weights and statistics, its own training-mode batch among them."""
    # Not above: torchvision's models are also used where this package cannot be imported.
    from resnet_spec.parity.randomization import randomize

    model = make()

    def train(_: Graph, arrays: Any, batch: NDArray[np.float32]) -> dict[str, Any]:
        fill(model, arrays)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model.train()(torch.from_numpy(batch))
        return {key: value.numpy().copy() for key, value in model.state_dict().items()}

    arrays = randomize(graph, train, seed=seed)
    fresh = make().eval()
    fill(fresh, arrays)
    return fresh


def fill(model: nn.Module, arrays: Any) -> None:
    """Set a model's parameters and statistics, all but the counters."""
    state = {key: torch.tensor(np.asarray(value)) for key, value in arrays.items() if "num_batches" not in key}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
