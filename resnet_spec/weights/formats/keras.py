"""Reads Keras' weights files without Keras: no layer is built and no code in a file is run.

Three layouts, all of them HDF5: groups by layer name (``.h5``, a whole model or its weights), groups by class
(``.weights.h5``), and the latter in a zip archive beside the model's configuration (``.keras``).
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import WeightsError
from resnet_spec.errors.extras import needs
from resnet_spec.weights.formats.binary import reporting
from resnet_spec.weights.formats.buffers import refuse_bomb
from resnet_spec.weights.formats.detection import occurrences

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DEPTH = 32

HEAP = b"GCOL\x01\0\0\0"

WEIGHTS, CONFIGURATION, METADATA = "model.weights.h5", "config.json", "metadata.json"

GRAPH_NAMES = "resnet_spec_names"
"""Where the metadata have the graph's name of each layer that has another name in the file."""

VARIABLES = "vars"
BFLOAT16 = "bfloat16"

SLOTS = "optimizer slots"
BESIDE = {"optimizer": SLOTS, "optimizer_weights": SLOTS, "metrics": "metrics", "seed_generator": "random states"}
"""Groups beside a model's weights, and what they hold: what training keeps, and what random layers draw from."""


def read_hdf5(path: Path, *, mmap: bool = False) -> Checkpoint:
    """The tensors of an HDF5 file by ``layer/variable``, or ``layer/number`` if the file has no name for a variable.

    ``mmap`` has no effect: HDF5's library reads the file.

    Raises WeightsError for a file that is broken, or would read other files or more than it holds.
    """
    with reporting(path, "is not a whole HDF5 file of weights"):
        with path.open("rb") as content:
            _check_heaps(content)
        with _open_hdf5(path) as file:
            return _checkpoint(file, {})


def has_configuration(path: Path) -> bool:
    """Whether an HDF5 file holds a model's architecture beside its weights."""
    with suppress(WeightsError), reporting(path, "is not a whole HDF5 file"):
        with path.open("rb") as content:
            _check_heaps(content)
        with _open_hdf5(path) as file:
            return "model_config" in file.attrs
    return False


def read_archive(path: Path, *, mmap: bool = False) -> Checkpoint:
    """The tensors of a ``.keras`` archive by ``layer/number``, the order in which Keras' layers count their variables.

    ``mmap`` has no effect: an archive is unpacked.

    Raises WeightsError for an archive that is broken, or unpacks to more than it can hold.
    """
    with reporting(path, "is not a whole Keras archive"):
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            graph_names = read_graph_names(archive, size)
            listed = _layer_names(json.loads(read_member(archive, CONFIGURATION, size)))
            names = {place: graph_names.get(name, name) for place, name in listed.items()}
            weights = read_member(archive, WEIGHTS, size)
        _check_heaps(BytesIO(weights))
        with _open_hdf5(BytesIO(weights)) as file:
            return _checkpoint(file, names)


def _check_heaps(file: BinaryIO) -> None:
    """Walk the heaps in which HDF5 keeps text; its library never comes back from one whose free space has no size."""
    length = file.seek(0, os.SEEK_END)

    def number(place: int, size: int = 8) -> int:
        file.seek(place)
        return int.from_bytes(file.read(size), "little")

    for start in occurrences(file, HEAP):
        place, end = start + 16, start + number(start + 8)
        while place + 16 <= end:
            size = number(place + 8)
            # Free space has the number 0, and a size with its header.
            step = size if not number(place, 2) else 16 + (size + 7) // 8 * 8
            if step < 16 or place + step > min(end, length):
                raise ValueError("a heap is broken")
            place += step


@contextmanager
def _open_hdf5(source: Path | BytesIO) -> Generator[Any]:
    with needs("hdf5", "an HDF5 file"):
        import h5py  # pyright: ignore[reportMissingTypeStubs]

    file: Any = h5py.File(source, "r")  # pyright: ignore[reportUnknownMemberType]
    with file:
        yield file


def read_member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """A member of an archive of ``size`` bytes; zipfile would make room for all that it claims to have stored."""
    info = archive.getinfo(name)
    if info.compress_size > size:
        raise ValueError(f"its {name} claims {info.compress_size:,} bytes")
    refuse_bomb(name, info.file_size, info.compress_size)
    return archive.read(info)


def read_graph_names(archive: zipfile.ZipFile, size: int) -> dict[str, str]:
    """The graph's names of layers that a ``.keras`` archive of ``size`` bytes has under other names, by these."""
    if METADATA not in archive.namelist():
        return {}
    metadata: Any = json.loads(read_member(archive, METADATA, size))
    found: Any = cast("dict[str, Any]", metadata).get(GRAPH_NAMES) if isinstance(metadata, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: old for name, old in cast("dict[str, Any]", found).items() if isinstance(old, str)}


# -- what the groups hold ----------------------------------------------------------------------------------------


def _checkpoint(file: Any, names: Mapping[str, str]) -> Checkpoint:
    root = _child(file, "model_weights") if "model_weights" in file else file
    listed = {re.sub(r"\d+$", "", key) for key in root.attrs}
    pairs = _by_layer(root) if "layer_names" in listed else _by_class(file, names)
    arrays: dict[str, NDArray[Any]] = {}
    widened: set[str] = set()
    size, held = 0, file.id.get_filesize()
    for name, dataset in pairs:
        if name in arrays:
            raise WeightsError(f"two variables are named {name}")
        arrays[name] = _array(name, dataset)
        size += dataset.nbytes
        refuse_bomb("the whole", size, held)
        if _attribute(dataset, "dtype") == BFLOAT16:
            arrays[name] = widen_bfloat16(arrays[name])
            widened.add(name)
    if not arrays:
        raise WeightsError("holds no weights")
    return Checkpoint(arrays, ignored=_ignored(file), widened=frozenset(widened))


