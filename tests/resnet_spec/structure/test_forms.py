"""The normal forms of operations: which have one of their own, and what counts for the others."""

from __future__ import annotations

import numpy as np
import pytest

from resnet_spec.operations import OPERATIONS
from resnet_spec.structure.forms import OPERATION_FORMS, form_of_graph
from tests.resnet_spec_torch.graphs import Builder, random_arrays

AS_STATED = {"matmul", "transpose", "std_conv2d", "evo_norm_s0", "filter_response_norm", "position_batch_norm"}
"""Operations without a normal form: they are compared as they are stated, and files that have them are read by name."""


def test_every_operation_has_a_normal_form_or_is_known_to_have_none() -> None:
    assert set(OPERATIONS) - set(OPERATION_FORMS) == AS_STATED
    assert set(OPERATION_FORMS) < set(OPERATIONS)


def test_a_second_normal_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'relu' has two normal forms"):
        OPERATION_FORMS.register("relu")(lambda: 0)


def test_an_operation_as_stated_has_the_fields_that_inference_depends_on() -> None:
    builder = Builder(3, 8, 8).add("conv", "std_conv2d", channels=4, kernel=3, padding=1, epsilon=1e-5)
    graph = builder.add("norm", "position_batch_norm", epsilon=1e-3, momentum=0.2, running_variance="biased").graph()
    _, convolution, norm = form_of_graph(graph).steps
    assert (convolution.kind, norm.kind) == ("std_conv2d", "position_batch_norm")
    assert "channels" not in convolution.fields
    assert convolution.shape == (4, 8, 8)
    assert norm.fields["epsilon"] == float(np.float32(1e-3))
    other = Builder(3, 8, 8).add("conv", "std_conv2d", channels=4, kernel=3, padding=1, epsilon=1e-5)
    graph = other.add("norm", "position_batch_norm", epsilon=1e-3, momentum=0.9, running_variance="unbiased").graph()
    assert form_of_graph(graph).steps[2] == norm


def test_padding_as_stated_is_compared_in_numbers() -> None:
    def form(padding: object) -> object:
        conv = Builder(3, 8, 8).add("conv", "std_conv2d", channels=4, kernel=3, stride=2, padding=padding, epsilon=1e-5)
        return form_of_graph(conv.graph()).steps[1]

    assert form("same") == form([[0, 1], [0, 1]])
    assert form("same") != form(1)


def test_steps_have_the_graphs_arrays() -> None:
    graph = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3, bias=True).graph()
    arrays = random_arrays(graph)
    step = form_of_graph(graph, arrays).steps[1]
    assert {slot: tensor.names for slot, tensor in step.tensors.items()} == {
        "weight": ("conv.weight",),
        "bias": ("conv.bias",),
    }
    assert step.tensors["weight"].array is arrays["conv.weight"]
