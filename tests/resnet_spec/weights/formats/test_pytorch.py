"""PyTorch's files of every format and protocol are read without PyTorch, whatever else is in them."""

from __future__ import annotations

import argparse
import datetime
import io
import os
import pickle
import pickletools
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.serialization import config

from resnet_spec import Graph, build, initialize, read_weights
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.pytorch import read_state_dict
from tests.resnet_spec.weights.formats.opcodes import call, glob, number, text, tuple_of
from tests.resnet_spec.weights.formats.opcodes import state as pickled_state
from tests.resnet_spec.weights.formats.opcodes import tensor as pickled_tensor

TENSORS = OrderedDict({
    "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.tensor([0.5], dtype=torch.float64),
    "b.num_batches_tracked": torch.tensor(3),
})  # fmt: skip


def error(path: Path) -> str:
    """What reading a file is refused with: one line that starts with the path."""
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message.removeprefix(f"{path}: ")


def saved(path: Path, content: Any, *, zipped: bool = True, protocol: int = 2) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return path


def read(path: Path, content: Any, *, zipped: bool = True) -> Checkpoint:
    return read_state_dict(saved(path, content, zipped=zipped))


def assert_is_tensors(arrays: Any) -> None:
    assert list(arrays) == list(TENSORS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, TENSORS[name].numpy(), strict=True)


# -- formats and protocols ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_as_it_is(zipped: bool, protocol: int, tmp_path: Path) -> None:
    checkpoint = read_state_dict(saved(tmp_path / "w.pth", TENSORS, zipped=zipped, protocol=protocol))
    assert_is_tensors(checkpoint.tensors)
    assert checkpoint == Checkpoint(checkpoint.tensors)


@pytest.mark.parametrize("protocol", range(6))
def test_tensors_that_python_pickled_itself_are_read(protocol: int, tmp_path: Path) -> None:
    """Each storage is then a file in the legacy format within the pickle."""
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": TENSORS, "again": TENSORS["a"]}, protocol))
    tensors = dict(read_state_dict(tmp_path / "w.pkl").tensors)
    np.testing.assert_array_equal(tensors.pop("again"), [0.5])
    assert_is_tensors({name.removeprefix("model."): array for name, array in tensors.items()})


def test_arrays_of_a_whole_network_equal_those_of_torch(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.Conv2d(8, 4, 1), nn.PReLU()))
    network(torch.randn(2, 3, 8, 8))
    for zipped in (True, False):
        path = saved(tmp_path / "w.pth", network.state_dict(), zipped=zipped)
        wanted = torch.load(path, weights_only=False)
        for mmap in (False, True):
            arrays = read_state_dict(path, mmap=mmap).tensors
            assert list(arrays) == list(wanted)
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, wanted[name].numpy(), strict=True)


