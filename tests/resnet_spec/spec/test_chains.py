"""Steps that repeat, groups, blocks of several inputs and outputs, and what a repeated step's layers are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_spec import Graph, load
from resnet_spec.errors import SpecError
from resnet_spec.spec.chains import as_modules
from resnet_spec.spec.spec import Spec

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]

INPUT = "input: {channels: 4, height: 8, width: 8}\n"
NORM = "layers: {norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}}\n"
CONV = "{conv2d: {channels: 4, kernel: 1}}"


def edges(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {node.name: node.inputs for node in graph.nodes}


def names(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes]


# -- repeat ------------------------------------------------------------------------------------------------------


def test_a_layer_repeats_under_its_name_and_an_index(lower: Lower) -> None:
    graph = lower(
        f"{INPUT}stem: {{a: relu, convs: {{conv2d: {{channels: 4 + index, kernel: 1}}, repeat: 3}}, b: relu}}"
    )

    assert edges(graph) == {
        "a": ("input",),
        "convs.0": ("a",),
        "convs.1": ("convs.0",),
        "convs.2": ("convs.1",),
        "b": ("convs.2",),
    }
    assert [node.shape[0] for node in graph.nodes] == [4, 4, 5, 6, 6]


def test_a_name_with_a_counter_is_the_whole_name(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        stem:
          conv{{number}}: {{conv2d: {{channels: 4, kernel: 1}}, repeat: 2}}
          both: {{add: null, from: [conv1, conv2]}}
        """)

    assert edges(graph) == {"conv1": ("input",), "conv2": ("conv1",), "both": ("conv1", "conv2")}


RES2 = f"""
{INPUT}{NORM}
blocks:
  res2:
    parameters: {{width: 2, scale: 4}}
    main:
      conv1: {{conv2d: {{channels: width * scale, kernel: 1}}}}
      branches:
        repeat: scale - 1
        steps:
          part: {{slice: {{part: index, parts: scale}}, from: conv1}}
          sum: {{add: null, from: [part, previous], when: index > 0}}
          convs.{{index}}: {{conv2d: {{channels: width, kernel: 3, padding: 1}}}}
          bns.{{index}}: norm
      rest: {{slice: {{part: scale - 1, parts: scale}}, from: conv1}}
      join: {{concat: null, from: [branches.*, rest]}}
stages:
  layer1: {{block: res2}}
"""


def test_a_chain_repeats_with_its_index_and_the_result_before(lower: Lower) -> None:
    graph = lower(RES2)

    assert edges(graph) == {
        "layer1.0.conv1": ("input",),
        "layer1.0.branches.0.part": ("layer1.0.conv1",),
        "layer1.0.convs.0": ("layer1.0.branches.0.part",),
        "layer1.0.bns.0": ("layer1.0.convs.0",),
        "layer1.0.branches.1.part": ("layer1.0.conv1",),
        "layer1.0.branches.1.sum": ("layer1.0.branches.1.part", "layer1.0.bns.0"),
        "layer1.0.convs.1": ("layer1.0.branches.1.sum",),
        "layer1.0.bns.1": ("layer1.0.convs.1",),
        "layer1.0.branches.2.part": ("layer1.0.conv1",),
        "layer1.0.branches.2.sum": ("layer1.0.branches.2.part", "layer1.0.bns.1"),
        "layer1.0.convs.2": ("layer1.0.branches.2.sum",),
        "layer1.0.bns.2": ("layer1.0.convs.2",),
        "layer1.0.rest": ("layer1.0.conv1",),
        "layer1.0.join": ("layer1.0.bns.0", "layer1.0.bns.1", "layer1.0.bns.2", "layer1.0.rest"),
    }
    assert graph.by_name["layer1.0.join"].shape == (8, 8, 8)


def test_modules_of_one_list_are_declared_together(lower: Lower) -> None:
    layers = [node.name for node in lower(RES2).layers if node.operation.op in ("conv2d", "batch_norm")]

    assert [name.removeprefix("layer1.0.") for name in layers] == [
        *("conv1", "convs.0", "convs.1", "convs.2", "bns.0", "bns.1", "bns.2")
    ]


