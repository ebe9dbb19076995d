"""The graph: what it refuses, what can be asked of it, its JSON and its fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import Graph, available, load
from resnet_spec.errors import GraphError
from resnet_spec.graph import Input, scope_class_name
from tests.shipped import networks

Lower = Callable[..., Graph]
Lines = Callable[..., list[str]]

GOLDEN = json.loads(Path(__file__).with_name("fingerprints.json").read_text())

CONV = {"op": "conv2d", "channels": 4, "kernel": 1}


def node(name: str, inputs: list[str], shape: list[int], operation: dict[str, Any] | None = None, **more: Any) -> Any:
    return {"name": name, "operation": operation or {"op": "relu"}, "inputs": inputs, "shape": shape, **more}


def graph_data(*nodes: Any, outputs: list[str] | None = None, **more: Any) -> dict[str, Any]:
    size = {"channels": 4, "height": 8, "width": 8}
    return {"name": "g", "input": size, "nodes": list(nodes), "outputs": outputs or [nodes[-1]["name"]], **more}


# -- what is well formed -----------------------------------------------------------------------------------------

MAP = [4, 8, 8]
NORM = {"op": "batch_norm", "epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (graph_data(node("a", ["input"], MAP), node("a", ["a"], MAP)), ["a: two nodes have this name"]),
        (graph_data(node("input", ["input"], MAP)), ["input: the name is the input's"]),
        (
            graph_data(node("conv", ["input"], MAP), node("b", ["cnov"], MAP), outputs=["conv", "b"]),
            ["b: its input 'cnov' is not an earlier node; did you mean 'conv'?"],
        ),
        (graph_data(node("a", ["b"], MAP), node("b", ["a"], MAP)), ["a: its input 'b' is not an earlier node"]),
        (graph_data(node("a", ["input", "input"], MAP)), ["a: relu takes one input, not 2"]),
        (graph_data(node("a", ["input"], MAP, {"op": "add"})), ["a: add takes two inputs or more, not 1"]),
        (graph_data(node("a", ["input"], [4, 8, 9])), ["a: its shape is [4, 8, 8], not [4, 8, 9]"]),
        (
            graph_data(node("a", ["input"], [3], {"op": "linear", "features": 3})),
            ["a: its shape is [4, 8, 3], not [3]"],
        ),
        (
            graph_data(
                node("a", ["input"], [4, 7, 7], {"op": "max_pool2d", "kernel": 2, "stride": 1}),
                node("b", ["input", "a"], MAP, {"op": "add"}),
            ),
            ["b: cannot add 4×8×8 and 4×7×7 (from 'input', 'a')"],
        ),
        (
            graph_data(node("conv", ["input"], MAP), outputs=["cnov"]),
            ["the output 'cnov' is not a node; did you mean 'conv'?", "conv: no output needs its value"],
        ),
        (
            graph_data(node("a", ["input"], MAP), node("b", ["input"], MAP)),
            ["a: no output needs its value"],
        ),
        (
            graph_data(node("a", ["input"], MAP), scopes=[{"name": "s", "kind": "stage", "output": "b"}]),
            ["s: its output 'b' is not a node"],
        ),
        (
            graph_data(node("a", ["input"], MAP), declaration=["b"]),
            ["declaration must name each node that owns a layer once"],
        ),
        (
            graph_data(node("a", ["input"], MAP), output_names=["x", "y"]),
            ["output_names must give each output a unique name"],
        ),
        (
            graph_data(node("a", ["input"], MAP), outputs=["a", "a"], output_names=["x", "x"]),
            ["output_names must give each output a unique name"],
        ),
        (
            graph_data(node("a", ["input"], MAP, CONV), node("b", ["a"], MAP, CONV, calls="c")),
            ["b: it calls 'c', which is not an earlier layer"],
        ),
        (
            graph_data(node("a", ["input"], MAP), node("b", ["a"], MAP, CONV, calls="a")),
            ["b: it calls 'a', which is another operation"],
        ),
        (
            graph_data(
                node("p", ["input"], [8, 8, 8], {"op": "conv2d", "channels": 8, "kernel": 1}),
                node("a", ["p"], MAP, CONV),
                node("b", ["a"], MAP, CONV, calls="a"),
            ),
            ["b: it calls 'a', whose parameters have other shapes"],
        ),
        (
            graph_data(
                node("a", ["input"], MAP, NORM),
                node("p", ["a"], [4, 1, 1], {"op": "global_avg_pool"}),
                node("f", ["p"], [4], {"op": "flatten"}),
                node("b", ["f"], [4], NORM, calls="a"),
            ),
            ["b: it calls 'a', a layer for inputs like 4×8×8, with 4; add a layer of its own"],
        ),
        (
            graph_data(node("a", ["x"], MAP, CONV), node("b", ["a"], MAP, CONV, calls="a")),
            ["a: its input 'x' is not an earlier node"],
        ),
    ],
)
def test_a_graph_that_is_not_well_formed_is_refused(data: dict[str, Any], said: list[str], lines: Lines) -> None:
    assert lines(lambda: Graph.model_validate(data)) == said
    assert lines(lambda: Graph.from_json(json.dumps(data))) == said


def test_every_problem_is_reported(lines: Lines) -> None:
    data = graph_data(node("a", ["x"], MAP), node("b", ["input"], [1]), node("b", ["input", "a"], MAP), outputs=["z"])

    assert len(lines(lambda: Graph.model_validate(data))) >= 5


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "5", '{"format": 2}', '"text"', "[" * 10_000, '{"name": 1}'])
def test_what_is_not_a_graph_is_refused(text: str, lines: Lines) -> None:
    assert lines(lambda: Graph.from_json(text))


def test_a_node_has_a_shape(lines: Lines) -> None:
    data = graph_data(node("a", ["input"], []), node("b", ["a"], MAP))

    assert lines(lambda: Graph.from_json(json.dumps(data)))[0].startswith("nodes.0.shape: ")


def test_an_unknown_operation_or_field_is_reported_where(lines: Lines) -> None:
    data = graph_data(node("a", ["input"], MAP, {"op": "sigmod"}), node("b", ["a"], MAP, {**CONV, "x": 1}))
    said = lines(lambda: Graph.from_json(json.dumps(data)))

    assert said == [
        "nodes.0.operation: unknown op 'sigmod'; did you mean 'sigmoid'?",
        "nodes.1.operation: unknown key 'x' (known: op, channels, kernel, stride, padding, dilation, groups, bias)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON: line 1, column 1"),
        ('{"name": "a",\n "nodes": [1, }', "not valid JSON: line 2, column 15"),
        ("[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_what_is_not_json_is_located(text: str | bytes, said: str, lines: Lines) -> None:
    assert lines(lambda: Graph.from_json(text)) == [said]


# -- what can be asked -------------------------------------------------------------------------------------------


def test_parameters_are_named_and_ordered_as_torchvision_does() -> None:
    parameters = load("resnet50").to_graph().parameters()
    names = [parameter.name for parameter in parameters]

    assert len(names) == 267
    assert sum(parameter.trainable for parameter in parameters) == 161
    pairs = [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)] + [("downsample.0", "downsample.1")]
    assert names[5:25] == [
        f"layer1.0.{name}"
        for conv, norm in pairs
        for name in (f"{conv}.weight", *(f"{norm}.{n}" for n in ("weight", "bias", "running_mean", "running_var")))
    ]
    assert names[:2] == ["conv1.weight", "bn1.weight"]
    assert names[-3:] == ["layer4.2.bn3.running_var", "fc.weight", "fc.bias"]
    shapes = {parameter.name: parameter.shape for parameter in parameters}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer3.0.downsample.0.weight"] == (1024, 512, 1, 1)
    assert shapes["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["fc.weight"] == (1000, 2048)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 102), ("resnet101", 522), ("resnet152", 777), ("resnext50_32x4d", 267), ("keras/resnet50", 320)],
)
def test_the_number_of_arrays_is_that_of_the_original(name: str, count: int) -> None:
    assert len(load(name).to_graph().parameters()) == count


def test_the_stride_is_where_each_original_has_it() -> None:
    torchvision, keras = load("resnet50").to_graph(), load("keras/resnet50").to_graph()

    assert [torchvision.by_name[f"layer2.0.conv{n}"].operation.stride for n in (1, 2, 3)] == [(1, 1), (2, 2), (1, 1)]
    assert [keras.by_name[f"conv3_block1_{n}_conv"].operation.stride for n in (1, 2, 3)] == [(2, 2), (1, 1), (1, 1)]


def test_groups_divide_the_kernels_of_resnext() -> None:
    shapes = {p.name: p.shape for p in load("resnext101_64x4d").to_graph().parameters()}

    assert shapes["layer1.0.conv2.weight"] == (256, 4, 3, 3)
    assert shapes["layer4.0.conv2.weight"] == (2048, 32, 3, 3)


def test_a_shared_layer_lists_its_parameters_once() -> None:
    graph = load("tutorial/resnet18").to_graph()
    names = [parameter.name for parameter in graph.parameters()]

    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("res_block2.listLayers.0")] == [
        f"res_block2.listLayers.0.{name}"
        for name in (
            "conv1.weight", "conv1.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
            "conv2.weight", "conv2.bias", "conv3.weight", "conv3.bias",
        )
    ]  # fmt: skip
    assert graph.by_name["res_block2.listLayers.0.bn2"].layer == "res_block2.listLayers.0.bn"


def test_the_logits_are_what_stands_before_a_final_softmax() -> None:
    assert load("resnet18").to_graph().logits == "fc"
    assert load("keras/resnet50").to_graph().logits == "predictions"


def test_another_size_changes_shapes_alone(small: Graph) -> None:
    other = small.at_size(33, 20)

    assert (other.input.height, other.input.width) == (33, 20)
    assert other.by_name["conv1"].shape == (8, 17, 10)
    assert other.by_name["layer2.0.relu2"].shape == (12, 9, 5)
    assert other.parameters() == small.parameters()
    assert Graph.from_json(other.to_json()) == other


def test_a_size_at_which_a_map_vanishes_is_reported(lower: Lower, lines: Lines) -> None:
    graph = lower("stem: {a: {conv2d: {channels: 4, kernel: 3}}, b: {max_pool2d: {kernel: 2}}}\n")

    assert lines(lambda: graph.at_size(3, 8)) == [
        "b: the feature map vanishes: a 2×2 window does not fit an input of 4×1×6 (at an input of 3×8; "
        "if the spec depends on its size, load it with input.height=3 and input.width=8)"
    ]


VECTOR = "input: {features: 6}\nstem: {fc: {linear: {features: 4}}}\n"


def test_a_vector_has_no_height_and_width(lower: Lower, lines: Lines) -> None:
    graph = lower(VECTOR)

    assert graph.input.shape == (6,)
    assert json.loads(graph.to_json())["input"] == {"features": 6}
    assert Graph.from_json(graph.to_json()) == graph
    assert not graph.depends_on_size
    assert graph.stride("fc") is None
    assert lines(lambda: graph.at_size(3, 3)) == ["the input is a vector, which has no height and width"]


def test_a_vector_and_an_image_have_their_fingerprints(lower: Lower) -> None:
    texts = [VECTOR, VECTOR.replace("6", "7"), VECTOR.replace("features: 6", "channels: 6, height: 1, width: 1")]
    texts[-1] = texts[-1].replace("stem: {", "stem: {flat: flatten, ")

    assert len({lower(text).fingerprint for text in texts}) == 3


@pytest.mark.parametrize(
    "sizes",
    [
        {"features": 3, "height": 224},
        {"features": 3, "channels": 3},
        {"length": 100, "width": 3},
        {"length": 100, "depth": 3},
        {"features": 3, "length": 3},
    ],
)
def test_an_input_is_of_one_kind(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        Input.model_validate(sizes)


@pytest.mark.parametrize("shape", [(7,), (4, 100), (3, 32, 24), (1, 16, 32, 24)])
def test_an_input_of_any_rank(shape: tuple[int, ...], lower: Lower) -> None:
    input = Input.of(shape)

    assert input.shape == shape
    assert Input.model_validate(input.model_dump()) == input
    assert input.model_dump() == dict(zip(input.axes, shape, strict=True))
    assert input.positions == input.axes[1:]


SIGNALS = """
input: {channels: 4, length: 100}
stem: {a: {conv_nd: {channels: 8, kernel: 3, stride: 2}}, n: {conv_nd: {channels: 8, kernel: 1}}}
head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""
VOLUMES = SIGNALS.replace("length: 100", "depth: 9, height: 10, width: 11").replace("stride: 2", "stride: [1, 2, 2]")


