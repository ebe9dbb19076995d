"""The JSON Schema of the language, made from the same models that check a spec, for editors to complete and check by.

Pydantic's own schemas describe a model's fields; what a person writes is wider (a step may be a word, a number may be
an expression), so these parts are built here. The descriptions are those of the models' docstrings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from resnet_spec.graph import Input
from resnet_spec.graph.initialization_rules import Constant, FixedDeviation, InitializationRules, VarianceScaling
from resnet_spec.operations import WORDS, Role
from resnet_spec.operations.base import BaseOperation, describe, summary
from resnet_spec.spec.catalog import PREFERRED, Catalog
from resnet_spec.spec.models import (
    ABSENT,
    FEATURES,
    STAGE_KEYS,
    STEP_KEYS,
    Block,
    Identity,
    Layer,
    Network,
    Shortcut,
    Source,
    Stage,
    Step,
)
from resnet_spec.spec.published import Accuracy, Preprocessing, Published
from resnet_spec.spec.shipped_schema import WORDS as DESCRIPTIONS
from resnet_spec.spec.shipped_schema import spec_arguments, step_arguments

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ADDRESS = "https://github.com/OWNER/resnet-spec/raw/main/specs/{}.schema.json"
"""Where the schemas of specs and of blocks are."""

_CHAIN: Schema = {"type": "object", "additionalProperties": {"$ref": "#/$defs/step"}}
_TEXT: Schema = {"type": "string"}
_NAMES: Schema = {"type": "array", "items": _TEXT}
_CONDITION: Schema = {"type": ["string", "boolean"]}
_NAME_OF_SPEC: Schema = {"$ref": "#/$defs/spec_name"}
_NAME_OF_BLOCK: Schema = {"$ref": "#/$defs/block_name"}
_RENAME: Schema = {"type": "object", "additionalProperties": _TEXT}
_RULES = (Constant, FixedDeviation, VarianceScaling)
_NOT_A_STEP_KEY: Schema = {"not": {"enum": list(STEP_KEYS)}}
"""For the names of what steps name by a key."""


def spec_schema() -> Schema:
    """The schema of a spec's file."""
    block: Schema = {"anyOf": [{"$ref": "#/$defs/block"}, _TEXT]}
    names: Schema = {"propertyNames": _NOT_A_STEP_KEY}
    own: Schema = {
        "extends": _NAME_OF_SPEC,
        "rename": _RENAME,
        "source": _model(Source),
        "weights": {"type": "object", "additionalProperties": _published()},
        "input": _model(Input),
        "layers": {"type": "object", "additionalProperties": {"$ref": "#/$defs/layer"}, **names},
        "blocks": {"type": "object", "additionalProperties": block, **names},
        "initialization": _initialization(),
        "stem": _CHAIN,
        "stages": {"type": "object", "additionalProperties": _stage()},
        "final": _CHAIN,
        "head": _CHAIN,
        "outputs": {"anyOf": [{"const": FEATURES}, _NAMES]},
    }
    schema: Schema = {
        "$schema": DIALECT,
        "$id": ADDRESS.format("spec"),
        **_model(Network, own),
        "$defs": _definitions(),
    }
    extending = _for_extending(schema)
    return extending | spec_arguments(extending["$defs"])


def block_schema() -> Schema:
    """The schema of a block's own file."""
    schema: Schema = {
        "$schema": DIALECT,
        "$id": ADDRESS.format("block"),
        **_block(),
        "$defs": _definitions(),
    }
    extending = _for_extending(schema)
    return extending | step_arguments(extending["$defs"])


