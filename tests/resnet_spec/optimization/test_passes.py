"""Each pass computes the same in float64, on random graphs, and changes nothing that its conditions do not allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_spec.backend.registry import get_backend
from resnet_spec.graph import Graph
from resnet_spec.operations import ShapeError
from resnet_spec.optimization import (
    PASSES,
    Pass,
    Rewriting,
    compute_standardized_kernels,
    fold_learned_factors,
    fold_normalizations,
    fold_preceding_normalizations,
    merge_padding,
    optimize,
    remove_training_only,
    split_groups,
)
from resnet_spec.parity.report import largest_difference, root_mean_square
from resnet_spec.parity.rounding import structure_tolerance
from resnet_spec.parity.walk import walk_with_noise
from resnet_spec.weights.matching import check_weights
from tests.resnet_spec_torch.graphs import Builder, random_arrays

Step = tuple[str, dict[str, Any]]

STEPS: Mapping[str, st.SearchStrategy[dict[str, Any]]] = {
    "batch_norm": st.fixed_dictionaries({"scale": st.booleans(), "offset": st.booleans()}),
    "conv2d": st.fixed_dictionaries(
        {
            "channels": st.sampled_from([2, 4]),
            "kernel": st.integers(1, 3),
            "stride": st.integers(1, 2),
            "padding": st.sampled_from([0, 0, 1, [[0, 1], [1, 0]], "same"]),
            "groups": st.sampled_from([1, 2]),
            "bias": st.booleans(),
        }
    ),
    "std_conv2d": st.fixed_dictionaries(
        {"channels": st.just(4), "kernel": st.integers(1, 3), "epsilon": st.just(1e-5), "gain": st.booleans()}
    ),
    "conv_transpose2d": st.fixed_dictionaries(
        {"channels": st.just(4), "kernel": st.integers(1, 3), "stride": st.integers(1, 2), "bias": st.booleans()}
    ),
    "pad2d": st.fixed_dictionaries(
        {"padding": st.sampled_from([1, [[0, 1], [1, 0]]]), "value": st.sampled_from([0.0, 0.0, 0.5])}
    ),
    "scale": st.fixed_dictionaries({"shape": st.sampled_from(["scalar", "channels", "map"])}),
    "offset": st.fixed_dictionaries({"shape": st.sampled_from(["scalar", "channels"])}),
    "multiply": st.fixed_dictionaries({"factor": st.just(0.5)}),
    "dropout": st.just({"rate": 0.5}),
    "stochastic_depth": st.just({"rate": 0.5}),
    "relu": st.just({}),
    "max_pool2d": st.fixed_dictionaries(
        {"kernel": st.integers(2, 3), "stride": st.integers(1, 2), "ceil_mode": st.booleans()}
    ),
    "avg_pool2d": st.fixed_dictionaries(
        {"kernel": st.integers(2, 3), "padding": st.integers(0, 1), "count_include_pad": st.booleans()}
    ),
    "global_avg_pool": st.just({}),
    "flatten": st.just({}),
    "linear": st.fixed_dictionaries({"features": st.just(3), "bias": st.booleans()}),
    "add": st.just({}),
}  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Chains of a few layers in which additions read values again, with one or two outputs."""
    builder = Builder(4, 6, 5)
    for index in range(draw(st.integers(2, 9))):
        op = draw(st.sampled_from(sorted(STEPS)))
        fields = draw(STEPS[op])
        inputs: tuple[str, ...] = ()
        if op == "add":
            last = builder.nodes[-1]["name"] if builder.nodes else "input"
            alike = [name for name, shape in builder.shapes.items() if shape == builder.shapes[last]]
            inputs = last, draw(st.sampled_from(alike))
        try:
            builder.add(f"x{index}", op, *inputs, **fields)
        except (ShapeError, ValueError, TypeError):
            # Does not fit the value before it.
            continue
    if not builder.nodes:
        builder.add("x", "relu")
    names = [node["name"] for node in builder.nodes]
    return builder.graph(*dict.fromkeys([draw(st.sampled_from(names)), names[-1]]))


