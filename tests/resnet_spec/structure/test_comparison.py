"""Models of other libraries, compared with a graph whatever their names: differences, ambiguity, missing parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_spec.backend.source import SourceModel
from resnet_spec.graph import INPUT, Graph
from resnet_spec.optimization.folding import fold, fold_arrays
from resnet_spec.structure.comparison import compare_with_source
from resnet_spec.structure.matching import MismatchError
from tests.every_operation import arrays_for, every_operation
from tests.resnet_spec_torch.graphs import Builder, random_arrays, small_resnet


def renamed(graph: Graph, arrays: Mapping[str, NDArray[Any]] | None = None) -> SourceModel:
    """The graph as a model whose layers have numbers in another order for names."""
    names = {node.name: f"n{(7 * index) % 101}_{index}" for index, node in enumerate(graph.nodes)} | {INPUT: INPUT}
    nodes = [
        node.model_copy(
            update={
                "name": names[node.name],
                "inputs": tuple(names[name] for name in node.inputs),
                "calls": node.calls and names[node.calls],
            }
        )
        for node in graph.nodes
    ]
    other = Graph(name="other", input=graph.input, nodes=tuple(nodes), outputs=tuple(names[o] for o in graph.outputs))
    known = zip(graph.parameters(), other.parameters(), strict=True)
    own = random_arrays(graph) if arrays is None else arrays
    return SourceModel(other, {new.name: own[old.name] for old, new in known}, lambda images: [])


def found(source: SourceModel, graph: Graph) -> dict[str, Any]:
    return {name: tensor.array for name, tensor in compare_with_source(source, graph).tensors.items()}


def refused(source: SourceModel, graph: Graph) -> str:
    with pytest.raises(MismatchError) as caught:
        compare_with_source(source, graph)
    return str(caught.value)


def block(
    *,
    epsilon: float = 1e-5,
    pool: str = "max_pool2d",
    stride: int = 1,
    relu: bool = True,
    kernel: int = 1,
    join: str = "add",
) -> Graph:
    """A residual block behind a pool; what is passed is what a test changes."""
    b = Builder(3, 16, 16).add("stem", "conv2d", channels=4, kernel=3, padding=1)
    b.add("pool", pool, kernel=2, stride=2)
    b.add("conv1", "conv2d", channels=4, kernel=3, stride=stride, padding=1).add("norm1", "batch_norm", epsilon=epsilon)
    if relu:
        b.add("relu1", "relu")
    b.add("conv2", "conv2d", channels=4, kernel=3, stride=3 - stride, padding=1).add("norm2", "batch_norm")
    b.add("down", "conv2d", "pool", channels=4, kernel=kernel, stride=2)
    b.add("sum", join, "norm2", "down").add("relu2", "relu")
    return b.add("gap", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5).graph()


def test_arrays_are_found_whatever_the_names() -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    result = found(renamed(graph, arrays), graph)
    assert list(result) == list(arrays)
    assert all(result[name] is arrays[name] for name in arrays)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            block(epsilon=1e-3),
            "'norm1' (batch_norm) in the spec and 'n21_3' (batch_norm) in the model differ in epsilon: 1e-05 and 0.001",
        ),
        (
            block(stride=2),
            "'conv1' (conv2d) in the spec and 'n14_2' (conv2d) in the model differ in stride: [1, 1] and [2, 2]",
        ),
        (block(pool="avg_pool2d"), "the spec has 'pool' (max_pool2d) where the model has 'n7_1' (avg_pool2d)"),
        (block(relu=False), "the spec has 'relu1' (relu) where the model has 'n28_4' (conv2d)"),
        (
            block(kernel=2),
            "'down' (conv2d) in the spec and 'n49_7' (conv2d) in the model differ in kernel: [1, 1] and [2, 2]",
        ),
        (block(join="multiply"), "the spec has 'sum' (add) where the model has 'n56_8' (multiply)"),
    ],
    ids=["epsilon", "stride", "pool", "missing activation", "kernel", "join"],
)
def test_a_difference_is_reported_with_both_names(other: Graph, message: str) -> None:
    assert refused(renamed(other), block()) == message


def test_a_model_that_normalizes_its_input_says_so() -> None:
    def network(first: str = "", **fields: Any) -> Graph:
        b = Builder(3, 8, 8)
        if first:
            b.add("preprocess", first, **fields)
        return b.add("conv", "conv2d", channels=4, kernel=3).graph()

    for first, fields in (("scale", {"shape": "scalar"}), ("offset", {"shape": "channels"})):
        assert refused(renamed(network(first, **fields)), network()) == (
            f"the spec has 'conv' (conv2d) where the model has 'n0_0' ({first}): "
            "it normalizes its input itself, but the spec does not"
        )


def shortcuts(second: str) -> Graph:
    """Two blocks, of which the second adds ``second``."""
    b = Builder(4, 8, 8)
    for name, shortcut in (("a", "input"), ("b", second)):
        b.add(f"{name}.conv", "conv2d", channels=4, kernel=3, padding=1).add(f"{name}.norm", "batch_norm")
        b.add(f"{name}.sum", "add", f"{name}.norm", shortcut).add(f"{name}.relu", "relu")
    return b.graph()


def test_a_swapped_shortcut_is_reported_with_what_both_join() -> None:
    assert refused(renamed(shortcuts("a.sum")), shortcuts("a.relu")) == (
        "'b.sum' (add) joins 'b.norm' (batch_norm) and 'a.relu' (relu) in the spec, "
        "but 'n42_6' (add) joins 'n35_5' (batch_norm) and 'n14_2' (add) in the model"
    )


def test_folded_normalizations_are_reported_on_either_side() -> None:
    graph = small_resnet()
    folded = fold_arrays(graph, random_arrays(graph))
    assert 'overrides="folded=true"' in refused(renamed(fold(graph), folded), graph)
    assert "'resnet-spec convert --fold'" in refused(renamed(graph), fold(graph))
    assert all(found(renamed(fold(graph), folded), fold(graph))[name] is folded[name] for name in folded)


def test_a_network_that_continues_names_what_is_beyond() -> None:
    graph = block()
    nodes = tuple(node for node in graph.nodes if node.name not in ("gap", "flatten", "fc"))
    backbone = Graph(name="backbone", input=graph.input, nodes=nodes, outputs=("relu2",))
    assert compare_with_source(renamed(graph), backbone).others == {"n84_12.weight", "n84_12.bias"}


def test_layers_that_nothing_distinguishes_are_refused_unless_their_weights_are_equal_or_names_are_trusted() -> None:
    b = Builder(4, 8, 8)
    for name in ("one", "two"):
        b.add(name, "conv2d", "input", channels=4, kernel=3)
    graph = b.add("sum", "add", "one", "two").graph()
    arrays = random_arrays(graph)
    source = renamed(graph, arrays)
    assert refused(source, graph) == (
        "'one' (conv2d) can be 'n0_0' (conv2d) or 'n7_1' (conv2d), whose weights differ: "
        "neither names nor structure distinguish them"
    )
    swapped = {"n0_0.weight": "two.weight", "n7_1.weight": "one.weight"}
    tensors = compare_with_source(source, graph, swapped).tensors
    assert tensors["one.weight"].array is arrays["two.weight"]
    equal = dict.fromkeys(arrays, arrays["one.weight"])
    assert found(renamed(graph, equal), graph)["two.weight"] is arrays["one.weight"]


@pytest.mark.parametrize(
    ("op", "fields", "size"),
    [
        ("batch_norm", {}, 6),
        ("layer_norm", {"epsilon": 1e-5, "axis": 0}, 6),
        ("layer_norm", {"epsilon": 1e-5, "axis": 2}, 9),
        ("instance_norm", {"epsilon": 1e-5}, 6),
    ],
)
def test_a_normalization_without_scale_or_offset_has_neutral_ones(op: str, fields: dict[str, Any], size: int) -> None:
    def normalized(**more: Any) -> Graph:
        return Builder(4, 8, 11).add("conv", "conv2d", channels=6, kernel=3).add("norm", op, **fields, **more).graph()

    spec, bare = normalized(), normalized(scale=False, offset=False)
    comparison = compare_with_source(renamed(bare), spec)
    assert np.array_equal(comparison.tensors["norm.weight"].array, np.ones(size, "f4"))
    assert np.array_equal(comparison.tensors["norm.bias"].array, np.zeros(size, "f4"))
    assert comparison.remarks == (
        "has no offset for 1 normalizations that have one in the spec; zeros are used",
        "has no scale for 1 normalizations that have one in the spec; ones are used",
    )
    assert "in the model, but 'norm' (" in refused(renamed(spec), bare)


@pytest.mark.parametrize("op", ["matmul", "subtract", "concat"])
def test_the_order_of_inputs_counts(op: str) -> None:
    def joined(*inputs: str) -> Graph:
        b = Builder(3, 6, 6).add("a", "relu", "input").add("b", "sigmoid", "input")
        fields = {"axis": 0} if op == "concat" else {}
        return b.add("join", op, *inputs, **fields).add("conv", "conv2d", channels=2, kernel=1).graph()

    assert found(renamed(joined("a", "b")), joined("a", "b"))
    assert refused(renamed(joined("b", "a")), joined("a", "b")) == (
        f"'join' ({op}) takes 'a' (relu) and 'b' (sigmoid) in this order in the spec, "
        f"but 'n14_2' ({op}) takes them in another"
    )


def test_another_width_is_left_to_the_shapes() -> None:
    narrow = Builder(3, 8, 8).add("conv", "conv2d", channels=4, kernel=3).add("norm", "batch_norm").graph()
    wide = Builder(3, 8, 8).add("conv", "conv2d", channels=8, kernel=3).add("norm", "batch_norm").graph()
    assert found(renamed(narrow), wide)["conv.weight"].shape == (4, 3, 3, 3)


def test_the_size_is_the_models_own() -> None:
    """At an odd size nothing is padded below and to the right, at an even one there is."""

    def network(size: int, padding: Any) -> Graph:
        b = Builder(3, size, size).add("conv", "conv2d", channels=4, kernel=3, stride=2, padding=padding)
        return b.graph()

    assert found(renamed(network(9, "same")), network(16, 1))
    assert "effective padding: [[1, 0], [1, 0]] and [[0, 1], [0, 1]]" in refused(
        renamed(network(16, "same")), network(9, 1)
    )


def test_every_operation_is_matched() -> None:
    graph = every_operation()
    arrays = arrays_for(graph, "float32")
    result = found(renamed(graph, arrays), graph)
    assert result.keys() == arrays.keys()
    assert all(np.array_equal(result[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("scale", [True, False])
def test_a_normalization_of_groups_of_one_channel_is_one_of_instances(scale: bool) -> None:
    def network(op: str, groups: int | None = None, epsilon: float = 1e-3) -> Graph:
        b = Builder(3, 16, 16).add("conv", "conv2d", channels=4, kernel=3)
        fields = {} if groups is None else {"groups": groups}
        return b.add("norm", op, epsilon=epsilon, scale=scale, offset=True, **fields).add("act", "relu").graph()

    groups, instances = network("group_norm", 4), network("instance_norm")
    for graph, other in ((groups, instances), (instances, groups)):
        arrays = random_arrays(other)
        result = found(renamed(other, arrays), graph)
        assert all(result[name] is arrays[name] for name in arrays)
    assert "differ in groups: 4 and 2" in refused(renamed(network("group_norm", 2)), groups)
    assert "group_norm" in refused(renamed(instances), network("group_norm", 2))
    assert refused(renamed(network("instance_norm", epsilon=1e-5)), groups)
