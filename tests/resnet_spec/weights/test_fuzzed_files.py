"""Files whose bytes were changed at random end in an error or in arrays: no crash, no hang, and not much memory.

``FILES`` has a valid file for each format that the core reads.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import shutil
import signal
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.distributed import checkpoint as dcp
from torch.utils.serialization import config

from resnet_spec import WeightsError
from resnet_spec.weights.formats.detection import DCP, ORBAX, ending_of
from resnet_spec.weights.reading import CORE_READERS
from tests.needs import need
from tests.resnet_spec.weights.formats.wire import data, number, varint

MADE = Path(__file__).with_name("made")

ARRAYS: Mapping[str, Any] = {
    "layer/kernel": np.random.default_rng(0).normal(size=(40, 30, 3, 3)).astype("float32"),
    "layer/bias": np.arange(40, dtype="float32"),
    "half": np.arange(7, dtype="float16"),
    "count": np.array([3], "int64"),
}
"""What each file holds: about 43 kB, and small arrays of other types."""


def safetensors(path: Path) -> None:
    save_file(dict(ARRAYS), path, {"key": "value"})


def hdf5(path: Path | io.BytesIO, layers: str = "layer_names") -> None:
    with h5py.File(path, "w") as file:
        file.attrs[layers] = [b"layer"]
        group = file.create_group("layer")
        group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        group["kernel:0"], group["bias:0"] = ARRAYS["layer/kernel"], ARRAYS["layer/bias"]


def keras(path: Path) -> None:
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        for place, array in enumerate((ARRAYS["layer/kernel"], ARRAYS["layer/bias"])):
            file[f"layers/dense/vars/{place}"] = array
    layers = [{"class_name": "Dense", "config": {"name": "layer"}}]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        archive.writestr("model.weights.h5", inner.getvalue())


def flax(path: Path) -> None:
    def leaf(array: Any) -> Any:
        return msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))

    pieces = {"__msgpack_chunked_array__": True, "shape": {"0": 14}, "chunks": {}}
    pieces["chunks"] = {"0": leaf(ARRAYS["half"]), "1": leaf(ARRAYS["half"])}
    tree = {"params": {"layer": {name: leaf(array) for name, array in ARRAYS.items()}}, "pieces": pieces}
    path.write_bytes(msgpack.packb({**tree, "list": [1, 2.5, None, "text"]}))


def mxnet(path: Path) -> None:
    codes = {"float32": 0, "float16": 2, "int64": 6}
    content = struct.pack("<QQQ", 0x112, 0, len(ARRAYS))
    for array in ARRAYS.values():
        content += struct.pack(f"<Iii{array.ndim}q", 0xF993FAC9, 0, array.ndim, *array.shape)
        content += struct.pack("<iii", 1, 0, codes[array.dtype.name]) + array.tobytes()
    content += struct.pack("<Q", len(ARRAYS))
    path.write_bytes(content + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in ARRAYS))


def frozen_graph(path: Path) -> None:
    codes = {"float32": 1, "float16": 19, "int64": 9}
    content = b""
    for name, array in ARRAYS.items():
        shape = data(2, *(data(2, number(1, length)) for length in array.shape))
        value = data(8, number(1, codes[array.dtype.name]), shape, data(4, array.tobytes()))
        content += data(1, data(1, name), data(2, "Const"), data(5, data(1, "value"), data(2, value)))
    splat = data(8, number(1, 19), data(2, data(2, number(1, 5))), data(13, varint(0x3C00), varint(0x4000)))
    path.write_bytes(content + data(1, data(1, "splat"), data(2, "Const"), data(5, data(1, "value"), data(2, splat))))


def caffe(path: Path) -> None:
    def blob(array: Any) -> bytes:
        return data(7, data(7, data(1, *map(varint, array.shape))), data(5, array.tobytes()))

    kernel, bias = ARRAYS["layer/kernel"], ARRAYS["layer/bias"]
    norm = data(100, data(1, "bn"), data(2, "BatchNorm"), blob(bias), blob(bias), blob(np.ones(1, "float32")))
    path.write_bytes(data(1, "net") + data(100, data(1, "a"), data(2, "Convolution"), blob(kernel), blob(bias)) + norm)


def checkpoint() -> dict[str, Any]:
    """What training scripts save."""
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    beside = {"epoch": 3, "args": argparse.Namespace(lr=0.1, path=Path("x")), "best": np.float64(0.5), "names": {"a"}}
    views = {"view": tensors["layer/kernel"].permute(3, 2, 1, 0), "narrow": torch.ones(3, dtype=torch.bfloat16)}
    return {"state_dict": OrderedDict(tensors), **beside, "optimizer": {"state": {0: views}}}


def zipped(path: Path) -> None:
    # With checksums, hardly a change would get beyond them.
    with config.patch("save.compute_crc32", False):
        torch.save(checkpoint(), path)


def legacy(path: Path) -> None:
    torch.save(checkpoint(), path, _use_new_zipfile_serialization=False)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({**checkpoint(), "arrays": dict(ARRAYS)}, 4))


def npz(path: Path) -> None:
    arrays = {**ARRAYS, "objects": np.array([{"a": 1}], dtype=object)}
    np.savez(path, **arrays)


def orbax(path: Path) -> None:
    need("tensorstore")
    shutil.unpack_archive(MADE / "orbax.zip", path.parent / "orbax")
    shutil.copytree(path.parent / "orbax/standard", path)


def torch_folder(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        dcp.save({"model": {name: torch.from_numpy(array) for name, array in ARRAYS.items()}}, checkpoint_id=path)


FILES: Mapping[str, Callable[[Path], None]] = {
    ".safetensors": safetensors,
    ".h5": hdf5,
    ".keras": keras,
    ".msgpack": flax,
    ".params": mxnet,
    ".pb": frozen_graph,
    ".caffemodel": caffe,
    ".pth": zipped,
    ".pt": legacy,
    ".pkl": pickled,
    ".npz": npz,
    ORBAX: orbax,
    DCP: torch_folder,
}

ELSEWHERE = {".safetensors.index.json", ".npy"}
"""Formats whose files other tests break: an index is text, and a single array is always refused."""

HUGE = (0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)

EDGE = 400
"""Bytes at each end of a file, where most of what describes it is."""

MANY = int(os.environ.get("RESNET_SPEC_FUZZED_FILES", "300"))
"""Files of each format in the slow test; ``make fuzz`` has ten thousand."""

HANG = 10
"""Seconds in which each file has to be read or refused; files are small, and take milliseconds."""

SLACK = 3 * 2**20
"""Bytes beyond four times the file's size: what its reader's library and errors take, and constants of one number."""


def test_every_format_is_here() -> None:
    assert FILES.keys() == CORE_READERS.keys() - ELSEWHERE


@pytest.mark.parametrize("ending", FILES)
def test_a_valid_file_is_known_and_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    FILES[ending](path)

    assert CORE_READERS[ending_of(path)] is CORE_READERS[ending]
    assert CORE_READERS[ending](path).tensors


def changed(content: bytes, chance: random.Random) -> bytes:
    """One to three bytes or numbers replaced, most of them where the file is described."""
    broken = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        near = min(EDGE, len(broken))
        place = chance.choice((chance.randrange(near), len(broken) - 1 - chance.randrange(near)))
        if chance.random() < 0.3:
            place = chance.randrange(len(broken))
        kind = chance.random()
        if kind < 0.4:
            broken[place] ^= 1 << chance.randrange(8)
        elif kind < 0.6:
            broken[place] = chance.randrange(256)
        elif kind < 0.9:
            size, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
            number = (chance.choice(HUGE) & (1 << 8 * size) - 1).to_bytes(size, order)
            broken[place : place + size] = number
        else:
            del broken[place : place + chance.randrange(1, 9)]
        if not broken:
            break
    return bytes(broken)


def cases(file: Path, number: int, seed: str) -> Iterator[None]:
    """Change a file, or one of a folder's, so many times; it is as it was after each."""
    chance = random.Random(seed)
    files = sorted(path for path in file.rglob("*") if path.is_file()) if file.is_dir() else [file]
    for _ in range(number):
        path = chance.choice(files)
        content = path.read_bytes()
        path.write_bytes(changed(content, chance))
        yield
        path.write_bytes(content)


