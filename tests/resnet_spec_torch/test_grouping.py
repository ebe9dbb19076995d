"""A flat graph's names become groups with a ``forward``, chains, and plain containers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnet_spec.errors import GraphError
from resnet_spec.graph import Graph
from resnet_spec_torch import TorchBackend, emitting
from resnet_spec_torch.grouping import group
from resnet_spec_torch.source import forward_text
from tests.resnet_spec_torch.graphs import Builder, build, random_images, small_resnet


def forward_of(graph: Graph, name: str = "") -> str:
    """The text of a group's ``forward``."""
    groups = group(graph, [node.name for node in graph.layers if node.operation.op in emitting.LAYERS])
    return forward_text(groups[tuple(name.split(".")) if name else ()], {})


def groups_of(graph: Graph) -> set[str]:
    names = [node.name for node in graph.layers if node.operation.op in emitting.LAYERS]
    return {".".join(path) for path in group(graph, names)}


# -- what is written ---------------------------------------------------------------------------------------------


def test_the_network_reads_like_a_hand_written_one() -> None:
    assert forward_of(small_resnet()) == (
        "def forward(self, x):\n"
        "    x = self.conv1(x)\n"
        "    x = self.bn1(x)\n"
        "    x = activate(self.relu, x, self.bn1)\n"
        "    x = self.maxpool(x)\n"
        "    x = self.layer1(x)\n"
        "    x = self.layer2(x)\n"
        "    x = self.avgpool(x)\n"
        "    x = torch.flatten(x, 1)\n"
        "    return self.fc(x)\n"
    )


def test_a_block_reads_like_a_hand_written_one() -> None:
    assert forward_of(small_resnet(), "layer1.0") == (
        "def forward(self, x):\n"
        "    y = self.conv1(x)\n"
        "    y = self.bn1(y)\n"
        "    y = activate(self.relu1, y, self.bn1)\n"
        "    y = self.conv2(y)\n"
        "    y = self.bn2(y)\n"
        "    y = activate(self.relu2, y, self.bn2)\n"
        "    y = self.conv3(y)\n"
        "    y = self.bn3(y)\n"
        "    x = self.downsample(x)\n"
        "    y = accumulate(y, x, self.bn3)\n"
        "    return activate(self.relu3, y)\n"
    )


def test_a_variable_is_free_after_its_last_use() -> None:
    b = Builder(2, 4, 4)
    b.add("a", "sigmoid").add("b", "sigmoid", "input").add("c", "sigmoid", "a").add("d", "sigmoid", "b")
    b.add("e", "multiply", "c", "d")
    assert forward_of(b.graph()) == (
        "def forward(self, x):\n"
        "    y = self.a(x)\n"
        "    x = self.b(x)\n"
        "    y = self.c(y)\n"
        "    x = self.d(x)\n"
        "    return y * x\n"
    )


@pytest.mark.parametrize(
    ("outputs", "text"), [(("a", "c"), "{'low': y, 'c-1': x}"), (("c", "a"), "{'low': x, 'c-1': y}")]
)
def test_named_outputs_are_written_as_a_dict(outputs: tuple[str, ...], text: str) -> None:
    b = Builder(2, 4, 4).add("a", "sigmoid").add("c", "sigmoid", "input")
    graph = b.graph(*outputs, output_names=("low", "c-1"))
    assert forward_of(graph).endswith(f"    return {text}\n")
    assert forward_of(graph.with_outputs(["c"], ["low"])).endswith("    x = self.c(x)\n    return {'low': x}\n")


def test_many_values_at_once_have_names_of_their_own() -> None:
    b = Builder(2, 4, 4)
    for index in range(6):
        b.add(f"s{index}", "sigmoid", "input")
    b.add("sum", "add", *(f"s{index}" for index in range(6)))
    assert "return y + z + x1 + x2 + x3 + x\n" in forward_of(b.graph())


def test_nothing_is_overwritten_that_is_needed_again() -> None:
    b = Builder(2, 4, 4)
    b.add("bn", "batch_norm").add("relu", "relu").add("sum", "add", "bn", "relu").add("twice", "add", "sum", "sum")
    text = forward_of(b.graph())
    assert "self.relu(" in text
    assert "activate" not in text
    assert "accumulate" not in text


