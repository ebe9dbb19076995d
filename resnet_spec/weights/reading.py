"""Reads the tensors at a path; the content determines the format, and with it the reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import BackendError, WeightsError
from resnet_spec.weights.by_structure import read_by_structure
from resnet_spec.weights.formats.caffe import read_caffe
from resnet_spec.weights.formats.detection import (
    DCP,
    DCP_METADATA,
    INDEX,
    OCDBT,
    ORBAX,
    ORBAX_METADATA,
    SAVED_MODEL,
    ending_of,
    find_file,
    inside,
    orbax_folders,
)
from resnet_spec.weights.formats.flattening import MAX_LENGTH
from resnet_spec.weights.formats.flax import read_flax
from resnet_spec.weights.formats.frozen_graph import read_frozen_graph
from resnet_spec.weights.formats.keras import read_archive, read_hdf5
from resnet_spec.weights.formats.mxnet import read_mxnet
from resnet_spec.weights.formats.not_weights import files_in, what_instead
from resnet_spec.weights.formats.numpy_archive import read_npy, read_npz
from resnet_spec.weights.formats.orbax import read_orbax
from resnet_spec.weights.formats.pytorch import read_state_dict
from resnet_spec.weights.formats.safetensors import read_safetensors, read_shards
from resnet_spec.weights.formats.torch_folders import read_torch_folder
from resnet_spec.weights.formats.transformers import check_configuration

if TYPE_CHECKING:
    from resnet_spec.backend.protocol import ReadingBackend
    from resnet_spec.graph import Graph

CORE_READERS: Mapping[str, Callable[..., Checkpoint]] = {
    ".safetensors": read_safetensors,
    INDEX: read_shards,
    ".h5": read_hdf5,
    ".keras": read_archive,
    ".msgpack": read_flax,
    ORBAX: read_orbax,
    DCP: read_torch_folder,
    ".params": read_mxnet,
    ".pb": read_frozen_graph,
    ".caffemodel": read_caffe,
    **dict.fromkeys((".pth", ".pt", ".pkl"), read_state_dict),
    ".npz": read_npz,
    ".npy": read_npy,
}
"""Formats that the core reads itself."""


def read_checkpoint(path: Path, graph: Graph | None = None, *, mmap: bool = False) -> Checkpoint:
    """The tensors of a file, or of a folder that holds a model; see ``resnet_spec.read_weights`` for what is read.

    They are copies in memory; with ``mmap`` they are a map of the file if its format can be mapped.

    Raises WeightsError if the file is missing or invalid, would run code, or refers to a path outside its folder.
    """
    file = find_weights_file(path)
    if os.path.isfile(file) and (what := _part_of_folder(file)):
        raise WeightsError(f"{file}: is a part of {what}; give its folder, {file.parent}")
    if file != path and os.path.isdir(path) and not inside(path, file):
        raise WeightsError(f"{path}: refused: its {file.name} is a link out of the folder")
    try:
        if advice := what_instead(file):
            raise WeightsError(f"{file}: {advice}")
        ending = ending_of(file)
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror or error})") from None
    if ending == SAVED_MODEL:
        raise WeightsError(f"{file}: is the graph of a SavedModel without its weights; give its folder, {file.parent}")
    reader = CORE_READERS.get(ending)
    checkpoint = reader(file, mmap=mmap) if reader else _read_by_backend(file, ending, graph, mmap=mmap)
    if any(len(name) > MAX_LENGTH for name in checkpoint.tensors):
        raise WeightsError(f"{file}: refused: the name of a tensor is longer than {MAX_LENGTH:,} characters")
    if graph is not None:
        check_configuration(file, checkpoint.tensors, graph)
    return checkpoint


def _part_of_folder(file: Path) -> str:
    """The kind of folder that a file is a part of, by its name; empty for others."""
    if file.name == DCP_METADATA or file.suffix == DCP:
        return "a checkpoint of torch.distributed.checkpoint"
    return "an Orbax checkpoint" if file.name == ORBAX_METADATA or file.suffix == OCDBT else ""


def find_weights_file(path: Path) -> Path:
    """The file of a path, which may be a folder or a checkpoint's prefix; raises WeightsError if there is none."""
    file = find_file(path)
    if file is not None:
        return file
    if os.path.isdir(path):
        if several := orbax_folders(path):
            names = ", ".join(str(folder.relative_to(path)) for folder in several)
            raise WeightsError(f"{path}: holds several Orbax checkpoints ({names}); give the path of one")
        raise WeightsError(f"{path}: is a folder{files_in(path) or ' without weights'}")
    raise WeightsError(f"{path}: {'is not a regular file' if os.path.exists(path) else 'no such file'}")


def _read_by_backend(path: Path, ending: str, graph: Graph | None, *, mmap: bool) -> Checkpoint:
    from resnet_spec.backend.registry import get_backend, importers, readers, unusable

    known = readers()
    if ending and ending not in known and (importer := importers().get(ending)):
        if graph is None:
            raise WeightsError(f"{path}: is a model, which `resnet-spec import` reads")
        return read_by_structure(path, importer, graph)
    # The empty ending means a folder; a file without an ending has no format.
    if ending not in known or (not ending and not os.path.isdir(path)):
        endings = ", ".join(sorted({*CORE_READERS, *known} - {""}))
        message = f"{path}: no installed backend reads {ending or 'such'} files (known: {endings})"
        if reasons := unusable():
            raise BackendError("; ".join([message, *reasons]))
        raise WeightsError(message)
    return cast("ReadingBackend", get_backend(known[ending])).read(path, graph, mmap=mmap)
