"""Gradients of every layer that PyTorch lacks, against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resnet_spec_torch import emitting
from tests.resnet_spec_torch.graphs import Builder, build

WINDOW = {"channels": 4, "kernel": 2, "padding": "same"}
CASES = [
    ("std_conv2d", {**WINDOW, "epsilon": 1e-3, "bias": True}),
    ("conv_transpose2d", {**WINDOW, "bias": True}),
    ("conv_transpose2d", {**WINDOW, "stride": 3}),
    ("position_batch_norm", {}),
    ("position_batch_norm", {"running_variance": "biased", "scale": False}),
    ("group_norm", {"groups": 2, "epsilon": 0.1}),
    ("group_norm", {"groups": 4, "epsilon": 0.1, "scale": False}),
    ("group_norm", {"groups": 4, "epsilon": 0.1, "offset": False}),
    ("evo_norm_s0", {"groups": 2, "epsilon": 0.1}),
    ("filter_response_norm", {"epsilon": 0.1, "threshold": True}),
    ("filter_response_norm", {"epsilon": 0.1, "threshold": False}),
    ("max_pool2d", {"kernel": 3, "stride": 2, "padding": [[0, 1], [1, 0]], "ceil_mode": True}),
    ("avg_pool2d", {"kernel": 2, "padding": "same", "count_include_pad": False}),
    ("global_max_pool", {}),
    ("gem_pool", {"epsilon": 0.1}),
    ("l2_normalize", {"epsilon": 0.1}),
    ("pad2d", {"padding": 2, "mode": "reflect"}),
    ("pad_channels", {"before": 1, "after": 2}),
    ("reshape", {"shape": [5, 4, 3]}),
    ("std_conv2d", {**WINDOW, "epsilon": 1e-3, "gain": True, "gamma": 1.5}),
    ("layer_norm", {"epsilon": 0.1}),
    ("layer_norm", {"epsilon": 0.1, "axis": 2, "scale": False}),
    ("layer_norm", {"epsilon": 0.1, "axis": 1, "offset": False}),
    ("instance_norm", {"epsilon": 0.1}),
    ("instance_norm", {"epsilon": 0.1, "scale": False}),
    ("instance_norm", {"epsilon": 0.1, "offset": False}),
    ("linear", {"features": 3}),
    ("transpose", {"axes": [2, 0, 1]}),
    ("scale", {"shape": "channels"}),
    ("scale", {"shape": "scalar"}),
    ("offset", {"shape": "map"}),
    ("parameter", {"shape": [4, 3, 5]}),
]


@pytest.mark.parametrize(("op", "fields"), CASES)
def test_gradients_agree_with_finite_differences(op: str, fields: dict[str, Any]) -> None:
    """Also where an activation, and a sum, write over what the operation made."""
    b = Builder(4, 3, 5).add("x", op, **fields).add("relu", "relu").add("gate", "sigmoid")
    graph = b.add("again", op, "input", calls="x", **fields).add("sum", "add", "again", "gate").graph()
    model = build(graph, "float64", exact_statistics=True).train()
    assert ("accumulate" in model.forward.__code__.co_names) == (op in emitting.NEW_VALUE)
    images = torch.rand(3, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]
    assert names == [p.name for p in graph.parameters() if p.trainable]

    def outputs(images: torch.Tensor, *values: torch.Tensor) -> Any:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (images,))

    parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
    assert torch.autograd.gradcheck(outputs, (images, *parameters), fast_mode=True)


def test_every_new_layer_that_makes_a_value_of_its_own_is_checked() -> None:
    plain = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose3d", "batch_norm", "matmul"}
    plain |= {"add", "multiply", "subtract", "maximum", "concat"}
    assert set(emitting.NEW_VALUE) - plain <= {op for op, _ in CASES}