@pytest.mark.parametrize("mmap", [True, False])
def test_arrays_are_aligned_and_written_to_without_changing_the_file(mmap: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", TENSORS)
    before = path.read_bytes()
    for array in read_state_dict(path, mmap=mmap).tensors.values():
        assert array.ctypes.data % 64 == 0
        array += 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("zipped", [True, False])
def test_views_of_one_storage_are_read(zipped: bool, tmp_path: Path) -> None:
    flat = torch.arange(6, dtype=torch.float32)
    content = {"a": flat[:2], "b": flat[2:].reshape(2, 2).T, "c": flat[:2], "d": flat[:1].expand(3), "e": flat[:0]}
    arrays = read(tmp_path / "w.pth", content, zipped=zipped).tensors
    wanted = {"a": [0, 1], "b": [[2, 4], [3, 5]], "c": [0, 1], "d": [0, 0, 0], "e": []}
    assert {name: array.tolist() for name, array in arrays.items()} == wanted


def test_a_part_of_a_storage_in_the_oldest_legacy_files_is_read(tmp_path: Path) -> None:
    """PyTorch before 0.4 wrote a storage that is part of another as the other's key, with a place in it."""
    whole = saved(tmp_path / "w.pth", {"w": torch.arange(6, dtype=torch.float32)}, zipped=False).read_bytes()
    stream = io.BytesIO(whole)
    for _ in range(3):
        list(pickletools.genops(stream))
    start = stream.tell()
    part = tuple_of(text("part"), number(2), number(3))
    storage = tuple_of(text("storage"), glob("torch.FloatStorage"), text("0"), text("cpu"), number(6), part) + b"Q"
    sizes = [tuple_of(number(3)), tuple_of(number(1))]
    value = call("torch._utils._rebuild_tensor", storage, number(0), *sizes)
    keys = pickle.dumps(["0"], protocol=2)
    (tmp_path / "w.pth").write_bytes(whole[:start] + pickled_state(value) + keys + whole[-32:])
    assert read_state_dict(tmp_path / "w.pth").tensors["w"].tolist() == [2, 3, 4]


def test_the_order_of_bytes_is_followed(tmp_path: Path) -> None:
    content = {"w": torch.tensor([1.5, -2]), "h": torch.tensor([3.0], dtype=torch.bfloat16)}
    path = saved(tmp_path / "w.pth", content)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, width in (("archive/data/0", 4), ("archive/data/1", 2)):
        key = name.replace("archive", path.stem) if path.stem + "/data.pkl" in members else name
        members[key] = np.frombuffer(members[key], f"u{width}").byteswap().tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, b"big" if name.endswith("byteorder") else data)
    arrays = read_state_dict(path).tensors
    assert {name: array.tolist() for name, array in arrays.items()} == {"w": [1.5, -2.0], "h": [3.0]}
    assert all(array.dtype.isnative for array in arrays.values())


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    with config.patch("save.compute_crc32", False):
        assert_is_tensors(read(tmp_path / "w.pth", TENSORS).tensors)


def test_parameters_and_subclasses_of_tensors_are_read(tmp_path: Path) -> None:
    class Named(torch.Tensor):
        pass

    subclass = torch.ones(2).as_subclass(Named)
    content = {"p": nn.Parameter(torch.ones(2)), "b": nn.Buffer(torch.ones(2)), "s": subclass}
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "x"  # type: ignore[attr-defined]
    path = tmp_path / "w.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "Named", Named, raising=False)
        Named.__qualname__ = "Named"
        torch.save({**content, "n": parameter}, path)
    arrays = read_state_dict(path).tensors
    assert {name: array.tolist() for name, array in arrays.items()} == {name: [1, 1] for name in "pbsn"}


# -- types of numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "dtype",
    ["float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128"],
)
def test_types_of_numpy_are_read_as_they_are(dtype: str, zipped: bool, tmp_path: Path) -> None:
    values = torch.tensor([1, 0, 1]).to(getattr(torch, dtype))
    checkpoint = read(tmp_path / "w.pth", {"w": values}, zipped=zipped)
    np.testing.assert_array_equal(checkpoint.tensors["w"], values.numpy(), strict=True)
    assert not checkpoint.widened


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_newer_types_of_numpy_are_read(dtype: str, tmp_path: Path) -> None:
    values = torch.tensor([1, 0, 7]).to(getattr(torch, dtype))
    checkpoint = read(tmp_path / "w.pth", {"w": values})
    np.testing.assert_array_equal(checkpoint.tensors["w"], values.numpy(), strict=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_bfloat16_becomes_float32_and_is_reported(zipped: bool, tmp_path: Path) -> None:
    values = torch.randn(5, 7).to(torch.bfloat16).T
    checkpoint = read(tmp_path / "w.pth", {"w": values, "v": torch.ones(2)}, zipped=zipped)
    np.testing.assert_array_equal(checkpoint.tensors["w"], values.float().numpy(), strict=True)
    assert checkpoint.widened == {"w"}


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
def test_every_value_of_float8_becomes_float32(dtype: str, tmp_path: Path) -> None:
    values = torch.arange(256).to(torch.uint8).view(getattr(torch, dtype))
    checkpoint = read(tmp_path / "w.pth", {"w": values})
    wanted = values.float().numpy()
    np.testing.assert_array_equal(checkpoint.tensors["w"], wanted, strict=True)
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.signbit(checkpoint.tensors["w"])[finite], np.signbit(wanted)[finite])
    assert checkpoint.widened == {"w"}