def test_graphs_of_signals_and_volumes(lower: Lower) -> None:
    signals, volumes = lower(SIGNALS), lower(VOLUMES)

    assert [graph.nodes[0].shape for graph in (signals, volumes)] == [(8, 49), (8, 7, 4, 5)]
    assert [graph.nodes[0].operation.op for graph in (signals, volumes)] == ["conv1d", "conv3d"]
    assert (signals.stride("n"), volumes.stride("n")) == ((2,), (1, 2, 2))
    assert signals.at_size(50).by_name["n"].shape == (8, 24)
    assert volumes.at_size(5, 8, 9).by_name["n"].shape == (8, 3, 3, 4)
    assert not signals.depends_on_size
    assert not volumes.depends_on_size
    assert lower(SIGNALS.replace("100", "50")).fingerprint == signals.fingerprint
    for graph in (signals, volumes):
        assert Graph.from_json(graph.to_json()) == graph
    with pytest.raises(GraphError, match="the input has depth and height and width, not 2 sizes"):
        volumes.at_size(8, 9)
    message = r"does not fit an input of 4×2 \(at an input of 2; .* load it with input.length=2\)"
    with pytest.raises(GraphError, match=message):
        signals.at_size(2)


@pytest.mark.parametrize("text", [SIGNALS, VOLUMES])
def test_a_signal_or_a_volume_that_is_flattened_depends_on_its_size(text: str, lower: Lower) -> None:
    assert lower(text.replace("pool: global_avg_pool, ", "")).depends_on_size


