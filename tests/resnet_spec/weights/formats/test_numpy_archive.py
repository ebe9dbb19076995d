"""NumPy's archives are read by name without unpickling, and written so that NumPy reads them."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, initialize, read_weights, write_model
from resnet_spec.errors import OutputError, WeightsError
from resnet_spec.weights.converting import convert, find_target
from resnet_spec.weights.formats.numpy_archive import read_npy, read_npz, write_npz
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[..., list[str]]

ARRAYS = {
    "resnet/root_block/standardized_conv2d/kernel": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "fc.bias": np.array([1.5, -2.0]),
    "half": np.ones(3, "float16"),
    "steps": np.array(7),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), "float32"),
    "columns": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "big": np.arange(3, dtype=">f4"),
    "file": np.ones(1, "uint8"),
}


def saved(path: Path, compressed: bool = False, **more: Any) -> Path:
    entries = {**{name: array for name, array in ARRAYS.items() if name != "file"}, **more}
    (np.savez_compressed if compressed else np.savez)(path, **entries)
    return path


def refusal(lines: Lines, path: Path, read: Callable[..., Any] = read_npz) -> str:
    (message,) = lines(lambda: read(path))
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_read_by_their_names(compressed: bool, tmp_path: Path) -> None:
    checkpoint = read_npz(saved(tmp_path / "w.npz", compressed))
    with np.load(tmp_path / "w.npz") as wanted:
        assert list(checkpoint.tensors) == list(wanted)
        for name, array in checkpoint.tensors.items():
            np.testing.assert_array_equal(array, wanted[name].astype(array.dtype), strict=True)
    for array in checkpoint.tensors.values():
        assert array.dtype.isnative
        assert array.ctypes.data % 64 == 0 or not array.size or array.base is None
        array += np.array(1, array.dtype) if array.dtype != bool else True


@pytest.mark.parametrize("name", ["w.npz", "w.h5", "w.pth", "w"])
def test_the_format_is_recognized_by_the_content(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "x.npz").rename(tmp_path / name)
    assert read_checkpoint(tmp_path / name).tensors["fc.bias"].tolist() == [1.5, -2]


def test_long_headers_are_read(tmp_path: Path) -> None:
    """NumPy's second version of the header is for shapes and types that the first has no room for."""
    content = BytesIO()
    np.lib.format.write_array(content, np.ones((2, 2), "float32"), version=(2, 0))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", content.getvalue())
    assert read_npz(tmp_path / "w.npz").tensors["a"].tolist() == [[1, 1], [1, 1]]


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def test_objects_are_not_unpickled(tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "w.npz", evil=np.array([_Evil()], dtype=object), names=np.array(["a"]))
    checkpoint = read_npz(path)
    assert "fc.bias" in checkpoint.tensors
    assert checkpoint.unreadable == {"evil": "Python objects", "names": "text"}
    assert checkpoint.remarks == (
        "left out, since they are not arrays of numbers: 'evil' (Python objects), 'names' (text)",
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README.txt", "hello")
    checkpoint = read_checkpoint(path)
    assert "fc.bias" in checkpoint.tensors
    assert "'README.txt' (another file), 'evil'" in checkpoint.remarks[0]
    np.savez(path, evil=np.array([_Evil()], dtype=object))
    assert refusal(lines, path) == "holds only Python objects; save the arrays by name: numpy.savez(PATH, **arrays)"
    np.savez(path)
    assert refusal(lines, path, read_npz) == "holds no arrays; save the arrays by name: numpy.savez(PATH, **arrays)"
    assert not (tmp_path / "executed").exists()


def test_a_single_array_or_a_pickled_mapping_is_refused_with_advice(tmp_path: Path, lines: Lines) -> None:
    np.save(tmp_path / "w.npy", np.ones(3))
    assert refusal(lines, tmp_path / "w.npy", read_checkpoint) == (
        "is a single array without a name; save the arrays by name: numpy.savez(PATH, **arrays)"
    )
    np.save(tmp_path / "w.npy", np.array({"a": np.ones(3)}))
    assert refusal(lines, tmp_path / "w.npy", read_checkpoint) == (
        "refused: it is a pickled Python object, whose loading would run code; if you trust it, save its arrays by "
        "name: numpy.savez(PATH, **numpy.load(FILE, allow_pickle=True).item())"
    )
    (tmp_path / "w.npy").write_bytes(b"\x93NUMPY\x01")
    assert refusal(lines, tmp_path / "w.npy", read_npy) == "is not a whole NumPy file"


# -- hostile files -----------------------------------------------------------------------------------------------


def archived(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def headed(header: str, body: bytes = b"\0" * 8) -> bytes:
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode() + body


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 3000 + "2), }",
        "{'descr': 'x', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir('executed'),), }",
        "[" * 5000,
        "",
    ],
)
def test_a_header_that_lies_is_refused(header: str, tmp_path: Path, lines: Lines) -> None:
    path = archived(tmp_path / "w.npz", w=headed(header))
    assert refusal(lines, path).startswith("is not a whole NumPy archive (")


