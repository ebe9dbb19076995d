"""Describes a network in a few lines: stem, stages, blocks, gate, normalization, head, and sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten

from resnet_spec.describing.blocks import Anatomy
from resnet_spec.describing.changes import Difference
from resnet_spec.describing.layerwise import layers_text
from resnet_spec.describing.parts import Parts
from resnet_spec.describing.phrases import FIELDS, listed, number, word
from resnet_spec.drawing.words import short
from resnet_spec.graph import Graph, Node
from resnet_spec.graph.summary import summarize
from resnet_spec.importing.fields import stated_fields
from resnet_spec.operations import BatchNorm, Category, Conv, StdConv

MANY = 6
"""More values than this in a list are shortened to their range."""

UNUSUAL = {"momentum", "running_variance"}
"""Fields that only training depends on, of which a description says nothing."""


@dataclass(frozen=True)
class Stage:
    """A row of blocks.

    Attributes:
        blocks: How many.
        channels: Of its value.
        size: The positions of its value, such as (56, 56).
    """

    blocks: int
    channels: int
    size: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """What is said of a network.

    Attributes:
        name: Its name.
        input: The shape of its input, channels first.
        stem: The layers before the blocks; all before the head, if there are no blocks.
        stages: Rows of blocks.
        block: What its blocks are.
        shortcut: What is in the shortcuts of blocks that change the shape.
        gate: What weights channels or positions; empty if nothing does.
        norm: Its normalizations.
        activation: Its activations.
        head: The layers after the blocks.
        classes: The size of a vector of logits; None for other outputs.
        parameters: The number of trainable parameters.
        macs: Multiply-accumulates for one image of this size.
        remarks: What else is unusual: no normalization, several outputs, layers used again.
    """

    name: str
    input: tuple[int, ...]
    stem: str
    stages: tuple[Stage, ...]
    block: str
    shortcut: str
    gate: str
    norm: str
    activation: str
    head: str
    classes: int | None
    parameters: int
    macs: int
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[Difference]:
        """The description as parts and sentences, without what does not exist."""
        sizes = f"{short(self.parameters)} parameters, {short(self.macs)} MACs"
        found = {
            "input": "×".join(map(str, self.input)),
            "stem" if self.stages else "layers": self.stem,
            "stages": _stages_text(self.stages),
            "blocks": self.block,
            "shortcut": self.shortcut,
            "gate": self.gate,
            "norm": self.norm,
            "activation": self.activation,
            "head": self.head,
            "size": f"{self.classes} classes, {sizes}" if self.classes else sizes,
            "note": "; ".join(self.remarks),
        }
        return [Difference(part, shorten(text, LONGEST, placeholder=" …")) for part, text in found.items() if text]


LONGEST = 200
"""Characters of a part, which are three lines of a terminal."""


def describe(graph: Graph) -> Description:
    """Describe a network.

    Args:
        graph: The network, of a spec or of a model.

    Returns:
        Its parts in words, and its sizes.

    Examples:
        >>> import resnet_spec
        >>> description = describe(resnet_spec.load("timm/seresnet50").to_graph())
        >>> description.block
        'bottlenecks of 1×1, 3×3 and 1×1 convolutions, stride in the 3×3'
        >>> description.gate
        'squeeze-and-excitation to 1/16 of the channels'
    """
    parts = Parts.of(graph)
    anatomies = [Anatomy(block) for block in parts.blocks]
    summary = summarize(graph)
    return Description(
        name=graph.name,
        input=graph.input.shape,
        stem=layers_text([node for node in parts.stem if not _is_plain(node)]),
        stages=tuple(Stage(len(s), s[-1].last.shape[0], s[-1].last.shape[1:]) for s in parts.stages),
        block=_block_text(anatomies),
        shortcut=_shortcut_text(anatomies),
        gate=_gate_text(anatomies),
        norm=_usual(graph, Category.NORMALIZATION),
        activation=_usual(graph, Category.ACTIVATION, {name for a in anatomies for name in a.gate_nodes}),
        head=layers_text([node for node in parts.head if node.operation.category is not Category.RESHAPING]),
        classes=_classes(graph),
        parameters=summary.parameters,
        macs=summary.macs,
        remarks=tuple(_remarks(graph)),
    )


def _is_plain(node: Node) -> bool:
    """Whether a layer is said of the whole network already."""
    return node.operation.category in (Category.NORMALIZATION, Category.ACTIVATION)


def _classes(graph: Graph) -> int | None:
    shape = graph.by_name[graph.logits].shape
    return shape[0] if len(shape) == 1 and len(graph.outputs) == 1 else None


def _stages_text(stages: Sequence[Stage]) -> str:
    if not stages:
        return ""
    ends = list(dict.fromkeys("×".join(map(str, stage.size)) for stage in (stages[0], stages[-1])))
    size = f", {' to '.join(ends)}" if all(ends) else ""
    if len(stages) > MANY:
        blocks = sum(stage.blocks for stage in stages)
        return (
            f"{blocks} blocks in {len(stages)} stages of {stages[0].channels} to {stages[-1].channels} channels{size}"
        )
    counts, channels = (
        ", ".join(map(str, values)) for values in ([s.blocks for s in stages], [s.channels for s in stages])
    )
    return f"{counts} blocks of {channels} channels{size}"


# -- blocks ------------------------------------------------------------------------------------------------------


def _block_text(anatomies: Sequence[Anatomy]) -> str:
    kinds: dict[str, list[Anatomy]] = {}
    for anatomy in anatomies:
        plural = anatomy.kind if anatomy.kind.endswith("s") else f"{anatomy.kind}s"
        kinds.setdefault(f"{plural} of {anatomy.layers}", []).append(anatomy)
    if not kinds:
        return ""
    most = sorted(kinds.items(), key=lambda item: -len(item[1]))
    texts = [f"{'' if len(kinds) == 1 else f'{len(own)} '}{kind}{_groups_text(own)}" for kind, own in most[:2]]
    if len(kinds) > 2:
        texts.append(f"{len(kinds) - 2} other kinds")
    strides = dict.fromkeys(
        re.sub(r" convolution\b", "", anatomy.stride_in) for anatomy in anatomies if anatomy.stride_in
    )
    facts = [f"stride in {listed(strides, 'or')}"] if strides else []
    if all(anatomy.preactivated for anatomy in anatomies):
        facts.append("norm and activation before each convolution")
    return ", ".join(["; ".join(texts), *facts])


def _groups_text(anatomies: Sequence[Anatomy]) -> str:
    """How convolutions are grouped: by a number of groups, or by a width of each."""
    found = [
        (node.operation.groups, node.operation.channels // node.operation.groups)
        for anatomy in anatomies
        for node in anatomy.convolutions
        if isinstance(node.operation, Conv | StdConv) and node.operation.groups > 1
    ]
    if not found:
        return ""
    groups, widths = ({pair[side] for pair in found} for side in (0, 1))
    if widths == {1}:
        return ", depthwise"
    if len(groups) == 1:
        return f", {groups.pop()} groups"
    return f", groups of {widths.pop()} channels" if len(widths) == 1 else ", grouped"


def _shortcut_text(anatomies: Sequence[Anatomy]) -> str:
    texts = Counter(a.shortcut for a in anatomies if a.shortcut)
    parts = [text for text, _ in texts.most_common(2)]
    every = all(anatomy.shortcut for anatomy in anatomies)
    where = "in all blocks" if every else "where the shape changes"
    changing = {id(a) for a in anatomies if a.block.changes_shape and a.block.join is not None}
    if parts and not every and {id(a) for a in anatomies if a.shortcut} != changing:
        where = "in some blocks"
    return f"{listed(parts, 'or')} {where}" if parts else ""


def _gate_text(anatomies: Sequence[Anatomy]) -> str:
    kinds: dict[str, list[tuple[str, ...]]] = {}
    for anatomy in anatomies:
        for gate in anatomy.gates:
            kinds.setdefault(gate.kind, []).append(gate.details)
    texts: list[str] = []
    for kind, details in kinds.items():
        common = [text for text in details[0] if all(text in own for own in details)]
        texts.append(" ".join([kind, *common[:1]]))
    gated = sum(bool(anatomy.gates) for anatomy in anatomies)
    where = "" if gated in (0, len(anatomies)) else f" in {gated} of {len(anatomies)} blocks"
    return f"{listed(texts)}{where}"


# -- layers ------------------------------------------------------------------------------------------------------


def _usual(graph: Graph, category: Category, without: Iterable[str] = ()) -> str:
    """The layers of a category, the most frequent first."""
    skipped = frozenset(without)
    texts = Counter(
        _layer_text(node) for node in graph.nodes if node.operation.category is category and node.name not in skipped
    )
    names = [text for text, _ in texts.most_common(3)]
    return listed(names) + (f" and {len(texts) - 3} others" if len(texts) > 3 else "")


def _layer_text(node: Node) -> str:
    facts: list[str] = []
    for name, value in stated_fields(node).items():
        if name in UNUSUAL:
            continue
        if isinstance(value, bool):
            facts.append(f"{'with' if value else 'without'} {FIELDS.get(name, name)}")
        elif isinstance(value, int | float):
            facts.append(f"{value} groups" if name == "groups" else f"{FIELDS.get(name, name)} {number(value)}")
    return ", ".join([word(node.operation.op), *facts])


def _remarks(graph: Graph) -> Iterator[str]:
    convolutions = [node for node in graph.nodes if node.operation.category is Category.CONVOLUTION]
    biased = sum(bool(getattr(node.operation, "bias", False)) for node in convolutions)
    norms = [node for node in graph.nodes if node.operation.category is Category.NORMALIZATION]
    if convolutions and not norms:
        all_biased = biased == len(convolutions)
        yield "no normalization: folded into the convolutions, or none" if all_biased else "no normalization"
    elif biased == len(convolutions) and any(isinstance(node.operation, BatchNorm) for node in norms):
        yield "convolutions with bias"
    if len(graph.outputs) > 1:
        yield f"{len(graph.outputs)} outputs"
    again = sum(bool(node.calls and node.operation.parameters(*graph.input_shapes(node))) for node in graph.nodes)
    if again:
        yield f"{again} layers use another's parameters again"
