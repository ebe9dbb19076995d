"""The spec language as pydantic models: what a person may write, before any of it is given a meaning.

A step is one layer of a chain. It names an operation, a block, a layer that the spec defines, or a slot of the block
around it; lowering decides which, since only then are a block's slots filled.

Layers and steps are written in several forms. Each model reads every form and is dumped in the shortest, so that
``model_dump(by_alias=True)`` is again what a person would write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    model_serializer,
    model_validator,
)

from resnet_spec.document.parser import copied, depth
from resnet_spec.errors import shown
from resnet_spec.errors.validation import Frozen
from resnet_spec.graph import Input
from resnet_spec.graph.initialization_rules import InitializationRules
from resnet_spec.graph.nodes import ParameterName
from resnet_spec.operations import WORDS
from resnet_spec.spec.names import LayerName, NamePattern, Prefix, SpecName, StepName, WeightsName, Word
from resnet_spec.spec.published import Published

ABSENT = "none"
"""The word for an absent layer; what follows it takes its input instead."""

TYPES = ("int", "number", "bool", "layer")
"""The types of a block's parameters that have no default."""


def _check_expression(value: Any) -> Any:
    # One message, where pydantic has one for each type of the union.
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a number or an expression, not {shown(value)}")
    return value


def _check_condition(value: Any) -> Any:
    if not isinstance(value, bool | str):
        raise ValueError(f"must be true, false or an expression, not {shown(value)}")
    return value


Expression = Annotated[bool | int | float | str, BeforeValidator(_check_expression)]
Condition = Annotated[
    str | bool,
    BeforeValidator(_check_condition),
    Field(description="An expression that decides whether this is present."),
]


class Layer(Frozen):
    """A reference to an operation, a block, a defined layer or a slot, with arguments: ``{conv2d: {kernel: 3}}``."""

    kind: str
    arguments: dict[str, Any] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _from_yaml(cls, data: Any, handler: ModelWrapValidatorHandler[Layer]) -> Layer:
        if isinstance(data, Layer):
            return data
        kind, arguments = _reference(data)
        return handler({"kind": kind, "arguments": arguments})

    @model_serializer
    def _to_yaml(self) -> Any:
        return {self.kind: self.arguments} if self.arguments else self.kind


def _reference(data: Any) -> tuple[str, dict[str, Any]]:
    """The kind and the arguments of ``relu``, ``{relu: null}`` or ``{conv2d: {kernel: 3}}``."""
    if data is None:
        return ABSENT, {}
    if isinstance(data, str):
        return data, {}
    if isinstance(data, dict):
        mapping = cast("dict[str, Any]", data)
        if len(mapping) == 1:
            ((kind, arguments),) = mapping.items()
            if arguments is None:
                return kind, {}
            if isinstance(arguments, dict):
                return kind, cast("dict[str, Any]", arguments)
            raise ValueError(f"the arguments of {kind!r} must be a mapping, such as {{{kind}: {{...}}}}")
        several = f": {', '.join(map(str, mapping))} (null deletes one that 'extends' brought in)" if mapping else ""
        raise ValueError(f"must name one layer, not {len(mapping)}{several}")
    raise ValueError("must be a layer's name or a mapping such as {conv2d: {channels: 64, kernel: 3}}")


STEP_KEYS = ("from", "when", "call", "repeat", "steps", "spec")
"""Keys of a step beside the layer's name, which therefore may not be one of them."""

_INSTEAD = ("call", "steps", "spec")
"""Those that take the place of a layer."""

FEATURES = "features"
"""The value of ``outputs`` for the feature maps at the end of the stem's stride-2 part and of each stage."""


def _check_outputs(value: Any) -> Any:
    if value != FEATURES and not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, or {FEATURES!r}, not {shown(cast('object', value))}")
    return cast("object", value)


def _kind_of_outputs(value: Any) -> str:
    """Which of the two is meant, so that a mistake is reported for that one only."""
    return "word" if isinstance(value, str) else "list"


Outputs = Annotated[
    Annotated[Literal["features"], Tag("word")] | Annotated[tuple[str, ...], Tag("list")],
    Discriminator(_kind_of_outputs),
    BeforeValidator(_check_outputs),
]


