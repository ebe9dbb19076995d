"""Flax's msgpack files are read and written without it; ``made/make_flax.py`` made the files with flax 0.12.8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from resnet_spec import Graph, initialize, load, read_weights
from resnet_spec.errors import OutputError
from resnet_spec.weights.converting import convert, find_target
from resnet_spec.weights.formats import flax
from resnet_spec.weights.formats.flax import read_flax, write_flax
from resnet_spec.weights.reading import read_checkpoint

Lines = Callable[..., list[str]]

MADE = Path(__file__).parents[1] / "made"

VALUES = np.arange(6).reshape(2, 3)


def array(values: Any, shape: Any = None, dtype: Any = None) -> msgpack.ExtType:
    """A leaf as Flax packs it, or with a shape or type of one's own."""
    values = np.asarray(values)
    parts = (values.shape if shape is None else shape, dtype or values.dtype.name, values.tobytes())
    return msgpack.ExtType(1, msgpack.packb(parts))


def packed(path: Path, tree: Any) -> Path:
    path.write_bytes(msgpack.packb(tree))
    return path


# -- reading -----------------------------------------------------------------------------------------------------


def test_every_leaf_that_the_library_wrote() -> None:
    checkpoint = read_checkpoint(MADE / "flax_types.msgpack")
    tensors = checkpoint.tensors

    for dtype in ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool", "complex64"):
        assert tensors[f"params/{dtype}"].dtype == dtype
        assert np.array_equal(tensors[f"params/{dtype}"], VALUES.astype(dtype))
    # A seventh in bfloat16 is 0x3E12.
    assert tensors["params/bfloat16"][0, 1] == np.array(0x3E120000, "uint32").view("float32")
    assert checkpoint.widened == {"params/bfloat16"}
    assert np.array_equal(tensors["pieces"], np.arange(20).reshape(4, 5))
    assert (tensors["scalar"].shape, float(tensors["scalar"])) == ((), 1.5)
    assert (tensors["scalar_array"].shape, float(tensors["scalar_array"])) == ((), 2.5)
    assert tensors["empty"].shape == (0, 3)
    assert tensors["plain/6/deep"].tolist() == [1, 1]
    assert len(tensors) == 15
    assert all(tensor.flags.writeable for tensor in tensors.values())


def test_a_training_state_keeps_its_paths() -> None:
    tensors = read_checkpoint(MADE / "flax_resnet.msgpack").tensors

    assert tensors["step"] == 3
    assert tensors["params/conv_init/kernel"].shape == (7, 7, 3, 2)
    assert tensors["batch_stats/bn_init/mean"].shape == (2,)
    assert tensors["params/BottleneckResNetBlock_4/norm_proj/scale"].shape == (64,)
    assert tensors["opt_state/0/trace/Dense_0/kernel"].shape == (64, 5)


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_90"
    path.write_bytes((MADE / "flax_types.msgpack").read_bytes())

    assert len(read_checkpoint(path).tensors) == 15


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"a": array(VALUES, dtype="object")}, "holds only 'a', stored as object"),
        ({"a": array(VALUES, dtype="float8_e4m3fn")}, "holds only 'a', stored as float8_e4m3fn"),
        ({"a": array(VALUES, dtype="i4,i4")}, "holds only 'a', stored as i4,i4"),
        ({"a": array(np.zeros(2, "f4"), (2**40,))}, "'a' has 8 bytes, but its shape [1099511627776] needs another"),
        ({"a": array(np.zeros(2, "f4"), (2**62, 2**62))}, "'a' has 8 bytes, but its shape ["),
        ({"a": array(np.zeros(2, "f4"), (-2,))}, "'a' has the shape [-2]"),
        ({"a": array(np.zeros(2, "f4"), (2.0,))}, "'a' has 8 bytes, but its shape [2.0] needs another number"),
        ({"a": array(np.zeros(2, "f4"), (1,) * 33)}, "'a' has no possible shape"),
        ({"a": array(np.zeros(2, "f4"), "ab")}, "'a' has no possible shape"),
        ({"a": msgpack.ExtType(1, msgpack.packb(([2], "float32", None)))}, "'a' has no numbers"),
        ({"a/b": array(VALUES), "a": {"b": array(VALUES)}}, "two arrays are named 'a/b'"),
        ({"a": 1, "b": "text"}, "holds no arrays"),
        ({"a": {"__msgpack_chunked_array__": True, "shape": {}, "chunks": {}}}, "'a' has no numbers"),
        ({"a": {"__msgpack_chunked_array__": True}}, "it lacks 'shape'"),
        (
            {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 9}, "chunks": {"0": array(np.zeros(2, "f4"))}}},
            "'a' has 8 bytes, but its shape [9] needs another number",
        ),
        ({"a": ["x"] * 2000}, "2000 exceeds max_array_len(1024)"),
        ({"x" * 2000: array(VALUES)}, "2000 exceeds max_str_len(1024)"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, lines: Lines, tree: Any, said: str) -> None:
    path = packed(tmp_path / "x.msgpack", tree)
    (line,) = lines(lambda: read_flax(path))

    assert line.startswith((f"{path}: {said}", f"{path}: is not a complete msgpack file of Flax ({said}"))


