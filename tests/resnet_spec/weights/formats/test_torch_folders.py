"""Folders of ``torch.distributed.checkpoint``: one process', and several processes' parts, written by hand.

``tests/resnet_spec_torch/distributed`` has two processes that write one together.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

import resnet_spec
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[[Callable[[], Any]], list[str]]

GRAPH = resnet_spec.load("cifar/resnet20").to_graph()

ROWS = (3, 2)
"""Rows of a matrix that each of two processes holds."""


def saved(folder: Path, state: dict[str, Any]) -> Path:
    with warnings.catch_warnings(action="ignore"):
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def shared(folder: Path, offsets: tuple[int, ...] = (0, 3), file: str = "__{}_0.distcp") -> Path:
    """A matrix of five rows in the files of two processes."""
    folder.mkdir()
    chunks, storage = [], {}
    for rank, (offset, rows) in enumerate(zip(offsets, ROWS, strict=True)):
        stored = io.BytesIO()
        torch.save(torch.arange(4.0 * rows).reshape(rows, 4) + 100 * rank, stored)
        place, start = torch.Size([offset, 0]), 7 * rank
        (folder / f"__{rank}_0.distcp").write_bytes(b"x" * start + stored.getvalue())
        chunks.append(ChunkStorageMetadata(place, torch.Size([rows, 4])))
        storage[MetadataIndex("w", place)] = _StorageInfo(file.format(rank), start, len(stored.getvalue()))
    whole = TensorStorageMetadata(TensorProperties(dtype=torch.float32), torch.Size([sum(ROWS), 4]), chunks)
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({"w": whole}, storage_data=storage)))
    return folder


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def test_the_tensors_of_a_training_are_read_and_all_else_is_skipped(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "half": torch.ones(2).bfloat16(),
    }
    found = read_checkpoint(saved(tmp_path / "step", state))
    for name, tensor in model.state_dict().items():
        assert np.array_equal(found.tensors[f"model.{name}"], tensor.numpy())
    assert found.widened == {"half"}
    assert "epoch" not in found.tensors


BESIDE: dict[str, Callable[[], torch.Tensor]] = {
    "complex32": lambda: torch.zeros(2, dtype=torch.complex32),
    "float8_e8m0fnu": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float8_e8m0fnu),
    "float4_e2m1fn_x2": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "qint8": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_numpy_lacks_is_left_out_beside_the_network_and_named_in_it(
    tmp_path: Path, lines: Lines, kind: str
) -> None:
    state = {name: torch.from_numpy(array) for name, array in resnet_spec.initialize(GRAPH).items()}
    with warnings.catch_warnings(action="ignore"):
        odd = BESIDE[kind]()
    saved(tmp_path / "step", {"model": state, "e": odd})
    assert kind in read_checkpoint(tmp_path / "step").unreadable["e"]
    assert resnet_spec.read_weights(tmp_path / "step", GRAPH).keys() == state.keys()

    saved(tmp_path / "lacking", {"model": {**state, "linear.bias": odd}})
    said = lines(lambda: resnet_spec.read_weights(tmp_path / "lacking", GRAPH))
    assert any("model.linear.bias: is stored as" in line and kind in line for line in said)

    saved(tmp_path / "only", {"e": odd})
    assert ": holds only 'e', stored as " in lines(lambda: read_checkpoint(tmp_path / "only"))[0]


def test_compressed_parts_are_left_out_beside_the_network(tmp_path: Path) -> None:
    folder = saved(tmp_path / "step", {"w": torch.ones(2), "e": torch.ones(3)})

    def compress(metadata: Any) -> None:
        for index, info in metadata.storage_data.items():
            info.transform_descriptors = ["zstd"] if index.fqn == "e" else None

    changed(folder, compress)
    found = read_checkpoint(folder)
    assert (list(found.tensors), found.unreadable) == (["w"], {"e": "compressed parts"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda info: setattr(info, "relative_path", MetadataIndex("x")), "a part of w is in no possible place"),
        (lambda info: delattr(info, "relative_path"), "it lacks 'relative_path'"),
        (lambda info: setattr(info, "offset", -1), "a part of w is in no possible place"),
    ],
)
def test_a_part_whose_place_is_not_stated_is_refused(
    tmp_path: Path, lines: Lines, change: Callable[[Any], None], reason: str
) -> None:
    folder = shared(tmp_path / "step")
    changed(folder, lambda metadata: change(next(iter(metadata.storage_data.values()))))
    what = "is not a complete checkpoint of torch.distributed.checkpoint"
    assert lines(lambda: read_checkpoint(folder)) == [f"{folder}: {what} ({reason})"]


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_file_of_the_folder_is_refused_with_the_folders_name(tmp_path: Path, lines: Lines, name: str) -> None:
    folder = shared(tmp_path / "step")
    assert lines(lambda: read_checkpoint(folder / name)) == [
        f"{folder / name}: is a part of a checkpoint of torch.distributed.checkpoint; give its folder, {folder}"
    ]


def test_a_model_is_built_of_one(tmp_path: Path) -> None:
    model = resnet_spec.build("cifar/resnet20", "torch", seed=3)
    saved(tmp_path / "step", {"model": model.state_dict(), "epoch": 3})
    read = resnet_spec.build("cifar/resnet20", "torch", tmp_path / "step")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in read.state_dict().items())


def test_the_parts_of_several_processes_are_put_together(tmp_path: Path) -> None:
    (array,) = read_checkpoint(shared(tmp_path / "step")).tensors.values()
    expected = np.concatenate([np.arange(12).reshape(3, 4), 100 + np.arange(8).reshape(2, 4)])
    assert array.dtype == np.float32
    assert np.array_equal(array, expected)


@pytest.mark.parametrize(
    ("offsets", "reason"),
    [((0, 2), "the parts of w overlap"), ((0, 4), "a part of w is outside of it"), ((1, 3), "a part of w")],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, lines: Lines, offsets: Any, reason: str) -> None:
    (line,) = lines(lambda: read_checkpoint(shared(tmp_path / "step", offsets)))
    assert "is not a complete checkpoint of torch.distributed.checkpoint" in line
    assert reason in line or "overlap" in line


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "__1_0.distcp").unlink(),
        lambda folder: os.truncate(folder / "__1_0.distcp", 100),
        lambda folder: os.truncate(folder / ".metadata", 100),
        lambda folder: (folder / ".metadata").write_bytes(pickle.dumps({"a": 1})),
    ],
)
def test_a_folder_that_lacks_something_is_refused(tmp_path: Path, lines: Lines, change: Callable[[Path], Any]) -> None:
    folder = shared(tmp_path / "step")
    change(folder)
    (line,) = lines(lambda: read_checkpoint(folder))
    assert line.startswith(f"{folder}: is not a complete checkpoint of torch.distributed.checkpoint (")


@pytest.mark.parametrize("file", ["../elsewhere{}.distcp", "/etc/passwd", "", ".."])
def test_a_part_that_lies_elsewhere_is_refused(tmp_path: Path, lines: Lines, file: str) -> None:
    (line,) = lines(lambda: read_checkpoint(shared(tmp_path / "step", file=file)))
    assert "refused: a part of w is outside of the folder" in line


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, lines: Lines) -> None:
    folder = shared(tmp_path / "step")
    (folder / "__1_0.distcp").rename(tmp_path / "elsewhere")
    (folder / "__1_0.distcp").symlink_to(tmp_path / "elsewhere")
    (line,) = lines(lambda: read_checkpoint(folder))
    assert "refused: a part of w is outside of the folder" in line


def test_parts_that_are_named_again_and_again_are_refused(tmp_path: Path, lines: Lines) -> None:
    folder = shared(tmp_path / "step")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    (place, info) = next(iter(metadata.storage_data.items()))
    for index in range(100):
        chunk = ChunkStorageMetadata(place.offset, torch.Size([3, 4]))
        properties = TensorProperties(dtype=torch.float32)
        metadata.state_dict_metadata[f"w{index}"] = TensorStorageMetadata(properties, torch.Size([3, 4]), [chunk])
        metadata.storage_data[MetadataIndex(f"w{index}", place.offset)] = info
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    (line,) = lines(lambda: read_checkpoint(folder))
    assert "refused: its tensors need more bytes than its files contain" in line


def test_nothing_in_the_pickle_is_run(tmp_path: Path, lines: Lines) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = shared(tmp_path / "step")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.planner_data = Command()
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    assert list(read_checkpoint(folder).tensors) == ["w"]
    assert not (tmp_path / "ran").exists()
