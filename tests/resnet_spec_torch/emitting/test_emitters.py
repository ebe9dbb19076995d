"""The tables of emitters are complete, and emitters make empty layers of native classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from resnet_spec.operations import OPERATIONS
from resnet_spec_torch import emitting
from tests.resnet_spec_torch.graphs import OPERATION, layer


def test_every_operation_has_an_emitter_and_no_other_has_one() -> None:
    assert {*emitting.LAYERS, *emitting.EXPRESSIONS, *emitting.PARAMETERS} == set(OPERATIONS)


def test_what_is_said_of_emitters_is_said_of_operations() -> None:
    assert {*emitting.IN_PLACE, *emitting.NEW_VALUE} <= set(OPERATIONS)


@pytest.mark.parametrize(
    "enter", [emitting.LAYERS.register, emitting.EXPRESSIONS.register, emitting.PARAMETERS.register]
)
def test_a_second_emitter_is_refused(enter: Any) -> None:
    with pytest.raises(ValueError, match="'relu' has two emitters"):
        enter("relu")(lambda: None)
    with pytest.raises(ValueError, match="'add' has two emitters"):
        enter("add")(lambda: None)


def test_layers_are_empty_and_native_classes() -> None:
    state = torch.get_rng_state()
    conv = layer("conv2d", channels=4, kernel=3, bias=True)
    norm = layer("batch_norm", epsilon=1e-5, momentum=0.1, running_variance="unbiased")
    linear = layer("linear", (4,), features=2)
    for module in (conv, norm, linear):
        assert all(tensor.is_meta for tensor in module.state_dict().values())
    assert [type(m) for m in (conv, norm, linear)] == [nn.Conv2d, nn.BatchNorm2d, nn.Linear]
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_have_the_model_s_dtype() -> None:
    operation = OPERATION.validate_python({"op": "conv2d", "channels": 4, "kernel": 3})
    conv = emitting.LAYERS["conv2d"](operation, (3, 8, 8), emitting.Options(torch.float64))
    assert conv.weight.dtype == torch.float64
