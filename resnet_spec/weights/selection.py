"""Finds a network's weights among all tensors of a file, by name: below any prefix, in any library's words.

Wrappers (``module.``, ``model._orig_mod.``) and keys of a checkpoint (``state_dict``, ``callbacks.EMA``) are the same
here: prefixes of names. The prefix below which the names of a library are the network's, one to one, is taken. Nothing
is guessed: where two subtrees fit and differ, ``take`` has to name one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.training import COUNTER, Counters
from resnet_spec.errors import WeightsError, listed, shown
from resnet_spec.operations import MEANS
from resnet_spec.weights.adapting import is_counter
from resnet_spec.weights.folded_statistics import with_folded_statistics
from resnet_spec.weights.layouts import Layout, from_layout, tensorflow_names
from resnet_spec.weights.naming import possible_tables
from resnet_spec.weights.pruning import without_masks
from resnet_spec.weights.tensor_names import (
    AVERAGED,
    LAYER_WORDS,
    RANDOM_STATES,
    dotted,
    is_averaged,
    is_below,
    is_optimizers,
    is_training_state,
    is_word,
    last_two,
    split,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.checkpoint import Checkpoint
    from resnet_spec.graph import Graph, Parameter

    Tensors = Mapping[str, NDArray[Any]]

TOP = "."
"""What ``take`` is for names without a prefix."""


@dataclass(frozen=True)
class Scheme:
    """The names that one library has for a graph's parameters, with dots for all separators.

    ``count`` is the number of parameters that the graph has; a library may lack names for some. ``positional`` says
    that its names are numbers in an order that they do not show.
    """

    library: str
    known: Mapping[str, Parameter]
    count: int = 0
    layout: Layout = "pytorch"
    remark: str = ""
    positional: bool = False

    def may_be_in(self, text: str) -> bool:
        """Whether a text of names has one of those of the parameter with the longest name, and so may have all."""
        parameter = self.known[max(self.known, key=len)].name if self.known else ""
        return any(name in text for name, other in self.known.items() if other.name == parameter)

    @cached_property
    def tops(self) -> frozenset[str]:
        """The first parts of the names."""
        return frozenset(name.partition(".")[0] for name in self.known)

    @cached_property
    def depth(self) -> int:
        """The most parts that a name has."""
        return max((name.count(".") + 1 for name in self.known), default=0)

    @cached_property
    def ends(self) -> frozenset[str]:
        """The last two parts of the names, which distinguish most names of a large file from these."""
        return frozenset(map(last_two, self.known))


@dataclass(frozen=True)
class Subtree:
    """The tensors below a prefix, empty or ending in a dot, that are a graph's parameters by a library's names.

    ``found`` has the file's name for each parameter.
    """

    prefix: str
    scheme: Scheme
    found: Mapping[str, str]

    @cached_property
    def path(self) -> str:
        """What ``take`` calls it in full: the first parts that all of its names have."""
        first, last = (min(self.found.values(), key=split), max(self.found.values(), key=split))
        same = takewhile(lambda pair: pair[0] == pair[1], zip(split(first)[:-1], split(last), strict=False))
        return ".".join(part for part, _ in same) or TOP

    @property
    def averaged(self) -> bool:
        """Whether the prefix says that these are moving averages."""
        return is_averaged(self.prefix)

    @property
    def complete(self) -> bool:
        """Whether it has every parameter."""
        return len(self.found) == self.scheme.count > 0


@dataclass(frozen=True)
class Selection:
    """The tensors that are to fill a graph.

    Attributes:
        tensors: By the graph's names and in its layout; one that is not a parameter keeps the file's name.
        origins: The file's name for each of them.
        ignored: How many tensors are left out because they are not weights, by their kind.
        remarks: Sentences for the user.
        hint: What to do if the tensors do not fit the graph.
        positional: Whether the file's names are numbers in an order that they do not show.
        counters: PyTorch's counts of batches, by the graph's names of their layers.
    """

    tensors: Tensors
    origins: Mapping[str, str]
    ignored: Mapping[str, int]
    remarks: tuple[str, ...]
    hint: str = ""
    positional: bool = False
    counters: Counters = field(default_factory=dict[str, "NDArray[Any]"])


def select(graph: Graph, checkpoint: Checkpoint, source: str, *, take: str = "", ema: bool = False) -> Selection:
    """Find a graph's tensors in a checkpoint.

    Where the file lacks some of them, the subtree that has most of them is returned, so that what is missing can be
    listed. Raises WeightsError where two subtrees fit, ``take`` names nothing, or there are no averages for ``ema``.
    """
    tensors, remarks = _whole(graph, checkpoint.tensors)
    tensors = {**tensors, **{f"ema.{name}": average for name, average in checkpoint.averages.items()}}
    counters = {name for name, tensor in tensors.items() if _is_count(tensor)}
    names = [name for name in tensors if name not in counters and (take in ("", TOP) or is_below(name, take))]
    if take and not names:
        given = take if is_word(take) else shown(take)
        raise WeightsError(f'{source}: take="{given}": no tensor\'s name has this part{_tops(tensors)}')
    found = _candidates(graph, names)
    others = _owned(found)
    options = [tree for tree in found if tree.path == TOP] if take == TOP else _clean(found, names, tensors, others)
    subtree = _chosen(graph, options or found, tensors, source, ema=ema)
    if ema and not (subtree.averaged or _counted(subtree, tensors)):
        averages = max(
            _subtrees(subtree.scheme, names), key=lambda tree: tree.averaged * len(tree.found), default=subtree
        )
        if not averages.averaged:
            raise WeightsError(f"{source}: holds no exponential moving averages")
        rest = len(subtree.found) - len(averages.found)
        remarks.append(f"has averages of {len(averages.found)} parameters; the other {rest} are as trained")
        subtree = replace(subtree, found={**subtree.found, **averages.found})
    if not ema and not take and subtree.averaged:
        remarks.append("contains only an exponential moving average, which is used")
    if subtree.scheme.remark:
        remarks.append(subtree.scheme.remark)
    return _selection(graph, tensors, names, subtree, others, remarks, taken=bool(take))


def by_graph_names(graph: Graph, tensors: Tensors) -> Tensors:
    """All tensors, those of the subtree that fits best under the graph's names and in its layout."""
    subtree = _best(_candidates(graph, list(tensors)))
    ours = {name: parameter for parameter, name in subtree.found.items()}
    named = {ours.get(name, name): array for name, array in tensors.items()}
    return _in_layout(graph, named, subtree)