def test_an_archive_that_unpacks_to_more_than_it_can_hold_is_refused(tmp_path: Path, lines: Lines) -> None:
    np.savez_compressed(tmp_path / "w.npz", w=np.zeros(2**24, "float32"))
    tracemalloc.start()
    assert refusal(lines, tmp_path / "w.npz").startswith("refused: w.npy claims 67,1")
    many = {str(n): np.zeros(2**17, "float32") for n in range(64)}
    np.savez_compressed(tmp_path / "w.npz", **many)
    tracemalloc.reset_peak()
    assert refusal(lines, tmp_path / "w.npz").startswith("refused: the whole claims 33,5")
    tracemalloc.stop()


def test_two_arrays_of_one_name_are_refused(tmp_path: Path, lines: Lines) -> None:
    content = BytesIO()
    np.save(content, np.ones(2))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", content.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", content.getvalue())
    assert refusal(lines, tmp_path / "w.npz") == "two arrays are named a"


def test_a_truncated_or_changed_file_is_refused_or_gives_its_arrays(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.npz")
    whole = path.read_bytes()
    for length in (len(whole) * tenth // 10 for tenth in range(10)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_npz(path)
    refused = 0
    places = range(0, len(whole), len(whole) // 150)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(WeightsError):
            assert sum(array.nbytes for array in read_npz(path).tensors.values()) < len(whole)
            continue
        refused += 1
    # Every member has a checksum.
    assert refused > len(places) * 0.7


# -- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_what_is_written_numpy_reads(half: bool, small: Graph, tmp_path: Path) -> None:
    arrays = initialize(small)
    path = tmp_path / "w.npz"
    convert(small, arrays, find_target(path), half=half)
    with np.load(path) as written:
        assert list(written) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(written[name], array.astype("float16" if half else "float32"), strict=True)
    again = read_weights(path, small, adapt="half" if half else ())
    assert all(np.array_equal(again[name], arrays[name].astype("float16") if half else arrays[name]) for name in arrays)


def test_the_same_arrays_are_the_same_file(small: Graph, tmp_path: Path) -> None:
    arrays = initialize(small)
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, arrays)
        arrays = {key: np.asfortranarray(array) for key, array in arrays.items()}
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_writing_is_strict_and_replaces_nothing_unasked(small: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = initialize(small)
    path = tmp_path / "w.npz"
    lacking = {name: array for name, array in arrays.items() if name != "fc.bias"}
    assert "fc.bias: missing" in lines(lambda: convert(small, lacking, find_target(path)))
    large = {**arrays, "fc.bias": arrays["fc.bias"] + 1e6}
    assert "too large" in lines(lambda: convert(small, large, find_target(path), half=True))[0]
    assert list(tmp_path.glob("*.npz")) == []
    convert(small, arrays, find_target(path))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        convert(small, arrays, find_target(path))
    assert path.read_bytes() == before


def test_a_model_of_any_backend_is_written(small: Graph, tmp_path: Path) -> None:
    class Fake:
        name = "fake"
        outputs: dict[str, str] = {}  # noqa: RUF012

        def arrays(self, model: Any, graph: Graph) -> Any:
            return model

    write_model(initialize(small), small, tmp_path / "w.npz", Fake())  # type: ignore[arg-type]
    assert list(read_weights(tmp_path / "w.npz", small)) == [parameter.name for parameter in small.parameters()]


def test_a_pickle_is_not_an_archive(tmp_path: Path, lines: Lines) -> None:
    (tmp_path / "w.npz").write_bytes(pickle.dumps(ARRAYS))
    assert refusal(lines, tmp_path / "w.npz").startswith("is not a whole NumPy archive (")
    assert "fc.bias" in read_checkpoint(tmp_path / "w.npz").tensors
