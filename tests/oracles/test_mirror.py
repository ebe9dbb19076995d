"""The residual encoder and decoder beside their TensorFlow 1 originals, at small sizes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph, SpecError, read_weights
from tests.backend_pool import shared_backends

from .common import relative
from .gates import GATES
from .original import images, key
from .verification import NAMES, Backends, python, run_original

BATCH = 3

# Odd ratios and kernels, one of them smaller than its stride; as wide as float32 can detect a mistake.
CASES = {
    "mirror/encoder18": ["input.height=64", "input.width=32"],
    "mirror/encoder50": ["input.height=96", "input.width=64", "parameters.filters=16"],
    "mirror/decoder18": ["parameters.height=64", "parameters.width=32", "parameters.filters=64"],
    "mirror/decoder50": ["parameters.height=96", "parameters.width=64", "parameters.filters=128"],
}

TRAINED = ("mirror/encoder50", "mirror/decoder18")

PARAMETERS = {
    "mirror/encoder18": 17_057_704,
    "mirror/encoder34": 29_670_952,
    "mirror/encoder50": 46_704_744,
    "mirror/encoder101": 75_906_664,
    "mirror/encoder152": 104_171_624,
    "mirror/decoder18": 451_835_395,
    "mirror/decoder34": 623_497_219,
    "mirror/decoder50": 282_238_147,
    "mirror/decoder101": 338_178_755,
    "mirror/decoder152": 388_463_811,
}


class Case(NamedTuple):
    """A small network, what its original gave in its own process, and the original's files as we read them."""

    graph: Graph
    folder: Path
    said: dict[str, Any]
    logits: dict[str, NDArray[Any]]
    weights: Path


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    graph = resnet_spec.load(request.param, CASES[request.param]).to_graph()
    folder = tmp_path_factory.mktemp("mirror")
    return Case(graph, folder, *run_original(graph, [(*graph.input.shape[1:], BATCH)], folder))


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with shared_backends(), Backends() as running:
        yield running


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_originals(name: str) -> None:
    parameters = resnet_spec.load(name).to_graph().parameters()
    assert sum(prod(parameter.shape) for parameter in parameters if parameter.trainable) == PARAMETERS[name]


def test_each_position_of_each_channel_has_statistics_of_its_own() -> None:
    shapes = {p.name: p.shape for p in resnet_spec.load("mirror/encoder50").to_graph().parameters()}
    assert shapes["conv1.bn.weight"] == (64, 112, 112)
    assert shapes["res_3_2_left_myconv3.bn.running_var"] == (2048, 7, 7)


def test_the_original_has_as_many_parameters(case: Case) -> None:
    counted = sum(prod(parameter.shape) for parameter in case.graph.parameters() if parameter.trainable)
    assert case.said["parameters"] == counted


@pytest.mark.parametrize("name", NAMES)
def test_what_its_checkpoint_computes_is_within_the_gates(case: Case, backends: Backends, name: str) -> None:
    size = (*case.graph.input.shape[1:], BATCH)
    backend, deviation = backends.process(name), float(case.logits[key("float64", size)].std())
    for dtype, gate in GATES.items():
        backend.load(case.graph, case.weights, dtype)
        backend.forward(images((BATCH, *case.graph.input.shape)))
        error = relative(backend.outputs()[-1], case.logits[key(dtype, size)], deviation)
        assert error < gate, f"{case.graph.name} {dtype}: {error:.1e} × std"


@pytest.mark.parametrize("case", TRAINED, indirect=True)
def test_the_statistics_of_a_training_step_are_the_originals(case: Case) -> None:
    batch = images((16, *case.graph.input.shape))
    np.save(case.folder / "images.npy", batch)
    files = [case.folder / name for name in ("graph.json", "read.safetensors", "images.npy", "after.safetensors")]
    python("tests.oracles.originals.mirror", *files)
    wanted = read_weights(files[-1], case.graph)
    for name in NAMES:
        ours = case.folder / f"{name}.safetensors"
        python("tests.oracles.training_batch", name, *files[:-1], ours)
        for parameter, array in read_weights(ours, case.graph).items():
            theirs = wanted[parameter]
            assert relative(array, theirs, float(theirs.std())) < GATES["float64"], f"{name}: {parameter}"


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("mirror/encoder18", ["input.height=100"], "the images' height and width must be multiples of 32"),
        ("mirror/encoder50", ["input.width=208"], "the images' height and width must be multiples of 32"),
        ("mirror/decoder34", ["parameters.width=100"], "the image's height and width must be multiples of 32"),
        ("mirror/decoder50", ["parameters.height=208"], "the image's height and width must be multiples of 32"),
    ],
)
def test_other_sizes_than_multiples_of_32_are_refused(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resnet_spec.load(name, overrides).to_graph()


def test_the_latent_vector_and_the_channels_of_the_image_may_be_others() -> None:
    overrides = ["input.features=64", "parameters.channels=1", "parameters.height=64", "parameters.width=96"]
    graph = resnet_spec.load("mirror/decoder50", overrides).to_graph()
    assert (graph.input.shape, graph.nodes[-1].shape) == ((64,), (1, 64, 96))
