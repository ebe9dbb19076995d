"""Caffe's ``.caffemodel``: a network's layers with their blobs, in protobuf; the layers' types give the blobs names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.binary import InvalidFileError, reporting
from resnet_spec.weights.formats.protobuf import BYTES, VARINT, Field, Numbers, Span, Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYER, LAYER_V1 = 100, 2
"""Fields of a network: its layers, and those of files from before 2015."""

NAME, TYPE, BLOBS = 1, 2, 7
"""Fields of a layer."""

V1_NAME, V1_TYPE, V1_BLOBS = 4, 5, 6

V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
"""Layers' types of before 2015 that have weights, by number."""

SHAPE, FLOATS, DOUBLES = 7, 5, 8
"""Fields of a blob; its first four are the shape that it had before 2015: number, channels, height, width."""

OLD_SHAPE = (1, 2, 3, 4)

BATCH_NORM, FACTOR = "BatchNorm", "factor"

MAX_AXES = MAX_BLOBS = 32

WEIGHT_AND_BIAS = ("weight", "bias")
WORDS = {
    "Convolution": WEIGHT_AND_BIAS,
    "Deconvolution": WEIGHT_AND_BIAS,
    "InnerProduct": WEIGHT_AND_BIAS,
    "Scale": WEIGHT_AND_BIAS,
    BATCH_NORM: ("mean", "variance", FACTOR),
}
"""What the blobs of a layer are, by its type; those of another have their number."""


def read_caffe(path: Path, *, mmap: bool = False) -> Checkpoint:
    """The blobs of a network as ``layer/weight``, ``layer/bias``, ``layer/mean`` and ``layer/variance``.

    Caffe keeps a normalization's statistics as sums; they are divided by their factor, so that they are the mean and
    the variance. Its scale and offset are in a layer of their own, of type Scale.

    ``mmap`` has no effect: the numbers of the format are not aligned. Raises WeightsError.
    """
    with reporting(path, "is not a complete .caffemodel"), path.open("rb") as file:
        walk = Walk(file)
        tensors: dict[str, NDArray[Any]] = {}
        for layer in _layers(walk):
            for name, array in _named(walk, layer):
                if name in tensors:
                    raise InvalidFileError(f"two blobs are named {name!r}")
                tensors[name] = array
        if not tensors:
            raise WeightsError("holds no weights: its layers have no blobs, or are those of Caffe before 2014")
        return Checkpoint(tensors)


@dataclass
class _Layer:
    name: str = ""
    type: str = ""
    blobs: list[Span] = field(default_factory=list[Span])


def _layers(walk: Walk) -> Iterator[_Layer]:
    for entry in walk.fields(0, walk.size):
        if entry.kind == BYTES and entry.number in {LAYER, LAYER_V1}:
            yield _layer(walk, entry)


def _layer(walk: Walk, entry: Field) -> _Layer:
    layer = _Layer()
    name, kind, blobs = (NAME, TYPE, BLOBS) if entry.number == LAYER else (V1_NAME, V1_TYPE, V1_BLOBS)
    for part in walk.fields(*entry.span):
        if part.number == name and part.kind == BYTES:
            layer.name = walk.text(part)
        elif part.number == kind:
            layer.type = walk.text(part) if part.kind == BYTES else V1_TYPES.get(part.integer, "")
        elif part.number == blobs and part.kind == BYTES:
            layer.blobs.append(part.span)
            if len(layer.blobs) > MAX_BLOBS:
                raise InvalidFileError(f"{layer.name!r} has more than {MAX_BLOBS} blobs")
    return layer


def _named(walk: Walk, layer: _Layer) -> Iterator[tuple[str, NDArray[Any]]]:
    words = WORDS.get(layer.type, ())
    # Other builds of Caffe have layers of the same types with other blobs.
    if len(layer.blobs) > len(words) or (layer.type == BATCH_NORM and len(layer.blobs) < len(words)):
        words = tuple(map(str, range(len(layer.blobs))))
    blobs = {word: _blob(walk, f"{layer.name}/{word}", span) for word, span in zip(words, layer.blobs, strict=False)}
    if FACTOR in blobs:
        blobs = _averages(layer.name, blobs)
    for word, blob in blobs.items():
        yield f"{layer.name}/{word}", _plain_shape(blob, layer.type, word)


def _averages(name: str, blobs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The statistics of a normalization from their sums and the factor of these; without any samples they are zero."""
    factor = blobs.pop(FACTOR)
    if factor.size != 1:
        raise InvalidFileError(f"{name!r} has {factor.size} factors of its statistics")
    divisor = float(factor.reshape(())) or math.inf
    return {word: (blob / divisor).astype(blob.dtype) for word, blob in blobs.items()}


def _plain_shape(blob: NDArray[Any], kind: str, word: str) -> NDArray[Any]:
    """A blob without the axes that fill its shape up to four, as it was before 2015."""
    if kind == "InnerProduct" and word == "weight":
        return blob.reshape(blob.shape[2:]) if blob.ndim == 4 and blob.shape[:2] == (1, 1) else blob
    if kind in {"Convolution", "Deconvolution"} and word == "weight":
        return blob
    return blob.reshape(-1) if kind in WORDS and blob.size == max(blob.shape, default=1) else blob


def _blob(walk: Walk, name: str, span: Span) -> NDArray[Any]:
    old: dict[int, int] = {}
    shape: list[int] | None = None
    numbers, types = Numbers(walk), set[int]()
    for part in walk.fields(*span):
        if part.number == SHAPE and part.kind == BYTES:
            shape = [length for dim in walk.fields(*part.span) if dim.number == 1 for length in walk.integers(dim)]
        elif part.number in OLD_SHAPE and part.kind == VARINT:
            old[part.number] = part.integer
        elif part.number in {FLOATS, DOUBLES}:
            numbers.add(part)
            types.add(part.number)
    if shape is None:
        shape = [old.get(number, 0) for number in OLD_SHAPE] if old else []
    if len(shape) > MAX_AXES:
        raise InvalidFileError(f"{name!r} has {len(shape)} axes")
    if len(types) > 1:
        raise InvalidFileError(f"{name!r} has numbers of two types")
    return numbers.array(name, "<f8" if DOUBLES in types else "<f4", shape)
