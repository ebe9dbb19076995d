"""Names layers by stage and block, for a source whose own names do not say where a layer is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from resnet_spec.graph import Graph, Node
from resnet_spec.importing.regions import Region, common_prefix, counter_of, regions
from resnet_spec.importing.template import Template

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = {
    "conv2d": "conv", "std_conv2d": "conv", "conv1d": "conv", "conv_transpose2d": "deconv", "linear": "fc",
    "batch_norm": "bn", "group_norm": "gn", "layer_norm": "ln", "instance_norm": "in", "max_pool2d": "maxpool",
    "avg_pool2d": "avgpool", "global_avg_pool": "avgpool", "global_max_pool": "maxpool", "pad2d": "pad",
}  # fmt: skip
"""The field's short words for layers; others are named like their operation."""


def with_systematic_names(graph: Graph, arrays: Mapping[str, NDArray[Any]]) -> tuple[Graph, dict[str, NDArray[Any]]]:
    """The same network and weights by other names: ``conv1``, ``layer1.0.conv1``, ``layer1.0.downsample.0``, ``fc``.

    A stage begins with each block that changes the shape of its input, or follows layers that belong to no block.
    """
    renamed = _renamed(graph, _names(graph))
    pairs = zip(graph.parameters(), renamed.parameters(), strict=True)
    return renamed, {new.name: arrays[old.name] for old, new in pairs}


def with_names_of_blocks(graph: Graph) -> Graph:
    """The same network, its nodes without weights named like the layers of their block: ``add_3`` is ``block2_add``.

    A function that the source's outermost part calls has no name but its own, which says nothing of the block. Names
    that layers with weights have are unchanged.
    """
    names = {node.name: node.name for node in graph.nodes}
    for region in regions(graph):
        layers = [node for node in region.nodes if _has_weights(graph, node)]
        prefix = _of_block(common_prefix(layers)) if region.is_block and not region.is_module else ""
        others = [node for node in region.nodes if not node.name.startswith(prefix)]
        # What a single layer's name begins with may be a word of it.
        if (
            not prefix
            or (len(layers) == 1 and not counter_of(prefix))
            or any(_has_weights(graph, node) for node in others)
        ):
            continue
        taken = {node.name for node in region.nodes} - {node.name for node in others}
        for old, new in _numbered(others).items():
            name = prefix + new
            names[old] = name if name not in taken else f"{name}_{len(taken)}"
    # Two blocks of one prefix would give one name to two nodes.
    return _renamed(graph, names) if len({*names.values()}) == len(names) else graph


def _of_block(prefix: str) -> str:
    """A prefix up to its last number: that of a block, if all of its layers are in one branch."""
    found = re.match(r".*\d[._]", prefix)
    return found[0] if found else prefix


def _has_weights(graph: Graph, node: Node) -> bool:
    return bool(node.operation.parameters(*graph.input_shapes(node)))


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    nodes = [
        node.model_copy(
            update={
                "name": names[node.name],
                "inputs": tuple(names.get(name, name) for name in node.inputs),
                "calls": names[node.calls] if node.calls else None,
            }
        )
        for node in graph.nodes
    ]
    outputs = tuple(names[name] for name in graph.outputs)
    return Graph(
        name=graph.name, input=graph.input, nodes=tuple(nodes), outputs=outputs, output_names=graph.output_names
    )


def _names(graph: Graph) -> dict[str, str]:
    names: dict[str, str] = {}
    stage, index = 0, 0
    outside: list[Node] = []
    begins = True
    for region in regions(graph):
        if not region.is_block:
            outside += region.nodes
            begins = True
            continue
        begins |= graph.input_shapes(region.nodes[0])[0] != region.nodes[-1].shape
        stage, index = (stage + 1, 0) if begins else (stage, index + 1)
        begins = False
        names |= {old: f"layer{stage}.{index}.{new}" for old, new in _local_names(graph, region).items()}
    return names | _numbered(outside)


def _local_names(graph: Graph, region: Region) -> dict[str, str]:
    template = Template.of(graph, region)
    shortcut = {node.name: f"downsample.{index}" for index, node in enumerate(template.shortcut)}
    return _numbered(node for node in region.nodes if node.name not in shortcut) | shortcut


def _numbered(nodes: Iterable[Node]) -> dict[str, str]:
    """Each node's word, with a number where several have it."""
    nodes = list(nodes)
    words = [WORDS.get(node.operation.op, node.operation.op) for node in nodes]
    counts, seen = Counter(words), Counter[str]()
    # The first layers of a network are numbered, too, as torchvision's conv1 and bn1 are.
    names: dict[str, str] = {}
    for node, word in zip(nodes, words, strict=True):
        seen[word] += 1
        numbered = counts[word] > 1 or word in ("conv", "bn")
        names[node.name] = f"{word}{seen[word]}" if numbered else word
    return names
