"""A file's network is found by its parameters, whatever library wrote the file; similar networks are distinguished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, available, initialize, load, read_weights, write_weights
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.operations import Role
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.formats.transformers import to_transformers
from resnet_spec.weights.identification import MAX_SUGGESTIONS, Match, count_kernels, identify, likely
from resnet_spec.weights.layouts import KERAS_NAMES, SLIM_NAMES, tensorflow_axes
from resnet_spec.weights.naming import find_table
from tests.shipped import SAMPLE

Shipped = Callable[[str], Graph]
Identify = Callable[..., list[Match]]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have some specs shipped alone, so that not all are lowered."""
    return lambda *names: monkeypatch.setattr("resnet_spec.weights.identification.available", lambda: names)


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch, shipped: Shipped) -> None:
    """Have each spec as it is shipped lowered once for all tests."""

    def cached(name: str, overrides: tuple[str, ...] = ()) -> Any:
        return load(name, overrides) if overrides else SimpleNamespace(to_graph=lambda: shipped(name))

    monkeypatch.setattr("resnet_spec.weights.identification.load", cached)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Identify:
    """Which network tensors are for that some file has."""

    def run(tensors: Mapping[str, Any], **beside: Any) -> list[Match]:
        monkeypatch.setattr(
            "resnet_spec.weights.identification.read_checkpoint", lambda _, **options: Checkpoint(tensors, **beside)
        )
        return identify("x")

    return run


def hollow(graph: Graph) -> dict[str, Any]:
    """Arrays of a graph's shapes that take no memory."""
    return {p.name: np.broadcast_to(np.float32(0), p.shape) for p in graph.parameters()}


def tensorflow(graph: Graph, words: Mapping[Role, str], scope: str = "") -> dict[str, Any]:
    """The same by TensorFlow's names and in its layouts."""
    return {
        f"{scope}{p.node.replace('.', '/')}/{words[p.role]}": np.broadcast_to(
            np.float32(0), [p.shape[axis] for axis in tensorflow_axes(p.role, len(p.shape))]
        )
        for p in graph.parameters()
    }


def found(matches: list[Match]) -> list[str]:
    assert all(match.fits for match in matches)
    return [" ".join((match.spec, *match.overrides)) for match in matches]


# -- what fits ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_kernels_of_every_spec_are_listed(shipped: Shipped) -> None:
    """``make kernels`` writes them."""
    content = files("resnet_spec.weights").joinpath("kernels.json").read_text("utf-8")
    counts = {name: {str(size): n for size, n in count_kernels(shipped(name)).items()} for name in available()}

    assert json.loads(content) == counts
    assert content == json.dumps(counts).replace("}, ", "},\n") + "\n"


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("classes", [7, 1000])
def test_few_specs_are_likely_and_the_right_one_is_among_them(shipped: Shipped, copies: int, classes: int) -> None:
    for name in SAMPLE:
        tensors = hollow(shipped(name)) | {"fc.weight": np.broadcast_to(np.float32(0), (classes, 512))}
        many = {f"{n}.{key}": tensor for n in range(copies) for key, tensor in tensors.items()}

        chosen = likely(available(), many)
        assert name in chosen
        assert len(chosen) < len(available()) / 2


def test_a_spec_of_unknown_kernels_is_likely(shipped: Shipped) -> None:
    assert likely(["new.yaml", "cifar/resnet20"], hollow(shipped("cifar/resnet20"))) == ["new.yaml", "cifar/resnet20"]
    assert likely([], {}) == []


@pytest.mark.slow
@pytest.mark.usefixtures("every")
def test_all_specs_with_the_files_parameters_are_named(shipped: Shipped, named: Identify) -> None:
    parameters = {name: {(p.name, p.shape) for p in shipped(name).parameters()} for name in available()}
    for name in (
        "cifar/resnet20", "keras/resnet50v2", "mirror/decoder18", "slim/resnet_v1_50", "torchvision/resnet50",
    ):  # fmt: skip
        equal = [other for other, theirs in parameters.items() if theirs == parameters[name]]
        assert sorted(found(named(hollow(shipped(name))))) == equal
        assert name in equal


def test_slims_names_in_a_scope_are_found(few: Callable[..., None], named: Identify) -> None:
    few("slim/resnet_v1_50", "slim/resnet_v2_50", "slim/resnet_v1_101")
    graph = load("slim/resnet_v1_50").to_graph()

    assert found(named(tensorflow(graph, SLIM_NAMES, "resnet_v1_50/"))) == ["slim/resnet_v1_50"]


def test_keras_names_are_found(few: Callable[..., None], named: Identify) -> None:
    few("keras/resnet50", "keras/resnet50v2", "tutorial/resnet18")
    for name in ("keras/resnet50v2", "tutorial/resnet18"):
        assert found(named(tensorflow(load(name).to_graph(), KERAS_NAMES))) == [name]