def test_a_res2net_block_has_the_names_and_the_order_of_timms(lower: Lower) -> None:
    """Expected: the modules of ``layer2.0`` in timm 1.0.31's ``create_model("res2net50_26w_4s").state_dict()``."""
    graph = lower(f"""
{NORM}
blocks:
  bottle2neck:
    parameters: {{width: 52, scale: 4, channels: 512, stride: 2, down: true}}
    main:
      conv1: {{conv2d: {{channels: width * scale, kernel: 1}}}}
      bn1: norm
      branches:
        repeat: scale - 1
        steps:
          part: {{slice: {{part: index, parts: scale}}, from: bn1}}
          sum: {{add: null, from: [part, previous], when: index > 0 and not down}}
          convs.{{index}}: {{conv2d: {{channels: width, kernel: 3, padding: 1, stride: stride}}}}
          bns.{{index}}: norm
      rest: {{slice: {{part: scale - 1, parts: scale}}, from: bn1}}
      pool: {{avg_pool2d: {{kernel: 3, stride: stride, padding: 1, count_include_pad: true}}}}
      concat: {{concat: null, from: [branches.*, pool]}}
      conv3: {{conv2d: {{channels: channels, kernel: 1}}}}
      bn3: norm
    shortcut:
      when: down
      layers:
        downsample.0: {{conv2d: {{channels: channels, kernel: 1, stride: stride}}}}
        downsample.1: norm
stages: {{layer2: {{block: bottle2neck}}}}
""")
    assert list(dict.fromkeys(parameter.node for parameter in graph.parameters())) == [
        *("layer2.0.conv1", "layer2.0.bn1"),
        *("layer2.0.convs.0", "layer2.0.convs.1", "layer2.0.convs.2"),
        *("layer2.0.bns.0", "layer2.0.bns.1", "layer2.0.bns.2"),
        *("layer2.0.conv3", "layer2.0.bn3", "layer2.0.downsample.0", "layer2.0.downsample.1"),
    ]


def test_other_order_than_of_execution_is_not_declared(lower: Lower) -> None:
    stem = f"stem: {{all: {{repeat: 2, steps: {{conv: {CONV}, act: relu}}}}}}"
    assert lower(INPUT + stem).declaration == ()


@pytest.mark.parametrize("seed", range(20))
def test_modules_keep_their_order(seed: int) -> None:
    import random

    rng = random.Random(seed)
    layers = list(dict.fromkeys(".".join(rng.choices("abc", k=rng.randint(1, 3))) for _ in range(12)))
    found = as_modules(layers)

    assert sorted(found) == sorted(layers)
    for prefix in {layer[:end] for layer in layers for end in (1, 3)}:
        inside = [layer == prefix or layer.startswith(prefix + ".") for layer in found]
        assert "".join("#" if one else " " for one in inside).strip().strip("#") == "", (prefix, found)
    assert as_modules(found) == found


def test_a_step_repeated_no_time_is_its_input(lower: Lower) -> None:
    stem = "stem: {a: relu, c: {sigmoid: null, repeat: 4 - in_channels}, b: {sigmoid: null, from: c}}"
    assert edges(lower(INPUT + stem)) == {"a": ("input",), "b": ("a",)}


def test_a_join_of_one_result_is_that_result(lower: Lower) -> None:
    stem = f"stem: {{c: {{repeat: %d, steps: {{x: {CONV}}}}}, sum: {{add: null, from: c.*}}, b: relu}}"

    assert edges(lower(INPUT + stem % 1)) == {"c.0.x": ("input",), "b": ("c.0.x",)}
    assert edges(lower(INPUT + stem % 2))["sum"] == ("c.0.x", "c.1.x")


@pytest.mark.parametrize("absent", ["repeat: 0", "repeat: 2, when: false"])
def test_results_that_are_not_there_are_left_out_of_a_list(lower: Lower, mistakes: Mistakes, absent: str) -> None:
    stem = f"stem: {{a: relu, c: {{{absent}, steps: {{x: relu}}}}, sum: {{add: null, from: [c.*, a]}}, b: relu}}"
    assert edges(lower(INPUT + stem)) == {"a": ("input",), "b": ("a",)}

    (found,) = mistakes(INPUT + stem.replace("[c.*, a]", "[c.*]"))
    assert "'from' names no values: 'c.*' are of steps that are absent or repeated 0 times" in found
    assert edges(lower(INPUT + stem.replace("from: [c.*, a]", "from: c.*, when: in_channels > 4"))) == edges(
        lower(INPUT + stem)
    )


