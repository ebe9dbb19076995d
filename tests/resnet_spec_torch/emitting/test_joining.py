"""Operations of several inputs."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from resnet_spec_torch import TorchBackend
from tests.resnet_spec_torch.graphs import Builder, build, random_images


def test_joins() -> None:
    b = Builder(2, 3, 3).add("a", "relu").add("b", "sigmoid", "input").add("c", "global_avg_pool", "input")
    b.add("sum", "add", "a", "b", "input").add("product", "multiply", "sum", "c", "b")
    backend = TorchBackend()
    x = random_images(2, 2, 3, 3)
    result = backend.forward(backend.compile(b.graph()), x)[0]
    gate = 1 / (1 + np.exp(-x))
    wanted = (np.maximum(x, 0) + gate + x) * x.mean((2, 3), keepdims=True) * gate
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (3, 4, 7, 8)])
def test_a_constant_factor(shape: tuple[int, ...]) -> None:
    b = Builder(*shape[1:]).add("one", "multiply", "input", factor=0.2)
    b.add("x", "multiply", "one", "input", factor=-1.5)
    x = random_images(*shape)
    model = build(b.graph())
    np.testing.assert_allclose(TorchBackend().forward(model, x)[0], x * 0.2 * x * -1.5, rtol=1e-6)
    assert "x * 0.2\n    return y * x * -1.5\n" in inspect.getsource(type(model).forward)


@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (3, 4, 7, 8)])
def test_broadcasting(shape: tuple[int, ...]) -> None:
    b = Builder(*shape[1:]).add("a", "relu").add("row", "slice", "input", axis=1, start=2, stop=3)
    b.add("channel", "slice", "input", stop=1).add("difference", "subtract", "row", "channel")
    b.add("sum", "add", "row", "a", "difference").add("most", "maximum", "channel", "sum", "row")
    x = random_images(*shape)
    difference = x[:, :, 2:3] - x[:, :1]
    wanted = np.maximum(np.maximum(x[:, :1], x[:, :, 2:3] + np.maximum(x, 0) + difference), x[:, :, 2:3])
    result = TorchBackend().forward(build(b.graph()), x)[0]
    np.testing.assert_allclose(result, wanted, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(axis: int) -> None:
    b = Builder(4, 4, 4).add("a", "relu").add("x", "concat", "input", "a", "input", axis=axis)
    x = random_images(3, 4, 4, 4)
    wanted = np.concatenate([x, np.maximum(x, 0), x], axis + 1)
    np.testing.assert_array_equal(TorchBackend().forward(build(b.graph()), x)[0], wanted)


def test_they_read_like_written_code() -> None:
    b = Builder(4, 6, 6).add("a", "relu").add("cat", "concat", "a", "input").add("half", "slice", part=1, parts=2)
    b.add("more", "subtract", "half", "a").add("most", "maximum").nodes[-1]["inputs"] = ("more", "half")
    assert inspect.getsource(type(build(b.graph())).forward).splitlines()[1:] == [
        "    y = self.a(x)",
        "    x = torch.cat([y, x], dim=1)",
        "    x = x.chunk(2, dim=1)[1]",
        "    y = x - y",
        "    return torch.maximum(y, x)",
    ]


def test_a_value_that_is_read_again_is_not_overwritten() -> None:
    """Slices are views of their input, which an activation in place would change too."""
    b = Builder(4, 5, 5).add("conv", "conv2d", channels=4, kernel=1).add("half", "slice", part=0, parts=2)
    b.add("relu", "relu").add("row", "slice", "conv", axis=1, start=2, stop=3).add("top", "relu")
    b.add("sum", "add", "row", "conv").add("all", "concat", "relu", "conv").add("end", "relu")
    b.add("pool", "global_max_pool").add("flat", "flatten").nodes[-1]["inputs"]
    graph = b.graph("conv", "relu", "top", "sum", "end", "flat")
    backend, x = TorchBackend(), random_images(2, 4, 5, 5)
    model = build(graph)
    conv, relu, top, total, end, flat = backend.forward(model, x)
    np.testing.assert_array_equal(conv, backend.forward(build(graph.with_outputs(["conv"])), x)[0])
    assert (conv < 0).any()
    np.testing.assert_array_equal(relu, np.maximum(conv[:, :2], 0))
    np.testing.assert_array_equal(top, np.maximum(conv[:, :, 2:3], 0))
    np.testing.assert_array_equal(total, conv[:, :, 2:3] + conv)
    np.testing.assert_array_equal(end, np.maximum(np.concatenate([relu, conv], 1), 0))
    np.testing.assert_array_equal(flat, end.max((2, 3)))
