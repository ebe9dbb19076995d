"""Weights are written in the format that is asked for, whole or not at all, and errors are reported first."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resnet_spec import Graph, initialize, load, read_weights, write_weights
from resnet_spec.weights.converting import convert, find_target, formats, write_model
from resnet_spec.weights.io import fit_file
from resnet_spec.weights.naming import find_table
from tests.needs import SIGHUP, SIGKILL, need, posix

Lines = Callable[..., list[str]]
Command = Callable[..., Any]

KNOWN = "known: safetensors, npz, msgpack, transformers, rec, weights.rec, saved_model"


class Recorder:
    """A backend that records what it is asked to write."""

    name = "recorder"
    outputs = MappingProxyType({".rec": "a record", ".weights.rec": "another", "": "a folder"})

    def arrays(self, model: dict[str, Any], graph: Graph) -> dict[str, Any]:
        return model["arrays"]

    def compile(self, graph: Graph, *, dtype: str) -> dict[str, Any]:
        return {"dtype": dtype}

    def load(self, model: dict[str, Any], graph: Graph, arrays: Mapping[str, Any]) -> None:
        model["arrays"] = {name: array.astype(model["dtype"]) for name, array in arrays.items()}

    def write(self, model: dict[str, Any], graph: Graph, path: Path, *, half: bool = False) -> None:
        save_file({name: array.astype("float16") if half else array for name, array in model["arrays"].items()}, path)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    endings = {".rec": "recorder", ".weights.rec": "recorder", "": "recorder"}
    monkeypatch.setattr("resnet_spec.weights.converting.writers", lambda: endings)
    monkeypatch.setattr("resnet_spec.weights.converting.get_backend", lambda _: Recorder())


def types(path: Path) -> set[str]:
    return {array.dtype.name for array in load_file(path).values()}


# -- targets -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorder")
def test_a_target_is_recognized_by_its_ending_or_its_kind(tmp_path: Path) -> None:
    assert formats() == {
        "safetensors": None, "npz": None, "msgpack": None, "transformers": None,
        "rec": "recorder", "weights.rec": "recorder", "saved_model": "recorder",
    }  # fmt: skip
    for name, kind, expected in (
        ("x.safetensors", None, ("safetensors", None)),
        ("x.rec", None, ("rec", "recorder")),
        ("x.rec", "rec", ("rec", "recorder")),
        ("x.v2.weights.rec", None, ("weights.rec", "recorder")),
        ("x", "saved_model", ("saved_model", "recorder")),
        ("x", "transformers", ("transformers", None)),
        ("resnet-50.a1", "transformers", ("transformers", None)),
    ):
        assert find_target(tmp_path / name, kind) == (tmp_path / name, *expected)


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("x", None, 'give the kind of folder: format="saved_model" or format="transformers"'),
        ("x.caffe", None, f"no installed backend writes caffe ({KNOWN})"),
        ("x", "savedmodel", f"no installed backend writes savedmodel; did you mean 'saved_model'? ({KNOWN})"),
        ("x.rec", "safetensors", "a file in the format safetensors ends in .safetensors"),
        ("x", "rec", "a file in the format rec ends in .rec"),
        ("x.rec", "saved_model", "a SavedModel is a folder, whose name has no ending"),
    ],
)  # fmt: skip
def test_a_target_that_nobody_writes_is_reported(
    tmp_path: Path, lines: Lines, name: str, kind: str | None, said: str
) -> None:
    assert lines(lambda: find_target(tmp_path / name, kind)) == [f"{tmp_path / name}: {said}"]


def test_a_target_that_cannot_be_written_is_reported(tmp_path: Path, lines: Lines) -> None:
    there = tmp_path / "there.safetensors"
    there.write_text("old")
    below, nowhere = there / "x.safetensors", tmp_path / "no" / "x.safetensors"

    assert lines(lambda: find_target(there)) == [f"{there} exists already; force=True replaces it"]
    assert lines(lambda: find_target(below)) == [f"{below}: the folder {there} does not exist"]
    assert lines(lambda: find_target(nowhere)) == [f"{nowhere}: the folder {tmp_path / 'no'} does not exist"]
    assert find_target(there, force=True).path == there


# -- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("ending", ["safetensors", "rec"])
def test_numbers_keep_their_type_unless_another_is_asked_for(small: Graph, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    single = initialize(small)
    double = {name: array.astype("float64") + 1e-12 for name, array in single.items()}
    for arrays, options, kept in (
        (single, {}, "float32"),
        (double, {}, "float64"),
        (double, {"dtype": "float32"}, "float32"),
        (single, {"dtype": "float64"}, "float64"),
        (double, {"half": True}, "float16"),
        (single, {"half": True}, "float16"),
    ):
        convert(small, arrays, find_target(path, force=True), force=True, **options)
        assert types(path) == {kept}
        assert all(np.array_equal(read, arrays[name].astype(kept)) for name, read in load_file(path).items())


@pytest.mark.usefixtures("recorder")
@pytest.mark.parametrize("ending", ["safetensors", "rec"])
def test_numbers_that_are_too_large_are_reported_and_nothing_is_written(
    small: Graph, tmp_path: Path, lines: Lines, ending: str
) -> None:
    path = tmp_path / f"x.{ending}"
    arrays = {name: array.astype("float64") for name, array in initialize(small).items()}
    arrays["fc.bias"][:2] = 1e5, 1e39
    for options, said in (({"half": True}, "2 of 5 elements are too large for float16"),
                          ({"dtype": "float32"}, "1 of 5 elements are too large for float32")):  # fmt: skip
        assert lines(lambda options=options: convert(small, arrays, find_target(path), **options)) == [
            f"{path}: not written, since some values are too large for its type",
            f"fc.bias: {said}",
        ]
        assert list(tmp_path.glob(f"*x.{ending}*")) == []


# -- a native model ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorder")
def test_a_model_is_written_in_its_backends_formats_and_as_safetensors(small: Graph, tmp_path: Path) -> None:
    arrays = initialize(small, 1)
    for backend in ("recorder", Recorder()):
        for name in ("x.rec", "x.weights.rec", "x.safetensors", "x"):
            path = tmp_path / name
            write_model({"arrays": arrays}, small, path, backend, force=True)
            assert all(np.array_equal(read, arrays[key]) for key, read in load_file(path).items())
            path.unlink()
    write_model({"arrays": arrays}, load("spec.yaml"), str(tmp_path / "x.safetensors"), "recorder", half=True)
    assert types(tmp_path / "x.safetensors") == {"float16"}


@pytest.mark.usefixtures("recorder")
def test_a_model_that_cannot_be_written_leaves_nothing(small: Graph, tmp_path: Path, lines: Lines) -> None:
    model, path = {"arrays": initialize(small)}, tmp_path / "x.rec"
    path.write_text("old")

    assert lines(lambda: write_model(model, small, path, "recorder")) == [
        f"{path} exists already; force=True replaces it"
    ]
    kinds = ".safetensors, .npz, .msgpack, .rec, .weights.rec, a folder"
    assert lines(lambda: write_model(model, small, tmp_path / "x.onnx", "recorder")) == [
        f"{tmp_path / 'x.onnx'}: the recorder backend writes {kinds}, not .onnx"
    ]
    assert lines(lambda: write_model({"arrays": {}}, small, tmp_path / "x.safetensors", "recorder"))
    assert {file.name for file in tmp_path.iterdir()} == {"spec.yaml", "x.rec"}
    assert path.read_text() == "old"


# -- there and back ----------------------------------------------------------------------------------------------


def test_a_file_may_be_written_over_itself(small: Graph, tmp_path: Path) -> None:
    path, arrays = tmp_path / "x.safetensors", initialize(small)
    write_weights(path, small, arrays)
    before = path.read_bytes()
    convert(small, read_weights(path, small), find_target(path, force=True), force=True)

    assert path.read_bytes() == before


@pytest.mark.slow
def test_every_step_from_format_to_format_keeps_every_bit(process: Command, small: Graph, tmp_path: Path) -> None:
    arrays = {
        name: np.abs(np.random.default_rng(1).standard_normal(array.shape, np.float32))
        for name, array in initialize(small).items()
    }
    write_weights(tmp_path / "0.safetensors", small, arrays)
    steps = ["0.safetensors", "1.pth", "2.keras", "3.safetensors"]
    for source, target in pairwise(steps):
        done = process("resnet-spec", "convert", "spec.yaml", source, target)
        assert (done.status, done.out) == (0, f"{target}: {len(arrays)} tensors of spec\n")
        # Long steps report progress; nothing that a framework prints is shown.
        assert all(line.endswith("…") for line in done.err.splitlines())

    assert (tmp_path / steps[-1]).read_bytes() == (tmp_path / steps[0]).read_bytes()


# -- interrupted -------------------------------------------------------------------------------------------------

SLOW = """
    import sys, time
    import resnet_spec.weights.io
    from resnet_spec.cli.spec import main
    def write(path, *_, **__):
        path.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
    resnet_spec.weights.io.write_safetensors = write
    sys.argv = ["resnet-spec", "convert", "spec.yaml", "x.safetensors", sys.argv[1], "--force"]
    main()