def test_results_and_their_sizes_have_names(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        stem:
          c: {{conv2d: {{channels: 2 * number, kernel: 1}}, repeat: 2}}
          d: {{conv2d: {{channels: c.0.channels + c.channels, kernel: 1}}, from: c.0}}
        outputs: [c.1, d]
        """)
    assert graph.by_name["d"].inputs == ("c.0",)
    assert graph.by_name["d"].shape[0] == 6


def test_loops_nest_and_the_outer_counter_has_its_name(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        stem:
          outer:
            repeat: 2
            steps:
              inner:
                repeat: outer.number
                steps:
                  x: {{conv2d: {{channels: 10 * outer.index + index + count, kernel: 1}}}}
                  convs.{{outer.index}}_{{index}}: {CONV}
              end: {{relu: null, from: inner}}
        """)
    assert names(graph) == [
        *("outer.0.inner.0.x", "convs.0_0", "outer.0.end"),
        *("outer.1.inner.0.x", "convs.1_0", "outer.1.inner.1.x", "convs.1_1", "outer.1.end"),
    ]
    assert [node.shape[0] for node in graph.nodes if node.name.endswith("x")] == [1, 12, 13]


def test_blocks_repeat_too_and_their_layers_are_named_below(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        blocks: {{two: {{parameters: {{n: int}}, main: {{a: {CONV}, b: relu}}}}}}
        stem:
          body: {{two: {{n: index}}, repeat: 2}}
          part{{index}}: {{repeat: 2, steps: {{x: {{two: {{n: 1}}}}}}}}
        """)
    assert names(graph) == [
        *("body.0.a", "body.0.b", "body.1.a", "body.1.b"),
        *("part0.x.a", "part0.x.b", "part1.x.a", "part1.x.b"),
    ]


def test_a_layer_is_called_as_often_as_it_is_repeated(lower: Lower) -> None:
    graph = lower(
        f"{INPUT}stem: {{a: {CONV}, again: {{call: a, repeat: 2}}, c: {{{CONV[1:-1]}, repeat: 2}}, d: {{call: c.0}}}}"
    )

    assert [(node.name, node.calls) for node in graph.nodes] == [
        *(("a", None), ("again.0", "a"), ("again.1", "a"), ("c.0", None), ("c.1", None), ("d", "c.0"))
    ]


# -- groups ------------------------------------------------------------------------------------------------------


def test_a_group_is_a_chain_with_names_of_its_own(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        parameters: {{gated: true}}
        stem:
          a: relu
          gate: {{from: input, when: gated, steps: {{x: {CONV}, y: {{sigmoid: null, from: x}}}}}}
          x: {{multiply: null, from: [a, gate]}}
        """)
    assert edges(graph) == {"a": ("input",), "gate.x": ("input",), "gate.y": ("gate.x",), "x": ("a", "gate.y")}


def test_an_absent_group_is_its_input(lower: Lower) -> None:
    assert names(lower(f"{INPUT}stem: {{a: relu, g: {{when: in_channels > 4, steps: {{x: {CONV}}}}}, b: relu}}")) == [
        "a",
        "b",
    ]


# -- several inputs and outputs ----------------------------------------------------------------------------------

DECODER = f"""
{INPUT}
blocks:
  decoder:
    inputs: [input, skip]
    parameters: {{channels: skip.channels * 2}}
    main:
      conv: {{conv2d: {{channels: channels, kernel: 1}}}}
      side: {{conv2d: {{channels: conv.channels, kernel: 1}}, from: skip}}
      sum: {{add: null, from: [conv, side]}}
    outputs: [side, conv]
stem:
  a: {{conv2d: {{channels: 3, kernel: 1}}}}
  b: relu
"""


def test_a_block_takes_several_inputs_and_gives_several_values(lower: Lower) -> None:
    graph = lower(DECODER + "  up: {decoder: {}, from: [b, a]}\n  all: {add: null, from: [up, up.side, up.conv]}\n")

    assert edges(graph) == {
        "a": ("input",),
        "b": ("a",),
        "up.conv": ("b",),
        "up.side": ("a",),
        "up.sum": ("up.conv", "up.side"),
        "all": ("up.sum", "up.side", "up.conv"),
    }
    assert graph.by_name["all"].shape == (6, 8, 8)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("  up: decoder\n", "stem.up: block 'decoder' takes 2 inputs (input, skip), not 1; 'from' names them"),
        ("  up: {decoder: null, from: [a, b, input]}\n", "block 'decoder' takes 2 inputs (input, skip), not 3"),
        (
            "  up: {decoder: null, from: [a, b]}\n  c: {relu: null, from: up.sid}\n",
            "no earlier layer here is named 'up.sid'; did you mean 'up.side'?",
        ),
        (
            "  up: {decoder: null, from: [a, b]}\n  c: {relu: null, from: up.norm1}\n",
            "no earlier layer here is named 'up.norm1'; "
            "what is inside 'up' can be read here only if its block lists it in 'outputs'",
        ),
        ("  s: {steps: {x: decoder}}\n", "takes 2 inputs (input, skip), not 1; 'from' names them"),
        ("stages: {s: {block: decoder}}\n", "takes 2 inputs (input, skip), not 1; a stage passes one"),
        ("  c: {add: null, from: a.*}\n", "'a.*' names no values: 'a' is neither repeated nor has outputs"),
    ],
)
def test_wrong_inputs_and_outputs_are_reported(mistakes: Mistakes, steps: str, said: str) -> None:
    (found,) = mistakes(DECODER + steps)
    assert said in found


