"""state_dicts are read without running code, whatever is in the file."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.serialization import config

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.io import read_weights
from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import build, random_arrays, small_resnet

BACKEND = TorchBackend()
TENSORS = OrderedDict(
    {
        "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.tensor([0.5], dtype=torch.float64),
        "b.num_batches_tracked": torch.tensor(3),
    }
)
ADVICE = "; save the model's state_dict() instead: torch.save(model.state_dict(), PATH)"


def error(path: Path) -> str:
    """What reading a file is refused with: one line a problem, that starts with the path."""
    with pytest.raises(WeightsError) as caught:
        BACKEND.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "weights_only" not in text
    return text.removeprefix(f"{path}: ")


def one_line(path: Path) -> str:
    message = error(path)
    assert "\n" not in message
    return message


def read(path: Path, content: Any, *, zipped: bool = True) -> Checkpoint:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return BACKEND.read(path)


def assert_is_tensors(arrays: Any) -> None:
    assert list(arrays) == list(TENSORS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, TENSORS[name].numpy(), strict=True)


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_as_it_stands(zipped: bool, tmp_path: Path) -> None:
    checkpoint = read(tmp_path / "w.pth", TENSORS, zipped=zipped)
    assert_is_tensors(checkpoint.tensors)
    assert checkpoint == Checkpoint(checkpoint.tensors)


def test_a_modules_own_state_dict_is_read(tmp_path: Path) -> None:
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(read(tmp_path / "w.pt", nn.BatchNorm2d(3).state_dict()).tensors) == names
    assert read(tmp_path / "w.pt", {"w": nn.Parameter(torch.ones(2))}).tensors["w"].tolist() == [1, 1]


def test_writing_to_what_was_read_leaves_the_file(tmp_path: Path) -> None:
    array = read(tmp_path / "w.pth", TENSORS).tensors["b.weight"]
    before = (tmp_path / "w.pth").read_bytes()
    array += 1
    assert (tmp_path / "w.pth").read_bytes() == before


@pytest.mark.parametrize("zipped", [True, False])
def test_views_of_one_storage_are_read(zipped: bool, tmp_path: Path) -> None:
    flat = torch.arange(6, dtype=torch.float32)
    tensors = {"a": flat[:2], "b": flat[2:].reshape(2, 2).T, "c": flat[:2], "d": flat[:1].expand(3)}
    arrays = read(tmp_path / "w.pth", tensors, zipped=zipped).tensors
    wanted = {"a": [0, 1], "b": [[2, 4], [3, 5]], "c": [0, 1], "d": [0, 0, 0]}
    assert {name: array.tolist() for name, array in arrays.items()} == wanted


def test_bfloat16_becomes_float32_and_is_reported(tmp_path: Path) -> None:
    values = torch.randn(5, 7).to(torch.bfloat16).T
    checkpoint = read(tmp_path / "w.pth", {"w": values, "v": torch.ones(2)})
    np.testing.assert_array_equal(checkpoint.tensors["w"], values.float().numpy(), strict=True)
    assert checkpoint.widened == {"w"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64])
def test_other_types_are_read_as_they_stand(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.tensor([1, 0, 1]).to(dtype)
    np.testing.assert_array_equal(read(tmp_path / "w.pth", {"w": tensor}).tensors["w"], tensor.numpy(), strict=True)


def test_the_format_is_detected_from_the_content(tmp_path: Path) -> None:
    graph = small_resnet()
    BACKEND.write(build(graph), graph, tmp_path / "w.pth")
    wanted = read_weights(tmp_path / "w.pth", graph)
    for name in ("w.safetensors", "w.pth.tar", "w.h5", "w"):
        (tmp_path / "w.pth").rename(tmp_path / name)
        arrays = read_weights(tmp_path / name, graph)
        assert all(np.array_equal(arrays[key], wanted[key]) for key in wanted)
        (tmp_path / name).rename(tmp_path / "w.pth")


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    with config.patch("save.compute_crc32", False):
        assert_is_tensors(read(tmp_path / "w.pth", TENSORS).tensors)


# -- training scripts' checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_reference_scripts_checkpoint_is_read(zipped: bool, tmp_path: Path) -> None:
    """As torchvision's ``references/classification/train.py`` writes it."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(2):
        model(torch.ones(2, 2, 4, 4)).sum().backward()
        optimizer.step()
        averaged.update_parameters(model)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "epoch": 7,
        "args": argparse.Namespace(lr=0.1, model="resnet50", device="cuda", opt=None),
        "model_ema": averaged.state_dict(),
        "scaler": {"scale": torch.tensor(2.0)},
    }
    checkpoint = read(tmp_path / "w.pth", content, zipped=zipped)
    assert list(checkpoint.tensors) == list(model.state_dict())
    assert list(checkpoint.averages) == [f"module.{name}" for name in model.state_dict()]
    np.testing.assert_array_equal(checkpoint.averages["module.0.bias"], averaged.module[0].bias.detach().numpy())  # type: ignore[index]
    counts = {"optimizer slots": 4, "tensors beside the state_dict": 1, "counts of averaged steps": 1}
    assert checkpoint.ignored == counts
    assert checkpoint.remarks == ()


