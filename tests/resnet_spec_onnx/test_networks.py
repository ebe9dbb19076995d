"""Shipped networks as ONNX against the torch backend: every operation and block in use, and each family.

They are thinner than the originals, and the images small: what is compared is the structure.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.graph import INPUT, Node
from resnet_spec.operations import OPERATIONS
from resnet_spec.parity.randomization import random_images, randomize
from resnet_spec.spec.catalog import Catalog
from resnet_spec_onnx import OnnxBackend
from resnet_spec_torch import TorchBackend
from tests.oracles.gates import GATES
from tests.resnet_spec_onnx.support import model_of
from tests.shipped import SAMPLE, slow_unless

THINNER = 8

NETWORKS = (
    "cifar/preact_resnet110",
    "cifar/preact_resnet164",
    "cifar/resnet20",
    "cifar/resnet50",
    "cifar/resnext29_8x64d",
    "cifar/wrn_40_4",
    "faces/iresnet18",
    "image_classifiers/resnet18",
    "keras/resnet50",
    "keras/resnet50v2",
    "keras_hub/resnet_50",
    "keras_hub/resnet_v2_50",
    "keras_hub/resnet_vd_18",
    "mirror/decoder18",
    "mirror/decoder50",
    "mirror/encoder18",
    "mirror/encoder50",
    "monai/resnet10",
    "monai/resnet18_a",
    "msra/resnet50",
    "pytorchcv/airnet50_1x64d_r2",
    "pytorchcv/bam_resnet18",
    "pytorchcv/cbam_resnet18",
    "pytorchcv/diracnet18v2",
    "pytorchcv/ibn_resnet50",
    "pytorchcv/preresnet18",
    "pytorchcv/resneta50b",
    "signals/tsc_resnet",
    "simclr/r50_2x_sk1",
    "slim/resnet_v1_50",
    "slim/resnet_v2_50",
    "smp/deeplabv3plus_resnet34",
    "smp/unet_resnet34",
    "swav/resnet50w2",
    "timm/ecaresnext26t_32x4d",
    "timm/gcresnext26ts",
    "timm/legacy_seresnet18",
    "timm/legacy_seresnet50",
    "timm/legacy_seresnext26_32x4d",
    "timm/nf_regnet_b0",
    "timm/nf_resnet26",
    "timm/regnetv_064",
    "timm/regnety_002",
    "timm/regnety_040_sgn",
    "timm/regnetz_005",
    "timm/regnetz_c16_evos",
    "timm/regnetz_d8",
    "timm/res2next50",
    "timm/resnest14d",
    "timm/resnet50_clip",
    "timm/resnet51q",
    "timm/resnet61q",
    "timm/resnetaa34d",
    "timm/resnetblur18",
    "timm/resnetv2_18",
    "timm/resnetv2_50d_evos",
    "timm/resnetv2_50d_frn",
    "timm/resnetv2_50x1_bit",
    "timm/seresnet18",
    "timm/skresnet18",
    "timm/skresnet50",
    "timm/test_resnet",
    "torchvision/deeplabv3_resnet50",
    "torchvision/r2plus1d_18",
    "torchvision/r3d_18",
    "torchvision/regnet_x_400mf",
    "torchvision/resnet18",
    "tutorial/resnet18",
)


SPECS = Path(__file__).parents[1] / "lab" / "specs"
NAMES = "activations", "attention", "embedding", "joined", "learned", "normalizations", "reduced", "resized", "varied"
NOT_SHIPPED = (
    *(SPECS / f"{name}.yaml" for name in (*NAMES, "signal", "volume")),
    Path(__file__).parent / "bilinear.yaml",
)


SIZES = {
    1: {"length": 64},
    2: {"height": 64, "width": 96},
    3: {"depth": 16, "height": 32, "width": 48},
}
"""Of small inputs, by rank."""


def small(name: str) -> Graph:
    """A shipped network with an eighth of its channels and of its groups, for small images, up to its logits."""
    if name.startswith("mirror/decoder"):
        overrides = ("parameters.filters=32", "parameters.height=32", "parameters.width=64")
        return logits_of(resnet_spec.load(name, overrides).to_graph())
    spec = resnet_spec.load(name)
    sizes = {"height": 16, "width": 18} if name.startswith("cifar/") else SIZES[len(spec.input.positions)]
    graph = logits_of(resnet_spec.load(name, {f"input.{side}": size for side, size in sizes.items()}).to_graph())
    shapes: dict[str, Any] = {INPUT: graph.input.shape}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = [shapes[name] for name in node.inputs]
        operation = thin(node.operation, inputs[0])
        if operation.op == "linear" and ".ch_" in node.layer:
            # Of an attention to channels, not of a classifier.
            operation = operation.model_copy(update={"features": max(operation.features // THINNER, 1)})
        shapes[node.name] = operation.output_shape(*inputs)
        nodes.append(node.model_copy(update={"operation": operation, "shape": shapes[node.name]}))
    return graph.with_nodes(nodes)


def logits_of(graph: Graph) -> Graph:
    return graph.with_outputs([graph.logits])


def thin(operation: Any, shape: tuple[int, ...]) -> Any:
    """An operation with an eighth of the channels and of the groups, for an input of ``shape``."""
    if operation.op == "reshape":
        widest = max(operation.shape)
        others = prod(operation.shape) // widest
        return operation.model_copy(
            update={"shape": tuple(prod(shape) // others if size == widest else size for size in operation.shape)}
        )
    if operation.op == "conv1d":
        return operation
    update = {
        name: max(getattr(operation, name) // THINNER, least)
        for name, least in (("channels", 1), ("groups", 1), ("before", 0), ("after", 0))
        if hasattr(operation, name)
    }
    if "groups" in update:
        update["groups"] = gcd(update["groups"], shape[0], update.get("channels", shape[0]))
    return operation.model_copy(update=update)


def train(graph: Graph, arrays: Any, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    backend = TorchBackend()
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    backend.forward(model, images, training=True)
    return backend.arrays(model, graph)


def errors_of(graph: Graph, written: Graph | None = None) -> dict[str, float]:
    """The largest difference from torch's float64 in standard deviations of it, by dtype."""
    arrays = randomize(graph, train, seed=3)
    images = random_images((2, *graph.input.shape), seed=4)
    torch = TorchBackend()
    reference = torch.compile(graph, dtype="float64")
    torch.load(reference, graph, {key: array.astype("float64") for key, array in arrays.items()})
    (wanted,) = torch.forward(reference, images)
    results = {dtype: OnnxBackend().forward(model_of(written or graph, arrays, dtype), images)[0] for dtype in GATES}
    return {dtype: float(np.abs(result - wanted).max() / wanted.std()) for dtype, result in results.items()}


