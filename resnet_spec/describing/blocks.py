"""What a block is: its kind, its gate, and what its layers are called within it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from resnet_spec.describing.parts import Block
from resnet_spec.describing.phrases import listed, noun, value_text
from resnet_spec.graph import Node
from resnet_spec.importing.fields import fields_of
from resnet_spec.importing.template import ancestors
from resnet_spec.operations import Category

POOLS = frozenset({"global_avg_pool", "global_max_pool", "mean", "max", "sum", "matmul"})
"""Operations that a gate summarizes a map by."""

KERNELED = frozenset({Category.CONVOLUTION, Category.LINEAR})
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
FEW_KERNELS = 6
"""More convolutions than this in one block are counted instead of listed."""


class Gate(NamedTuple):
    """A branch that weights its block's channels or positions.

    ``kind`` is what it is called, ``details`` what may be said of it, and ``nodes`` its nodes with the join.
    """

    kind: str
    details: tuple[str, ...]
    nodes: frozenset[str]


@dataclass(frozen=True)
class Anatomy:
    """What is said of a block."""

    block: Block

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """The gates of the main branch, in order."""
        found: list[Gate] = []
        for node in self.block.main:
            taken = {name for gate in found for name in gate.nodes}
            if node.name not in taken and (gate := _gate(self.block, node)):
                found.append(gate)
        return tuple(found)

    @cached_property
    def gate_nodes(self) -> frozenset[str]:
        """The nodes of all gates."""
        return frozenset(name for gate in self.gates for name in gate.nodes)

    @property
    def gate(self) -> str:
        """What the gates are called, empty if there is none."""
        return listed(dict.fromkeys(" ".join([gate.kind, *gate.details[:1]]) for gate in self.gates))

    @cached_property
    def convolutions(self) -> tuple[Node, ...]:
        """The convolutions and linear layers of the main branch, without those of gates."""
        return tuple(
            node for node in self.block.main if node.operation.category in KERNELED and node.name not in self.gate_nodes
        )

    @cached_property
    def kernels(self) -> tuple[str, ...]:
        """The kernels of the main branch: ``1×1``, or ``linear``."""
        return tuple(noun(node).partition(" ")[0] for node in self.convolutions)

    @property
    def layers(self) -> str:
        """The convolutions of the main branch: ``1×1, 3×3 and 1×1 convolutions``."""
        if not self.kernels:
            return listed(dict.fromkeys(noun(node) for node in self.block.main))
        if len(self.kernels) > FEW_KERNELS:
            parts = [f"{count} of {kernel}" for kernel, count in Counter(self.kernels).items()]
            return f"{len(self.kernels)} convolutions ({', '.join(parts)})"
        if len(self.kernels) > 1 and len(set(self.kernels)) == 1:
            return f"{NUMBERS[len(self.kernels)]} {self.kernels[0]} convolutions"
        plural = "s" if len(self.kernels) > 1 else ""
        return f"{listed(self.kernels)} convolution{plural}"

    @cached_property
    def kind(self) -> str:
        """What the block is called: bottleneck, basic, …"""
        if not self.block.is_block:
            return "other layers"
        if self.block.join is None and not any(node.operation.joins for node in self.block.main):
            return "plain block"
        sizes = [node.shape[0] for node in self.convolutions]
        ends = all(kernel in ("1×1", "1", "1×1×1") for kernel in (self.kernels[:1] + self.kernels[-1:]))
        if len(sizes) > 2 and ends:
            return "inverted bottleneck" if sizes[0] > sizes[-1] and "depthwise" in self.groups else "bottleneck"
        if len(sizes) == 2 and len(set(self.kernels)) == 1 and not ends:
            return "basic block"
        return "residual block" if self.block.join is not None else "block"

    @property
    def preactivated(self) -> bool:
        """Whether each convolution comes after its normalization and activation instead of before."""
        first = next((node for node in self.block.main if node.operation.joins is False), None)
        categories = (Category.NORMALIZATION, Category.ACTIVATION)
        return first is not None and first.operation.category in categories and bool(self.convolutions)

    @property
    def groups(self) -> str:
        """How its convolutions are grouped, empty if they are not."""
        texts: dict[str, None] = {}
        for node in self.convolutions:
            groups = fields_of(node).get("groups", 1)
            if groups == node.shape[0] and groups > 1:
                texts["depthwise"] = None
            elif groups > 1:
                texts[f"{groups} groups"] = None
        return listed(texts)

    @property
    def stride_in(self) -> str:
        """The layers of the main branch that have a stride, without those of gates."""
        main = [node for node in self.block.main if node.name not in self.gate_nodes]
        strided = [node for node in main if set(getattr(node.operation, "stride", (1,))) != {1}]
        nouns, every = Counter(map(noun, strided)), Counter(map(noun, main))
        whole = {text for text, count in nouns.items() if count > 1 and count == every[text]}
        return listed(
            dict.fromkeys(f"the {noun(node)}s" if noun(node) in whole else f"the {self.role(node)}" for node in strided)
        )

    @property
    def shortcut(self) -> str:
        """The layers of the shortcut, empty if it has none."""
        texts = [noun(node) for node in self.block.shortcut if node.operation.category is not Category.NORMALIZATION]
        return listed(texts)

    def role(self, node: Node) -> str:
        """What a layer is called within the block: ``first 1×1 convolution``, ``batch norm after the 3×3``."""
        return self._roles.get(node.name, noun(node))

    @cached_property
    def _roles(self) -> Mapping[str, str]:
        gates, shortcut = (
            _named([node for node in self.block.nodes if node.name in names])
            for names in (self.gate_nodes, {node.name for node in self.block.shortcut})
        )
        plain = [node for node in self.block.main if node.name not in self.gate_nodes]
        return {
            **_named(plain),
            **{name: f"{text} of the gate" for name, text in gates.items()},
            **{name: f"{text} of the shortcut" for name, text in shortcut.items()},
            **{node.name: f"{noun(node)} after the addition" for node in self.block.after},
        }


def _named(nodes: Sequence[Node]) -> dict[str, str]:
    """Each layer by its noun, numbered where several are called so: ``first 1×1 convolution``."""
    counts = Counter(map(noun, nodes))
    seen = Counter[str]()
    names: dict[str, str] = {}
    for node in nodes:
        text = noun(node)
        place, count = seen[text], counts[text]
        seen[text] += 1
        names[node.name] = f"{ordinal(place, count)} {text}" if count > 1 else text
    return names


def ordinal(place: int, count: int) -> str:
    """``first``, ``second``, …, ``last``, by a place that counts from 0."""
    if count > 2 and place == count - 1:
        return "last"
    return ORDINALS[place] if place < len(ORDINALS) else f"{place + 1}th"


# -- gates -------------------------------------------------------------------------------------------------------


def _gate(block: Block, join: Node) -> Gate | None:
    """The gate that a join applies, if one of its branches summarizes the map of the other."""
    if join.operation.op not in ("multiply", "add") or len(join.inputs) != 2:
        return None
    own = {node.name: node for node in block.main}
    branches = [ancestors(name, own) for name in join.inputs]
    for branch, other in (branches, branches[::-1]):
        names = branch - other
        nodes = [node for node in block.main if node.name in names]
        pooled = next((place for place, node in enumerate(nodes) if node.operation.op in POOLS), None)
        if pooled is None:
            continue
        if any(node.operation.op == "softmax" for node in nodes) and any(n.operation.op == "slice" for n in nodes):
            return _selection(block, nodes[pooled], own)
        # Learned and other maps that a gate does not start with belong to the main branch.
        if join.operation.op == "multiply" or any(node.operation.op == "softmax" for node in nodes):
            return Gate(*_gate_words(block, nodes), frozenset(names | {join.name}))
    return None


def _gate_words(block: Block, nodes: Sequence[Node]) -> tuple[str, tuple[str, ...]]:
    """What a gate is called, and what may be said of it, the usual first."""
    kernels = [node for node in nodes if node.operation.category in KERNELED]
    if len(kernels) == 1 and kernels[0].operation.op == "conv1d":
        return "efficient channel attention", (f"with kernel {value_text(fields_of(kernels[0])['kernel'])}",)
    context = any(node.operation.op == "softmax" for node in nodes)
    if len(kernels) == (3 if context else 2) and (context or nodes[0].operation.op in POOLS):
        inner, outer = kernels[-2].shape[0], kernels[-1].shape[0]
        bases = {"channels": outer, "block's input channels": block.input_shape[0]}
        shares = tuple(f"to 1/{size // inner} of the {base}" for base, size in bases.items() if size % inner == 0)
        return "global context" if context else "squeeze-and-excitation", (*shares, f"to {inner} channels")
    if context:
        return "global context", ()
    return (f"gate of {listed(noun(node) for node in kernels)}" if kernels else "gate without parameters"), ()


def _selection(block: Block, pool: Node, own: Mapping[str, Node]) -> Gate:
    """Attention that weights several branches against each other, from the pool to their sum."""
    after = {pool.name}
    for node in block.main:
        if after & set(node.inputs):
            after.add(node.name)
    softmax = next(node.name for node in block.main if node.name in after and node.operation.op == "softmax")
    names = {name for name in after if softmax in ancestors(name, own) or name in ancestors(softmax, own)}
    joins = [node for node in block.main if node.name in names and node.operation.op == "multiply"]
    sums = [node for node in block.main if node.operation.op == "add" and {j.name for j in joins} & set(node.inputs)]
    last = sums[-1].name if sums else joins[-1].name if joins else softmax
    names = _with_unlearned(block, names & ancestors(last, own))
    sources = ancestors(pool.inputs[0], own)
    branches = [node for node in block.main if node.name in sources and node.operation.op in ("conv2d", "conv1d")]
    dilations = {getattr(node.operation, "dilation", 1) for node in branches} | {
        getattr(node.operation, "kernel", 1) for node in branches
    }
    kind = "selective kernels" if len(dilations) > 2 and len(branches) > 1 else "split attention"
    return Gate(kind, (), frozenset(names))


def _with_unlearned(block: Block, names: set[str]) -> set[str]:
    """Nodes with those before them that only rearrange or join values for them."""
    users: dict[str, set[str]] = {}
    for node in block.nodes:
        for name in node.inputs:
            users.setdefault(name, set()).add(node.name)
    found = set(names)
    for node in reversed(block.main):
        if node.operation.category in (Category.JOIN, Category.RESHAPING) and users.get(node.name, {""}) <= found:
            found.add(node.name)
    return found
