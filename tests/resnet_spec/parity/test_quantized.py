"""8-bit forms agree with the reference in integers, and a wrong one is found, by its node and its cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec.backend.optimizing import core_forms
from resnet_spec.errors import BackendError, QuantizationError, SpecError
from resnet_spec.graph import Graph
from resnet_spec.parity.compare import compare
from resnet_spec.parity.quantized_nodes import JudgedCodes, between_midpoints, judge_codes
from resnet_spec.quantization import Grid, IntegerReference, Quantization
from resnet_spec.quantizing import quantize
from tests.backend_pool import shared_backends
from tests.needs import need
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images
from tests.third_party import distribution, on_path

need("torch")

from resnet_spec_torch import TorchBackend  # noqa: E402 - imports torch
from tests.resnet_spec.quantization.test_calibration import quantized  # noqa: E402 - imports torch

BACKEND = TorchBackend()
SPEC = "cifar/resnet20"


# -- whole networks ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 8-bit network under the weights of a comparison, with kernels of 7 bits, which every processor adds right."""
    from resnet_spec import initialize, load

    path = tmp_path_factory.mktemp("quantized") / "q.json"
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32))
    graph = load(SPEC).to_graph()
    path.write_text(quantize(SPEC, initialize(graph), images, reduce_range=True).to_json())
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from resnet_spec import initialize, load, write_weights

    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    graph = load(SPEC).to_graph()
    write_weights(path, graph, initialize(graph))
    return path


@pytest.mark.usefixtures("kept_backends")
def test_8_bit_forms_agree(file: Path, weights: Path) -> None:
    report = compare(SPEC, ("torch", "onnx"), weights=weights, quantization=file, bisect=True)
    found = [(d.backend, d.reference, d.passed) for d in report.differences if d.dtype == "int8"]
    assert found == [("torch", "integers", True), ("onnx", "integers", True)]
    assert report.passed
    assert report.findings == report.notes == ()


def test_a_wrong_8_bit_form_is_found(
    file: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Path(__file__).with_name("wrong_quantizations.py")
    distribution(tmp_path, "wrong", {"pertensor": "wrong_quantizations:Pertensor"}, module)
    on_path(monkeypatch, tmp_path)
    chosen = Quantization.read(file).model_copy(update={"weights": "0" * 64})
    with shared_backends("pertensor"):
        report = compare(SPEC, ("torch", "pertensor"), weights=weights, quantization=chosen, bisect=True)
    assert "chosen with the weights 00000000, and these are " in "".join(report.notes)
    (finding,) = report.findings
    assert (finding.backend, finding.node) == ("pertensor", "relu")
    assert finding.causes == ("one scale for the whole kernel instead of one for each channel",)


@pytest.mark.usefixtures("kept_backends")
def test_a_network_that_ends_in_a_softmax_is_compared(tmp_path: Path) -> None:
    from resnet_spec import initialize, load, write_weights

    spec, weights = tmp_path / "net.yaml", tmp_path / "w.safetensors"
    spec.write_text("input: {features: 6}\nhead: {fc: {linear: {features: 4}}, softmax: softmax}\n")
    graph = load(spec).to_graph()
    write_weights(weights, graph, initialize(graph))
    chosen = quantize(spec, weights, np.random.default_rng(0).normal(size=(8, 6)), reduce_range=True)
    assert compare(spec, ("torch", "onnx"), weights=weights, quantization=chosen, bisect=True).passed
    # Nothing is on a grid: float32 remains.
    in_float = chosen.model_copy(update={"values": {}})
    assert compare(spec, ("torch", "onnx"), weights=weights, quantization=in_float).passed


def test_what_cannot_be_compared_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuantizationError, match="was calibrated for cifar/resnet20"):
        compare("cifar/resnet32", ("torch", "onnx"), quantization=file, size=(8, 8))
    with pytest.raises(SpecError, match="torch cannot be bisected against itself"):
        compare(SPEC, ("torch", "torch"), size=(8, 8), bisect=True)
    monkeypatch.delattr(TorchBackend, "compile_quantized")
    from resnet_spec import build

    with pytest.raises(BackendError, match="the torch backend has no 8-bit form of networks"):
        build(SPEC, "torch", quantization=file)


# -- the causes --------------------------------------------------------------------------------------------------


def network() -> Graph:
    b = Builder(3, 9, 9)
    b.add("first", "conv2d", channels=6, kernel=3, bias=True).add("relu", "relu")
    b.add("conv", "conv2d", channels=8, kernel=3, padding=1, bias=True)
    b.add("pool", "global_avg_pool").add("flat", "flatten").add("fc", "linear", features=5)
    return b.graph()


OPTIMIZED, FILE = quantized(network(), random_images(4, 3, 9, 9))
ARRAYS = core_forms(network()).rewriting.arrays(random_arrays(network()), "float32")
IMAGES = random_images(2, 3, 9, 9, seed=5)
REFERENCE = IntegerReference(OPTIMIZED, ARRAYS, FILE)
STEP = FILE.values["relu"].scale