"""


@posix
@pytest.mark.parametrize(
    ("number", "litter"),
    [
        (signal.SIGINT, 0),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow),
        pytest.param(SIGHUP, 0, marks=pytest.mark.slow),
        pytest.param(SIGKILL, 1, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", pytest.param("y.safetensors", marks=pytest.mark.slow)])
def test_a_conversion_that_is_killed_leaves_the_old_target(
    process: Command, small: Graph, tmp_path: Path, name: str, number: signal.Signals, litter: int
) -> None:
    for seed, path in enumerate(("x.safetensors", "y.safetensors")):
        write_weights(tmp_path / path, small, initialize(small, seed))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    # A shell starts what runs in the background deaf to Ctrl-C.
    hearing = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    program = "\n".join(line.removeprefix("    ") for line in SLOW.splitlines())
    command = [sys.executable, "-c", program, name]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, preexec_fn=hearing, **pipes) as running:
        assert running.stdout.readline() == "writing\n"
        running.send_signal(number)
        said, _ = running.communicate(timeout=300)

    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in before} == before
    left = [path for path in tmp_path.iterdir() if path not in before]
    assert [path.name.startswith(f".{name}.") for path in left] == [True] * litter

    # What a killed one left is in nobody's way.
    done = process("resnet-spec", "convert", "spec.yaml", "x.safetensors", name, "--force")
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(read_weights(tmp_path / name, small)["fc.weight"], initialize(small)["fc.weight"])


# -- other libraries' names --------------------------------------------------------------------------------------

ZOOS = ("detectron2", "keras", "keras_2016", "kuangliu", "mmpretrain", "sequential", "slim", "transformers")


@pytest.fixture(scope="module")
def resnet() -> Graph:
    return load("resnet18", {"parameters.classes": 3}).to_graph()


@pytest.mark.parametrize("ending", ["safetensors", pytest.param("pth", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("first", "second"), [*pairwise((*ZOOS, ZOOS[0]))])
def test_a_network_moves_from_zoo_to_zoo_to_the_bit(
    resnet: Graph, tmp_path: Path, first: str, second: str, ending: str
) -> None:
    arrays = initialize(resnet, 3)
    one, two = (find_target(tmp_path / f"{name}.{ending}") for name in (first, second))
    convert(resnet, arrays, one, names=first)
    convert(resnet, read_weights(one.path, resnet), two, names=second)

    read = read_weights(two.path, resnet)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    if ending == "safetensors":
        assert set(find_table(second).translated(resnet).values()) <= set(load_file(two.path))


def test_names_come_with_half_precision_and_counters(resnet: Graph, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    convert(resnet, initialize(resnet), find_target(path), names="detectron2", half=True)
    written = load_file(path)

    assert {array.dtype.name for array in written.values()} == {"float16", "int64"}
    assert written["backbone.bottom_up.stem.conv1.norm.num_batches_tracked"] == 0


@pytest.mark.parametrize("names", ["detectron2", None])
def test_counts_of_batches_are_written_in_a_librarys_names(resnet: Graph, tmp_path: Path, names: str | None) -> None:
    target = find_target(tmp_path / "x.safetensors") if names else find_target(tmp_path / "x", "transformers")
    count = {"bn1.num_batches_tracked": np.array(5)}
    convert(resnet, initialize(resnet), target, names=names, counters=count)
    assert fit_file(target.path, resnet).counters["bn1.num_batches_tracked"] == 5


def test_a_format_with_names_of_its_own_takes_no_others(resnet: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "x"
    target = find_target(path, "transformers")

    assert lines(lambda: convert(resnet, initialize(resnet), target, names="keras"))[0].endswith(
        "; transformers has names of its own"
    )
    assert not path.exists()


def test_a_library_without_names_for_some_layers_leaves_nothing_behind(tmp_path: Path, lines: Lines) -> None:
    graph, path = load("timm/seresnet18").to_graph(), tmp_path / "x.safetensors"

    assert lines(lambda: convert(graph, initialize(graph), find_target(path), names="torchvision"))[0] == (
        "timm/seresnet18: torchvision has no such layers (16)"
    )
    assert not list(tmp_path.iterdir())


# -- a full disk -------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_reported_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: Callable[..., list[str]]
) -> None:
    """HDF5 and PyTorch's programs would end the process."""
    graph = load("cifar/resnet20").to_graph()
    arrays = initialize(graph)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    for name in ("x.npz", "x.h5", "x.pth"):
        path = tmp_path / name
        (said,) = lines(lambda path=path: convert(graph, arrays, find_target(path)))
        assert said == f"{path}: needs 1.0 MiB, but the disk has 1.0 MiB left"
    convert(graph, arrays, find_target(tmp_path / "x.npz"), half=True)

    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


@posix
@pytest.mark.parametrize(
    "name",
    ["x.safetensors", "x.npz", "x.msgpack", "x.pth", "x.pt2", pytest.param("x.keras", marks=pytest.mark.slow)],
)
def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    small: Graph,
    lines: Callable[..., list[str]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    # Python keeps a compiled module that was cut off, here and in the processes of the frameworks.
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    need({"x.pth": "torch", "x.pt2": "torch", "x.keras": "tensorflow"}.get(name, "numpy"))
    path = tmp_path_factory.mktemp("full") / name
    arrays, target = initialize(small), find_target(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
        try:
            convert(small, arrays, target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    (said,) = lines(write)
    assert said.startswith(f"{path}: ")
    assert [*path.parent.iterdir()] == []
