"""Safetensors files are read in one piece or mapped, and written a tensor at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from resnet_spec.weights.formats.safetensors import read_safetensors, read_shards, write_safetensors
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[..., list[str]]

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def stored(path: Path, entries: dict[str, Any], body: bytes) -> Path:
    """A file with a header of one's own."""
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return path


# -- one file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_written_and_read(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "x.safetensors"
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.ones((), dtype), "c": np.zeros((0, 3), dtype)}
    write_safetensors(path, arrays, {"key": "Größe"})
    checkpoint = read_safetensors(path)

    for read in (checkpoint.tensors, load_file(path)):
        assert {name: (array.dtype, array.shape) for name, array in read.items()} == {
            name: (array.dtype, array.shape) for name, array in arrays.items()
        }
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    assert (checkpoint.metadata, checkpoint.widened) == ({"key": "Größe"}, frozenset())


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    arrays = {dtype: np.arange(5).astype(dtype) for dtype in DTYPES}
    save_file(arrays, tmp_path / "x.safetensors", {"key": "value"})
    read = read_safetensors(tmp_path / "x.safetensors")

    assert all(np.array_equal(read.tensors[name], array) for name, array in arrays.items())
    assert read.metadata == {"key": "value"}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype="float32").reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10, dtype="float64")[::-2],
        np.broadcast_to(np.float32(3), (4, 5)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype=">i8"),
    ],
)
def test_arrays_are_written_as_they_look(tmp_path: Path, array: Any) -> None:
    write_safetensors(tmp_path / "x", {"a": array})

    assert np.array_equal(load_file(tmp_path / "x")["a"], array)


def test_arrays_are_rounded_as_they_are_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((3, 4))
    write_safetensors(tmp_path / "x", {"a": array, "b": array.astype("float32")}, dtype="float16")

    assert {name: read.dtype.name for name, read in load_file(tmp_path / "x").items()} == dict.fromkeys("ab", "float16")
    assert np.array_equal(load_file(tmp_path / "x")["a"], array.astype("float16"))


def test_a_type_that_the_format_lacks_is_reported(tmp_path: Path, lines: Lines) -> None:
    arrays = {"a": np.zeros(1, "complex128"), "b": np.zeros(1), "c": np.zeros(1, "longdouble")}

    assert lines(lambda: write_safetensors(tmp_path / "x", arrays)) == [
        "a: safetensors has no type complex128",
        f"c: safetensors has no type {np.dtype('longdouble').name}",
    ]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("mmap", [False, True])