def _check_network(value: Any) -> Any:
    if not isinstance(value, dict | BaseModel):
        raise ValueError(f"must be a spec's name, a path, or a spec, not {shown(cast('object', value))}")
    return cast("object", value)


class Step(Frozen):
    """One entry of a chain: a layer, and beside its name the keys of a step.

    A layer is an operation, a block, a layer that the spec defines, or a slot of the block around it: ``relu``, or with
    arguments ``{conv2d: {channels: 64, kernel: 3}}``. ``none`` is no layer.

    Attributes:
        from: The name of the step whose value it takes, or a list of names; ``input`` is the chain's own input. By
            default the step before.
        when: Whether the step is present: true, false or an expression, such as ``stride != 1``.
        call: The name of an earlier step, whose layer is called again with the same parameters.
        repeat: How many times the layer, or the chain in ``steps``, is repeated: 0 to 100,000, or an expression.
        steps: A chain in place of a layer, with names of its own.
        spec: A network in place of a layer: a shipped spec, a file, or the content of one.
        outputs: With ``spec``: the values of the network that others can use, a list or ``features``. By default the
            network's own outputs.
        set: With ``spec``: values that replace those of the network, by dotted keys.
    """

    layer: Layer
    from_: Annotated[tuple[str, ...], Field(alias="from")] = ()
    when: Condition = True
    call: str | None = None
    repeat: Expression | None = None
    steps: dict[StepName, Step] | None = None
    spec: Annotated[Network | None, BeforeValidator(_check_network)] = None
    outputs: Outputs = ()

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, data: Any) -> Any:
        if isinstance(data, Step):
            return data
        if not isinstance(data, dict):
            return {"layer": data}
        mapping = cast("dict[str, Any]", data)
        keys = (*STEP_KEYS, "outputs") if "spec" in mapping else STEP_KEYS
        modifiers = {key: mapping[key] for key in keys if key in mapping}
        reference = {key: value for key, value in mapping.items() if key not in modifiers}
        if isinstance(modifiers.get("from"), str):
            modifiers["from"] = [modifiers["from"]]
        instead = [key for key in _INSTEAD if key in modifiers]
        if instead:
            if reference or len(instead) > 1:
                other = instead[1] if len(instead) > 1 else next(iter(reference))
                raise ValueError(f"a step with {instead[0]!r} names no other layer, such as {other!r}")
            return modifiers | {"layer": None}
        return modifiers | {"layer": reference}

    @model_serializer
    def _to_yaml(self) -> Any:
        modifiers: dict[str, Any] = {}
        if self.from_:
            modifiers["from"] = self.from_[0] if len(self.from_) == 1 else list(self.from_)
        if self.when is not True:
            modifiers["when"] = self.when
        if self.repeat is not None:
            modifiers["repeat"] = self.repeat
        if self.steps is not None:
            steps = {name: step._to_yaml() for name, step in self.steps.items()}  # pyright: ignore[reportPrivateUsage]
            return modifiers | {"steps": steps}
        if self.spec is not None:
            outputs = self.outputs if isinstance(self.outputs, str) else list(self.outputs)
            content = self.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            return {"spec": content} | ({"outputs": outputs} if outputs else {}) | modifiers
        if self.call is not None:
            return {"call": self.call} | modifiers
        if not modifiers:
            return self.layer._to_yaml()  # pyright: ignore[reportPrivateUsage]
        return {self.layer.kind: self.layer.arguments or None} | modifiers


Chain: TypeAlias = dict[StepName, Step]


class Identity(Frozen):
    """The shortcut if ``when`` does not hold: the layers that the value passes through, by default none.

    Attributes:
        from: The step of ``main`` where it starts, or ``input``.
        layers: A chain; without layers, the value of ``from`` itself.
    """

    from_: Annotated[str, Field(alias="from")] = "input"
    layers: Chain = {}


def _kind_of_shortcut(value: Any) -> str:
    return "word" if isinstance(value, str) else "mapping"


Otherwise = Annotated[
    Annotated[Literal["none"], Tag("word")] | Annotated[Identity, Tag("mapping")], Discriminator(_kind_of_shortcut)
]


