"""The optimized form of each backend agrees within its bounds, and a wrong one is found, by node and by pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec.backend.optimizing import optimized
from resnet_spec.backend.protocol import DType
from resnet_spec.backend.registry import get_backend
from resnet_spec.graph import Graph
from resnet_spec.parity.compare import compare
from resnet_spec.parity.optimized_nodes import judge_nodes, rounded_nodes
from resnet_spec.parity.walk import apply_with_noise
from resnet_spec.spec.loader import load
from tests.backend_pool import shared_backends
from tests.needs import need
from tests.resnet_spec_torch.graphs import Builder, random_arrays
from tests.third_party import distribution, on_path

need("torch")

from resnet_spec_torch import TorchBackend  # noqa: E402 - imports torch

SPEC = "cifar/resnet20"
WRONG = ("folding", "finishing", "rounding")


class Splitting(TorchBackend):
    """PyTorch, with a grouped convolution as two."""

    def group_parts(self, graph: Graph) -> Mapping[str, int]:
        return {"conv": 2}


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    backends = {name: f"wrong_optimizations:{name.title()}" for name in WRONG}
    distribution(tmp_path, "wrong", backends, Path(__file__).with_name("wrong_optimizations.py"))
    on_path(monkeypatch, tmp_path)
    with shared_backends(*WRONG):
        yield


@pytest.mark.usefixtures("kept_backends")
def test_optimized_forms_agree() -> None:
    report = compare(SPEC, ("torch", "onnx"), size=(16, 16), optimize=True, bisect=True)
    assert report.passed
    assert report.findings == ()
    found = [(d.backend, d.dtype, d.reference) for d in report.differences if "optimized" in d.backend]
    assert found == [
        ("torch optimized", "float64", "torch"),
        ("torch optimized", "float32", "torch optimized float64"),
        ("onnx optimized", "float64", "torch"),
        ("onnx optimized", "float32", "onnx optimized float64"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["torchvision/resnext50_32x4d", "keras/resnet50v2", "faces/iresnet18", "timm/nf_resnet26"]
)
def test_optimized_forms_of_other_families_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_SPEC_GROUPED_CONVOLUTIONS", "32")
    # Its last linear layer reads a flattened map.
    size = load(name).input.shape[1:] if "faces" in name else (32, 32)
    # Every node of one of them; of the others the logits, which takes half the time.
    bisect = name == "torchvision/resnext50_32x4d"
    report = compare(name, ("torch", "tensorflow"), size=size, batch=1, optimize=True, bisect=bisect)
    assert report.passed
    assert report.findings == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "dtype", "node", "cause"),
    [
        ("folding", "float64", "layer1.0.conv2", ("the pass fold_normalizations",)),
        ("finishing", "float64", "layer2.0.conv1", ("the pass finish",)),
    ],
)
@pytest.mark.usefixtures("wrong")
def test_a_wrong_optimization_is_found(backend: str, dtype: str, node: str, cause: tuple[str, ...]) -> None:
    report = compare(SPEC, ("torch", backend), size=(16, 16), optimize=True, bisect=True)
    assert not report.passed
    assert [(d.backend, d.dtype) for d in report.differences if not d.passed] == [(f"{backend} optimized", dtype)]
    (finding,) = report.findings
    assert (finding.backend, finding.node, finding.causes) == (f"{backend} optimized", node, cause)


@pytest.mark.slow
@pytest.mark.usefixtures("wrong")
def test_a_form_that_is_rounded_too_often_is_found() -> None:
    report = compare(SPEC, ("torch", "rounding"), size=(16, 16), optimize=True, bisect=True)
    assert not report.passed
    assert [(d.backend, d.dtype) for d in report.differences if not d.passed] == [("rounding optimized", "float32")]
    (finding,) = report.findings
    assert (finding.node, finding.difference.dtype, finding.causes) == ("layer1.0.conv1", "float32", ())


def test_a_rounded_parameter_is_one_rounding_more() -> None:
    graph = Builder(2, 4, 4).add("conv", "conv2d", channels=3, kernel=1).add("bn", "batch_norm").graph()
    backend = get_backend("torch")
    forms = optimized(backend, graph)
    assert rounded_nodes(forms) == {"bn"}
    model = backend.compile(forms.graphs[-1], dtype="float64")
    backend.load(model, forms.graphs[-1], forms.rewriting.arrays(random_arrays(graph, dtype="float64")))
    node, images = forms.graphs[-1].nodes[0], np.random.default_rng(0).standard_normal((64, 2, 4, 4))
    exact = backend.apply(model, forms.graphs[-1], node.name, [images])

    def noise(*rounded: str) -> float:
        generator = np.random.default_rng(1)
        moved = apply_with_noise(backend, model, forms.graphs[-1], node, [images], generator, rounded)
        return float(np.abs(moved - exact).mean())

    # Two products and a bias: three roundings, and one more.
    assert noise("bn") / noise() == pytest.approx((4 / 3) ** 0.5, rel=1e-3)


def test_the_rounding_of_nodes_without_a_counterpart_is_part_of_the_next_node() -> None:
    builder = Builder(8, 6, 6).add("conv", "conv2d", channels=16, kernel=3, groups=4).add("bn", "batch_norm")
    builder.add("relu", "relu").add("bn2", "batch_norm").add("flat", "flatten").add("fc", "linear", features=5)
    graph, backend = builder.graph(), Splitting()
    forms, arrays = optimized(backend, graph), random_arrays(graph)
    exact = forms.rewriting.arrays(arrays)
    models: dict[DType, Any] = {}
    for dtype in ("float64", "float32"):
        models[dtype] = backend.compile(forms.graphs[-1], dtype=dtype)
        backend.load(models[dtype], forms.graphs[-1], {name: array.astype(dtype) for name, array in exact.items()})
    plain = backend.compile(graph, dtype="float64")
    backend.load(plain, graph, {name: array.astype("float64") for name, array in arrays.items()})
    images = np.random.default_rng(0).standard_normal((2, 8, 6, 6))
    found = judge_nodes(backend, plain, models, forms, images, np.random.default_rng(1))
    # A concatenation of two convolutions, and a linear layer behind a flattening of other values.
    assert [node.name for node in found] == ["conv", "relu", "fc"]
    assert all(difference.passed for node in found for difference in node.differences("torch"))
    assert found[0].float64_allowed < 1e-12
