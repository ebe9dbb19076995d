"""From a graph to a spec and back: the spec is the same network, and says it as a person would."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import ModelError, import_model, load
from resnet_spec.backend import GraphBuilder, SourceModel
from resnet_spec.graph import Graph, Input
from resnet_spec.importing import importer
from resnet_spec.importing.architecture import architecture, by_name
from tests.shipped import shipped


class Source:
    """A model that a backend of these tests imports."""

    def __init__(self, graph: Graph, **fields: Any) -> None:
        self.model = SourceModel(
            graph, {p.name: np.zeros(p.shape, np.float32) for p in graph.parameters()}, _run, **fields
        )


def _run(images: Any) -> Any:
    raise AssertionError("not run here")


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "read_source", lambda source, shape: source.model)


def imported(spec: str, overrides: Any = None, *, unknown: bool = True, **fields: Any) -> Any:
    return imported_graph(load(spec, overrides).to_graph(), unknown=unknown, **fields)


def imported_graph(graph: Graph, *, unknown: bool = True, **fields: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        if unknown:
            patch.setattr(importer, "known_spec", lambda *_: None)
        return import_model(Source(graph, **fields))


SMALL = {"input.height": 64, "input.width": 64}


@pytest.mark.parametrize(
    "spec",
    [
        "torchvision/wide_resnet50_2", "timm/resnet50d", "timm/seresnet50", "timm/resnetv2_50", "timm/res2net50_26w_4s",
        "timm/resnest14d", "timm/skresnet18", "keras/resnet50v2", "cifar/resnet20", "slim/resnet_v2_50",
        "mirror/decoder18", "torchvision/fcn_resnet50",
    ],
)  # fmt: skip
def test_a_shipped_network_is_written_and_is_the_same(spec: str) -> None:
    result = imported(spec)
    wanted = load(spec).to_graph()
    graph = result.spec.to_graph()
    assert by_name(graph) == by_name(wanted)
    assert graph.outputs == wanted.outputs
    assert list(result.arrays) == [parameter.name for parameter in wanted.parameters()]


def test_attention_that_pools_is_the_head() -> None:
    spec = imported("timm/resnet50_clip").spec
    assert {stage.partition(".")[0] for stage in spec.stages} == {"stages"}
    assert next(iter(spec.head)) == "head.flat"


def test_standardized_convolutions_state_once_what_they_share() -> None:
    result = imported("timm/nf_resnet26")
    assert result.text.count("std_conv2d") == 1
    assert "  conv: {std_conv2d: {bias: true, epsilon: 1.0e-05, gain: true, gamma: 1.7139588594436646}}" in result.text


LONGER = {"simclr/r50_2x_sk1": 1.7}
"""Networks that take more lines, as a share of the shipped ones.

A pool's flag that depends on the stride makes two kinds of blocks of SimCLRv2's one.
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted({name.partition("/")[0] for name in resnet_spec.available()}))
def test_every_shipped_network_is_written_as_briefly_as_it_was(family: str) -> None:
    """The lines are those of the shipped file with everything that it extends and uses; as many and a half at most."""
    for name in fnmatch.filter(resnet_spec.available(), f"{family}/*"):
        # Networks of one family that differ in their depth only are written alike.
        if len(shipped(name).nodes) < 350:
            result = imported(name)
            assert by_name(result.spec.to_graph()) == by_name(shipped(name)), name
            most = LONGER.get(name, 1.5) * len(load(name).to_yaml().splitlines())
            assert len(result.text.splitlines()) <= most, name


def test_a_resnet_is_written_as_its_table() -> None:
    result = imported("torchvision/resnext50_32x4d")
    assert result.text == RESNEXT


RESNEXT = """\
description: Imported from torchvision/resnext50_32x4d
input: {channels: 3, height: 224, width: 224}
parameters: {classes: 1000}
layers:
  norm: {batch_norm: {epsilon: 1.0e-05, momentum: 0.1, running_variance: unbiased}}
  act: relu
stem:
  conv1: {conv2d: {channels: 64, kernel: 7, stride: 2, padding: 3}}
  bn1: norm
  relu: relu
  maxpool: {max_pool2d: {kernel: 3, stride: 2, padding: 1}}
stages:
  layer1: {block: bottleneck, repeat: 3, width: 128, channels: 256, groups: 32}
  layer2: {block: bottleneck, repeat: 4, width: 256, channels: 512, stride: 2, groups: 32}
  layer3: {block: bottleneck, repeat: 6, width: 512, channels: 1024, stride: 2, groups: 32}
  layer4: {block: bottleneck, repeat: 3, width: 1024, channels: 2048, stride: 2, groups: 32}
head:
  avgpool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: classes}}
"""


