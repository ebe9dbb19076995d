"""Is every way to be wrong that is tried another computation, and is it recognized when a backend makes it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from resnet_spec import Graph
from resnet_spec import operations as ops
from resnet_spec.graph import INPUT, Input, Node
from resnet_spec.parity import diagnosis, hypotheses
from resnet_spec.parity.diagnosis import Explainer
from resnet_spec.parity.exchange import Scratch
from resnet_spec.parity.hypotheses import Trial
from resnet_spec.parity.process import started
from resnet_spec.parity.report import Difference, largest_difference, root_mean_square
from resnet_spec.parity.rounding import RELATIVE_TOLERANCE

# One of each kind, with every field that a trial looks at.
OPERATIONS: dict[str, tuple[dict[str, Any], int]] = {
    "conv2d": ({"channels": 8, "kernel": 3, "stride": 2, "padding": 1, "groups": 2, "bias": True}, 1),
    "conv2d dilated": ({"channels": 8, "kernel": 3, "dilation": 2, "padding": "same"}, 1),
    "std_conv2d": ({"channels": 8, "kernel": 3, "stride": 2, "padding": "same", "epsilon": 1e-3}, 1),
    "conv_transpose2d": ({"channels": 8, "kernel": 4, "stride": 2, "padding": [[2, 1], [2, 1]], "bias": True}, 1),
    "conv1d": ({"channels": 5, "kernel": 3, "padding": 1, "bias": True}, 1),
    "conv1d strided": ({"channels": 6, "kernel": 3, "stride": 2, "dilation": 2, "padding": "same", "groups": 2}, 1),
    "conv3d": ({"channels": 4, "kernel": 3, "stride": [1, 2, 2], "padding": 1, "groups": 2, "bias": True}, 1),
    "conv_transpose1d": ({"channels": 4, "kernel": 4, "stride": 2, "padding": [[2, 1]]}, 1),
    "conv_transpose3d": ({"channels": 4, "kernel": 3, "stride": 2, "padding": [[1, 0], [1, 0], [1, 0]]}, 1),
    "max_pool1d": ({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, 1),
    "max_pool3d": ({"kernel": 3, "stride": 2, "padding": 1}, 1),
    "avg_pool1d": ({"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": False}, 1),
    "avg_pool3d": ({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": True}, 1),
    "pad1d": ({"padding": [[1, 2]]}, 1),
    "pad3d": ({"padding": 1, "mode": "reflect"}, 1),
    "pad_channels of a volume": ({"before": 1, "after": 3}, 1),
    "global_avg_pool of a volume": ({}, 1),
    "batch_norm of a volume": ({"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}, 1),
    "flatten of a volume": ({}, 1),
    "linear": ({"features": 7}, 1),
    "batch_norm": ({"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}, 1),
    "batch_norm of a vector": ({"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}, 1),
    "position_batch_norm": ({"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}, 1),
    "group_norm": ({"groups": 2, "epsilon": 1e-5}, 1),
    "evo_norm_s0": ({"groups": 2, "epsilon": 1e-5}, 1),
    "evo_norm_s0 without its gate": ({"groups": 2, "epsilon": 1e-5, "gate": False}, 1),
    "reshape": ({"shape": [8, 4]}, 1),
    "filter_response_norm": ({"epsilon": 1e-5, "threshold": True}, 1),
    "relu": ({}, 1),
    "relu6": ({}, 1),
    "leaky_relu": ({"slope": 0.2}, 1),
    "prelu": ({"per_channel": True}, 1),
    "elu": ({}, 1),
    "silu": ({}, 1),
    "gelu": ({"approximate": False}, 1),
    "gelu approximated": ({"approximate": True}, 1),
    "mish": ({}, 1),
    "sigmoid": ({}, 1),
    "hard_sigmoid": ({}, 1),
    "hard_swish": ({}, 1),
    "tanh": ({}, 1),
    "softplus": ({}, 1),
    "dropout": ({"rate": 0.2}, 1),
    "stochastic_depth": ({"rate": 0.2}, 1),
    "max_pool2d": ({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True}, 1),
    "max_pool2d of one": ({"kernel": 1, "stride": 2}, 1),
    "avg_pool2d": ({"kernel": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, 1),
    "global_avg_pool": ({}, 1),
    "global_max_pool": ({}, 1),
    "gem_pool": ({"epsilon": 0.5}, 1),
    "l2_normalize": ({"epsilon": 20.0}, 1),
    "mean": ({"axis": 0}, 1),
    "mean of rows": ({"axis": [1]}, 1),
    "max": ({"axis": 1}, 1),
    "sum": ({"axis": [1, 2]}, 1),
    "softmax": ({"axis": 1}, 1),
    "pad2d": ({"padding": [[1, 2], [1, 2]]}, 1),
    "pad2d reflecting": ({"padding": 1, "mode": "reflect"}, 1),
    "pad_channels": ({"before": 1, "after": 3}, 1),
    "flatten": ({}, 1),
    "add": ({}, 2),
    "multiply": ({}, 2),
    "multiply by a constant": ({"factor": 0.3}, 1),
    "multiply with a factor": ({"factor": -1.7}, 2),
    "layer_norm": ({"epsilon": 1e-3}, 1),
    "instance_norm": ({"epsilon": 1e-3}, 1),
    "std_conv2d with a gain": (
        {"channels": 8, "kernel": 3, "padding": 1, "epsilon": 1e-3, "gain": True, "gamma": 1.3},
        1,
    ),
    "transpose": ({"axes": [2, 0, 1]}, 1),
    "matmul": ({"transpose_first": True, "factor": 0.5}, 2),
    "scale": ({"shape": "channels", "initial": 1e-6}, 1),
    "scale by a number": ({"shape": "scalar"}, 1),
    "offset": ({"shape": "map"}, 1),
    "parameter": ({"shape": [8, 5, 6]}, 1),
    "subtract": ({}, 2),
    "maximum": ({}, 2),
    "concat": ({}, 2),
    "resize": ({"mode": "bilinear", "coordinates": "half_pixel", "scale": 2}, 1),
    "resize nearest": ({"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up", "size": [5, 13]}, 1),
    "slice": ({"axis": 1, "start": 2, "stop": 4}, 1),
    "slice of a part": ({"part": 1, "parts": 2}, 1),
}

SHAPES = {
    "linear": (7,),
    "batch_norm of a vector": (8,),
    "reshape": (4, 8),
    "conv1d": (5, 9),
    "conv1d strided": (6, 12),
    **dict.fromkeys(("conv_transpose1d", "max_pool1d", "avg_pool1d", "pad1d"), (4, 8)),
    **{name: (4, 4, 4, 4) for name in OPERATIONS if "3d" in name or name.endswith("of a volume")},
}
"""Shapes that let every trial fit: as many channels as rows, a square kernel."""


@pytest.fixture(scope="module")
def explainer(kept_backends: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explainer]:
    with started(["torch"]) as (process,):
        yield Explainer(process, Scratch(tmp_path_factory.mktemp("trials")))


class Case:
    """One node, what it is given, and what it should make of it."""

    def __init__(self, name: str, explainer: Explainer) -> None:
        fields, arity = OPERATIONS[name]
        op = name.split()[0]
        shape = SHAPES.get(name, (8, 8, 8))
        operation = TypeAdapter(ops.Operation).validate_python({"op": op, **fields})
        generator = np.random.default_rng(0)
        given = Input.of(shape)
        before: list[Node] = []
        sources: tuple[str, ...] = (INPUT,)
        if arity == 2:
            relu = ops.Sigmoid(op="sigmoid")
            before.append(Node(name="other", operation=relu, inputs=(INPUT,), shape=shape))
            sources = (INPUT, "other")
        self.node = Node(
            name="node", operation=operation, inputs=sources, shape=operation.output_shape(*[shape] * arity)
        )
        self.graph = Graph(name=op, input=given, nodes=(*before, self.node), outputs=("node",))
        self.arrays = {
            p.name: generator.uniform(0.5, 2, p.shape) * generator.choice([-1, 1], p.shape)
            if "running_var" not in p.name
            else generator.uniform(0.5, 2, p.shape)
            for p in self.graph.parameters()
        }
        # Values on both sides of what activations look at, no two equal.
        offsets = np.linspace(-15, 10, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        self.inputs = [generator.normal(0, 5, (2, *shape)) + offsets for _ in range(arity)]
        self.shapes = self.graph.input_shapes(self.node)
        self.own = {name.removeprefix("node").removeprefix("."): array for name, array in self.arrays.items()}
        self.explainer = explainer
        same = Trial("", operation=operation)
        self.exact = self.result(same, np.zeros(()))

    def result(self, trial: Trial, exact: Any = None) -> Any:
        """What a trial makes of the node."""
        exact = self.exact if exact is None else exact
        return self.explainer._result(self.node, self.own, self.inputs, exact, trial)

    def explained(self, observed: Any) -> tuple[str, ...]:
        """What is said of a backend that made this of the node in float64."""
        largest = largest_difference(observed, self.exact)
        size = root_mean_square(self.exact)
        difference = Difference("node", "float64", "wrong", "right", largest, RELATIVE_TOLERANCE * size, size, "node")
        found, tried = self.explainer.explain(
            self.graph, self.node, self.arrays, self.inputs, self.exact, observed, difference
        )
        assert tried
        return found


def test_every_operation_is_here() -> None:
    assert {name.split()[0] for name in OPERATIONS} == ops.OPERATIONS.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_trial_is_another_computation(name: str, explainer: Explainer) -> None:
    case = Case(name, explainer)
    trials = hypotheses.trials_of(case.node.operation, case.shapes)
    results = [(trial.cause, case.result(trial)) for trial in trials]

    assert len({cause for cause, result in results if result is not None}) >= 2
    for cause, result in results:
        if result is not None and result.shape == case.exact.shape:
            assert largest_difference(result, case.exact) > 1e-12 * root_mean_square(case.exact), cause


@pytest.mark.parametrize(
    "name", ["conv2d", "batch_norm", "batch_norm of a vector", "max_pool2d", "relu", "linear", "add", "concat", "slice"]
)
def test_a_trial_is_named_where_a_backend_computes_it(name: str, explainer: Explainer) -> None:
    case = Case(name, explainer)
    for trial in hypotheses.trials_of(case.node.operation, case.shapes)[::4]:
        result = case.result(trial)
        if result is not None:
            # As another framework rounds it.
            found = case.explained(result * (1 + 1e-14))
            assert trial.cause in found
            assert len(found) <= 3, found


def test_nothing_is_named_where_nothing_explains(explainer: Explainer) -> None:
    case = Case("conv2d", explainer)
    assert case.explained(case.exact * 1.001) == ()
    assert case.explained(case.exact * float("nan")) == ()


def test_float32_in_a_float64_model_shows(explainer: Explainer) -> None:
    case = Case("linear", explainer)
    assert case.explained(case.exact.astype("float32").astype("float64")) == ("it is computed in float32",)


def test_dropped_elements_show(explainer: Explainer) -> None:
    case = Case("dropout", explainer)
    kept = np.random.default_rng(1).random(case.exact.shape) < 0.8
    assert case.explained(case.exact * kept / 0.8) == ("elements are dropped at random, as in training",)


def test_another_layer_s_parameters_are_recognized(explainer: Explainer) -> None:
    case = Case("batch_norm", explainer)
    twin = case.node.model_copy(update={"name": "twin", "inputs": ("node",)})
    case.graph = Graph(name="twins", input=case.graph.input, nodes=(case.node, twin), outputs=("twin",))
    theirs = {f"twin.{name}": abs(array[::-1]) for name, array in case.own.items()}
    case.arrays |= theirs
    for words, names in {
        "the parameters of twin": ("weight", "bias", "running_mean", "running_var"),
        "the statistics of twin": ("running_mean", "running_var"),
        "the scale of twin": ("weight",),
    }.items():
        taken = {name: theirs[f"twin.{name}"] for name in names}
        observed = case.result(Trial("", parameters=lambda own, taken=taken: own | taken))
        assert case.explained(observed) == (words,)


@pytest.mark.parametrize("cause", ["weights in bfloat16", "inputs in float16", "kernel and inputs in TF32"])
def test_a_lower_precision_is_named_in_float32(cause: str, explainer: Explainer) -> None:
    case = Case("conv2d", explainer)
    slots = case.node.operation.parameters(*case.shapes)
    (trial,) = [trial for trial in diagnosis._precisions(slots) if trial.cause == cause]
    case.inputs = [value.astype("float32").astype("float64") for value in case.inputs]
    case.exact = case.result(Trial("", operation=case.node.operation), np.zeros(()))
    observed = case.result(trial).astype("float32")
    largest, size = largest_difference(observed, case.exact), root_mean_square(case.exact)
    difference = Difference("node", "float32", "wrong", "wrong float64", largest, 1e-6 * size, size, "node")
    found, _ = explainer.explain(case.graph, case.node, case.arrays, case.inputs, case.exact, observed, difference)
    assert cause in found
    # float16 and TF32 differ only in how large a number may be, and in what becomes of one that lies halfway.
    assert {name.rpartition(" in ")[0] for name in found} == {cause.rpartition(" in ")[0]}


def test_a_rewired_graph_ends_at_the_node_and_differs() -> None:
    relu = ops.ReLU(op="relu")
    nodes = [Node(name="a", operation=relu, inputs=(INPUT,), shape=(3, 4, 4))]
    nodes.append(Node(name="b", operation=ops.Sigmoid(op="sigmoid"), inputs=("a",), shape=(3, 4, 4)))
    nodes.append(Node(name="c", operation=ops.Multiply(op="multiply"), inputs=("b", "a"), shape=(3, 4, 4)))
    nodes.append(Node(name="d", operation=relu, inputs=("c",), shape=(3, 4, 4)))
    graph = Graph(name="g", input=Input(channels=3, height=4, width=4), nodes=tuple(nodes), outputs=("d",))
    rewired = dict(diagnosis.rewirings(graph, nodes[2]))

    assert set(rewired) == {
        "its input is input instead of b",
        "its input is input instead of a",
        "its inputs are swapped",
    }
    for other in rewired.values():
        assert other.outputs == ("c",)
        assert other.by_name["c"].inputs != nodes[2].inputs
