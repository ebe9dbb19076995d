"""The JSON Schema of the language, made from the same models that check a spec, for editors to complete and check by.

Pydantic's own schemas describe a model's fields; what a person writes is wider (a step may be a word, a number may be
an expression), so these parts are built here.
"""

from __future__ import annotations

from inspect import getdoc
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from resnet_spec.operations import WORDS
from resnet_spec.operations.base import BaseOperation, describe
from resnet_spec.spec.models import ABSENT, FEATURES, STEP_KEYS, Block, Identity, Network, Shortcut, Stage, Step

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_CHAIN: Schema = {"type": "object", "additionalProperties": {"$ref": "#/$defs/step"}}
_EXPRESSION: Schema = {"type": "string", "description": "Arithmetic over parameters, such as width * 4."}
_CONDITION: Schema = {"type": ["string", "boolean"], "description": "Whether this is present, such as stride != 1."}
_RENAME: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "New names for steps of what is extended.",
}
_DELETED: Schema = {"type": "null"}
_NOT_A_STEP_KEY: Schema = {"not": {"enum": list(STEP_KEYS)}}
"""For the names of what steps name by a key."""
_NAMES: Schema = {"propertyNames": _NOT_A_STEP_KEY}


def spec_schema() -> Schema:
    """The schema of a spec's file."""
    network = _model_schema(Network)
    properties: Schema = dict(network["properties"])
    layer: Schema = {"$ref": "#/$defs/layer"}
    block: Schema = {"anyOf": [{"$ref": "#/$defs/block"}, {"type": "string", "description": "A block's own file."}]}
    properties |= {
        "extends": {"type": "string", "description": "The shipped spec or the file that this one changes."},
        "rename": _RENAME,
        "layers": {
            "type": "object",
            "additionalProperties": layer,
            "description": "Layers by the names that steps use.",
            **_NAMES,
        },
        "blocks": {"type": "object", "additionalProperties": block, "description": "The spec's own blocks.", **_NAMES},
        "stem": _CHAIN | {"description": "Layers before the stages, in order."},
        "stages": {"type": "object", "additionalProperties": _stage(), "description": "Sequences of blocks, in order."},
        "final": _CHAIN | {"description": "Layers after the stages that belong to the features, in order."},
        "head": _CHAIN | {"description": "Layers after those, in order."},
    }
    shared = {name: schema for name, schema in network["$defs"].items() if name in _USED}
    schema: Schema = {
        "$schema": DIALECT,
        "title": "resnet-spec",
        "description": getdoc(Network),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": shared | _definitions(),
    }
    return _for_extending(schema)


def _model_schema(model: type[BaseModel]) -> Schema:
    """Pydantic's schema of a model, which is among the definitions if it contains itself."""
    schema = model.model_json_schema(by_alias=True)
    return {"$defs": schema["$defs"], **schema["$defs"][model.__name__]} if "$ref" in schema else schema


def block_schema() -> Schema:
    """The schema of a block's own file."""
    return _for_extending({"$schema": DIALECT, "title": "resnet-spec block", **_block(), "$defs": _definitions()})


