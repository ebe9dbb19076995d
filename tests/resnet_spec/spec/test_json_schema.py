"""The JSON Schema an editor checks by: it lets every shipped file through, and no misspelled key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from resnet_spec import available, load
from resnet_spec.document.files import read
from resnet_spec.document.parser import parse
from resnet_spec.operations import WORDS
from resnet_spec.operations.base import summary
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.json_schema import spec_schema
from tests.schemas import validators
from tests.shipped import networks

SPECS = Catalog.shipped().root
SPEC, BLOCK = validators()


def shipped(pattern: str) -> list[str]:
    return sorted(path.relative_to(SPECS).as_posix() for path in SPECS.glob(pattern))


def refused(validator: Draft202012Validator, text: str) -> bool:
    return not validator.is_valid(parse(text, "f").data)


@pytest.mark.parametrize("validator", [SPEC, BLOCK])
def test_a_schema_is_one(validator: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(validator.schema)


def test_any_text_is_valid_where_words_are_suggested() -> None:
    word = spec_schema()["$defs"]["word"]["anyOf"]
    assert {"const": "relu", "description": summary(WORDS["relu"])} in word
    assert {"type": "string"} in word
    assert SPEC.schema["$defs"]["word"]["anyOf"] == [{"type": "string"}]


def test_every_shipped_spec_is_valid() -> None:
    assert [name for name in available() if not SPEC.is_valid(read(SPECS / f"{name}.yaml").data)] == []


@pytest.mark.parametrize("name", networks())
def test_every_resolved_spec_is_valid(name: str) -> None:
    SPEC.validate(load(name).data())


def test_every_shipped_block_is_valid() -> None:
    files = shipped("blocks/*.yaml")
    assert [file for file in files if not BLOCK.is_valid(read(SPECS / file).data)] == []
    assert files


def test_every_shipped_file_names_its_schema_in_the_first_line() -> None:
    for file in shipped("**/*.yaml"):
        path = SPECS / file
        first = path.read_text("utf-8").splitlines()[0]
        schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        kind = "block" if path.parent.name == "blocks" else "spec"
        assert schema.resolve() == SPECS / f"{kind}.schema.json", file


@pytest.mark.parametrize(("name", "arguments"), [("spec", []), ("block", ["--block"])])
def test_the_shipped_schema_is_what_the_command_prints(
    name: str, arguments: list[str], command: Callable[..., Any]
) -> None:
    done = command("resnet-spec", "schema", *arguments)

    assert done.status == 0
    assert (SPECS / f"{name}.schema.json").read_text() == done.out


STEM = "stem: {x: relu}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{STEM}inputt: {{height: 32}}\n",
        f"{STEM}input: {{hight: 32}}\n",
        "final: {x: {relu: {inplace: true}}}\n",
        f"{STEM}source: {{libary: x}}\n",
        f"{STEM}initialization: {{conv_kernel: {{constnat: 0}}}}\n",
        "stem: {x: {conv2d: {chanels: 8}}}\n",
        "layers: {x: {conv2d: {chanels: 8}}}\n",
        f"{STEM}blocks: {{b: {{mian: {{}}}}}}\n",
        f"{STEM}blocks: {{b: {{main: {{}}, shortcut: {{layres: {{}}}}}}}}\n",
        f"{STEM}blocks: {{b: {{main: {{}}, shortcut: {{otherwise: {{form: x}}}}}}}}\n",
        f"{STEM}blocks: {{b: {{main: {{x: {{relu: {{inplace: true}}}}}}}}}}\n",
    ],
)
def test_a_misspelled_key_is_refused(text: str) -> None:
    assert refused(SPEC, text)


@pytest.mark.parametrize(
    "text",
    [
        f"{STEM}depth: deep\n",
        f"{STEM}depth: 0\n",
        f"{STEM}input: {{height: tall}}\n",
        f"{STEM}input: 224\n",
        "stem: [relu]\n",
        "final: [relu]\n",
        f"{STEM}require: {{x > 1: 5}}\n",
        f"{STEM}outputs: layer4\n",
        f"{STEM}named_outputs: 1\n",
        "stem: {x: {reshape: {shape: 5}}}\n",
        "stem: {x: {reshape: {shape: [1.5]}}}\n",
        "stem: {x: 5}\n",
        "stem: {x: {relu: 5}}\n",
        "stem: {x: {relu: {}, when: 5}}\n",
        "stem: {x: {conv2d: {channels: 0}}}\n",
        "stem: {x: {conv2d: {channels: 8.5}}}\n",
        "stages: {s: basic_block}\n",
        "stages: {s: {block: basic_block, repeat: 0}}\n",
        "stages: {s: {block: basic_block, repeat: 1000000000}}\n",
        "stages: {s: {block: basic_block, stride_in: frist}}\n",
        "extends: [resnet18]\n",
        "stem: {a: {relu: null, repeat: [3]}}\n",
        "stem: {a: {repeat: 2, steps: [relu]}}\n",
        "stem: {a: {repeat: 2, steps: {b: 5}}}\n",
        "stem: {a: {repeat: 2, steps: {b: {relu: {inplace: true}}}}}\n",
        "stem: {a: {spec: 5}}\n",
        "stem: {a: {spec: resnet18, outputs: layer4}}\n",
        "stem: {a: {spec: resnet18, set: [x]}}\n",
        f"{STEM}prefix: 5\n",
        "extends: resnet18\nrename: [fc]\n",
        f"{STEM}blocks: {{b: {{main: {{}}, inputs: 5}}}}\n",
        f"{STEM}blocks: {{b: {{main: {{}}, shortcut: {{otherwise: nothing}}}}}}\n",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(text: str) -> None:
    assert refused(SPEC, text)


@pytest.mark.parametrize(
    "text", ["main: {}\nmian: {}\n", "main: []\n", "main: {}\ndeclare: [mian]\n", "extends: [basic_block]\n"]
)
def test_a_wrong_block_is_refused(text: str) -> None:
    assert refused(BLOCK, text)


@pytest.mark.parametrize(
    "text",
    [
        "stem: {a: relu, b: null, c: none, d: {relu: null}, e: {add: null, from: [a, b]}, f: {call: a, when: x > 1}}\n",
        "stem: {a: {conv2d: {channels: width * 4, kernel: [3, 3], padding: same, bias: wide}}, b: {mine: {x: 1}}}\n",
        "stages: {s: {block: b, stride: width // 2, channels: [1, 2], first: {block: c}, names: '{index}.{layer}'}}\n",
        "final: {a: relu, b: {batch_norm: {decay: 0.9}}, c: {position_batch_norm: {decay: 0.9}}}\n",
        f"{STEM}require: {{x > 1: x must be more than 1}}\noutputs: features\nnamed_outputs: true\n",
        "input: {features: 8}\nstem: {a: {reshape: {shape: [8, x * 2, 1]}}, b: {dropout: {rate: x / 10}}}\n",
        "layers: {norm: none, act: {my_block: {slot: {se: {reduction: 4}}}}}\nstem: {x: act}\n",
        "blocks: {a: mine.yaml, b: {main: {}, shortcut: {when: true, otherwise: {from: x, layers: {}}}}}\n",
        "initialization: {conv_kernel: {constant: 0}, '*.bn3.weight': {distribution: normal, scale: 1, fan: fan_in}}\n",
        "stem: {a: {relu: null, repeat: 3}, b: {repeat: n - 1, steps: {'c{index}': relu, d: {steps: {e: relu}}}}}\n",
        "stem: {a: {spec: resnet18, outputs: features, set: {input.height: 3}}, b: {spec: {stem: {}}, outputs: [x]}}\n",
        "extends: resnet18\nrename: {fc: classifier}\nprefix: backbone.\nblocks: {b: {extends: c, rename: {a: b}}}\n",
        "blocks: {a: {inputs: [input, skip], outputs: [x], main: {}, shortcut: {when: x > 1, otherwise: none}}}\n",
    ],
)
def test_what_the_language_allows_is_valid(text: str) -> None:
    SPEC.validate(parse(text, "f").data)


@pytest.mark.parametrize(
    "path",
    [
        "head",
        "head.flatten",
        "stages.layer4",
        "stages.layer4.stride",
        "stages.layer4.width",
        "stem.maxpool.max_pool2d",
        "stem.maxpool.max_pool2d.padding",
        "layers.norm",
        "initialization.linear_bias",
        "initialization.conv_kernel.scale",
        "input.height",
        "parameters.classes",
        "blocks.mine",
        "blocks.mine.shortcut",
    ],
)
def test_null_deletes_whatever_a_spec_inherits(path: str) -> None:
    data: Any = None
    for key in reversed(path.split(".")):
        data = {key: data}

    SPEC.validate({"extends": "resnet50"} | data)


@pytest.mark.parametrize("op", WORDS)
def test_an_editor_completes_the_fields_of_each_operation(op: str) -> None:
    fields = {*WORDS[op].model_fields, *WORDS[op].aliases} - {"op"}
    for alternative in ("layer", "step"):
        reference = SPEC.schema["$defs"][alternative]["anyOf"][1]["properties"][op]["anyOf"][0]["$ref"]
        found = SPEC.schema["$defs"][reference.rpartition("/")[2]]
        assert set(found["properties"]) == fields
        assert found["description"]


def described(schema: Any, path: str = "") -> Iterator[str]:
    """Every key of the language in a schema without a description of its own."""
    if isinstance(schema, list):
        for part in schema:
            yield from described(part, path)
    elif isinstance(schema, dict):
        for key, value in schema.get("properties", {}).items():
            if not ("description" in value or ("anyOf" in value and "$ref" in value["anyOf"][0])):
                yield f"{path}.{key}"
        for key, value in schema.items():
            # What only checks has no descriptions.
            if key not in ("if", "then", "else", "$defs", "propertyNames"):
                yield from described(value, f"{path}.{key}")


@pytest.mark.parametrize("validator", [SPEC, BLOCK])
def test_every_key_has_a_description(validator: Draft202012Validator) -> None:
    definitions = {k: v for k, v in validator.schema["$defs"].items() if "_of_" not in k}
    assert [*described(validator.schema), *described(list(definitions.values()))] == []
    assert len(definitions) > 50


@pytest.mark.parametrize("name", Catalog.shipped().blocks())
def test_every_parameter_of_a_shipped_block_has_a_description(name: str) -> None:
    parameters = SPEC.schema["$defs"][f"arguments_of_{name}"]["properties"]
    assert all(f"the block `{name}`: " in value["markdownDescription"] for value in parameters.values())
    stage = SPEC.schema["$defs"][f"stage_of_{name}"]["then"]["properties"]
    assert parameters.keys() <= stage.keys()


UNKNOWN = [
    "stages: {a: {block: bottleneck, widht: 3}}\n",
    "stages: {a: {block: bottleneck, first: {widht: 3}}}\n",
    "extends: resnet50\nstages: {layer2: {widht: 3}}\n",
    "extends: timm/resnet50d\nstages: {layer2: {last: {widht: 3}}}\n",
    "extends: resnet50\nstages: {layer2: {block: basic_block, widht: 3}}\n",
    "stages: {a: {block: bottleneck, attention: {squeeze_excite: {reductoin: 3}}}}\n",
    "stem: {a: {squeeze_excite: {reductoin: 3}}}\n",
    "stem: {a: {steps: {b: {squeeze_excite: {reductoin: 3}}}}}\n",
    "layers: {a: {squeeze_excite: {reductoin: 3}}}\n",
    "blocks: {mine: {main: {a: {squeeze_excite: {reductoin: 3}}}}}\n",
    "blocks: {mine: {main: {}, shortcut: {otherwise: {layers: {a: {blur: {strid: 3}}}}}}}\n",
]


@pytest.mark.parametrize("text", UNKNOWN)
def test_a_misspelled_parameter_of_a_shipped_block_is_refused(text: str) -> None:
    assert refused(SPEC, text)
    correct = text.replace("widht", "stride").replace("reductoin", "reduction").replace("strid:", "stride:")
    SPEC.validate(parse(correct, "f").data)


@pytest.mark.parametrize("text", UNKNOWN)
@pytest.mark.parametrize(
    "own",
    ["blocks: {bottleneck: {main: {}}}", "blocks: {mine: {main: {}, parameters: {blur: none}}}", "extends: base.yaml"],
)
def test_other_blocks_of_the_same_name_are_not_checked(text: str, own: str) -> None:
    key = own.partition(": ")[0]
    data = parse(text, "f").data
    mine = parse(own, "f").data[key]
    SPEC.validate(data | {key: data.get(key, {}) | mine if isinstance(mine, dict) else mine})


def test_a_parameter_of_another_block_is_deleted() -> None:
    SPEC.validate(parse("extends: resnet50\nstages: {layer2: {block: basic_block, width: null}}\n", "f").data)


@pytest.mark.parametrize("name", ["resnet5O", "torchvison/resnet50", "mine"])
def test_an_unknown_base_is_refused(name: str) -> None:
    assert refused(SPEC, f"extends: {name}\n")
    SPEC.validate({"extends": f"{name}.yaml"})


def test_every_name_of_a_shipped_spec_is_a_base() -> None:
    catalog = Catalog.shipped()
    base = SPEC.evolve(schema=SPEC.schema["$defs"]["spec_name"])
    assert [name for name in (*available(), *catalog.bare_names()) if not base.is_valid(name)] == []


def test_the_schemas_have_the_address_of_the_repository() -> None:
    project = tomllib.loads((SPECS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    for kind, validator in (("spec", SPEC), ("block", BLOCK)):
        assert validator.schema["$id"] == f"{project['urls']['Homepage']}/raw/main/specs/{kind}.schema.json"
