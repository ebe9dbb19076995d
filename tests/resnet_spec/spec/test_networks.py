"""A network that is a part of another one: its layers, its values, its own rules, and its mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import Graph, initialize, load
from resnet_spec.errors import SpecError
from resnet_spec.spec import chains, networks
from resnet_spec.spec.dependencies import files
from resnet_spec.spec.networks import MAX_DEPTH, network_steps

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]
Write = Callable[..., Path]

TINY = """
input: {channels: 3, height: 8, width: 8}
parameters: {classes: 5}
layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}, act: relu}
stem: {conv1: {conv2d: {channels: 4, kernel: 3, stride: 2, padding: 1}}, bn1: norm, relu: relu}
stages:
  layer1: {block: basic_block, channels: 4}
  layer2: {block: basic_block, channels: 6, stride: 2}
head: {pool: global_avg_pool, flatten: flatten, fc: {linear: {features: classes}}}
"""
INPUT = "input: {channels: 3, height: 16, width: 16}\n"


@pytest.fixture
def around(write: Write) -> Callable[[str], Graph]:
    """The graph of a spec beside ``tiny.yaml``."""

    def lower(text: str) -> Graph:
        write(TINY, "tiny.yaml")
        return load(write(INPUT + text)).to_graph()

    return lower


def test_its_layers_have_the_steps_name_and_its_outputs_can_be_used(around: Callable[[str], Graph]) -> None:
    graph = around("""
stem: {encoder: {spec: tiny.yaml, outputs: features}}
head:
  side: {conv2d: {channels: encoder.channels, kernel: 1}, from: encoder.layer1}
  down: {max_pool2d: {kernel: 2, stride: 2}}
  sum: {add: null, from: [down, encoder]}
""")
    tiny = load("tiny.yaml", ["outputs=features", "input.height=16", "input.width=16"]).to_graph()

    assert [node.name for node in graph.nodes] == [f"encoder.{node.name}" for node in tiny.nodes] + [
        "side",
        "down",
        "sum",
    ]
    assert [node.shape for node in graph.nodes][: len(tiny.nodes)] == [node.shape for node in tiny.nodes]
    assert graph.by_name["encoder.conv1"].inputs == ("input",)
    assert graph.by_name["side"].inputs == ("encoder.layer1.0.relu2",)
    assert graph.by_name["sum"].inputs == ("down", "encoder.layer2.0.relu2")
    assert [p.name for p in graph.parameters()][:1] == ["encoder.conv1.weight"]
    scopes = {scope.name: (scope.kind, scope.block) for scope in graph.scopes}
    assert scopes["encoder"] == ("block", "tiny")
    assert scopes["encoder.layer1.0"] == ("block", "basic_block")


def test_without_outputs_its_value_is_the_networks(around: Callable[[str], Graph]) -> None:
    graph = around("stem: {a: relu, net: {spec: tiny.yaml, set: {parameters.classes: 7}}, last: relu}\n")

    assert graph.by_name["last"].inputs == ("net.fc",)
    assert graph.by_name["net.fc"].shape == (7,)
    assert graph.by_name["net.conv1"].inputs == ("a",)


def test_a_list_of_outputs_has_their_names(around: Callable[[str], Graph]) -> None:
    graph = around(
        """
stem:
  net: {spec: tiny.yaml, outputs: [layer2, layer1.0.bn1]}
  b: {relu: null, from: net.layer2}
  sum: {add: null, from: net.layer1.0.bn1}
""".replace(
            "sum: {add: null, from: net.layer1.0.bn1}",
            "c: {max_pool2d: {kernel: net.layer1.0.bn1.height - b.height, stride: 1}}",
        )
    )
    assert graph.by_name["b"].inputs == ("net.layer2.0.relu2",)
    assert graph.by_name["c"].operation.model_dump()["kernel"] == (4, 4)


def test_it_repeats_and_stands_in_blocks(around: Callable[[str], Graph]) -> None:
    graph = around("""
blocks:
  twin: {main: {net: {spec: {stem: {c: {conv2d: {channels: 3, kernel: 1}}}}, repeat: 2}}}