def _for_extending(schema: Any) -> Any:
    """The schema for a file that may extend another: null deletes an inherited key, and no key is required."""
    if isinstance(schema, list):
        return [_for_extending(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    parts: Schema = {key: _for_extending(part) for key, part in cast("Schema", schema).items() if key != "required"}
    for key in {"properties", "patternProperties"} & parts.keys():
        parts[key] = {name: {"anyOf": [value, _DELETED]} for name, value in parts[key].items()}
    if isinstance(parts.get("additionalProperties"), dict):
        parts["additionalProperties"] = {"anyOf": [parts["additionalProperties"], _DELETED]}
    return parts


_USED = (
    *("Source", "Input", "InitializationRules", "Constant", "FixedDeviation", "VarianceScaling"),
    *("Published", "Accuracy", "Preprocessing"),
)


def _definitions() -> Schema:
    # One class is the operations of several names.
    operations = {kind.__name__: {"anyOf": [_operation(kind), {"type": "null"}]} for kind in WORDS.values()}
    kinds: Schema = {name: {"$ref": f"#/$defs/{kind.__name__}"} for name, kind in WORDS.items()}
    reference: Schema = {
        "type": "object",
        "minProperties": 1,
        "properties": kinds,
        "additionalProperties": {"type": ["object", "null"], "description": "A block, a defined layer or a slot."},
    }
    word: Schema = {
        "type": ["string", "null"],
        "description": f"An operation ({', '.join(WORDS)}), a block, a defined layer, a slot, or none.",
    }
    step = reference | {
        "description": getdoc(Step),
        "properties": kinds
        | {
            "from": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "when": _CONDITION,
            "call": {"type": "string", "description": "The earlier layer that is used again, with its parameters."},
            "repeat": {"type": ["integer", "string"], "description": "How often the layer, or 'steps', is repeated."},
            "steps": _CHAIN | {"description": "A chain in place of a layer, with names of its own."},
            "spec": {"type": ["string", "object"], "description": "A network in place of a layer: a name, or a path."},
            "outputs": {
                "anyOf": [{"const": FEATURES}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}],
                "description": "The values of 'spec' that others can use; the last one is the step's.",
            },
            "set": {"type": "object", "description": "Values by dotted keys that replace those of 'spec'."},
        },
    }
    return {
        # More than one key where null takes out what 'extends' brings in.
        "layer": {"anyOf": [word, reference]},
        "step": {"anyOf": [word, step]},
        "block": _block(),
        **operations,
    }


def _operation(kind: type[BaseOperation]) -> Schema:
    """An operation's arguments; every number may be an expression. None is required, since a definition may give it."""
    schema = kind.model_json_schema()
    description, fields = describe(kind)
    properties: Schema = {
        field: _or_expression({k: v for k, v in value.items() if k != "default"}) | {"description": fields[field]}
        for field, value in schema["properties"].items()
        if field != "op"
    }
    if "decay" in kind.aliases:
        properties["decay"] = {"type": "number", "description": "1 - momentum, as Keras and TensorFlow count it."}
    return {"type": "object", "properties": properties, "additionalProperties": False, "description": description}


def _or_expression(schema: Schema) -> Schema:
    """An expression in place of a value, or of each value of a list."""
    if isinstance(schema.get("items"), dict):
        schema = schema | {"items": _or_expression(schema["items"])}
    return {"anyOf": [schema, _EXPRESSION]}


def _block() -> Schema:
    properties = dict(_model_schema(Block)["properties"])
    identity: Schema = {"from": {"type": "string"}, "layers": _CHAIN}
    passed: Schema = {"type": "object", "properties": identity, "additionalProperties": False}
    otherwise: Schema = {"anyOf": [{"const": ABSENT}, passed], "description": getdoc(Identity)}
    shortcut: Schema = {
        "type": "object",
        "description": getdoc(Shortcut),
        "properties": {**identity, "when": _CONDITION, "otherwise": otherwise},
        "additionalProperties": False,
    }
    parameters: Schema = properties["parameters"]
    parameters |= {"propertyNames": parameters.get("propertyNames", {}) | _NOT_A_STEP_KEY}
    properties |= {"parameters": parameters, "main": _CHAIN, "shortcut": shortcut, "after": _CHAIN}
    properties |= {"extends": {"type": "string", "description": "The block that this one changes."}, "rename": _RENAME}
    return {
        "type": "object",
        "description": getdoc(Block),
        "properties": properties,
        "required": ["main"],
        "additionalProperties": False,
    }


def _stage() -> Schema:
    properties = dict(Stage.model_json_schema(by_alias=True)["properties"])
    properties["repeat"] = {"type": "integer", "minimum": 1, "maximum": 10_000}
    return {
        "type": "object",
        "description": getdoc(Stage),
        "properties": properties,
        "additionalProperties": {"description": "An argument of the block: one value, or a list of one per block."},
    }