def test_a_shipped_network_with_other_classes_and_size_extends_it() -> None:
    result = imported("torchvision/resnet50", SMALL | {"parameters.classes": 7}, unknown=False)
    assert result.extends == "torchvision/resnet50"
    assert result.text == "extends: torchvision/resnet50\ninput: {height: 64, width: 64}\nparameters: {classes: 7}\n"


def test_automatic_names_are_replaced_by_stage_and_block() -> None:
    graph = load("torchvision/resnet18").to_graph()
    names = {node.name: f"op_{index}" for index, node in enumerate(graph.nodes)}
    nodes = [
        node.model_copy(
            update={"name": names[node.name], "inputs": tuple(names.get(name, name) for name in node.inputs)}
        )
        for node in graph.nodes
    ]
    anonymous = Graph(name="anonymous", input=graph.input, nodes=tuple(nodes), outputs=(names["fc"],))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "known_spec", lambda *_: None)
        result = import_model(Source(anonymous, named=False))
    assert architecture(result.spec.to_graph(), layers=False) == architecture(graph, layers=False)
    assert [p.name for p in result.spec.to_graph().parameters()] == [p.name for p in graph.parameters()]
    assert "layer2: {block: basic_block, repeat: 2, channels: 128, stride: 2}" in result.text
    assert "named by stage and block" in result.remarks[0]


@pytest.mark.parametrize("spec", ["keras/resnet50", "image_classifiers/resnet18", "mirror/encoder18"])
def test_functions_of_the_outermost_part_are_named_like_their_block(spec: str) -> None:
    """As PyTorch and Keras name them: ``add``, ``add_1``, wherever they are called."""
    graph = load(spec).to_graph()
    unnamed = [node for node in graph.nodes if node.operation.op in ("add", "relu")]
    names = {node.name: f"{node.operation.op}_{index}" for index, node in enumerate(unnamed)}
    nodes = [
        node.model_copy(
            update={
                "name": names.get(node.name, node.name),
                "inputs": tuple(names.get(name, name) for name in node.inputs),
            }
        )
        for node in graph.nodes
    ]
    result = imported_graph(Graph(name="automatic", input=graph.input, nodes=tuple(nodes), outputs=graph.outputs))
    assert architecture(result.spec.to_graph(), layers=True) == architecture(graph, layers=True)
    assert len(result.text.splitlines()) <= 1.5 * len(imported(spec).text.splitlines())