class Case:
    """A graph with arrays, and its outputs in float64."""

    backend = get_backend("torch")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.arrays = random_arrays(graph, dtype="float64")
        self.images = np.random.default_rng(0).standard_normal((2, *graph.input.shape))
        self.outputs, self.model = self.computed(graph, self.arrays)

    def computed(self, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> tuple[list[NDArray[Any]], Any]:
        model = self.backend.compile(graph, dtype="float64")
        self.backend.load(model, graph, check_weights(graph, arrays, "the rewritten"))
        return self.backend.forward(model, self.images), model

    def differs(self, rewriting: Rewriting) -> bool:
        """Whether an output differs by more than rounding explains."""
        found, _ = self.computed(rewriting.graph, rewriting.arrays(self.arrays))
        noise = walk_with_noise(self.backend, self.model, self.graph, self.images, np.random.default_rng(1))
        error = largest_difference(noise, self.outputs[-1])
        return any(
            result.shape != wanted.shape
            or largest_difference(result, wanted) > structure_tolerance(root_mean_square(wanted), error)
            for result, wanted in zip(found, self.outputs, strict=True)
        )


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(graph=graphs())
def test_an_optimized_random_graph_computes_the_same(graph: Graph) -> None:
    case, rewriting = Case(graph), optimize(graph)
    assert not case.differs(rewriting)
    optimized = rewriting.graph
    assert optimized.result_names == graph.result_names
    assert [optimized.by_name[name].shape for name in optimized.outputs] == [
        graph.by_name[name].shape for name in graph.outputs
    ]
    for rewrite in PASSES:
        assert rewrite(optimized).graph == optimized, rewrite.__name__
    assert set(rewriting.values.values()) <= set(graph.by_name)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(graph=graphs())
def test_every_node_that_has_the_value_of_another_computes_it(graph: Graph) -> None:
    rewriting = optimize(graph)
    names = [name for name in rewriting.values if rewriting.values[name] != rewriting.graph.outputs[-1]]
    before = Case(graph.with_outputs([rewriting.values[name] for name in names] + [graph.outputs[-1]]))
    arrays = rewriting.arrays(random_arrays(graph, dtype="float64"))
    after = rewriting.graph.with_outputs([*names, rewriting.graph.outputs[-1]])
    found, _ = before.computed(after, {p.name: arrays[p.name] for p in after.parameters()})
    for name, result, wanted in zip(names, found, before.outputs, strict=False):
        np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9, err_msg=name)


def changed(rewrite: Pass, builder: Builder, *outputs: str) -> list[str]:
    """The nodes that a pass removes, of a graph that computes the same afterwards."""
    graph = builder.graph(*outputs)
    rewriting = rewrite(graph)
    assert not Case(graph).differs(rewriting)
    assert rewrite(rewriting.graph).graph == rewriting.graph
    return sorted(set(graph.by_name) - set(rewriting.graph.by_name))


def conv(builder: Builder, name: str = "conv", **fields: Any) -> Builder:
    given: dict[str, Any] = {"channels": 4, "kernel": 3} | fields
    return builder.add(name, "conv2d", **given)


# -- each pass, and each of its conditions -------------------------------------------------------------------------


def test_what_acts_in_training_only_is_removed() -> None:
    builder = Builder().add("drop", "dropout", rate=0.5).add("relu", "relu").add("depth", "stochastic_depth", rate=0.5)
    assert changed(remove_training_only, builder.add("end", "relu")) == ["depth", "drop"]


def test_a_dropout_whose_value_is_an_output_stays() -> None:
    builder = (
        Builder().add("relu", "relu").add("drop", "dropout", rate=0.5).add("again", "dropout", calls="drop", rate=0.5)
    )
    assert changed(remove_training_only, builder, "drop", "again") == []  # fmt: skip


@pytest.mark.parametrize("gain", [True, False])
def test_standardized_kernels_are_computed(gain: bool) -> None:
    builder = Builder(4, 6, 6).add("conv", "std_conv2d", channels=8, kernel=3, groups=2, epsilon=1e-3, gain=gain)
    builder.add("conv2", "std_conv2d", channels=8, kernel=1, epsilon=1e-3, bias=True)
    graph = builder.add("again", "std_conv2d", channels=8, kernel=1, epsilon=1e-3, bias=True, calls="conv2").graph()
    rewriting = compute_standardized_kernels(graph)
    assert {node.operation.op for node in rewriting.graph.nodes} == {"conv2d"}
    assert not Case(graph).differs(rewriting)