def test_nothing_is_overwritten_that_a_gradient_needs() -> None:
    text = forward_of(
        Builder(2, 4, 4).add("s", "sigmoid").add("relu", "relu").add("sum", "add", "relu", "input").graph()
    )
    assert "accumulate" not in text
    assert "activate" not in text


def test_the_group_s_own_input_and_output_are_not_overwritten() -> None:
    b = Builder(2, 4, 4).add("bn", "batch_norm").add("relu", "relu")
    assert "activate" not in forward_of(b.graph("bn", "relu"))
    b = Builder(2, 4, 4).add("bn", "batch_norm").add("block.relu", "relu").add("block.sum", "add", "bn", "block.relu")
    assert "activate" not in forward_of(b.graph(), "block")


def test_the_second_term_may_be_the_one_overwritten() -> None:
    b = Builder(2, 4, 4).add("bn", "batch_norm").add("sum", "add", "input", "bn")
    assert forward_of(b.graph()).endswith("    return accumulate(y, x, self.bn)\n")


def test_names_that_are_no_identifiers() -> None:
    b = Builder(2, 4, 4).add("bn-1", "batch_norm").add("class", "relu").add("9.__x", "sigmoid", "bn-1")
    b.add("sum", "add", "class", "9.__x")
    text = forward_of(b.graph())
    assert "getattr(self, 'bn-1')(x)" in text
    assert "getattr(self, 'class')(" in text
    assert "getattr(self, '9')(" in text


# -- what is grouped ---------------------------------------------------------------------------------------------


def test_groups_of_a_resnet() -> None:
    assert groups_of(small_resnet()) == {
        "",
        "layer1",
        "layer1.0",
        "layer1.0.downsample",
        "layer1.1",
        "layer2",
        "layer2.0",
        "layer2.0.downsample",
    }


def test_chains_are_sequential_and_others_are_not() -> None:
    model = build(small_resnet())
    assert type(model.layer1) is nn.Sequential
    assert type(model.layer1[0].downsample) is nn.Sequential
    assert not isinstance(model.layer1[0], nn.Sequential)
    assert not isinstance(model, nn.Sequential)


def test_a_layer_called_twice_is_not_a_chain() -> None:
    b = Builder(2, 4, 4).add("s.0", "batch_norm").add("s.1", "relu").add("s.again", "batch_norm", calls="s.0")
    model = build(b.graph())
    assert not isinstance(model.s, nn.Sequential)
    assert [name for name, _ in model.s.named_children()] == ["0", "1"]


def test_declaration_out_of_order_is_not_a_chain() -> None:
    b = Builder(2, 4, 4).add("s.a", "batch_norm").add("s.b", "batch_norm")
    model = build(b.graph(declaration=["s.b", "s.a"]))
    assert not isinstance(model.s, nn.Sequential)
    assert list(model.state_dict())[:2] == ["s.b.weight", "s.b.bias"]


def test_a_function_in_between_is_not_a_chain() -> None:
    b = Builder(2, 4, 4).add("s.0", "batch_norm").add("s.pad", "pad2d", padding=1).add("s.1", "relu")
    assert not isinstance(build(b.graph()).s, nn.Sequential)


def test_a_block_that_is_a_chain_has_its_name_and_can_be_sliced() -> None:
    b = (
        Builder(2, 4, 4)
        .add("stem.conv", "conv2d", channels=2, kernel=1)
        .add("stem.bn", "batch_norm")
        .add("stem.relu", "relu")
    )
    model = build(b.graph(scopes=[{"name": "stem", "kind": "block", "block": "conv_norm", "output": "stem.relu"}]))
    assert type(model.stem).__name__ == "ConvNorm"
    assert isinstance(model.stem, nn.Sequential)
    assert [type(m) for m in model.stem[:2]] == [nn.Conv2d, nn.BatchNorm2d]