def network_tensors(graph: Graph, tensors: Tensors, *, own_names: bool = False) -> Tensors:
    """The tensors of the subtree that fits best, without those beside it; one that is no parameter keeps its name.

    With ``own_names`` only the graph's own names are tried, which is quicker.
    """
    tensors, _ = _whole(graph, tensors)
    names = list(tensors)
    found = _candidates(graph, names, own_names=own_names)
    subtree = _best(found)
    origins = _origins(subtree, names, tensors, _owned(found))
    return _in_layout(graph, {key: tensors[name] for key, name in origins.items()}, subtree)


def _whole(graph: Graph, tensors: Tensors) -> tuple[Tensors, list[str]]:
    """Tensors whose parts were put together, and what was done."""
    tensors, masks = without_masks(tensors)
    tensors, statistics = with_folded_statistics(graph, tensors)
    return tensors, [*masks, *statistics]


def _best(found: Sequence[Subtree]) -> Subtree:
    return min(found, key=lambda subtree: (subtree.averaged, len(subtree.prefix)))


# -- subtrees ----------------------------------------------------------------------------------------------------


OWN = 2
"""The number of schemes in which layers have the graph's own names."""


def _schemes(graph: Graph, names: Sequence[str]) -> Iterator[Scheme]:
    """The graph's own names, those in TensorFlow's words, and the tables of libraries that may have the names."""
    parameters = graph.parameters()
    count = len(parameters)
    in_tensorflow = {dotted(name): parameter for name, parameter in tensorflow_names(graph).items()}
    yield Scheme("", {dotted(parameter.name): parameter for parameter in parameters}, count)
    yield Scheme("", in_tensorflow, count, "tensorflow")
    for table in possible_tables(tuple(names)):
        known: dict[str, Parameter] = {}
        for name, parameter in table.names(graph):
            known.setdefault(dotted(name), parameter)
        yield Scheme(table.name, known, count, table.layout, table.remark, table.positional)


def _subtrees(scheme: Scheme, names: Sequence[str]) -> list[Subtree]:
    found: dict[str, dict[str, str]] = {}
    ends, known = scheme.ends, scheme.known
    for name in names:
        plain = dotted(name)
        if last_two(plain) not in ends and plain.rpartition(".")[2] not in ends:
            continue
        start = len(plain) + 1
        for _ in range(scheme.depth):
            start = plain.rfind(".", 0, start - 1) + 1
            if parameter := known.get(plain[start:]):
                # Of two names for one parameter the second stays one too many.
                found.setdefault(plain[:start], {}).setdefault(parameter.name, name)
            if not start:
                break
    return [Subtree(prefix, scheme, own) for prefix, own in found.items() if not is_optimizers(prefix)]