def test_changing_a_tensor_leaves_the_file_alone(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "x"
    write_safetensors(path, {"a": np.zeros(4, "float32")})
    before = path.read_bytes()
    array = read_safetensors(path, mmap=mmap).tensors["a"]
    array[:] = 1

    assert not array.flags.owndata
    assert path.read_bytes() == before


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    values = np.array([1.5, -(2.0**-126), np.inf, 0.0], "<f4")
    bits = (values.view("<u4") >> 16).astype("<u2").tobytes()
    entries = {
        "a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "U8", "shape": [1], "data_offsets": [8, 9]},
        "c": {"dtype": "BF16", "shape": [0], "data_offsets": [9, 9]},
    }
    read = read_safetensors(stored(tmp_path / "x", entries, bits + b"\7"))

    assert read.tensors["a"].dtype == np.float32
    assert np.array_equal(read.tensors["a"], values.reshape(2, 2))
    assert (read.tensors["b"][0], read.tensors["c"].shape, read.widened) == (7, (0,), {"a", "c"})


@pytest.mark.parametrize("dtype", ["F8_E4M3", "U16", "C64", "X"])
def test_a_type_that_is_not_read_is_reported(tmp_path: Path, lines: Lines, dtype: str) -> None:
    size = {"F8_E4M3": 1, "U16": 2, "C64": 8, "X": 1}[dtype]
    entries = {"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}
    path = stored(tmp_path / "x", entries, b"\0" * size)

    assert lines(lambda: read_safetensors(path)) == [f"{path}: a is stored as {dtype}, which is not supported"]


def test_the_data_are_aligned(tmp_path: Path) -> None:
    for length in range(1, 9):
        write_safetensors(tmp_path / "x", {"n" * length: np.zeros(1)})
        assert int.from_bytes((tmp_path / "x").read_bytes()[:8], "little") % 8 == 0


@pytest.fixture
def measuring(tmp_path: Path, python: Callable[..., Any]) -> Callable[..., Any]:
    """Run a program that can ask for its peak memory; ``ru_maxrss`` starts at that of the process that started it."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux's /proc")
    (tmp_path / "peak.py").write_text(
        "import re\n"
        "def peak():\n"
        "    return int(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]) * 1024\n",
        "utf-8",
    )
    return python


def test_no_more_than_one_tensor_is_copied_at_a_time(measuring: Callable[..., Any]) -> None:
    done = measuring(
        """
        from peak import peak
        from pathlib import Path
        import numpy as np
        from resnet_spec.weights.formats.safetensors import write_safetensors
        arrays = {f"t{i}": np.broadcast_to(np.float32(i), (2**21,)) for i in range(20)}
        write_safetensors(Path("warm"), {"t": np.zeros(1)})
        before = peak()
        for dtype in (None, "float16"):
            write_safetensors(Path("x"), arrays, dtype=dtype)
        after = peak()
        print(Path("x").stat().st_size, after - before)
        """
    )
    size, used = map(int, done.out.split())

    # Twenty tensors of 8 MB, half as much in half precision, of which two at most may be there at once.
    assert size > 80e6
    assert used < 24e6


def test_a_file_is_read_once_and_a_mapped_one_no_further_than_its_header(measuring: Callable[..., Any]) -> None:
    done = measuring(
        """
        from peak import peak
        from pathlib import Path
        import numpy as np
        from resnet_spec.weights.formats.safetensors import read_safetensors, write_safetensors
        write_safetensors(Path("warm"), {"t": np.zeros(1)})
        read_safetensors(Path("warm"))
        write_safetensors(Path("x"), {f"t{i}": np.broadcast_to(np.float32(i), (2**18,)) for i in range(100)})
        for mmap in (True, False):
            before = peak()
            kept = read_safetensors(Path("x"), mmap=mmap)
            print(peak() - before)
        """
    )
    mapped, read = map(int, done.out.split())

    assert mapped < 8e6
    # The file has 105 MB, of which there is no second copy.
    assert 95e6 < read < 115e6


def test_a_tensor_is_read_into_aligned_memory(tmp_path: Path) -> None:
    """Wherever a header ends, PyTorch takes the memory as it is."""
    for length in range(1, 9):
        path = stored(tmp_path / "x", {"n" * length: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234")
        (array,) = read_safetensors(path).tensors.values()
        assert array.ctypes.data % 64 == 0


# -- several files with an index ---------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder as Hugging Face's libraries write one, of two parts."""
    parts = {"model-1.safetensors": ["a", "b"], "model-2.safetensors": ["c"]}
    for part, names in parts.items():
        save_file({name: np.full(3, ord(name), "float32") for name in names}, tmp_path / part, {"format": "pt"})
    places = {name: part for part, names in parts.items() for name in names}
    index(tmp_path, places)
    return tmp_path


def index(folder: Path, places: Any) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": places}))
    return path


def test_parts_are_read_by_their_index(shards: Path) -> None:
    for path in (shards, shards / "model.safetensors.index.json"):
        read = read_checkpoint(path)
        assert {name: array[0] for name, array in read.tensors.items()} == {"a": 97, "b": 98, "c": 99}
        assert read.metadata == {"format": "pt"}


def test_an_index_is_known_by_its_content(shards: Path) -> None:
    renamed = (shards / "model.safetensors.index.json").rename(shards / "x")

    assert list(read_checkpoint(renamed).tensors) == ["a", "b", "c"]


def test_parts_of_bfloat16_are_reported(shards: Path) -> None:
    entries = {"c": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    stored(shards / "model-2.safetensors", entries, b"\0\0")

    assert read_checkpoint(shards).widened == {"c"}


def test_an_index_and_its_parts_must_name_the_same(shards: Path, lines: Lines) -> None:
    path = index(shards, {"a": "model-1.safetensors", "c": "model-1.safetensors", "d": "model-2.safetensors"})

    assert lines(lambda: read_shards(path)) == [
        f"{path}: the index and its parts differ",
        "c: is not in model-1.safetensors, where the index has it",
        "d: is not in model-2.safetensors, where the index has it",
        "b: is in model-1.safetensors, where the index does not have it",
        "c: is in model-2.safetensors, where the index does not have it",
    ]


def test_a_part_that_is_missing_is_reported(shards: Path, lines: Lines) -> None:
    (shards / "model-2.safetensors").unlink()
    path = shards / "model.safetensors.index.json"

    assert lines(lambda: read_shards(path)) == [f"{path}: its part 'model-2.safetensors' is missing"]


def test_a_cache_of_links_is_read(tmp_path: Path) -> None:
    """Hugging Face's cache has files as links into a folder of blobs."""
    snapshot, blobs = tmp_path / "snapshots" / "0a1b", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"a": np.zeros(2, "float32")}, blobs / "c0ffee")
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs/c0ffee"))

    assert list(read_checkpoint(snapshot).tensors) == ["a"]


def test_metadata_of_our_own_is_what_the_library_reads(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", {}, {"a": "b"})
    with safe_open(tmp_path / "x", framework="numpy") as opened:
        assert opened.metadata() == {"a": "b"}