def with_grid(node: str, grid: Grid | None) -> Quantization:
    values = {name: own for name, own in FILE.values.items() if name != node} | ({node: grid} if grid else {})
    return FILE.model_copy(update={"values": values})


def with_kernel(scales: tuple[float, ...] | None) -> Quantization:
    kernels = {name: own for name, own in FILE.kernels.items() if name != "conv.weight"}
    return FILE.model_copy(update={"kernels": kernels | ({"conv.weight": scales} if scales else {})})


def asymmetric() -> np.ndarray:
    """The kernel on a grid of 256 numbers from its smallest to its largest, in each channel."""
    kernel = ARRAYS["conv.weight"].astype("float64")
    low, high = (limit(kernel, axis=(1, 2, 3), keepdims=True) for limit in (np.min, np.max))
    scale = ((high - low) / 255).astype("float32").astype("float64")
    zero = np.rint(-128 - low / scale)
    codes = (np.rint(kernel / scale) + zero).clip(-128, 127)
    return ((codes - zero) * scale).astype("float32")


def rounded_bias() -> np.ndarray:
    """The bias as whole numbers make it, so that no code differs by its rounding."""
    scales = np.array(FILE.kernels["conv.weight"]) * STEP
    return (np.rint(ARRAYS["conv.bias"] / scales) * scales).astype("float32")


Arrays = Mapping[str, np.ndarray]


class Wrong(TorchBackend):
    """PyTorch that compiles another file and loads other arrays."""

    def __init__(self, quantization: Quantization = FILE, **arrays: np.ndarray) -> None:
        self.quantization = quantization
        self.arrays_instead = {name.replace("_", "."): array for name, array in arrays.items()}

    def compile_quantized(self, graph: Graph, quantization: Quantization, **settings: Any) -> Any:
        return super().compile_quantized(graph, self.quantization, **settings)

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        super().load(model, graph, {**arrays, **self.arrays_instead})


class Changed(TorchBackend):
    """PyTorch, except for one node's value, which a function makes of that of another."""

    def __init__(self, node: str, source: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.node, self.source, self.change = node, source, change

    def compile_quantized(self, graph: Graph, quantization: Quantization, **settings: Any) -> Any:
        self.names = graph.outputs
        return super().compile_quantized(graph, quantization, **settings)

    def forward(self, model: Any, images: np.ndarray, *, training: bool = False) -> list[np.ndarray]:
        values = dict(zip(self.names, super().forward(model, images), strict=True))
        changed = self.change({"input": images, **values}[self.source])
        return [*(values | {self.node: changed}).values()]


def judged_by(backend: TorchBackend) -> list[JudgedCodes]:
    return judge_codes(backend, OPTIMIZED, ARRAYS, REFERENCE, FILE, IMAGES)


def exact(node: str, value: np.ndarray) -> np.ndarray:
    """A node's value in PyTorch, in float64 and not rounded to its grid."""
    model = BACKEND.compile_quantized(OPTIMIZED, with_grid(node, None), dtype="float64")
    BACKEND.load(model, OPTIMIZED, {name: array.astype("float64") for name, array in ARRAYS.items()})
    return BACKEND.apply(model, OPTIMIZED, node, [value.astype("float64")])


def rounded_down(value: np.ndarray) -> np.ndarray:
    # Lower by half a step, so that it differs by more than a code somewhere.
    grid = FILE.values["conv"]
    codes = np.floor(exact("conv", value) / grid.scale) + grid.zero_point
    codes.flat[0] -= 2
    return grid.values(codes.clip(-128, 127))


def limited(value: np.ndarray) -> np.ndarray:
    return FILE.values["conv"].rounded(exact("conv", value).clip(0))


def padded_with_code_0(value: np.ndarray) -> np.ndarray:
    edge = -FILE.values["relu"].zero_point * STEP
    padded = np.pad(value, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=edge)
    b = Builder(6, 9, 9).add("conv", "conv2d", channels=8, kernel=3, bias=True)
    graph = b.graph()
    model = BACKEND.compile_quantized(graph, FILE.model_copy(update={"values": {}}), dtype="float64")
    BACKEND.load(model, graph, {name: ARRAYS[name].astype("float64") for name in ("conv.weight", "conv.bias")})
    return FILE.values["conv"].rounded(BACKEND.forward(model, padded.astype("float64"))[0])


WIDE = FILE.values["conv"]
MODELS: dict[str, Callable[[], Any]] = {
    "one scale for the whole kernel instead of one for each channel": lambda: Wrong(
        with_kernel((max(FILE.kernels["conv.weight"]),) * 8)
    ),
    "an asymmetric grid for the kernel": lambda: Wrong(
        with_kernel(None), conv_weight=asymmetric(), conv_bias=rounded_bias()
    ),
    "a kernel in float": lambda: Wrong(with_kernel(None)),
    "no bias": lambda: Wrong(conv_bias=np.zeros(8, "float32")),
    "a bias with the scale of the kernel alone": lambda: Wrong(conv_bias=ARRAYS["conv.bias"] / STEP),
    "the value is not rounded to its grid": lambda: Wrong(with_grid("conv", None)),
    "the zero point is 0": lambda: Wrong(with_grid("conv", WIDE.model_copy(update={"zero_point": 0}))),
}
NODES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "the value is limited to positive numbers": ("conv", limited),
    "the padding is the code 0 instead of the zero point": ("conv", padded_with_code_0),
}