def _candidates(graph: Graph, names: Sequence[str], *, own_names: bool = False) -> list[Subtree]:
    """All subtrees with every parameter, of different names in the file; else one that has the most."""
    empty = Subtree("", Scheme("", {}), {})
    best, complete = [empty], list[Subtree]()
    text = ""
    for scheme in islice(_schemes(graph, names), OWN if own_names else None):
        if complete and not scheme.may_be_in(text):
            continue
        subtrees = _subtrees(scheme, names)
        best += sorted(subtrees, key=lambda subtree: (-len(subtree.found), len(subtree.prefix)))[:1]
        if new := [subtree for subtree in subtrees if subtree.complete]:
            # Another network of the file may have another library's names.
            owned = _owned(new)
            names = [name for name in names if name not in owned and (complete or not is_training_state(name))]
            text = "\n".join(map(dotted, names))
            complete += new
        if complete and len(names) < scheme.count:
            return complete
    return complete or [max(best, key=lambda subtree: len(subtree.found))]


def _owned(found: Sequence[Subtree]) -> set[str]:
    return {name for subtree in found for name in subtree.found.values()}


def _clean(found: Sequence[Subtree], names: Sequence[str], tensors: Tensors, owned: set[str]) -> Sequence[Subtree]:
    """The subtrees without other layers in them; all if there is no such."""
    if len(found) < 2:
        return found
    return [subtree for subtree in found if not _unexpected(subtree, names, tensors, owned)] or found


def _chosen(graph: Graph, found: Sequence[Subtree], tensors: Tensors, source: str, *, ema: bool) -> Subtree:
    """The one subtree to be taken; raises WeightsError if several fit."""
    options = [subtree for subtree in found if subtree.averaged == ema] or found
    different = _different(options, tensors)
    if len(different) > 1:
        choices = " or ".join(f'take="{_shortest(subtree, different)}"' for subtree in different)
        raise WeightsError(f"{source}: {graph.name} fits {len(different)} parts of the file: choose {choices}")
    return different[0]


def _different(options: Sequence[Subtree], tensors: Tensors) -> list[Subtree]:
    """The options without those that are equal to one before."""
    import numpy as np

    different: list[Subtree] = []
    for option in options:
        for other in different:
            pairs = ((tensors[name], tensors[other.found[key]]) for key, name in option.found.items())
            if all(one is two or np.array_equal(one, two) for one, two in pairs):
                break
        else:
            different.append(option)
    return different


