"""The tables of other libraries' names hold both ways, for every network whose layers they name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, initialize, load
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import OutputError
from resnet_spec.weights.formats.transformers import from_transformers, to_transformers
from resnet_spec.weights.io import fit_arrays
from resnet_spec.weights.naming import Table, find_table, tables
from resnet_spec.weights.selection import select
from tests.shipped import networks

Lines = Callable[[Callable[[], Any]], list[str]]

POST_ACTIVATION = (
    "caffe", "caffe2", "flax", "flax_basic", "gluon_v1", "gluon_v1_symbol", "gluoncv", "gluoncv_symbol", "mlperf",
    "paddle", "detectron2", "keras", "keras_2016", "kuangliu", "mmpretrain", "sequential", "slim", "timm",
    "torchvision", "transformers",
)  # fmt: skip
PRE_ACTIVATION = ("bit", "gluon_v2", "gluon_v2_symbol", "keras_v2", "timm")

EXAMPLES = {
    "detectron2": {
        "bn1.weight": "backbone.bottom_up.stem.conv1.norm.weight",
        "layer1.0.downsample.0.weight": "backbone.bottom_up.res2.0.shortcut.weight",
        "layer4.1.bn2.running_var": "backbone.bottom_up.res5.1.conv2.norm.running_var",
    },
    "mmpretrain": {
        "conv1.weight": "backbone.conv1.weight",
        "layer2.0.downsample.1.bias": "backbone.layer2.0.downsample.1.bias",
        "fc.bias": "head.fc.bias",
    },
    "keras": {
        "conv1.weight": "conv1_conv/kernel",
        "layer1.0.downsample.0.weight": "conv2_block1_0_conv/kernel",
        "layer3.1.bn2.running_mean": "conv4_block2_2_bn/moving_mean",
        "fc.weight": "predictions/kernel",
    },
    "keras_2016": {
        "bn1.running_var": "bn_conv1/moving_variance",
        "layer1.0.conv2.weight": "res2a_branch2b/kernel",
        "layer2.1.bn1.bias": "bn3b_branch2a/beta",
        "layer1.0.downsample.0.weight": "res2a_branch1/kernel",
        "fc.weight": "fc1000/kernel",
    },
    "kuangliu": {"layer2.0.downsample.0.weight": "layer2.0.shortcut.0.weight", "fc.weight": "linear.weight"},
    "sequential": {"conv1.weight": "0.weight", "layer1.0.conv1.weight": "4.0.conv1.weight", "fc.bias": "9.bias"},
    "slim": {"layer1.0.bn1.weight": "block1/unit_1/bottleneck_v1/conv1/BatchNorm/gamma", "fc.weight": "logits/weights"},
    "timm": {"fc.weight": "fc.weight"},
    "torchvision": {"fc.weight": "fc.weight"},
    "transformers": {
        "conv1.weight": "resnet.embedder.embedder.convolution.weight",
        "layer1.0.downsample.0.weight": "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
        "layer4.0.bn2.bias": "resnet.encoder.stages.3.layers.0.layer.1.normalization.bias",
        "fc.bias": "classifier.1.bias",
    },
    "bit": {
        "stem.conv.weight": "resnet/root_block/standardized_conv2d/kernel",
        "stages.0.blocks.2.norm3.bias": "resnet/block1/unit03/c/group_norm/beta",
        "stages.3.blocks.0.downsample.conv.weight": "resnet/block4/unit01/a/proj/standardized_conv2d/kernel",
        "head.fc.weight": "resnet/head/conv2d/kernel",
    },
    "caffe": {
        "bn1.running_mean": "bn_conv1/mean",
        "bn1.bias": "scale_conv1/bias",
        "layer1.1.conv3.weight": "res2b_branch2c/weight",
        "layer1.0.downsample.1.weight": "scale2a_branch1/weight",
    },
    "caffe2": {
        "conv1.weight": "conv1_w",
        "bn1.running_var": "res_conv1_bn_riv",
        "layer1.0.bn3.bias": "res2_0_branch2c_bn_b",
        "layer4.0.downsample.0.weight": "res5_0_branch1_w",
        "fc.bias": "pred_b",
    },
    "flax": {
        "layer2.0.conv1.weight": "params/BottleneckResNetBlock_3/Conv_0/kernel",
        "layer2.0.downsample.1.running_mean": "batch_stats/BottleneckResNetBlock_3/norm_proj/mean",
        "layer2.0.downsample.1.bias": "params/BottleneckResNetBlock_3/norm_proj/bias",
    },
    "paddle": {"bn1.running_var": "bn1._variance", "layer1.0.downsample.1.running_mean": "layer1.0.downsample.1._mean"},
    "gluon_v1": {"layer1.0.bn3.weight": "features.4.0.body.7.gamma", "fc.bias": "output.bias"},
    "gluon_v1_symbol": {"layer1.1.conv2.weight": "resnetv10_stage1_conv5_weight"},
    "gluon_v2_symbol": {"stages.0.blocks.1.conv1.weight": "resnetv20_stage1_conv4_weight"},
    "mlperf": {
        "layer1.0.conv1.weight": "resnet_model/conv2d_2/kernel",
        "bn1.bias": "resnet_model/batch_normalization/beta",
    },
    "keras_v2": {
        "stages.0.blocks.0.norm1.weight": "conv2_block1_preact_bn/gamma",
        "stages.0.blocks.0.norm2.weight": "conv2_block1_1_bn/gamma",
        "norm.bias": "post_bn/beta",
    },
}
"""Names as the libraries' own files have them."""


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    narrow = {"parameters.classes": 3}
    return {name: load(name, narrow).to_graph() for name in ("resnet50", "resnet18", "timm/resnetv2_50x1_bit")}


