"""What differs between two aligned networks, node by node: layers that only one has, and fields that differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

from resnet_spec.describing.alignment import Alignment, Pair
from resnet_spec.describing.blocks import Anatomy
from resnet_spec.describing.parts import Block
from resnet_spec.describing.phrases import differing, noun, phrase
from resnet_spec.graph import Node
from resnet_spec.importing.fields import fields_of
from resnet_spec.operations import Category

WINDOW_FIELDS = frozenset({"channels", "kernel", "stride", "padding", "features", "groups", "dilation"})
"""Fields of windows and widths, which differ layer by layer."""

Kind = Literal["added", "removed", "operation", "field", "inputs", "calls"]


class Difference(NamedTuple):
    """A sentence, and the part of the network that it is on."""

    part: str
    text: str


@dataclass(frozen=True)
class Change:
    """One thing that differs: a layer that only one network has, its operation, one of its fields, what
    it reads, or whose parameters it uses.

    Attributes:
        kind: Which of these.
        pair: The two nodes.
        field: The field that differs.
        before: Its value in the first network.
        after: Its value in the second.
    """

    kind: Kind
    pair: Pair
    field: str = ""
    before: Any = None
    after: Any = None

    @property
    def node(self) -> Node:
        """The node, the first network's if both have one."""
        return cast("Node", self.pair.first or self.pair.second)

    @property
    def in_block(self) -> tuple[int, int]:
        """The stage and the number of the block within it, zeros outside of blocks."""
        return self.pair.place.stage, self.pair.place.block


def fields(node: Node) -> dict[str, Any]:
    """An operation's fields; a pool's stride is stated even where it equals the kernel."""
    found = fields_of(node)
    return found | ({"stride": found["kernel"]} if "kernel" in found and "stride" not in found else {})


def changes_of(alignment: Alignment, *, every: bool = False) -> Iterator[Change]:
    """Each difference of each pair, in order; padding that only follows the kernel counts with ``every``."""
    for pair in alignment.pairs:
        one, other = pair.first, pair.second
        if one is None or other is None:
            yield Change("added" if one is None else "removed", pair)
            continue
        if one.operation.op != other.operation.op:
            texts = (phrase(node, channels=False) for node in (one, other))
            yield Change("operation", pair, "", *texts)
        else:
            before, after = fields(one), fields(other)
            for name in differing(before, after):
                if every or not (name == "padding" and _follows_kernel(one) and _follows_kernel(other)):
                    yield Change("field", pair, name, before.get(name), after.get(name))
        if one.name in alignment.rewired:
            yield Change("inputs", pair)
        if one.name in alignment.recalled:
            yield Change("calls", pair)


