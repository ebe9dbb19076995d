"""The names that other libraries have for a network's parameters, by tables: one YAML file a library in ``zoos``.

A table maps canonical layer names to a library's. Canonical are torchvision's names (``layer1.0.conv1``), and for
pre-activation networks timm's (``stages.0.blocks.0.conv1``). A graph may itself have any library's names: they are
mapped to the canonical ones first, so that every table applies to it, in both directions.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import yaml
from pydantic import BeforeValidator, Field

from resnet_spec.backend.training import COUNTER
from resnet_spec.errors import OutputError, Problem, WeightsError, suggest
from resnet_spec.errors.validation import Frozen
from resnet_spec.operations import KERNELS, Role
from resnet_spec.weights.layouts import Layout, library_axes, to_layout
from resnet_spec.weights.name_patterns import Pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.graph import Graph, Parameter


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One or several texts, of which the first is written."""

Names: TypeAlias = Words | dict[Role, Words]


CLASSIFIERS = ("fc", "head.fc")
"""The canonical names of the layers that compute the logits."""

_IN_BLOCK = re.compile(r"(.*?\d+\.(?:blocks\.)?\d+)\.(downsample)?")


class _Positions:
    """Numbers things of several kinds in the order in which they are first asked for.

    ``present`` are the layers of the network that bring rules of their own.
    """

    def __init__(self, present: tuple[str, ...] = ()) -> None:
        self.present = present
        self._seen: defaultdict[str, dict[Hashable, int]] = defaultdict(dict)

    def of(self, kind: str, thing: Hashable) -> int:
        """The number of a thing among those of its kind."""
        seen = self._seen[kind]
        return seen.setdefault(thing, len(seen))

    def text(self, pattern: Pattern, canonical: str, values: Mapping[str, int | str]) -> str:
        """A layer's name, which may have its position or its block's in it."""
        if "block" in pattern.names:
            values = {**values, "block": self.of("blocks", (values["s"], values["b"]))}
        if "n" in pattern.names:
            values = {**values, "n": self.of(pattern.text({**values, "n": 0}), canonical)}
        return pattern.text(values)


