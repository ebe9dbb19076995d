"""A spec gets its meaning: what each word of the language does to the graph, and how a wrong one is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec import Graph
from resnet_spec.spec import chains
from resnet_spec.spec.spec import Spec

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]

INPUT = "input: {channels: 4, height: 8, width: 8}\n"


def edges(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {node.name: node.inputs for node in graph.nodes}


def fields(graph: Graph, name: str) -> dict[str, Any]:
    return graph.by_name[name].operation.model_dump()


STAGED = """
blocks:
  one:
    parameters: {channels: int, stride: 1, kernel: 1}
    main: {conv: {conv2d: {channels: channels, kernel: kernel, stride: stride}}}
stages:
  s: {block: one, channels: 4, STAGE}
"""


@pytest.fixture
def staged(lower: Lower) -> Callable[..., Graph]:
    """A stage of a block that holds one convolution."""
    return lambda stage, more="": lower(INPUT + more + STAGED.replace("STAGE", stage))


# -- chains ------------------------------------------------------------------------------------------------------


def test_a_step_takes_what_the_one_before_it_gives(lower: Lower) -> None:
    graph = lower(INPUT + "stem: {a: relu, b: sigmoid}\nhead: {c: flatten, d: {linear: {features: 3}}}\n")

    assert edges(graph) == {"a": ("input",), "b": ("a",), "c": ("b",), "d": ("c",)}
    assert [node.shape for node in graph.nodes] == [(4, 8, 8), (4, 8, 8), (256,), (3,)]
    assert graph.outputs == ("d",)


def test_from_takes_named_steps_instead(lower: Lower) -> None:
    graph = lower(INPUT + "stem: {a: relu, b: {sigmoid: null, from: input}, c: {add: null, from: [a, b, input]}}\n")

    assert edges(graph) == {"a": ("input",), "b": ("input",), "c": ("a", "b", "input")}


def test_a_layer_that_is_none_is_not_there_and_its_name_means_its_input(lower: Lower) -> None:
    graph = lower(INPUT + "layers: {act: none}\nstem: {a: relu, b: act, c: none, d: {add: null, from: [c, input]}}\n")

    assert edges(graph) == {"a": ("input",), "d": ("a", "input")}


@pytest.mark.parametrize(
    ("condition", "there"), [("in_height > 7", True), ("in_height > 8", False), ("wide", True), ("not wide", False)]
)
def test_when_decides_whether_a_step_is_there(lower: Lower, condition: str, there: bool) -> None:
    graph = lower(
        INPUT + f"parameters: {{wide: true}}\nstem: {{a: relu, b: {{sigmoid: null, when: '{condition}'}}, c: relu}}\n"
    )

    assert ("b" in graph.by_name) == there
    assert graph.by_name["c"].inputs == (("b",) if there else ("a",))


def test_call_uses_a_layer_again_with_its_parameters(lower: Lower) -> None:
    graph = lower(INPUT + "stem: {a: {conv2d: {channels: 4, kernel: 1}}, b: {call: a}, c: {call: b}}\n")

    assert [(node.name, node.calls, node.inputs) for node in graph.nodes] == [
        ("a", None, ("input",)),
        ("b", "a", ("a",)),
        ("c", "a", ("b",)),
    ]
    assert [parameter.name for parameter in graph.parameters()] == ["a.weight"]


# -- blocks ------------------------------------------------------------------------------------------------------

SE = """
blocks:
  se:
    parameters: {reduction: 2, gate: sigmoid}
    main:
      pool: global_avg_pool
      fc: {conv2d: {channels: in_channels // reduction, kernel: 1}}
      up: {conv2d: {channels: in_channels, kernel: 1}}
      gate: gate
      scale: {multiply: null, from: [input, gate]}
  b:
    parameters: {attention: none, reduction: 4}
    main: {conv: {conv2d: {channels: 8, kernel: 1}}, se: SLOT}
    after: {act: {relu: null, when: attention}}
stages:
  s: {block: b, STAGE}
"""


def squeezed(lower: Lower, stage: str, slot: str = "attention") -> Graph:
    return lower(INPUT + SE.replace("STAGE", stage).replace("SLOT", slot))


def test_a_slot_takes_a_layer_with_arguments(lower: Lower) -> None:
    graph = squeezed(lower, "attention: {se: {reduction: 4, gate: relu}}")

    assert list(graph.by_name) == [
        "s.0.conv",
        *(f"s.0.se.{n}" for n in ("pool", "fc", "up", "gate", "scale")),
        "s.0.act",
    ]
    assert fields(graph, "s.0.se.fc")["channels"] == 2
    assert fields(graph, "s.0.se.gate")["op"] == "relu"
    assert graph.by_name["s.0.se.scale"].inputs == ("s.0.conv", "s.0.se.gate")


def test_a_slot_is_given_further_arguments_where_it_stands(lower: Lower) -> None:
    graph = squeezed(lower, "attention: se", "{attention: {reduction: reduction * 2}}")

    assert fields(graph, "s.0.se.fc")["channels"] == 1


def test_an_empty_slot_is_not_there_and_counts_as_false(lower: Lower) -> None:
    graph = squeezed(lower, "reduction: 3", "{attention: {reduction: reduction}}")

    assert list(graph.by_name) == ["s.0.conv"]


def test_a_block_is_a_step_too_and_its_names_are_nested(lower: Lower) -> None:
    graph = lower(
        INPUT + SE.split("stages:")[0].replace("SLOT", "attention") + "stem: {gate: se, x: {b: {attention: se}}}\n"
    )

    assert "gate.fc" in graph.by_name
    assert graph.by_name["x.se.fc"].inputs == ("x.se.pool",)
    assert ("x.se", "block") in [(scope.name, scope.kind) for scope in graph.scopes]


def test_parameters_default_to_expressions_over_earlier_ones_and_the_blocks_input(lower: Lower) -> None:
    graph = lower(
        INPUT
        + """
blocks:
  b:
    parameters: {channels: in_channels * 2, width: channels // 4, wide: width > 1}
    main:
      c: {conv2d: {channels: width, kernel: 1}, when: wide}
      d: {conv2d: {channels: channels, kernel: 1}}
stages: {s: {block: b, repeat: 2}}
"""
    )

    assert [(node.name, node.shape[0]) for node in graph.nodes] == [
        ("s.0.c", 2),
        ("s.0.d", 8),
        ("s.1.c", 4),
        ("s.1.d", 16),
    ]


def test_a_network_may_read_a_vector(lower: Lower) -> None:
    text = (
        "input: {features: 6}\nstem: {fc: {linear: {features: in_features * 2}}, map: {reshape: {shape: [3, 2, 2]}}}\n"
    )

    assert [node.shape for node in lower(text).nodes] == [(12,), (3, 2, 2)]


def test_a_block_may_work_on_a_row(lower: Lower) -> None:
    gate = "{conv: {conv1d: {channels: in_channels, kernel: in_length // 2}}}"
    text = f"blocks: {{gate: {{main: {gate}}}}}\nstem: {{row: {{reshape: {{shape: [4, 64]}}}}, gate: gate}}\n"

    assert lower(INPUT + text).by_name["gate.conv"].shape == (4, 33)


def test_a_block_may_work_on_a_vector(lower: Lower) -> None:
    block = "blocks: {half: {main: {fc: {linear: {features: in_features // 2}}}}}\n"
    graph = lower(INPUT + block + "stem: {flat: flatten}\nstages: {s: {block: half, repeat: 2}}\n")

    assert graph.by_name["s.1.fc"].shape == (64,)


RESIDUAL = """
blocks:
  b:
    parameters: {channels: int, stride: 1}
    main:
      first: relu
      conv: {conv2d: {channels: channels, kernel: 1, stride: stride}}
    shortcut: SHORTCUT
    after: {act: relu}
stages:
  s: {block: b, repeat: 2, channels: 4, stride: 2}
"""


def residual(lower: Lower, shortcut: str) -> Graph:
    return lower(INPUT + RESIDUAL.replace("SHORTCUT", shortcut))


def test_a_shortcut_projects_where_it_says_so_and_is_the_identity_elsewhere(lower: Lower) -> None:
    graph = residual(
        lower, "{when: stride != 1, layers: {down: {conv2d: {channels: channels, kernel: 1, stride: stride}}}}"
    )

    assert graph.by_name["s.0.down"].inputs == ("input",)
    assert graph.by_name["s.0.add"].inputs == ("s.0.conv", "s.0.down")
    assert graph.by_name["s.0.act"].inputs == ("s.0.add",)
    assert graph.by_name["s.1.add"].inputs == ("s.1.conv", "s.0.act")
    assert "s.1.down" not in graph.by_name


def test_a_shortcut_may_start_at_a_named_layer_and_the_identity_at_another(lower: Lower) -> None:
    graph = residual(
        lower,
        "{when: stride != 1, from: first, layers: {down: {max_pool2d: {kernel: 1, stride: stride}}},"
        " otherwise: {from: first, layers: {gate: sigmoid}}}",
    )

    assert graph.by_name["s.0.down"].inputs == ("s.0.first",)
    assert graph.by_name["s.1.add"].inputs == ("s.1.conv", "s.1.gate")
    assert graph.by_name["s.1.gate"].inputs == ("s.1.first",)


def test_the_addition_is_named_by_the_block(lower: Lower) -> None:
    graph = lower(INPUT + "blocks: {b: {join: sum, main: {a: relu}, shortcut: {}}}\nstages: {s: {block: b}}\n")

    assert graph.by_name["s.0.sum"].inputs == ("s.0.a", "input")


def test_a_block_without_a_shortcut_adds_nothing(lower: Lower) -> None:
    graph = residual(lower, "null")

    assert not [node for node in graph.nodes if node.operation.op == "add"]
    assert not any(scope.residual for scope in graph.scopes)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("[main, shortcut, after]", ["conv", "down", "fc"]),
        ("[shortcut, main, after]", ["down", "conv", "fc"]),
        ("[after, shortcut, main]", ["fc", "down", "conv"]),
    ],
)
def test_declare_orders_the_parameters_and_not_the_execution(lower: Lower, order: str, names: list[str]) -> None:
    conv = "{conv2d: {channels: 4, kernel: 1}}"
    block = (
        f"{{declare: {order}, main: {{conv: {conv}}}, shortcut: {{layers: {{down: {conv}}}}}, after: {{fc: {conv}}}}}"
    )
    graph = lower(INPUT + f"blocks: {{b: {block}}}\nstages: {{s: {{block: b, repeat: 2}}}}\n")

    assert [p.node for p in graph.parameters()] == [f"s.{index}.{name}" for index in (0, 1) for name in names]
    assert [n.name for n in graph.nodes] == [f"s.{i}.{n}" for i in (0, 1) for n in ("conv", "down", "add", "fc")]
    assert bool(graph.declaration) == (order != "[main, shortcut, after]")


def test_scopes_name_stages_and_blocks_and_what_they_give(lower: Lower) -> None:
    graph = residual(lower, "{layers: {down: {max_pool2d: {kernel: 1, stride: stride}}}}")

    assert [(s.name, s.kind, s.output, s.block, s.residual) for s in graph.scopes] == [
        ("s.0", "block", "s.0.act", "b", True),
        ("s.1", "block", "s.1.act", "b", True),
        ("s", "stage", "s.1.act", None, False),
    ]


# -- stages ------------------------------------------------------------------------------------------------------


def strides(graph: Graph) -> list[int]:
    return [node.operation.stride[0] for node in graph.nodes if node.operation.op == "conv2d"]


def test_the_stride_goes_to_the_first_block(staged: Callable[..., Graph]) -> None:
    assert strides(staged("repeat: 3, stride: 2")) == [2, 1, 1]


def test_the_stride_goes_to_the_last_block_if_asked(staged: Callable[..., Graph]) -> None:
    assert strides(staged("repeat: 3, stride: 2, stride_in: last")) == [1, 1, 2]


def test_first_and_last_blocks_take_arguments_of_their_own(staged: Callable[..., Graph]) -> None:
    graph = staged("repeat: 3, first: {kernel: 3}, last: {kernel: 2, channels: 6, stride: 2}")

    assert [(fields(graph, n.name)["kernel"][0], n.shape[0]) for n in graph.nodes] == [(3, 4), (1, 4), (2, 6)]
    assert strides(graph) == [1, 1, 2]


def test_first_and_last_may_be_other_blocks(staged: Callable[..., Graph]) -> None:
    more = "layers: {norm: none, act: relu}\n"
    graph = staged("repeat: 3, last: {block: basic_block}", more)

    assert [scope.block for scope in graph.scopes if scope.kind == "block"] == ["one", "one", "basic_block"]


def test_a_list_gives_each_block_its_value(staged: Callable[..., Graph]) -> None:
    graph = staged("repeat: 3, kernel: [3, 1, 2]")

    assert [fields(graph, node.name)["kernel"][0] for node in graph.nodes] == [3, 1, 2]


def test_arguments_may_count_the_blocks(staged: Callable[..., Graph]) -> None:
    graph = staged("repeat: 3, first: {channels: count * 10}, kernel: '1 if index == 1 else number'")

    assert [(node.shape[0], fields(graph, node.name)["kernel"][0]) for node in graph.nodes] == [(30, 1), (4, 1), (4, 3)]


def test_arguments_may_count_the_blocks_of_the_whole_network(lower: Lower) -> None:
    block = "blocks: {b: {parameters: {rate: number}, main: {drop: {stochastic_depth: {rate: rate}}}}}\n"
    stage = "{block: b, repeat: REPEAT, rate: 0.5 * overall_index / (overall_count - 1)}"
    stages = f"stages: {{s: {stage.replace('REPEAT', '2')}, t: {stage.replace('REPEAT', '3')}}}\n"

    assert [node.operation.rate for node in lower(INPUT + block + stages).nodes] == [0, 0.125, 0.25, 0.375, 0.5]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{stage}.{index}.{layer}", ["s.0.conv", "s.1.conv"]),
        ("{stage}.blocks.{index}.{layer}", ["s.blocks.0.conv", "s.blocks.1.conv"]),
        ("{stage}_block{number}_{layer}", ["s_block1_conv", "s_block2_conv"]),
        ("{stage}.unit_{number}.{layer}", ["s.unit_1.conv", "s.unit_2.conv"]),
        ("{stage}.{remaining}.{layer}", ["s.1.conv", "s.0.conv"]),
        ("features.{overall_index}.{layer}", ["features.0.conv", "features.1.conv"]),
        ("features.{overall_number}.{layer}", ["features.1.conv", "features.2.conv"]),
        ("{index}-{layer}", ["0-conv", "1-conv"]),
    ],
)
def test_names_follow_the_pattern(staged: Callable[..., Graph], pattern: str, names: list[str]) -> None:
    assert list(staged("repeat: 2", f'names: "{pattern}"\n').by_name) == names
    assert list(staged(f'repeat: 2, names: "{pattern}"').by_name) == names


def test_flat_names_still_have_a_scope() -> None:
    graph = Spec.model_validate(
        {
            "blocks": {"b": {"main": {"a": "relu", "c": "sigmoid"}}},
            "stages": {"conv2": {"block": "b", "names": "{stage}_block{number}_{layer}"}},
        }
    ).to_graph()

    assert [(scope.name, scope.output) for scope in graph.scopes] == [
        ("conv2_block1", "conv2_block1_c"),
        ("conv2", "conv2_block1_c"),
    ]


def test_outputs_are_layers_blocks_or_stages(staged: Callable[..., Graph]) -> None:
    graph = staged("repeat: 2", "outputs: [s.0, s, s.1.conv]")

    assert graph.outputs == ("s.0.conv", "s.1.conv", "s.1.conv")


def test_what_follows_the_last_output_is_left_out(staged: Callable[..., Graph]) -> None:
    graph = staged("repeat: 3", "outputs: [s.0, s.1]\n")

    assert list(graph.by_name) == ["s.0.conv", "s.1.conv"]
    assert [scope.name for scope in graph.scopes] == ["s.0", "s.1"]


# -- final, features and named outputs ---------------------------------------------------------------------------

FINAL = (
    "stem: {a: relu}\n"
    "final: {b: {sigmoid: null, from: a}, c: {add: null, from: [a, b]}}\n"
    "head: {pool: global_avg_pool, flat: {flatten: null, from: pool}}\n"
)


def test_final_stands_between_the_stages_and_the_head(lower: Lower) -> None:
    assert edges(lower(INPUT + FINAL)) == {
        "a": ("input",),
        "b": ("a",),
        "c": ("a", "b"),
        "pool": ("c",),
        "flat": ("pool",),
    }


def test_without_its_head_a_network_ends_in_final(lower: Lower) -> None:
    assert lower(INPUT + FINAL, ["head=null"]).outputs == ("c",)


def test_final_shares_one_set_of_names_with_stem_stages_and_head(mistakes: Mistakes) -> None:
    assert mistakes("stem: {a: relu}\nfinal: {a: relu}\n") == [
        "spec.yaml:1:1: 'a' names two of the spec's layers or stages"
    ]


FEATURES = "outputs: features\n" + INPUT + STAGED.replace("STAGE", "stride: 2") + "  t: {block: one, channels: 4}\n"


@pytest.mark.parametrize(
    ("stem", "first"),
    [
        ("{conv: {conv2d: {channels: 4, kernel: 3, padding: 1}}, act: relu}", []),
        ("{conv: {conv2d: {channels: 4, kernel: 3, stride: 2, padding: 1}}, act: relu}", ["act"]),
        ("{a: {conv2d: {channels: 4, kernel: 2, stride: 2}}, p: {pad2d: {padding: 1}}, m: POOL}", ["a"]),
        ("{m: POOL, act: relu}", ["act"]),
        ("{m: POOL}", []),
        ("{a: {conv2d: {channels: 4, kernel: 2, stride: [2, 1]}}}", []),
    ],
)
def test_features_are_the_end_of_a_stride_of_two_in_the_stem_and_of_each_stage(
    lower: Lower, stem: str, first: list[str]
) -> None:
    stem = stem.replace("POOL", "{max_pool2d: {kernel: 2}}")

    assert lower(f"{FEATURES}stem: {stem}\n").outputs == (*first, "s.0.conv", "t.0.conv")


def test_the_features_of_resnet18_are_those_a_detector_wants(lower: Lower) -> None:
    graph = lower("extends: resnet18\noutputs: features\n")

    assert graph.outputs == ("relu", *(f"layer{stage}.1.relu2" for stage in (1, 2, 3, 4)))
    assert [graph.stride(name) for name in graph.outputs] == [(s, s) for s in (2, 4, 8, 16, 32)]
    assert "avgpool" not in graph.by_name


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ("outputs: features", ("relu", "layer1", "layer2", "layer3", "layer4")),
        ("outputs: [layer4, conv1, layer2.0]", ("layer4", "conv1", "layer2.0")),
        ("depth: 18", ("fc",)),
    ],
)
def test_named_outputs_have_the_names_that_were_asked_for(lower: Lower, outputs: str, names: tuple[str, ...]) -> None:
    plain, named = (lower(f"extends: resnet18\n{outputs}\nnamed_outputs: {flag}\n") for flag in ("false", "true"))

    assert (plain.output_names, named.output_names) == ((), names)
    assert named.outputs == plain.outputs


def test_an_output_named_twice_is_reported(mistakes: Mistakes) -> None:
    text = "extends: resnet18\noutputs: [layer4, layer4]\n"

    assert mistakes(text + "named_outputs: true\n") == [
        "spec.yaml:2:19: outputs.1: 'layer4' is listed twice; with 'named_outputs' each name is unique"
    ]


# -- variants ----------------------------------------------------------------------------------------------------


def test_a_dilated_variant_is_two_overrides_away(lower: Lower) -> None:
    text = "extends: resnet50\ninput: {height: 64, width: 64}\n"
    plain, dilated = lower(text), lower(text, ["stages.layer4.stride=1", "stages.layer4.dilation=2"])

    assert plain.by_name["layer4.2.relu3"].shape == (2048, 2, 2)
    assert dilated.by_name["layer4.2.relu3"].shape == (2048, 4, 4)
    assert fields(dilated, "layer4.1.conv2")["padding"] == ((2, 2), (2, 2))
    assert plain.parameters() == dilated.parameters()


# -- mistakes ----------------------------------------------------------------------------------------------------


def test_a_layer_that_nothing_uses_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("stem:\n  a: relu\n  b: {sigmoid: null, from: input}\n") == [
        "spec.yaml:2:6: stem.a: nothing uses the value of 'a', and it is not an output"
    ]


def test_a_network_of_absent_layers_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("stem: {a: none}\nhead: {b: {relu: null, when: false}}\n") == [
        "spec.yaml:1:7: stem: the network has no layers: each is 'none' or left out by 'when'"
    ]


def test_an_initialization_that_meets_no_parameter_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\ninitialization:\n  '*.bn3.weight': {constant: 0}\n") == [
        "spec.yaml:3:3: initialization.*.bn3.weight: no parameter's name matches '*.bn3.weight'"
    ]


def test_an_override_may_take_out_what_an_initialization_is_for(lower: Lower) -> None:
    text = "extends: resnet18\ninitialization:\n  'fc.*': {constant: 0}\n"

    assert lower(text, ["head=null"]).outputs == ("layer4.1.relu2",)
    assert lower(text + "outputs: features\n").outputs[0] == "relu"


def test_unknown_outputs_are_reported_with_suggestions(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\noutputs: [layer4, layr3, fc.weight]\n") == [
        "spec.yaml:2:19: outputs.1: no layer, block or stage is named 'layr3'; did you mean 'layer3'?",
        "spec.yaml:2:26: outputs.2: no layer, block or stage is named 'fc.weight'",
    ]


def test_an_output_lost_to_another_mistake_is_not_reported(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\nstem: {bn1: nrom}\noutputs: [layer4, layer9]\n") == [
        "spec.yaml:2:13: stem.bn1: unknown operation, block or layer 'nrom'; did you mean 'norm'?",
        "spec.yaml:3:19: outputs.1: no layer, block or stage is named 'layer9'; did you mean 'layer4'?",
    ]


# -- too much of it ----------------------------------------------------------------------------------------------


def test_a_block_that_contains_itself_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("blocks: {b: {main: {x: b, y: b, z: b}}}\nstages: {s: {block: b}}\n") == [
        "spec.yaml:1:24: blocks.b.main.x: block 'b' contains itself (used by stages.s)"
    ]


def test_blocks_that_multiply_are_given_up(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_LAYERS", 1000)
    blocks = ["b0: {main: {x: none}}"]
    blocks += [f"b{n}: {{main: {{{', '.join(f'x{i}: b{n - 1}' for i in range(10))}}}}}" for n in range(1, 15)]
    (said,) = mistakes(
        f"blocks:\n  {chr(10).join(blocks).replace(chr(10), chr(10) + '  ')}\nstages: {{s: {{block: b14}}}}\n"
    )

    assert said.endswith("the network has more than 1,000 layers (used by stages.s)")