def _follows_kernel(node: Node) -> bool:
    """Whether a window's padding is the usual one of its kernel, which keeps the size at a stride of 1."""
    own = node.operation
    kernel: tuple[int, ...] = getattr(own, "kernel", ())
    padding: tuple[tuple[int, int], ...] | str = getattr(own, "padding", "")
    if not kernel or isinstance(padding, str):
        return False
    dilation = getattr(own, "dilation", (1,) * len(kernel))
    return all(pad == (d * (k - 1) // 2,) * 2 for k, d, pad in zip(kernel, dilation, padding, strict=True))


@dataclass
class Worklist:
    """The differences that no sentence states yet.

    Attributes:
        alignment: The two networks.
        left: The changes that are left.
    """

    alignment: Alignment
    left: list[Change] = field(default_factory=list[Change])
    _anatomies: dict[int, Anatomy] = field(default_factory=dict[int, Anatomy])

    @classmethod
    def of(cls, alignment: Alignment) -> Worklist:
        """All differences of two networks."""
        return cls(alignment, list(changes_of(alignment)))

    def take(self, changes: Iterable[Change]) -> None:
        """Remove changes that a sentence states."""
        taken = {id(change) for change in changes}
        self.left = [change for change in self.left if id(change) not in taken]

    def anatomy(self, block: Block) -> Anatomy:
        """What is said of a block."""
        return self._anatomies.setdefault(id(block), Anatomy(block))

    @cached_property
    def paired(self) -> Mapping[tuple[int, int], tuple[Block, Block]]:
        """The blocks that both networks have, by stage and number."""
        return {
            (stage, number): (one, other)
            for stage, blocks in enumerate(self.alignment.blocks, 1)
            for number, (one, other) in enumerate(blocks, 1)
            if one is not None and other is not None
        }

    def by_block(self) -> Iterator[tuple[tuple[int, int], list[Change]]]:
        """The changes that are left in blocks that both networks have."""
        found: dict[tuple[int, int], list[Change]] = {}
        for change in self.left:
            if change.in_block in self.paired:
                found.setdefault(change.in_block, []).append(change)
        yield from found.items()

    def role(self, change: Change) -> str:
        """What the layer of a change is called within its part, in the first network's terms if it has it."""
        return self.role_of(change.node, change.pair.blocks[0 if change.pair.first is not None else 1])

    def role_of(self, node: Node, block: Block | None) -> str:
        """What a layer is called within its block."""
        return noun(node) if block is None else self.anatomy(block).role(node)

    @cached_property
    def _index(self) -> Mapping[int, int]:
        return {id(pair): index for index, pair in enumerate(self.alignment.pairs)}

    def adjacent(self, one: Change, other: Change) -> bool:
        """Whether nothing that both networks have is between two changes."""
        return self._index[id(other.pair)] - self._index[id(one.pair)] <= 1

    def before(self, change: Change) -> str:
        """What the layer before a change is called within its part, empty at the beginning."""
        index = self._index[id(change.pair)]
        pair = self.alignment.pairs[index - 1] if index else None
        if pair is None or pair.place != change.pair.place:
            return ""
        return self.role(Change("field", pair))

    # -- where -----------------------------------------------------------------------------------------------

    def where(self, places: Iterable[tuple[int, int]]) -> str:
        """Blocks in words: ``blocks``, ``stage 3``, ``first blocks``, ``stage 2, block 3``."""
        found, every = set(places), set(self.paired)
        if found == every:
            return "blocks"
        stages = sorted({stage for stage, _ in found})
        if found == {place for place in every if place[0] in stages}:
            return stages_text(stages)
        every_stage = {stage for stage, _ in every}
        firsts, lasts = (
            {(stage, choose(number for own, number in every if own == stage)) for stage in every_stage}
            for choose in (min, max)
        )
        for ends, text in ((firsts, "first"), (lasts, "last")):
            if found == {place for place in ends if place[0] in stages}:
                resized = {place for place in ends if self.paired[place][0].changes_size}
                everywhere = found in (ends, resized)
                return f"{text} blocks" if everywhere and len(found) > 1 else f"{stages_text(stages)}, {text} block"
            if found == every - ends:
                return f"all but {text} blocks"
        rows = {stage: sorted(number for own, number in found if own == stage) for stage in stages}
        whole = {stage: rows[stage] == sorted(number for own, number in every if own == stage) for stage in stages}
        return "; ".join(
            stages_text([stage]) if whole[stage] else f"stage {stage}, {blocks_text(row)}"
            for stage, row in rows.items()
        )


def stages_text(stages: list[int]) -> str:
    """Stages in words: ``stage 3``, ``stages 2–4``."""
    return f"stage {stages[0]}" if len(stages) == 1 else f"stages {_ranges(stages)}"


def blocks_text(blocks: list[int]) -> str:
    """Blocks in words: ``block 3``, ``blocks 2–4``."""
    return f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {_ranges(blocks)}"


def _ranges(numbers: list[int]) -> str:
    """Numbers with neighbors as ranges: ``1, 3–5``."""
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(str(row[0]) if len(row) == 1 else f"{row[0]}–{row[-1]}" for row in rows)


def is_training(change: Change) -> bool:
    """Whether only training depends on a difference."""
    operation = change.node.operation
    return operation.category is Category.REGULARIZATION or change.field in operation.training_fields