class Shortcut(Frozen):
    """The second input of a residual block's addition: ``layers`` if ``when`` holds, else ``otherwise``.

    Attributes:
        when: Whether to use ``layers``, else ``otherwise``: true, false or an expression.
        from: The step of ``main`` where it starts, or ``input``.
        layers: A chain; without layers, the value of ``from`` itself.
        otherwise: The shortcut if ``when`` does not hold, by default the block's input; ``none`` for a block that adds
            nothing then.
    """

    when: Condition = True
    from_: Annotated[str, Field(alias="from")] = "input"
    layers: Chain = {}
    otherwise: Otherwise | None = None

    def chains(self) -> list[Chain]:
        """The chains of both cases."""
        return [self.layers] + ([self.otherwise.layers] if isinstance(self.otherwise, Identity) else [])


Section: TypeAlias = Literal["main", "shortcut", "after"]


def _check_reserved(what: str, names: Iterable[str]) -> None:
    for name in names:
        if name in STEP_KEYS:
            raise ValueError(f"{name!r} under {what} is a key of every step ({', '.join(STEP_KEYS)}); rename it")


class Block(Frozen):
    """A layer made of layers: ``after(main(input) + shortcut(input))``, or ``after(main(input))`` without a shortcut.

    Attributes:
        block: The block's name, in a file of its own.
        extends: The block that this one changes.
        rename: New names for steps of the block that is extended, by their old names.
        description: What the block is, in words.
        parameters: Names of the block's parameters. Each has a type, if a value is required (``int``, ``number``,
            ``bool``, ``layer``), or a default: a number, a boolean, an expression over earlier parameters, or a layer,
            which makes it a slot.
        inputs: The names of the values that the block takes, the first of which is ``input``.
        outputs: The steps whose values others can use beside the block's.
        main: The layers of the block, in order.
        shortcut: The second input of an addition after ``main``. Without it the block adds nothing.
        join: The name of the addition.
        after: The layers after the addition, in order.
        declare: The order in which a state_dict lists the sections.
    """

    block: Word | None = None
    description: str = ""
    parameters: dict[Word, Any] = {}
    inputs: Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=100)] = ("input",)
    outputs: tuple[str, ...] = ()
    main: Chain
    shortcut: Shortcut | None = None
    join: LayerName = "add"
    after: Chain = {}
    declare: tuple[Section, ...] = ("main", "shortcut", "after")

    @model_validator(mode="after")
    def _check(self) -> Block:
        if self.inputs[0] != "input":
            raise ValueError("the first of 'inputs' must be 'input'")
        chains = [self.main, *(self.shortcut.chains() if self.shortcut is not None else ()), self.after]
        names = [*self.inputs, *(name for chain in chains for name in chain if name != "input")]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            inputs = self.inputs.count(twice[0])
            what = "two inputs" if inputs > 1 else "an input and a layer" if inputs else "two layers"
            raise ValueError(f"{twice[0]!r} names {what} of the block")
        _check_reserved("parameters", self.parameters)
        if sorted(self.declare) != ["after", "main", "shortcut"]:
            raise ValueError("'declare' must list main, shortcut and after, each once")
        reserved = sorted(set(self.parameters) & STAGE_KEYS - {"stride"})
        if reserved:
            raise ValueError(f"a parameter may not be named {reserved[0]!r}, which is a key of every stage")
        return self


class Stage(BaseModel):
    """A row of blocks; keys not listed here are arguments of the block.

    An argument is one value for all blocks, or a list of one value per block. It may be an expression over the spec's
    parameters and ``index``, ``number``, ``count``, ``overall_index`` and ``overall_count``.

    Attributes:
        block: The block's name: a shipped block, or one that the spec defines.
        repeat: How many blocks, 1 to 10,000.
        stride: The stride of one block, a number or an expression; the others have 1.
        stride_in: Which block has the stride, ``first`` or ``last``.
        names: How the layers of its blocks are named, by default as the spec's ``names`` says.
        first: Arguments for the first block only.
        last: Arguments for the last block only.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    block: Word
    repeat: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    stride: Expression = 1
    stride_in: Literal["first", "last"] = "first"
    names: NamePattern | None = None
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the block."""
        return self.model_extra or {}