@pytest.fixture(scope="module")
def drawn(graphs: dict[str, Graph]) -> dict[str, dict[str, Any]]:
    """Random values of each graph, which show a change of layout."""
    return {name: initialize(graph, 4) for name, graph in graphs.items()}


def numbered(graph: Graph) -> dict[str, Any]:
    """Values that tell parameters apart, and no memory."""
    return {p.name: np.broadcast_to(np.float32(index), p.shape) for index, p in enumerate(graph.parameters())}


def graded(graph: Graph) -> dict[str, Any]:
    """Values that tell parameters apart, and their axes, and take no memory."""
    arrays: dict[str, Any] = {}
    for index, parameter in enumerate(graph.parameters()):
        values = np.arange(parameter.shape[0], dtype=np.float32) + 10_000 * index
        arrays[parameter.name] = np.broadcast_to(values.reshape(-1, *[1] * (len(parameter.shape) - 1)), parameter.shape)
    return arrays


def equal(first: Any, second: Any) -> bool:
    """Whether two arrays are equal; an axis along which both repeat one value is compared once."""
    if first.shape != second.shape:
        return False
    steps = zip(first.strides, second.strides, strict=True)
    once = tuple(slice(None) if any(pair) else slice(1) for pair in steps)
    return np.array_equal(first[once], second[once])


def numbers(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array.flat[0] for name, array in arrays.items()}


def renamed(table: Table, graph: Graph, arrays: dict[str, Any]) -> dict[str, Any]:
    """A network as a library's file holds it, without counters."""
    return {n: array for n, array in table.renamed(graph, arrays).items() if not n.endswith("num_batches_tracked")}


def test_every_table_is_known_by_its_files_name() -> None:
    assert set(EXAMPLES) <= set(tables())
    assert all(table.name == name and table.description for name, table in tables().items())


@pytest.mark.parametrize(("library", "ours", "name"), [(t, o, n) for t, e in EXAMPLES.items() for o, n in e.items()])
def test_names_are_those_of_the_librarys_files(graphs: dict[str, Graph], library: str, ours: str, name: str) -> None:
    graph = next(graph for graph in graphs.values() if any(p.name == ours for p in graph.parameters()))

    assert find_table(library).translated(graph)[ours] == name


@pytest.mark.parametrize("network", ["resnet50", "resnet18"])
@pytest.mark.parametrize("library", POST_ACTIVATION)
def test_a_network_is_read_in_every_librarys_names(
    graphs: dict[str, Graph], drawn: dict[str, dict[str, Any]], network: str, library: str
) -> None:
    graph, arrays, table = graphs[network], drawn[network], find_table(library)
    file = renamed(table, graph, arrays)
    read = select(graph, Checkpoint(dict(sorted(file.items()))), "x").tensors

    assert len(file) == len(arrays)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())


NEIGHBORS = {*pairwise((*POST_ACTIVATION, POST_ACTIVATION[0]))}
PAIRS = [pytest.param(*p, marks=() if p in NEIGHBORS else pytest.mark.slow) for p in permutations(POST_ACTIVATION, 2)]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_between_every_two_libraries_nothing_is_lost(graphs: dict[str, Graph], first: str, second: str) -> None:
    graph = graphs["resnet18"]
    arrays = numbered(graph)
    for library in (first, second, first):
        arrays = select(graph, Checkpoint(renamed(find_table(library), graph, dict(arrays))), "x").tensors

    assert numbers({name: arrays[name] for name in numbered(graph)}) == numbers(numbered(graph))


