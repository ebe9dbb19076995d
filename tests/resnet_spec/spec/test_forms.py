"""The forms that the language documents are accepted, no others, and any name that a step cannot mistake is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_spec import Spec, available, load
from resnet_spec.graph import Graph
from resnet_spec.spec.models import STEP_KEYS, Layer, Network, Step
from tests.schemas import validators

CONV = "{conv2d: {channels: 4, kernel: 1}}"


def test_a_layer_s_own_fields_are_not_a_form_of_it(mistakes: Callable[..., list[str]]) -> None:
    several = "must name one layer, not 2: kind, arguments (null deletes one that 'extends' brought in)"
    assert mistakes("stem:\n  a: {kind: conv2d, arguments: {channels: 4, kernel: 1}}\n") == [
        f"spec.yaml:2:6: stem.a: {several}"
    ]
    assert mistakes("stem:\n  a: {layer: {kind: relu, arguments: {}}}\n")[0].startswith("spec.yaml:2:6: stem.a: ")
    assert mistakes("layers: {x: {kind: relu, arguments: {}}}\nstem: {a: x}\n") == [
        f"spec.yaml:1:13: layers.x: {several}"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "stem: {a: {relu: null, from_: input}}",
        "stem: {a: {layer: relu}}",
        "stem: {a: {layer: relu, when: true}}",
        "blocks: {b: {main: {a: relu}, shortcut: {from_: input}}}\nstages: {s: {block: b}}",
        "blocks: {b: {main: {a: relu}, shortcut: {otherwise: {from_: input}}}}\nstages: {s: {block: b}}",
        "stem: {a: {relu: null, when: 1}}",
        "stem: {a: {conv2d: {op: conv2d, channels: 4, kernel: 1}}}",
        "stem: {a: relu, b: {call: {a: null}}}",
        "stem: {a: relu}\ndepth: '1'",
        "stem: {a: relu}\nname: 5",
        "stem: {a: relu}\nnamed_outputs: 1",
        "stem: {a: relu}\noutputs: a",
        "stem: {a: relu}\nsource: {parameters: '0'}",
        "stem: {a: relu}\nweights: {w: {url: 'https://host/x', accuracy: {top1: '80'}}}",
        "stem: {a: relu}\nweights: {w: {url: 'https://host/x', preprocessing: {range: '255'}}}",
        "stem: {a: relu}\nweights: {w: {url: 'https://host/x', preprocessing: {mean: ['1', 2, 3]}}}",
        "stem: {a: relu}\nweights: {w: {url: 'https://host/x', preprocessing: {mean: [true, 1, 1]}}}",
        "stem: {a: relu}\ninitialization: {conv_kernel: {constant: '1'}}",
        "stem: {a: relu}\ninput: {height: '32'}",
        "stem: {a: relu}\n_document: null",
        "stem: {a: relu}\n_overridden: true",
    ],
)
def test_forms_that_the_language_does_not_have_are_refused(mistakes: Callable[..., list[str]], text: str) -> None:
    assert len(mistakes(text + "\n")) == 1


# -- names -------------------------------------------------------------------------------------------------------

WORDS = ["layer", "kind", "arguments", "main", "block", "op", "from_"]


@pytest.mark.parametrize("name", [*WORDS, *STEP_KEYS])
def test_a_step_may_have_any_name(lower: Callable[..., Graph], name: str) -> None:
    graph = lower(f"""
        stem:
          {name}: {CONV}
          b: {{relu: null, from: {name}}}
          c: {{call: {name}, from: input}}
          d: {{add: null, from: [b, c]}}
        """)
    assert [node.name for node in graph.nodes] == [name, "b", "c", "d"]


@pytest.mark.parametrize("name", WORDS)
def test_a_layer_a_block_and_a_slot_may_be_called_as_no_key_of_a_step(lower: Callable[..., Graph], name: str) -> None:
    graph = lower(f"""
        layers: {{{name}: {CONV}}}
        stem: {{a: {name}, b: {{{name}: {{channels: 5}}, when: true}}, c: {{{name}: null}}}}
        """)
    assert [node.shape[0] for node in graph.nodes] == [4, 5, 4]
    graph = lower(f"blocks: {{{name}: {{main: {{x: relu}}}}}}\nstem: {{a: {name}, b: {{{name}: {{}}}}}}")
    assert [node.name for node in graph.nodes] == ["a.x", "b.x"]
    if name != "block":
        graph = lower(f"""
            blocks: {{mine: {{parameters: {{{name}: relu}}, main: {{x: {name}, y: {{{name}: null}}}}}}}}
            stem: {{a: {{mine: {{{name}: {CONV}}}}}, b: mine}}
            """)
        assert [node.operation.op for node in graph.nodes] == ["conv2d", "conv2d", "relu", "relu"]


@pytest.mark.parametrize("name", STEP_KEYS)
def test_a_key_of_a_step_is_not_the_name_of_a_layer(mistakes: Callable[..., list[str]], name: str) -> None:
    said = f"{name!r} under %s is a key of every step ({', '.join(STEP_KEYS)}); rename it"
    assert mistakes(f"layers: {{{name}: relu}}\nstem: {{a: relu}}\n") == [f"spec.yaml:1:1: {said % 'layers'}"]
    assert mistakes(f"blocks: {{{name}: {{main: {{x: relu}}}}}}\nstem: {{a: relu}}\n") == [
        f"spec.yaml:1:1: {said % 'blocks'}"
    ]
    assert mistakes(f"blocks: {{b: {{parameters: {{{name}: relu}}, main: {{x: relu}}}}}}\nstem: {{a: b}}\n") == [
        f"spec.yaml:1:13: blocks.b: {said % 'parameters'}"
    ]


@pytest.mark.parametrize("name", STEP_KEYS)
def test_the_schema_refuses_these_names_too(name: str) -> None:
    schema, _ = validators()
    assert not schema.is_valid({"layers": {name: "relu"}, "stem": {"a": "relu"}})
    assert not schema.is_valid({"blocks": {name: {"main": {}}}, "stem": {"a": "relu"}})
    assert not schema.is_valid({"blocks": {"b": {"parameters": {name: 1}, "main": {}}}, "stem": {"a": "relu"}})
    assert schema.is_valid({"layers": {"layer": "relu"}, "stem": {name: "relu"}})


# -- round trips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "relu",
        {"conv2d": {"channels": 4, "kernel": [1, "width"]}},
        {"relu": None, "from": "a"},
        {"add": None, "from": ["a", "b"]},
        {"relu": None, "when": "stride != 1"},
        {"conv2d": {"kernel": 1}, "from": "a", "when": False},
        {"call": "a"},
        {"call": "a", "from": "b"},
    ],
)
def test_a_step_is_dumped_as_it_is_written(written: Any) -> None:
    assert Step.model_validate(written).model_dump(by_alias=True, mode="json") == written


@pytest.mark.parametrize("written", ["relu", "none", {"conv2d": {"channels": 4}}])
def test_a_layer_is_dumped_as_it_is_written(written: Any) -> None:
    assert Layer.model_validate(written).model_dump() == written


@pytest.mark.parametrize("mode", ["json", "python"])
@pytest.mark.parametrize(
    "name", ["torchvision/resnet50", "timm/resnetv2_50d_evos", "mirror/decoder18", "slim/resnet_v2_50"]
)
def test_a_dumped_spec_is_a_spec(name: str, mode: Any) -> None:
    spec = load(name)
    dumped = Network.model_validate(spec.model_dump(mode=mode, by_alias=True))
    assert dumped.model_dump(by_alias=True) == spec.model_dump(by_alias=True)
    again = Spec.model_validate(spec.model_dump(mode=mode, by_alias=True))
    assert again.to_graph() == spec.to_graph()
    assert Spec.model_validate(again.data()).to_graph() == spec.to_graph()


def test_a_spec_of_plain_data_is_written_as_yaml(tmp_path: Any) -> None:
    for name in available()[::40]:
        spec = Spec.model_validate(load(name).data())
        path = tmp_path / "spec.yaml"
        path.write_text(spec.to_yaml(), "utf-8")
        assert load(path).to_graph() == spec.to_graph()