def test_transformers_names_are_found(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18", "torchvision/resnet50")
    tensors = hollow(load("resnet50").to_graph())

    assert found(named({str(to_transformers(name)): array for name, array in tensors.items()})) == [
        "torchvision/resnet50"
    ]


def test_arrays_that_are_not_parameters_are_ignored(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18")
    tensors = {f"module.{name}": array for name, array in hollow(load("resnet18").to_graph()).items()}
    counter = {"module.bn1.num_batches_tracked": np.array(3)}

    assert found(named(tensors | counter, ignored={"optimizer slots": 3})) == ["torchvision/resnet18"]
    assert found(named({}, averages=tensors)) == ["torchvision/resnet18"]


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnetv2_18", "slim/resnet_v1_50"])
@pytest.mark.parametrize(
    "overrides",
    [("parameters.classes=10",), ("input.channels=1",), ("parameters.classes=1001", "input.channels=6")],
)
def test_other_classes_and_channels_are_found(
    few: Callable[..., None], named: Identify, name: str, overrides: tuple[str, ...]
) -> None:
    few("torchvision/resnet34", name)

    assert found(named(hollow(load(name, overrides).to_graph()))) == [" ".join((name, *overrides))]


def test_a_spec_whose_classes_cannot_be_set_is_not_said_to_fit(
    few: Callable[..., None], named: Identify, lower: Callable[..., Graph]
) -> None:
    graph = lower("""
        stem: {a: {conv2d: {channels: 2, kernel: 1}}, pool: global_avg_pool, flat: flatten}
        head: {fc: {linear: {features: 5}}}
    """)
    few("spec.yaml")
    tensors = hollow(graph) | {"fc.weight": np.zeros((7, 2)), "fc.bias": np.zeros(7)}
    (match,) = named(tensors)

    assert (match.spec, match.overrides, match.fits) == ("spec.yaml", (), False)
    assert any('adapt="classes" reinitializes the head' in difference for difference in match.differences)


def test_half_precision_and_the_bytes_do_not_matter(few: Callable[..., None], tmp_path: Path) -> None:
    few("torchvision/resnet18", "torchvision/resnet34")
    path = tmp_path / "x"
    write_safetensors(path, hollow(load("resnet18").to_graph()), dtype="float16")

    assert found(identify(path)) == ["torchvision/resnet18"]


# -- what fits more than one -------------------------------------------------------------------------------------


def test_specs_of_one_set_of_parameters_are_distinguished(few: Callable[..., None], named: Identify) -> None:
    few("timm/resnet50", "timm/resnetaa50", "torchvision/resnet50")
    matches = named(hollow(load("resnet50").to_graph()))

    assert [(match.spec, match.unlike) for match in matches] == [
        ("torchvision/resnet50", ""),
        ("timm/resnet50", "computes the same as torchvision/resnet50"),
        (
            "timm/resnetaa50",
            "'layer2.0.conv2' differs in 'stride': (2, 2) in torchvision/resnet50, (1, 1) in timm/resnetaa50",
        ),
    ]


def test_layers_of_other_names_are_compared_by_their_canonical_names(few: Callable[..., None], named: Identify) -> None:
    few("msra/resnet50", "torchvision/resnet50", "torchvision/resnet101")
    graph = load("resnet50").to_graph()

    assert [(match.spec, match.unlike) for match in named(find_table("caffe2").renamed(graph, hollow(graph)))] == [
        ("torchvision/resnet50", ""),
        (
            "msra/resnet50",
            "'layer2.0.conv1' differs in 'stride': (1, 1) in torchvision/resnet50, (2, 2) in msra/resnet50",
        ),
    ]


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_network_without_a_head_is_found_without_it(few: Callable[..., None], named: Identify, prefix: str) -> None:
    few("msra/resnet50", "timm/resnet50", "torchvision/resnet50", "torchvision/resnet101")
    tensors = hollow(load("resnet50", ["head=null"]).to_graph())
    matches = named({f"{prefix}{name}": tensor for name, tensor in tensors.items()})

    assert found(matches) == ["torchvision/resnet50 head=null", "timm/resnet50 head=null"]


def test_a_file_that_says_what_it_is_for_is_for_nothing_else(few: Callable[..., None], tmp_path: Path) -> None:
    few("timm/resnet18", "torchvision/resnet18", "timm/resnetblur18")
    graph, path = load("torchvision/resnet18").to_graph(), tmp_path / "x.safetensors"
    write_weights(path, graph, hollow(graph))

    assert found(identify(path)) == ["torchvision/resnet18"]


def test_a_variant_that_only_its_fingerprint_shows_is_near(few: Callable[..., None], tmp_path: Path) -> None:
    few("torchvision/resnet18")
    graph, path = load("resnet18", ["stages.layer2.stride=1"]).to_graph(), tmp_path / "x.safetensors"
    write_weights(path, graph, hollow(graph))
    (match,) = identify(path)

    assert match.differences == (
        f"{path}: was written for another variant of torchvision/resnet18:"
        " 'layer2.0.conv1' differs in 'stride': (1, 1) in the file, (2, 2) in the spec",
    )


# -- what does not fit -------------------------------------------------------------------------------------------


def test_the_nearest_are_named_with_what_differs(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18", "torchvision/resnet34", "torchvision/resnet50", "cifar/resnet20", "msra/resnet50")
    overrides = ["stem.conv1.conv2d.kernel=5", "stem.conv1.conv2d.padding=2"]
    matches = named(hollow(load("resnet18", overrides).to_graph()))

    assert (matches[0].spec, len(matches)) == ("torchvision/resnet18", MAX_SUGGESTIONS)
    assert 1 > matches[0].share > matches[-1].share > 0
    assert matches[0].differences == (
        "x: not the 102 tensors of torchvision/resnet18 (1 mismatched)",
        "conv1.weight: has shape [64, 3, 5, 5], not [64, 3, 7, 7]",
    )


def test_other_numbers_of_blocks_are_overrides(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18", "torchvision/resnet34", "torchvision/resnet50", "cifar/resnet20")
    graph = load("resnet18", ["stages.layer1.repeat=3", "parameters.classes=7"]).to_graph()
    (match,) = named(hollow(graph))

    assert match.fits, "ResNet-34 with other numbers of three stages is left out"
    assert (match.spec, match.overrides) == (
        "torchvision/resnet18",
        ("stages.layer1.repeat=3", "parameters.classes=7"),
    )
    assert load(match.spec, match.overrides).to_graph().parameters() == graph.parameters()


def test_the_nearest_have_the_files_classes(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18")
    tensors = hollow(load("resnet18", ["parameters.classes=10"]).to_graph())
    del tensors["bn1.bias"]

    assert [(match.overrides, match.differences[1:]) for match in named(tensors)] == [
        (("parameters.classes=10",), ("bn1.bias: missing",))
    ]


def test_unknown_names_are_near_by_their_shapes(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18")
    tensors = hollow(load("resnet18").to_graph())
    (match,) = named({f"l{index}": array for index, array in enumerate(tensors.values())})

    assert (match.spec, match.share, match.fits) == ("torchvision/resnet18", 0.5, False)
    assert match.differences[1] == "conv1.weight: missing"


def test_what_is_like_no_network_is_near_none(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18", "timm/resnet18")

    assert named({"x": np.zeros(3)}) == []
    assert named({f"{index}": np.zeros((3, 1)) for index in range(100)}) == []


def test_the_names_of_a_file_of_far_too_many_tensors_are_not_looked_at(
    few: Callable[..., None], named: Identify, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        "resnet_spec.weights.identification.network_tensors", lambda _, tensors, **__: looked.append(len(tensors))
    )
    few("torchvision/resnet18", "cifar/resnet20", "timm/resnet18")

    assert named({f"l{index}.weight": np.zeros((3, 3)) for index in range(100_000)}) == []
    assert looked == []


def test_a_file_without_tensors_is_reported(named: Identify, lines: Callable[..., list[str]]) -> None:
    assert lines(lambda: named({})) == ["x: holds no tensors"]


def test_weights_of_a_match_are_read_by_its_spec(few: Callable[..., None], tmp_path: Path) -> None:
    few("cifar/resnet20", "cifar/resnet32")
    path = tmp_path / "x.safetensors"
    graph = load("cifar/resnet20", ["parameters.classes=7"]).to_graph()
    write_safetensors(path, initialize(graph))
    (match,) = identify(path)

    assert read_weights(path, load(match.spec, match.overrides).to_graph())


def test_folded_normalizations_are_recognized(few: Callable[..., None], named: Identify) -> None:
    few("torchvision/resnet18", "torchvision/resnet34", "timm/resnetv2_50x1_bit")
    folded = load("resnet18", ["folded=true", "parameters.classes=7"]).to_graph()
    (match,) = named(hollow(folded))

    assert (match.spec, match.fits) == ("torchvision/resnet18", True)
    assert match.overrides == ("folded=true", "parameters.classes=7")


def test_a_network_without_statistics_is_not_offered_twice(few: Callable[..., None], named: Identify) -> None:
    few("timm/resnetv2_50x1_bit")
    arrays = hollow(load("timm/resnetv2_50x1_bit").to_graph())
    arrays.popitem()

    assert [match.overrides for match in named(arrays)] == [()]


# -- wrapped and renamed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model.module.", "backbone."])
@pytest.mark.parametrize("library", ["detectron2", "mmpretrain", "keras_2016", "sequential"])
def test_a_wrapped_network_in_another_librarys_names_is_found(
    few: Callable[..., None], named: Identify, prefix: str, library: str
) -> None:
    few("torchvision/resnet18", "torchvision/resnet34", "cifar/resnet18")
    graph = load("resnet18").to_graph()
    tensors = find_table(library).renamed(graph, hollow(graph))

    assert found(
        named({f"{prefix}{name}": tensor for name, tensor in tensors.items()} | {"loss.pos_weight": np.zeros(2)})
    ) == ["torchvision/resnet18"]
