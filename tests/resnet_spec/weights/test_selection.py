"""A network's tensors are found below any prefix and beside other tensors; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, initialize, load
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.weights.formats.transformers import to_transformers
from resnet_spec.weights.naming import find_table
from resnet_spec.weights.selection import Selection, by_graph_names, select

Lower = Callable[..., Graph]
Lines = Callable[[Callable[[], Any]], list[str]]

SMALL = {"parameters.classes": 3}


def named(names: Iterable[str], start: int = 0) -> dict[str, Any]:
    """Arrays to tell apart."""
    return {name: np.array(number, "float32") for number, name in enumerate(names, start)}


def below(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def selected(graph: Graph, tensors: Mapping[str, Any], **options: Any) -> Selection:
    return select(graph, Checkpoint(tensors), "x", **options)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load("torchvision/resnet18", SMALL).to_graph()


@pytest.fixture(scope="module")
def wanted(graph: Graph) -> dict[str, Any]:
    return named(parameter.name for parameter in graph.parameters())


@pytest.fixture(scope="module")
def others(wanted: dict[str, Any]) -> dict[str, Any]:
    """The same names with other values."""
    return named(wanted, 1000)


# -- prefixes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "_orig_mod.module.", "model._orig_mod.", "model.module.", "_forward_module.model.",
        "net.backbone.", "module.model.", "a.b.", "0.", "state_dict.module.", "network/", "scope/model.",
        "callbacks.3.state_dict.", "layer1.0.", "module." * 1000,
    ],
)  # fmt: skip
def test_any_prefix_comes_off(graph: Graph, wanted: dict[str, Any], prefix: str) -> None:
    selection = selected(graph, below(prefix, wanted))

    assert selection.tensors == wanted
    assert selection.origins == {name: f"{prefix}{name}" for name in wanted}
    assert (selection.ignored, selection.remarks) == ({}, ())


BESIDE = {
    "criterion.pos_weight": np.zeros(3),
    "criterion.weight": np.zeros(3),
    "train_metric.total": np.zeros(2),
    "normalizer.mean": np.zeros((1, 3, 1, 1)),
    "fc.0.weight": np.zeros((8, 8)),
    "queue": np.zeros((4, 4)),
}


@pytest.mark.parametrize("prefix", ["model.", "module.backbone.", "state_dict.net."])
def test_what_lies_beside_a_network_is_listed(graph: Graph, wanted: dict[str, Any], prefix: str) -> None:
    selection = selected(graph, {**BESIDE, **below(prefix, wanted)})

    assert selection.tensors == wanted
    assert selection.remarks == (
        "left out, since they are beside the network: 'criterion.pos_weight', 'criterion.weight',"
        " 'train_metric.total', 'normalizer.mean', 'fc.0.weight', 'queue'",
    )


def test_without_a_prefix_only_what_cannot_be_a_layers_is_beside(graph: Graph, wanted: dict[str, Any]) -> None:
    selection = selected(graph, {**wanted, **BESIDE})

    assert [*selection.tensors] == [*wanted, "criterion.weight", "fc.0.weight", "queue"]
    assert "'criterion.pos_weight'" in selection.remarks[0]


@pytest.mark.parametrize(
    "extra",
    [
        "layer1.2.conv1.weight", "layer5.0.bn1.running_mean", "norm.weight", "fc2.kernel", "layer1.0.se.gate",
        # Layers whose names have a word for averages or optimizers in them, such as efficient multi-scale attention.
        "layer1.0.ema.conv1x1.weight", "layer4.1.swa.qkv", "ema.conv1.weight", "average.weight",
        "layer1.0.optim.weight",
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_layer_that_the_network_lacks_is_unexpected(
    graph: Graph, wanted: dict[str, Any], prefix: str, extra: str
) -> None:
    assert f"{prefix}{extra}" in selected(graph, below(prefix, {**wanted, extra: np.zeros(3)})).tensors


def test_counters_are_dropped_in_silence(graph: Graph, wanted: dict[str, Any]) -> None:
    selection = selected(graph, {**wanted, "bn1.num_batches_tracked": np.array(7)})

    assert (selection.tensors, selection.ignored, selection.remarks) == (wanted, {}, ())


def test_an_optimizers_state_is_counted_even_by_the_networks_names(
    graph: Graph, wanted: dict[str, Any], others: Any
) -> None:
    selection = selected(graph, {**below("opt_state.0.trace.", others), **below("params.", wanted)})

    assert selection.tensors == wanted
    assert selection.ignored == {"optimizer slots": len(others)}


# -- several networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "short"),
    [
        ("module.encoder_q.", "module.encoder_k.", ("encoder_q", "encoder_k")),
        ("student.backbone.", "teacher.backbone.", ("student", "teacher")),
        ("module.model.", "module.attacker.model.", ("module.model", "attacker")),
        ("state_dict.", "model.", ("state_dict", "model")),
        ("", "teacher.", (".", "teacher")),
    ],
)
def test_of_two_networks_none_is_guessed(
    graph: Graph, wanted: Any, others: Any, lines: Lines, first: str, second: str, short: tuple[str, str]
) -> None:
    file = {**below(first, wanted), **below(second, others), "loss.queue": np.zeros(2)}

    assert lines(lambda: selected(graph, file)) == [
        f'x: torchvision/resnet18 fits 2 parts of the file: choose take="{short[0]}" or take="{short[1]}"'
    ]
    assert selected(graph, file, take=short[0]).tensors == wanted
    assert selected(graph, file, take=short[1]).tensors == others


def test_networks_by_the_names_of_several_libraries_are_several(
    graph: Graph, wanted: Any, others: Any, lines: Lines
) -> None:
    detectron2 = find_table("detectron2").translated(graph)
    file = {**wanted, **{detectron2[name]: tensor for name, tensor in others.items()}}

    assert lines(lambda: selected(graph, file)) == [
        'x: torchvision/resnet18 fits 2 parts of the file: choose take="." or take="backbone"'
    ]
    assert selected(graph, file, take=".").tensors == wanted
    assert selected(graph, file, take="backbone").tensors == others


@pytest.mark.parametrize(("first", "path"), [("", "."), ("net.", "net")])
def test_an_incomplete_copy_inside_a_network_is_left_out_where_asked_for(
    graph: Graph, wanted: Any, others: Any, first: str, path: str
) -> None:
    copy = {name: tensor for name, tensor in others.items() if name != "fc.bias"}
    file = below(first, wanted | below("teacher.", copy))
    selection = selected(graph, file)

    assert len(selection.tensors) == len(wanted) + len(copy)
    assert selection.hint == f'take="{path}" leaves out the incomplete copies of the network'
    assert selected(graph, file, take=path).tensors == wanted
    # A layer of the network itself is still unexpected.
    extra = f"{first}layer5.weight"
    assert extra in selected(graph, {**file, extra: np.zeros(3)}, take=path).tensors


def test_equal_networks_are_one(graph: Graph, wanted: Any) -> None:
    copies = {name: tensor.copy() for name, tensor in wanted.items()}

    assert selected(graph, {**below("model.", wanted), **below("attacker.model.", copies)}).tensors == wanted


def test_a_part_that_is_not_there_is_reported(graph: Graph, wanted: Any, lines: Lines) -> None:
    assert lines(lambda: selected(graph, below("module.", wanted), take="encoder_q")) == [
        "x: take=\"encoder_q\": no tensor's name has this part (the first parts are 'module')"
    ]


@pytest.mark.parametrize("take", ["callbacks.EMA.ema_state_dict", "EMA", "ema_state_dict.", "callbacks/EMA"])
def test_a_part_of_the_files_mapping_is_taken(graph: Graph, wanted: Any, others: Any, take: str) -> None:
    file = {**below("state_dict.", wanted), **below("callbacks.EMA.ema_state_dict.", others)}

    assert selected(graph, file, take=take).tensors == others


@pytest.mark.parametrize(("take", "said"), [("x" * 1000, f"'{'x' * 56}..."), ("a\n", "'a\\n'"), ("*", "*")])
def test_a_part_is_printed_safely(graph: Graph, wanted: Any, lines: Lines, take: str, said: str) -> None:
    assert lines(lambda: selected(graph, wanted, take=take))[0].startswith(f'x: take="{said}": no tensor\'s name')


# -- averages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "ema.", "ema_net.", "model_ema.", "ema_state_dict.", "state_dict_ema.", "model_ema.module.",
        "ema_model.module.",         "callbacks.EMA.ema_state_dict.", "averaged_model.", "swa_model.module.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("trained", ["", "model.", "state_dict.module."])
def test_averages_are_found_by_their_prefix(graph: Graph, wanted: Any, others: Any, prefix: str, trained: str) -> None:
    file = {**below(trained, wanted), **below(prefix, others), "steps": np.array(3), "updates": np.array(3)}

    assert selected(graph, file).tensors == wanted
    assert selected(graph, file).ignored == {"counters": 2}
    assert selected(graph, file).remarks == (f"leaves out {len(others)} moving averages, which ema=True uses",)
    assert selected(graph, file, ema=True).tensors == others


def test_a_layer_beside_the_network_is_no_average_whatever_it_is_called(graph: Graph, wanted: Any) -> None:
    """An efficient multi-scale attention, and a teacher of another architecture."""
    beside = {
        "ema_attention.conv1.weight": np.zeros((3, 3, 1, 1), "float32"),
        "teacher.fc.bias": np.zeros(7, "float32"),
    }
    selection = selected(graph, below("model.", wanted) | beside)

    assert selection.remarks == (
        "left out, since they are beside the network: 'ema_attention.conv1.weight', 'teacher.fc.bias'",
    )


def test_a_file_of_averages_alone_is_used_and_said(graph: Graph, others: Any) -> None:
    selection = selected(graph, below("ema.", others))

    assert (selection.tensors, selection.remarks) == (
        others,
        ("contains only an exponential moving average, which is used",),
    )


@pytest.mark.parametrize("scope", ["", "state_dict."])
def test_pytorchs_averaged_model_is_an_average(graph: Graph, others: Any, scope: str) -> None:
    file = below(scope, {"n_averaged": np.array(5), **below("module.", others)})

    for ema in (False, True):
        selection = selected(graph, file, ema=ema)
        assert (selection.tensors, selection.ignored) == (others, {"counts of averaged steps": 1})


def test_what_is_not_averaged_is_as_trained(graph: Graph, wanted: Any, others: Any) -> None:
    trainable = {p.name for p in graph.parameters() if p.trainable}
    averages = {name: tensor for name, tensor in others.items() if name in trainable}
    expected = {**wanted, **averages}

    for file, beside in ((below("model.", wanted) | below("ema.", averages), {}), (wanted, averages)):
        selection = select(graph, Checkpoint(file, averages=beside), "x", ema=True)
        assert selection.tensors == expected
        assert selection.remarks == ("has averages of 62 parameters; the other 40 are as trained",)
        assert select(graph, Checkpoint(file, averages=beside), "x").tensors == wanted


def test_averages_that_are_not_there_are_an_error(graph: Graph, wanted: Any, lines: Lines) -> None:
    assert lines(lambda: selected(graph, wanted, ema=True)) == ["x: holds no exponential moving averages"]


# -- other libraries' names --------------------------------------------------------------------------------------


def theirs(wanted: dict[str, Any], before: str = "") -> dict[str, Any]:
    return {f"{before}{to_transformers(name)}": array for name, array in wanted.items()}


@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.module.", "model."])
def test_a_transformers_model_has_the_graphs_names(graph: Graph, wanted: dict[str, Any], before: str) -> None:
    assert by_graph_names(graph, theirs(wanted, before)) == wanted


def test_a_transformers_model_without_classifier_has_the_graphs_names(wanted: dict[str, Any]) -> None:
    graph = load("torchvision/resnet18", {"head": None}).to_graph()
    trunk = {name: array for name, array in wanted.items() if not name.startswith("fc.")}
    bare = {name.removeprefix("resnet."): array for name, array in theirs(trunk).items()}

    assert by_graph_names(graph, bare) == trunk
    assert by_graph_names(graph, theirs(trunk)) == trunk


def test_a_tensor_that_the_graph_lacks_keeps_its_name(graph: Graph, wanted: dict[str, Any]) -> None:
    more = {"resnet.encoder.stages.3.layers.7.layer.0.convolution.weight": np.array(-1)}

    assert by_graph_names(graph, {**theirs(wanted), **more}) == {**wanted, **more}


def test_of_two_names_for_one_parameter_the_second_stays(graph: Graph, wanted: dict[str, Any]) -> None:
    first, bare = "resnet.embedder.embedder.convolution.weight", "embedder.embedder.convolution.weight"

    assert by_graph_names(graph, {**theirs(wanted), bare: np.array(-1)}) == {**wanted, bare: np.array(-1)}
    assert by_graph_names(graph, {first: np.array(-1), **wanted}) == {first: np.array(-1), **wanted}


def test_a_graph_may_have_transformers_own_names(lower: Lower) -> None:
    graph = lower("""
        name: theirs
        stem:
          resnet.embedder.embedder.convolution: {conv2d: {channels: 4, kernel: 3}}
        head: {pool: global_avg_pool, flat: flatten, classifier.1: {linear: {features: 2}}}
    """)
    wanted = named(parameter.name for parameter in graph.parameters())

    assert by_graph_names(graph, wanted) == wanted


def test_a_library_that_has_names_for_some_layers_only_does_not_fit() -> None:
    """Gluon's names for one layer of this network are the network's own."""
    graph = load("cifar/preact_resnet110").to_graph()
    arrays = initialize(graph)

    assert selected(graph, find_table("mmpretrain").renamed(graph, arrays)).tensors.keys() == arrays.keys()