@pytest.mark.parametrize("library", PRE_ACTIVATION)
def test_a_pre_activation_network_is_read_in_every_librarys_names(
    graphs: dict[str, Graph], drawn: dict[str, dict[str, Any]], library: str
) -> None:
    graph, arrays = graphs["timm/resnetv2_50x1_bit"], drawn["timm/resnetv2_50x1_bit"]
    table = find_table(library)
    read = select(graph, Checkpoint(renamed(table, graph, arrays)), "x").tensors

    assert all(np.array_equal(read[name], array) for name, array in arrays.items())


OWN = ("msra/resnet50", "keras/resnet50", "cifar/resnet18", "slim/resnet_v1_50")
"""Specs whose own names are those of detectron2, Keras, kuangliu and slim."""

# Every library's names and every spec's own, but not all pairs, are in ``make test``.
MOVES = [
    pytest.param(spec, other, marks=() if row == column % len(OWN) else pytest.mark.slow)
    for row, spec in enumerate(OWN)
    for column, other in enumerate(POST_ACTIVATION)
] + [
    ("keras/resnet50v2", "keras_v2"),
    ("keras/resnet50v2", "timm"),
]


@pytest.mark.parametrize(("spec", "other"), MOVES)
def test_a_graph_in_a_librarys_own_names_moves_to_every_other(
    shipped: Callable[[str], Graph], spec: str, other: str
) -> None:
    graph = shipped(spec)
    arrays = numbered(graph)
    read = select(graph, Checkpoint(renamed(find_table(other), graph, arrays)), "x").tensors

    assert numbers({name: read[name] for name in arrays}) == numbers(arrays)


@pytest.mark.parametrize("spec", networks())
def test_what_is_written_in_any_librarys_names_is_read_back(shipped: Callable[[str], Graph], spec: str) -> None:
    graph = shipped(spec)
    arrays = graded(graph)
    written = 0
    for table in tables().values():
        with suppress(OutputError):
            read = fit_arrays(graph, table.renamed(graph, arrays), table.name).arrays
            assert all(equal(read[name], array) for name, array in arrays.items()), table.name
            written += 1

    # timm's names are any network's.
    assert written


def test_names_that_do_not_show_the_layout_are_not_written(lines: Lines) -> None:
    """PaddlePaddle's names of a network without batch normalization are PyTorch's, but its linear layers' axes not."""
    graph = load("timm/resnet50_gn").to_graph()

    assert lines(lambda: find_table("paddle").renamed(graph, graded(graph))) == [
        "timm/resnet50_gn: no tensor of it has a name that only paddle has, so that its layout is not shown",
        "fc.weight: would be read back in PyTorch's layout instead of paddle's",
    ]
    headless = load("timm/resnet50_gn", {"head": None}).to_graph()
    assert set(find_table("paddle").renamed(headless, graded(headless))) == set(graded(headless))


@pytest.mark.parametrize(
    ("spec", "library", "name", "shape"),
    [
        ("slim/resnet_v1_50", "torchvision", "fc.weight", (1000, 2048)),
        ("slim/resnet_v1_50", "paddle", "fc.weight", (2048, 1000)),
        ("resnet50", "slim", "logits/weights", (1, 1, 2048, 1000)),
        ("resnet50", "torchvision", "fc.weight", (1000, 2048)),
        ("timm/resnetv2_50", "gluon_v2", "output.weight", (1000, 2048)),
        ("timm/resnetv2_50", "keras_v2", "predictions/kernel", (2048, 1000)),
        ("keras/resnet50v2", "timm", "head.fc.weight", (1000, 2048, 1, 1)),
        ("timm/resnetv2_50x1_bit", "bit", "resnet/head/conv2d/kernel", (1, 1, 2048, 1000)),
    ],
)
def test_a_classifier_has_the_axes_that_it_has_in_the_library(
    spec: str, library: str, name: str, shape: tuple[int, ...]
) -> None:
    graph = load(spec, {"parameters.classes": 1000}).to_graph()

    assert find_table(library).renamed(graph, graded(graph))[name].shape == shape


def test_a_network_that_a_library_lacks_is_refused_by_layer(graphs: dict[str, Graph], lines: Lines) -> None:
    graph = load("timm/seresnet18").to_graph()
    said = lines(lambda: find_table("torchvision").translated(graph))

    assert said[0] == "timm/seresnet18: torchvision has no such layers (16)"
    assert "layer1.0.se.fc1: has no name there" in said


