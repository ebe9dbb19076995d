"""Learned factors, terms and values in files: found by structure, whatever axes they vary along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.resnet_spec_onnx.reading.files import anonymous, assert_equal, made, node, proto, read, refused
from tests.resnet_spec_torch.graphs import Builder, random_arrays


def scaled() -> Builder:
    b = Builder(3, 6, 7).add("conv", "conv2d", channels=4, kernel=3, bias=True).add("positions", "offset", shape="map")
    b.add("act", "sigmoid").add("gamma", "scale", shape="channels").add("act2", "relu")
    b.add("gain", "scale", shape="scalar").add("token", "parameter", shape=(4, 4, 5)).add("sum", "add", "gain", "token")
    b.add("pool", "global_avg_pool").add("flat", "flatten").add("fc", "linear", features=3)
    return b.add("bias", "offset", shape="channels")


@pytest.mark.parametrize("initial", [None, 1.0, 0.0])
def test_they_are_found_by_structure(initial: float | None, tmp_path: Path) -> None:
    graph = scaled().graph()
    arrays: dict[str, Any] = random_arrays(graph)
    if initial is not None:
        # Neither a factor of 1 nor a term of 0 is left out.
        own = {p.name: p.shape for p in graph.parameters() if p.role.startswith("learned_")}
        arrays |= {name: np.full(shape, initial, np.float32) for name, shape in own.items()}
    checkpoint = read(anonymous(proto(graph, arrays)), graph, tmp_path)
    assert_equal(checkpoint, arrays)


def test_other_axes_are_another_network(tmp_path: Path) -> None:
    graph, other = (Builder(4, 6, 7).add("x", "scale", shape=shape).graph() for shape in ("channels", "map"))
    message = refused(anonymous(proto(other)), graph, tmp_path)
    assert "along" in message


def test_a_term_and_a_factor_are_not_the_same(tmp_path: Path) -> None:
    graph, other = (Builder(4, 6, 7).add("x", op, shape="channels").graph() for op in ("scale", "offset"))
    assert "'x' (scale) where the file has 'x' (Add)" in refused(anonymous(proto(other)), graph, tmp_path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Mul", "x five", "y")], "'y' (Mul) joins [1, 3, 16, 16] with a constant [5]"),
        ([node("Mul", "x batch", "y")], "'y' (Mul) joins [1, 3, 16, 16] with a constant [2, 1, 1, 1]"),
        ([node("Expand", "columns shape", "y")], "'y' (Expand) expands [1, 16] to [1, 3, 16, 16], which is not once"),
        ([node("Mul", "x integers", "y")], "with a constant [3, 1, 1] of int64"),
    ],
)
def test_what_does_not_broadcast_is_refused(nodes: list[Any], message: str, tmp_path: Path) -> None:
    constants = {
        "five": np.ones(5, np.float32),
        "batch": np.ones((2, 1, 1, 1), np.float32),
        "columns": np.ones((1, 16), np.float32),
        "shape": np.array([1, 3, 16, 16]),
        "integers": np.ones((3, 1, 1), np.int64),
    }
    graph = Builder().add("x", "scale", shape="channels").graph()
    assert message in refused(made(nodes, constants), graph, tmp_path)