def _quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def _nested() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(2).to_sparse(), "sparse_coo float32 on cpu"),
        (lambda: torch.ones(2, device="meta"), "strided float32 on meta"),
        (_quantized, "strided qint8 on cpu"),
        (_nested, "nested float32"),
        (lambda: torch.ones(2).to(torch.float8_e8m0fnu), "strided float8_e8m0fnu"),
        (lambda: torch.ones(2, dtype=torch.complex64).conj(), "complex64 that is still to be conjugated or negated"),
    ],
    ids=["sparse", "meta", "quantized", "nested", "float8", "conjugated"],
)
def test_a_tensor_without_an_array_is_named_and_the_others_are_read(
    make: Callable[[], torch.Tensor], kind: str, tmp_path: Path
) -> None:
    checkpoint = read(tmp_path / "w.pth", {"v": torch.ones(2), "w": make()})
    assert list(checkpoint.tensors) == ["v"]
    assert checkpoint.unreadable == {"w": kind}


# -- what is beside the tensors ----------------------------------------------------------------------------------


class _Config(dict[str, Any]):
    """As omegaconf and easydict have them: a mapping with attributes."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(**entries)
        self.flags = {"readonly": True}


class _Callback:
    def __init__(self) -> None:
        self.monitor = "acc"
        self.best_model_score = torch.tensor(0.5)
        self.path = Path("x") / "y"


HARMLESS = {
    "epoch": 3,
    "best": np.float64(0.7),
    "count": np.int64(3),
    "path": PurePosixPath("a/b"),
    "date": datetime.datetime(2020, 1, 2, 3, 4),
    "zone": datetime.UTC,
    "meters": defaultdict(list, loss=[0.1, 0.2]),
    "args": argparse.Namespace(lr=0.1, out=Path("x"), device=torch.device("cpu")),
    "config": _Config(depth=50, nested=_Config(a=1)),
    "dtype": torch.float16,
    "size": torch.Size([1, 2]),
    "names": {"a", "b"},
    "type": np.dtype("float32"),
    "text": "x" * 5000,
    "labels": np.array(["cat", "dog"]),
    "objects": np.array([None, {"a": 1}], dtype=object),
    "records": np.zeros(2, [("a", "f4"), ("b", "i4")]),
    "bytes": bytearray(b"x"),
}


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_things_beside_the_tensors_are_skipped(zipped: bool, protocol: int, tmp_path: Path) -> None:
    content = {**HARMLESS, "state_dict": TENSORS}
    checkpoint = read_state_dict(saved(tmp_path / "w.pth", content, zipped=zipped, protocol=protocol))
    assert_is_tensors({name.removeprefix("state_dict."): array for name, array in checkpoint.tensors.items()})
    assert checkpoint.unreadable.keys() == {"labels", "objects", "records"}
    assert checkpoint.remarks == ()


def test_every_tensor_has_its_path(tmp_path: Path) -> None:
    """As Lightning, timm and torchvision's reference scripts write checkpoints, all at once."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    model(torch.ones(2, 2, 4, 4)).sum().backward()
    optimizer.step()
    averaged.update_parameters(model)
    content = {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "model_ema": averaged.state_dict(),
        "lr_schedulers": [torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict()],
        "callbacks": {"EMA": {"ema_state_dict": {"a": torch.ones(1)}}, "other": _Callback()},
        "hyper_parameters": _Config(backbone="resnet18"),
        "confusion": np.ones((2, 2), "int64"),
        b"bytes": torch.ones(1),
        (1, "a"): torch.ones(1),
        (1.5, ()): torch.ones(1),
    }
    checkpoint = read(tmp_path / "w.pth", content)
    names = list(model.state_dict())
    assert list(checkpoint.tensors) == [
        *(f"state_dict.{name}" for name in names),
        *(f"optimizer.state.{number}.momentum_buffer" for number in range(4)),
        "optimizer_states.0.state.0.exp_avg",
        "model_ema.n_averaged",
        *(f"model_ema.module.{name}" for name in names),
        "callbacks.EMA.ema_state_dict.a",
        "callbacks.other.best_model_score",
        "confusion",
        "bytes",
        "1.a",
    ]
    np.testing.assert_array_equal(checkpoint.tensors["state_dict.0.bias"], model[0].bias.detach().numpy())


