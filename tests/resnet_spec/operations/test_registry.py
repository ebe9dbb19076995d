"""The closed set of operations."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from resnet_spec.operations import ANY_RANK, OPERATIONS, WORDS, Category
from tests.every_operation import every_operation
from tests.resnet_spec.operations.support import make


def test_every_operation_is_found_by_the_word_it_is_written_with() -> None:
    assert list(OPERATIONS) == [
        *("conv1d", "conv2d", "conv3d", "std_conv2d"),
        *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "matmul"),
        *("scale", "offset", "parameter"),
        *("batch_norm", "position_batch_norm", "group_norm", "layer_norm", "instance_norm"),
        *("evo_norm_s0", "filter_response_norm", "l2_normalize"),
        *("relu", "relu6", "leaky_relu", "prelu", "elu", "silu", "gelu", "mish"),
        *("sigmoid", "hard_sigmoid", "hard_swish", "tanh", "softplus"),
        *("softmax", "dropout", "stochastic_depth"),
        *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
        *("global_avg_pool", "global_max_pool"),
        *("gem_pool", "mean", "max", "sum"),
        *("pad1d", "pad2d", "pad3d"),
        *("pad_channels", "flatten", "reshape", "transpose", "slice", "resize"),
        *("concat", "add", "multiply", "subtract", "maximum"),
    ]
    assert all(cls.__doc__ and cls.label and isinstance(cls.category, Category) for cls in OPERATIONS.values())


def test_a_spec_may_leave_the_rank_of_an_operation_to_its_input() -> None:
    assert list(ANY_RANK) == ["conv_nd", "conv_transpose_nd", "max_pool_nd", "avg_pool_nd", "pad_nd"]
    for name, cls in ANY_RANK.items():
        assert {OPERATIONS[name.replace("_nd", f"{rank}d")] for rank in (1, 2, 3)} == {cls}
    assert WORDS.keys() == OPERATIONS.keys() | ANY_RANK.keys()


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ValidationError):
        make("attention")


def test_the_graph_that_backends_run_node_by_node_has_every_operation() -> None:
    assert {node.operation.op for node in every_operation().nodes} == set(OPERATIONS)
