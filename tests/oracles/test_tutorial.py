"""The TensorFlow 2 tutorial's ResNets, written here in plain Keras from their description, compared with ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import randomize
from resnet_spec_tensorflow import TensorFlowBackend

from .common import assert_within_gates, images, worker
from .keras_original import assign, extract, nhwc, original_logits, trainer
from .originals.tutorial import REPEATS, tutorial

RATE = 0.05


class Original(NamedTuple):
    """The reference's name, its weights by our names, and its logits."""

    graph: Graph
    repeats: tuple[int, ...]
    arrays: Mapping[str, NDArray[Any]]
    weights: Path
    logits: dict[tuple[int, int], dict[str, NDArray[Any]]]


@pytest.fixture(scope="module", params=list(REPEATS))
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    graph = resnet_spec.load(f"tutorial/{request.param}").to_graph()
    repeats = REPEATS[request.param]

    arrays = randomize(graph, trainer(lambda: tutorial(repeats), graph), seed=7)
    weights = tmp_path_factory.mktemp("tutorial") / "weights.safetensors"
    logits = original_logits(lambda dtype: tutorial(repeats, dtype, softmax=False), graph, arrays)
    resnet_spec.write_weights(weights, graph, arrays)
    return Original(graph, repeats, arrays, weights, logits)


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, BackendProcess]]:
    # Not a parameter: pytest would build each original again for each.
    with worker("torch") as torch, worker("tensorflow") as tensorflow:
        yield {"torch": torch, "tensorflow": tensorflow}


class Step(NamedTuple):
    """Probabilities of a training-mode pass, and every array after a step of SGD."""

    output: NDArray[Any]
    arrays: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def wanted_step(original: Original) -> Step:
    model = tutorial(original.repeats, "float64")
    assign(model, original.graph, original.arrays)
    return step(model, original.graph)


def step(model: Any, graph: Graph) -> Step:
    with tf.GradientTape() as tape:
        output = model(nhwc(images(64, 3)), training=True)
        coefficients = tf.reshape(tf.linspace(tf.constant(-1.0, tf.float64), 1.0, tf.size(output)), output.shape)
        loss = tf.reduce_sum(output * coefficients)
    variables = [variable.value for variable in model.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(RATE * gradient)
    return Step(output.numpy(), extract(model, graph))


def assert_same_step(ours: Step, wanted: Step) -> None:
    np.testing.assert_allclose(ours.output, wanted.output, rtol=0, atol=1e-10)
    for name, array in wanted.arrays.items():
        error = float(np.abs(ours.arrays[name] - array).max())
        assert error < 1e-9 * max(1.0, float(np.abs(array).max())), f"{name}: {error:.1e}"


def test_variables_equal_the_references(original: Original) -> None:
    reference = tutorial(original.repeats)
    ours = resnet_spec.build(original.graph.name, "tensorflow")
    assert ours.count_params() == reference.count_params()
    assert {w.shape for w in ours.trainable_weights} == {w.shape for w in reference.trainable_weights}
    assert len(ours.weights) == len(reference.weights) == len(original.graph.parameters())


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_logits_are_within_the_gates_in_both_backends(
    original: Original, backends: dict[str, BackendProcess], name: str
) -> None:
    assert_within_gates(backends[name], original.graph, original.weights, original.logits)


def test_a_training_step_equals_the_references_in_tensorflow(original: Original, wanted_step: Step) -> None:
    compiler = TensorFlowBackend()
    ours = compiler.compile(original.graph, dtype="float64")
    compiler.load(ours, original.graph, {k: v.astype(np.float64) for k, v in original.arrays.items()})
    assert_same_step(step(ours, original.graph), wanted_step)


def test_a_training_step_equals_the_references_in_torch(original: Original, wanted_step: Step, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images(64, 3))
    script = Path(__file__).with_name("torch_step.py")
    paths = (original.weights, tmp_path / "images.npy", tmp_path / "result.npz")
    subprocess.run([sys.executable, "-W", "error", script, original.graph.name, *paths, str(RATE)], check=True)
    with np.load(tmp_path / "result.npz") as result:
        arrays = {name: result[name] for name in result.files}
    assert_same_step(Step(arrays.pop("output"), arrays), wanted_step)