class Table(Frozen):
    """The names of one library.

    Attributes:
        name: What ``--names`` calls it.
        description: Which library, and which of its models.
        layers: Canonical names to the library's. ``{s}`` stands for a number, ``{s+1}`` for the next one, ``{b+1:02}``
            for one of two digits, ``{b:a}`` for a letter, ``{*}`` for anything; the library's names may have a part
            ``[in brackets]`` that some files lack. The first rule that matches decides. ``{block}`` is the position of
            block ``{s}``, ``{b}`` among the network's blocks, ``{n}`` that of a layer among those whose names are
            alike but for it, and ``{n:_}`` the same with an underscore, and nothing for the first. Where a layer's
            parameters are in several of the library's layers, names are given by role.
        where: Rules that come before those of ``layers`` in networks that have a layer, by its canonical name.
        parameters: The last part of a name by role, where it is not PyTorch's.
        numbered: Whether a variable's number within its layer may stand for its word, as in ``.keras`` files.
        projection_first: Whether ``{n}`` counts a block's projection before the block's other layers; else after them.
        separator: What is between the names of a layer and of its parameter.
        layout: The library's axes.
        convolutional: The canonical classifiers that are convolutions of one position in the library, whose kernels
            have four axes; other classifiers are linear.
        folded_statistics: Whether its files may lack batch normalizations' statistics, folded into scale and offset.
        remark: What to know about the library's weights; it is logged when they are read.
    """

    name: str
    description: str
    layers: dict[str, Names]
    where: dict[str, dict[str, Names]] = Field(default_factory=dict[str, dict[str, Names]])
    parameters: Mapping[Role, Words] = Field(default_factory=dict[Role, tuple[str, ...]])
    numbered: bool = False
    projection_first: bool = False
    separator: str = "."
    layout: Layout = "pytorch"
    convolutional: Words = ()
    folded_statistics: bool = False
    remark: str = ""

    @property
    def positional(self) -> bool:
        """Whether layers have numbers in the order of the library's calls, which the names do not show."""
        return any("{n" in word for words in self.layers.values() if isinstance(words, tuple) for word in words)

    def names(self, graph: Graph) -> Sequence[tuple[str, Parameter]]:
        """Every name that a file of this library may have for each parameter; a parameter's first is to be written."""
        return _names(self.name, graph.parameters())

    def names_of(self, parameters: Sequence[Parameter]) -> Iterator[tuple[str, Parameter]]:
        """The same for a network's parameters."""
        canonical = canonical_names(tuple(dict.fromkeys(p.node for p in parameters)))
        positions = self._positions(parameters, canonical)
        variables: Counter[str] = Counter()
        for parameter in parameters:
            number = variables[parameter.node]
            variables[parameter.node] += 1
            words = self.parameters.get(parameter.role, (parameter.slot,))
            for layer in self._layer_names(canonical[parameter.node], parameter.role, positions):
                for word in (*words, str(number)) if self.numbered else words:
                    # An array may have its layer's name.
                    yield f"{layer}{self.separator}{word.format(layer=layer)}" if word else layer, parameter

    def canonical(self, layer: str) -> str | None:
        """The canonical name of one of the library's layers, None if it is not the library's.

        >>> find_table("transformers").canonical("resnet.encoder.stages.0.layers.2.layer.1.normalization")
        'layer1.2.bn2'
        """
        # A graph's names have dots, whatever separates the library's.
        return _canonical(self.name, layer.replace(".", "/") if self.separator == "/" else layer)

    def layer(self, canonical: str) -> str | None:
        """The library's name of a layer, None if it has none.

        >>> find_table("transformers").layer("layer1.2.bn2")
        'resnet.encoder.stages.0.layers.2.layer.1.normalization'
        """
        return next(self._layer_names(canonical, None, _Positions()), None)

    def _positions(self, parameters: Sequence[Parameter], canonical: Mapping[str, str]) -> _Positions:
        """The positions of layers, counted in the library's order if it counts layers at all."""
        positions = _Positions(tuple(layer for layer in self.where if layer in canonical.values()))
        if _counts_layers(self.name):
            order = sorted(parameters, key=lambda p: self._counting_order(canonical[p.node], positions))
            for parameter in order:
                deque(self._layer_names(canonical[parameter.node], parameter.role, positions), maxlen=0)
        return positions

    def _counting_order(self, canonical: str, positions: _Positions) -> tuple[int, bool]:
        """By which layers are sorted before they are counted; those outside of blocks stay where they are."""
        found = _IN_BLOCK.match(canonical)
        place = positions.of("order", found[1] if found else canonical)
        return place, bool(found and found[2]) is not self.projection_first

    def _layer_names(self, canonical: str, role: Role | None, positions: _Positions) -> Iterator[str]:
        values, theirs = _matched(self.name, positions.present, canonical, role)
        for pattern in theirs:
            # The letters of block 26 and on would be braces.
            if pattern.has_letters_for(values):
                yield positions.text(pattern, canonical, values)

    def translated(self, graph: Graph) -> dict[str, str]:
        """The library's name for each of a graph's parameters; raises OutputError if it has none for some."""
        names: dict[str, str] = {}
        for name, parameter in self.names(graph):
            names.setdefault(parameter.name, name)
        lacking = list(dict.fromkeys(p.node for p in graph.parameters() if p.name not in names))
        if lacking:
            problems = [Problem("has no name there", layer) for layer in lacking]
            raise OutputError([Problem(f"{graph.name}: {self.name} has no such layers ({len(lacking)})"), *problems])
        return {parameter.name: names[parameter.name] for parameter in graph.parameters()}

    def renamed(self, graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A graph's arrays by the library's names and in its layout, with PyTorch's counters where it has them.

        Counters that are not among the arrays are 0.

        Raises OutputError if the library has no name for some layers, or only names that do not show its layout.
        """
        import numpy as np

        names = self.translated(graph)
        canonical = canonical_names(tuple(dict.fromkeys(p.node for p in graph.parameters())))
        renamed: dict[str, NDArray[Any]] = {}
        turned: list[Problem] = []
        for parameter in graph.parameters():
            name, role = names[parameter.name], parameter.role
            array = self._as_classifier(arrays[parameter.name], role, canonical[parameter.node])
            renamed[name] = to_layout(array, role, self.layout)
            if library_axes(role, array.ndim, self.layout) != tuple(range(array.ndim)):
                turned.append(Problem(f"would be read back in PyTorch's layout instead of {self.name}'s", name))
            if role is Role.NORM_VARIANCE and Role.NORM_VARIANCE not in self.parameters:
                count = arrays.get(f"{parameter.node}.{COUNTER}", np.zeros((), np.int64))
                renamed[f"{name.rpartition('.')[0]}.{COUNTER}"] = count
        if turned and self._looks_like_pytorchs(graph, names):
            message = (
                f"{graph.name}: no tensor of it has a name that only {self.name} has, so that its layout is not shown"
            )
            raise OutputError([Problem(message), *turned])
        return renamed

    def _as_classifier(self, array: NDArray[Any], role: Role, canonical: str) -> NDArray[Any]:
        """A classifier's kernel with the axes that it has in the library; others as they are."""
        if role not in KERNELS or canonical not in CLASSIFIERS or not {*array.shape[2:]} <= {1}:
            return array
        return array.reshape(*array.shape[:2], *((1, 1) if canonical in self.convolutional else ()))

    def _looks_like_pytorchs(self, graph: Graph, names: Mapping[str, str]) -> bool:
        """Whether all names are also the graph's own, or those of a library with PyTorch's layout."""
        others = ({name for name, _ in table.names(graph)} for table in tables().values() if table.layout == "pytorch")
        return any(known.issuperset(names.values()) for known in (set(names), *others))


# -- the tables --------------------------------------------------------------------------------------------------


@cache
def tables() -> Mapping[str, Table]:
    """The tables by name, sorted."""
    folder = files("resnet_spec.weights") / "zoos"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    loaded = (Table.model_validate(yaml.safe_load(entry.read_text("utf-8"))) for entry in found)
    return {table.name: table for table in sorted(loaded, key=lambda table: table.name)}


def find_table(name: str) -> Table:
    """The table with a name; raises WeightsError if there is none."""
    known = tables()
    if name not in known:
        message = f"no table of names is called {name!r}{suggest(name, known)} (known: {', '.join(known)})"
        raise WeightsError(message)
    return known[name]


@lru_cache(maxsize=256)
def canonical_names(layers: tuple[str, ...]) -> Mapping[str, str]:
    """The canonical name of each layer by the table that knows most of the layers; one that it lacks keeps its own."""
    # One or two names may be like those of another library by chance.
    best, known = {layer: layer for layer in layers}, len(layers) / 2
    for table in tables().values():
        found = {layer: name for layer in layers if (name := table.canonical(layer))}
        whole = {layer: found.get(layer, layer) for layer in layers}
        if len(found) > known and len({*whole.values()}) == len(layers):
            best, known = whole, len(found)
    return best


# A network is asked for by each table in turn, and again by each file that is read for it.
@lru_cache(maxsize=32)
def _names(table: str, parameters: tuple[Parameter, ...]) -> tuple[tuple[str, Parameter], ...]:
    return tuple(find_table(table).names_of(parameters))


# Networks have most of their layers' names in common.
@lru_cache(maxsize=2**16)
def _canonical(table: str, layer: str) -> str | None:
    for ours, by_role in _rules(table):
        for theirs in by_role.get(None, ()):
            values = theirs.values(layer) if theirs.names == ours.names and "*" not in ours.names else None
            if values is not None:
                return ours.text(values)
    return None


@lru_cache(maxsize=2**16)
def _matched(
    table: str, present: tuple[str, ...], canonical: str, role: Role | None
) -> tuple[Mapping[str, int | str], tuple[Pattern, ...]]:
    """What the first rule for a layer has in its open places, and the library's patterns for a role in it."""
    for ours, theirs in _rules(table, present):
        values = ours.values(canonical)
        if values is not None:
            return values, theirs.get(role, theirs.get(None, ()))
    return {}, ()


@cache
def _counts_layers(table: str) -> bool:
    return any("n" in pattern.names for _, theirs in _rules(table) for side in theirs.values() for pattern in side)


_WITHOUT_DIGITS = str.maketrans("", "", "0123456789")

MAX_ALIKE = 500
"""Names, alike but for numbers, that are looked at to find their libraries; a file may have a hundred thousand."""


@lru_cache(maxsize=16)
def possible_tables(names: tuple[str, ...]) -> tuple[Table, ...]:
    """The tables of which some rule, other than one for any layer, has one of the names, below any prefix.

    Those with PyTorch's layout come first: names that do not show the layout are PyTorch's.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        like = alike[name.translate(_WITHOUT_DIGITS)]
        if len(like) < MAX_ALIKE:
            like.append(name)
    few = list(chain.from_iterable(alike.values()))
    by_layout = sorted(tables().values(), key=lambda table: table.layout != "pytorch")
    return tuple(table for table in by_layout if any(map(_signature(table.name), few)))


@cache
def _signature(table: str) -> Callable[[str], object]:
    rules = _rules(table, tuple(tables()[table].where))
    patterns = [p for _, by_role in rules for own in by_role.values() for p in own if p.expression != "(.+)"]
    any_of = "|".join(pattern.expression.replace("/", "[./]") for pattern in patterns) or "(.+)"
    return re.compile(rf"(?:^|[./])(?:{any_of})[./_]", re.DOTALL).search


@cache
def _rules(
    table: str, present: tuple[str, ...] = ()
) -> tuple[tuple[Pattern, Mapping[Role | None, tuple[Pattern, ...]]], ...]:
    """The rules of a network in which some layers are present, in the order in which they are tried."""
    found = tables()[table]
    layers = [*(rule for layer in present for rule in found.where[layer].items()), *found.layers.items()]
    return tuple((Pattern(ours), _sides(theirs)) for ours, theirs in layers)


def _sides(theirs: Names) -> Mapping[Role | None, tuple[Pattern, ...]]:
    by_role: dict[Role | None, Words] = {None: theirs} if isinstance(theirs, tuple) else {**theirs}
    return {role: tuple(Pattern(text) for word in words for text in _variants(word)) for role, words in by_role.items()}


def _variants(text: str) -> Iterator[str]:
    """A name with its part in brackets, then without it."""
    yield text.replace("[", "").replace("]", "")
    if "[" in text:
        yield re.sub(r"\[.*?\]", "", text)