stages: {s: {block: twin, repeat: 2}}
""")
    assert [node.name for node in graph.nodes] == ["s.0.net.0.c", "s.0.net.1.c", "s.1.net.0.c", "s.1.net.1.c"]


def test_networks_nest_and_a_path_is_relative_to_the_file_that_names_it(write: Write, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write("stem: {c: {conv2d: {channels: 4, kernel: 1}}}\n", "below/inner.yaml")
    write("stem: {inner: {spec: inner.yaml}, d: relu}\n", "below/middle.yaml")
    path = write("extends: below/middle.yaml\nhead: {again: {spec: below/middle.yaml}}\n")
    graph = load(path).to_graph()

    assert [node.name for node in graph.nodes] == ["inner.c", "d", "again.inner.c", "again.d"]
    assert [file.name for file in files(path)] == ["spec.yaml", "middle.yaml", "inner.yaml"]


def test_another_file_exchanges_the_network(around: Callable[[str], Graph], write: Write) -> None:
    around("stem: {encoder: {spec: tiny.yaml, outputs: features}}\n")
    other = write("extends: spec.yaml\nstem: {encoder: {spec: resnet18}}\n", "other.yaml")

    assert load(other).to_graph().by_name["encoder.layer4.1.relu2"].shape == (512, 1, 1)
    assert load("spec.yaml", ["stem.encoder.spec=resnet18"]).to_graph() == load(other).to_graph().model_copy(
        update={"name": "spec"}
    )
    assert "specs/torchvision/resnet18.yaml" in str(files(other))


@pytest.mark.parametrize("name", ["resnet34", "timm/resnet26d"])
def test_its_parameters_are_those_of_the_network_alone(write: Write, name: str) -> None:
    graph = load(write(f"stem: {{encoder: {{spec: {name}, outputs: features}}}}\n")).to_graph()
    alone = load(name, ["outputs=features"]).to_graph()

    assert [(p.name.removeprefix("encoder."), p.shape, p.role) for p in graph.parameters()] == [
        (p.name, p.shape, p.role) for p in alone.parameters()
    ]


def test_it_is_initialized_by_its_own_rules(around: Callable[[str], Graph], write: Write) -> None:
    write(TINY + "initialization: {conv_kernel: {constant: 2.0}, 'layer1.*.bn1.weight': {constant: 3.0}}\n", "own.yaml")
    graph = around("""
initialization: {conv_kernel: {constant: 5.0}, "net.layer2.0.bn*.weight": {constant: 7.0}}
stem: {net: {spec: own.yaml, outputs: features}, last: {conv2d: {channels: 2, kernel: 1}}}
""")
    arrays = initialize(graph, 0)
    values = {name: float(arrays[name].ravel()[0]) for name in arrays}

    assert values["net.conv1.weight"] == 2
    assert values["net.layer1.0.bn1.weight"] == 3
    assert values["net.layer2.0.bn1.weight"] == 7
    assert values["net.layer1.0.bn2.weight"] == 1
    assert values["last.weight"] == 5


def test_a_folded_network_is_folded_as_a_part(around: Callable[[str], Graph]) -> None:
    graph = around("""
stem:
  net: {spec: tiny.yaml, outputs: [bn1, layer1], set: {folded: true}}
  sum: {add: null, from: [net, net.bn1]}