def test_an_operation_of_any_rank_is_the_one_of_its_rank(lower: Lower) -> None:
    text = "input: {channels: 4, height: 8, width: 8}\nstem: {a: {conv_nd: {channels: 8, kernel: 3}}}\n"

    assert lower(text).fingerprint == lower(text.replace("conv_nd:", "conv2d:")).fingerprint


def test_strides_multiply_and_shrink_where_a_map_grows(lower: Lower) -> None:
    graph = lower("""
        input: {channels: 3, height: 16, width: 16}
        stem:
          a: {conv2d: {channels: 4, kernel: 3, stride: [2, 4], padding: same}}
          b: {max_pool2d: {kernel: 3, stride: 2, padding: 1}}
          pad: {pad2d: {padding: [[0, 1], [0, 0]]}}
          up: {conv_transpose2d: {channels: 4, kernel: 2, stride: 8}}
          sum: {add: null, from: [up, up]}
          pool: global_avg_pool
          flat: flatten
          map: {reshape: {shape: [4, 1, 1]}}
        """)

    assert [graph.stride(name) for name in ("input", "a", "b", "pad", "up", "sum")] == [
        *((1, 1), (2, 4), (4, 8), (4, 8)),
        *((0.5, 1), (0.5, 1)),
    ]
    assert [graph.stride(name) for name in ("pool", "flat", "map")] == [None] * 3