def _for_extending(schema: Any) -> Any:
    """The schema for a file that may extend another: null deletes an inherited key, and no key is required."""
    if isinstance(schema, list):
        return [_for_extending(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    parts: Schema = {key: _for_extending(part) for key, part in cast("Schema", schema).items() if key != "required"}
    for key in {"properties", "patternProperties"} & parts.keys():
        parts[key] = {name: value if value is True else _or_deleted(value) for name, value in parts[key].items()}
    if isinstance(parts.get("additionalProperties"), dict):
        parts["additionalProperties"] = _or_deleted(parts["additionalProperties"])
    return parts


def _or_deleted(schema: Schema) -> Schema:
    """A schema that allows null too; what describes it stays outside, where an editor looks for it."""
    return _or_type(schema, "null")


def _or_type(schema: Schema, kind: str) -> Schema:
    """A schema that allows values of another type too, without alternatives where a list of types says it."""
    if "type" in schema and "anyOf" not in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        enum: Schema = {"enum": [*schema["enum"], None]} if kind == "null" and "enum" in schema else {}
        if kind != "string" or not schema.keys() & {"enum", "pattern", "maxLength"}:
            return schema | enum | {"type": types if kind in types else [*types, kind]}
    words = {key: schema[key] for key in (*DESCRIPTIONS, "default") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in words}
    alternatives = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    if any(kind in alternative.get("type", ()) and alternative.keys() == {"type"} for alternative in alternatives):
        return schema
    return {"anyOf": [*alternatives, {"type": kind}], **words}


# -- words -------------------------------------------------------------------------------------------------------


def _described(schema: Schema, text: str) -> Schema:
    """A schema with a description, as text and, if it has markup, in Markdown."""
    if not text:
        # Python leaves docstrings out under -OO.
        return schema
    plain = schema | {"description": text.replace("``", "")}
    return plain | ({"markdownDescription": text.replace("``", "`")} if "``" in text else {})


def written_default(kind: type[BaseModel], key: str) -> Any:
    """The default of a key as a person writes it; None if it has none, or its description says what it is."""
    info = next((info for name, info in kind.model_fields.items() if key in (info.alias, name)), None)
    value: Any = None if info is None or info.is_required() else info.default
    if isinstance(value, BaseModel | dict) or value in ("", ()) or "y default" in describe(kind)[1].get(key, ""):
        return None
    if not isinstance(value, tuple):
        return cast("object", value)
    values = cast("tuple[Any, ...]", value)
    # One number for all sides.
    return cast("object", values[0][0] if isinstance(values[0], tuple) else list(values))


def shown_default(value: Any) -> str:
    """A default as YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown_default, cast('list[Any]', value)))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _keys(kind: type[BaseModel], properties: Mapping[str, Schema]) -> Schema:
    """The keys of a model with their descriptions and defaults."""
    texts = describe(kind)[1]
    found: Schema = {}
    for key, schema in properties.items():
        text, default = texts.get(key, ""), written_default(kind, key)
        schema = _with_named_values(schema, text)
        if schema in (_NAME_OF_SPEC, _NAME_OF_BLOCK):
            # An editor shows the description of the name that is given, below the title.
            schema = schema | {"title": text.removesuffix(".")}
        if default is not None:
            schema, text = schema | {"default": default}, f"{text} Default: ``{shown_default(default)}``."
        found[key] = _described(schema, text)
    return found


def _with_named_values(schema: Schema, text: str) -> Schema:
    """A mapping whose keys a person chooses, each described as the mapping is, unless its value has its own words."""
    parts: Schema = {}
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and "$ref" not in str(cast("Schema", values)) and "description" not in values:
        parts["additionalProperties"] = _described(cast("Schema", values), text)
    for pattern, values in schema.get("patternProperties", {}).items():
        if "$ref" not in str(values):
            parts["patternProperties"] = {pattern: _described(values, text)}
    return schema | parts


def _fields(kind: type[BaseModel]) -> Schema:
    """Pydantic's schemas of a model's fields, without titles and defaults."""
    schema = kind.model_json_schema(by_alias=True)
    schema = schema["$defs"][kind.__name__] if "$ref" in schema else schema
    return {
        name: {key: value for key, value in field.items() if key not in ("title", "default", *DESCRIPTIONS)}
        for name, field in schema.get("properties", {}).items()
    }


def _model(kind: type[BaseModel], own: Mapping[str, Schema] | None = None) -> Schema:
    """The schema of a mapping by a model, some of whose keys have schemas of their own."""
    return _described(_mapping(_keys(kind, _fields(kind) | dict(own or {}))), describe(kind)[0])


def _mapping(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _words(texts: Mapping[str, str]) -> list[Schema]:
    """An alternative for each word, with its description."""
    return [_described({"const": word}, text) for word, text in texts.items()]


# -- the parts ---------------------------------------------------------------------------------------------------


def _spec_name() -> Schema:
    catalog = Catalog.shipped()
    texts = {name: catalog.document(catalog.find(name)).data.get("description", "") for name in catalog.names()}
    bare = catalog.bare_names()
    short = {name: texts[full] for name, full in bare.items() if full.startswith(f"{PREFERRED}/")}
    known = "|".join(sorted({*texts, *bare}))
    return {
        "anyOf": [*_words(short | texts), _described(_TEXT, "A file's path, or an address in the Hugging Face Hub.")],
        "pattern": rf"\.ya?ml$|^hf://|^({known})$",
        "patternErrorMessage": "no shipped spec has this name, and the path of a file ends in .yaml or .yml",
    }


def _block_name() -> Schema:
    return {"anyOf": [*_words(_blocks()), _described(_TEXT, "A block of the spec's own.")]}


def _blocks() -> dict[str, str]:
    catalog = Catalog.shipped()
    return {name: catalog.document(path).data.get("description", "") for name, path in catalog.blocks().items()}


def _published() -> Schema:
    return _model(Published, {"accuracy": _model(Accuracy), "preprocessing": _model(Preprocessing)})


def _initialization() -> Schema:
    rule: Schema = {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in _RULES]}
    return {
        "type": "object",
        "properties": {str(role): _described(rule, text) for role, text in describe(Role)[1].items()},
        "patternProperties": {r"[*?.\[]": _described(rule, summary(InitializationRules))},
        "additionalProperties": False,
    }


def _definitions() -> Schema:
    # One class is the operations of several names.
    operations = {kind.__name__: _or_deleted(_operation(kind)) for kind in WORDS.values()}
    # Without a description, so that an editor shows that of the role.
    rules = {kind.__name__: _mapping(_keys(kind, _fields(kind))) for kind in _RULES}
    kinds: Schema = {name: {"$ref": f"#/$defs/{kind.__name__}"} for name, kind in WORDS.items()}
    kinds |= {name: _described({"type": "object"}, text) for name, text in _blocks().items()}
    reference: Schema = {
        "type": "object",
        "minProperties": 1,
        "properties": kinds,
        "additionalProperties": {"type": "object"},
    }
    words = {name: summary(kind) for name, kind in WORDS.items()} | {ABSENT: "No layer."} | _blocks()
    word: Schema = {"anyOf": [*_words(words), _TEXT]}
    keys: Schema = {
        "from": {"anyOf": [_TEXT, _NAMES]},
        "when": _CONDITION,
        "call": _TEXT,
        "repeat": {"type": ["integer", "string"]},
        "steps": _CHAIN,
        "spec": {"anyOf": [_NAME_OF_SPEC, {"type": "object"}]},
        "outputs": {"anyOf": [{"const": FEATURES}, _NAMES, {"type": "object"}]},
        "set": {"type": "object", "additionalProperties": {}},
    }
    step = reference | {"properties": _keys(Step, keys) | kinds}
    text = describe(Step)[0]
    return {
        "spec_name": _spec_name(),
        "block_name": _block_name(),
        "word": word,
        # More than one key where null takes out what 'extends' brings in.
        "layer": _described({"anyOf": [{"$ref": "#/$defs/word"}, reference]}, describe(Layer)[0]),
        "step": _described({"anyOf": [{"$ref": "#/$defs/word"}, step]}, text),
        "block": _block(),
        **rules,
        **operations,
    }


def _operation(kind: type[BaseOperation]) -> Schema:
    """An operation's arguments; every number may be an expression. None is required, since a definition may give it."""
    fields = {name: _or_expression(schema) for name, schema in _fields(kind).items() if name != "op"}
    fields |= {alias: {"type": "number"} for alias in kind.aliases}
    return _described(_mapping(_keys(kind, fields)), describe(kind)[0])


def _or_expression(schema: Schema) -> Schema:
    """An expression in place of a value, or of each value of a list."""
    alternatives = schema.get("anyOf", [schema])
    found: list[Schema] = []
    for alternative in alternatives:
        lists = {key: alternative[key] for key in ("items", "prefixItems") if key in alternative}
        inner: Schema = {
            key: list(map(_or_expression, cast("list[Schema]", value)))
            if key == "prefixItems"
            else _or_expression(value)
            for key, value in lists.items()
        }
        found.append(alternative | inner)
    return _or_type(found[0] if len(found) == 1 else {"anyOf": found}, "string")


def _block() -> Schema:
    identity: Schema = {"from": _TEXT, "layers": _CHAIN}
    otherwise: Schema = {"anyOf": [{"const": ABSENT}, _model(Identity, identity)]}
    shortcut = _model(Shortcut, {**identity, "when": _CONDITION, "otherwise": otherwise})
    parameters = _fields(Block)["parameters"]
    parameters |= {"propertyNames": parameters.get("propertyNames", {}) | _NOT_A_STEP_KEY}
    own: Schema = {
        "extends": _NAME_OF_BLOCK,
        "rename": _RENAME,
        "parameters": parameters,
        "main": _CHAIN,
        "shortcut": shortcut,
        "after": _CHAIN,
    }
    return _model(Block, own)


def _stage() -> Schema:
    another = _keys(Stage, {"block": _NAME_OF_BLOCK})["block"]
    own: Schema = {
        "block": _NAME_OF_BLOCK,
        "repeat": {"type": "integer", "minimum": 1, "maximum": 10_000},
        **{key: {"type": "object", "properties": {"block": another}} for key in ("first", "last")},
    }
    arguments = describe(Stage)[0].partition("\n\n")[2]
    stage: Schema = _model(Stage, own) | {"additionalProperties": True}
    # What is known of a shipped block's parameters is said there.
    shipped: Schema = {"properties": {"block": {"pattern": f"^({'|'.join(_blocks())})$"}}}
    known: Schema = dict.fromkeys(sorted(STAGE_KEYS), True)
    other: Schema = {"properties": known, "additionalProperties": _described({}, arguments)}
    return stage | {"if": shipped, "else": other}
