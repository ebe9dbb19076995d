"""Names of parameters that are not PyTorch's: in the graph, in files, in every backend, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resnet_spec import Graph, compare, initialize, load, read_weights, write_weights
from resnet_spec.errors import GraphError, WeightsError
from tests.backend_pool import shared_backends

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]
Write = Callable[..., Path]

PLAIN = """
input: {channels: 3, height: 9, width: 9}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
  act: {prelu: {per_channel: true}}
initialization: {"*.bn2.weight": {constant: 0.5}}
stem: {conv1: {conv2d: {channels: 4, kernel: 3, padding: 1}}, bn1: norm, act: act}
stages: {layer1: {block: basic_block, channels: 4}}
head:
  pool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: 5}}
  gamma: {scale: {shape: channels, initial: 1}}
"""
NAMES = """
parameter_names:
  "*bn?.weight": gamma
  layer1.0.bn2.weight: scale
  bn1.running_mean: mu
  "*.relu?.weight": slope
  fc.bias: b
"""


def names(graph: Graph) -> list[str]:
    return [parameter.name for parameter in graph.parameters()]


def test_patterns_name_parameters_within_their_layers(lower: Lower) -> None:
    plain, named = lower(PLAIN), lower(PLAIN + NAMES)

    assert [p.systematic_name for p in named.parameters()] == names(plain)
    renamed = {old: new for old, new in zip(names(plain), names(named), strict=True) if old != new}
    assert renamed == {
        "bn1.weight": "bn1.gamma",
        "bn1.running_mean": "bn1.mu",
        "layer1.0.bn1.weight": "layer1.0.bn1.gamma",
        "layer1.0.bn2.weight": "layer1.0.bn2.scale",
        "layer1.0.relu1.weight": "layer1.0.relu1.slope",
        "layer1.0.relu2.weight": "layer1.0.relu2.slope",
        "fc.bias": "fc.b",
    }


def test_names_are_part_of_the_architecture(lower: Lower) -> None:
    plain, named = lower(PLAIN), lower(PLAIN + NAMES)

    assert named.fingerprint != plain.fingerprint
    assert Graph.from_json(named.to_json()) == named
    assert "parameter_names" not in plain.to_json()


def test_initialization_is_by_the_names_of_the_language(lower: Lower) -> None:
    assert (initialize(lower(PLAIN + NAMES))["layer1.0.bn2.scale"] == 0.5).all()


def test_they_are_those_of_files(lower: Lower, tmp_path: Path) -> None:
    graph = lower(PLAIN + NAMES)
    arrays = initialize(graph, 1)
    write_weights(tmp_path / "mine.safetensors", graph, arrays)

    found = read_weights(tmp_path / "mine.safetensors", graph)
    assert list(found) == names(graph)
    assert all((found[name] == arrays[name]).all() for name in arrays)

    del arrays["bn1.mu"]
    np.savez(tmp_path / "incomplete.npz", **arrays)
    with pytest.raises(WeightsError, match=r"bn1\.mu"):
        read_weights(tmp_path / "incomplete.npz", graph)


@pytest.mark.parametrize("backend", ["tensorflow", "onnx"])
def test_backends_agree(write: Write, backend: str) -> None:
    spec = load(write(PLAIN + NAMES))
    training = 1 if backend == "tensorflow" else None

    with shared_backends():
        report = compare(spec, backends=("torch", backend), training_steps=training, bisect=True)
    assert report.passed


def test_a_folded_network_has_them(lower: Lower) -> None:
    graph = lower(PLAIN + "folded: true\n" + 'parameter_names: {"*conv?.weight": kernel}\n')
    assert names(graph)[:3] == ["gamma", "conv1.kernel", "conv1.bias"]


def test_a_part_of_a_network_brings_its_own(write: Write) -> None:
    write(PLAIN + NAMES, "part.yaml")
    path = write("""
    input: {channels: 3, height: 9, width: 9}
    stem: {body: {spec: part.yaml, outputs: [layer1]}}
    parameter_names: {body.bn1.running_mean: m}
    prefix: net.
    """)
    found = names(load(path).to_graph())
    assert found[:4] == ["net.body.conv1.weight", "net.body.bn1.gamma", "net.body.bn1.bias", "net.body.bn1.m"]


def test_a_layer_called_again_has_the_names_of_its_owner(lower: Lower) -> None:
    graph = lower(
        PLAIN
        + """
blocks: {twice: {main: {conv: {conv2d: {channels: 4, kernel: 1}}, again: {call: conv}}}}
parameter_names: {"*.conv.weight": w}
""",
        ["stages.layer1={block: twice}"],
    )
    assert graph.by_name["layer1.0.again"].parameter_name("weight") == "layer1.0.conv.w"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{fc.weigth: w}",
            "parameter_names.fc.weigth: no parameter's name matches 'fc.weigth'; did you mean 'fc.weight'?",
        ),
        ('{"*.alpha": a}', "parameter_names.*.alpha: no parameter's name matches '*.alpha'"),
        (
            '{"fc.*": w}',
            "parameter_names.fc.*: 'fc.weight' and 'fc.bias' would both be named 'fc.w'",
        ),
        (
            "{fc.weight: bias}",
            "parameter_names.fc.weight: 'fc.weight' and 'fc.bias' would both be named 'fc.bias'",
        ),
        (
            "{gamma: g}",
            "parameter_names.gamma: 'gamma' has its layer's name, which its step gives; rename the step",
        ),
        (
            "{fc.weight: w.x}",
            "parameter_names.fc.weight: must be letters, digits and _, no digit first, not 'w.x'",
        ),
        (
            "{bn1.weight: num_batches_tracked}",
            "parameter_names.bn1.weight: 'num_batches_tracked' is the name of PyTorch's counter of batches",
        ),
    ],
)
def test_mistakes(mistakes: Mistakes, written: str, said: str) -> None:
    (line,) = mistakes(f"{PLAIN}parameter_names: {written}\n")
    assert line.partition(": ")[2] == said


def test_two_names_can_be_exchanged(lower: Lower) -> None:
    graph = lower(PLAIN + "parameter_names: {fc.weight: bias, fc.bias: weight}\n")
    assert names(graph)[-2:] == ["fc.bias", "fc.weight"]


def test_an_override_may_remove_what_a_pattern_matches(lower: Lower) -> None:
    assert lower(PLAIN + NAMES, ["head=null"]).outputs == ("layer1.0.relu2",)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fc": {"wieght": "w"}}, "fc: it has no parameter 'wieght'; did you mean 'weight'?"),
        ({"fc": {"weight": "bias"}}, "fc.bias: two parameters have this name"),
    ],
)
def test_a_graph_with_wrong_names_is_refused(lower: Lower, changed: dict[str, dict[str, str]], said: str) -> None:
    with pytest.raises(GraphError) as raised:
        lower(PLAIN).with_parameter_names(changed)
    assert str(raised.value) == said
