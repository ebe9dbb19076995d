"""Weights of a network that differs a little fit where that is asked for, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, available, initialize, load, read_weights, write_weights
from resnet_spec.weights.adapting import ADAPTATIONS, adapt_to, first_kernels, head_parameters
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.io import fit_arrays

Lines = Callable[..., list[str]]
Variant = Callable[..., Graph]

# One network of each way to begin and to end.
KINDS = (
    "resnet18",
    "slim/resnet_v2_50",
    "timm/resnet18d",
    "timm/resnetv2_18",
    "timm/resnetv2_50x1_bit",
    "keras/resnet50",
)


@pytest.fixture
def variant(small: Graph) -> Variant:
    """The small network with overrides."""
    return lambda *overrides: load("spec.yaml", overrides).to_graph()


@pytest.fixture
def plain(tmp_path: Path) -> Callable[..., Path]:
    """A file that does not say for which architecture it was written."""

    def write(arrays: dict[str, Any]) -> Path:
        path = tmp_path / "plain.safetensors"
        write_safetensors(path, arrays)
        return path

    return write


def fingerprinted(folder: Path, graph: Graph) -> Path:
    """A file that says for which architecture it was written."""
    path = folder / "fingerprinted.safetensors"
    write_weights(path, graph, initialize(graph), force=True)
    return path


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


# -- where networks begin and end --------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_classifier_has_a_head_as_wide_as_its_classes(shipped: Callable[[str], Graph]) -> None:
    for name in available():
        graph = shipped(name)
        # A decoder and a pyramid have no classifier, one for segmentation is a map, and that for faces is followed by a
        # normalization.
        others = name.startswith(("mirror/decoder", "faces/", "torchvision/fcn", "torchvision/deeplab", "smp/"))
        others = others or name == "torchvision/resnet18_fpn"
        if others or load(name).parameters.get("classes") == 0:
            assert head_parameters(graph) == []
        else:
            (classes,) = {parameter.shape[0] for parameter in head_parameters(graph)}
            assert classes == graph.by_name[graph.logits].shape[0]


@pytest.mark.slow
def test_every_network_that_reads_images_has_kernels_that_read_them(shipped: Callable[[str], Graph]) -> None:
    for name in available():
        if name.startswith("signals/"):
            continue
        kernels = [parameter.shape[1] for parameter in first_kernels(shipped(name))]
        # Those of image-classifiers normalize the image before they read it.
        assert kernels == ([] if name.startswith(("mirror/decoder", "image_classifiers/")) else [3])


@pytest.mark.parametrize("name", KINDS)
def test_a_backbone_has_no_head(name: str) -> None:
    assert head_parameters(load(name, ["head=null"]).to_graph()) == []
    assert head_parameters(load(name, ["outputs=features"]).to_graph()) == []


def test_layers_without_parameters_may_come_before_the_first_kernel(lower: Callable[..., Graph]) -> None:
    graph = lower("{stem: {pad: {pad2d: {padding: 1}}, act: relu, a: {conv2d: {channels: 4, kernel: 3}}}}")

    assert [parameter.name for parameter in first_kernels(graph)] == ["a.weight"]


def test_a_grouped_convolution_and_a_normalization_do_not_read_all_channels(lower: Callable[..., Graph]) -> None:
    grouped = "{stem: {a: {conv2d: {channels: 3, kernel: 3, groups: 3}}}}"
    normalized = """
        stem:
          bn: {batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}}
          a: {conv2d: {channels: 4, kernel: 3}}
    """

    assert [first_kernels(lower(text)) for text in (grouped, normalized)] == [[], []]


# -- classes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_head_is_reinitialized_for_other_classes(name: str, caplog: pytest.LogCaptureFixture) -> None:
    graph, other = load(name).to_graph(), load(name, ["parameters.classes=7"]).to_graph()
    given = {p.name: np.broadcast_to(np.float32(1), p.shape) for p in graph.parameters()}
    adapted = adapt_to(other, given, ["classes"], seed=3)
    head = [parameter.name for parameter in head_parameters(other)]

    assert [name for name in given if adapted[name] is not given[name]] == head
    assert {name: adapted[name].shape for name in given} == {p.name: p.shape for p in other.parameters()}
    drawn = initialize(other, 3)
    assert all(np.array_equal(adapted[name], drawn[name]) for name in head)
    assert caplog.messages == [
        f"{', '.join(head)}: reinitialized at random, since the file has "
        f"{head_parameters(graph)[0].shape[0]} classes, not 7"
    ]


def test_the_seed_draws_the_head(variant: Variant, plain: Callable[..., Path]) -> None:
    path = plain(initialize(variant("head.fc.linear.features=9")))
    one, same_again, other = (
        read_weights(path, variant(), adapt=["classes"], seed=seed)["fc.weight"] for seed in (1, 1, 2)
    )

    assert np.array_equal(one, same_again)
    assert not np.array_equal(one, other)


def test_a_head_that_fits_is_kept(small: Graph, plain: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    arrays = initialize(small, 4)

    assert same(read_weights(plain(arrays), small, adapt=list(ADAPTATIONS)), arrays)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "head",
    [
        {"fc.weight": (7, 13), "fc.bias": (7,)},
        {"fc.weight": (7, 12), "fc.bias": (8,)},
        {"fc.weight": (7, 12), "fc.bias": (5,)},
        {"fc.weight": (5, 13), "fc.bias": (5,)},
        {"fc.weight": (7, 12, 2, 1), "fc.bias": (7,)},
        {"fc.weight": (), "fc.bias": (7,)},
    ],
)
def test_a_head_that_differs_in_another_way_is_rejected(
    small: Graph, plain: Callable[..., Path], lines: Lines, head: dict[str, tuple[int, ...]]
) -> None:
    arrays = initialize(small) | {name: np.zeros(shape, "float32") for name, shape in head.items()}

    assert "fc.weight: has shape" in "\n".join(
        lines(lambda: read_weights(plain(arrays), small, adapt=["classes", "background"]))
    ) or "fc.bias: has shape" in "\n".join(lines(lambda: read_weights(plain(arrays), small, adapt=["classes"])))


def test_a_bias_that_the_file_lacks_is_not_initialized(small: Graph, plain: Callable[..., Path], lines: Lines) -> None:
    arrays = initialize(small) | {"fc.weight": np.zeros((7, 12), "float32")}
    del arrays["fc.bias"]

    assert "fc.bias: missing" in lines(lambda: read_weights(plain(arrays), small, adapt=["classes"]))


# -- background --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "slim/resnet_v1_50"])
def test_the_background_is_the_first_of_1001_classes(name: str, caplog: pytest.LogCaptureFixture) -> None:
    graph = load(name).to_graph()
    head = head_parameters(graph)
    given = {p.name: np.arange(1001 * np.prod(p.shape[1:])).reshape(1001, *p.shape[1:]) for p in head}
    adapted = adapt_to(graph, given, ["background", "classes"])

    assert all(np.array_equal(adapted[p.name], given[p.name][1:]) for p in head)
    assert {adapted[p.name].shape for p in head} == {p.shape for p in head}
    assert caplog.messages == [f"{p.name}: dropped the first of its 1001 classes, the background" for p in head]


def test_1001_classes_are_reinitialized_where_no_background_is_named() -> None:
    graph = load("resnet18").to_graph()
    given = {p.name: np.zeros((1001, *p.shape[1:]), "float32") for p in head_parameters(graph)}

    assert adapt_to(graph, given, ["classes"])["fc.weight"].any()


def test_the_background_is_not_left_out_of_other_numbers_of_classes(small: Graph) -> None:
    given = {"fc.weight": np.zeros((6, 12)), "fc.bias": np.zeros(6)}

    assert adapt_to(small, given, ["background"]) == given


# -- channels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18d", "timm/resnetv2_18", "keras/resnet50v2"])
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_kernels_for_colors_are_added_up_or_repeated(name: str, channels: int) -> None:
    colors, graph = load(name).to_graph(), load(name, [f"input.channels={channels}"]).to_graph()
    given = {p.name: np.random.default_rng(0).random(p.shape, "float32") for p in first_kernels(colors)}
    ((kernel, adapted),) = adapt_to(graph, given, ["channels"]).items()

    assert adapted.dtype == np.float32
    if channels == 1:
        assert np.allclose(adapted[:, 0], given[kernel][:, 0] + given[kernel][:, 1] + given[kernel][:, 2])
    else:
        expected = [given[kernel][:, index % 3] * np.float32(3 / channels) for index in range(channels)]
        assert np.array_equal(adapted, np.stack(expected, axis=1))


def test_gray_weights_are_not_spread(variant: Variant, plain: Callable[..., Path], lines: Lines) -> None:
    path = plain(initialize(variant("input.channels=1")))
    said = lines(lambda: read_weights(path, variant(), adapt=["channels"]))

    assert said[1:] == [
        "conv1.weight: has shape [8, 1, 3, 3], not [8, 3, 3, 3]",
        'the file is for another number of input channels; overrides="input.channels=1" has as many',
    ]


# -- backbone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [["head=null"], ["outputs=features"], ["outputs=[layer1]"]])
def test_a_backbone_leaves_out_what_follows(
    variant: Variant, plain: Callable[..., Path], caplog: pytest.LogCaptureFixture, overrides: list[str]
) -> None:
    graph, whole = variant(*overrides), initialize(variant(), 5)
    counters = {"bn1.num_batches_tracked": np.array(3), "layer2.0.bn1.num_batches_tracked": np.array(3)}
    arrays = read_weights(plain({**whole, **counters}), graph, adapt=["backbone"])

    assert same(arrays, {parameter.name: whole[parameter.name] for parameter in graph.parameters()})
    left_out = [name for name in whole if name not in arrays]
    assert "fc.weight" in left_out
    assert caplog.messages == [f"dropped, since the network has no such layers: {', '.join(left_out)}"]


def test_a_backbone_that_lacks_a_tensor_is_refused(variant: Variant, plain: Callable[..., Path], lines: Lines) -> None:
    arrays = initialize(variant())
    del arrays["bn1.bias"]
    said = lines(lambda: read_weights(plain(arrays), variant("head=null"), adapt=["backbone"]))

    assert said[1:] == ["bn1.bias: missing", "fc.weight: unexpected", "fc.bias: unexpected"]


def test_a_deeper_network_is_not_a_backbone(variant: Variant, plain: Callable[..., Path], lines: Lines) -> None:
    deeper = initialize(variant("stages.layer1.repeat=3"))

    assert "layer1.2.bn1.bias: unexpected" in lines(
        lambda: read_weights(plain(deeper), variant("head=null"), adapt=["backbone"])
    )


@pytest.mark.parametrize(
    "pair",
    [
        "torchvision/resnet101 resnet50",
        "keras/resnet101 keras/resnet50",
        "slim/resnet_v1_101 slim/resnet_v1_50",
        "timm/resnetv2_101 timm/resnetv2_50",
    ],
)
def test_no_librarys_deeper_network_is_a_backbone(pair: str) -> None:
    deeper, other = (load(name).to_graph() for name in pair.split())
    given = {p.name: np.broadcast_to(np.float32(0), p.shape) for p in deeper.parameters()}

    assert len(adapt_to(other, given, ["backbone"])) == len(given)


# -- together ----------------------------------------------------------------------------------------------------


def test_all_adaptations_work_together(
    variant: Variant, tmp_path: Path, plain: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    arrays = initialize(variant(), 6)
    path = plain({name: array.astype("float16") for name, array in arrays.items()} | {"other": np.zeros(1)})
    graph = variant("input.channels=1", "head.fc.linear.features=9")
    read = read_weights(path, graph, adapt=["backbone", "channels", "classes", "half"])

    assert {array.dtype.name for array in read.values()} == {"float32"}
    halved = arrays["conv1.weight"].astype("float16").astype("float32")
    assert np.array_equal(read["conv1.weight"], halved.sum(axis=1, keepdims=True))
    assert np.array_equal(read["fc.bias"], initialize(graph)["fc.bias"])
    assert len(caplog.messages) == 4


@pytest.mark.parametrize(
    ("overrides", "adapt"),
    [
        (["head.fc.linear.features=9"], ["classes"]),
        (["input.channels=1"], ["channels"]),
        (["head=null"], ["backbone"]),
        (["outputs=features"], ["backbone"]),
        (["head={pool: global_max_pool, flat: flatten}"], ["backbone"]),
        (["head.fc.linear.features=9", "input.channels=2"], ["classes", "channels"]),
        (["head=null", "input.channels=2"], ["channels", "backbone"]),
    ],
)
def test_a_file_that_says_what_it_is_for_is_adapted_where_asked_for(
    variant: Variant, tmp_path: Path, lines: Lines, overrides: list[str], adapt: list[str]
) -> None:
    path, graph = fingerprinted(tmp_path, variant()), variant(*overrides)

    assert list(read_weights(path, graph, adapt=adapt)) == [parameter.name for parameter in graph.parameters()]
    for given in ([], adapt[1:], ["half"]):
        said = lines(lambda given=given: read_weights(path, graph, adapt=given))
        assert all(any(f'adapt="{name}"' in line for line in said) for name in adapt if name not in given)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("stages.layer2.stride=1", "stride"),
        ("layers.norm.batch_norm.epsilon=1e-3", "epsilon"),
        ("stem.conv1.conv2d.padding=0", "padding"),
        ("stem.relu=sigmoid", "op"),
        ("layers.act=sigmoid", "op"),
        ("head.avgpool=global_max_pool", "op"),
    ],
)
@pytest.mark.parametrize("also", [[], ["head.fc.linear.features=9"], ["input.channels=1"], ["head=null"]])
def test_a_file_for_another_architecture_is_reported_whatever_is_adapted(
    variant: Variant, tmp_path: Path, lines: Lines, override: str, field: str, also: list[str]
) -> None:
    if also == ["head=null"] and "head" in override:
        also = []
    path, graph = fingerprinted(tmp_path, variant()), variant(override, *also)

    (said,) = lines(lambda: read_weights(path, graph, adapt=list(ADAPTATIONS), strict_graph=True))
    assert said.startswith(f"{path}: was written for another variant of spec: ")
    assert f"differs in '{field}'" in said


def test_a_backbones_file_does_not_become_a_whole_network(variant: Variant, tmp_path: Path, lines: Lines) -> None:
    path = fingerprinted(tmp_path, variant("head=null"))
    said = lines(lambda: read_weights(path, variant(), adapt=list(ADAPTATIONS)))

    assert said[0].endswith(": 'avgpool' is only in the spec")
    assert said[2:4] == ["fc.weight: missing", "fc.bias: missing"]


# -- one text where several are taken ----------------------------------------------------------------------------


def test_one_adaptation_is_given_as_text(variant: Variant, plain: Callable[..., Path]) -> None:
    other = variant("head.fc.linear.features=3")
    given = initialize(variant())
    path = plain(given)

    expected = read_weights(path, other, adapt=["classes"])
    assert same(read_weights(path, other, adapt="classes"), expected)
    assert same(fit_arrays(other, given, "x", adapt="classes").arrays, expected)
    assert same(read_weights(fingerprinted(path.parent, variant()), other, adapt="classes"), expected)


def test_text_that_is_not_an_adaptation_is_an_error_about_the_whole_of_it(small: Graph, lines: Lines) -> None:
    for call in (
        lambda: read_weights("none.safetensors", small, adapt="clases"),
        lambda: fit_arrays(small, initialize(small), "x", adapt="clases"),
    ):
        (line,) = lines(call)
        assert line.startswith("unknown adaptation 'clases'; did you mean 'classes'? (")


def test_one_override_and_one_output_are_given_as_text(variant: Variant) -> None:
    graph = variant()
    name = graph.nodes[4].name

    assert load("spec.yaml", "head.fc.linear.features=3").to_graph() == variant("head.fc.linear.features=3")
    assert graph.with_outputs(name) == graph.with_outputs([name])
    assert graph.with_outputs(name, "maps") == graph.with_outputs([name], ["maps"])
