"""A model that is built optimized computes the same, is native, and takes weights in either form."""

from __future__ import annotations

import pickle
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import OutputError, WeightsError, build, building, load, load_weights, read_weights, save
from tests.needs import need
from tests.without_package import run_without_package

need("torch")

from tests.resnet_spec_torch.graphs import random_arrays  # noqa: E402 - imports torch

SPEC = load("cifar/resnet20", ["parameters.classes=7", "input.height=16", "input.width=16"])
GRAPH = SPEC.to_graph()


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    return random_arrays(GRAPH, seed)


@pytest.fixture(scope="module")
def images() -> Any:
    import torch

    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def built(weights: Any = None, **options: Any) -> Any:
    """A PyTorch model of the spec."""
    return build(SPEC, "torch", weights, **options)


def runtime() -> Any:
    return import_module("onnxruntime")


def outputs(model: Any, images: Any) -> Any:
    import torch

    with torch.no_grad():
        return model(images).numpy()


def agree(one: Any, other: Any) -> bool:
    return bool(np.abs(one - other).max() < 1e-5 * np.abs(other).max())


@pytest.fixture(scope="module")
def wanted(images: Any) -> Any:
    return outputs(built(drawn()), images)


def test_it_computes_the_same_by_fewer_layers(images: Any, wanted: Any) -> None:
    model = built(drawn(), optimize=True)
    assert agree(outputs(model, images), wanted)
    names = list(model.state_dict())
    assert "conv1.bias" in names
    assert not [name for name in names if "bn" in name]


def test_without_weights_it_is_the_same_random_model(images: Any) -> None:
    plain, optimized = (built(seed=3, optimize=optimize) for optimize in (False, True))
    assert agree(outputs(optimized, images), outputs(plain, images))


def test_arrays_are_rounded_to_the_dtype_of_the_model() -> None:
    import torch

    for dtype, wanted in (("float32", torch.float32), ("float64", torch.float64)):
        model = built(drawn(), dtype=dtype, optimize=True)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {wanted}


def test_kernels_of_maps_are_channels_last_and_nothing_has_a_gradient() -> None:
    import torch

    model = built(drawn(), optimize=True)
    kernel: Any = model.layer1[0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_it_is_copied_pickled_compiled_traced_and_exported(images: Any, wanted: Any) -> None:
    import torch

    torch_: Any = torch
    model = built(drawn(), optimize=True)
    # backend="eager": that it is one graph matters here, not which code is made of it.
    compiled = torch_.compile(model, fullgraph=True, backend="eager")
    exported = torch_.export.export(model, (images,)).module()
    others = deepcopy(model), pickle.loads(pickle.dumps(model)), compiled, exported
    for other in (*others, torch_.jit.trace(model, images)):
        assert agree(outputs(other, images), wanted)


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".npz"])
def test_it_is_saved_and_its_file_loads_into_an_optimized_model(
    ending: str, tmp_path: Path, images: Any, wanted: Any
) -> None:
    path = tmp_path / f"optimized{ending}"
    save(built(drawn(), optimize=True), path)
    assert agree(outputs(built(path, optimize=True), images), wanted)
    # The plain network has other parameters.
    with pytest.raises(WeightsError):
        built(path)


def test_weights_of_either_form_load_into_an_optimized_model(images: Any, wanted: Any, tmp_path: Path) -> None:
    optimized = built(drawn(), optimize=True)
    save(optimized, tmp_path / "optimized.pth")
    save(built(drawn()), tmp_path / "plain.pth")
    given = {name: tensor.numpy() for name, tensor in optimized.state_dict().items()}
    model = built(seed=9, optimize=True)
    for weights in (drawn(), given, tmp_path / "optimized.pth", tmp_path / "plain.pth"):
        load_weights(model, drawn(1))
        assert not agree(outputs(model, images), wanted)
        load_weights(model, weights)
        assert agree(outputs(model, images), wanted)


def test_weights_load_into_a_plain_model_and_into_none_of_another_origin(images: Any, wanted: Any) -> None:
    model = built(seed=9)
    load_weights(model, drawn())
    assert agree(outputs(model, images), wanted)
    with pytest.raises(TypeError, match=r"build\(\) did not return this .*ResNet"):
        load_weights(deepcopy(model), drawn())


def test_weights_that_fit_no_form_are_reported_by_the_names_of_the_spec() -> None:
    weights = {name: array for name, array in drawn().items() if name != "bn1.running_var"}
    with pytest.raises(WeightsError, match=r"bn1\.running_var"):
        built(weights, optimize=True)
    model = built(optimize=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=r"bn1\.running_var"):
        load_weights(model, weights)
    assert all(bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items())


def test_the_graph_that_was_compiled_is_known(tmp_path: Path) -> None:
    model, graph = building.built_with_graph(SPEC, "torch", drawn(), optimize=True)
    assert "bn1" not in graph.by_name
    save(model, tmp_path / "optimized.safetensors")
    assert read_weights(tmp_path / "optimized.safetensors", graph).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_a_fixed_size_is_that_of_the_input(ending: str, tmp_path: Path, wanted: Any, images: Any) -> None:
    need("onnxruntime")
    path = tmp_path / f"fixed{ending}"
    save(built(drawn(), optimize=True), path, fixed=(2, 3, 16, 16))
    if ending == ".pt2":
        import torch

        program: Any = torch.export.load(path)
        place = [node for node in program.graph.nodes if node.op == "placeholder"][-1]
        shape, value = list(place.meta["val"].shape), outputs(program.module(), images)
    else:
        session: Any = runtime().InferenceSession(path)
        shape, value = session.get_inputs()[0].shape, session.run(None, {"input": images.numpy()})[0]
        assert session.get_outputs()[0].shape == [2, 7]
    assert shape == [2, 3, 16, 16]
    assert agree(value, wanted)


@pytest.mark.parametrize(
    ("name", "fixed", "message"),
    [
        ("w.safetensors", (1, 3, 16, 16), "has weights only"),
        ("w.pth", (1, 3, 16, 16), "is for a whole model"),
        ("w.onnx", (1, 16, 16, 3), "a fixed size of 1×16×16×3 is none of this network, which takes N×3×16×16"),
        ("w.onnx", (3, 16, 16), "is none of this network"),
    ],
)
def test_a_fixed_size_that_cannot_be(name: str, fixed: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=message):
        save(built(), tmp_path / name, fixed=fixed)
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_needs_no_optimizer(tmp_path: Path, images: Any, wanted: Any) -> None:
    """ONNX Runtime's own rewriting of the standard's operations finds nothing left to fold or remove."""
    need("onnxruntime")
    onnx: Any = import_module("onnx")
    onnxruntime = runtime()
    save(built(drawn(), optimize=True), tmp_path / "model.onnx")
    settings: Any = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", settings)
    ours, theirs = (onnx.load(tmp_path / name).graph.node for name in ("model.onnx", "optimized.onnx"))
    # It only makes initializers of constants.
    assert sorted(node.name for node in theirs) == sorted(node.name for node in ours if node.op_type != "Constant")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain: Any = onnxruntime.InferenceSession(tmp_path / "model.onnx", settings)
    assert agree(plain.run(None, {"input": images.numpy()})[0], wanted)


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [None, (2, 3, 16, 16)])
@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_its_artifacts_run_without_this_package(
    ending: str, fixed: tuple[int, ...] | None, tmp_path: Path, images: Any, wanted: Any
) -> None:
    path = tmp_path / f"optimized{ending}"
    save(built(drawn(), optimize=True), path, fixed=fixed)
    assert agree(run_without_package(path, images.numpy()), wanted)
