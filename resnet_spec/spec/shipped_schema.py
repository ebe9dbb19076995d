"""The parts of the JSON Schema that know the shipped blocks: which arguments each takes.

They are a second layer over the schema of the language, since a file's own names take precedence over the shipped
ones: they apply only to a file that gives no shipped block's name to anything of its own, and extends no other file.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from resnet_spec.document.parser import parse
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.extends import composed, with_blocks
from resnet_spec.spec.models import STAGE_KEYS, TYPES, Block
from resnet_spec.spec.resolution import parameter_type

Schema: TypeAlias = dict[str, Any]

_SUGGESTED: Schema = {"doNotSuggest": True}
"""Of a key that the schema of the language suggests already."""

_STEP: Schema = {"$ref": "#/$defs/arguments_of_step"}
_CHAIN: Schema = {"additionalProperties": _STEP, **_SUGGESTED}
_SHORTCUT: Schema = {
    "properties": {"layers": _CHAIN, "otherwise": {"properties": {"layers": _CHAIN}, **_SUGGESTED}},
    **_SUGGESTED,
}
_BLOCK: Schema = {"properties": {"main": _CHAIN, "shortcut": _SHORTCUT, "after": _CHAIN}}

_ANOTHER: Schema = {"not": {"required": ["block"]}}
_WITHOUT_OTHER_BLOCKS: Schema = {"if": {"properties": {"first": _ANOTHER, "last": _ANOTHER}}}
"""Of a stage whose first or last block is another one, the arguments may be that one's."""

# Of a stage, an argument may be a list of one value per block.
_TYPES: dict[str, Schema] = {
    "int": {"type": ["integer", "string", "null", "array"]},
    "number": {"type": ["number", "string", "null", "array"]},
    "bool": {"type": ["boolean", "string", "null", "array"]},
    "layer": {"anyOf": [{"$ref": "#/$defs/layer"}, {"type": "array"}], "allOf": [_STEP]},
}
WORDS = ("description", "markdownDescription")
"""The keys of a schema that describe it."""

_NOUNS = {"int": "a whole number", "number": "a number", "bool": "true or false", "layer": "a layer"}


def spec_arguments(definitions: Schema) -> Schema:
    """What is added to the schema of specs; the definitions that it needs are added to the given ones."""
    blocks = _blocks()
    definitions |= _definitions(blocks) | _stages(blocks)
    stages: list[Schema] = []
    for kinds, names in _kinds_of_stages(blocks).items():
        inherited: Schema = {
            stage: {"if": {"required": ["block"]}, "else": {"$ref": f"#/$defs/stage_of_{kind}"}}
            for stage, kind in kinds
            if kind in blocks
        }
        condition: Schema = {"properties": {"extends": {"pattern": f"^({'|'.join(names)})$"}}, "required": ["extends"]}
        stages.append({"if": condition, "then": {"properties": {"stages": {"properties": inherited, **_SUGGESTED}}}})
    chains = dict.fromkeys(("stem", "final", "head", "layers"), _CHAIN)
    nothing_shipped: Schema = {"propertyNames": {"not": {"enum": [*blocks]}}}
    condition = {
        "properties": {
            "extends": {"not": {"pattern": r"\.ya?ml$|^hf://"}},
            "blocks": {**nothing_shipped, "additionalProperties": {"properties": {"parameters": nothing_shipped}}},
        }
    }
    checks: Schema = {
        **chains,
        "blocks": {"additionalProperties": _BLOCK, **_SUGGESTED},
        "stages": {"additionalProperties": {"$ref": "#/$defs/arguments_of_stage"}, **_SUGGESTED},
    }
    return {"$defs": definitions, "if": condition, "then": {"properties": checks, "allOf": stages}}


def step_arguments(definitions: Schema) -> Schema:
    """What is added to the schema of blocks; the definitions that it needs are added to the given ones."""
    blocks = _blocks()
    definitions |= _definitions(blocks)
    condition: Schema = {"properties": {"parameters": {"propertyNames": {"not": {"enum": [*blocks]}}}}}
    return {"$defs": definitions, "if": condition, "then": _BLOCK}


def _blocks() -> dict[str, Block]:
    """The shipped blocks after ``extends``."""
    catalog = Catalog.shipped()
    steps = ", ".join(f"{name}: {name}" for name in catalog.blocks())
    data = with_blocks(parse(f"stem: {{{steps}}}", "all blocks"), catalog).data["blocks"]
    return {name: Block.model_validate(block) for name, block in data.items()}


def _kinds_of_stages(blocks: dict[str, Block]) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """The shipped specs, by their full and bare names, for each way of naming stages and their blocks."""
    catalog = Catalog.shipped()
    bare = {name: short for short, name in catalog.bare_names().items()}
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name in catalog.names():
        stages = composed(catalog.find(name), catalog).data.get("stages", {})
        kinds = tuple((stage, keys["block"]) for stage, keys in stages.items())
        if any(kind in blocks for _, kind in kinds):
            found.setdefault(kinds, []).extend((name, bare[name]) if name in bare else (name,))
    return found


def _definitions(blocks: dict[str, Block]) -> Schema:
    """The arguments of each block, and of a step by the block that it names."""
    references: Schema = {
        name: {"anyOf": [{"$ref": f"#/$defs/arguments_of_{name}"}, {"type": "null"}], **_SUGGESTED} for name in blocks
    }
    arguments: Schema = {f"arguments_of_{name}": _closed(_parameters(name, block)) for name, block in blocks.items()}
    return {"arguments_of_step": {"properties": {**references, "steps": _CHAIN}}, **arguments}


def _stages(blocks: dict[str, Block]) -> Schema:
    """The keys of a stage of each block, and of any stage by the block that it names."""
    own = dict.fromkeys(sorted(STAGE_KEYS), True)
    stages: Schema = {}
    for name, block in blocks.items():
        parameters: Schema = {
            key: {"$ref": f"#/$defs/arguments_of_{name}/properties/{key}"} for key in block.parameters
        }
        extremes: Schema = {key: {"$ref": f"#/$defs/arguments_of_{name}"} for key in ("first", "last")}
        # The stride of a stage has its own description.
        properties = parameters | own | extremes
        stages[f"stage_of_{name}"] = _WITHOUT_OTHER_BLOCKS | {"then": _closed(properties)}
    named = [
        {
            "if": {"properties": {"block": {"const": name}}, "required": ["block"]},
            "then": {"$ref": f"#/$defs/stage_of_{name}"},
        }
        for name in blocks
    ]
    return {"arguments_of_stage": {"allOf": named}, **stages}


def _closed(properties: Schema) -> Schema:
    """A mapping with these keys and no other, but for those that null deletes because ``extends`` brought them in."""
    known = dict.fromkeys(properties, True)
    return {
        "properties": properties,
        "if": {"properties": known, "additionalProperties": {"type": "null"}},
        "else": {"properties": known, "additionalProperties": False},
    }


def _parameters(name: str, block: Block) -> Schema:
    """The parameters of a block, with what is known of each."""
    properties: Schema = {}
    for key, declared in block.parameters.items():
        kind = parameter_type(block, key)
        default = (
            "required"
            if declared in TYPES
            else f"by default `{json.dumps(declared) if not isinstance(declared, str) else declared}`"
        )
        text = f"Parameter of the block `{name}`: {_NOUNS[kind]}, {default}."
        properties[key] = _TYPES[kind] | {"description": text.replace("`", ""), "markdownDescription": text}
    return properties