""")
    assert graph.by_name["sum"].inputs == ("net.layer1.0.relu2", "net.conv1")
    assert "net.bn1" not in graph.by_name


def test_layers_of_a_part_that_nothing_uses_are_left_out(around: Callable[[str], Graph]) -> None:
    graph = around("stem: {net: {spec: tiny.yaml, outputs: features}, b: {sigmoid: null, from: net.layer1}}\n")

    assert graph.nodes[-2].name == "net.layer1.0.relu2"
    assert {scope.name for scope in graph.scopes} == {"net.layer1", "net.layer1.0"}
    assert Graph.from_json(graph.to_json()) == graph


def test_a_prefix_of_its_own_comes_after_the_steps_name(around: Callable[[str], Graph]) -> None:
    graph = around(
        "stem: {net: {spec: tiny.yaml, outputs: features, set: {prefix: body.}}, b: {relu: null, from: net.layer2}}\n"
    )
    assert graph.by_name["b"].inputs == ("net.body.layer2.0.relu2",)


def test_a_resolved_spec_needs_no_other_file(around: Callable[[str], Graph], write: Write, tmp_path: Path) -> None:
    graph = around("stem: {encoder: {spec: tiny.yaml, outputs: features, set: {stages.layer1.channels: 8}}}\n")
    text = load("spec.yaml").to_yaml()
    (tmp_path / "tiny.yaml").unlink()
    again = load(write(text, "again.yaml"))

    assert again.to_graph().fingerprint == graph.fingerprint
    assert again.to_yaml() == text
    assert type(again).model_validate(again.model_dump(by_alias=True)).to_graph().fingerprint == graph.fingerprint


def test_what_a_part_states_of_itself_is_not_checked(lower: Lower) -> None:
    graph = lower("stem: {a: {spec: {source: {parameters: 7}, depth: 9, input: {features: 2}, stem: {b: relu}}}}\n")
    assert [node.name for node in graph.nodes] == ["a.b"]


# -- heads on any backbone ---------------------------------------------------------------------------------------

U_NET = """
description: U-Net, whose decoder follows the channels of any backbone
input: {height: 64, width: 64}
parameters: {classes: 2}
layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}, act: relu}
blocks:
  decoder:
    inputs: [input, skip]
    main:
      up: {conv_transpose2d: {channels: skip.channels, kernel: 2, stride: 2}}
      cat: {concat: null, from: [up, skip]}
      convs:
        repeat: 2
        steps:
          conv: {conv2d: {channels: skip.channels, kernel: 3, padding: 1}}
          bn: norm
          relu: act
stem:
  encoder: {spec: BACKBONE, outputs: features}
head:
  up3: {decoder: null, from: [encoder, encoder.3]}
  up2: {decoder: null, from: [up3, encoder.2]}
  up1: {decoder: null, from: [up2, encoder.1]}
  up0: {decoder: null, from: [up1, encoder.0]}
  last: {conv_transpose2d: {channels: classes, kernel: 2, stride: 2, bias: true}}
