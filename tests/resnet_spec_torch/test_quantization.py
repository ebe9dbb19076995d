"""8-bit models in PyTorch: they compute what the reference in integers computes, and are trained with float weights."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet_spec.graph import Graph
from resnet_spec.optimization import optimize
from resnet_spec.quantization import Grid, IntegerReference, Quantization, kernel_codes
from resnet_spec_torch import TorchBackend
from resnet_spec_torch.quantization import on_grid
from tests.resnet_spec.quantization.test_calibration import quantized
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet
from tests.without_package import run_without_package

BACKEND = TorchBackend()


def everything() -> Graph:
    """Kernels of every class, groups, pools, joins, a gate in float, a layer called twice, and two outputs."""
    b = Builder(3, 15, 14)
    b.add("conv", "conv2d", channels=8, kernel=3, stride=2, padding="same", bias=True).add("silu", "silu")
    b.add("uneven", "conv2d", channels=8, kernel=3, padding=((0, 2), (1, 1)), groups=4).add("relu6", "relu6")
    b.add("again", "conv2d", calls="uneven", channels=8, kernel=3, padding=((0, 2), (1, 1)), groups=4)
    b.add("sum", "add", "again", "silu")
    b.add("squeeze", "global_avg_pool").add("gate", "sigmoid")
    b.add("scale", "multiply", "sum", "gate")
    b.add("pool", "avg_pool2d", kernel=2, stride=2, count_include_pad=True)
    b.add("dilated", "conv2d", channels=4, kernel=3, padding=2, dilation=2)
    b.add("max", "max_pool2d", "pool", kernel=3, stride=1, padding=1)
    b.add("both", "concat", "dilated", "max").add("norm", "batch_norm").add("act", "relu")
    b.add("mean", "global_avg_pool").add("flat", "flatten").add("fc", "linear", features=5)
    return b.graph("act", "fc")


def arrays_of(graph: Graph) -> tuple[Graph, dict[str, np.ndarray]]:
    rewriting = optimize(graph)
    return rewriting.graph, rewriting.arrays(random_arrays(graph), "float32")


def model_of(graph: Graph, dtype: Any = "float32", **settings: Any) -> tuple[Graph, Quantization, torch.nn.Module]:
    optimized, chosen = quantized(graph, random_images(4, *graph.input.shape), **settings)
    model = BACKEND.compile_quantized(optimized, chosen, dtype=dtype)
    BACKEND.load(model, optimized, arrays_of(graph)[1])
    return optimized, chosen, model


def reference_of(graph: Graph, chosen: Quantization) -> IntegerReference:
    optimized, arrays = arrays_of(graph)
    exact = BACKEND.compile(optimized, dtype="float64")
    BACKEND.load(exact, optimized, {name: array.astype("float64") for name, array in arrays.items()})
    return IntegerReference(
        optimized, arrays, chosen, lambda node, inputs: BACKEND.apply(exact, optimized, node.name, inputs)
    )


@pytest.mark.parametrize("graph", [small_resnet(), everything()], ids=["resnet", "everything"])
def test_a_model_in_float64_has_the_codes_of_the_reference(graph: Graph) -> None:
    optimized, chosen, model = model_of(graph, "float64")
    images = random_images(2, *graph.input.shape, seed=5).astype("float64")
    wanted = reference_of(graph, chosen).outputs(images)
    for name, found, value in zip(optimized.outputs, BACKEND.forward(model, images), wanted, strict=True):
        grid = chosen.values.get(name)
        if grid is None:
            np.testing.assert_allclose(found, value, atol=1e-12)
        else:
            # Biases are float here, and of 32 bits there, which moves a code that is between two.
            steps = np.abs(found - value) / grid.scale
            assert steps.max() < 1.001
            assert (steps > 0.5).mean() < 0.02


@pytest.mark.parametrize("graph", [small_resnet(), everything()], ids=["resnet", "everything"])
def test_every_node_is_within_a_code_of_the_reference_given_its_inputs(graph: Graph) -> None:
    optimized, chosen, model = model_of(graph)
    values: dict[str, Any] = {}
    for name, value in reference_of(graph, chosen).walk(random_images(2, *graph.input.shape, seed=5)):
        values[name] = value
        if name != "input":
            inputs = [values[source].real.astype("float32") for source in optimized.by_name[name].inputs]
            found = BACKEND.apply(model, optimized, name, inputs)
            allowed = 1.001 * value.grid.scale if value.grid else 1e-4
            assert np.abs(found - value.real).max() <= allowed, name
            if value.grid:
                np.testing.assert_allclose(value.grid.rounded(found), found, atol=1e-6)


def test_a_number_edited_in_the_file_counts() -> None:
    graph = small_resnet()
    _, chosen, model = model_of(graph)
    images = random_images(2, 3, 32, 32, seed=5)
    coarse = chosen.model_copy(update={"values": chosen.values | {"relu": Grid(scale=2.0, zero_point=-128)}})
    optimized, arrays = arrays_of(graph)
    other = BACKEND.compile_quantized(optimized, coarse, dtype="float32")
    BACKEND.load(other, optimized, arrays)
    relu = optimized.with_outputs(["relu"])
    assert np.abs(BACKEND.forward(model, images)[0] - BACKEND.forward(other, images)[0]).max() > 0.01
    shown = BACKEND.compile_quantized(relu, coarse, dtype="float32")
    BACKEND.load(shown, relu, arrays)
    assert set(np.unique(BACKEND.forward(shown, images)[0] / 2.0)) <= set(range(256))


def test_its_state_dict_is_that_of_the_float_model() -> None:
    optimized, _, model = model_of(small_resnet())
    plain = BACKEND.compile(optimized, dtype="float32")
    assert list(model.state_dict()) == list(plain.state_dict())
    arrays = BACKEND.arrays(model, optimized)
    for name, array in arrays_of(small_resnet())[1].items():
        np.testing.assert_array_equal(arrays[name], array)


def test_gradients_pass_straight_through_and_not_where_a_number_is_limited() -> None:
    values = torch.tensor([-300.0, -1.3, 0.2, 0.74, 300.0], requires_grad=True)
    rounded = on_grid(values, 0.5, -10)
    assert rounded.tolist() == [-59.0, -1.5, 0.0, 0.5, 68.5]
    rounded.sum().backward()  # pyright: ignore
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_it_trains() -> None:
    _, _, model = model_of(small_resnet())
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    images, targets = torch.from_numpy(random_images(8, 3, 32, 32, seed=5)), torch.arange(8) % 5
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses: list[float] = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]
    assert all(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_it_is_copied_pickled_and_exported() -> None:
    _, chosen, model = model_of(everything())
    images = torch.from_numpy(random_images(2, 3, 15, 14, seed=5))
    with torch.no_grad():
        wanted = model(images)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            for found, value in zip(other(images), wanted, strict=True):
                torch.testing.assert_close(found, value)
        # Its operators multiply by the inverse of a scale, so that some halves become another code.
        step = max(grid.scale for grid in chosen.values.values())
        exported = torch.export.export(model, (images,)).module()
        for found, value in zip(exported(images), wanted, strict=True):
            torch.testing.assert_close(found, value, atol=2 * step, rtol=0)


# -- programs ------------------------------------------------------------------------------------------------------


def test_a_program_has_8_bit_kernels_and_the_operators_of_pt2e(tmp_path: Path) -> None:
    graph, chosen, model = model_of(everything())
    graph = graph.with_outputs(graph.outputs, ["act", "fc"])
    images = random_images(2, 3, 15, 14, seed=5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    BACKEND.write(model, graph, tmp_path / "model.pt2")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()

    program = torch.export.load(tmp_path / "model.pt2")
    arrays = arrays_of(everything())[1]
    for name, scales in chosen.kernels.items():
        assert np.array_equal(program.state_dict[name].numpy(), kernel_codes(arrays[name], scales))
    calls = [str(node.target) for node in program.graph.nodes]
    assert calls.count("quantized_decomposed.quantize_per_tensor.default") == len(chosen.values)
    assert calls.count("quantized_decomposed.dequantize_per_tensor.default") == len(chosen.values)
    # One is called twice.
    assert calls.count("quantized_decomposed.dequantize_per_channel.default") == len(chosen.kernels) + 1
    with torch.no_grad():
        found = program.module()(torch.from_numpy(images))
    for name, value, wanted in zip(("act", "fc"), found, BACKEND.forward(model, images), strict=True):
        # Codes at the same distance from both neighbors may differ, and what they lead to.
        assert np.abs(value.numpy() - wanted).max() <= 3 * chosen.values["fc" if name == "fc" else "both"].scale


@pytest.mark.slow
def test_a_program_runs_without_this_package(tmp_path: Path) -> None:
    graph, _, model = model_of(Builder(3, 9, 9).add("conv", "conv2d", channels=4, kernel=3).graph())
    images = random_images(3, 3, 9, 9, seed=5)
    BACKEND.write(model, graph, tmp_path / "int8.pt2")
    (wanted,) = BACKEND.forward(model, images)
    assert np.abs(run_without_package(tmp_path / "int8.pt2", images) - wanted).max() < 1e-5


def test_a_renamed_kernel_is_written_as_codes(tmp_path: Path) -> None:
    graph = Builder(3, 9, 9).add("conv", "conv2d", channels=4, kernel=3).graph()
    optimized, chosen = quantized(graph, random_images(2, 3, 9, 9))
    renamed = optimized.with_parameter_names({"conv": {"weight": "kernel"}})
    chosen = chosen.model_copy(update={"kernels": {"conv.kernel": chosen.kernels["conv.weight"]}})
    model = BACKEND.compile_quantized(renamed, chosen)
    BACKEND.load(model, renamed, {"conv.kernel": arrays_of(graph)[1]["conv.weight"]})
    BACKEND.write(model, renamed, tmp_path / "model.pt2")
    assert torch.export.load(tmp_path / "model.pt2").state_dict["conv.kernel"].dtype == torch.int8
    assert model.get_parameter("conv.kernel").dtype == torch.float32
