"""NumPy's arrays in pickles of every protocol, by all names that NumPy has had, are rebuilt without its functions."""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from resnet_spec.weights.formats.pickled_numpy import numpy_table
from resnet_spec.weights.formats.pickles import Object, Unpickler
from resnet_spec.weights.formats.stored_tensors import Tensor
from tests.resnet_spec.weights.formats.opcodes import call, glob, number, text, tuple_of


def load(content: bytes) -> Any:
    return Unpickler(BytesIO(content), len(content), numpy_table()).load()


ARRAYS = {
    "float32": np.arange(6, dtype="float32").reshape(2, 3),
    "float16": np.ones((2, 1, 2), "float16"),
    "float64": np.array([np.nan, np.inf, -0.0]),
    "scalar": np.array(3.5),
    "int64": np.arange(-2, 2),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j], "complex64"),
    "empty": np.zeros((0, 3), "float32"),
    "columns": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "big": np.arange(3, dtype=">f4"),
    "part": np.arange(10, dtype="float32")[2:8:2],
    "large": np.arange(3000, dtype="float32").view("uint8"),
    "matrix": np.ones((2, 2), "float32").view(np.matrix),
}


@pytest.mark.parametrize("package", ["numpy._core", "numpy.core"])
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_arrays_are_what_numpy_reads(name: str, protocol: int, package: str) -> None:
    wanted = np.asarray(ARRAYS[name])
    content = pickle.dumps([ARRAYS[name]] * 2, protocol).replace(b"numpy._core.", b"numpy.core.")
    if package == "numpy._core":
        content = pickle.dumps([ARRAYS[name]] * 2, protocol)
    elif protocol > 3:
        # The length of the text comes before it.
        content = content.replace(bytes([len("numpy._core.multiarray")]) + b"numpy.core.m", b"\x15numpy.core.m")
        content = content.replace(bytes([len("numpy._core.numeric")]) + b"numpy.core.n", b"\x12numpy.core.n")
    first, second = load(content)
    assert first is second
    assert isinstance(first, Tensor)
    array = first.array()
    np.testing.assert_array_equal(array, wanted.astype(wanted.dtype.newbyteorder("=")), strict=True)
    array += np.array(1, array.dtype) if array.dtype != bool else True


def test_arrays_of_python_2_are_read() -> None:
    """As NumPy 1.16 writes one with ``pickle.dump(array, file)``: protocol 0, the content as quoted bytes."""
    content = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n(I2\ntp6\n"
        b"cnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np13\ntp14\nb."
    )
    assert load(content).array().tolist() == [1, -2]
    # With protocol 2, a content of more than 1 KiB, which stays bytes.
    values = np.arange(1000, dtype="float32")
    state = tuple_of(
        number(1), tuple_of(number(1000)), _dtype("f4"), b"\x89", b"T" + (4000).to_bytes(4, "little") + values.tobytes()
    )
    content = b"\x80\x02" + _empty() + state + b"b."
    np.testing.assert_array_equal(load(content).array(), values, strict=True)


def _dtype(code: str, *state: bytes) -> bytes:
    parts = state or (number(3), text("<"), b"N", b"N", b"N", number(-1), number(-1), number(0))
    return call("numpy.dtype", text(code), b"\x89", b"\x88") + tuple_of(*parts) + b"b"


def _empty() -> bytes:
    return call("numpy.core.multiarray._reconstruct", glob("numpy.ndarray"), tuple_of(number(0)), text("b"))


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.array([None, {"a": 1}]), "an array of Python objects"),
        (np.array(["a"]), "an array of texts"),
        (np.array([b"a"]), "an array of texts"),
        (np.zeros(2, [("a", "f4")]), "an array of records"),
        (np.zeros(2, "datetime64[s]"), "an array of NumPy's M8"),
        (np.zeros(2, np.longdouble), f"an array of NumPy's {np.dtype(np.longdouble).str[1:]}"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_arrays_are_described(array: Any, kind: str, protocol: int) -> None:
    assert load(pickle.dumps(array, protocol)).kind == kind


def test_arrays_of_jax_and_tensorflow_are_widened() -> None:
    """As ml_dtypes 0.5 pickles an array of bfloat16: its type is a class of the extension."""
    dtype = call("numpy.dtype", glob("ml_dtypes.bfloat16"), b"\x89", b"\x88")
    parts = (number(3), text("<"), b"N", b"N", b"N", number(2), number(2), number(64))
    state = tuple_of(number(1), tuple_of(number(2)), dtype + tuple_of(*parts) + b"b", b"\x89", b"C\x04\x80\x3f\0\xc0")
    assert load(b"\x80\x04" + _empty() + state + b"b.").array().tolist() == [1, -2]


def test_numbers_and_types_are_not_arrays() -> None:
    assert isinstance(load(pickle.dumps(np.float64(1), 4)), Object)
    assert not isinstance(load(pickle.dumps(np.dtype("float32"), 4)), Tensor)
    assert load(pickle.dumps(np.arange(2).dtype.type, 4)).name == "numpy.int64"


HUGE = 2**40


@pytest.mark.parametrize(
    "state",
    [
        tuple_of(number(1), tuple_of(number(HUGE)), _dtype("f4"), b"\x89", b"C\x04abcd"),
        tuple_of(number(1), tuple_of(number(3)), _dtype("f4"), b"\x89", b"C\x04abcd"),
        tuple_of(number(1), tuple_of(number(-1)), _dtype("f4"), b"\x89", b"C\x04abcd"),
        tuple_of(number(1), tuple_of(*[number(2)] * 40), _dtype("f4"), b"\x89", b"C\x04abcd"),
        tuple_of(number(1), number(1), _dtype("f4"), b"\x89", b"C\x04abcd"),
        tuple_of(number(1)),
        b"N",
    ],
)
def test_a_state_that_lies_is_an_error(state: bytes) -> None:
    with pytest.raises(ValueError, match=r"tensor|pickle|values|is broken"):
        load(b"\x80\x04" + _empty() + state + b"b.")


@pytest.mark.parametrize("code", ["f4000000000000", "V99999999999", "(1000000000,)f4", "f4,f4", "nonsense"])
def test_numpy_makes_no_types_of_a_files_words(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tuple_of(number(1), tuple_of(number(1)), _dtype(code), b"\x89", b"C\x04abcd")
    monkeypatch.setattr(np, "dtype", None)
    assert load(b"\x80\x04" + _empty() + state + b"b.").kind.startswith("an array of ")
