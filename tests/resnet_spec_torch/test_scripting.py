"""TorchScript: scripting is refused with what to do instead; tracing computes the same."""

from __future__ import annotations

import warnings

import pytest
import torch

import resnet_spec
from resnet_spec import BackendError
from tests.shipped import slow_unless

NETWORKS = ["resnet18", "resnet50", "timm/seresnet50", "timm/resnetv2_50x1_bit", "mirror/encoder18"]


@pytest.mark.parametrize("name", slow_unless({"resnet18", "mirror/encoder18"}, NETWORKS))
def test_scripting_is_refused_and_tracing_computes_the_same(name: str) -> None:
    model = resnet_spec.build(name, "torch")
    images = torch.randn(1, *resnet_spec.load(name).to_graph().input.shape)
    with warnings.catch_warnings():
        # PyTorch warns that TorchScript is deprecated, and that sizes become constants.
        warnings.simplefilter("ignore")
        with pytest.raises(BackendError, match=r"^torch\.jit\.script cannot compile ResNet, .*use torch\.export"):
            torch.jit.script(model)
        traced = torch.jit.trace(model, images)
    torch.testing.assert_close(traced(images), model(images), rtol=1e-5, atol=1e-5)
