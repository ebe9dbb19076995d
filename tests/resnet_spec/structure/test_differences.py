"""All structural differences of two networks, each as if the ones before were not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_spec import Graph
from resnet_spec.structure.comparison import compare, structural_differences
from resnet_spec.structure.forms import form_of_graph
from resnet_spec.structure.matching import AmbiguityError
from tests.resnet_spec_torch.graphs import Builder, random_arrays

Change = Callable[[Builder], Builder]


def network(first: Change, second: Change, width: int = 4) -> Graph:
    """A chain with two places that change."""
    builder = Builder(3, 8, 8).add("conv1", "conv2d", channels=width, kernel=3, padding=1, bias=False)
    builder = first(builder.add("bn1", "batch_norm", epsilon=1e-5))
    builder = second(builder.add("conv2", "conv2d", channels=width, kernel=3, padding=1, bias=False))
    return builder.add("pool", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=5).graph()


def relu(name: str) -> Change:
    return lambda builder: builder.add(name, "relu")


def norm(epsilon: float) -> Change:
    return lambda builder: builder.add("bn2", "batch_norm", epsilon=epsilon)


def nothing(builder: Builder) -> Builder:
    return builder


SPEC = network(relu("relu1"), norm(1e-5))


def found(other: Graph) -> list[tuple[str, str]]:
    form = form_of_graph(other, random_arrays(other))
    return [(error.node, error.counterpart) for error in structural_differences(SPEC, form, {}, "the model")]


@pytest.mark.parametrize(
    ("other", "places"),
    [
        (SPEC, []),
        (network(relu("relu1"), norm(1e-3)), [("bn2", "bn2")]),
        # Another activation, and another epsilon after it.
        (network(lambda b: b.add("act", "leaky_relu", slope=0.1), norm(1e-3)), [("relu1", "act"), ("bn2", "bn2")]),
        # A layer that is missing, and one that is there in addition.
        (network(nothing, norm(1e-3)), [("relu1", "conv2"), ("bn2", "bn2")]),
        (
            network(lambda b: b.add("relu1", "relu").add("tanh", "tanh"), norm(1e-3)),
            [("conv2", "tanh"), ("bn2", "bn2")],
        ),
        # What follows a map of another size is different throughout.
        (network(lambda b: b.add("pool1", "max_pool2d", kernel=2), norm(1e-3)), [("relu1", "pool1")]),
    ],
)
def test_every_difference_is_listed_by_both_names(other: Graph, places: list[tuple[str, str]]) -> None:
    assert found(other) == places


def test_the_first_is_the_one_that_comparing_raises() -> None:
    other = network(relu("relu1"), norm(1e-3))
    form = form_of_graph(other, random_arrays(other))
    assert str(structural_differences(SPEC, form, {}, "the model")[0]) == (
        "'bn2' (batch_norm) in the spec and 'bn2' (batch_norm) in the model differ in epsilon: 1e-05 and 0.001"
    )


def test_folded_normalizations_are_one_difference() -> None:
    folded = (
        Builder(3, 8, 8)
        .add("conv1", "conv2d", channels=4, kernel=3, padding=1, bias=True)
        .add("relu1", "relu")
        .add("conv2", "conv2d", channels=4, kernel=3, padding=1, bias=True)
        .add("pool", "global_avg_pool")
        .add("flatten", "flatten")
        .add("fc", "linear", features=5)
        .graph()
    )
    form = form_of_graph(folded, random_arrays(folded))
    (error,) = structural_differences(SPEC, form, {}, "the model")
    assert "its batch normalizations are folded" in str(error)


def test_nodes_are_paired_by_what_they_compute() -> None:
    other = network(lambda b: b.add("act", "relu"), lambda b: b.add("norm", "batch_norm", epsilon=1e-5))
    pairs = compare(SPEC, form_of_graph(other, random_arrays(other)), {}, "the model").pairs
    assert (pairs["relu1"], pairs["bn2"], pairs["conv1"], pairs["fc"]) == (("act",), ("norm",), ("conv1",), ("fc",))
    # What only changes a shape has the value of what it reads.
    assert pairs["flatten"] == pairs["pool"] == ("pool", "flatten")


def test_alike_layers_with_other_weights_are_ambiguous_rather_than_different() -> None:
    def branches() -> Graph:
        builder = Builder(3, 8, 8)
        builder = builder.add("a", "conv2d", "input", channels=4, kernel=3, bias=False)
        builder = builder.add("b", "conv2d", "input", channels=4, kernel=3, bias=False)
        return builder.add("sum", "add", "a", "b").graph()

    with pytest.raises(AmbiguityError, match=r"'a' .* can be 'a' .* or 'b' .*, whose weights differ"):
        compare(branches(), form_of_graph(branches(), random_arrays(branches())), {}, "the model")


def test_inputs_in_another_order_are_named() -> None:
    def joined(*order: str) -> Graph:
        builder = Builder(3, 8, 8).add("a", "relu", "input").add("b", "tanh", "input")
        return builder.add("join", "concat", *order).graph()

    other = form_of_graph(joined("b", "a"))
    (error,) = structural_differences(joined("a", "b"), other, {}, "the model")
    assert "'join' (concat) takes 'a' (relu) and 'b' (tanh) in this order in the spec" in str(error)
    assert (error.node, error.counterpart) == ("join", "join")