def test_a_library_trainers_checkpoint_is_read(tmp_path: Path) -> None:
    """As timm's ``CheckpointSaver`` writes it."""
    content = {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": TENSORS,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2)}}, "param_groups": []},
        "version": 2,
        "args": argparse.Namespace(model="resnet18", mean=[0.5, 0.5, 0.5]),
        "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": {name: tensor + 1 for name, tensor in TENSORS.items()},
        "metric": 71.2,
    }
    checkpoint = read(tmp_path / "w.pth", content)
    assert_is_tensors(checkpoint.tensors)
    assert checkpoint.averages["a"].tolist() == [1.5]
    assert checkpoint.ignored == {"optimizer slots": 2}


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
def test_a_nested_state_dict_is_found(key: str, tmp_path: Path) -> None:
    assert_is_tensors(read(tmp_path / "w.pth", {"acc": 0.9, key: TENSORS, "best": torch.tensor(0.9)}).tensors)


@pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "ema_state_dict"])
def test_averages_alone_are_reported(key: str, tmp_path: Path) -> None:
    checkpoint = read(tmp_path / "w.pth", {key: TENSORS, "epoch": 1})
    assert not checkpoint.tensors
    assert_is_tensors(checkpoint.averages)
    assert checkpoint.remarks == ("contains only an exponential moving average, which is used",)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("ema", [True, False])
def test_wrapped_names_fit_a_graph(wrapper: str, ema: bool, tmp_path: Path) -> None:
    graph = small_resnet()
    trained, averaged = random_arrays(graph, 0), random_arrays(graph, 1)
    states = [
        {f"{w}{n}": torch.from_numpy(a) for n, a in s.items()} for w, s in ((wrapper, trained), ("module.", averaged))
    ]
    torch.save({"state_dict": states[0], "model_ema": {"n_averaged": torch.tensor(9), **states[1]}}, tmp_path / "w.pth")
    arrays = read_weights(tmp_path / "w.pth", graph, ema=ema)
    wanted = averaged if ema else trained
    assert list(arrays) == list(wanted)
    assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)


