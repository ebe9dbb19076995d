"""TF-Slim's networks compared with ours: every variable of each, and the effect of slim's own arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph, initialize
from resnet_spec.operations import MEANS, VARIANCES
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import random_images
from resnet_spec.weights.formats.safetensors import write_safetensors
from resnet_spec.weights.layouts import SLIM_NAMES, tensorflow_axes

from .common import relative, worker
from .gates import GATES
from .verification import python

PARAMETERS = {
    "resnet_v1_50": 25_557_032,
    "resnet_v1_101": 44_549_160,
    "resnet_v1_152": 60_192_808,
    "resnet_v1_200": 64_673_832,
    "resnet_v2_50": 25_568_360,
    "resnet_v2_101": 44_577_896,
    "resnet_v2_152": 60_236_904,
    "resnet_v2_200": 64_726_120,
}
DENSE = {"head.pool5": None, "head.SpatialSqueeze": None}
# Odd in one direction, as slim advises for dense maps, and even in the other.
SIZE = (65, 72)


class Case(NamedTuple):
    """A network with slim's arguments, and with our overrides that say the same."""

    spec: str
    arguments: Mapping[str, Any]
    overrides: Mapping[str, Any]


def strided(spec: str, stride: int, **extra: Any) -> Case:
    arguments = {"output_stride": stride, "global_pool": not extra}
    overrides = {"parameters.output_stride": stride, "input.height": SIZE[0], "input.width": SIZE[1], **extra}
    return Case(spec, arguments, overrides)


CASES = {
    f"{spec}-{stride}": strided(spec, stride)
    for spec in ("resnet_v1_50", "resnet_v2_50", "resnet_v1_101")
    for stride in (8, 16)
}
CASES["resnet_v1_50-32-dense"] = strided("resnet_v1_50", 32, **DENSE)
CASES["resnet_v2_50-16-dense"] = strided("resnet_v2_50", 16, **DENSE)


class Slim(NamedTuple):
    """Slim's variables and outputs, and the graphs and weights they come from."""

    folder: Path
    graphs: Mapping[str, Graph]
    variables: Mapping[str, Mapping[str, list[int]]]
    images: NDArray[np.float64]


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Slim:
    folder = tmp_path_factory.mktemp("slim")
    images = random_images((1, 3, *SIZE), seed=3)
    np.save(folder / "images.npy", images)
    graphs = {name: resnet_spec.load(f"slim/{case.spec}", case.overrides).to_graph() for name, case in CASES.items()}
    for name, graph in graphs.items():
        (folder / f"{name}.json").write_text(graph.to_json())
        write_safetensors(folder / f"{name}.safetensors", weights(graph))
    plan = {"names": list(PARAMETERS), "cases": {name: case.arguments for name, case in CASES.items()}}
    (folder / "plan.json").write_text(json.dumps(plan))
    python("tests.oracles.originals.slim", folder)
    return Slim(folder, graphs, json.loads((folder / "variables.json").read_text()), images)


def weights(graph: Graph) -> dict[str, NDArray[Any]]:
    """Initial weights, with statistics other than 0 and 1."""
    arrays: dict[str, NDArray[Any]] = dict(initialize(graph))
    rng = np.random.default_rng(5)
    for parameter in graph.parameters():
        if parameter.role in MEANS:
            arrays[parameter.name] = rng.uniform(-0.3, 0.3, parameter.shape)
        elif parameter.role in VARIANCES:
            arrays[parameter.name] = rng.uniform(0.5, 1.5, parameter.shape)
    return arrays


@pytest.fixture(scope="module", params=["torch", "tensorflow"])
def backend(request: pytest.FixtureRequest) -> Iterator[BackendProcess]:
    with worker(request.param) as process:
        yield process


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_every_variable_of_slims_is_a_parameter_of_ours(slim: Slim, name: str) -> None:
    graph = resnet_spec.load(f"slim/{name}").to_graph()
    ours = {
        f"{name}/{p.node.replace('.', '/')}/{SLIM_NAMES[p.role]}": [
            p.shape[axis] for axis in tensorflow_axes(p.role, len(p.shape))
        ]
        for p in graph.parameters()
    }

    assert ours == slim.variables[name]
    assert sum(int(np.prod(p.shape)) for p in graph.parameters() if p.trainable) == PARAMETERS[name]


@pytest.mark.parametrize("name", list(CASES))
def test_slims_output_strides_and_dense_maps_are_ours(slim: Slim, backend: BackendProcess, name: str) -> None:
    wanted = np.load(slim.folder / f"{name}.npy")
    graph = slim.graphs[name]
    backend.load(graph, slim.folder / f"{name}.safetensors", "float64")
    backend.forward(slim.images)
    (result,) = backend.outputs()

    stride = CASES[name].arguments["output_stride"]
    dense = (1, 1000, *(-(-size // stride) for size in SIZE))
    assert wanted.shape == (dense if "dense" in name else (1, 1000))
    assert wanted.dtype == np.float64
    assert relative(result, wanted, float(wanted.std())) < GATES["float64"]


def test_classes_are_a_parameter() -> None:
    graph = resnet_spec.load("slim/resnet_v1_50", ["parameters.classes=1001"]).to_graph()

    assert graph.by_name[graph.logits].shape == (1001,)