# -- shortcuts ---------------------------------------------------------------------------------------------------


def test_a_shortcut_may_be_absent(lower: Lower) -> None:
    graph = lower(f"""
        {INPUT}
        blocks:
          maybe:
            parameters: {{channels: int}}
            main: {{conv: {{conv2d: {{channels: channels, kernel: 1}}}}}}
            shortcut: {{when: channels == in_channels, otherwise: none}}
            after: {{act: relu}}
        stages: {{s: {{block: maybe, repeat: 2, channels: 6}}}}
        """)
    assert edges(graph) == {
        "s.0.conv": ("input",),
        "s.0.act": ("s.0.conv",),
        "s.1.conv": ("s.0.act",),
        "s.1.add": ("s.1.conv", "s.0.act"),
        "s.1.act": ("s.1.add",),
    }
    assert [scope.residual for scope in graph.scopes if scope.kind == "block"] == [False, True]


# -- names -------------------------------------------------------------------------------------------------------


def test_a_stage_of_one_block_needs_no_counter_in_its_names(lower: Lower) -> None:
    graph = lower("extends: resnet18\nstages: {layer1: {names: '{stage}_{layer}', repeat: 1}}\n")
    assert {name for name in names(graph) if name.startswith("layer1")} >= {"layer1_conv1", "layer1_add"}


def test_a_stage_of_several_blocks_does(mistakes: Mistakes) -> None:
    said = "a pattern without a counter, such as {index}, names one block, not 2 (in stage 'layer1')"
    assert mistakes("extends: resnet18\nstages: {layer1: {names: '{stage}_{layer}'}}\n") == [
        f"spec.yaml:2:26: stages.layer1.names: {said}"
    ]


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{relu: null, repeat: 1.5}", "stem.x.repeat: must be a whole number from 0 to 100,000, not 1.5"),
        ("{relu: null, repeat: -1}", "stem.x.repeat: must be a whole number from 0 to 100,000, not -1"),
        ("{relu: null, repeat: true}", "stem.x.repeat: must be a whole number from 0 to 100,000, not true"),
        ("{relu: null, repeat: 10 * 100000000}", "must be a whole number from 0 to 100,000, not 1000000000"),
        ("{relu: null, repeat: widht}", "stem.x.repeat: unknown name 'widht'"),
        ("{relu: null, repeat: [2]}", "stem.x.repeat: must be a number or an expression, not [2]"),
        ("{relu: null, steps: {y: relu}}", "stem.x: a step with 'steps' names no other layer, such as 'relu'"),
        ("{call: a, steps: {y: relu}}", "stem.x: a step with 'call' names no other layer, such as 'steps'"),
        ("{steps: 3}", "stem.x.steps: must be a mapping, not 3"),
        ("{steps: {y: relu, z: {frelu: 1}}}", "stem.x.steps.z: the arguments of 'frelu' must be a mapping"),
        ("{repeat: 2, steps: {y: frobnicate}}", "stem.x.steps.y: unknown operation, block or layer 'frobnicate'"),
        ("{repeat: 2, steps: {previous: relu}}", "'previous' is already the name of another layer here"),
        ("{repeat: 2, steps: {a: relu}}", "'a' is already the name of another layer here"),
        ("{relu: null, from: previous}", "no earlier layer here is named 'previous'"),
        ("{relu: null, repeat: 2, from: [a, input]}", "a step with 'repeat' takes one value, not 2"),
        (
            "{repeat: 2, steps: {y: {conv2d: {channels: indx, kernel: 1}}}}",
            "unknown name 'indx'; did you mean 'index'?",
        ),
        ("{conv2d: {channels: b.channels, kernel: 1}}", "no earlier step here is named 'b' (known: input, a)"),
        (
            "{conv2d: {channels: a.features, kernel: 1}}",
            "the value of 'a' has channels and height and width, no features",
        ),
        ("{repeat: 2, steps: {conv{index}: relu, y: {relu: null, from: 'conv{indx}'}}}", "named 'conv{indx}'"),
    ],
)
def test_a_wrong_step_is_one_mistake(mistakes: Mistakes, step: str, said: str) -> None:
    step = step.replace("conv{index}:", "'conv{index}':")
    (found,) = mistakes(f"{INPUT}stem: {{a: relu, x: {step}}}\n")
    assert said in found