def test_modules_that_concatenate_are_blocks_wherever_they_are() -> None:
    builder = GraphBuilder("squeeze", Input(channels=3, height=16, width=16))
    x: Any = builder.add("conv2d", [builder.input], "features.0", layer=True, channels=8, kernel=3, padding=1)
    for place, width in ((1, 4), (2, 4), (4, 8), (5, 8)):
        x = builder.add("max_pool2d", [x], "features.3", kernel=2) if place == 4 else x
        path = f"features.{place}"
        x = builder.add("conv2d", [x], f"{path}.squeeze", layer=True, channels=width, kernel=1)
        sizes = {"expand1x1": 1, "expand3x3": 3}
        sides = [
            builder.add("conv2d", [x], f"{path}.{name}", layer=True, channels=width * 2, kernel=size, padding=size // 2)
            for name, size in sizes.items()
        ]
        x = builder.add("concat", sides, f"{path}.concat")
    result = imported_graph(builder.finish([builder.add("global_avg_pool", [x], "pool")]))
    assert [stage.get("width") for stage in result.spec.data()["stages"].values()] == [4, None, 8]
    assert "plain_block_2: {main: {features.3: {max_pool2d: {kernel: 2}}}}" in result.text


def test_layers_between_blocks_part_stages_and_a_last_block_may_differ() -> None:
    builder = GraphBuilder("rows", Input(channels=3, height=16, width=16))
    x: Any = builder.add("conv2d", [builder.input], "op_0", layer=True, channels=8, kernel=1)
    for width in (4, 6):
        for index in range(3):
            y = builder.add("conv2d", [x], f"conv_{width}{index}", layer=True, channels=width, kernel=1)
            y = builder.add("conv2d", [y], f"other_{width}{index}", layer=True, channels=8, kernel=1)
            x = builder.add("add", [y, x], f"add_{width}{index}")
            if width == 4 or index < 2:
                x = builder.add("relu", [x], f"relu_{width}{index}")
        x = builder.add("max_pool2d", [x], f"pool_{width}", kernel=3, padding=1)
    result = imported_graph(builder.finish([builder.add("global_avg_pool", [x], "head")]), named=False)
    stages = result.spec.data()["stages"]
    assert [(key, stage["block"], stage.get("repeat")) for key, stage in stages.items()] == [
        ("layer1", "residual_block", 3),
        ("stage4", "plain_block", None),
        ("layer2", "residual_block", 2),
        ("layer2.2", "residual_block_2", None),
    ]


def test_branches_that_are_joined_are_blocks_without_names() -> None:
    builder = GraphBuilder("inception", Input(channels=3, height=16, width=16))
    x: Any = builder.add("conv2d", [builder.input], "op_0", layer=True, channels=8, kernel=1)
    for place, width in enumerate((2, 2, 4, 6, 6)):
        sides = [
            builder.add(
                "conv2d", [x], f"op_{place}_{kernel}", layer=True, channels=width, kernel=kernel, padding="same"
            )
            for kernel in ((1, 3) if place != 2 else (1, 5))
        ]
        x = builder.add("concat", sides, f"cat_{place}")
    result = imported_graph(builder.finish([builder.add("global_avg_pool", [x], "pool")]), named=False)
    stages = result.spec.data()["stages"].values()
    assert [(stage["block"], stage.get("repeat", 1), stage["width"]) for stage in stages] == [
        ("plain_block", 2, 2),
        ("plain_block", 1, 4),
        ("plain_block", 2, 6),
    ]


def test_blocks_that_neither_repeat_nor_add_are_a_chain() -> None:
    builder = GraphBuilder("cell", Input(channels=3, height=16, width=16))
    first = builder.add("conv2d", [builder.input], "first", layer=True, channels=8, kernel=1)
    left, right = (builder.add("conv2d", [first], name, layer=True, channels=8, kernel=3) for name in ("left", "right"))
    cells = [builder.add("add", [left, right], "add_1")]
    cells += [builder.add("add", [cells[0], side], f"add_{side.index}") for side in (left, right)]
    x = builder.add("concat", cells, "cell")
    result = imported_graph(builder.finish([builder.add("global_avg_pool", [x], "pool")]))
    assert "stages" not in result.spec.data()


@pytest.mark.parametrize("another", ["kernel", "kind"])
def test_the_last_block_of_a_stage_may_be_another(another: str) -> None:
    builder = GraphBuilder("last", Input(channels=3, height=16, width=16))
    x: Any = builder.add("conv2d", [builder.input], "stem", layer=True, channels=8, kernel=1)
    for index in range(4):
        path, last = f"layer.{index}", index == 3
        kernel = 5 if last and another == "kernel" else 3
        y = builder.add("conv2d", [x], f"{path}.conv", layer=True, channels=8, kernel=kernel, padding=kernel // 2)
        y = builder.add("relu", [y], f"{path}.relu") if last and another == "kind" else y
        x = builder.add("add", [y, x], f"{path}.add")
    result = imported_graph(builder.finish([x]))
    (stage,) = result.spec.data()["stages"].values()
    assert stage["repeat"] == 4
    assert stage["last"] == {"kernel": {"kernel": 5, "padding": 2}, "kind": {"block": "residual_block_2"}}[another]


def test_a_network_without_joins_has_blocks_of_what_repeats_most() -> None:
    result = imported("pytorchcv/diracnet18v2")
    assert [stage.get("repeat", 1) for stage in result.spec.data()["stages"].values()] == [3, 1, 3, 1, 3, 1, 4]


def test_flat_is_one_chain() -> None:
    graph = load("cifar/resnet20").to_graph()
    result = import_model(Source(graph), flat=True)
    assert "stages" not in result.spec.data()
    assert by_name(result.spec.to_graph()) == by_name(graph)


def test_what_no_backend_imports_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"builtins.dict is not a model of an installed backend"):
        import_model({})
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match=r"pipe\.onnx: is not a regular file"):
        import_model(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match=r"no_such\.onnx: does not exist"):
        import_model("no_such.onnx")
    with pytest.raises(ModelError, match="no_such_package:model: No module named"):
        import_model("no_such_package:model")


def test_a_file_that_nothing_imports_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.undo()
    (tmp_path / "model.txt").write_text("x")
    with pytest.raises(ModelError, match=r"no installed backend imports \.txt \(known: "):
        import_model(tmp_path / "model.txt")


@pytest.mark.slow
def test_padding_in_words_is_in_numbers_where_strided_windows_are() -> None:
    graph = load("torchvision/resnet18", SMALL).to_graph()

    def in_words(operation: Any) -> Any:
        plain = operation.op == "conv2d" and operation.stride == (1, 1)
        return operation.model_copy(update={"padding": "same"}) if plain else operation

    nodes = [node.model_copy(update={"operation": in_words(node.operation)}) for node in graph.nodes]
    source = graph.model_copy(update={"nodes": tuple(nodes)})
    assert by_name(imported_graph(source).spec.to_graph()) == by_name(graph)
    assert imported_graph(source, unknown=False).extends == "torchvision/resnet18"
