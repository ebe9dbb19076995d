"""What a reader's mistakes, and what the language lacks, become: one error with every node."""

from __future__ import annotations

import pytest

from resnet_spec.backend import GraphBuilder
from resnet_spec.errors import ModelError
from resnet_spec.graph import Input


def test_a_wrong_number_of_inputs_is_a_problem_of_the_node() -> None:
    builder = GraphBuilder("tiny", Input(height=8, width=8))
    product = builder.add("multiply", [builder.input], "product", where="mul (model.py:3)")
    alone = builder.add("relu", [builder.input, builder.input], "act")
    assert product is alone is None
    with pytest.raises(ModelError) as caught:
        builder.finish([product, alone])
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [
        ("mul (model.py:3)", "multiply takes two inputs or more, not 1"),
        ("act", "relu takes one input, not 2"),
    ]


def test_what_reads_a_node_that_is_a_problem_is_none() -> None:
    builder = GraphBuilder("tiny", Input(height=8, width=8))
    pool = builder.add("max_pool2d", [builder.input], "pool", kernel=9)
    assert builder.add("relu", [pool], "act") is None
    with pytest.raises(ModelError) as caught:
        builder.finish([pool])
    (problem,) = caught.value.problems
    assert problem.path == "pool"