def test_a_right_model_has_no_wrong_node() -> None:
    judged = judged_by(BACKEND)
    assert [node.name for node in judged] == [name for name in FILE.values if name != "input"]
    assert all(node.passed for node in judged)


def test_no_number_of_an_image_is_as_near_to_one_code_as_to_the_next() -> None:
    grid = Grid(scale=0.125, zero_point=3)
    chosen = FILE.model_copy(update={"values": FILE.values | {"input": grid}})
    steps = np.array([-0.5, 0.0, 0.25, 0.5, 0.4999999, 7.5, -131.5, 124.5, 999.0])
    found = between_midpoints(steps * grid.scale, chosen)
    codes = found.astype("float64") / grid.scale
    assert np.allclose(codes, [-0.499, 0, 0.25, 0.499, 0.499, 7.501, -131.5, 124.5, 999], atol=1e-4)
    assert np.array_equal(grid.codes(found), grid.codes(steps * grid.scale))
    # As a runtime rounds it.
    assert np.array_equal(np.rint(found / np.float32(grid.scale)) + 3, np.rint(codes) + 3)
    in_float = FILE.model_copy(update={"values": {}})
    assert np.array_equal(between_midpoints(steps, in_float), steps.astype("float32"))


@pytest.mark.parametrize("cause", MODELS)
def test_a_wrong_layer_is_explained(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Within a code a mistake is none; the smallest of these are seen by a smaller bound.
    monkeypatch.setattr("resnet_spec.parity.quantized_nodes.STEPS", 0.05)
    wrong = next(node for node in judged_by(MODELS[cause]()) if not node.passed)
    assert wrong.name == "conv"
    assert cause in wrong.causes


@pytest.mark.parametrize("cause", NODES)
def test_a_wrong_runtime_is_explained(cause: str) -> None:
    node, change = NODES[cause]
    wrong = next(node for node in judged_by(Changed(node, "relu", change)) if not node.passed)
    assert wrong.name == node
    assert cause in wrong.causes


def test_numbers_of_another_grid_are_found_within_a_code() -> None:
    def other(value: np.ndarray) -> np.ndarray:
        return value * (1 + 1e-5)

    for node in ("conv", "fc"):
        wrong = next(judged for judged in judged_by(Changed(node, node, other)) if not judged.passed)
        assert wrong.name == node
        assert wrong.allowed == pytest.approx(0.001 * FILE.values[node].scale)


def test_a_mean_that_ties_do_not_explain_is_found_within_a_code() -> None:
    grid = FILE.values["conv"]

    def shifted(part: int) -> Callable[[np.ndarray], np.ndarray]:
        def change(value: np.ndarray) -> np.ndarray:
            changed = value.astype("float64").copy()
            changed.flat[::part] += grid.scale
            return changed.astype("float32")

        return change

    wrong = next(judged for judged in judged_by(Changed("conv", "conv", shifted(2))) if not judged.passed)
    assert wrong.name == "conv"
    assert grid.scale / 4 < wrong.allowed < wrong.largest < grid.scale
    assert all(judged.passed for judged in judged_by(Changed("conv", "conv", shifted(5))))


def test_sums_in_16_bits_are_explained() -> None:
    graph = Builder(5).add("fc", "linear", features=2).graph()
    arrays = {"fc.weight": np.array([[1, 1, 1, 1, 1], [1, -1, 0, 0, 1]], "float32"), "fc.bias": np.ones(2, "float32")}
    chosen = FILE.model_copy(
        update={
            "values": {"input": Grid(scale=1.0, zero_point=-128), "fc": Grid(scale=10.0, zero_point=-128)},
            "kernels": {"fc.weight": (1 / 127, 1 / 127)},
        }
    )
    images = np.array([[255.0, 255, 200, 200, 7], [0, 1, 2, 3, 4]])

    def in_16_bits(value: np.ndarray) -> np.ndarray:
        kernel = (arrays["fc.weight"] * 127).astype("int64")
        sums = np.full((2, 2), 127)
        for image, feature in np.ndindex(2, 2):
            products = value[image].astype("int64") * kernel[feature]
            sums[image, feature] += sum(max(-32768, min(32767, int(sum(products[i : i + 2])))) for i in (0, 2, 4))
        return chosen.values["fc"].rounded(sums / 127)

    reference = IntegerReference(graph, arrays, chosen)
    (judged,) = judge_codes(Changed("fc", "input", in_16_bits), graph, arrays, reference, chosen, images)
    assert not judged.passed
    assert judged.causes == ["sums of two products are limited to 16 bits"]
    assert judge_codes(BACKEND, graph, arrays, reference, chosen, images)[0].passed