def test_a_list_of_tensors_has_positions_for_names(tmp_path: Path) -> None:
    assert list(read(tmp_path / "w.pth", [torch.ones(2), (torch.ones(1), {"x": torch.ones(1)})]).tensors) == [
        "0",
        "1.0",
        "1.1.x",
    ]


# -- whole models and programs -----------------------------------------------------------------------------------

ADVICE = ": only its tensors are read; save model.state_dict() to keep a checkpoint that needs no code"


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("temporary", torch.ones(1), persistent=False)
        self.cached = torch.ones(3)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_models_tensors_are_those_of_its_state_dict(zipped: bool, tmp_path: Path) -> None:
    model = _Model()
    with warnings.catch_warnings(action="ignore"):
        checkpoint = read(tmp_path / "w.pth", nn.DataParallel(model) if zipped else model, zipped=zipped)
    wrapper = "module." if zipped else ""
    kind = "torch.nn.parallel.data_parallel.DataParallel" if zipped else f"{__name__}._Model"
    assert list(checkpoint.tensors) == [wrapper + name for name in model.state_dict()]
    assert checkpoint.remarks == (f"is a whole pickled model ({kind}){ADVICE}",)


def test_models_within_a_checkpoint_are_named(tmp_path: Path) -> None:
    """As YOLOv5 writes them."""
    checkpoint = read(tmp_path / "w.pth", {"model": _Model(), "ema": nn.Linear(2, 2), "epoch": 3})
    assert {"model.body.0.weight", "ema.bias"} <= checkpoint.tensors.keys()
    assert checkpoint.remarks == (
        f"contains a whole pickled model ({__name__}._Model) in 'model'{ADVICE}",
        f"contains a whole pickled model (torch.nn.modules.linear.Linear) in 'ema'{ADVICE}",
    )


@pytest.mark.parametrize("traced", [True, False])
def test_a_torchscript_programs_tensors_are_read_and_not_its_code(traced: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Sequential(nn.Conv2d(3, 1, 1))).eval()
    with warnings.catch_warnings(action="ignore"):
        program = torch.jit.trace(model, torch.ones(1, 2, 4, 4)) if traced else torch.jit.script(model)
        torch.jit.save(program, tmp_path / "w.pt")
    checkpoint = read_state_dict(tmp_path / "w.pt")
    wanted = model.state_dict()
    assert sorted(checkpoint.tensors) == sorted(wanted)
    for name, array in checkpoint.tensors.items():
        np.testing.assert_array_equal(array, wanted[name].numpy(), strict=True)
    assert checkpoint.remarks == (
        "is a TorchScript program (torch.nn.modules.container.Sequential): only its tensors are read, not its code",
    )


def test_a_frozen_program_has_no_names(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.freeze(torch.jit.script(nn.Linear(2, 2).eval())), tmp_path / "w.pt")
    assert error(tmp_path / "w.pt") == (
        "is a TorchScript program without named tensors, as torch.jit.freeze makes it; "
        "save the state_dict() of the model that it was made from"
    )


# -- nothing is run ----------------------------------------------------------------------------------------------