def _shortest(subtree: Subtree, others: Sequence[Subtree]) -> str:
    """The first part of a prefix that no other one has, or the last ones."""
    parts = subtree.path.split(".") if subtree.path != TOP else []
    ends = (".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1))
    paths = [other.path for other in others if other is not subtree]
    unique = (words for words in (*parts, *ends) if not any(is_below(path, words) for path in paths))
    return next(unique, subtree.path)


def _counted(subtree: Subtree, tensors: Tensors) -> bool:
    """Whether a number of averaged steps lies beside a subtree, or beside one of the scopes that it is in."""
    scopes = {dotted(name).removesuffix(AVERAGED) for name in tensors if name.endswith(AVERAGED)}
    return any(subtree.prefix.startswith(scope) for scope in scopes)


def _tops(tensors: Tensors) -> str:
    tops = list(dict.fromkeys(dotted(name).partition(".")[0] for name in tensors))
    return f" (the first parts are {listed(map(shown, tops))})"


# -- what is left out --------------------------------------------------------------------------------------------


def _selection(
    graph: Graph,
    tensors: Tensors,
    names: Sequence[str],
    subtree: Subtree,
    owned: set[str],
    remarks: list[str],
    *,
    taken: bool,
) -> Selection:
    unexpected = _unexpected(subtree, names, tensors, owned)
    copies = _in_copies(subtree, unexpected)
    if taken:
        unexpected = [name for name in unexpected if name not in copies]
    origins = {**subtree.found, **{name: name for name in unexpected}}
    only_copies = bool(copies) and copies.issuperset(unexpected)
    hint = f'take="{subtree.path}" leaves out the incomplete copies of the network' if only_copies else ""
    named = {key: tensors[name] for key, name in origins.items()}
    counters = _counters(graph, subtree, tensors)
    used = set(origins.values())
    ignored: Counter[str] = Counter()
    rest: list[str] = []
    unused = [name for name in tensors if name not in used and not is_counter(name)]
    averages = _averages_of(subtree, unused, tensors)
    if averages:
        remarks.append(f"leaves out {len(averages)} moving averages, which ema=True uses")
    for name in unused:
        if name in averages:
            continue
        if name in owned:
            ignored["weights as trained" if subtree.averaged else "tensors of other copies of the network"] += 1
        elif what := _kind(name, tensors[name]):
            ignored[what] += 1
        else:
            rest.append(name)
    if rest:
        remarks.append(f"left out, since they are beside the network: {listed(map(shown, rest))}")
    tensors = _in_layout(graph, named, subtree)
    return Selection(tensors, origins, ignored, tuple(remarks), hint, subtree.scheme.positional, counters)


def _counters(graph: Graph, subtree: Subtree, tensors: Tensors) -> Counters:
    """The counts of batches that lie beside the running means."""
    means = {p.node: subtree.found[p.name] for p in graph.parameters() if p.role in MEANS and p.name in subtree.found}
    found = {node: tensors.get(name[: -len(split(name)[-1])] + COUNTER) for node, name in means.items()}
    # PyTorch's are signed, and no other number fits.
    return {
        f"{node}.{COUNTER}": array
        for node, array in found.items()
        if array is not None and _is_count(array) and array.dtype.kind == "i"
    }


def _is_count(array: NDArray[Any]) -> bool:
    return not array.shape and array.dtype.kind in "iu"


def _origins(subtree: Subtree, names: Sequence[str], tensors: Tensors, owned: set[str]) -> dict[str, str]:
    """The file's name for each parameter, and for each tensor that may be a layer's and is in no network."""
    return {**subtree.found, **{name: name for name in _unexpected(subtree, names, tensors, owned)}}


def _unexpected(subtree: Subtree, names: Sequence[str], tensors: Tensors, owned: set[str]) -> list[str]:
    """The names below a prefix that are not parameters, but may be layers' tensors."""
    tops = subtree.scheme.tops
    below = (name for name in names if name not in owned and dotted(name).startswith(subtree.prefix))
    unknown = [name for name in below if not _is_beside(name, subtree, tops)]
    averages = _averages_of(subtree, unknown, tensors)
    return [name for name in unknown if name not in averages]


def _averages_of(subtree: Subtree, names: Sequence[str], tensors: Tensors) -> set[str]:
    """The names of averages of a network's parameters: by their prefix, shape and last parts.

    A layer may be called ``ema`` too, such as an efficient multi-scale attention.
    """
    averaged = [name for name in names if not subtree.averaged and subtree.complete and is_averaged(name)]
    return {
        name
        for tree in _subtrees(subtree.scheme, averaged)
        if tree.averaged and tree.prefix.removeprefix(subtree.prefix).partition(".")[0] not in subtree.scheme.tops
        for parameter, name in tree.found.items()
        if tensors[name].shape == tensors[subtree.found[parameter]].shape
    }


def _in_copies(subtree: Subtree, names: Sequence[str]) -> set[str]:
    """The names in incomplete copies of a network beside or below it."""
    tops = subtree.scheme.tops
    copies = [tree for tree in _subtrees(subtree.scheme, names) if 2 * len(tree.found) >= tree.scheme.count]
    prefixes = tuple(tree.prefix for tree in copies if subtree.complete and tree.prefix != subtree.prefix)
    relative = ((name, dotted(name)) for name in names)
    return {
        name
        for name, plain in relative
        if plain.startswith(prefixes) and plain[len(subtree.prefix) :].partition(".")[0] not in tops
    }


def _is_beside(name: str, subtree: Subtree, tops: frozenset[str]) -> bool:
    """Whether a tensor is certainly not a layer's of the network: a loss' or metric's buffer, an optimizer's state."""
    parts = dotted(name)[len(subtree.prefix) :].split(".")
    if parts[0] in tops:
        return is_counter(name)
    return is_training_state(name) or (subtree.complete and len(parts) > 1 and parts[-1] not in LAYER_WORDS)


def _kind(name: str, tensor: NDArray[Any]) -> str:
    """What a tensor that is not a weight is, empty if that is not known."""
    plain = dotted(name)
    if is_optimizers(plain):
        return "optimizer slots"
    if plain.rpartition(".")[2] == AVERAGED:
        return "counts of averaged steps"
    if RANDOM_STATES in split(name):
        return "states of random generators"
    return "counters" if _is_count(tensor) else ""


def _in_layout(graph: Graph, named: Tensors, subtree: Subtree) -> Tensors:
    parameters = {parameter.name: parameter for parameter in graph.parameters()}
    return {
        name: from_layout(array, parameters[name], subtree.scheme.layout) if name in subtree.found else array
        for name, array in named.items()
    }
