"""Which array of a file is which parameter, and the remarks about differences that do not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from resnet_spec.optimization.folding import fold, fold_arrays
from tests.resnet_spec_onnx.reading.files import (
    KERNEL,
    VECTORS,
    anonymous,
    assert_equal,
    convolution,
    made,
    node,
    node_of,
    proto,
    read,
    refused,
    set_attribute,
)
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet


def test_another_architecture_is_reported_by_layer(tmp_path: Path) -> None:
    message = refused(proto(convolution()), small_resnet(), tmp_path)
    assert "'conv1' (conv2d) in the spec and 'conv' (Conv) in the file differ in kernel: [7, 7] and [3, 3]" in message
    vector = Builder(8).add("fc", "linear", features=2).graph()
    assert refused(proto(vector), small_resnet(), tmp_path) == "its input has 2 axes, but the spec's has 4"


def test_folded_normalizations_are_reported_as_such(tmp_path: Path) -> None:
    graph = small_resnet()
    folded = fold_arrays(graph, random_arrays(graph))
    assert refused(anonymous(proto(fold(graph), folded)), graph, tmp_path) == (
        "its batch normalizations are folded into the convolutions before them; "
        "set 'folded: true' in the spec (overrides=\"folded=true\")"
    )
    model = anonymous(proto(fold(graph), folded))
    set_attribute(node_of(model, "maxpool"), "strides", [1, 1])
    assert "overrides=\"folded=true\"); another difference remains: 'maxpool' (max_pool2d)" in refused(
        model, graph, tmp_path
    )


@pytest.mark.parametrize("change", [lambda model: model, anonymous], ids=["named", "anonymous"])
def test_unfolded_normalizations_are_reported_as_such(
    change: Callable[[ModelProto], ModelProto], tmp_path: Path
) -> None:
    graph = small_resnet()
    assert refused(change(proto(graph)), fold(graph), tmp_path) == (
        "its batch normalizations are not folded into the convolutions, but the spec has 'folded: true'; "
        "fold them with 'resnet-spec convert --fold' and the spec without it"
    )


def test_a_missing_bias_is_zero(tmp_path: Path) -> None:
    model = made([node("Conv", "x kernel", "y")], {"kernel": KERNEL})
    held = read(model, convolution(bias=True), tmp_path)
    assert_equal(held, {"conv.weight": KERNEL, "conv.bias": np.zeros(4, np.float32)})
    assert held.remarks == ("has no bias for 1 convolutions that have one in the spec; zeros are used",)
    biased = made([node("Conv", "x kernel b", "y")], {"kernel": KERNEL, "b": VECTORS[0]})
    message = refused(biased, convolution(), tmp_path)
    assert message == "'y' (Conv) has a bias in the file, but 'conv' (conv2d) has none in the spec"


def test_a_scale_missing_in_the_spec_must_be_one(tmp_path: Path) -> None:
    graph = Builder(4, 8, 8).add("norm", "batch_norm", scale=False).graph()
    arrays = random_arrays(graph)
    model = anonymous(proto(graph, arrays))
    assert_equal(read(model, graph, tmp_path), arrays)
    whole = Builder(4, 8, 8).add("norm", "batch_norm").graph()
    assert refused(anonymous(proto(whole)), graph, tmp_path) == (
        "'norm' (BatchNormalization) has a weight in the file, but 'norm' (batch_norm) has none in the spec"
    )


def test_a_softmax_on_one_side_is_a_remark(tmp_path: Path) -> None:
    b = Builder(4, 8, 8).add("pool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=3)
    bare = b.graph()
    whole = b.add("softmax", "softmax").graph()
    arrays = random_arrays(bare)
    for change in (lambda model: model, anonymous):
        assert_equal(held := read(change(proto(whole, arrays)), bare, tmp_path), arrays)
        assert held.remarks == ("ends in a softmax, unlike the spec",)
        assert_equal(held := read(change(proto(bare, arrays)), whole, tmp_path), arrays)
        assert held.remarks == ("does not end in a softmax, unlike the spec",)