def test_a_name_that_is_both_a_layer_and_a_group() -> None:
    b = Builder(3, 8, 8)
    b.add("block.conv1", "conv2d", channels=4, kernel=1, bias=True).add("block.conv1.BatchNorm", "batch_norm")
    b.add("block.conv1.relu", "relu").add("block.conv2", "conv2d", channels=4, kernel=1)
    b.add("block.sum", "add", "block.conv1.relu", "block.conv2")
    graph = b.graph()
    model = build(graph)
    assert type(model.block.conv1) is nn.Conv2d
    assert type(model.block.conv1.BatchNorm) is nn.BatchNorm2d
    assert "self.conv1.BatchNorm(" in forward_of(graph, "block")
    names = [name for name in model.state_dict() if not name.endswith("tracked")]
    assert names == [p.name for p in graph.parameters()]
    x = torch.from_numpy(random_images(1, 3, 8, 8))
    y = model.block.conv1.BatchNorm(model.block.conv1(x)).relu()
    assert model(x).equal(y + model.block.conv2(y))


def test_several_inputs_make_a_container() -> None:
    b = Builder(2, 4, 4).add("a", "sigmoid").add("b", "relu", "input")
    b.add("join.bn", "batch_norm", "a").add("join.sum", "add", "join.bn", "b")
    graph = b.graph()
    assert groups_of(graph) == {""}
    assert "self.join.bn(" in forward_of(graph)
    assert type(build(graph).join).__name__ == "Join"


def test_several_outputs_make_a_container_and_numbers_a_list() -> None:
    b = Builder(2, 4, 4).add("layers.0", "batch_norm").add("layers.1", "relu")
    model = build(b.graph("layers.0", "layers.1"))
    assert type(model.layers) is nn.ModuleList
    assert "getattr(self.layers, '0')" in forward_of(b.graph("layers.0", "layers.1"))
    images = random_images(2, 2, 4, 4)
    first, second = TorchBackend().forward(model, images)
    assert (second == first.clip(0)).all()


def test_a_group_that_returns_before_it_ends_is_a_container() -> None:
    """A value leaves the dotted prefix and comes back: ``s.a`` feeds ``between``, which feeds ``s.b``."""
    b = Builder(2, 4, 4).add("s.a", "batch_norm").add("between", "sigmoid").add("s.b", "batch_norm")
    assert groups_of(b.graph()) == {""}


def test_a_layer_called_from_another_block_belongs_to_both_blocks_parent() -> None:
    b = Builder(2, 4, 4)
    b.add("stage.0.conv", "conv2d", channels=2, kernel=1).add("stage.0.bn", "batch_norm")
    b.add("stage.1.conv", "conv2d", channels=2, kernel=1).add("stage.1.bn", "batch_norm", calls="stage.0.bn")
    graph = b.graph()
    assert groups_of(graph) == {"", "stage"}
    assert forward_of(graph, "stage").count("getattr(self, '0').bn(") == 2
    model = build(graph)
    assert [name for name, _ in model.named_parameters()] == [
        "stage.0.conv.weight",
        "stage.0.bn.weight",
        "stage.0.bn.bias",
        "stage.1.conv.weight",
    ]


def test_a_layer_whose_own_value_no_output_needs_is_called_where_it_is_needed() -> None:
    b = Builder(2, 4, 4).add("aside", "sigmoid").add("bn", "batch_norm").add("gate", "sigmoid", "input")
    graph = b.add("again", "batch_norm", "gate", calls="bn").graph()
    assert forward_of(graph) == "def forward(self, x):\n    x = self.gate(x)\n    return self.bn(x)\n"
    assert "bn.weight" in build(graph).state_dict()


def test_flat_names_stay_flat() -> None:
    b = (
        Builder(2, 4, 4)
        .add("conv2_block1_1_conv", "conv2d", channels=2, kernel=1)
        .add("conv2_block1_1_bn", "batch_norm")
    )
    scopes = [{"name": "conv2_block1", "kind": "block", "block": "x", "output": "conv2_block1_1_bn"}]
    model = build(b.graph(scopes=scopes))
    assert [name for name, _ in model.named_children()] == ["conv2_block1_1_conv", "conv2_block1_1_bn"]


@pytest.mark.parametrize("name", ["type", "stage.forward", "stage._modules", "conv.weight", "s.0.training"])
def test_a_name_that_every_module_has_is_refused(name: str) -> None:
    b = Builder(2, 4, 4).add("conv", "conv2d", channels=2, kernel=1).add(name, "relu")
    with pytest.raises(GraphError, match=f"{name}: .* cannot be the name of a PyTorch layer"):
        TorchBackend().compile(b.graph())
