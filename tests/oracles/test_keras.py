"""keras.applications' ResNets beside ours: variables, saved files, logits in both backends, one training step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph
from resnet_spec.parity.process import BackendProcess
from resnet_spec.parity.randomization import randomize
from resnet_spec.weights.formats.safetensors import write_safetensors

from .common import images, relative, worker
from .gates import GATES
from .keras_original import assign, extract, nhwc, variable
from .originals.keras import Network, application

# In all, as keras.applications counts.
PARAMETERS = {
    "resnet50": 25_636_712,
    "resnet101": 44_707_176,
    "resnet152": 60_419_944,
    "resnet50v2": 25_613_800,
    "resnet101v2": 44_675_560,
    "resnet152v2": 60_380_648,
}
# Even at the stem, and odd there.
SIZES = (96, 71)


class Original(NamedTuple):
    """keras.applications' model with randomized weights, what it saved, and its logits by size and dtype."""

    graph: Graph
    arrays: Mapping[str, NDArray[Any]]
    model: Any
    files: list[Path]
    logits: dict[tuple[int, str], NDArray[Any]]


@pytest.fixture(scope="module", params=["resnet50", "resnet50v2"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    folder = tmp_path_factory.mktemp("keras")
    graph = resnet_spec.load(f"keras/{request.param}", {"input.height": 64, "input.width": 64}).to_graph()
    network = Network(graph, "float32")

    def train(_: Graph, drawn: Mapping[str, Any], batch: NDArray[Any]) -> dict[str, Any]:
        return set_to(Network(graph, "float32"), drawn).train(batch)

    arrays = randomize(graph, train, seed=7)
    networks = {"float32": set_to(network, arrays), "float64": set_to(Network(graph, "float64"), arrays)}
    logits = {(size, dtype): n.logits(images(size, 2)) for dtype, n in networks.items() for size in SIZES}
    assert all(result.dtype == dtype for (_, dtype), result in logits.items())
    return Original(graph, arrays, network.model, network.save(folder), logits)


def set_to(network: Network, arrays: Mapping[str, Any]) -> Network:
    network.set(arrays)
    return network


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, BackendProcess]]:
    # Not a parameter: pytest would build each original again for each.
    with worker("torch") as torch, worker("tensorflow") as tensorflow:
        yield {"torch": torch, "tensorflow": tensorflow}


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_every_variable_of_the_original_is_a_parameter_of_ours(name: str) -> None:
    graph = resnet_spec.load(f"keras/{name}").to_graph()
    # Raises where the two are not the same variables.
    model = Network(graph, "float32").model

    assert model.count_params() == PARAMETERS[name] == sum(int(np.prod(p.shape)) for p in graph.parameters())
    assert {layer.name for layer in model.layers if layer.weights} == {p.node for p in graph.parameters()}


def test_every_file_that_keras_saves_is_read(original: Original, tmp_path: Path) -> None:
    with h5py.File(original.files[0]) as whole, h5py.File(tmp_path / "legacy.h5", "w") as legacy:
        # As the files of pretrained weights are: the groups of a whole model at the top.
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", legacy)
        for key, value in whole["model_weights"].attrs.items():
            legacy.attrs[key] = value

    for path in (*original.files, tmp_path / "legacy.h5"):
        result = resnet_spec.read_weights(path, original.graph)
        assert list(result) == list(original.arrays)
        for name, array in original.arrays.items():
            np.testing.assert_array_equal(result[name], array, err_msg=f"{path.name}: {name}")


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_logits_of_what_was_read_are_the_originals_in_both_backends(
    original: Original, backends: dict[str, BackendProcess], tmp_path: Path, name: str
) -> None:
    backend = backends[name]
    graph = original.graph.with_outputs([original.graph.logits])
    deviation = float(original.logits[SIZES[0], "float64"].std())
    write_safetensors(tmp_path / "read.safetensors", resnet_spec.read_weights(original.files[0], original.graph))
    for dtype, gate in GATES.items():
        backend.load(graph, tmp_path / "read.safetensors", dtype)
        for size in SIZES:
            backend.forward(images(size, 2))
            (result,) = backend.outputs()
            error = relative(result, original.logits[size, dtype], deviation)
            assert error < gate, f"{dtype} at {size}: {error:.1e} × std"