def test_an_array_of_a_type_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    odd = array(VALUES, dtype="float8_e4m3fn")
    pieces = {"__msgpack_chunked_array__": True, "shape": {"0": 2}, "chunks": {"0": odd}}
    found = read_flax(packed(tmp_path / "x.msgpack", {"a": array(VALUES), "b": odd, "c": pieces}))

    assert list(found.tensors) == ["a"]
    assert found.unreadable == {"b": "float8_e4m3fn", "c": "float8_e4m3fn"}


@pytest.mark.parametrize("depth", [40, 400, 100_000])
def test_deep_nesting_is_refused_or_read(tmp_path: Path, lines: Lines, depth: int) -> None:
    path = tmp_path / "x.msgpack"
    path.write_bytes(b"\x81\xa8" * depth if depth > 1000 else b"\x81\xa8abcdefgh" * depth + msgpack.packb(array(1.0)))
    if depth == 40:
        assert list(read_flax(path).tensors) == ["/".join(["abcdefgh"] * 40)]
    else:
        assert lines(lambda: read_flax(path))[0].startswith(f"{path}: is not a complete msgpack file of Flax (")


def test_entries_without_end_are_refused(tmp_path: Path, lines: Lines) -> None:
    path = packed(tmp_path / "x.msgpack", {str(n): [[0] * 1000] * 100 for n in range(2)})

    assert "it has more than 131,072 entries" in lines(lambda: read_flax(path))[0]


# -- writing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def restored() -> Callable[[Path], Any]:
    """What ``flax.serialization.msgpack_restore`` does with a file."""

    def leaf(code: int, data: bytes) -> Any:
        assert code == 1
        shape, dtype, content = msgpack.unpackb(data, raw=True)
        return np.frombuffer(content, dtype.decode()).reshape(shape)

    return lambda path: msgpack.unpackb(path.read_bytes(), ext_hook=leaf, raw=False)


