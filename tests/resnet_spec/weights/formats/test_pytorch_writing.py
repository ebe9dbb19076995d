"""What is written without PyTorch is what PyTorch reads: the same tensors, aligned, from any machine the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet_spec.weights.formats.pytorch_writing import STORAGES, write_state_dict

Lines = Callable[[Callable[[], Any]], list[str]]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", STORAGES)
def test_pytorch_reads_every_type(tmp_path: Path, dtype: str, mmap: bool) -> None:
    numbers = np.random.default_rng(0).normal(size=(3, 4, 5)) * 3
    arrays: dict[str, Any] = {"layer.weight": numbers.astype(dtype), "größe": np.array(1, dtype)}
    arrays |= {"empty": np.zeros((2, 0, 3), dtype), "turned": np.asfortranarray(numbers[0].astype(dtype))}
    write_state_dict(tmp_path / "x.pth", arrays)
    read = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)

    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].is_contiguous()
        assert read[name].data_ptr() % 64 == 0
        assert read[name].numpy().dtype == dtype
        np.testing.assert_array_equal(read[name].numpy(), array)


def test_equal_arrays_make_equal_files(tmp_path: Path) -> None:
    arrays = {"a": np.arange(5, dtype="float32")}
    for name in "xy":
        write_state_dict(tmp_path / name, arrays)

    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_type_that_pytorch_lacks_is_refused(tmp_path: Path, lines: Lines) -> None:
    arrays = {"a": np.zeros(2, "float32"), "b": np.zeros(2, "complex64"), "c": np.zeros(2, "U3")}

    assert lines(lambda: write_state_dict(tmp_path / "x", arrays)) == [
        "b: PyTorch has no type complex64",
        "c: PyTorch has no type str96",
    ]
