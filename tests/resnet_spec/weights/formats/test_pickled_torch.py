"""What ``torch._utils`` would rebuild is described instead; whole files are in ``test_pytorch``."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest

from resnet_spec.weights.formats.pickled_torch import storage_type, torch_table
from resnet_spec.weights.formats.pickles import Global, Unpickler
from resnet_spec.weights.formats.stored_tensors import Storage, Tensor
from tests.resnet_spec.weights.formats.opcodes import call, glob, number, text, tuple_of

SIZES = tuple_of(number(2)), tuple_of(number(1))


def load(content: bytes, dtype: str = "float32") -> Any:
    data = np.array([1, 2], "float32").view("uint8")
    content = b"\x80\x02" + content + b"."
    table = torch_table(lambda content: content)
    return Unpickler(BytesIO(content), len(content), table, lambda _: Storage(dtype, 8, data)).load()


def rebuilt(name: str, *rest: bytes) -> bytes:
    return call(name, text("") + b"Q", number(0), *SIZES, *rest)


TENSOR = rebuilt("torch._utils._rebuild_tensor")


@pytest.mark.parametrize(
    "content",
    [
        TENSOR,
        rebuilt("torch._utils._rebuild_tensor_v2", b"\x89", b"N"),
        rebuilt("torch._utils._rebuild_tensor_v2", b"\x89", b"N", b"N"),
        rebuilt("torch._utils._rebuild_tensor_v2", b"\x89", b"N", b"}"),
        rebuilt("torch._utils._rebuild_tensor_v3", b"\x89", b"N", glob("torch.float32")),
        rebuilt("torch._utils._rebuild_tensor_v3", b"\x89", b"N", glob("torch.float32"), b"N"),
        call("torch._utils._rebuild_parameter", TENSOR, b"\x88", b"N"),
        call("torch._utils._rebuild_parameter_with_state", TENSOR, b"\x88", b"N", b"}"),
        call("torch._utils._rebuild_device_tensor_from_numpy", TENSOR, glob("torch.float32"), text("xla:0"), b"\x89"),
        call("torch._utils._rebuild_xla_tensor", TENSOR, glob("torch.float32"), text("xla:0"), b"\x89"),
        call(
            "torch._tensor._rebuild_from_type_v2",
            glob("torch._utils._rebuild_tensor"),
            glob("a.Subclass"),
            tuple_of(text("") + b"Q", number(0), *SIZES),
            b"}",
        ),
        TENSOR + b"}" + text("note") + text("x") + b"sb",
    ],
)
def test_every_way_to_rebuild_a_tensor(content: bytes) -> None:
    assert load(content).array().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            call("torch._utils._rebuild_meta_tensor_no_storage", glob("torch.float16"), *SIZES, b"\x89"),
            "strided float16 on meta",
        ),
        (rebuilt("torch._utils._rebuild_qtensor", tuple_of(), b"\x89", b"N"), "strided float32 on cpu"),
        (call("torch._utils._rebuild_sparse_tensor", number(1), tuple_of(TENSOR)), "sparse float32 on cpu"),
        (call("torch._utils._rebuild_sparse_tensor", number(1), number(2)), "sparse an unknown type on cpu"),
        (call("torch._utils._rebuild_nested_tensor", TENSOR, TENSOR), "nested float32"),
        (
            call("torch._utils._rebuild_wrapper_subclass", glob("a.DTensor"), glob("torch.float32")),
            "float32 in an object of type a.DTensor",
        ),
        (call("torch._tensor._rebuild_from_type_v2", glob("a.f"), glob("a.C"), tuple_of(), b"}"), "what a.f makes"),
        (rebuilt("torch._utils._rebuild_tensor_v3", b"\x89", b"N", glob("torch.bits16")), "strided bits16"),
        (
            rebuilt("torch._utils._rebuild_tensor_v2", b"\x89", b"N", b"}" + text("neg") + b"\x88s"),
            "float32 that is still to be conjugated or negated",
        ),
    ],
)  # fmt: skip
def test_what_has_no_array_is_described(content: bytes, kind: str) -> None:
    loaded = load(content)
    assert isinstance(loaded, Tensor)
    assert loaded.kind == kind


@pytest.mark.parametrize(
    "content",
    [
        call("torch._utils._rebuild_tensor", number(1), number(0), *SIZES),
        call("torch._utils._rebuild_tensor", text("") + b"Q"),
        rebuilt("torch._utils._rebuild_tensor_v3", b"\x89"),
        call("torch._utils._rebuild_tensor_v3", number(1), number(0), *SIZES, b"\x89", b"N", glob("torch.float32")),
    ],
)
def test_what_cannot_be_rebuilt_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a tensor has no storage|its pickle is broken"):
        load(content)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("torch.FloatStorage", ("float32", 4)),
        ("torch.cuda.HalfStorage", ("float16", 2)),
        ("torch.storage.UntypedStorage", ("uint8", 1)),
        ("torch._UntypedStorage", ("uint8", 1)),
        ("torch.QInt32Storage", ("qint32", 4)),
        ("torch.ComplexDoubleStorage", ("complex128", 16)),
    ],
)
def test_types_of_storages(name: str, wanted: tuple[str, int]) -> None:
    assert storage_type(Global(name)) == wanted


@pytest.mark.parametrize(
    "kind", [Global("torch.StrangeStorage"), Global("os.FloatStorage"), "torch.FloatStorage", None]
)
def test_other_storages_are_an_error(kind: Any) -> None:
    with pytest.raises(ValueError, match="storage of an unknown type"):
        storage_type(kind)
