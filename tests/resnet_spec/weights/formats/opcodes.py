"""Pickles written instruction by instruction, as no library writes them."""

from __future__ import annotations

import pickle


def glob(name: str) -> bytes:
    """A class or function by its dotted name."""
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def call(name: str, *arguments: bytes) -> bytes:
    return glob(name) + tuple_of(*arguments) + b"R"


def tensor(
    count: int = 6,
    offset: int = 0,
    size: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
    kind: str = "Float",
) -> bytes:
    """A tensor of PyTorch over a storage of ``count`` numbers."""
    storage = tuple_of(text("storage"), glob(f"torch.{kind}Storage"), text("0"), text("cpu"), number(count)) + b"Q"
    arguments = [
        tuple_of(*map(number, size)),
        tuple_of(*map(number, stride)),
        b"\x89",
        glob("collections.OrderedDict") + b")R",
    ]
    return call("torch._utils._rebuild_tensor_v2", storage, number(offset), *arguments)


def state(value: bytes, name: str = "w") -> bytes:
    """A pickle of a mapping with one entry."""
    return b"\x80\x02}" + text(name) + value + b"s."
