"""What differs between two networks, in sentences that people would say.

Each rule states some of the node-by-node differences in one sentence and removes them from the work list; what no rule
knows is stated layer by layer at the end, so that nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from resnet_spec.describing.alignment import Alignment, Side, align
from resnet_spec.describing.block_rules import BLOCK_RULES
from resnet_spec.describing.changes import (
    WINDOW_FIELDS,
    Change,
    Difference,
    Worklist,
    fields,
    is_training,
    stages_text,
)
from resnet_spec.describing.layerwise import layerwise
from resnet_spec.describing.padding import with_explicit_padding
from resnet_spec.describing.phrases import change_text, listed, noun, row_text, value_text, word
from resnet_spec.drawing.words import short
from resnet_spec.graph import Graph, Node
from resnet_spec.graph.difference import inference_only
from resnet_spec.operations import Category

Rule: TypeAlias = Callable[[Worklist], Iterator[Difference]]


@dataclass(frozen=True)
class Comparison:
    """Two networks, and what differs in the second from the first.

    Attributes:
        alignment: Their nodes in pairs.
        differences: Sentences, in the order of the networks' parts; empty if both compute the same.
        sizes: Parameters and multiply-accumulates of both, by name.
    """

    alignment: Alignment
    differences: tuple[Difference, ...]
    sizes: dict[str, tuple[int, int]]

    @property
    def same(self) -> bool:
        """Whether both compute the same."""
        return self.alignment.same

    def lines(self) -> list[Difference]:
        """The differences and, if any, the sizes that differ."""
        counts = [
            Difference(name, f"{short(before)} → {short(after)}" if short(before) != short(after) else
                       f"{before:,} → {after:,}")
            for name, (before, after) in self.sizes.items()
            if before != after
        ]  # fmt: skip
        return [*self.differences, *counts]


def side(graph: Graph, *, training: bool = True) -> Side:
    """A network to be compared with several others.

    Args:
        graph: The network.
        training: Whether what only training depends on counts.
    """
    return Side(with_explicit_padding(graph if training else inference_only(graph)))


def compare(first: Graph | Side, second: Graph, *, training: bool = True) -> Comparison:
    """Compare two networks by their structure, whatever their layers are called.

    Args:
        first: What the second is compared with; ``side`` prepares one for several comparisons.
        second: What is described.
        training: Whether what only training depends on counts, such as momentum and dropout.

    Returns:
        The differences in words, and the pairs of nodes.

    Examples:
        >>> import resnet_spec
        >>> graphs = [resnet_spec.load(name).to_graph() for name in ("resnet50", "resnet101")]
        >>> [*map(tuple, compare(*graphs).lines())]
        [('stage 3', '23 blocks instead of 6'), ('parameters', '25.6 M → 44.5 M'), ('MACs', '4.09 G → 7.8 G')]
    """
    one, other = first if isinstance(first, Side) else side(first, training=training), side(second, training=training)
    alignment = align(one, other)
    sizes = {"parameters": "parameters", "MACs": "macs"}
    totals = one.summary, other.summary
    counts = {name: (getattr(totals[0], key), getattr(totals[1], key)) for name, key in sizes.items()}
    return Comparison(alignment, tuple(_explained(alignment)), counts)


def _explained(alignment: Alignment) -> Iterator[Difference]:
    work = Worklist.of(alignment)
    found: list[Difference] = list(_input(alignment))
    for rule in RULES:
        found += rule(work)
    found = sorted(found, key=lambda difference: _rank(difference.part))
    found += _outputs(alignment)
    if not found and not alignment.same:
        found = [Difference("network", "layers are connected differently")]
    yield from found


def _rank(part: str) -> int:
    order = (
        "input",
        "network",
        "convolution",
        "norm",
        "activation",
        "stem",
        "channels",
        "stage",
        "blocks",
        "gate",
        "head",
        "classes",
    )
    if part == "training":
        return 100
    return next((place for place, name in enumerate(order) if part.startswith(name)), order.index("blocks"))


# -- rules -------------------------------------------------------------------------------------------------------


def _input(alignment: Alignment) -> Iterator[Difference]:
    one, other = alignment.first.graph.input.shape, alignment.second.graph.input.shape
    if one != other:
        yield Difference("input", f"{value_text(other)} instead of {value_text(one)}")


def _outputs(alignment: Alignment) -> Iterator[Difference]:
    one, other = alignment.first.graph.outputs, alignment.second.graph.outputs
    if [alignment.partner.get(name) for name in one] != list(other):
        # Outputs that only one network has nodes for follow from the layers.
        last = len(one) == len(other) == 1 and (one[0], other[0]) == (
            alignment.first.graph.nodes[-1].name,
            alignment.second.graph.nodes[-1].name,
        )
        if not last:
            yield Difference("outputs", f"{listed(other)} instead of {listed(one)}")


def _training(work: Worklist) -> Iterator[Difference]:
    """Momentum, dropout and the like."""
    groups: dict[str, list[Change]] = {}
    for change in work.left:
        if is_training(change):
            node = change.node
            if change.kind == "field":
                text = f"{word(node.operation.op)}: {change_text(change.field, change.before, change.after)}"
            elif change.kind == "operation":
                text = f"{change.after} instead of {change.before}"
            else:
                text = f"{'with' if change.kind == 'added' else 'without'} {noun(node)}"
            groups.setdefault(text, []).append(change)
    if groups:
        yield Difference("training", "; ".join(groups))
        work.take([change for changes in groups.values() for change in changes])


def _without_blocks(work: Worklist) -> Iterator[Difference]:
    """A network without blocks compared with one of blocks."""
    one, other = work.alignment.first, work.alignment.second
    if bool(one.stages) == bool(other.stages):
        return
    before, after = (
        f"{len(parts.blocks)} blocks in {len(parts.stages)} stages" if parts.stages else
        f"a chain of {len(parts.graph.nodes)} layers without blocks" for parts in (one, other)
    )  # fmt: skip
    yield Difference("network", f"{after} instead of {before}")
    work.take([change for change in work.left if change.pair.place.part in ("stem", "stage")])


def _stages(work: Worklist) -> Iterator[Difference]:
    """Stages that one network lacks, and numbers of blocks."""
    stages = dict(enumerate(work.alignment.stages, 1))
    if not work.alignment.first.stages or not work.alignment.second.stages:
        return
    paired = {number: (len(one), len(other)) for number, (one, other) in stages.items() if one and other}
    other_counts = {number: counts for number, counts in paired.items() if counts[0] != counts[1]}
    if len(other_counts) > 1:
        before, after = (", ".join(str(counts[side]) for counts in paired.values()) for side in (0, 1))
        yield Difference("stages", f"{after} blocks instead of {before}")
    for number, (one, other) in stages.items():
        if number in paired:
            if number in other_counts and len(other_counts) == 1:
                yield Difference(f"stage {number}", f"{_blocks_of(len(other))} instead of {len(one)}")
            _take_alone(work, number)
            continue
        stage = one or other
        size = f"{_blocks_of(len(stage))} of {stage[-1].last.shape[0]} channels"
        yield Difference(f"stage {number}", size if other else f"none, instead of {size}")
        work.take([change for change in work.left if change.pair.place.stage == number])


def _blocks_of(count: int) -> str:
    return f"{count} block{'s' if count != 1 else ''}"


def _take_alone(work: Worklist, stage: int) -> None:
    """Remove what is in blocks that only one network has, if the numbers of blocks say so."""
    pairs = work.alignment.blocks[stage - 1]
    added, removed = ([n for n, pair in enumerate(pairs, 1) if pair[side] is None] for side in (0, 1))
    if not added or not removed:
        work.take([c for c in work.left if c.pair.place.stage == stage and c.pair.place.block in added + removed])


def _everywhere(work: Worklist) -> Iterator[Difference]:
    """What differs in the same way in all layers of an operation."""
    totals: dict[str, int] = {}
    for pair in work.alignment.pairs:
        if pair.first is not None and pair.second is not None:
            totals[pair.first.operation.op] = totals.get(pair.first.operation.op, 0) + 1
    groups: dict[tuple[str, str, str, str, str], list[Change]] = {}
    for change in work.left:
        if change.kind in ("field", "operation") and change.field not in WINDOW_FIELDS:
            op = change.node.operation.op
            key = (change.kind, op, change.field, repr(change.before), repr(change.after))
            groups.setdefault(key, []).append(change)
    for (kind, op, *_), changes in groups.items():
        if len(changes) < 2 or len(changes) < totals[op]:
            continue
        first = changes[0]
        if kind == "field":
            yield Difference(_label(first.node), change_text(first.field, first.before, first.after))
        else:
            yield Difference(_label(first.node), f"{first.after} instead of {first.before}")
        work.take(changes)


def _label(node: Node) -> str:
    category = node.operation.category
    if category is Category.NORMALIZATION:
        return "norm"
    return "activation" if category is Category.ACTIVATION else word(node.operation.op)


def _folded(work: Worklist) -> Iterator[Difference]:
    """Batch normalizations that are folded into the convolutions before them in one network only."""
    for kind, text in (("removed", "folded into the convolutions"), ("added", "in layers of their own, not folded")):
        norms = [c for c in work.left if c.kind == kind and c.node.operation.op == "batch_norm"]
        graph = work.alignment.first.graph if kind == "removed" else work.alignment.second.graph
        biased = {
            name: change
            for change in work.left
            if change.field == "bias" and change.after is (kind == "removed")
            for name in [(change.pair.first if kind == "removed" else change.pair.second).name]  # type: ignore[union-attr]
        }
        pairs = [(norm, biased[norm.node.inputs[0]]) for norm in norms if norm.node.inputs[0] in biased]
        every = sum(node.operation.op == "batch_norm" for node in graph.nodes)
        if pairs and 2 * len(pairs) >= every:
            number = "" if len(pairs) == every else f"{len(pairs)} of {every} "
            yield Difference("norm", f"{number}batch norms {text}")
            work.take([change for pair in pairs for change in pair])


def _stem(work: Worklist) -> Iterator[Difference]:
    """A stem of another number of convolutions."""
    one, other = (
        [node for node in parts.stem if node.operation.category is Category.CONVOLUTION]
        for parts in (work.alignment.first, work.alignment.second)
    )
    # Without blocks the stem is the whole network.
    if len(one) == len(other) or not one or not other or not work.paired:
        return
    yield Difference("stem", f"{row_text(other)} instead of {row_text(one)}")
    said = (Category.CONVOLUTION, Category.NORMALIZATION, Category.ACTIVATION)
    work.take(
        change
        for change in work.left
        if change.pair.place.part == "stem"
        and change.node.operation.category in said
        and (change.kind in ("added", "removed") or change.field in WINDOW_FIELDS)
    )


def _padding(work: Worklist) -> Iterator[Difference]:
    """Padding by a layer of its own instead of the layer after it."""
    groups: dict[str, list[Change]] = {}
    for pad in [c for c in work.left if c.kind in ("added", "removed") and c.node.operation.op.startswith("pad")]:
        removed = pad.kind == "removed"
        for change in work.left:
            node = change.pair.first if removed else change.pair.second
            amount = change.after if removed else change.before
            if change.field != "padding" or node is None or node.inputs[0] != pad.node.name:
                continue
            if amount == fields(pad.node)["padding"]:
                text = _padding_text(node, own_layer=not removed)
                part = change.pair.place.part if change.pair.place.part != "stage" else ""
                groups.setdefault(f"{part}|{text}", []).extend((pad, change))
    for key, changes in groups.items():
        part, _, text = key.partition("|")
        work.take(changes)
        yield Difference(part or work.where({c.in_block for c in changes}), text)


def _padding_text(node: Node, *, own_layer: bool) -> str:
    how = "by a layer before it" if own_layer else "by itself"
    if node.operation.op.startswith("max_pool"):
        return f"{noun(node)} padded {how}, with {'zeros instead of −∞' if own_layer else '−∞ instead of zeros'}"
    return f"{noun(node)} padded {how}"


def _channels(work: Worklist) -> Iterator[Difference]:
    """The channels of the stages' values."""
    outputs = {
        number: (one[-1].last.shape[0], other[-1].last.shape[0])
        for number, (one, other) in enumerate(work.alignment.stages, 1)
        if one and other
    }
    differing = [number for number, (one, other) in outputs.items() if one != other]
    if not differing:
        return
    before, after = (", ".join(str(outputs[number][side]) for number in differing) for side in (0, 1))
    where = "" if len(differing) == len(outputs) else f" ({stages_text(differing)})"
    yield Difference("channels", f"{after} instead of {before}{where}")
    work.take(
        change
        for change in work.left
        if change.field == "channels" and outputs.get(change.pair.place.stage) == (change.before, change.after)
    )


def _classes(work: Worklist) -> Iterator[Difference]:
    logits = work.alignment.first.graph.logits
    for change in work.left:
        if change.node.name == logits and change.field in ("features", "channels") and change.kind == "field":
            yield Difference("classes", f"{change.after} instead of {change.before}")
            work.take([change])


def _rest(work: Worklist) -> Iterator[Difference]:
    for part, text in layerwise(work):
        yield Difference(part, text)


RULES: tuple[Rule, ...] = (
    _training, _without_blocks, _stages, _folded, _everywhere, _stem, *BLOCK_RULES, _padding, _channels, _classes,
    _rest,
)  # fmt: skip
"""In an order in which a sentence on more comes before one on less."""