def _by_layer(root: Any) -> Iterator[tuple[str, Any]]:
    """What ``layer_names``, and in each layer's group ``weight_names``, list."""
    top = ["top_level_model_weights"] if "top_level_model_weights" in root else []
    for layer in [*_listed(root, "layer_names"), *top]:
        group = _child(root, layer)
        weights = _listed(group, "weight_names")
        # A model within the model is one group, whose weights have the names of its own layers.
        nested = len({weight.rpartition("/")[0] for weight in weights}) > 1
        for weight in weights:
            scope, _, variable = weight.partition(":")[0].rpartition("/")
            yield f"{scope if nested else layer}/{variable}", _child(group, weight)


def _listed(group: Any, key: str) -> list[str]:
    """A list of names in a group's attributes, which Keras splits into several if it is long."""
    pieces = [key] if key in group.attrs else sorted((k for k in group.attrs if re.fullmatch(rf"{key}\d+", k)), key=len)
    names: list[Any] = [name for piece in pieces for name in _attribute(group, piece)]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _by_class(file: Any, names: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """What the groups named ``vars`` hold, by the layer that is known for their place or that they name."""
    for path, dataset in _datasets(file):
        if BESIDE.keys() & {*path}:
            continue
        # Keras 2.12 had another word.
        words = ["layers" if word == "_layer_checkpoint_dependencies" else word for word in path]
        place = "/".join(words[:-2])
        if words[-2:-1] != [VARIABLES]:
            yield "/".join(words), dataset
            continue
        layer = names.get(place) or _attribute(dataset.parent, "name")
        if layer is None:
            raise WeightsError(f"does not say which layer {place or 'its top'} is; Keras' .keras and .h5 files do")
        yield f"{layer}/{path[-1]}", dataset


def _ignored(file: Any) -> Counter[str]:
    """How many variables lie beside the weights, by what they are."""
    ignored: Counter[str] = Counter()
    for path, dataset in _datasets(file):
        for word in BESIDE.keys() & {*path}:
            slot = BESIDE[word] == SLOTS and not dataset.shape
            ignored["counters" if slot else BESIDE[word]] += 1
    return ignored


def _datasets(file: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every array of a file with the groups that lead to it; a link in place of one is refused."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), file)]
    while waiting:
        path, group = waiting.pop()
        # A group in two places could be in as many as it likes, and within itself.
        place = _address(group)
        if place in seen:
            raise WeightsError(f"refused: {'/'.join(path)} is in two places")
        seen.add(place)
        if len(path) > MAX_DEPTH:
            raise WeightsError(f"refused: its groups are more than {MAX_DEPTH} deep")
        children = [((*path, name), _child(group, name)) for name in group]
        waiting += [(inner, child) for inner, child in reversed(children) if hasattr(child, "keys")]
        yield from ((inner, child) for inner, child in children if hasattr(child, "shape"))


def _layer_names(model: Mapping[str, Any], place: str = "") -> dict[str, str]:
    """Layers' names by the place of their group: the layer's class, and how many of it came before.

    A model of a class of its own lists no layers; their groups have their names.
    """
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for layer in model["config"].get("layers", ()):
        kind = _snake_case(layer["class_name"])
        group = f"{place}layers/{kind}" + (f"_{seen[kind]}" if seen[kind] else "")
        seen[kind] += 1
        names[group] = str(layer["config"]["name"])
        if "layers" in layer["config"]:
            names |= _layer_names(layer, f"{group}/")
    return names


def _snake_case(words: str) -> str:
    """``BatchNormalization`` as ``batch_normalization``, and ``Conv2D`` as ``conv2d``."""
    apart = re.sub(r"(?<=.)([A-Z][a-z]+)", r"_\1", re.sub(r"\W", "", words))
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", apart).lower()


# -- links and arrays --------------------------------------------------------------------------------------------


def _child(group: Any, path: str) -> Any:
    """The member of a group at a path; a link to another place or file is not followed."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]

    for name in path.split("/"):
        link = group.get(name, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise WeightsError(f"refused: {path} is a link to somewhere else")
        group = group[name]
    return group


def _address(group: Any) -> int:
    """The address of a group in the file."""
    from h5py import h5o  # pyright: ignore

    return cast("Any", h5o).get_info(group.id).addr


def _attribute(group: Any, key: str) -> Any:
    """An attribute's value, or None if there is none; one far larger than Keras' pieces is not read."""
    if key not in group.attrs:
        return None
    stored = group.attrs.get_id(key)
    refuse_bomb(key, prod(stored.shape) * stored.dtype.itemsize, 0)
    return group.attrs[key]


def _array(name: str, dataset: Any) -> NDArray[Any]:
    if dataset.is_virtual or dataset.external:
        raise WeightsError(f"refused: {name} lies in another file")
    if dataset.dtype.kind not in "fiuV":
        raise WeightsError(f"{name} holds {dataset.dtype}, not floating-point numbers")
    refuse_bomb(name, dataset.nbytes, min(dataset.id.get_storage_size(), dataset.file.id.get_filesize()))
    return dataset[()]