def test_a_file_of_kerass_builds_a_model_with_its_softmax(original: Original) -> None:
    ours = resnet_spec.build(original.graph.name, "tensorflow", weights=original.files[0])
    batch = nhwc(images(SIZES[0], 1)).astype(np.float32)
    wanted, result = original.model([batch], training=False).numpy(), ours(batch, training=False).numpy()

    np.testing.assert_allclose(wanted.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6)


def test_what_we_save_for_keras_is_read_again(original: Original, tmp_path: Path) -> None:
    from resnet_spec_tensorflow import TensorFlowBackend

    compiler = TensorFlowBackend()
    ours = resnet_spec.build(original.graph.name, "tensorflow", weights=original.files[0])
    compiler.write(ours, original.graph, tmp_path / "ours.keras")
    result = resnet_spec.read_weights(tmp_path / "ours.keras", original.graph)

    assert all(np.array_equal(result[name], array) for name, array in original.arrays.items())


@pytest.mark.parametrize("stride", [8, 16])
def test_a_dilated_network_computes_the_strided_ones_features_between_them(original: Original, stride: int) -> None:
    features = [
        resnet_spec.build(
            original.graph.name,
            "tensorflow",
            {name: original.arrays[name] for name in original.arrays if not name.startswith("predictions")},
            overrides={"parameters.output_stride": value, "head": None},
            dtype="float64",
        )
        for value in (32, stride)
    ]
    for size in SIZES:
        batch = nhwc(images(size, 1))
        strided, dilated = (model(batch, training=False).numpy() for model in features)
        step = 32 // stride
        assert dilated.shape[1] == -(-size // stride)
        np.testing.assert_allclose(dilated[:, ::step, ::step], strided, rtol=1e-9, atol=1e-9)


def test_a_training_step_equals_the_originals_in_tensorflow(original: Original) -> None:
    from resnet_spec_tensorflow import TensorFlowBackend

    graph = original.graph.with_outputs([original.graph.logits])
    compiler = TensorFlowBackend()
    ours = compiler.compile(graph, dtype="float64")
    compiler.load(ours, graph, {name: array.astype(np.float64) for name, array in original.arrays.items()})
    whole = application(graph.name.rpartition("/")[2], "float64")
    whole.get_layer("predictions").activation = keras.activations.linear
    assign(whole, original.graph, original.arrays)
    batch = nhwc(images(64, 2))
    logits, gradients = trained(ours, graph, batch)
    wanted, wanted_gradients = trained(whole, graph, [batch])
    np.testing.assert_allclose(logits, wanted, rtol=1e-11, atol=1e-11)
    scale = max(float(np.linalg.norm(gradient)) for gradient in wanted_gradients.values())
    assert list(gradients) == list(wanted_gradients)
    for name, gradient in wanted_gradients.items():
        assert float(np.abs(gradients[name] - gradient).max()) < 1e-12 * scale, name
    after, wanted_after = extract(ours, graph), extract(whole, graph)
    for name, array in wanted_after.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-11, atol=1e-11, err_msg=name)


def trained(model: Any, graph: Graph, batch: Any) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Logits of a training-mode pass and the gradient of every parameter; the statistics move with it."""
    variables = {p.name: variable(model, p).value for p in graph.parameters() if p.trainable}
    with tf.GradientTape() as tape:
        logits = model(batch, training=True)
        weights = tf.reshape(tf.linspace(tf.constant(-1.0, tf.float64), 1.0, tf.size(logits)), logits.shape)
        loss = tf.reduce_sum(logits * weights)
    gradients = tape.gradient(loss, list(variables.values()))
    return logits.numpy(), {name: g.numpy() for name, g in zip(variables, gradients, strict=True)}
