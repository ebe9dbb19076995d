"""When a model's network is read to find its weights, and what is reported if that fails; the tests bring a reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from resnet_spec import WeightsError, build, read_weights
from resnet_spec.backend.source import SourceModel
from resnet_spec.errors import BackendError, ModelError
from resnet_spec.graph import Graph
from resnet_spec.weights import by_structure, reading
from resnet_spec.weights.formats import detection
from tests.resnet_spec.structure.test_comparison import block, renamed
from tests.resnet_spec_torch.graphs import Builder, random_arrays

Tensors = dict[str, np.ndarray[Any, Any]]


class Importer:
    """A backend that imports the model that a test sets; ``calls`` are the shapes that it was asked for."""

    def __init__(self) -> None:
        self.model: SourceModel | Exception = ModelError("nothing to read")
        self.calls: list[Any] = []

    def import_model(self, model: Any, shape: Any = None) -> SourceModel:
        self.calls.append(shape)
        if isinstance(self.model, Exception):
            raise self.model
        return self.model


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch) -> Importer:
    """An importer of ``.npz`` files, which have names and, as these tests pretend, a network."""
    found = Importer()
    monkeypatch.setattr(by_structure, "importers", lambda: {".npz": "test", ".model": "test"})
    monkeypatch.setattr("resnet_spec.backend.registry.importers", lambda: {".npz": "test", ".model": "test"})
    monkeypatch.setattr(by_structure, "get_backend", lambda name: found)
    return found


def write(path: Path, arrays: Tensors) -> Path:
    np.savez(path, **arrays)
    return path


def other_names(arrays: Tensors) -> Tensors:
    return {f"x{index}": array for index, array in enumerate(arrays.values())}


def assert_same(found: Any, arrays: Tensors) -> None:
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert all(array.flags.writeable for array in found.values())


def test_names_that_fit_are_enough(importer: Importer, tmp_path: Path) -> None:
    graph = block()
    arrays = random_arrays(graph)
    assert_same(read_weights(write(tmp_path / "a.npz", arrays), graph), arrays)
    assert not importer.calls


def test_where_names_do_not_fit_the_network_is_read(
    importer: Importer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = block()
    arrays = random_arrays(graph)
    importer.model = renamed(graph, arrays)
    path = write(tmp_path / "a.npz", other_names(arrays))
    assert_same(read_weights(path, graph), arrays)
    assert caplog.messages == [f"{path}: was matched by structure: its names are not the spec's"]
    assert importer.calls == [graph.input.shape]


def test_a_file_without_names_is_a_model_only(importer: Importer, tmp_path: Path) -> None:
    graph = block()
    arrays = random_arrays(graph)
    importer.model = SourceModel(graph, arrays, lambda images: [])
    path = tmp_path / "a.model"
    path.write_bytes(bytes(range(128, 192)))
    assert_same(read_weights(path, graph), arrays)
    with pytest.raises(WeightsError, match="is a model, which `resnet-spec import` reads"):
        reading.read_checkpoint(path)


def test_another_network_is_reported_before_the_names(importer: Importer, tmp_path: Path) -> None:
    graph = block()
    importer.model = renamed(block(epsilon=1e-3))
    path = write(tmp_path / "a.npz", other_names(random_arrays(graph)))
    with pytest.raises(WeightsError) as caught:
        read_weights(path, graph)
    first, second, third = str(caught.value).splitlines()
    assert first == (
        f"{path}: its weights cannot be found by structure: 'norm1' (batch_norm) in the spec and 'n21_3' (batch_norm) "
        "in the model differ in epsilon: 1e-05 and 0.001"
    )
    assert second == f"{path}: not the 14 tensors of test/net (14 missing, 14 unexpected)"
    assert third == f"`resnet-spec identify {path}` names the network that fits it"
    arrays = random_arrays(graph)
    write(path, {**other_names(arrays), "conv1.weight": arrays["conv1.weight"]})
    with pytest.raises(WeightsError, match=r"norm1\.bias: missing"):
        read_weights(path, graph)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("its layer is a Lambda"), "its network cannot be read: its layer is a Lambda"),
        (BackendError("no test backend; pip install it"), "its network was not read: no test backend; pip install it"),
    ],
)
def test_a_model_that_cannot_be_read_leaves_the_names_error(
    importer: Importer, error: Exception, reason: str, tmp_path: Path
) -> None:
    graph = block()
    importer.model = error
    path = write(tmp_path / "a.npz", other_names(random_arrays(graph)))
    with pytest.raises(WeightsError) as caught:
        read_weights(path, graph)
    first, second, *_ = str(caught.value).splitlines()
    assert first == f"{path}: {reason}"
    assert second.startswith(f"{path}: not the 14 tensors of test/net")


def test_a_model_alone_needs_its_backend(importer: Importer, tmp_path: Path) -> None:
    """A missing backend is another exit status than wrong weights."""
    importer.model = BackendError("no test backend; pip install it")
    path = tmp_path / "a.model"
    path.write_bytes(bytes(range(128, 192)))
    with pytest.raises(BackendError, match="pip install it"):
        read_weights(path, block())


def test_without_a_network_the_names_error_stays(importer: Importer, tmp_path: Path) -> None:
    graph = block()
    path = tmp_path / "a.safetensors"
    save_file(other_names(random_arrays(graph)), path)
    with pytest.raises(WeightsError) as caught:
        read_weights(path, graph)
    assert str(caught.value).startswith(f"{path}: not the 14 tensors of test/net")
    assert not importer.calls


def test_the_size_is_the_models_own_if_it_does_not_accept_the_specs(importer: Importer, tmp_path: Path) -> None:
    graph = block()
    arrays = random_arrays(graph)

    def imported(model: Any, shape: Any = None) -> SourceModel:
        importer.calls.append(shape)
        if shape:
            raise ModelError("its input is 3×24×24")
        return renamed(graph.at_size(24, 24), arrays)

    importer.import_model = imported  # type: ignore[method-assign]
    assert_same(read_weights(write(tmp_path / "a.npz", other_names(arrays)), graph), arrays)
    assert importer.calls == [graph.input.shape, None]


@pytest.mark.parametrize("named", [True, False], ids=["its names fit", "its names do not"])
def test_strictness_reads_the_network_though_names_fit(
    named: bool, importer: Importer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = block()
    arrays = random_arrays(graph)
    path = write(tmp_path / "a.npz", arrays)
    own = block(epsilon=1e-3)
    importer.model = SourceModel(own, random_arrays(own), lambda images: []) if named else renamed(own)
    assert_same(read_weights(path, graph), arrays)
    assert not caplog.messages
    with pytest.raises(WeightsError, match=r"in the model differ in epsilon: 1e-05 and 0\.001"):
        read_weights(path, graph, strict_graph=True)
    importer.model = renamed(graph, arrays)
    assert_same(read_weights(path, graph, strict_graph=True), arrays)
    importer.model = ModelError("its layer is a Lambda")
    with pytest.raises(WeightsError, match="read by names only: its network cannot be read: its layer is a Lambda"):
        read_weights(path, graph, strict_graph=True)


def test_where_own_names_contradict_the_network_the_difference_is_logged(
    importer: Importer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph, own = block(), block(epsilon=1e-3)
    arrays = random_arrays(own)
    importer.model = SourceModel(own, arrays, lambda images: [])
    path = tmp_path / "a.model"
    path.write_bytes(bytes(range(128, 192)))
    assert_same(read_weights(path, graph), arrays)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: is for another architecture than test/net: 'norm1' (batch_norm) in the spec")
    assert message.endswith("; strict_graph=True refuses this")


def projected(order: str) -> Graph:
    """A block whose projection, of the same shape as its convolution, is called before or after it."""
    b = Builder(3, 8, 8).add("conv1", "conv2d", channels=4, kernel=1).add("relu", "relu")
    for name in order.split():
        b.add(name, "conv2d", "relu", channels=4, kernel=1)
    b.add("relu1", "relu", "layer1.0.conv1").add("sum", "add", "relu1", "layer1.0.downsample.0")
    return b.add("gap", "global_avg_pool").add("flatten", "flatten").add("fc", "linear", features=2).graph()


def test_numbers_that_fit_in_one_order_are_checked_by_the_network(
    importer: Importer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The names are TensorFlow's: convolutions by number, of which one library calls a block's projection first."""
    graph = projected("layer1.0.conv1 layer1.0.downsample.0")
    arrays = random_arrays(graph)
    kernels = {"conv2d": "conv1", "conv2d_1": "layer1.0.conv1", "conv2d_2": "layer1.0.downsample.0"}
    held = {f"{name}/kernel": arrays[f"{layer}.weight"].transpose(2, 3, 1, 0) for name, layer in kernels.items()}
    held |= {"dense/kernel": arrays["fc.weight"].T, "dense/bias": arrays["fc.bias"]}
    path = write(tmp_path / "a.npz", held)
    importer.model = renamed(graph, arrays)
    assert_same(read_weights(path, graph), arrays)
    importer.model = ModelError("its layer is a Lambda")
    caplog.clear()
    read_weights(path, graph)
    assert "was read by names only: its network cannot be read: its layer is a Lambda; strict_graph=True" in caplog.text


class Live:
    """A model in Python."""


def test_a_live_model_gives_its_weights(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = block()
    arrays = random_arrays(graph)
    importer.model = renamed(graph, arrays)
    known = {f"{Live.__module__}.Live": "test"}
    monkeypatch.setattr("resnet_spec.backend.registry.importers", lambda: known)
    from resnet_spec.weights.io import fit_model

    assert_same(fit_model(graph, Live()).arrays, arrays)
    with pytest.raises(TypeError, match=r"a model of an installed backend, not builtins\.int"):
        fit_model(graph, 3)


def test_build_says_what_weights_may_be() -> None:
    with pytest.raises(TypeError, match="weights are a path, named arrays or a model"):
        build("cifar/resnet20", "torch", weights=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.pt2", "no_ending"])
def test_a_program_of_torch_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/weights/weight_0", b"")
        archive.writestr("archive/models/model.json", "{}")
    assert detection.ending_of(path) == ".pt2"
