"""What the names and shapes of a file's tensors tell of a network, where the file does not state the network itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import TypeAlias

from resnet_spec.describing.changes import Difference
from resnet_spec.describing.phrases import extents, listed
from resnet_spec.drawing.words import short
from resnet_spec.weights.adapting import is_counter
from resnet_spec.weights.identification import STATISTICS
from resnet_spec.weights.tensor_names import dotted, is_averaged

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

LARGEST_KERNEL = 15
"""Windows are not larger; channels usually are."""

MANY_ROWS = 8
"""More rows of blocks than this are counted instead of listed."""

IMAGE_CHANNELS = (1, 3, 4)
"""Channels by which the first convolution is recognized."""


def tensor_lines(
    shapes: Shapes, averages: Iterable[str] = (), ignored: Mapping[str, int] | None = None
) -> list[Difference]:
    """Parts and sentences on a file of tensors: kernels, rows of blocks, head; and nothing that shapes do not tell.

    Args:
        shapes: The shapes of the tensors by their names, in the file's own layout.
        averages: Names of exponential moving averages.
        ignored: How many tensors were omitted, by their kind.

    Returns:
        A few lines.

    Examples:
        >>> tensor_lines({"conv1.weight": (64, 3, 7, 7), "fc.weight": (10, 64), "fc.bias": (10,)})[1]
        Difference(part='stem', text='7×7 kernel, 3 to 64 channels (conv1.weight)')
    """
    averaged = {*averages, *(name for name in shapes if is_averaged(dotted(name)))}
    weights = {name: shape for name, shape in shapes.items() if name not in averaged} or shapes
    own = _without_prefix({dotted(name): shape for name, shape in weights.items() if not is_counter(name)})
    kernels = {name: kernel for name, shape in own.items() if (kernel := _kernel(shape))}
    learned = {name: shape for name, shape in own.items() if name.rpartition(".")[2] not in STATISTICS}
    found = [Difference("tensors", f"{len(weights)} of {short(sum(map(prod, learned.values())))} parameters")]
    found += _stem(kernels)
    found += _rows(kernels)
    found += _sizes(kernels)
    found += _norm(own, learned)
    found += _head(own)
    others = [f"{count} {kind}" for kind, count in (ignored or {}).items()]
    if averaged and len(weights) < len(shapes):
        others.insert(0, f"exponential moving averages of {len(shapes) - len(weights)} tensors")
    if others:
        found.append(Difference("besides", listed(others)))
    return [*found, Difference("not known", "strides, padding, ε and activations, which tensors do not state")]


def _without_prefix(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The tensors without what all names begin with, such as ``state_dict.``."""
    names = [name.split(".") for name in shapes]
    shared = 0
    while names and all(len(parts) > shared + 2 and parts[shared] == names[0][shared] for parts in names):
        shared += 1
    return {".".join(parts[shared:]): shape for parts, shape in zip(names, shapes.values(), strict=True)}


def _kernel(shape: Sequence[int]) -> tuple[str, int, int] | None:
    """A convolution's window, its input channels (of one group) and output channels, in either layout."""
    if len(shape) not in (4, 5):
        return None
    first, last = tuple(shape[2:]), tuple(shape[:-2])
    if max(first) <= LARGEST_KERNEL and (max(last) > LARGEST_KERNEL or prod(first) <= prod(last)):
        return extents(list(first), len(first)), shape[1], shape[0]
    if max(last) <= LARGEST_KERNEL:
        return extents(list(last), len(last)), shape[-2], shape[-1]
    return None


def _stem(kernels: Mapping[str, tuple[str, int, int]]) -> Iterator[Difference]:
    for name, (window, before, after) in kernels.items():
        # A kernel of a group has few input channels, too; that of an image is the only one.
        if before in IMAGE_CHANNELS and sum(own[1] == before for own in kernels.values()) == 1:
            yield Difference("stem", f"{window} kernel, {before} to {after} channels ({name})")
            return


def _rows(kernels: Mapping[str, tuple[str, int, int]]) -> Iterator[Difference]:
    """Rows of blocks, as far as names count them: ``layer1.0``, ``layer1.1``."""
    rows: dict[str, dict[str, list[int]]] = {}
    for name, (_, _, after) in kernels.items():
        parts = name.split(".")
        place = next((index for index, part in enumerate(parts[1:-1], 1) if re.fullmatch(r"(\w*?_)?\d+", part)), None)
        if place is not None:
            rows.setdefault(".".join(parts[:place]), {}).setdefault(parts[place], []).append(after)
    rows = {row: blocks for row, blocks in rows.items() if len(blocks) > 1 or any(len(o) > 1 for o in blocks.values())}
    if len(rows) > MANY_ROWS:
        yield Difference("blocks", f"{sum(map(len, rows.values()))} in {len(rows)} rows, by their names")
    elif rows:
        texts = [f"{row} {len(blocks)} (to {max(map(max, blocks.values()))} channels)" for row, blocks in rows.items()]
        yield Difference("blocks", f"by their names, {', '.join(texts)}")


def _sizes(kernels: Mapping[str, tuple[str, int, int]]) -> Iterator[Difference]:
    counts = Counter(window for window, _, _ in kernels.values())
    if counts:
        yield Difference("kernels", ", ".join(f"{count} of {window}" for window, count in counts.most_common(4)))


def _norm(own: Shapes, learned: Shapes) -> Iterator[Difference]:
    statistics = sum(name.rpartition(".")[2] in ("running_var", "moving_variance") for name in own)
    if statistics:
        yield Difference("norm", f"{statistics} with running statistics (batch norm)")
    elif any(len(shape) == 1 for shape in learned.values()):
        yield Difference("norm", "no running statistics: folded batch norms, or another normalization")


def _head(own: Shapes) -> Iterator[Difference]:
    """The last matrix by name that has a bias of one of its sizes."""
    biases = {name.rpartition(".")[0]: shape[0] for name, shape in own.items() if len(shape) == 1}
    for name, shape in reversed(list(own.items())):
        size = biases.get(name.rpartition(".")[0])
        if len(shape) == 2 and size in shape:
            yield Difference("head", f"linear layer of {size} features ({name.rpartition('.')[0]})")
            return
