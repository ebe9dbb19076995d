"""Makes operations from their fields, and what many tests of them are given."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from resnet_spec.operations import OPERATIONS, Operation

Shape = tuple[int, ...]
Shapes = list[Shape]

NORM = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"}
MAP = (4, 9, 10)
STANDARDIZED = {"channels": 8, "kernel": 3, "epsilon": 1e-8}
GROUPED = {"groups": 2, "epsilon": 1e-5}

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Operation)


def make(op: str, **fields: Any) -> Any:
    return _ADAPTER.validate_python({"op": op, **fields})


def operations_of(module: str) -> set[str]:
    """The names of the operations that a module of the package defines."""
    return {name for name, kind in OPERATIONS.items() if kind.__module__ == f"resnet_spec.operations.{module}"}