def test_outputs_may_have_names(small: Graph) -> None:
    named = small.with_outputs(["layer1.1.relu2", "fc"], ["low", "logits"])

    assert named.output_names == ("low", "logits")
    assert Graph.from_json(named.to_json()) == named
    assert named.fingerprint != small.with_outputs(["layer1.1.relu2", "fc"]).fingerprint
    assert named.at_size(32, 32).output_names == named.output_names
    assert named.with_outputs(["fc"]).fingerprint == small.fingerprint


def test_other_outputs_leave_out_what_they_do_not_need(small: Graph) -> None:
    tapped = small.with_outputs(["layer1.0.relu2", "layer1.1.conv1"])

    assert tapped.outputs == ("layer1.0.relu2", "layer1.1.conv1")
    assert list(tapped.by_name)[-1] == "layer1.1.conv1"
    assert {scope.name for scope in tapped.scopes} == {"layer1.0"}
    assert Graph.from_json(tapped.to_json()) == tapped


def test_other_outputs_keep_the_owner_of_a_layer_that_is_called_again() -> None:
    graph = load("tutorial/resnet18").to_graph()
    tapped = graph.with_outputs(["res_block1.listLayers.0.bn2"])

    assert "res_block1.listLayers.0.bn" in tapped.by_name
    assert Graph.from_json(tapped.to_json()) == tapped