FOLDED: dict[str, Callable[[Builder], Builder]] = {
    "conv": lambda b: conv(b).add("bn", "batch_norm"),
    "groups": lambda b: conv(b, groups=2, bias=True).add("bn", "batch_norm", scale=False),
    "transposed": lambda b: b.add(
        "conv", "conv_transpose2d", channels=3, kernel=1, stride=2, padding="same"
    ).add("bn", "batch_norm"),
    "vector": lambda b: b.add("flat", "flatten").add("fc", "linear", features=3).add("bn", "batch_norm", offset=False),
    "twice": lambda b: conv(b).add("bn0", "batch_norm").add("bn", "batch_norm"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("last", [True, False])
def test_a_normalization_is_folded_into_the_layer_before_it(name: str, last: bool) -> None:
    builder = FOLDED[name](Builder(4, 6, 6))
    if not last:
        builder.add("end", "relu")
    graph = builder.graph()
    rewriting = fold_normalizations(graph)
    assert not Case(graph).differs(rewriting)
    assert not [node.name for node in rewriting.graph.nodes if node.operation.op == "batch_norm"]
    # An output keeps its name, and the layer before it gets that.
    assert rewriting.graph.outputs == graph.outputs


KEPT_AFTER: dict[str, Callable[[], tuple[Builder, tuple[str, ...]]]] = {
    "the convolution is an output": lambda: (conv(Builder()).add("bn", "batch_norm"), ("conv", "bn")),
    "it is read twice": lambda: (conv(Builder()).add("bn", "batch_norm").add("sum", "add", "conv", "bn"), ()),
    "it is called twice": lambda: (
        conv(conv(Builder(4, 6, 6), padding=1), "again", padding=1, calls="conv").add("bn", "batch_norm"),
        (),
    ),
    "the normalization is called twice": lambda: (
        conv(Builder()).add("bn", "batch_norm").add("again", "batch_norm", calls="bn"),
        (),
    ),
    "its channels are not the kernel's outputs": lambda: (
        Builder(4, 6, 4).add("rows", "linear", features=4).add("bn", "batch_norm"),
        (),
    ),
}


@pytest.mark.parametrize("reason", KEPT_AFTER)
def test_a_normalization_after_a_layer_stays_if(reason: str) -> None:
    builder, outputs = KEPT_AFTER[reason]()
    assert changed(fold_normalizations, builder, *outputs) == []


def test_factors_and_terms_are_folded_into_the_layer_before() -> None:
    builder = conv(Builder(), bias=True).add("factor", "scale", shape="channels").add("term", "offset", shape="scalar")
    builder.add("constant", "multiply", factor=0.25).add("map", "scale", shape="map").add("end", "relu")
    assert changed(fold_learned_factors, builder) == ["constant", "factor", "term"]


def test_a_factor_is_folded_into_a_padded_convolution_after_it_and_a_term_is_not() -> None:
    builder = Builder(4, 6, 6).add("factor", "scale", shape="channels")
    assert changed(fold_learned_factors, conv(builder, padding=1, groups=2)) == ["factor"]
    builder = Builder(4, 6, 6).add("term", "offset", shape="channels")
    assert changed(fold_learned_factors, conv(builder, padding=1)) == []


@pytest.mark.parametrize("groups", [1, 2])
def test_a_normalization_is_folded_into_all_layers_after_it(groups: int) -> None:
    builder = Builder(4, 6, 6).add("bn", "batch_norm")
    builder.add("conv", "conv2d", "bn", channels=4, kernel=3, groups=groups, bias=True)
    builder.add("other", "conv2d", "bn", channels=4, kernel=3).add("sum", "add", "conv", "other")
    assert changed(fold_preceding_normalizations, builder) == ["bn"]


@pytest.mark.parametrize("pooled", [True, False])
def test_a_normalization_is_folded_into_a_linear_layer_behind_a_flattening(pooled: bool) -> None:
    builder = Builder(4, 3, 3).add("bn", "batch_norm")
    if pooled:
        builder.add("pool", "global_avg_pool")
    builder.add("flat", "flatten").add("fc", "linear", features=3)
    assert changed(fold_preceding_normalizations, builder) == ["bn"]


KEPT_BEFORE: dict[str, Callable[[], tuple[Builder, tuple[str, ...]]]] = {
    "the convolution is padded": lambda: (conv(Builder().add("bn", "batch_norm"), padding=1), ()),
    "its padding depends on the size": lambda: (conv(Builder().add("bn", "batch_norm"), stride=2, padding="same"), ()),
    "something else reads it": lambda: (
        conv(Builder(4, 6, 6).add("bn", "batch_norm"), kernel=1).add("sum", "add", "conv", "bn"),
        (),
    ),
    "it is an output": lambda: (conv(Builder().add("bn", "batch_norm")), ("bn", "conv")),
    "the flattened value is an output": lambda: (
        Builder(4, 3, 3).add("bn", "batch_norm").add("flat", "flatten").add("fc", "linear", features=3),
        ("flat", "fc"),
    ),
    "the layer after it is called twice": lambda: (
        conv(conv(Builder(4, 6, 6).add("bn", "batch_norm"), kernel=1), "again", kernel=1, calls="conv"),
        (),
    ),
}


@pytest.mark.parametrize("reason", KEPT_BEFORE)
def test_a_normalization_before_a_layer_stays_if(reason: str) -> None:
    builder, outputs = KEPT_BEFORE[reason]()
    assert changed(fold_preceding_normalizations, builder, *outputs) == []


def pad(builder: Builder, **fields: Any) -> Builder:
    given: dict[str, Any] = {"padding": [[0, 1], [1, 1]]} | fields
    return builder.add("pad", "pad2d", **given)


MERGED: dict[str, Callable[[], Builder]] = {
    "convolution": lambda: conv(pad(Builder()), padding=1, stride=2),
    "standardized": lambda: pad(Builder()).add("conv", "std_conv2d", channels=4, kernel=3, epsilon=1e-5),
    "max pool after ReLU": lambda: pad(Builder().add("relu", "relu")).add("pool", "max_pool2d", kernel=3, stride=2),
    "average pool": lambda: pad(Builder()).add("pool", "avg_pool2d", kernel=3, stride=1),
}


@pytest.mark.parametrize("name", MERGED)
def test_padding_is_merged_into_the_layer_after_it(name: str) -> None:
    assert changed(merge_padding, MERGED[name]()) == ["pad"]


def test_paddings_in_a_row_are_merged() -> None:
    assert changed(merge_padding, conv(pad(Builder().add("first", "pad2d", padding=1)))) == ["first", "pad"]


UNMERGED: dict[str, Callable[[], tuple[Builder, tuple[str, ...]]]] = {
    "it adds other numbers": lambda: (conv(pad(Builder(), value=1.0)), ()),
    "it reflects": lambda: (conv(pad(Builder(), mode="reflect")), ()),
    "the layer's own depends on the size": lambda: (conv(pad(Builder()), padding="same", stride=2), ()),
    "values may be below zero": lambda: (pad(Builder()).add("pool", "max_pool2d", kernel=3), ()),
    "it is more than half the kernel": lambda: (
        pad(Builder().add("relu", "relu"), padding=2).add("pool", "max_pool2d", kernel=3),
        (),
    ),
    "the pool rounds up": lambda: (
        pad(Builder().add("relu", "relu")).add("pool", "max_pool2d", kernel=3, stride=2, ceil_mode=True),
        (),
    ),
    "the pool's own does not count": lambda: (
        pad(Builder()).add("pool", "avg_pool2d", kernel=4, padding=1, count_include_pad=False),
        (),
    ),
    "it is an output": lambda: (conv(pad(Builder())), ("pad", "conv")),
    "the layer is called twice": lambda: (
        conv(conv(pad(Builder(3, 6, 6)), channels=3), "again", channels=3, calls="conv"),
        (),
    ),
    "two layers read it": lambda: (
        conv(pad(Builder())).add("other", "conv2d", "pad", channels=4, kernel=3).add("sum", "add", "conv", "other"),
        (),
    ),
}


@pytest.mark.parametrize("reason", UNMERGED)
def test_padding_stays_if(reason: str) -> None:
    builder, outputs = UNMERGED[reason]()
    assert changed(merge_padding, builder, *outputs) == []


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_groups_are_split_into_convolutions_of_one_group(parts: int, bias: bool) -> None:
    builder = conv(Builder(8, 6, 6), channels=16, groups=4, stride=2, padding=1, bias=bias)
    graph = builder.add("relu", "relu").graph(declaration=["relu", "conv"])
    rewriting = split_groups(graph, {"conv": parts})
    assert not Case(graph).differs(rewriting)
    assert [n.operation.groups for n in rewriting.graph.nodes if n.operation.op == "conv2d"] == [1] * parts  # pyright: ignore
    assert rewriting.values == {"conv": "conv", "relu": "relu"}


def test_arrays_are_computed_in_float64_and_rounded_once() -> None:
    graph = conv(Builder()).add("bn", "batch_norm").add("bn2", "batch_norm").graph()
    rewriting, arrays = fold_normalizations(graph), random_arrays(graph)
    exact = rewriting.arrays({name: array.astype(np.float64) for name, array in arrays.items()})
    for name, array in rewriting.arrays(arrays, "float32").items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, exact[name].astype(np.float32))
