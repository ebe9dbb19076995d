"""A number that is missing or wrong is one problem: nothing computed from it is reported, whatever uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

INPUT = "input: {channels: 3, height: 32, width: 32}\n"

# A block whose parameter `width` is used in arithmetic, comparisons, conditions, slots, windows and paddings.
BLOCK = """
blocks:
  mine:
    parameters:
      width: int
      stride: 1
      factor: width * 3
      half: width // 2 + width % 3 - width / 7
      wide: width > 5000
      chosen: (8 if width > 9 else 16) if width else 24
      either: width == 4096 or width != 4096
      both: not width and -width < 0
      gate: relu
      projection: {conv2d: {channels: width * 4, kernel: factor, groups: width}}
    main:
      conv: {conv2d: {channels: width, kernel: factor, stride: stride, padding: [[half, 0], [0, factor * 4096]]}}
      again: {conv2d: {channels: width * 1.5, kernel: [factor, half], groups: chosen, dilation: width}}
      gated: {gate: null, when: wide or either}
      norm: {group_norm: {groups: width, epsilon: 1 / (width - 4096)}}
      linear: {linear: {features: width - 4097}}
    shortcut:
      when: width * 4 != in_channels or stride != 1
      layers: {proj: projection}
    after:
      last: {call: conv, when: both}
"""
STAGES = """
stages:
  layer1: {block: mine, repeat: 2, width: WIDTH}
  layer2: {block: mine, stride: 2, width: WIDTH * 2, first: {gate: {conv2d: {channels: in_channels, kernel: WIDTH}}}}
head:
  pool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: WIDTH}}
  softmax: softmax
require:
  WIDTH > 10000: the network is too thin
