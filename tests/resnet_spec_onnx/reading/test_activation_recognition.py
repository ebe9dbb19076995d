"""Activations that a file computes in several nodes, in the orders in which exporters write them."""

from __future__ import annotations

from math import pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from resnet_spec.graph import Graph
from tests.activation_formulas import CASES, Case
from tests.resnet_spec_onnx.reading.files import KERNEL, anonymous, assert_equal, made, node, proto, read, refused
from tests.resnet_spec_torch.graphs import Builder, random_arrays

NUMBERS = {
    "three": 3.0,
    "six": 6.0,
    "zero": 0.0,
    "half": 0.5,
    "one": 1.0,
    "root": sqrt(2),
    "inverse": sqrt(0.5),
    "sixth": 1 / 6,
    "coefficient": 0.044715,
    "factor": sqrt(2 / pi),
}

GELU = {"op": "gelu", "approximate": False}
GELU_TANH = {"op": "gelu", "approximate": True}
ERF = [node("Div", "c root", "1"), node("Erf", "1", "2"), node("Add", "2 one", "3")]
TANH = [
    node("Mul", "c c", "1"),
    node("Mul", "c 1", "2"),
    node("Mul", "coefficient 2", "3"),
    node("Add", "3 c", "4"),
    node("Mul", "4 factor", "5"),
    node("Tanh", "5", "6"),
    node("Add", "6 one", "7"),
]
RAISED = [node("Add", "c three", "1"), node("Clip", "1 zero six", "2")]
WRITTEN: dict[str, tuple[dict[str, Any], list[NodeProto]]] = {
    "silu": ({"op": "silu"}, [node("Sigmoid", "c", "1"), node("Mul", "1 c", "y")]),
    "gelu, halved last": (GELU, [*ERF, node("Mul", "c 3", "4"), node("Mul", "4 half", "y")]),
    "gelu, input halved": (GELU, [*ERF, node("Mul", "c half", "4"), node("Mul", "4 3", "y")]),
    "gelu, function halved": (GELU, [*ERF, node("Mul", "3 half", "4"), node("Mul", "c 4", "y")]),
    "gelu, multiplied by the root": (GELU, [node("Mul", "c inverse", "1"), *ERF[1:], *(
        node("Mul", "c 3", "4"), node("Mul", "half 4", "y"))]),
    "gelu by tanh, halved last": (GELU_TANH, [*TANH, node("Mul", "7 c", "8"), node("Mul", "half 8", "y")]),
    "gelu by tanh, input halved": (GELU_TANH, [*TANH, node("Mul", "c half", "8"), node("Mul", "8 7", "y")]),
    "mish": ({"op": "mish"}, [node("Softplus", "c", "1"), node("Tanh", "1", "2"), node("Mul", "c 2", "y")]),
    "hard sigmoid, divided": ({"op": "hard_sigmoid"}, [*RAISED, node("Div", "2 six", "y")]),
    "hard sigmoid, multiplied": ({"op": "hard_sigmoid"}, [*RAISED, node("Mul", "2 sixth", "y")]),
    "hard swish, divided last": ({"op": "hard_swish"}, [*RAISED, node("Mul", "c 2", "3"), node("Div", "3 six", "y")]),
    "hard swish, divided first": ({"op": "hard_swish"}, [*RAISED, node("Div", "2 six", "3"), node("Mul", "3 c", "y")]),
    "hard swish, a node": ({"op": "hard_swish"}, [node("HardSwish", "c", "y")]),
    "hard swish of a hard sigmoid": (
        {"op": "hard_swish"},
        [node("HardSigmoid", "c", "1", alpha=1 / 6, beta=0.5), node("Mul", "1 c", "y")],
    ),
}  # fmt: skip


def graph_of(op: str, **fields: Any) -> Graph:
    b = Builder(3, 16, 16).add("c", "conv2d", channels=4, kernel=3).add("act", op, **fields)
    return b.graph()


def written(nodes: list[NodeProto]) -> Any:
    constants = {name: np.array(number, "float32") for name, number in NUMBERS.items()}
    return made([node("Conv", "x kernel", "c"), *nodes], {"kernel": KERNEL, **constants})


@pytest.mark.parametrize("case", WRITTEN)
def test_an_activation_of_several_nodes_is_recognized(case: str, tmp_path: Path) -> None:
    fields, nodes = WRITTEN[case]
    assert_equal(read(written(nodes), graph_of(**fields), tmp_path), {"c.weight": KERNEL})
    other = "mish" if fields["op"] != "mish" else "silu"
    assert f"'act' ({other})" in refused(written(nodes), graph_of(other), tmp_path)


def test_a_number_that_differs_is_not_the_activation(tmp_path: Path) -> None:
    nodes = [node("Mul", "c root", "1"), *ERF[1:], node("Mul", "c 3", "4"), node("Mul", "4 half", "y")]
    assert "'act' (gelu)" in refused(written(nodes), graph_of("gelu", approximate=False), tmp_path)


@pytest.mark.parametrize("number", [1e38, -1e38, 0.0, float("nan"), float("inf")])
def test_any_number_is_compared(number: float, tmp_path: Path) -> None:
    factor = {"kernel": KERNEL, "factor": np.array(number, "float32"), "one": np.array(1, "float32")}
    nodes = [
        node("Conv", "x kernel", "c"),
        node("Sigmoid", "c", "0"),
        node("Mul", "0 factor", "1"),
        *(node("Add", "1 one", "2"), node("Sigmoid", "2", "3"), node("Mul", "0 3", "y")),
    ]
    assert "'act' (silu)" in refused(made(nodes, factor), graph_of("silu"), tmp_path)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Clip", "c kernel", "y")],
        [node("Clip", "c zero c", "y")],
        [node("Min", "c kernel", "y")],
        [node("Max", "c zero one", "y")],
        [node("PRelu", "c kernel", "y")],
    ],
)
def test_bounds_that_are_not_numbers_are_reported(nodes: list[NodeProto], tmp_path: Path) -> None:
    message = refused(written(nodes), graph_of("relu6"), tmp_path)
    assert "'y' (" in message


def test_a_value_that_something_else_reads_stays(tmp_path: Path) -> None:
    """The sigmoid is an output too."""
    b = (
        Builder(3, 16, 16)
        .add("c", "conv2d", channels=4, kernel=3)
        .add("gate", "sigmoid")
        .add("pool", "global_avg_pool")
    )
    b.add("act", "silu", "c")
    graph = b.add("y", "multiply", "act", "pool").graph()
    nodes = [
        node("Sigmoid", "c", "1"),
        node("Mul", "c 1", "2"),
        node("GlobalAveragePool", "1", "3"),
        node("Mul", "2 3", "y"),
    ]
    assert_equal(read(written(nodes), graph, tmp_path), {"c.weight": KERNEL})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_every_activation_of_our_own_files_is_read_without_names(case: Case, dtype: str, tmp_path: Path) -> None:
    b = Builder(3, 16, 16).add("c", "conv2d", channels=4, kernel=3).add("act", case.op, **case.fields)
    graph = b.add("d", "conv2d", channels=2, kernel=1).graph()
    arrays = random_arrays(graph, dtype=dtype)
    assert_equal(read(anonymous(proto(graph, arrays, dtype)), graph, tmp_path), arrays)
