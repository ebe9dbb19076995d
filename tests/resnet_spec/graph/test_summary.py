"""Counts, sizes and multiply-accumulates, against the figures others publish."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import Graph, available, load, summarize
from tests.shipped import networks

ATTENTION = Path(__file__).parents[2] / "lab" / "specs" / "attention.yaml"

Lower = Callable[..., Graph]


def published() -> dict[str, float]:
    """Billions of operations that torchvision's weights state of themselves, read from its source, unimported.

    Some RegNets have weights for larger images as well, which state more.
    """
    found = importlib.util.find_spec("torchvision")
    assert found is not None
    assert found.origin is not None
    sources = [Path(found.origin).with_name("models") / name for name in ("resnet.py", "regnet.py")]
    figures: dict[str, float] = {}
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text()))):
        if isinstance(node, ast.ClassDef) and node.name.endswith("_Weights"):
            pairs = [zip(d.keys, d.values, strict=True) for d in ast.walk(node) if isinstance(d, ast.Dict)]
            figures[node.name.removesuffix("_Weights").lower()] = min(
                ast.literal_eval(v) for p in pairs for k, v in p if isinstance(k, ast.Constant) and k.value == "_ops"
            )
    return figures


# -- resnet18 as torchsummary shows it ---------------------------------------------------------------------------


def test_resnet18_has_sixty_eight_rows() -> None:
    rows = summarize(load("resnet18").to_graph()).rows

    assert len(rows) == 68
    assert [(r.label, r.shape, r.parameters) for r in rows[:4]] == [
        ("Conv2d", (64, 112, 112), 9_408),
        ("BatchNorm2d", (64, 112, 112), 128),
        ("ReLU", (64, 112, 112), 0),
        ("MaxPool2d", (64, 56, 56), 0),
    ]
    assert [(r.label, r.shape, r.parameters) for r in rows[-2:]] == [
        ("AdaptiveAvgPool2d", (512, 1, 1), 0),
        ("Linear", (1000,), 513_000),
    ]


def test_a_residual_block_has_a_row_after_its_last_activation() -> None:
    rows = summarize(load("resnet18").to_graph()).rows
    blocks = [index for index, row in enumerate(rows) if row.label == "BasicBlock"]

    assert [rows[index].name for index in blocks] == [f"layer{s}.{b}" for s in (1, 2, 3, 4) for b in (0, 1)]
    assert [rows[index - 1].name for index in blocks] == [f"{rows[index].name}.relu2" for index in blocks]
    assert all(rows[i].shape == rows[i - 1].shape and rows[i].parameters == rows[i].statistics == 0 for i in blocks)


def test_a_projecting_block_lists_its_layers_in_order_of_execution() -> None:
    rows = [row for row in summarize(load("resnet18").to_graph()).rows if row.name.startswith("layer2.0")]

    assert [(row.name.removeprefix("layer2.0").lstrip("."), row.parameters, row.statistics) for row in rows] == [
        ("conv1", 73_728, 0),
        ("bn1", 256, 256),
        ("relu1", 0, 0),
        ("conv2", 147_456, 0),
        ("bn2", 256, 256),
        ("downsample.0", 8_192, 0),
        ("downsample.1", 256, 256),
        ("relu2", 0, 0),
        ("", 0, 0),
    ]
    assert {row.shape for row in rows} == {(128, 28, 28)}


def test_additions_reshapings_and_a_final_softmax_have_no_row() -> None:
    names = {row.name for row in summarize(load("keras/resnet50").to_graph()).rows}

    assert not names & {"conv1_pad", "pool1_pad", "conv2_block1_add", "flatten", "softmax"}
    assert {"conv1_conv", "pool1_pool", "avg_pool", "predictions", "conv2_block1"} <= names


def test_resnet18_has_its_totals_and_sizes() -> None:
    summary = summarize(load("resnet18").to_graph())

    assert summary.parameters == sum(row.parameters for row in summary.rows) == 11_689_512
    assert f"{summary.input_mib:.2f}" == "0.57"
    assert f"{summary.forward_backward_mib:.2f}" == "62.79"
    assert f"{summary.parameters_mib:.2f}" == "44.59"
    assert f"{summary.total_mib:.2f}" == "107.96"


# -- published figures -------------------------------------------------------------------------------------------


TORCHVISION = [
    name.removeprefix("torchvision/")
    for name in available()
    if name.startswith("torchvision/") and load(name).parameters.get("classes") == 1000
]


def test_every_shipped_torchvision_spec_has_a_published_figure() -> None:
    assert set(TORCHVISION) <= set(published())
    resnets = {name for name in published() if not name.startswith("regnet")}
    assert resnets <= set(TORCHVISION)


@pytest.mark.parametrize("name", TORCHVISION)
def test_multiply_accumulates_are_those_torchvision_publishes(name: str) -> None:
    assert round(summarize(load(f"torchvision/{name}").to_graph()).macs / 1e9, 3) == published()[name]


def test_the_tutorials_modules_are_those_of_its_keras_summary() -> None:
    summary = summarize(load("tutorial/resnet18").to_graph())

    assert [(m.name, m.parameters + m.statistics) for m in summary.modules] == [
        ("conv", 9_472),
        ("bn", 256),
        ("relu", 0),
        ("mp", 0),
        ("res_block1", 148_224),
        ("res_block2", 525_952),
        ("res_block3", 2_100_480),
        ("res_block4", 8_395_264),
        ("gap", 0),
        ("fc", 5_130),
    ]


@pytest.mark.parametrize(
    ("name", "everything", "trainable"),
    [
        ("tutorial/resnet18", 11_184_778, 11_180_810),
        ("tutorial/resnet34", 21_296_650, 21_288_970),
        ("keras/resnet50", 25_636_712, 25_583_592),
        ("resnet34", 21_814_696, 21_797_672),
        ("resnet50", 25_610_152, 25_557_032),
        ("resnet101", 44_654_504, 44_549_160),
        ("resnet152", 60_344_232, 60_192_808),
    ],
)
def test_totals_are_those_of_the_original(name: str, everything: int, trainable: int) -> None:
    summary = summarize(load(name).to_graph())

    assert (summary.parameters + summary.statistics, summary.parameters) == (everything, trainable)


@pytest.mark.parametrize("name", networks())
def test_rows_and_modules_add_up_to_the_totals(name: str, shipped: Callable[[str], Graph]) -> None:
    summary = summarize(shipped(name))

    for parts in (summary.rows, summary.modules):
        assert sum(part.parameters for part in parts) == summary.parameters
        assert sum(part.statistics for part in parts) == summary.statistics
        assert sum(part.macs for part in parts) == summary.macs


def test_a_matrix_product_has_a_row() -> None:
    summary = summarize(load(ATTENTION).to_graph())

    assert [row.name for row in summary.rows if row.label == "MatMul"] == ["scores", "mixed", "gram"]
    assert sum(row.macs for row in summary.rows) == summary.macs


# -- details -----------------------------------------------------------------------------------------------------


def test_a_layer_called_again_computes_again_and_owns_nothing(lower: Lower) -> None:
    conv = "{conv2d: {channels: 3, kernel: 1}}"
    rows = summarize(lower(f"input: {{height: 2, width: 2}}\nstem: {{a: {conv}, b: {{call: a}}}}\n")).rows

    assert [(row.name, row.parameters, row.macs) for row in rows] == [("a", 9, 36), ("b", 0, 36)]


def test_a_block_without_a_shortcut_has_no_row(lower: Lower) -> None:
    rows = summarize(lower("blocks: {b: {main: {a: relu}}}\nstages: {s: {block: b}}\n")).rows

    assert [row.name for row in rows] == ["s.0.a"]


def test_the_outputs_of_a_network_of_several_have_their_strides(lower: Lower) -> None:
    summary = summarize(lower("extends: resnet18\noutputs: features\n"))

    assert [(tap.name, tap.shape, tap.stride) for tap in summary.outputs] == [
        ("relu", (64, 112, 112), (2, 2)),
        ("layer1", (64, 56, 56), (4, 4)),
        ("layer2", (128, 28, 28), (8, 8)),
        ("layer3", (256, 14, 14), (16, 16)),
        ("layer4", (512, 7, 7), (32, 32)),
    ]


def test_an_output_goes_by_its_own_name_where_it_has_one_and_may_have_no_stride(small: Graph) -> None:
    nodes = ["layer1.0.relu2", "conv1", "fc"]
    plain, named = (summarize(small.with_outputs(nodes, names)).outputs for names in ([], ["a", "b", "c"]))

    assert [tap.name for tap in plain] == ["layer1.0", "conv1", "fc"]
    assert [tap.name for tap in named] == ["a", "b", "c"]
    assert [tap.stride for tap in named] == [(2, 2), (2, 2), None]


def test_a_tap_of_a_map_that_has_grown_has_a_stride_below_one(lower: Lower) -> None:
    up = "{conv_transpose2d: {channels: 2, kernel: 2, stride: [2, 1]}}"
    summary = summarize(lower(f"stem: {{a: relu, b: {up}}}\noutputs: [a, b]\n"))

    assert [tap.stride for tap in summary.outputs] == [(1, 1), (0.5, 1)]


def test_one_output_without_a_name_is_not_a_tap(small: Graph) -> None:
    assert summarize(small).outputs == ()
    assert [tap.name for tap in summarize(small.with_outputs(["fc"], ["logits"])).outputs] == ["logits"]


def test_a_vector_is_an_input_too(lower: Lower) -> None:
    summary = summarize(lower("input: {features: 6}\nstem: {fc: {linear: {features: 4}}}\n"))

    assert (summary.input, summary.macs, summary.input_mib) == ((6,), 24, 6 * 4 / 2**20)


def test_sizes_follow_the_input(small: Graph) -> None:
    summary = summarize(small.at_size(32, 32))

    assert summary.input == (3, 32, 32)
    assert summary.input_mib == 3 * 32 * 32 * 4 / 2**20
    assert summary.macs > summarize(small).macs