@pytest.mark.parametrize("name", slow_unless(SAMPLE, list(NETWORKS)))
def test_the_network_computes_what_torch_computes(name: str) -> None:
    errors = errors_of(small(name))
    assert all(errors[dtype] < gate for dtype, gate in GATES.items()), errors


@pytest.mark.parametrize("path", NOT_SHIPPED, ids=lambda path: path.stem)
def test_operations_of_no_shipped_network_compute_what_torch_computes(path: Path) -> None:
    errors = errors_of(resnet_spec.load(path).to_graph())
    assert all(errors[dtype] < gate for dtype, gate in GATES.items()), errors


def touched(graph: Graph) -> set[str]:
    return {node.operation.op for node in graph.nodes} | {scope.block for scope in graph.scopes if scope.block}


def test_these_networks_touch_every_operation_every_block_and_every_family() -> None:
    graphs = [*map(small, NETWORKS), *(resnet_spec.load(path).to_graph() for path in NOT_SHIPPED)]
    found = set[str]().union(*map(touched, graphs))
    assert {*OPERATIONS, *Catalog.shipped().blocks()} - found == ELSEWHERE
    assert {name.partition("/")[0] for name in NETWORKS} == {name.partition("/")[0] for name in resnet_spec.available()}


ELSEWHERE = {"stochastic_depth"}
"""What users add to a shipped network."""


def other_epsilon(operation: Any) -> Any:
    return operation.model_copy(update={"epsilon": 1.001e-5}) if operation.op == "batch_norm" else operation


def other_padding(operation: Any) -> Any:
    shifted = operation.op == "conv2d" and operation.padding == ((1, 1), (1, 1))
    return operation.model_copy(update={"padding": ((0, 2), (1, 1))}) if shifted else operation


@pytest.mark.parametrize("other", [other_epsilon, other_padding])
def test_small_mistakes_exceed_the_gate(other: Callable[[Any], Any]) -> None:
    graph = small("torchvision/resnet18")
    mistaken = graph.with_nodes(node.model_copy(update={"operation": other(node.operation)}) for node in graph.nodes)
    assert errors_of(graph)["float64"] < GATES["float64"] < errors_of(graph, mistaken)["float64"]