STAGE_KEYS = frozenset(Stage.model_fields)


class Source(Frozen):
    """Where a network was published.

    Attributes:
        library: The library that has the original, such as ``torchvision``.
        paper: The paper, such as its address.
        url: The address of the original.
        parameters: The number of trainable parameters of the original, which is checked.
    """

    library: str | None = None
    paper: str | None = None
    url: str | None = None
    parameters: Annotated[int, Field(strict=True, ge=0)] | None = None


MAX_DEPTH = 150
"""The most levels of plain data; a file may have fewer, but may contain other networks."""


class Network(Frozen):
    """The keys of a spec file.

    Attributes:
        name: Words joined by ``/``: letters, digits, ``_``, ``.`` and ``-``. By default the path below ``specs/`` of a
            shipped spec, else the file's name.
        description: What the network is, in words.
        source: Where the network was published.
        weights: Files of weights that were published for it, by their names; the first is the default.
        depth: The number of convolutions and linear layers on the main path, which is checked.
        input: The size of an image, signal, volume or vector.
        parameters: Named numbers, booleans and expressions, which the layers can use.
        layers: Named layers: what ``norm`` or ``act`` means in this spec.
        blocks: The spec's own blocks, inline or each as the path of a file.
        require: Conditions that must hold, each with the message to show if it does not.
        initialization: How the first weights are initialized, by the role of a parameter or a pattern of names.
        parameter_names: Names of parameters within their layers, by patterns, where an original has others than
            PyTorch's.
        prefix: What the name of every layer begins with.
        names: How the layers of a block are named, from ``{stage}``, ``{index}`` (from 0), ``{number}`` (from 1),
            ``{remaining}`` (down to 0), ``{overall_index}`` and ``{overall_number}`` (in the whole network), and
            ``{layer}``.
        stem: The layers before the stages, in order.
        stages: Rows of blocks, in order.
        final: The layers after the stages that still belong to the features, such as a last normalization, in order.
        head: The layers after the features, in order.
        outputs: The layers, blocks and stages whose values the network returns, or ``features``. By default the last
            layer.
        named_outputs: Whether a model returns a dict, from the names in ``outputs`` to values.
        folded: Whether batch normalizations are folded into the layers before them.
        extends: The shipped spec, or the file, that this one changes.
        rename: New names for steps of what is extended, by their old names.
    """

    name: SpecName = "network"
    description: str = ""
    source: Source = Source()
    weights: dict[WeightsName, Published] = {}
    depth: Annotated[int, Field(strict=True, ge=1)] | None = None
    input: Input = Input()
    parameters: dict[Word, Expression] = {}
    layers: dict[Word, Layer] = {}
    blocks: dict[Word, Block] = {}
    require: dict[Annotated[str, Field(max_length=200)], str] = {}
    initialization: InitializationRules = InitializationRules()
    parameter_names: dict[Annotated[str, Field(max_length=200)], ParameterName] = {}
    prefix: Prefix = ""
    names: NamePattern = "{stage}.{index}.{layer}"
    stem: Chain = {}
    stages: dict[LayerName, Stage] = {}
    final: Chain = {}
    head: Chain = {}
    outputs: Outputs = ()
    named_outputs: Annotated[bool, Field(strict=True)] = False
    folded: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="before")
    @classmethod
    def _copied(cls, data: Any) -> Any:
        # Arguments are plain data of any form; a spec keeps its own, whatever happens to what it was made from.
        if depth(data) > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        return copied(data)

    @model_validator(mode="after")
    def _check(self) -> Network:
        for what, names in (("layers", self.layers), ("blocks", self.blocks)):
            _check_reserved(what, names)
            if taken := sorted(set(names) & WORDS.keys() | set(names) & {ABSENT}):
                raise ValueError(f"{taken[0]!r} under {what} is the name of an operation")
        if both := sorted(set(self.layers) & set(self.blocks)):
            raise ValueError(f"{both[0]!r} names both a layer and a block")
        names = [*self.stem, *self.stages, *self.final, *self.head]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} names two of the spec's layers or stages")
        if not names:
            raise ValueError("the spec describes no layers: stem, stages, final and head are empty")
        return self


Step.model_rebuild()
