"""Layers and stages are resolved to operations and blocks with arguments; wrong ones are reported in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec import Graph
from resnet_spec.operations import OPERATIONS, Category
from resnet_spec.spec.resolution import parameter_type
from resnet_spec.spec.spec import Spec

Lower = Callable[..., Graph]
Mistakes = Callable[..., list[str]]


INPUT = "input: {channels: 4, height: 8, width: 8}\n"


def fields(graph: Graph, name: str) -> dict[str, Any]:
    return graph.by_name[name].operation.model_dump()


def test_a_defined_layer_takes_further_arguments(lower: Lower) -> None:
    graph = lower(
        INPUT
        + "layers: {conv: {conv2d: {bias: true, padding: same, kernel: 3}}, wide: {conv: {channels: 16}}}\n"
        + "stem: {a: {conv: {channels: 8}}, b: wide, c: {wide: {kernel: 1}}}\n"
    )

    assert [(fields(graph, n)["channels"], fields(graph, n)["kernel"]) for n in "abc"] == [
        (8, (3, 3)),
        (16, (3, 3)),
        (16, (1, 1)),
    ]
    assert all(fields(graph, name)["bias"] for name in "abc")


def test_a_defined_layer_means_the_same_wherever_it_stands(lower: Lower) -> None:
    graph = lower(
        INPUT
        + "parameters: {width: 6}\nlayers: {conv: {conv2d: {channels: width, kernel: 1}}}\n"
        + "blocks: {b: {parameters: {width: 2}, main: {c: conv}}}\nstages: {s: {block: b, width: 3}}\n"
    )

    assert fields(graph, "s.0.c")["channels"] == 6


def test_parameters_may_build_on_earlier_ones_and_on_the_input(lower: Lower) -> None:
    graph = lower(
        INPUT
        + "parameters: {base: 8, wide: base * 2, half: in_height // 2}\n"
        + "stem: {a: {conv2d: {channels: wide + in_channels, kernel: half, padding: '1 if base > 4 else 0'}}}\n"
    )

    assert graph.by_name["a"].shape == (20, 7, 7)
    assert fields(graph, "a")["kernel"] == (4, 4)


def test_keras_decay_is_the_other_way_of_saying_momentum(lower: Lower) -> None:
    one = "stem: {a: {batch_norm: {epsilon: 1e-3, decay: 0.99, running_variance: biased}}}\n"
    other = "stem: {a: {batch_norm: {epsilon: 0.001, momentum: 0.01, running_variance: biased}}}\n"

    assert lower(INPUT + one).fingerprint == lower(INPUT + other).fingerprint


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("¦rellu", "x: unknown operation, block or layer 'rellu'; did you mean 'relu'?"),
        ("¦Batch_Norm", "x: unknown operation, block or layer 'Batch_Norm'; did you mean 'batch_norm'?"),
        (
            "¦selu",
            "x: unknown operation, block or layer 'selu'; the operations of the kind activation are relu, relu6,"
            " leaky_relu, prelu, elu, silu, gelu, mish, sigmoid, hard_sigmoid, hard_swish, tanh, softplus",
        ),
        (
            "¦conv4d",
            "x: unknown operation, block or layer 'conv4d'; the operations of the kind convolution are conv1d,"
            " conv2d, conv3d, std_conv2d, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv_nd,"
            " conv_transpose_nd",
        ),
        (
            "¦power_norm",
            "x: unknown operation, block or layer 'power_norm'; the operations of the kind normalization are "
            + ", ".join(name for name, each in OPERATIONS.items() if each.category is Category.NORMALIZATION),
        ),
        ("¦eca", "x: unknown operation, block or layer 'eca'; did you mean 'eca_gate'?"),
        ("¦wavelet", "x: unknown operation, block or layer 'wavelet'"),
        ("¦{conv2d: {kernel: 3}}", "x: conv2d needs 'channels'"),
        (
            "{conv2d: {¦biass: true, channels: 8, kernel: 3}}",
            "x.conv2d.biass: unknown key 'biass' of operation 'conv2d'; did you mean 'bias'?",
        ),
        ("{relu: {¦inplace: true}}", "x.relu.inplace: unknown key 'inplace' of operation 'relu'; it takes no keys"),
        (
            "{conv2d: {channels: ¦0, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be at least 1, not 0",
        ),
        (
            "{conv2d: {channels: ¦-8, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be at least 1, not -8",
        ),
        (
            "{conv2d: {channels: ¦4 - in_height, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be at least 1, not -4 (from '4 - in_height')",
        ),
        (
            "{conv2d: {channels: ¦2000000, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be at most 1048576, not 2000000",
        ),
        (
            "{conv2d: {channels: ¦8.5, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be a whole number, not 8.5",
        ),
        (
            "{conv2d: {channels: ¦true, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be a whole number, not true",
        ),
        (
            "{conv2d: {channels: ¦null, kernel: 3}}",
            "x.conv2d.channels: conv2d: channels must be a whole number, not null",
        ),
        (
            "{conv2d: {channels: 8, kernel: ¦[3]}}",
            "x.conv2d.kernel: conv2d: kernel must be a whole number or [height, width], not [3]",
        ),
        (
            "{conv2d: {channels: 8, kernel: ¦tall}}",
            "x.conv2d.kernel: unknown name 'tall' (known: in_channels, in_height, in_width)",
        ),
        (
            "{conv2d: {channels: 8, kernel: ¦3 ** 2}}",
            "x.conv2d.kernel: '3 ** 2' is not allowed in an expression, which is arithmetic over names",
        ),
        (
            "{conv2d: {channels: 8, kernel: 3, padding: ¦-1}}",
            "x.conv2d.padding: conv2d: padding must be at least 0, not -1",
        ),
        (
            "{conv2d: {channels: 8, kernel: 3, padding: ¦[1, 2, 3]}}",
            "x.conv2d.padding: conv2d: padding must be a whole number or [[top, bottom], [left, right]], not [1, 2, 3]",
        ),
        (
            "{conv2d: {channels: 8, kernel: 3, padding: ¦smae}}",
            "x.conv2d.padding: must be same, or a number, not 'smae'; did you mean 'same'?",
        ),
        ("{conv2d: {channels: 8, kernel: 3, bias: ¦1}}", "x.conv2d.bias: conv2d: bias must be true or false, not 1"),
        (
            "{conv2d: {channels: 8, kernel: 3, groups: ¦0}}",
            "x.conv2d.groups: conv2d: groups must be at least 1, not 0",
        ),
        (
            "¦{conv2d: {channels: 8, kernel: 3, groups: 3}}",
            "x: 3 groups do not divide 4 input and 8 output channels (from input)",
        ),
        (
            "¦{conv2d: {channels: 8, kernel: 9}}",
            "x: the feature map vanishes: a 9×9 window does not fit an input of 4×8×8 (from input)",
        ),
        (
            "{max_pool2d: {kernel: ¦0}}",
            "x.max_pool2d.kernel: max_pool2d: kernel must be at least 1, not 0",
        ),
        (
            "¦{max_pool2d: {kernel: 3, padding: 2}}",
            "x: max_pool2d: padding 2 is more than half the kernel, 3",
        ),
        ("¦{conv1d: {channels: 3, kernel: 1}}", "x: needs a signal (channels × length), not 4×8×8 (from input)"),
        (
            "{batch_norm: {epsilon: ¦small, momentum: 0.1, running_variance: biased}}",
            "x.batch_norm.epsilon: unknown name 'small' (known: in_channels, in_height, in_width)",
        ),
        (
            "{batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: ¦baised}}",
            "x.batch_norm.running_variance: must be biased or unbiased, not 'baised'; did you mean 'biased'?",
        ),
        (
            "¦{batch_norm: {epsilon: 1.0e-5, momentum: 0.1, decay: 0.9, running_variance: biased}}",
            "x: batch_norm: momentum and decay exclude each other (decay is 1 - momentum); remove one",
        ),
        ("¦{avg_pool2d: {kernel: 2, padding: 1}}", "x: avg_pool2d needs 'count_include_pad'"),
        ("¦{avg_pool2d: {}}", "x: avg_pool2d needs 'kernel'"),
        (
            "¦{avg_pool2d: {kernel: 3, padding: same, ceil_mode: true, count_include_pad: true}}",
            "x: avg_pool2d: ceil_mode has no effect with padding 'same', which rounds up; remove it",
        ),
        (
            "{avg_pool2d: {kernel: 2, count_include_pad: ¦1}}",
            "x.avg_pool2d.count_include_pad: avg_pool2d: count_include_pad must be true or false, not 1",
        ),
        (
            "{pad2d: {padding: 1, mode: ¦reflct}}",
            "x.pad2d.mode: must be constant or reflect, not 'reflct'; did you mean 'reflect'?",
        ),
        (
            "¦{pad2d: {padding: 1, mode: reflect, value: 1}}",
            "x: pad2d: value has no effect with mode 'reflect'; remove it",
        ),
        (
            "¦{pad2d: {padding: 8, mode: reflect}}",
            "x: cannot reflect 4×8×8: the padding must be smaller than the map (from input)",
        ),
        (
            "{pad_channels: {before: ¦-1}}",
            "x.pad_channels.before: pad_channels: before must be at least 0, not -1",
        ),
        ("¦{group_norm: {groups: 2}}", "x: group_norm needs 'epsilon'"),
        ("¦{group_norm: {groups: 3, epsilon: 1.0e-5}}", "x: 3 groups do not divide 4 channels (from input)"),
        ("¦{filter_response_norm: {epsilon: 1.0e-5}}", "x: filter_response_norm needs 'threshold'"),
        ("¦{position_batch_norm: {epsilon: 1.0e-5, decay: 0.9}}", "x: position_batch_norm needs 'running_variance'"),
        ("¦{std_conv2d: {channels: 8, kernel: 3}}", "x: std_conv2d needs 'epsilon'"),
        (
            "{conv_transpose2d: {channels: 2, kernel: 3, ¦dilation: 2}}",
            "x.conv_transpose2d.dilation: unknown key 'dilation' of operation 'conv_transpose2d'; "
            "it takes channels, kernel, stride, padding, bias",
        ),
        (
            "¦{conv_transpose2d: {channels: 2, kernel: 1, padding: 4}}",
            "x: the feature map vanishes: the crop leaves nothing of 4×8×8 (from input)",
        ),
        (
            "{conv1d: {channels: 1, kernel: ¦[3, 3]}}",
            "x.conv1d.kernel: conv1d: kernel must be a whole number or [length], not [3, 3]",
        ),
        ("¦{conv1d: {channels: 1, kernel: 3}}", "x: needs a signal (channels × length), not 4×8×8 (from input)"),
        ("{reshape: {shape: ¦256}}", "x.reshape.shape: reshape: shape must be a list, not 256"),
        ("{reshape: {shape: ¦[]}}", "x.reshape.shape: reshape: shape must have at least 1 value, not []"),
        ("¦{reshape: {shape: [4, 8]}}", "x: cannot reshape 4×8×8 to 4×8, which has another size (from input)"),
        ("{dropout: {rate: ¦1}}", "x.dropout.rate: dropout: rate must be less than 1, not 1"),
        ("¦{stochastic_depth: {}}", "x: stochastic_depth needs 'rate'"),
        ("¦{add: null, from: [input]}", "x: add takes two inputs or more, not 1; 'from' names them"),
        ("¦{relu: null, from: [input, input]}", "x: relu takes one input, not 2; 'from' names them"),
        ("{relu: null, from: ¦inputt}", "x.from: no earlier layer here is named 'inputt'; did you mean 'input'?"),
        (
            "{relu: null, when: ¦in_heigth > 1}",
            "x.when: unknown name 'in_heigth'; did you mean 'in_height'? (known: in_channels, in_height, in_width)",
        ),
        ("{call: ¦y}", "x.call: no earlier layer here is named 'y'"),
        ("{call: ¦input}", "x.call: 'input': only a single layer can be called again with 'call'"),
    ],
)
def test_a_wrong_layer_is_reported_in_one_line(mistakes: Mistakes, layer: str, said: str) -> None:
    line = f"stem: {{x: {layer}}}"

    assert mistakes(f"{INPUT}{line.replace('¦', '')}\n") == [f"spec.yaml:2:{line.index('¦') + 1}: stem.{said}"]


def test_a_list_of_the_wrong_length_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\nstages:\n  layer2: {channels: [128, 128, 128]}\n") == [
        "spec.yaml:3:22: stages.layer2.channels: must list one value for each block: 3 where 'repeat' is 2"
    ]


def test_zero_and_negative_channels_of_a_stage_are_reported_once_each(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\nstages:\n  layer1: {channels: 0}\n  layer2: {channels: -4}\n") == [
        "spec.yaml:3:22: stages.layer1.channels: conv2d: channels must be at least 1, not 0",
        "spec.yaml:4:22: stages.layer2.channels: conv2d: channels must be at least 1, not -4",
    ]


def test_a_mistake_in_a_defined_layer_is_reported_there_once(mistakes: Mistakes) -> None:
    assert mistakes("extends: resnet18\nlayers:\n  norm: {batch_norm: {momentum: 2}}\n") == [
        "spec.yaml:3:33: layers.norm.batch_norm.momentum: batch_norm: momentum must be at most 1, not 2"
    ]


def test_a_layer_defined_by_itself_is_reported(mistakes: Mistakes) -> None:
    assert mistakes("layers: {a: b, b: a}\nstem: {x: a}\n") == [
        "spec.yaml:1:19: layers.b: layer 'a' is defined by itself"
    ]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("block: ¦two", "block: unknown block 'two'"),
        ("block: one, ¦kernal: 3", "kernal: unknown key 'kernal' of block 'one'; did you mean 'kernel'?"),
        ("block: one, ¦repaet: 3", "repaet: unknown key 'repaet' of block 'one'; did you mean 'repeat'?"),
        ("block: one, kernel: ¦1.5", "kernel: must be a whole number, not 1.5"),
        ("block: one, kernel: ¦true", "kernel: must be a whole number, not true"),
        ("block: one, wide: ¦1", "wide: must be true or false, not 1"),
        ("block: one, rate: ¦false", "rate: must be a number, not false"),
        ("block: one, kernel: ¦{a: 1}", "kernel: must be a number or an expression, not {'a': 1}"),
        (
            "block: one, kernel: ¦wdith",
            "kernel: unknown name 'wdith' (known: count, in_channels, in_height, in_width, index, number,"
            " overall_count, overall_index)",
        ),
        (
            "block: one, first: {¦kernal: 3}",
            "first.kernal: unknown key 'kernal' of block 'one'; did you mean 'kernel'?",
        ),
        ("block: one, last: {block: ¦twin}", "last.block: unknown block 'twin'"),
        ("block: one, act: ¦rellu", "act: unknown operation, block or layer 'rellu'; did you mean 'relu'?"),
        ("block: one, act: {relu: {¦x: 1}}", "act.relu.x: unknown key 'x' of operation 'relu'; it takes no keys"),
        ("block: one, stride: ¦2", "stride: block 'one' has no parameter 'stride'"),
    ],
)
def test_a_wrong_stage_is_reported_in_one_line(mistakes: Mistakes, stage: str, said: str) -> None:
    parameters = "{kernel: 1, wide: false, rate: 0.5, act: relu}"
    block = f"blocks: {{one: {{parameters: {parameters}, main: {{act: act}}}}}}\n"
    line = f"stages: {{s: {{{stage}}}}}"

    assert mistakes(f"{INPUT}{block}{line.replace('¦', '')}\n") == [
        f"spec.yaml:3:{line.index('¦') + 1}: stages.s.{said}"
    ]


def test_a_block_that_needs_a_value_says_which(mistakes: Mistakes) -> None:
    assert mistakes("blocks: {b: {parameters: {n: int, l: layer}, main: {}}}\nstages: {s: {block: b}}\n") == [
        "spec.yaml:2:13: stages.s: block 'b' needs a value for 'n'",
        "spec.yaml:2:13: stages.s: block 'b' needs a value for 'l'",
    ]


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("int", "int"),
        ("number", "number"),
        ("bool", "bool"),
        ("layer", "layer"),
        (3, "int"),
        (0.5, "number"),
        (True, "bool"),
        ("none", "layer"),
        ("relu", "layer"),
        ({"se": {"reduction": 4}}, "layer"),
        ("a * 2", "number"),
        ("a", "number"),
        ("l", "layer"),
        ("in_channels", "number"),
    ],
)
def test_a_parameter_is_of_the_kind_it_is_declared_or_defaults_to(declared: object, kind: str) -> None:
    spec = Spec.model_validate(
        {"blocks": {"b": {"parameters": {"a": 1, "l": "none", "x": declared}, "main": {}}}, "stem": {"r": "relu"}}
    )

    assert parameter_type(spec.blocks["b"], "x") == kind


def test_an_expression_that_a_comma_cuts_off_is_one_mistake(mistakes: Callable[..., list[str]]) -> None:
    (found,) = mistakes("stem: {a: {conv2d: {channels: min(3, 4), kernel: 1}}}\n")
    assert found == (
        "spec.yaml:1:31: stem.a.conv2d.channels: 'min(3' is neither a known word nor an arithmetic expression; "
        'within {…} an expression with a comma must be quoted: "min(a, b)"'
    )
    (found,) = mistakes("stem: {a: {conv2d: {channels: 3, 4): 1, kernel: 1}}}\n")
    assert "unknown key '4)' of operation 'conv2d'" in found
