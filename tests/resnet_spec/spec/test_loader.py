"""Files, what they extend, their blocks and the overrides become one spec, and mistakes point into the right file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import Spec, available, load
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.loader import headings, source_text, with_overrides

Write = Callable[..., Path]
Lines = Callable[..., list[str]]

BASE = """
    description: the base
    source: {library: mine, parameters: 36}
    depth: 1
    input: {channels: 3, height: 8, width: 8}
    layers: {act: relu}
    stem:
      conv: {conv2d: {channels: 4, kernel: 3, padding: [[0, 0], [1, 1]]}}
      relu: act
    head: {pool: global_avg_pool, drop: relu}
"""


@pytest.fixture
def extending(write: Write) -> Callable[[str], Any]:
    """The data of a spec that extends the base above."""

    def load_it(text: str) -> Any:
        write(BASE.replace("parameters: 36", "parameters: 108"), "base.yaml")
        return load(write("extends: base.yaml\n" + text)).data()

    return load_it


# -- extends -----------------------------------------------------------------------------------------------------


def test_mappings_merge_by_key_and_a_new_key_follows_the_one_it_is_written_behind(
    extending: Callable[[str], Any],
) -> None:
    data = extending("stem: {conv: {conv2d: {channels: 8}}, more: relu}\n")

    assert data["stem"] == {
        "conv": {"conv2d": {"channels": 8, "kernel": 3, "padding": [[0, 0], [1, 1]]}},
        "relu": "act",
        "more": "relu",
    }
    assert list(data["stem"]) == ["conv", "more", "relu"]


def test_new_keys_keep_their_order_and_take_the_place_of_one_that_is_deleted(extending: Callable[[str], Any]) -> None:
    assert list(extending("stem: {conv: null, new: relu, newer: relu}\n")["stem"]) == ["new", "newer", "relu"]


def test_a_layer_without_arguments_may_be_new_in_an_extending_file(extending: Callable[[str], Any]) -> None:
    data = extending("head: {sum: {add: null, from: [pool, drop]}}\n")

    assert data["head"]["sum"] == {"add": None, "from": ["pool", "drop"]}


def test_null_deletes_a_key(extending: Callable[[str], Any]) -> None:
    data = extending("head: {drop: null}\n")

    assert data["head"] == {"pool": "global_avg_pool"}


def test_a_list_is_replaced_and_never_spliced(extending: Callable[[str], Any]) -> None:
    data = extending("stem: {conv: {conv2d: {padding: [[2, 2], [2, 2]]}}}\n")

    assert data["stem"]["conv"]["conv2d"]["padding"] == [[2, 2], [2, 2]]


def test_a_files_own_metadata_is_not_copied(extending: Callable[[str], Any]) -> None:
    data = extending("input: {height: 16}\n")

    assert not {"description", "source", "depth", "extends"} & set(data)
    assert data["name"] == "spec"
    assert data["input"] == {"channels": 3, "height": 16, "width": 8}


def test_a_chain_of_files_and_shipped_specs_is_followed(write: Write) -> None:
    write("extends: resnet18\nparameters: {classes: 7}\n", "a.yaml")
    spec = load(write("extends: a.yaml\nstages: {layer1: {repeat: 1}}\n", "b.yaml"))

    assert (spec.name, spec.parameters["classes"], spec.stages["layer1"].repeat) == ("b", 7, 1)


def test_a_file_is_found_beside_the_one_that_extends_it(write: Write) -> None:
    write("", "x").with_name("deep").mkdir()
    write("extends: resnet18\n", "deep/base.yaml")

    assert load(write("extends: base.yaml\n", "deep/mine.yml")).name == "mine"


def test_the_resolved_spec_needs_no_other_file(write: Write) -> None:
    spec = load("resnext50_32x4d", ["stages.layer4.stride=1"])
    again = load(write(spec.to_yaml()))

    assert again.data() == spec.data()
    assert again.to_graph().fingerprint == spec.to_graph().fingerprint


def test_the_text_of_a_spec_is_its_file_as_it_stands(write: Write) -> None:
    text = "# a comment\nstem: {a: relu}\n"

    assert source_text(write(text)) == text
    assert source_text("resnet18").splitlines()[0] == "# yaml-language-server: $schema=../spec.schema.json"


def test_the_headings_of_the_shipped_specs_are_what_they_say_of_themselves() -> None:
    rows = headings()

    assert list(rows) == available()
    assert rows["torchvision/resnet18"] == {
        "description": "ResNet-18",
        "parameters": 11_689_512,
        "macs": 1_814_073_344,
        "input": [3, 224, 224],
        "top1": 69.758,
    }
    assert all(row["description"] and row["parameters"] for row in rows.values())


# -- overrides ---------------------------------------------------------------------------------------------------


def test_overrides_are_texts_or_a_mapping() -> None:
    as_texts = load("resnet18", ["stages.layer4.stride=1", "parameters.classes=10"])
    as_mapping = load("resnet18", {"stages.layer4.stride": 1, "parameters.classes": 10})

    assert as_texts.data() == as_mapping.data()
    assert as_texts.stages["layer4"].stride == 1


def test_an_override_may_bring_in_a_block() -> None:
    spec = load("resnet18", ["stages.layer1={block: bottleneck, width: 16, channels: 64}"])

    assert {"basic_block", "bottleneck"} <= set(spec.blocks)
    assert spec.to_graph().by_name["layer1.0.conv3"].shape == (64, 56, 56)


def test_an_override_may_bring_in_a_parameter_that_another_uses() -> None:
    spec = load("resnet18", ["parameters.thin=16", "stem.conv1.conv2d.channels=thin"])

    assert spec.to_graph().by_name["conv1"].shape[0] == 16


def test_an_override_may_delete() -> None:
    assert "flatten" not in load("resnet18", ["head.flatten=null"]).head


def test_a_section_that_the_file_leaves_out_can_be_overridden_too(write: Write) -> None:
    path = write("stem: {c: {conv2d: {channels: 4, kernel: 1}}}\n")
    spec = load(path, ["input.height=8", "final.n=relu", "head.a=relu", "initialization.conv_kernel={constant: 0}"])

    assert [(node.name, node.shape) for node in spec.to_graph().nodes] == [(name, (4, 8, 224)) for name in "cna"]
    assert spec.initialization.root.keys() == {"conv_kernel"}


def test_overrides_drop_what_the_file_states_of_its_network() -> None:
    spec = load("resnet18", ["parameters.classes=10"])

    assert (spec.depth, spec.source.parameters, spec.source.library) == (None, None, "torchvision")
    assert spec.to_graph().parameters()[-1].shape == (10,)


def test_claims_that_are_overridden_themselves_are_still_checked(lines: Lines) -> None:
    assert lines(lambda: load("resnet18", ["depth=19"]).to_graph()) == [
        "override depth=19:1:1: depth: states 19 weighted layers on the main path, but the network has 18"
    ]
    assert lines(lambda: load("resnet18", {"source.parameters": 1}).to_graph()) == [
        "overrides['source.parameters']:1:1: source.parameters: states 1 trainable parameters,"
        " but the network has 11,689,512"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages.layerr4.stride=1", "stages.layerr4.stride: there is no 'layerr4' in stages; did you mean 'layer4'?"),
        ("parameters.clases=10", "parameters: nothing uses a parameter 'clases'; did you mean 'classes'?"),
        ("inputt.height=1", "inputt.height: there is no 'inputt'; did you mean 'input'?"),
        ("inputt=1", "unknown key 'inputt'; did you mean 'input'?"),
        ("input.hight=64", "input: unknown key 'hight'; did you mean 'height'?"),
        ("input.height=tall", "input.height: must be a whole number, not 'tall'"),
        (
            "stages.layer1.repeat=1000000000",
            "stages.layer1.repeat: must be at most 10000, not 1000000000",
        ),
        ("stages.layer4", "an override is written KEY=VALUE"),
        (
            "stages.layer4.strid=1",
            "stages.layer4.strid: unknown key 'strid' of block 'basic_block'; did you mean 'stride'?",
        ),
        ("stages.layer2.block=bottlenek", "stages.layer2.block: unknown block 'bottlenek'; did you mean 'bottleneck'?"),
        ("layers.act=rellu", "layers.act: unknown operation, block or layer 'rellu'; did you mean 'relu'?"),
    ],
)
def test_a_wrong_override_is_reported_by_itself(text: str, said: str, lines: Lines) -> None:
    assert lines(lambda: load("resnet18", [text]).to_graph()) == [f"override {text}:1:1: {said}"]


def test_every_wrong_override_is_reported(lines: Lines) -> None:
    assert lines(lambda: load("resnet18", ["depth=x", "input.height=x"])) == [
        "override depth=x:1:1: depth: must be a whole number, not 'x'",
        "override input.height=x:1:1: input.height: must be a whole number, not 'x'",
    ]


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: resnet18\ninputt: {height: 32}\n", "2:1: unknown key 'inputt'; did you mean 'input'?"),
        ("extends: resnet18\ninput: {hight: 32}\n", "2:9: input: unknown key 'hight'; did you mean 'height'?"),
        (
            "extends: resnet18\nsource: {paramters: 3}\n",
            "2:10: source: unknown key 'paramters'; did you mean 'parameters'?",
        ),
        ("extends: resnet18\ndepth: eighteen\n", "2:8: depth: must be a whole number, not 'eighteen'"),
        ("extends: resnet18\ndepth: 18.0\n", "2:8: depth: must be a whole number, not 18.0"),
        ("extends: resnet18\ninput: {height: '32'}\n", "2:17: input.height: must be a whole number, not '32'"),
        (
            "extends: resnet18\ninput: {channels: 0}\n",
            "2:19: input.channels: must be at least 1, not 0",
        ),
        (
            "extends: resnet18\ninput: {channels: -3}\n",
            "2:19: input.channels: must be at least 1, not -3",
        ),
        ("extends: resnet18\nsource: torchvision\n", "2:9: source: must be a mapping, not 'torchvision'"),
        ("extends: resnet18\noutputs: layer4\n", "2:10: outputs: must be a list, or 'features', not 'layer4'"),
        ("extends: resnet18\noutputs: 4\n", "2:10: outputs: must be a list, or 'features', not 4"),
        ("extends: resnet18\noutputs: [4]\n", "2:11: outputs.0: must be text, not 4"),
        ("extends: resnet18\nnamed_outputs: 1\n", "2:16: named_outputs: must be true or false, not 1"),
        (
            "input: {features: 3, height: 3}\nstem: {fc: {linear: {features: 2}}}\n",
            "1:8: input: 'features' and 'height' exclude each other: images have 'channels', 'height' and 'width',"
            " signals 'channels' and 'length', volumes 'depth' beside an image's, and vectors 'features';"
            " null removes what 'extends' brought in",
        ),
        ("extends: resnet18\nrequire: [classes > 1]\n", "2:10: require: must be a mapping, not ['classes > 1']"),
        ("extends: resnet18\nrequire: {classes > 1: 5}\n", "2:24: require.classes > 1: must be text, not 5"),
        ("extends: resnet18\nnames: 5\n", "2:8: names: must be text, not 5"),
        (
            "extends: resnet18\nparameters: {classes: [1]}\n",
            "2:23: parameters.classes: must be a number or an expression, not [1]",
        ),
        (
            "extends: resnet18\nstages:\n  layer1: {repeat: 1000000000}\n",
            "3:20: stages.layer1.repeat: must be at most 10000, not 1000000000",
        ),
        (
            "extends: resnet18\nstages:\n  layer1: {repeat: 0}\n",
            "3:20: stages.layer1.repeat: must be at least 1, not 0",
        ),
        ("extends: resnet18\nstages:\n  layer5: {repeat: 2}\n", "3:3: stages.layer5: needs 'block'"),
        (
            "extends: resnet18\nstages:\n  layer1: basic_block\n",
            "3:11: stages.layer1: must be a mapping, not 'basic_block'",
        ),
        (
            "extends: resnet18\nstages:\n  layer1: {stride_in: frist}\n",
            "3:23: stages.layer1.stride_in: must be 'first' or 'last', not 'frist'",
        ),
        ("extends: resnet18\nhead: [fc]\n", "2:7: head: must be a mapping, not ['fc']"),
        (
            "extends: resnet18\ninitialization:\n  conv_kernel: {scale: two}\n",
            "3:24: initialization.conv_kernel.scale: must be a number, not 'two'",
        ),
        ("extends: [resnet18]\n", "1:10: extends: must be a shipped spec's name or a file's path"),
        ("extends: nowhere.yaml\n", "1:10: extends: nowhere.yaml: No such file or directory"),
        (
            "extends: wide_resnet50-2\n",
            "1:10: extends: no shipped spec is named 'wide_resnet50-2'; did you mean 'wide_resnet50_2'?"
            " (a file's path ends in .yaml or .yml)",
        ),
        ('extends: "a\\0.yaml"\n', "1:10: extends: 'a\\x00.yaml': embedded null byte"),
        (
            "extends: resnet18\nhead: {dropout: null}\n",
            "2:8: head.dropout: null deletes a key, but there is no 'dropout' to delete",
        ),
        ("- a\n- list\n", "1:1: a spec is a mapping"),
        ("text\n", "1:1: a spec is a mapping"),
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("extends: resnet18\n---\nextends: resnet50\n", "2:1: a second document starts here; a file contains only one"),
        (
            "extends: resnet18\nstages:\n  layer1: {repeat: 2}\n  layer1: {repeat: 3}\n",
            "4:3: stages.layer1: duplicate key 'layer1', first on line 3",
        ),
        ("extends: resnet18\nstages:\n\tlayer1: {repeat: 2}\n", "3:1: not valid YAML: a tab where YAML expects spaces"),
        ("description: nothing else\n", "1:1: the spec describes no layers: stem, stages, final and head are empty"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, said: str, mistakes: Lines) -> None:
    assert mistakes(text) == [f"spec.yaml:{said}"]


def test_a_key_that_cannot_name_a_layer_is_reported_by_itself(mistakes: Lines) -> None:
    (said,) = mistakes("stem: {a b: relu}\n")

    assert said.startswith("spec.yaml:1:8: stem.a b: 'a b' is not a valid key: ")


def test_text_that_is_not_utf_8_is_reported_where(write: Write, lines: Lines) -> None:
    path = write("")
    path.write_bytes(b"extends: resnet18\ndescription: caf\xe9\n")

    assert lines(lambda: load(path)) == ["spec.yaml:2:17: not UTF-8: byte 0xe9"]


def test_an_alias_bomb_is_refused_while_it_is_small(mistakes: Lines) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    (said,) = mistakes("\n".join(levels))

    assert said.startswith("spec.yaml:5:")
    assert said.endswith("more than 100000 values, counting aliases each time that they are used")


def test_a_missing_file_a_folder_and_a_loop_of_links_are_reported(write: Write, lines: Lines) -> None:
    write("").parent.joinpath("folder.yaml").mkdir()
    Path("loop.yaml").symlink_to("loop.yaml")

    assert lines(lambda: load("missing.yaml")) == ["missing.yaml: No such file or directory"]
    assert lines(lambda: load("folder.yaml")) == ["folder.yaml: Is a directory"]
    assert lines(lambda: load("loop.yaml")) == ["loop.yaml: Too many levels of symbolic links"]
    assert lines(lambda: load("x" * 300 + ".yaml")) == ["x" * 300 + ".yaml: File name too long"]


def test_standard_input_is_named_by_a_reader_only(write: Write, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    write("extends: resnet18\n", "base.yaml")
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(b"extends: base.yaml\nhead: {fc: null}"), encoding="utf-8")
    )
    assert load("-").name == "stdin"
    assert "fc" not in load("-").to_graph().by_name
    [said] = lines(lambda: load(write('extends: "-"\n')))
    assert said.startswith("spec.yaml:1:10: extends: no shipped spec is named '-'")


def test_mistakes_in_merging_do_not_hide_others(mistakes: Lines) -> None:
    assert mistakes(
        "extends: resnet18\nstages: {layer1: {blok: null, repeat: 0}}\n"
        "blocks: {mine: {extends: basic_block, main: {conv9: null}}}\n"
    ) == [
        "spec.yaml:2:19: stages.layer1.blok: null deletes a key, but there is no 'blok' to delete;"
        " did you mean 'block'?",
        "spec.yaml:3:46: blocks.mine.main.conv9: null deletes a key, but there is no 'conv9' to delete;"
        " did you mean 'conv2'?",
        "spec.yaml:2:39: stages.layer1.repeat: must be at least 1, not 0",
    ]


def test_a_circle_of_files_is_reported(write: Write, lines: Lines) -> None:
    write("extends: b.yaml\n", "a.yaml")
    write("extends: c.yaml\n", "b.yaml")
    write("extends: a.yaml\n", "c.yaml")

    assert lines(lambda: load("a.yaml")) == [
        "c.yaml:1:10: extends: 'extends' goes in a circle: a.yaml → b.yaml → c.yaml → a.yaml"
    ]


def test_a_file_that_extends_itself_is_reported(mistakes: Lines) -> None:
    assert mistakes("extends: spec.yaml\n") == [
        "spec.yaml:1:10: extends: 'extends' goes in a circle: spec.yaml → spec.yaml"
    ]


def test_a_mistake_in_an_extended_file_points_there(write: Write, lines: Lines) -> None:
    write("stem:\n  relu: rellu\n", "base.yaml")
    path = write("extends: base.yaml\nhead: {act: sigmod}\n")

    assert lines(lambda: load(path).to_graph()) == [
        "base.yaml:2:9: stem.relu: unknown operation, block or layer 'rellu'; did you mean 'relu'?",
        "spec.yaml:2:13: head.act: unknown operation, block or layer 'sigmod'; did you mean 'sigmoid'?",
    ]


# -- several at once ---------------------------------------------------------------------------------------------


def test_misspelled_keys_do_not_hide_unknown_names(mistakes: Lines) -> None:
    assert mistakes("""
        extends: resnet18
        inputt: {height: 32}
        depth: deep
        stem: {relu: rellu}
        stages:
          layer2: {block: bottlneck}
          layer3: {strid: 1}
        """) == [
        "spec.yaml:3:8: depth: must be a whole number, not 'deep'",
        "spec.yaml:2:1: unknown key 'inputt'; did you mean 'input'?",
        "spec.yaml:4:14: stem.relu: unknown operation, block or layer 'rellu'; did you mean 'relu'?",
        "spec.yaml:6:19: stages.layer2.block: unknown block 'bottlneck'; did you mean 'bottleneck'?",
        "spec.yaml:7:12: stages.layer3.strid: unknown key 'strid' of block 'basic_block'; did you mean 'stride'?",
    ]


def test_what_a_mistake_defines_is_not_reported_as_unknown_where_it_is_used(mistakes: Lines) -> None:
    assert mistakes("""
        extends: resnet18
        layers:
          norm: 5
        parameters: {classes: [10]}
        blocks:
          mine: {mian: {}}
        stem:
          conv1: 7
          relu: {relu: {}, from: conv1}
        stages:
          layer1: {repeat: two, channels: [64, 64]}
          layer2: {block: mine}
          layer3: {block: mien}
        """) == [
        "spec.yaml:4:23: parameters.classes: must be a number or an expression, not [10]",
        "spec.yaml:3:9: layers.norm: must be a layer's name or a mapping such as {conv2d: {channels: 64, kernel: 3}}",
        "spec.yaml:6:3: blocks.mine: needs 'main'",
        "spec.yaml:6:10: blocks.mine: unknown key 'mian'; did you mean 'main'?",
        "spec.yaml:8:10: stem.conv1: must be a layer's name or a mapping such as {conv2d: {channels: 64, kernel: 3}}",
        "spec.yaml:11:20: stages.layer1.repeat: must be a whole number, not 'two'",
        "spec.yaml:13:19: stages.layer3.block: unknown block 'mien'",
    ]


@pytest.mark.parametrize("section", ["layers", "blocks", "parameters", "stages"])
@pytest.mark.parametrize(("written", "value"), [("[norm, act]", "['norm', 'act']"), ("", "null"), ("5", "5")])
def test_a_section_must_be_a_mapping(mistakes: Lines, section: str, written: str, value: str) -> None:
    rest = "" if section == "stages" else "stages: {s: {block: basic_block, channels: 3}}\n"
    (said,) = mistakes(f"{section}: {written}\n{rest}")

    assert said.startswith(f"spec.yaml:1:{len(section) + 2 + bool(written)}: {section}: must be a mapping, not {value}")


# -- blocks ------------------------------------------------------------------------------------------------------


def test_a_block_in_a_file_of_its_own_is_found_beside_the_spec(write: Write) -> None:
    write("parameters: {channels: int}\nmain: {conv: {conv2d: {channels: channels, kernel: 1}}}\n", "block.yaml")
    graph = load(write("blocks: {mine: block.yaml}\nstages: {a: {block: mine, repeat: 2, channels: 4}}\n")).to_graph()

    assert [node.name for node in graph.nodes] == ["a.0.conv", "a.1.conv"]


def test_blocks_of_ones_own_stand_before_the_shipped(write: Write) -> None:
    text = "blocks: {bottleneck: {main: {only: relu}}}\nstages: {a: {block: bottleneck}}\n"

    assert [node.name for node in load(write(text)).to_graph().nodes] == ["a.0.only"]


def test_a_mistake_in_an_extended_block_points_into_the_file_it_stands_in(write: Write, lines: Lines) -> None:
    write("parameters: {channels: int}\nmain:\n  a: rellu\n  b: sigmoid\n", "base.yaml")
    path = write("""
        blocks:
          base: base.yaml
          mine: {extends: base, main: {b: sigmod}}
        stages: {s: {block: mine, channels: 3}}
        """)

    assert lines(lambda: load(path).to_graph()) == [
        "base.yaml:3:6: blocks.mine.main.a: unknown operation, block or layer 'rellu'; did you mean 'relu'?"
        " (used by stages.s)",
        "spec.yaml:3:35: blocks.mine.main.b: unknown operation, block or layer 'sigmod'; did you mean 'sigmoid'?"
        " (used by stages.s)",
    ]


def test_a_missing_block_file_is_reported_where_it_is_named(mistakes: Lines) -> None:
    assert mistakes("extends: resnet18\nblocks: {mine: nowhere.yaml}\n") == [
        "spec.yaml:2:16: blocks.mine: nowhere.yaml: No such file or directory"
    ]


def test_mistakes_in_a_block_file_are_reported_once_however_often_it_is_used(write: Write, lines: Lines) -> None:
    write(
        """
        parameters: {channels: int, stride: 1, dilation: 1, first_dilation: dilation}
        main:
          conv: {conv2d: {channels: chanels, kernel: 3, stride: stride, padding: 1}}
          bn: nrom
        """,
        "block.yaml",
    )
    path = write("""
        extends: resnet18
        blocks: {mine: block.yaml}
        stages:
          layer2: {block: mine}
          layer3: {block: mine}
        """)

    known = "channels, dilation, first_dilation, in_channels, in_height, in_width, stride"
    assert lines(lambda: load(path).to_graph()) == [
        "block.yaml:3:29: blocks.mine.main.conv.conv2d.channels: unknown name 'chanels'; did you mean 'channels'?"
        f" (known: {known}) (used by stages.layer2)",
        "block.yaml:4:7: blocks.mine.main.bn: unknown operation, block or layer 'nrom'; did you mean 'norm'?"
        " (used by stages.layer2)",
    ]


def test_two_misspelled_keys_in_a_block_file_are_reported_there(write: Write, lines: Lines) -> None:
    write("parameters: {channels: int}\nmian: {}\nafterr: {}\n", "block.yaml")
    path = write("extends: resnet18\nblocks: {mine: block.yaml}\nstages: {layer2: {block: mine}}\n")

    assert lines(lambda: load(path)) == [
        "spec.yaml:2:10: blocks.mine: needs 'main'",
        "block.yaml:2:1: blocks.mine: unknown key 'mian'; did you mean 'main'?",
        "block.yaml:3:1: blocks.mine: unknown key 'afterr'; did you mean 'after'?",
    ]


def test_a_duplicate_key_in_a_block_file_is_reported_there(write: Write, lines: Lines) -> None:
    write("main:\n  conv: relu\n  conv: relu\n", "block.yaml")

    assert lines(lambda: load(write("blocks: {mine: block.yaml}\n"))) == [
        "block.yaml:3:3: main.conv: duplicate key 'conv', first on line 2"
    ]


def test_two_mistakes_in_an_inline_block_are_reported_there(mistakes: Lines) -> None:
    known = "channels, in_channels, in_height, in_width, stride"
    assert mistakes("""
        extends: resnet18
        blocks:
          mine:
            parameters: {channels: int, stride: 1}
            main:
              bn: nrom
            shortcut:
              when: strid != 1
        stages:
          layer2: {block: mine}
        """) == [
        "spec.yaml:6:11: blocks.mine.main.bn: unknown operation, block or layer 'nrom'; did you mean 'norm'?"
        " (used by stages.layer2)",
        "spec.yaml:8:13: blocks.mine.shortcut.when: unknown name 'strid'; did you mean 'stride'?"
        f" (known: {known}) (used by stages.layer2)",
    ]


def test_a_shipped_block_used_wrongly_is_reported_where_it_is_used(mistakes: Lines) -> None:
    assert mistakes("""
        extends: resnet18
        stages:
          layer2: {block: bottleneck, chanels: 3}
          layer3: {attention: sqeeze, stride: 0.5}
          layer4: {channels: 512.5}
        """) == [
        "spec.yaml:3:31: stages.layer2.chanels: unknown key 'chanels' of block 'bottleneck'; did you mean 'channels'?",
        "spec.yaml:3:11: stages.layer2: block 'bottleneck' needs a value for 'width'",
        "spec.yaml:4:23: stages.layer3.attention: unknown operation, block or layer 'sqeeze';"
        " did you mean 'squeeze_excite'?",
        "spec.yaml:4:39: stages.layer3.stride: must be a whole number, not 0.5",
        "spec.yaml:5:22: stages.layer4.channels: must be a whole number, not 512.5",
    ]


def test_a_shipped_block_that_does_not_fit_where_it_is_used_names_both_places(mistakes: Lines) -> None:
    catalog = Catalog.shipped()
    place = catalog.document(catalog.blocks()["bottleneck"]).position(("main", "conv2"))

    assert mistakes("extends: resnext50_32x4d\nstages:\n  layer2: {groups: 33}\n") == [
        "spec.yaml:3:11: stages.layer2: 33 groups do not divide 256 input and 256 output channels (from layer2.0.relu1)"
        f" (in block 'bottleneck', main.conv2 at {place})"
    ]


# -- a loaded spec, changed ----------------------------------------------------------------------------------------


def test_a_loaded_spec_is_overridden_as_its_file_would_be(write: Write) -> None:
    path = write("extends: resnet18\nhead: {fc: {linear: {features: 10}}}\n")
    spec = load(path)
    path.unlink()
    changes = {"input.height": 64, "input.width": 48, "stages.layer2.block": "bottleneck", "stages.layer2.width": 32}
    changed = with_overrides(spec, changes)

    assert changed.to_graph().input.shape == (3, 64, 48)
    assert "bottleneck" in changed.data()["blocks"]
    assert spec.to_graph().input.shape == (3, 224, 224)
    assert changed.overridden
    assert not spec.overridden
    assert with_overrides(changed, "input.height=96").to_graph().input.shape == (3, 96, 48)


def test_overriding_a_loaded_spec_is_what_loading_with_overrides_is() -> None:
    changes = {"input.height": 64, "head.fc.linear.features": 10}
    assert with_overrides(load("resnet18"), changes).to_graph() == load("resnet18", changes).to_graph()
    made = Spec.model_validate(load("resnet18").data())
    assert with_overrides(made, changes).to_graph() == load("resnet18", changes).to_graph()


def test_a_mistake_in_an_override_of_a_loaded_spec_is_located(lines: Lines) -> None:
    assert lines(lambda: with_overrides(load("resnet18"), {"input.hight": 64})) == [
        "overrides['input.hight']:1:1: input: unknown key 'hight'; did you mean 'height'?"
    ]