class _Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _hostile(path: Path) -> Iterator[_Calls]:
    yield _Calls(os.system, f"touch {path}")
    yield _Calls(eval, f"open({str(path)!r}, 'w')")
    yield _Calls(exec, f"open({str(path)!r}, 'w')")
    yield _Calls(__import__, "antigravity")
    yield _Calls(subprocess.check_output, ["touch", str(path)])
    yield _Calls(_Calls, _Calls(os.system, f"touch {path}"))


class _WithState(OrderedDict[str, Any]):
    """Pickled as an OrderedDict whose attributes, too, are unpickled."""

    def __init__(self, attribute: Any) -> None:
        super().__init__(TENSORS)
        self.attribute = attribute

    def __reduce__(self) -> Any:
        return OrderedDict, (list(self.items()),), {"attribute": self.attribute}


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("how", ["zip", "legacy", "settings", "optimizer", "state", "pickle"])
def test_a_file_that_would_run_code_does_not_and_its_tensors_are_read(which: int, how: str, tmp_path: Path) -> None:
    hostile = list(_hostile(tmp_path / "ran"))[which]
    path = tmp_path / "w.pth"
    contents = {
        "settings": {**TENSORS, "args": argparse.Namespace(lr=hostile)},
        "optimizer": {**TENSORS, "optimizer": {"state": {0: hostile}}},
        "state": _WithState(hostile),
    }
    content = contents.get(how, {**TENSORS, "x": hostile})
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    assert_is_tensors(read_state_dict(path).tensors)
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