def test_a_counter_outside_of_a_repeated_step_is_reported(mistakes: Mistakes) -> None:
    (found,) = mistakes(f"{INPUT}stem:\n  conv{{index}}: relu\n")
    assert "stem.conv{index}: 'conv{index}': only a repeated step has the counter 'index'" in found


@pytest.mark.parametrize("name", ["conv{idx}", "conv{", "{index", "a{index}}", "{count}", "a b", ".{index}"])
def test_a_name_with_another_placeholder_is_refused(mistakes: Mistakes, name: str) -> None:
    (found,) = mistakes(f"{INPUT}stem: {{'{name}': {{relu: null, repeat: 2}}}}\n")
    assert "must be letters, digits, _ and -" in found or "letters, digits, _ and -" in found


@pytest.mark.parametrize(
    "stem",
    [
        "a: {relu: null, repeat: 100000}, b: {relu: null, repeat: 100000}",
        "a: {repeat: 100000, steps: {}}, b: relu",
        "a: {repeat: 1000, steps: {b: {repeat: 1000, steps: {c: {relu: null, when: false}}}}}",
    ],
)
def test_loops_too_large_to_be_intended_are_one_mistake(mistakes: Mistakes, stem: str) -> None:
    found = mistakes(f"{INPUT}stem: {{{stem}}}\n")
    assert len(found) == 1
    assert "the network has more than 100,000 layers" in found[0]


def test_too_many_blocks_are_refused_before_each_is_made(lines: Callable[..., list[str]]) -> None:
    [said] = lines(lambda: load("cifar/resnet20", {"stages.layer1.repeat": 10_000}).to_graph())
    assert said.endswith("stages.layer1.repeat: the network has more than 100,000 layers")


def test_a_thousand_groups_within_each_other_are_refused(mistakes: Mistakes) -> None:
    (found,) = mistakes(f"{INPUT}stem: {{a: {'{steps: {a: ' * 1000}relu{'}}' * 1000}}}\n")
    assert "nested" in found


def grouped(step: Any, times: int) -> Any:
    for _ in range(times):
        step = {"repeat": 1, "steps": {"a": step}}
    return step


def test_plain_data_of_a_thousand_groups_is_refused() -> None:
    with pytest.raises(SpecError, match="nested"):
        load("resnet18", {"stem.relu": grouped("relu", 1000)})
    for data in (grouped("relu", 1000), grouped("relu", 100), itself()):
        with pytest.raises(ValidationError, match="is nested more than 150 levels deep"):
            Spec.model_validate({"stem": {"a": data}})


def itself() -> Any:
    step: dict[str, Any] = {"repeat": 1}
    step["steps"] = {"a": step}
    return step


@pytest.mark.parametrize(
    "data",
    [
        {
            "stem": {"a": "b0"},
            "blocks": {f"b{i}": {"main": {"x": grouped(f"b{i + 1}", 25)}} for i in range(9)} | {"b9": {"main": {}}},
        },
        {"stem": {"a": {"spec": {"stem": {"a": grouped({"spec": {"stem": {"x": grouped("relu", 26)}}}, 26)}}}}},
    ],
    ids=["blocks", "networks"],
)
def test_chains_nested_too_deeply_are_one_mistake(data: Any) -> None:
    with pytest.raises(SpecError) as caught:
        Spec.model_validate(data).to_graph()
    (problem,) = caught.value.problems
    assert "more than 50 chains are nested in each other" in problem.message


def test_fifty_chains_are_allowed() -> None:
    graph = Spec.model_validate({"stem": {"a": grouped("relu", 49)}}).to_graph()
    assert len(graph.nodes) == 1


# -- round trips -------------------------------------------------------------------------------------------------


def test_a_resolved_spec_is_read_back_to_the_same_graph(lower: Lower, tmp_path: Any) -> None:
    graph = lower(RES2)
    again = tmp_path / "again.yaml"
    again.write_text(load("spec.yaml").to_yaml(), encoding="utf-8")

    assert load(again).to_graph().fingerprint == graph.fingerprint
    assert load("spec.yaml").model_dump(by_alias=True, exclude_defaults=True)["blocks"]["res2"]["main"]["branches"] == {
        "repeat": "scale - 1",
        "steps": {
            "part": {"slice": {"part": "index", "parts": "scale"}, "from": "conv1"},
            "sum": {"add": None, "from": ["part", "previous"], "when": "index > 0"},
            "convs.{index}": {"conv2d": {"channels": "width", "kernel": 3, "padding": 1}},
            "bns.{index}": "norm",
        },
    }