def test_an_average_takes_what_it_does_not_average_from_the_model(tmp_path: Path) -> None:
    graph = small_resnet()
    trained, averaged = random_arrays(graph, 0), random_arrays(graph, 1)
    names = [p.name for p in graph.parameters() if p.trainable]
    state = {name: torch.from_numpy(array) for name, array in trained.items()}
    torch.save(
        {"state_dict": state, "model_ema": {n: torch.from_numpy(averaged[n]) for n in names}}, tmp_path / "w.pth"
    )
    arrays = read_weights(tmp_path / "w.pth", graph, ema=True)
    assert np.array_equal(arrays["fc.bias"], averaged["fc.bias"])
    assert np.array_equal(arrays["bn1.running_mean"], trained["bn1.running_mean"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_where_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    graph = small_resnet()
    halves = {name: torch.from_numpy(array).to(dtype) for name, array in random_arrays(graph).items()}
    torch.save(halves, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="--adapt half"):
        read_weights(tmp_path / "w.pth", graph)
    arrays = read_weights(tmp_path / "w.pth", graph, adapt=["half"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, halves[name].float().numpy(), strict=True)


def test_counters_may_be_there_or_not(tmp_path: Path) -> None:
    graph = small_resnet()
    state = build(graph).state_dict()
    for content in (state, {name: tensor for name, tensor in state.items() if "num_batches" not in name}):
        torch.save(content, tmp_path / "w.pth")
        assert list(read_weights(tmp_path / "w.pth", graph)) == [p.name for p in graph.parameters()]


# -- files that are refused --------------------------------------------------------------------------------------


class _Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _hostile(path: Path) -> Iterator[tuple[str, _Calls]]:
    yield "posix.system", _Calls(os.system, f"touch {path}")
    yield "eval", _Calls(eval, f"open({str(path)!r}, 'w')")
    yield "exec", _Calls(exec, f"open({str(path)!r}, 'w')")
    yield "__import__", _Calls(__import__, "antigravity")


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("how", ["zip", "legacy", "settings", "optimizer", "state", "pickle"])
def test_a_file_that_would_run_code_does_not(which: int, how: str, tmp_path: Path) -> None:
    name, hostile = list(_hostile(tmp_path / "ran"))[which]
    path = tmp_path / "w.pth"
    contents = {
        "settings": {"state_dict": TENSORS, "args": argparse.Namespace(lr=hostile)},
        "optimizer": {"state_dict": TENSORS, "optimizer": {"state": {0: hostile}}},
        "state": _WithState(hostile),
    }
    content = contents.get(how, {"a": torch.ones(2), "b": hostile})
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
        one_line(path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
        assert one_line(path) == f"refused: it contains {name}, and loading it would run code{ADVICE}"
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]


class _WithState(OrderedDict[str, Any]):
    """Pickled as an OrderedDict whose attributes, too, are unpickled."""

    def __init__(self, attribute: Any) -> None:
        super().__init__(TENSORS)
        self.attribute = attribute

    def __reduce__(self) -> Any:
        return OrderedDict, (list(self.items()),), {"attribute": self.attribute}


def test_a_whole_model_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    message = one_line(tmp_path / "w.pth")
    assert message.startswith("refused: it contains torch.nn.modules.linear.Linear")
    assert message.endswith(ADVICE)


def test_a_script_is_refused_with_advice(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    assert one_line(tmp_path / "w.pt") == f"refused: a TorchScript program is code{ADVICE}"
    with pytest.raises(WeightsError, match="a TorchScript program is code"):
        read_weights(tmp_path / "w.pt", small_resnet())


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    BACKEND.write(build(graph), graph, tmp_path / "m.pt2")
    (tmp_path / "m.pt2").rename(tmp_path / "w.pth")
    wanted = "is a zip archive, but not PyTorch's (it has no data.pkl)"
    assert one_line(tmp_path / "w.pth") == wanted
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("thesis.tex", "")
    assert one_line(tmp_path / "w.pth") == wanted


def test_the_oldest_format_is_refused(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert one_line(tmp_path / "w.pth").startswith("is in PyTorch's oldest format, a tar archive")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_anywhere_is_refused(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in {0, 1, 3, 20, *(len(whole) * tenth // 10 for tenth in range(1, 10)), len(whole) - 1}:
        path.write_bytes(whole[:length])
        # A name that is cut off is one that nobody allows.
        assert one_line(path).startswith(("is broken or incomplete (", "refused: it contains torch."))


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
@pytest.mark.parametrize("zipped", [True, False])
def test_a_flipped_byte_is_refused_or_changes_a_name_or_number(zipped: bool, bits: int, tmp_path: Path) -> None:
    """In a legacy file nothing checks a letter; a zip archive's pickle has a checksum."""
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    pickles = _pickle_places(whole, zipped)
    directory = range(whole.index(b"PK\x01\x02"), len(whole)) if zipped else range(0)
    places = [*range(30), *pickles[:: len(pickles) // 40], *directory[:: len(directory) // 40 or 1]]
    refused = 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
        with suppress(WeightsError):
            checkpoint = BACKEND.read(path)
            assert not (zipped and place in pickles), place
            assert sum(array.nbytes for array in checkpoint.tensors.values()) < len(whole)
            continue
        refused += 1
    assert refused > len(places) // 3


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
    assert one_line(tmp_path / "w.pth") == "refused: it is compressed, which PyTorch's files are not"


def _global(name: str) -> bytes:
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def _number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _tensor(
    count: int = 6,
    offset: int = 0,
    size: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    kind: str = "Float",
) -> bytes:
    """Opcodes of a tensor over a storage of ``count`` numbers."""
    storage = _tuple(_text("storage"), _global(f"torch.{kind}Storage"), _text("0"), _text("cpu"), _number(count)) + b"Q"
    arguments = [
        _tuple(*map(_number, size)),
        _tuple(*map(_number, stride)),
        b"\x89",
        _global("collections.OrderedDict") + b")R",
    ]
    return _global("torch._utils._rebuild_tensor_v2") + _tuple(storage, _number(offset), *arguments) + b"R"


def _state(value: bytes) -> bytes:
    return b"\x80\x02}" + _text("w") + value + b"s."


def test_the_opcodes_above_make_a_tensor(tmp_path: Path) -> None:
    _replaced(tmp_path / "w.pth", "/data.pkl", _state(_tensor()))
    assert BACKEND.read(tmp_path / "w.pth").tensors["w"].tolist() == [[1] * 3] * 2


HUGE = 2**40


@pytest.mark.parametrize(
    "value",
    [
        _tensor(count=HUGE, size=(HUGE,), stride=(1,)),
        _tensor(size=(HUGE,), stride=(1,)),
        _tensor(size=(HUGE, HUGE, HUGE), stride=(1, 1, 1)),
        _tensor(size=(HUGE,), stride=(0,)),
        _tensor(size=(HUGE,), stride=(0,), kind="BFloat16"),
        _tensor(size=(2, 3), stride=(HUGE, 1)),
        _tensor(size=(2, 3), stride=(-3, 1)),
        _tensor(size=(-2, 3)),
        _tensor(offset=5),
        _tensor(offset=HUGE),
        _tensor(offset=-1),
        _tensor(count=-6),
        _tensor(size=(1,) * 3000, stride=(1,) * 3000),
        _global("builtins.bytearray") + _tuple(_number(HUGE)) + b"R",
        _global("torch.FloatTensor") + _tuple(_number(HUGE)) + b"R",
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_claims_of_terabytes_are_refused(value: bytes, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    if zipped:
        _replaced(path, "/data.pkl", _state(value))
    else:
        torch.save({"w": torch.ones(2, 3)}, path, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        stream = io.BytesIO(whole)
        for _ in range(3):
            list(pickletools.genops(stream))
        start = stream.tell()
        list(pickletools.genops(stream))
        keys = pickle.dumps(["0"], protocol=2)
        path.write_bytes(whole[:start] + _legacy(_state(value)) + keys + whole[-32:])
    assert len(error(path).splitlines()) <= 2


def _legacy(opcodes: bytes) -> bytes:
    """The same opcodes with a storage as legacy files have it: that also states whether it is part of another."""
    return opcodes.replace(b"tQ", b"NtQ")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("checksums", [True, False])
def test_memory_of_a_number_alone_is_refused(zipped: bool, checksums: bool, tmp_path: Path) -> None:
    with config.patch("save.compute_crc32", checksums):
        content = {"state_dict": TENSORS, "x": bytearray(b"x")}
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert one_line(tmp_path / "w.pth") == "refused: it contains a bytearray"


def test_tensors_that_share_too_much_are_refused(tmp_path: Path) -> None:
    row = torch.ones(2**14)
    torch.save({str(number): row for number in range(2**7)}, tmp_path / "w.pth")
    claimed, held = 2**7 * 2**16, (tmp_path / "w.pth").stat().st_size
    wanted = f"refused: its tensors need {claimed:,} bytes, but the file contains {held:,}"
    assert one_line(tmp_path / "w.pth") == wanted


def test_recursion_ends(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    itself: dict[str, Any] = {"state_dict": TENSORS}
    itself["rest"] = [itself, {"x": itself}, torch.ones(1)]
    torch.save(itself, path)
    checkpoint = BACKEND.read(path)
    assert_is_tensors(checkpoint.tensors)
    assert checkpoint.ignored == {"tensors beside the state_dict": 1 + len(TENSORS)}
    itself["state_dict"] = itself
    torch.save(itself, path)
    assert error(path).splitlines()[0] == "is not a plain state_dict"
    deep = b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"."
    _replaced(path, "/data.pkl", deep)
    assert one_line(path) == "contains a list instead of a state_dict (tensors by name)"


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"hello world\n" * 50)
    assert one_line(tmp_path / "w.pth").startswith("is broken or incomplete (")
    assert one_line(tmp_path / "missing.pth") == "cannot be read (No such file or directory)"
    assert one_line(tmp_path) == "cannot be read (Is a directory)"


def test_what_is_not_a_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save([torch.ones(2)], path)
    assert one_line(path) == "contains a list instead of a state_dict (tensors by name)"
    torch.save({"epoch": 3, 7: torch.ones(2), b"x": torch.ones(2), "fine": torch.ones(2)}, path)
    wanted = [
        "is not a plain state_dict",
        "epoch: is a int, not a named tensor",
        "7: is a Tensor, not a named tensor",
        "b'x': is a Tensor, not a named tensor",
    ]
    assert error(path).splitlines() == wanted
    torch.save({"state_dict": {"a": {"b": torch.ones(2)}}}, path)
    assert error(path).splitlines() == ["is not a plain state_dict", "a: is a dict, not a named tensor"]


def _quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo float32 on cpu"),
        (torch.ones(2).to(torch.float8_e4m3fn), "strided float8_e4m3fn on cpu"),
        (torch.ones(2, device="meta"), "strided float32 on meta"),
        (_quantized(), "strided qint8 on cpu"),
    ],
    ids=["sparse", "float8", "meta", "quantized"],
)
def test_tensors_without_an_array_are_refused_by_name(tensor: torch.Tensor, kind: str, tmp_path: Path) -> None:
    torch.save({"v": torch.ones(2), "w": tensor}, tmp_path / "w.pth")
    wanted = ["is not a plain state_dict", f"w: is stored as {kind}, which NumPy cannot represent"]
    assert error(tmp_path / "w.pth").splitlines() == wanted


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_arrays_of_other_numbers_are_not_weights(dtype: torch.dtype, tmp_path: Path) -> None:
    graph = small_resnet()
    state = {name: torch.from_numpy(array) for name, array in random_arrays(graph).items()}
    state["fc.bias"] = torch.zeros(5, dtype=dtype)
    torch.save(state, tmp_path / "w.pth")
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(WeightsError, match=rf"fc\.bias: holds {name}, not floating-point numbers"):
        read_weights(tmp_path / "w.pth", graph)


def test_another_networks_tensors_of_equal_names_are_refused(tmp_path: Path) -> None:
    graph = small_resnet()
    state = {name: torch.zeros(*array.shape, 2) for name, array in random_arrays(graph).items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        read_weights(tmp_path / "w.pth", graph)
    assert str(caught.value).count("has shape") == len(state)