class HangError(BaseException):
    """Reading took too long; no reader catches it."""


@contextmanager
def limited(seconds: float = HANG) -> Iterator[None]:
    """Fail if what is inside takes too long, where the system can interrupt it."""

    def interrupt(*_: object) -> None:
        raise HangError

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except HangError:
        pytest.fail(f"reading took more than {seconds} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(ending: str, path: Path) -> str:
    """How reading ends; anything else than arrays or an error that names the file fails."""
    ending_of(path)
    try:
        tensors = CORE_READERS[ending](path).tensors
    except WeightsError as error:
        return str(error)
    assert all(isinstance(array, np.ndarray) for array in tensors.values())
    return ""


def traced(ending: str, path: Path) -> tuple[str, int]:
    """The outcome of reading a file, and the most bytes that Python allocated for it."""
    tracemalloc.start()
    try:
        with limited():
            said = outcome(ending, path)
        return said, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz(tmp_path: Path, ending: str, number: int, seed: str) -> None:
    path = tmp_path / f"weights{ending}"
    FILES[ending](path)
    size = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
    outcome(ending, path)
    refused = read = 0
    for _ in cases(path, number, seed):
        said, peak = traced(ending, path)
        if peak >= 4 * size + SLACK:
            # What is imported for the first time counts too, once.
            said, peak = traced(ending, path)
        assert peak < 4 * size + SLACK
        assert not said or (said.startswith(f"{path}: ") and len(said) < 1000)
        refused, read = refused + bool(said), read + (not said)
    assert refused
    assert read


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers")
def test_a_reader_that_hangs_fails() -> None:
    def hang() -> None:
        while True:
            with suppress(Exception):
                time.sleep(10)

    with pytest.raises(pytest.fail.Exception, match="took more than"), limited(0.05):
        hang()


@pytest.mark.parametrize("ending", FILES)
def test_changed_bytes_end_in_an_error_or_in_arrays(tmp_path: Path, ending: str) -> None:
    fuzz(tmp_path, ending, 30, f"{ending} 0")


@pytest.mark.slow
@pytest.mark.parametrize("ending", FILES)
def test_many_changed_bytes_end_in_an_error_or_in_arrays(tmp_path: Path, ending: str) -> None:
    fuzz(tmp_path, ending, MANY, f"{ending} 1")


@pytest.mark.parametrize("tenths", range(10))
@pytest.mark.parametrize("ending", sorted(FILES.keys() - {ORBAX, DCP}))
def test_truncated_files_are_refused(tmp_path: Path, ending: str, tenths: int) -> None:
    path = tmp_path / f"weights{ending}"
    FILES[ending](path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenths // 10])
    ending_of(path)
    with pytest.raises(WeightsError, match=r"weights\S*: "):
        CORE_READERS[ending](path)
