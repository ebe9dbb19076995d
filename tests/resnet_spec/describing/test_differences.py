"""Networks are compared by how their layers are connected: names and order do not count, and every change does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resnet_spec import Graph, available, load
from resnet_spec.describing import compare
from resnet_spec.describing.alignment import align
from resnet_spec.errors import GraphError
from resnet_spec.graph import INPUT, Node
from resnet_spec.importing.architecture import COMMUTATIVE
from tests.shipped import SAMPLE, slow_unless

Lower = Callable[..., Graph]
Shipped = Callable[[str], Graph]

FAST = {*SAMPLE, "timm/skresnet18", "timm/resnest14d", "timm/gcresnext26ts", "cifar/wrn_16_8", "faces/iresnet18"}
"""Networks with branches that are alike, too."""

TWICE = """
    input: {channels: 3, height: 16, width: 16}
    stem:
      a: {conv2d: {channels: 4, kernel: 3, padding: 1}}
      b: {conv2d: {channels: 4, kernel: 3, padding: 1}, from: input}
      c: {relu: {}, from: a}
      d: {relu: {}, from: b}
      e: {add: {}, from: [%s, d]}
      f: {multiply: {}, from: [e, %s]}
"""
"""Two branches of the same layers, joined twice."""


def shuffled(graph: Graph, seed: int) -> Graph:
    """The same network: other names, another order of execution, and the terms of sums exchanged."""
    chance = random.Random(seed)
    names = {node.name: f"n{number}" for number, node in enumerate(chance.sample(graph.nodes, len(graph.nodes)))}
    done, order, left = {INPUT}, [], list(graph.nodes)
    while left:
        node = chance.choice([n for n in left if {*n.inputs} <= done and (n.calls is None or n.calls in done)])
        left.remove(node)
        done.add(node.name)
        inputs = [names.get(name, name) for name in node.inputs]
        if node.operation.op in COMMUTATIVE and chance.random() < 0.5:
            inputs.reverse()
        calls = names[node.calls] if node.calls else None
        order.append(node.model_copy(update={"name": names[node.name], "inputs": tuple(inputs), "calls": calls}))
    return Graph(name="other", input=graph.input, nodes=tuple(order), outputs=tuple(names[n] for n in graph.outputs))


@pytest.mark.parametrize("name", slow_unless(FAST, [n for n in available() if "1202" not in n and "1001" not in n]))
def test_names_and_order_do_not_count(shipped: Shipped, name: str) -> None:
    graph = shipped(name)
    other = shuffled(graph, seed=len(name))
    comparison = compare(graph, other)

    assert comparison.same
    assert comparison.lines() == []
    partner = comparison.alignment.partner
    assert all(partner[name] == other_name for name, other_name in zip(graph.outputs, other.outputs, strict=True))
    assert {graph.by_name[a].operation == other.by_name[b].operation for a, b in partner.items() if a != INPUT} == {
        True
    }


@pytest.mark.parametrize("name", sorted(FAST))
def test_every_field_counts_and_is_said_in_one_sentence(shipped: Shipped, name: str) -> None:
    graph = shipped(name)
    for node, field, value in _mutations(graph):
        try:
            other = _with(graph, node, node.operation.model_copy(update={field: value}))
        except GraphError:
            # Rounding sizes up changes the shape.
            continue
        comparison = compare(graph, other)

        assert not comparison.same, (node.name, field)
        assert len(comparison.differences) == 1, (node.name, field, comparison.differences)
        assert comparison.alignment.cost == 1


def _mutations(graph: Graph) -> Iterator[tuple[Node, str, Any]]:
    """One node of each operation with each of its numbers and switches changed, as far as shapes stay."""
    seen: set[str] = set()
    for node in graph.nodes:
        if node.operation.op in seen:
            continue
        seen.add(node.operation.op)
        for field, value in node.operation.model_dump(exclude={"op"}).items():
            if isinstance(value, bool):
                yield node, field, not value
            elif isinstance(value, float):
                yield node, field, value * 0.5 or 0.25


def _with(graph: Graph, node: Node, operation: Any) -> Graph:
    return graph.with_nodes(
        own.model_copy(update={"operation": operation}) if own.name == node.name else own for own in graph.nodes
    )


@pytest.mark.parametrize("name", ["torchvision/resnet18", "keras/resnet50v2", "timm/seresnext26d_32x4d"])
def test_a_layer_that_is_left_out_is_the_only_difference(shipped: Shipped, name: str) -> None:
    graph = shipped(name)
    for op in ("relu", "batch_norm", "max_pool2d"):
        left_out = next(
            (n for n in graph.nodes[3:] if n.operation.op == op and graph.input_shapes(n)[0] == n.shape), None
        )
        if left_out is None:
            continue
        nodes = [
            n.model_copy(update={"inputs": tuple(left_out.inputs[0] if i == left_out.name else i for i in n.inputs)})
            for n in graph.nodes
            if n is not left_out
        ]
        other = Graph(name="other", input=graph.input, nodes=tuple(nodes), outputs=graph.outputs)
        comparison = compare(graph, other)

        assert not comparison.same
        alone = [pair for pair in comparison.alignment.pairs if pair.first is None or pair.second is None]
        assert [pair.first and pair.first.operation for pair in alone] == [left_out.operation]
        assert comparison.alignment.cost == 1
        assert any(text.startswith("no ") for _, text in comparison.differences)


def test_values_that_are_read_elsewhere_count(lower: Lower) -> None:
    graph = lower(TWICE % ("c", "c"))
    other = lower(TWICE % ("c", "d"))
    assert compare(graph, other).same, "the branches are alike, and c and d may be exchanged"

    both = lower(TWICE % ("d", "c"))
    assert not compare(graph, both).same
    assert not compare(both, graph).same


def test_a_layer_that_is_used_again_counts(shipped: Shipped) -> None:
    graph = shipped("torchvision/resnet18")
    again = graph.with_nodes(
        node.model_copy(update={"calls": "layer1.0.bn1"}) if node.name == "layer1.0.bn2" else node
        for node in graph.nodes
    )
    comparison = compare(graph, again)

    assert not comparison.same
    assert not compare(again, graph).same
    assert [*map(tuple, comparison.differences)] == [
        (
            "stage 1, first block",
            "the second batch norm has the parameters of the first batch norm instead of parameters of its own",
        )
    ]
    assert compare(again, again).same


def test_outputs_count(shipped: Shipped) -> None:
    graph = shipped("torchvision/resnet18")
    features = graph.with_outputs(["layer3.1.relu2", "layer4.1.relu2"])
    comparison = compare(graph, features)

    assert ("outputs", "layer3.1.relu2 and layer4.1.relu2 instead of fc") in comparison.differences
    assert not compare(features, graph.with_outputs(["layer4.1.relu2", "layer3.1.relu2"])).same


def test_the_inputs_size_counts(shipped: Shipped) -> None:
    graph = shipped("torchvision/resnet18")

    assert not compare(graph, graph.at_size(64, 96)).same
    assert compare(graph, graph.at_size(64, 96)).differences == (("input", "3×64×96 instead of 3×224×224"),)


def test_what_only_training_depends_on_may_be_left_out(lower: Lower) -> None:
    text = """
        input: {channels: 3, height: 16, width: 16}
        stem:
          conv: {conv2d: {channels: 4, kernel: 3}}
          bn: {batch_norm: {epsilon: 1e-5, momentum: %s, running_variance: unbiased}}
          %s
          relu: relu
    """
    plain, other = lower(text % ("0.1", "")), lower(text % ("0.2", "drop: {dropout: {rate: 0.3}}"))

    assert compare(plain, other).differences == (("training", "batch norm: momentum 0.2 instead of 0.1; with dropout"),)
    assert not compare(plain, other).same
    assert compare(plain, other, training=False).same


def test_a_layer_that_reads_another_value_is_named(shipped: Shipped) -> None:
    graph = shipped("torchvision/resnet18")
    rewired = graph.with_nodes(
        node.model_copy(update={"inputs": ("layer1.1.bn2", "maxpool")}) if node.name == "layer1.1.add" else node
        for node in graph.nodes
    )
    comparison = compare(graph, rewired)

    assert not comparison.same
    assert comparison.alignment.rewired == {"layer1.1.add"}
    assert [part for part, _ in comparison.differences] == ["stage 1, last block"]
    assert "addition reads" in comparison.differences[0].text


def test_same_padding_is_equal_where_it_does_not_depend_on_the_size(lower: Lower) -> None:
    text = "input: {channels: 3, height: 16, width: 16}\nstem: {a: {conv2d: {channels: 4, kernel: %s, padding: %s}}}"
    same, explicit = (lower(text % pair) for pair in (("3", "same"), ("3", "1")))
    assert compare(same, explicit).same

    strided = "input: {channels: 3, height: 16, width: 16}\n"
    strided += "stem: {a: {conv2d: {channels: 4, kernel: 3, stride: 2, padding: %s}}}"
    same, explicit = (lower(strided % padding) for padding in ("same", "1"))
    assert compare(same, explicit).differences == (("stem", "padding 1 instead of 'same' in the 3×3 convolution"),)


def test_blocks_are_aligned_within_stages(shipped: Shipped) -> None:
    alignment = align(shipped("torchvision/resnet101"), load("torchvision/resnet50").to_graph())

    assert [len(blocks) for blocks in alignment.blocks] == [3, 4, 23, 3]
    assert [sum(other is None for _, other in blocks) for blocks in alignment.blocks] == [0, 0, 17, 0]
    assert alignment.partner["layer4.0.conv2"] == "layer4.0.conv2"


def test_folded_batch_norms_are_one_sentence() -> None:
    graph, folded = (load("resnet18", own).to_graph() for own in ([], ["folded=true"]))

    assert compare(graph, folded).differences == (("norm", "batch norms folded into the convolutions"),)
    assert compare(folded, graph).differences == (("norm", "batch norms in layers of their own, not folded"),)