def test_a_network_is_written_in_the_words_and_the_layout_of_flax(
    small: Graph, tmp_path: Path, restored: Callable[[Path], Any]
) -> None:
    arrays, path = initialize(small), tmp_path / "small.msgpack"
    convert(small, arrays, find_target(path))
    tree = restored(path)

    assert sorted(tree) == ["batch_stats", "params"]
    assert np.array_equal(tree["params"]["conv1"]["kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0))
    assert np.array_equal(tree["params"]["conv1"]["bias"], arrays["conv1.bias"])
    assert np.array_equal(tree["params"]["fc"]["kernel"], arrays["fc.weight"].T)
    assert np.array_equal(tree["params"]["layer2"]["0"]["bn1"]["scale"], arrays["layer2.0.bn1.weight"])
    assert np.array_equal(tree["params"]["layer2"]["0"]["bn1"]["bias"], arrays["layer2.0.bn1.bias"])
    assert sorted(tree["batch_stats"]["layer2"]["0"]["bn1"]) == ["mean", "var"]
    assert "conv1" not in tree["batch_stats"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_is_read_again_to_the_bit(small: Graph, tmp_path: Path, dtype: str) -> None:
    arrays = {name: array.astype(dtype) for name, array in initialize(small).items()}
    convert(small, arrays, find_target(tmp_path / "small.msgpack"))
    read = read_weights(tmp_path / "small.msgpack", small)

    assert list(read) == list(arrays)
    assert all(np.array_equal(read[name], array) and read[name].dtype == dtype for name, array in arrays.items())


def test_half_precision(small: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays, path = initialize(small), tmp_path / "small.msgpack"
    convert(small, arrays, find_target(path), half=True)

    assert {tensor.dtype.name for tensor in read_checkpoint(path).tensors.values()} == {"float16"}
    arrays["fc.bias"][0] = 1e6
    assert "too large" in lines(lambda: write_flax(path, small, arrays, half=True))[0]


def test_a_file_that_exists_is_kept_unless_forced(small: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "small.msgpack"
    path.write_text("old")

    assert lines(lambda: find_target(path)) == [f"{path} exists already; force=True replaces it"]
    assert path.read_text() == "old"


def test_a_failure_leaves_the_old_file(small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.msgpack"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(flax, "_write_array", fail)
    with pytest.raises(OutputError, match="disk full"):
        convert(small, initialize(small), find_target(path, force=True), force=True)
    assert [(file.name, file.read_text()) for file in tmp_path.glob("*msgpack*")] == [("small.msgpack", "old")]


def test_the_arrays_must_be_the_graphs(small: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = initialize(small)
    del arrays["fc.bias"]

    assert lines(lambda: write_flax(tmp_path / "x.msgpack", small, arrays))[1:] == ["fc.bias: missing"]


def test_a_large_array_is_written_in_pieces(
    small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr(flax, "CHUNK", 100)
    arrays, path = initialize(small), tmp_path / "small.msgpack"
    convert(small, arrays, find_target(path))
    kernel = restored(path)["params"]["conv1"]["kernel"]

    assert kernel["__msgpack_chunked_array__"] is True
    assert kernel["shape"] == {"0": 3, "1": 3, "2": 3, "3": 8}
    assert [len(kernel["chunks"][str(n)]) for n in range(9)] == [25] * 8 + [16]
    read = read_weights(path, small)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def test_a_layer_named_as_another_layers_parameter_is_refused(lower: Callable[..., Graph], tmp_path: Path) -> None:
    """Not silently left out."""
    graph = lower("""
        input: {channels: 3, height: 8, width: 8}
        stem: {conv: {conv2d: {channels: 2, kernel: 3, bias: true}}, conv.bias: {conv2d: {channels: 2, kernel: 1}}}
        head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
    """)
    with pytest.raises(OutputError, match=r"conv/bias.*Flax cannot have"):
        write_flax(tmp_path / "x.msgpack", graph, initialize(graph))


def test_shipped_networks_are_written_and_read(tmp_path: Path) -> None:
    """Names with dots in them, and layers whose names are other layers' scopes."""
    for name in ("cifar/resnet20", "msra/resnet50"):
        graph = load(name, {"parameters.classes": 3} | ({"stages.res5": None} if "msra" in name else {})).to_graph()
        arrays, path = initialize(graph), tmp_path / f"{name.partition('/')[0]}.msgpack"
        write_flax(path, graph, arrays)
        read = read_weights(path, graph)
        assert all(np.array_equal(read[key], value) for key, value in arrays.items())
