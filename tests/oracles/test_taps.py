"""Feature maps compared with timm's ``features_only`` networks, at output strides of 32, 16 and 8, in both backends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import resnet_spec
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import randomize
from resnet_spec.weights.formats.safetensors import write_safetensors

from .common import relative, worker
from .original import images
from .originals.timm import Network, timm

NETWORKS = ("timm/resnet18", "timm/resnet50d", "timm/resnetv2_50d")
REDUCTIONS = {32: [2, 4, 8, 16, 32], 16: [2, 4, 8, 16, 16], 8: [2, 4, 8, 8, 8]}


@pytest.fixture(scope="module", params=NETWORKS)
def weights(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, NDArray[Any]]]:
    """A network's name and its randomized arrays, which every output stride shares."""
    graph = resnet_spec.load(request.param).to_graph().at_size(96, 96)
    network = Network(graph, "float32")

    def train(_: Any, arrays: Mapping[str, NDArray[Any]], batch: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        network.set(arrays)
        return network.train(batch)

    return request.param, randomize(graph, train, seed=11)


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, BackendProcess]]:
    # Not a parameter: pytest would randomize each network again for each.
    with worker("torch") as torch, worker("tensorflow") as tensorflow:
        yield {"torch": torch, "tensorflow": tensorflow}


def features_of_timm(name: str, stride: int, arrays: Mapping[str, NDArray[Any]], batch: Any) -> list[NDArray[Any]]:
    options = {"features_only": True, "output_stride": stride, "pretrained": False}
    model = timm.create_model(name.removeprefix("timm/"), **options).double().eval()
    assert model.feature_info.reduction() == REDUCTIONS[stride]
    # timm flattens some names, stages.0 to stages_0, and omits the head.
    flat = {key.replace(".", "_"): value for key, value in arrays.items()}
    state = model.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(flat[key.replace(".", "_")]))
    with torch.inference_mode():
        return [value.numpy() for value in model(torch.from_numpy(batch))]


@pytest.mark.parametrize("stride", REDUCTIONS)
@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_feature_maps_equal_timms(
    weights: tuple[str, Mapping[str, NDArray[Any]]],
    stride: int,
    backends: dict[str, BackendProcess],
    backend: str,
    tmp_path: Path,
) -> None:
    name, arrays = weights
    graph = resnet_spec.load(name, ["outputs=features", f"parameters.output_stride={stride}"]).to_graph()
    assert [graph.stride(output) for output in graph.outputs] == [(s, s) for s in REDUCTIONS[stride]]
    needed = {parameter.name for parameter in graph.parameters()}
    write_safetensors(tmp_path / "weights.safetensors", {key: arrays[key] for key in needed})
    batch = images((1, 3, 130, 98))
    wanted = features_of_timm(name, stride, arrays, batch)
    process = backends[backend]
    process.load(graph, tmp_path / "weights.safetensors", "float64")
    process.forward(batch)
    for ours, theirs in zip(process.outputs(), wanted, strict=True):
        assert relative(ours, theirs, float(np.std(theirs))) < 1e-9