"""


@pytest.mark.parametrize(
    ("backbone", "channels"),
    [
        ("resnet34", (64, 64, 128, 256, 512)),
        ("timm/resnet50d", (64, 256, 512, 1024, 2048)),
        ("resnext50_32x4d", (64, 256, 512, 1024, 2048)),
        ("keras/resnet50", (64, 256, 512, 1024, 2048)),
    ],
)
def test_a_u_net_on_any_backbone_has_less_than_thirty_lines(
    lower: Lower, backbone: str, channels: tuple[int, ...]
) -> None:
    text = U_NET.replace("BACKBONE", backbone)
    graph = lower(text)

    assert len(text.strip().splitlines()) < 30
    assert [graph.by_name[f"up{n}.convs.1.relu"].shape for n in (3, 2, 1, 0)] == [
        (channels[n], size, size) for n, size in ((3, 4), (2, 8), (1, 16), (0, 32))
    ]
    assert graph.by_name["last"].shape == (2, 64, 64)
    assert not [node.name for node in graph.nodes if node.operation.op == "linear"]


# -- prefix ------------------------------------------------------------------------------------------------------


def test_a_prefix_is_before_every_name(lower: Lower) -> None:
    graph = lower("""
        extends: resnet18
        prefix: backbone.
        outputs: [layer1, layer2.0]
        named_outputs: true
        initialization: {layer1.*.conv1.weight: {constant: 2.0}}
        """)
    plain = lower("extends: resnet18\noutputs: [layer1, layer2.0]\n")

    assert [node.name for node in graph.nodes] == [f"backbone.{node.name}" for node in plain.nodes]
    assert graph.outputs == ("backbone.layer1.1.relu2", "backbone.layer2.0.relu2")
    assert graph.output_names == ("layer1", "layer2.0")
    assert [scope.name for scope in graph.scopes][:2] == ["backbone.layer1.0", "backbone.layer1.1"]
    assert graph.initialization.patterns() == ["backbone.layer1.*.conv1.weight"]
    assert Graph.from_json(graph.to_json()) == graph


@pytest.mark.parametrize("prefix", ["a b.", ".x", "x..", "-x"])
def test_a_prefix_is_a_name(mistakes: Mistakes, prefix: str) -> None:
    (found,) = mistakes(f"extends: resnet18\nprefix: {prefix!r}\n")
    assert "prefix: must be letters, digits, _ and -, in parts joined by dots" in found


def test_a_prefix_that_makes_names_too_long_is_reported(mistakes: Mistakes) -> None:
    long = "x" * 99
    (found,) = mistakes(f"prefix: {long}.\nstem: {{{long}: {{steps: {{{long[:5]}: relu}}}}}}\n")
    assert f"prefix: with it, '{long}.{long}.xxxxx' has more than 200 characters" in found


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{spec: resnet35}", ": stem.e.spec: no shipped spec is named 'resnet35'; did you mean 'resnet"),
        ("{spec: missing.yaml}", ": stem.e.spec: "),
        ("{spec: 3}", ": stem.e.spec: must be a spec's name, a path, or a spec, not 3"),
        ("{spec: null}", "stem.e.spec: must be a spec's name, a path, or a spec, not null"),
        ("{spec: {}}", ": stem.e.spec: the spec describes no layers"),
        ("{spec: tiny.yaml, relu: null}", "stem.e: a step with 'spec' names no other layer, such as 'relu'"),
        ("{spec: tiny.yaml, outputs: [layer3]}", "stem.e.spec"),
        ("{spec: tiny.yaml, outputs: 3}", ": stem.e.outputs: must be a list, or 'features', not 3"),
        ("{spec: tiny.yaml, set: 3}", ": stem.e.set: must be a mapping from keys"),
        (
            "{spec: tiny.yaml, set: {stages.layer3.channels: 3}}",
            ": stem.e.set.stages.layer3.channels: there is no 'layer3' in stages",
        ),
        (
            "{spec: tiny.yaml, set: {stages.layer1.block: 3}}",
            ": stem.e.spec.stages.layer1.block: must be ",
        ),
        (
            "{spec: tiny.yaml, set: {stages.layer1.chanels: 3}}",
            ": stem.e.spec.stages.layer1.chanels: unknown key 'chanels'",
        ),
        ("{spec: tiny.yaml, set: {parameters.clases: 3}}", "nothing uses a parameter 'clases'"),
        ("{spec: tiny.yaml, from: [input, input]}", "stem.e: a network takes one value, not 2"),
        (
            "{spec: tiny.yaml, outputs: features}, b: {relu: null, from: e.layer3}",
            "named 'e.layer3'; did you mean 'e.layer",
        ),
        (
            "{spec: {stem: {c: frobnicate}}}, b: {relu: null, from: e.layer3}",
            "stem.e.spec.stem.c: unknown operation, block or layer 'frobnicate'",
        ),
        (
            "{spec: {require: {in_height == 224: too small}, stem: {c: relu}}}",
            "stem.e.spec.require.in_height == 224: too small",
        ),
    ],
)
def test_a_wrong_part_is_one_mistake(write: Write, mistakes: Mistakes, step: str, said: str) -> None:
    write(TINY, "tiny.yaml")
    (found,) = mistakes(f"{INPUT}stem: {{e: {step}}}\n")
    assert said in found


def test_a_mistake_in_a_shipped_network_is_reported_where_it_is_used(mistakes: Mistakes) -> None:
    (found,) = mistakes("input: {features: 8}\nstem: {e: {spec: resnet18}}\n")
    assert found.startswith("spec.yaml:2:18: stem.e.spec: ")
    assert "(in spec 'torchvision/resnet18', stem.conv1 at " in found


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("stem: {a: {spec: spec.yaml}}\n", "stem: {b: {spec: inner.yaml}}\n"),
        ("stem: {a: {spec: inner.yaml}}\n", "extends: inner.yaml\n"),
        ("stem: {a: {steps: {x: {spec: spec.yaml}}}}\n", "extends: inner.yaml\n"),
        ("blocks: {b: {main: {x: {spec: spec.yaml}}}}\nstem: {a: b}\n", "stem: {b: {spec: inner.yaml}}\n"),
    ],
)
def test_a_network_that_contains_itself_is_refused(write: Write, inner: str, outer: str) -> None:
    write(inner, "inner.yaml")
    with pytest.raises(SpecError, match=r"a network contains itself: .*yaml → ") as caught:
        load(write(outer))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].position is not None
    assert len(files(Path("spec.yaml"))) == 2


def test_networks_nested_too_deeply_are_refused(write: Write) -> None:
    for index in range(MAX_DEPTH + 2):
        write(f"stem: {{a: {{spec: n{index + 1}.yaml}}}}\n", f"n{index}.yaml")
    with pytest.raises(SpecError, match=f"more than {MAX_DEPTH} networks are nested"):
        load("n0.yaml")


def test_files_that_name_many_others_are_refused_at_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(8):
        steps = ", ".join(f"s{n}: {{spec: n{index + 1}.yaml}}" for n in range(20))
        write(f"stem: {{{steps}}}\n", f"n{index}.yaml")
    write("stem: {a: relu}\n", "n8.yaml")
    with pytest.raises(SpecError, match="more than 100 networks are parts of one") as caught:
        load("n0.yaml")
    assert len(caught.value.problems) == 1

    monkeypatch.setattr(networks, "MAX_VALUES", 50)
    monkeypatch.setattr(networks._Budget.__init__, "__defaults__", (100, 50))  # pyright: ignore
    with pytest.raises(SpecError, match="have more than 50 values"):
        load(write("stem: {a: {spec: resnet18}}\n"))


def test_set_exchanges_a_network_within_a_network(write: Write) -> None:
    write("stem: {c: {conv2d: {channels: 4, kernel: 1}}}\n", "one.yaml")
    write("stem: {d: {conv2d: {channels: 5, kernel: 1}}}\n", "two.yaml")
    write("stem: {inner: {spec: one.yaml}}\n", "middle.yaml")
    graph = load(write("stem: {a: {spec: middle.yaml, set: {stem.inner.spec: two.yaml}}}\n")).to_graph()

    assert [node.name for node in graph.nodes] == ["a.inner.d"]


def test_parts_count_toward_the_size_of_a_network(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_LAYERS", 1000)
    (found,) = mistakes("stem: {a: {repeat: 50, steps: {e: {spec: {stem: {c: {relu: null, repeat: 50}}}}}}}\n")
    assert "the network has more than 1,000 layers" in found


@pytest.mark.parametrize(
    "data", [None, 3, [], {"stem": 3}, {"stem": {"a": 3}}, {"blocks": {"b": [1]}}, {"stem": {"spec": "relu"}}]
)
def test_other_data_has_no_networks(data: Any) -> None:
    assert list(network_steps(data)) == []


@pytest.mark.parametrize("backbone", ["torchvision/resnet18", "timm/resnet50d", "timm/resnest14d"])
@pytest.mark.parametrize(
    "head", ["smp/unet_resnet34:encoder", "smp/deeplabv3plus_resnet34:encoder", "torchvision/fcn_resnet50:backbone"]
)
def test_a_shipped_head_fits_any_backbone(head: str, backbone: str) -> None:
    name, _, part = head.partition(":")
    graph = load(name, {f"stem.{part}.spec": backbone, "input.height": 96, "input.width": 96}).to_graph()
    own = load(backbone).to_graph()

    assert graph.by_name[graph.outputs[-1]].shape[1:] == (96, 96)
    body = [parameter.name for parameter in graph.parameters() if parameter.name.startswith(f"{part}.")]
    assert body == [f"{part}.{p.name}" for p in own.parameters() if not p.name.startswith("fc.")]
