"""TF-Slim's checkpoints, in and out again: slim restores what we write, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import Graph
from resnet_spec_tensorflow import TensorFlowBackend

from .verification import python

NETWORKS = ("resnet_v1_50", "resnet_v2_50")
AVERAGE = "/ExponentialMovingAverage"


def slim(action: str, folder: Path) -> None:
    python("tests.oracles.originals.slim_files", action, folder, *NETWORKS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of slim's checkpoints."""
    folder = tmp_path_factory.mktemp("slim")
    slim("save", folder)
    return folder


@pytest.fixture(scope="module")
def restored(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of slim's values after restoring our checkpoints, which were converted from slim's own."""
    folder = tmp_path_factory.mktemp("ours")
    backend = TensorFlowBackend()
    for name in NETWORKS:
        graph = graph_of(name)
        model = backend.compile(graph)
        backend.load(model, graph, resnet_spec.read_weights(saved / f"{name}.ckpt-1", graph))
        backend.write(model, graph, folder / f"{name}.ckpt")
    slim("restore", folder)
    return folder


def graph_of(name: str) -> Graph:
    return resnet_spec.load(f"slim/{name}", ["parameters.classes=10"]).to_graph()


def values(folder: Path, name: str) -> dict[str, Any]:
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", NETWORKS)
def test_slim_restores_its_own_values_from_what_we_write(saved: Path, restored: Path, name: str) -> None:
    wanted, given = values(saved, name), values(restored, f"{name}.restored")

    assert len(given) == len(graph_of(name).parameters())
    assert given.keys() <= wanted.keys()
    for variable, array in given.items():
        np.testing.assert_array_equal(array, wanted[variable], err_msg=variable)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_variable_of_slims_training_is_recognized(saved: Path, name: str) -> None:
    checkpoint = TensorFlowBackend().read(saved / f"{name}.ckpt-1.index")
    wanted = values(saved, name)
    trainable = sum(parameter.trainable for parameter in graph_of(name).parameters())

    assert checkpoint.ignored == {"optimizer slots": trainable, "counters": 1}
    assert len(checkpoint.averages) == trainable
    assert len(checkpoint.tensors) + 2 * trainable + 1 == len(wanted)
    for variable, array in checkpoint.averages.items():
        np.testing.assert_array_equal(array, wanted[variable + AVERAGE], err_msg=variable)


@pytest.mark.parametrize("name", NETWORKS)
def test_moving_averages_replace_the_variables(saved: Path, name: str) -> None:
    graph = graph_of(name)
    arrays = resnet_spec.read_weights(saved / f"{name}.ckpt-1", graph, ema=True)
    wanted = values(saved, name)
    kernel = wanted[f"{name}/logits/weights{AVERAGE}"].transpose(3, 2, 0, 1)

    assert np.array_equal(arrays["logits.weight"], kernel)
    assert not np.array_equal(kernel, wanted[f"{name}/logits/weights"].transpose(3, 2, 0, 1))