def test_other_outputs_keep_the_order_of_declaration() -> None:
    graph = load("keras/resnet50").to_graph()
    tapped = graph.with_outputs(["conv2_block1_out"])

    assert tapped.parameters() == graph.parameters()[: len(tapped.parameters())]
    assert Graph.from_json(tapped.to_json()) == tapped


def test_unknown_outputs_are_reported(small: Graph, lines: Lines) -> None:
    assert lines(lambda: small.with_outputs(["fc", "layer1.0.relu3", "x"])) == [
        "no node is named 'layer1.0.relu3'; did you mean 'layer1.0.relu2'?",
        "no node is named 'x'",
    ]


def test_a_block_is_a_class_by_its_name() -> None:
    assert scope_class_name("basic_block") == "BasicBlock"
    assert scope_class_name("keras_bottleneck2") == "KerasBottleneck2"
    assert scope_class_name("__") == "Block"


# -- JSON --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", networks())
def test_json_gives_the_same_graph_back(name: str, shipped: Callable[[str], Graph]) -> None:
    graph = shipped(name)
    again = Graph.from_json(graph.to_json())

    assert again == graph
    assert again.parameters() == graph.parameters()
    assert again.fingerprint == graph.fingerprint


def test_json_states_every_default_that_frameworks_disagree_on() -> None:
    nodes = {n["name"]: n["operation"] for n in json.loads(load("resnet18").to_graph().to_json())["nodes"]}

    assert nodes["conv1"]["bias"] is False
    assert nodes["conv1"]["padding"] == [[3, 3], [3, 3]]
    assert nodes["bn1"] == {
        "op": "batch_norm",
        "epsilon": 1e-5,
        "momentum": 0.1,
        "running_variance": "unbiased",
        "scale": True,
        "offset": True,
    }


# -- fingerprint -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", networks())
def test_the_fingerprint_of_a_shipped_spec_does_not_change_by_accident(
    name: str, shipped: Callable[[str], Graph]
) -> None:
    assert shipped(name).fingerprint == GOLDEN[name]


def test_every_shipped_spec_has_a_fingerprint_of_its_own_on_record() -> None:
    assert sorted(GOLDEN) == available()
    assert len(set(GOLDEN.values())) == len(GOLDEN)


@pytest.mark.parametrize(
    "override",
    [
        "input.height=193",
        "input.width=640",
        "name=other",
        "description=other",
        "initialization.conv_kernel.scale=1",
        "source.paper=none",
    ],
)
def test_the_fingerprint_leaves_out_what_is_not_the_architecture(override: str) -> None:
    assert load("resnet18", [override]).to_graph().fingerprint == load("resnet18").to_graph().fingerprint


def test_the_fingerprint_is_that_of_the_graph_at_any_size(small: Graph) -> None:
    assert small.at_size(40, 24).fingerprint == small.fingerprint