@pytest.mark.parametrize("library", POST_ACTIVATION)
def test_names_are_of_letters_and_digits_however_many_blocks_there_are(
    shipped: Callable[[str], Graph], library: str
) -> None:
    """The alphabet ends before the 36 blocks of a ResNet-152."""
    graph = shipped("torchvision/resnet152")
    names = find_table(library).translated(graph)

    assert [name for name in names.values() if not re.fullmatch(r"[\w./]+", name, re.ASCII)] == []
    assert len({*names.values()}) == len(graph.parameters())


def test_an_unknown_table_is_an_error_with_a_suggestion(lines: Lines) -> None:
    (said,) = lines(lambda: find_table("detectron"))

    assert said.startswith("no table of names is called 'detectron'; did you mean 'detectron2'? (known: bit, ")


# -- transformers, whose folders are compared by name ------------------------------------------------------------

NAMES = {
    "conv1.weight": "resnet.embedder.embedder.convolution.weight",
    "bn1.running_mean": "resnet.embedder.embedder.normalization.running_mean",
    "layer1.0.downsample.0.weight": "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
    "layer12.3.downsample.1.bias": "resnet.encoder.stages.11.layers.3.shortcut.normalization.bias",
    "layer3.22.conv1.weight": "resnet.encoder.stages.2.layers.22.layer.0.convolution.weight",
    "layer4.0.bn3.num_batches_tracked": "resnet.encoder.stages.3.layers.0.layer.2.normalization.num_batches_tracked",
    "fc.bias": "classifier.1.bias",
}


@pytest.mark.parametrize(("ours", "name"), NAMES.items())
def test_a_name_is_translated_both_ways(ours: str, name: str) -> None:
    assert to_transformers(ours) == name
    assert from_transformers(name) == ours


@pytest.mark.parametrize("spec", ["torchvision/resnet18", "torchvision/resnet152", "timm/resnet26"])
def test_renaming_is_one_to_one(spec: str) -> None:
    names = [parameter.name for parameter in load(spec).to_graph().parameters()]
    translated = [to_transformers(name) for name in names]

    assert len({*translated}) == len(names)
    assert [from_transformers(str(name)) for name in translated] == names


@pytest.mark.parametrize(
    "name",
    [
        "weight",
        "",
        "resnet.encoder.stages.00.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.-1.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.٣.layers.0.layer.0.convolution.weight",
        f"resnet.encoder.stages.{'9' * 5000}.layers.0.layer.0.convolution.weight",
        "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight.data",
        "xresnet.embedder.embedder.convolution.weight",
        "resnet.embedder.embedder.convolution\n.weight",
        "vit.encoder.layer.0.output.dense.weight",
        "conv1.weight",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert from_transformers(name) is None


@pytest.mark.parametrize(
    "name", ["conv1.0.weight", "layer0.0.conv1.weight", "layer1.0.conv0.weight", "layer1.0.se.fc1.bias"]
)
def test_layers_that_transformers_lacks_have_no_name(name: str) -> None:
    assert to_transformers(name) is None


@pytest.mark.parametrize("network", ["resnet50", "resnet18", "timm/resnetv2_50x1_bit"])
def test_no_name_means_different_layers_in_two_libraries(graphs: dict[str, Graph], network: str) -> None:
    graph = graphs[network]
    meant: dict[str, str] = {parameter.name: parameter.name for parameter in graph.parameters()}
    for table in tables().values():
        for name, parameter in table.names(graph):
            assert meant.setdefault(name.replace("/", "."), parameter.name) == parameter.name, (table.name, name)


@pytest.mark.parametrize(
    ("library", "spec"), [("keras", "resnet50"), ("keras_2016", "resnet50"), ("keras_v2", "timm/resnetv2_50")]
)
def test_keras_numbers_the_variables_of_a_layer(library: str, spec: str) -> None:
    """As a ``.keras`` file does, which has no words for them."""
    graph = load(spec, {"parameters.classes": 3}).to_graph()
    seen: Counter[str] = Counter()
    file: dict[str, Any] = {}
    for name, array in find_table(library).renamed(graph, graded(graph)).items():
        layer = name.rpartition("/")[0]
        file[f"{layer}/{seen[layer]}"] = array
        seen[layer] += 1
    read = select(graph, Checkpoint(file), "x").tensors

    assert numbers(read) == numbers(graded(graph))