def test_no_framework_is_imported(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {**HARMLESS, "model": nn.Linear(2, 2), "a": torch.ones(2).bfloat16()})
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from resnet_spec.weights.formats.pytorch import read_state_dict\n"
            "print(len(read_state_dict(Path(sys.argv[1])).tensors), 'torch' in sys.modules, 'argparse' in sys.modules)",
            str(path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "3 False False\n"


# -- files that are refused --------------------------------------------------------------------------------------


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("thesis.tex", "")
    assert error(tmp_path / "w.pth") == "is a zip archive, but not PyTorch's (it has no data.pkl)"


def test_the_oldest_format_is_refused(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert error(tmp_path / "w.pth").startswith("is in PyTorch's oldest format, a tar archive")


def test_what_has_no_named_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(torch.ones(2), path)
    assert error(path) == "contains a tensor without a name instead of a state_dict (tensors by name)"
    for content, kind in (
        ({"epoch": 3}, "dict"),
        ([], "list"),
        (5, "int"),
        (_Callback, f"{__name__}._Callback"),
        (argparse.Namespace(a=1), "argparse.Namespace"),
    ):
        torch.save(content, path)
        assert (
            error(path)
            == f"contains an object of type {kind} without tensors instead of a state_dict (tensors by name)"
        )


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)}, tmp_path / "w.pth")
    assert error(tmp_path / "w.pth") == "refused: two of its tensors are named a.b"


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"hello world\n" * 50)
    assert error(tmp_path / "w.pth").startswith("is broken or incomplete (")
    assert error(tmp_path / "missing.pth") == "is broken or incomplete (No such file or directory)"
    assert error(tmp_path) == "is broken or incomplete (Is a directory)"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(zipped: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", TENSORS, zipped=zipped)
    whole = path.read_bytes()
    for length in {0, 1, 3, 20, *(len(whole) * tenth // 10 for tenth in range(1, 10)), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert error(path).startswith("is broken or incomplete (")


def _pickle_places(whole: bytes, zipped: bool) -> range:
    """Where in a file its pickles are."""
    if zipped:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            start, size = archive.infolist()[0].header_offset, archive.infolist()[0].file_size
        # The lengths of the name and of the padding are the last of a member's header.
        start += 30 + sum(int.from_bytes(whole[start + place : start + place + 2], "little") for place in (26, 28))
        return range(start, start + size)
    stream = io.BytesIO(whole)
    for _ in range(5):
        list(pickletools.genops(stream))
    return range(stream.tell())


@pytest.mark.parametrize("bits", [1, 0x80, 0xFF])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_flipped_byte_is_refused_or_changes_a_name_or_number(kind: str, bits: int, tmp_path: Path) -> None:
    """In a legacy file nothing checks a letter; a zip archive's pickle has a checksum."""
    path, zipped = tmp_path / "w.pth", kind == "zip"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(TENSORS, 4))
        whole = path.read_bytes()
        pickles = range(len(whole))
    else:
        whole = saved(path, TENSORS, zipped=zipped).read_bytes()
        pickles = _pickle_places(whole, zipped)
    directory = range(whole.index(b"PK\x01\x02"), len(whole)) if zipped else range(0)
    places = [*range(30), *pickles[:: len(pickles) // 40], *directory[:: len(directory) // 40 or 1]]
    refused = 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        with suppress(WeightsError):
            checkpoint = read_state_dict(path)
            assert not (zipped and place in pickles), place
            assert sum(array.nbytes for array in checkpoint.tensors.values()) < len(whole)
            continue
        refused += 1
    assert refused > len(places) // 4


# -- files that claim more than they have ------------------------------------------------------------------------


def _replaced(path: Path, member: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Write a file of tensors whose ``member`` is another."""
    torch.save({"w": torch.ones(2, 3)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, content if name.endswith(member) else data)


@pytest.mark.parametrize("member", ["/data.pkl", "/data/0", "/nothing"])
def test_a_compressed_archive_is_refused_whatever_it_unpacks_to(member: str, tmp_path: Path) -> None:
    _replaced(tmp_path / "w.pth", member, bytes(2**24), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "w.pth").stat().st_size < 2**17
    assert error(tmp_path / "w.pth") == "refused: it is compressed, which PyTorch's files are not"


def test_the_opcodes_make_a_tensor(tmp_path: Path) -> None:
    _replaced(tmp_path / "w.pth", "/data.pkl", pickled_state(pickled_tensor()))
    assert read_state_dict(tmp_path / "w.pth").tensors["w"].tolist() == [[1] * 3] * 2


HUGE = 2**40


@pytest.mark.parametrize(
    "value",
    [
        pickled_tensor(count=HUGE, size=(HUGE,), stride=(1,)),
        pickled_tensor(size=(HUGE,), stride=(1,)),
        pickled_tensor(size=(HUGE, HUGE, HUGE), stride=(1, 1, 1)),
        pickled_tensor(size=(HUGE,), stride=(0,)),
        pickled_tensor(size=(HUGE,), stride=(0,), kind="BFloat16"),
        pickled_tensor(size=(2, 3), stride=(HUGE, 1)),
        pickled_tensor(size=(2, 3), stride=(-3, 1)),
        pickled_tensor(size=(-2, 3)),
        pickled_tensor(size=(6,)),
        pickled_tensor(offset=5),
        pickled_tensor(offset=HUGE),
        pickled_tensor(offset=-1),
        pickled_tensor(count=-6),
        pickled_tensor(count=7),
        pickled_tensor(kind="Strange"),
        pickled_tensor(size=(1,) * 3000, stride=(1,) * 3000),
        pickled_tensor(size=(2**200, 0), stride=(1, 1)),
        call("torch._utils._rebuild_tensor_v2", number(1), number(0), b")", b")", b"\x89", b"N"),
        call("torch._utils._rebuild_tensor_v2"),
        call("torch.storage._load_from_bytes", text("x")),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_claims_of_terabytes_are_refused(value: bytes, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    if zipped:
        _replaced(path, "/data.pkl", pickled_state(value))
    else:
        whole = saved(path, {"w": torch.ones(2, 3)}, zipped=False).read_bytes()
        stream = io.BytesIO(whole)
        for _ in range(3):
            list(pickletools.genops(stream))
        start = stream.tell()
        list(pickletools.genops(stream))
        keys = pickle.dumps(["0"], protocol=2)
        path.write_bytes(whole[:start] + _legacy(pickled_state(value)) + keys + whole[-32:])
    tracemalloc.start()
    assert error(path).startswith(("is broken or incomplete (", "refused: its tensors need "))
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def _legacy(opcodes: bytes) -> bytes:
    """The same opcodes with a storage as legacy files have it: whether it is part of another is stated, too."""
    return opcodes.replace(b"tQ", b"NtQ")


@pytest.mark.parametrize("value", [call("builtins.bytearray", number(HUGE)), call("torch.FloatTensor", number(HUGE))])
def test_calls_that_would_allocate_terabytes_do_nothing(value: bytes, tmp_path: Path) -> None:
    _replaced(tmp_path / "w.pth", "/data.pkl", b"\x80\x02}(" + text("w") + pickled_tensor() + text("x") + value + b"u.")
    assert list(read_state_dict(tmp_path / "w.pth").tensors) == ["w"]


def test_tensors_that_share_too_much_are_refused(tmp_path: Path) -> None:
    row = torch.ones(2**14)
    torch.save({str(number): row for number in range(2**7)}, tmp_path / "w.pth")
    claimed, held = 2**7 * 2**16, (tmp_path / "w.pth").stat().st_size
    wanted = f"refused: its tensors need {claimed:,} bytes, but the file contains {held:,}"
    assert error(tmp_path / "w.pth") == wanted


def test_a_storage_within_a_pickle_is_not_read_again_and_again(tmp_path: Path) -> None:
    inner = io.BytesIO()
    torch.save(torch.ones(2**16).untyped_storage(), inner, _use_new_zipfile_serialization=False)
    content = b"B" + len(inner.getvalue()).to_bytes(4, "little") + inner.getvalue()
    use = glob("torch.storage._load_from_bytes") + b"h\0\x85Ra"
    for count, refused in ((1, False), (100, True)):
        (tmp_path / "w.pkl").write_bytes(b"\x80\x04]" + content + b"\x940" + use * count + b".")
        assert ("again and again" in error(tmp_path / "w.pkl")) == refused


def test_a_file_within_a_file_within_a_file_is_refused(tmp_path: Path) -> None:
    content = b"\x80\x04]."
    for _ in range(3):
        content = b"\x80\x04" + glob("torch.storage._load_from_bytes") + b"C" + bytes([len(content)]) + content
        content += b"\x85R."
    (tmp_path / "w.pkl").write_bytes(content)
    assert error(tmp_path / "w.pkl").startswith("is broken or incomplete (")


def test_recursion_ends(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    itself: dict[str, Any] = {"state_dict": TENSORS}
    itself["rest"] = [itself, {"x": itself}, torch.ones(1)]
    torch.save(itself, path)
    assert list(read_state_dict(path).tensors) == [*(f"state_dict.{name}" for name in TENSORS), "rest.2"]
    itself["state_dict"] = itself
    torch.save(itself, path)
    assert list(read_state_dict(path).tensors) == ["rest.2"]
    deep = b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
    _replaced(path, "/data.pkl", deep)
    assert error(path) == "contains an object of type list without tensors instead of a state_dict (tensors by name)"


def test_a_members_place_is_checked_against_its_own_header(tmp_path: Path) -> None:
    """Else a changed directory would exchange two tensors of one size."""
    path = saved(tmp_path / "w.pth", {"a": torch.zeros(2), "b": torch.ones(2)})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        first, second = (info for info in archive.infolist() if "/data/" in info.filename)
    place = whole.rindex(first.filename.encode()) - 4
    assert int.from_bytes(whole[place : place + 4], "little") == first.header_offset
    path.write_bytes(whole[:place] + second.header_offset.to_bytes(4, "little") + whole[place + 4 :])
    assert error(path) == "is broken or incomplete (its directory and its members differ)"


# -- a network's weights -----------------------------------------------------------------------------------------


@pytest.fixture
def state_dict(small: Graph) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in initialize(small).items()}


def assert_same(arrays: Any, wanted: Any) -> None:
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, wanted[name].numpy(), strict=True)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.pth.tar", "w.h5", "w", "w.ckpt", "w.bin"])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "python 2"])
def test_the_format_is_recognized_by_the_content(
    how: str, name: str, small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / name
    if how in {"zip", "legacy"}:
        saved(path, state_dict, zipped=how == "zip")
    else:
        arrays = {key: tensor.numpy() for key, tensor in state_dict.items()}
        path.write_bytes(pickle.dumps(arrays, protocol=4 if how == "pickle" else 0))
    assert_same(read_weights(path, small), state_dict)


def test_a_reference_scripts_checkpoint_has_weights_and_averages(
    small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """As torchvision's ``references/classification/train.py`` writes it."""
    averaged = {name: tensor + 1 for name, tensor in state_dict.items()}
    content = {
        "model": state_dict,
        "model_ema": {"n_averaged": torch.tensor(9), **{f"module.{name}": array for name, array in averaged.items()}},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"params": [0]}]},
        "args": argparse.Namespace(lr=0.1, opt=None),
        "scaler": {"scale": torch.tensor(2.0)},
    }
    path = saved(tmp_path / "w.pth", content)
    assert_same(read_weights(path, small), state_dict)
    assert_same(read_weights(path, small, ema=True), averaged)


def test_detectrons_pickle_is_read(small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """As detectron2's model zoo has it: arrays by name, written by Python 3 with protocol 2, or by Python 2."""
    arrays = {name: tensor.numpy() for name, tensor in state_dict.items()}
    path = tmp_path / "R-50.pkl"
    for key in ("model", "blobs"):
        path.write_bytes(pickle.dumps({key: arrays, "__author__": "torchvision", "matching_heuristics": True}, 2))
        assert_same(read_weights(path, small), state_dict)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e5m2"])
def test_half_precision_is_accepted_if_asked_for(
    dtype: str, small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    halves = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state_dict.items()}
    path = saved(tmp_path / "w.pth", halves)
    with pytest.raises(WeightsError, match='adapt="half"'):
        read_weights(path, small)
    assert_same(read_weights(path, small, adapt="half"), {name: tensor.float() for name, tensor in halves.items()})


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.model."])
def test_a_weight_that_cannot_be_read_is_named(
    prefix: str, small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    content = {f"{prefix}{name}": tensor for name, tensor in state_dict.items()}
    path = saved(tmp_path / "w.pth", {**content, "criterion.weight": torch.eye(2).to_sparse()})
    assert_same(read_weights(path, small), state_dict)
    content[f"{prefix}fc.weight"] = content[f"{prefix}fc.weight"].to_sparse()
    torch.save({**content, "other": torch.eye(2).to_sparse()}, path)
    with pytest.raises(WeightsError) as caught:
        read_weights(path, small)
    said = [line for line in str(caught.value).splitlines() if "is stored as" in line]
    assert said == [f"{prefix}fc.weight: is stored as sparse_coo float32 on cpu, which cannot be read"]


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_a_weight_that_is_not_floating_point_is_refused(
    dtype: str, small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state_dict["fc.bias"] = torch.zeros(5, dtype=getattr(torch, dtype))
    path = saved(tmp_path / "w.pth", state_dict)
    with pytest.raises(WeightsError, match=rf"fc\.bias: holds {dtype}, not floating-point numbers"):
        read_weights(path, small)


def test_counters_may_be_absent(small: Graph, tmp_path: Path) -> None:
    state = build("spec.yaml", "torch").state_dict()
    assert any("num_batches" in name for name in state)
    for content in (state, {name: state[name] for name in state if "num_batches" not in name}):
        assert list(read_weights(saved(tmp_path / "w.pth", content), small)) == [p.name for p in small.parameters()]


def test_torch_is_not_needed(small: Graph, state_dict: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", state_dict)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['torch'] = None\n"
            "from resnet_spec import load, read_weights\n"
            "print(len(read_weights(sys.argv[1], load('spec.yaml').to_graph())))",
            str(path),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == f"{len(state_dict)}\n"