outputs: [layer1, layer2.0, fc]
"""


def of_width(width: str, parameters: str = "") -> str:
    return INPUT + parameters + BLOCK + STAGES.replace("WIDTH", width)


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ("width: wdith * 2", "parameters.width: unknown name 'wdith'"),
        ("width: 1 / 0", "parameters.width: division by zero in '1 / 0'"),
        ("width: 2 **", "parameters.width: '2 **' is neither a known word nor an arithmetic expression"),
        ("width: 2 ** 3", "parameters.width: '2 ** 3' is not allowed in an expression"),
        ("width: 9007199254740993", "parameters.width: a value is larger than 9007199254740992"),
        ("width: .inf", "parameters.width: a value is larger than 9007199254740992"),
        ("width: [8]", "parameters.width: must be a number or an expression, not [8]"),
        ("width: null", "parameters.width: must be a number or an expression, not "),
    ],
)
def test_a_wrong_parameter_is_one_problem(mistakes: Callable[..., list[str]], declared: str, wanted: str) -> None:
    lines = mistakes(of_width("width", f"parameters: {{{declared}}}\n"))
    assert len(lines) == 1, lines
    assert wanted in lines[0]


def test_parameters_computed_from_a_wrong_one_are_not_reported(mistakes: Callable[..., list[str]]) -> None:
    parameters = "parameters: {base: bse, width: base * 3, narrow: width // 0.5, ok: narrow == 4096}\n"
    lines = mistakes(of_width("width * ok", parameters))
    assert len(lines) == 1, lines
    assert "parameters.base: unknown name 'bse'" in lines[0]


@pytest.mark.parametrize("section", ["stages.layer1.width", "stages.layer1"])
def test_a_missing_argument_is_one_problem(mistakes: Callable[..., list[str]], section: str) -> None:
    layer = "{block: mine, repeat: 2}" if section == "stages.layer1" else "{block: mine, repeat: 2, width: nothing}"
    text = INPUT + BLOCK + f"stages:\n  layer1: {layer}\n" + "head: {pool: global_avg_pool, flatten: flatten}\n"
    lines = mistakes(text)
    assert len(lines) == 1, lines
    assert section in lines[0]


@pytest.mark.parametrize(
    "argument", ["{channels: 8}", "{channels: 8, kernel: thre}", "{channels: 8, kernel: [3, 2, 1]}", "{kernel: 3}"]
)
def test_what_follows_a_wrong_layer_is_not_reported(mistakes: Callable[..., list[str]], argument: str) -> None:
    """Its shape is unknown, and so are the sizes that expressions further on ask for."""
    text = f"""
        {INPUT.strip()}
        blocks:
          asking:
            parameters:
              size: in_height * in_width
              thin: in_channels * 4096
            main:
              conv: {{conv2d: {{channels: in_channels // 3, kernel: size, groups: in_channels}}}}
            shortcut:
              when: in_channels != 8
              layers: {{proj: {{conv2d: {{channels: thin, kernel: 1}}}}}}
          row:
            main: {{linear: {{linear: {{features: in_features * 5}}}}}}
          line:
            main: {{conv: {{conv1d: {{channels: in_length, kernel: in_channels * 4097}}}}}}
        stem:
          wrong: {{conv2d: {argument}}}
          asking: asking
          pool: {{global_avg_pool: null}}
          flatten: flatten
          row: row
          again: {{call: flatten}}
          line: line
          sum: {{add: null, from: [wrong, line]}}
        """
    lines = mistakes(text)
    assert len(lines) == 1, lines
    assert "stem.wrong" in lines[0]


@pytest.mark.parametrize(
    "slot", ["rellu", "{conv2d: {chanels: 8, kernel: 1}}", "{conv2d: [8]}", "[[relu]]", "{relu: {}, add: {}}"]
)
def test_a_wrong_slot_is_one_problem(mistakes: Callable[..., list[str]], slot: str) -> None:
    text = f"""
        {INPUT.strip()}
        blocks:
          slotted:
            parameters: {{conv: layer, width: 8}}
            main:
              a: conv
              b: {{conv: {{channels: width}}, when: conv}}
              c: {{conv2d: {{channels: 8 if conv else width * 4096, kernel: 1}}}}
            shortcut: {{when: not conv, layers: {{proj: {{conv2d: {{channels: 4, kernel: 1}}}}}}}}
        stages:
          layer1: {{block: slotted, conv: {slot}}}
        """
    lines = mistakes(text)
    assert len(lines) == 1, lines
    assert "stages.layer1" in lines[0]


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [
        ("repeat: two", "must be a whole number"),
        ("repeat: 0", "must be"),
        ("repeat: 3, stride_in: middle", "must be 'first' or 'last'"),
        ("repeat: 3, names: '{index}'", "a pattern of names must contain {layer}"),
        ("repeat: 3, stride: [2]", "must be a number or an expression"),
    ],
)
def test_a_wrong_stage_is_one_problem(mistakes: Callable[..., list[str]], broken: str, wanted: str) -> None:
    text = f"""
        {INPUT.strip()}
        stages:
          layer1: {{block: basic_block, channels: [8, 8, 8], {broken}}}
          layer2: {{block: basic_block, channels: 16, stride: 2}}
        layers:
          norm: {{batch_norm: {{epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}}}
          act: relu
        outputs: [layer1.2, layer2.0]
        """
    lines = mistakes(text)
    assert len(lines) == 1, lines
    assert wanted in lines[0]


def test_what_does_not_follow_is_still_reported(mistakes: Callable[..., list[str]]) -> None:
    text = (
        INPUT
        + """
parameters: {width: wdith, depth: 2}
require: {depth > 3: too shallow, width > 3: too thin}
stem:
  a: {conv2d: {channels: width, kernel: 3, strid: 2}}
  b: {conv2d: {channels: 5, kernel: width, groups: 0}}
  c: {conv2d: {channels: width * 2, kernel: depth * 4096}}
"""
    )
    lines = mistakes(text)
    for wanted in ("unknown name 'wdith'", "too shallow", "unknown key 'strid'", "groups", "kernel"):
        assert [line for line in lines if wanted in line], (wanted, lines)
    assert len(lines) == 5, lines
