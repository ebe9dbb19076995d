"""Marks for a drawing of two networks side by side: layers that only one has, and layers that differ."""

from __future__ import annotations

from resnet_spec.describing.alignment import Alignment
from resnet_spec.describing.changes import changes_of


def marks_of(alignment: Alignment) -> tuple[dict[str, str], dict[str, str]]:
    """The marks of the first network's nodes, and of the second's, as ``drawing.svg`` takes them.

    Args:
        alignment: Two networks.

    Returns:
        By name: ``removed`` for what only the first has, ``added`` for what only the second has, and ``changed`` for
        both nodes of a pair that differs.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.describing.differences import compare
        >>> one, other = (resnet_spec.load(name).to_graph() for name in ("cifar/resnet20", "cifar/resnet32"))
        >>> first, second = marks_of(compare(one, other).alignment)
        >>> first, sorted(second)[0], second["layer1.4.conv1"]
        ({}, 'layer1.3.add', 'added')
    """
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    for change in changes_of(alignment):
        pair = change.pair
        if pair.first is not None:
            first[pair.first.name] = "changed" if pair.second is not None else "removed"
        if pair.second is not None:
            second[pair.second.name] = "changed" if pair.first is not None else "added"
    return first, second