@pytest.mark.parametrize(
    "override",
    [
        "layers.norm.batch_norm.epsilon=1.001e-5",
        "layers.norm.batch_norm.momentum=0.2",
        "layers.norm.batch_norm.running_variance=biased",
        "layers.act=sigmoid",
        "stages.layer4.stride=1",
        "stages.layer2.stride_in=last",
        "stages.layer4.dilation=2",
        "stages.layer1.repeat=3",
        "input.channels=1",
        "parameters.classes=10",
        "stem.conv1.conv2d.padding=same",
        "stem.conv1.conv2d.bias=true",
        "names='{stage}.blocks.{index}.{layer}'",
        "stages.layer1.names='{stage}.{number}.{layer}'",
        "outputs=[layer4, fc]",
        "outputs=features",
        "named_outputs=true",
        "head.softmax=softmax",
    ],
)
def test_the_fingerprint_changes_with_the_architecture(override: str) -> None:
    assert load("resnet18", [override]).to_graph().fingerprint != load("resnet18").to_graph().fingerprint


def test_the_fingerprint_changes_with_a_name_an_order_and_a_call(lower: Lower) -> None:
    norm = "{batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}}"
    texts = [
        f"stem: {{a: {norm}, b: {norm}}}",
        f"stem: {{a: {norm}, c: {norm}}}",
        f"stem: {{b: {norm}, a: {norm}}}",
        f"stem: {{a: {norm}, b: {{call: a}}}}",
    ]

    assert len({lower(text + "\n").fingerprint for text in texts}) == len(texts)


def test_the_fingerprint_changes_with_the_order_of_declaration(lower: Lower) -> None:
    conv = "{conv2d: {channels: 3, kernel: 1}}"
    block = f"main: {{a: {conv}}}, shortcut: {{layers: {{s: {conv}}}}}"
    text = f"blocks: {{b: {{declare: [ORDER], {block}}}}}\nstages: {{s: {{block: b}}}}\n"
    first, second = (text.replace("ORDER", order) for order in ("main, shortcut, after", "shortcut, main, after"))

    assert lower(first).fingerprint != lower(second).fingerprint


def test_fields_at_their_default_do_not_count_so_that_new_ones_may_be_added(lower: Lower) -> None:
    plain = "stem: {a: {conv2d: {channels: 4, kernel: 3}}}\n"
    stated = "stem: {a: {conv2d: {channels: 4, kernel: [3, 3], stride: 1, padding: 0, groups: 1, bias: false}}}\n"

    assert lower(plain).fingerprint == lower(stated).fingerprint


def test_the_size_counts_where_a_parameters_shape_depends_on_it(lower: Lower) -> None:
    text = "stem: {conv: {conv2d: {channels: 2, kernel: 1}}, flat: flatten, fc: {linear: {features: 3}}}\n"
    at_8, at_9 = (lower(f"input: {{height: {size}, width: 8}}\n{text}") for size in (8, 9))

    assert at_8.depends_on_size
    assert at_8.fingerprint != at_9.fingerprint
    assert at_8.at_size(9, 8).fingerprint == at_9.fingerprint


def test_the_size_counts_where_a_network_works_at_one_size_alone(lower: Lower) -> None:
    stem = "{conv: {conv2d: {channels: 3, kernel: 8}}, one: global_avg_pool, up: {concat: null, from: [conv, one]}}"
    graph = lower(f"input: {{height: 8, width: 8}}\nstem: {stem}\n")

    assert graph.depends_on_size


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ("logits",)),
        (["head.softmax=softmax"], ("probabilities",)),
        (["head=null"], ("layer4.1.relu2",)),
        (["outputs=[layer1, layer1]"], ("layer1.1.relu2", "layer1.1.relu2_1")),
        (["outputs=[layer1, layer4]", "named_outputs=true"], ("layer1", "layer4")),
    ],
)
def test_results_are_called_what_they_are(overrides: list[str], names: tuple[str, ...]) -> None:
    assert load("resnet18", overrides).to_graph().result_names == names
