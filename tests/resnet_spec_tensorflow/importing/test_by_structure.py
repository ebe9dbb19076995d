"""Keras models with automatic names load into specs by their structure, from every kind of file and live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import WeightsError, build, load, read_weights
from resnet_spec.spec.spec import Spec
from resnet_spec.weights import io
from resnet_spec.weights.converting import write_model
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.writing import silent
from tests.resnet_spec_tensorflow.importing.test_files import save
from tests.resnet_spec_tensorflow.importing.test_graphs import frozen, saved

layers = keras.layers

SIZE, WIDTH, CLASSES = 32, 4, 5


class Network:
    """A ResNet-18 as tutorials write it, with Keras' automatic names; what is passed is what a test changes."""

    def __init__(
        self,
        *,
        cifar: bool = False,
        epsilon: float = 1e-5,
        pool: Any = layers.MaxPooling2D,
        relu: bool = True,
        first_stride: bool = True,
        late_shortcut: bool = False,
    ) -> None:
        self.epsilon = epsilon
        self.damped: list[Any] = []
        inputs = keras.Input((SIZE, SIZE, 3))
        x = layers.ReLU()(self.convolution(inputs, WIDTH, *((3, 1) if cifar else (7, 2))))
        if not cifar:
            x = pool(3, 2)(layers.ZeroPadding2D(1)(x))
        for stage in range(4):
            for index in range(2):
                channels, stride = WIDTH * 2**stage, 2 if stage and not index else 1
                # Some call the projection first, others last, which only the numbers in the names show.
                shortcut = x if cifar or stride == 1 else None
                if cifar and stride == 2:
                    shortcut = self.convolution(x, channels, 1, 2)
                strides = (stride, 1) if first_stride else (1, stride)
                y = self.convolution(x, channels, 3, strides[0])
                if relu or (stage, index) != (1, 1):
                    y = layers.ReLU()(y)
                y = self.convolution(y, channels, 3, strides[1])
                self.damped.append(self.last)
                if shortcut is None:
                    shortcut = self.convolution(x, channels, 1, 2)
                added = layers.Add()([y, shortcut])
                x = added if late_shortcut and (stage, index) == (0, 0) else layers.ReLU()(added)
        x = layers.GlobalAveragePooling2D()(x)
        self.model = keras.Model(inputs, layers.Dense(CLASSES)(x))

    def convolution(self, x: Any, channels: int, kernel: int, stride: int = 1) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(channels, kernel, strides=stride, use_bias=False, kernel_initializer="he_normal")(x)
        self.last = layers.BatchNormalization(epsilon=self.epsilon, momentum=0.0)
        return self.last(x)

    def randomized(self) -> Any:
        """The model, its activations well scaled: statistics are near those of a batch, and branches are damped."""
        generator = np.random.default_rng(0)
        for norm in _norms(self.model):
            damping = 0.2 if norm in self.damped else 1.0
            norm.gamma.assign(damping * generator.uniform(0.5, 1.5, norm.gamma.shape))
            norm.beta.assign(damping * generator.uniform(-0.5, 0.5, norm.beta.shape))
        self.model(generator.standard_normal((32, SIZE, SIZE, 3)).astype("f4"), training=True)
        for norm in _norms(self.model):
            variance = np.asarray(norm.moving_variance)
            norm.moving_variance.assign(variance * generator.uniform(0.8, 1.25, variance.shape))
            mean = np.asarray(norm.moving_mean)
            norm.moving_mean.assign(mean + 0.1 * np.sqrt(variance) * generator.choice([-1, 1], mean.shape))
        return self.model


def _norms(model: Any) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def overrides() -> dict[str, Any]:
    widths = {f"stages.layer{stage + 1}.channels": WIDTH * 2**stage for stage in range(4)}
    size = {"input.height": SIZE, "input.width": SIZE, "parameters.classes": CLASSES}
    return {**widths, **size, "stem.conv1.conv2d.channels": WIDTH}


def spec_of(*, cifar: bool = False, **more: Any) -> Spec:
    return load("cifar/resnet18" if cifar else "torchvision/resnet18", {**overrides(), **more})


def write_keras(model: Any, path: Path) -> Path:
    save(model, path := path.with_suffix(".keras"))
    return path


def write_hdf5(model: Any, path: Path) -> Path:
    save(model, path := path.with_suffix(".h5"))
    return path


def write_frozen(model: Any, path: Path) -> Path:
    return frozen(model, path.with_suffix(".pb"))


def assert_same_logits(native: Any, model: Any) -> None:
    images = np.random.default_rng(1).standard_normal((2, SIZE, SIZE, 3)).astype("f4")
    wanted, found = (np.asarray(network(images)) for network in (model, native))
    assert np.abs(found - wanted).max() < 3e-5 * wanted.std()


@pytest.fixture(scope="module", params=[False, True], ids=["torchvision", "cifar"])
def network(request: Any) -> tuple[Spec, Any]:
    return spec_of(cifar=request.param), Network(cifar=request.param).randomized()


@pytest.mark.filterwarnings("ignore")  # Of TensorFlow's own writers.
@pytest.mark.parametrize("write", [write_keras, write_hdf5, saved, write_frozen, lambda model, path: model])
def test_automatic_names_load_and_give_the_same_logits(
    write: Callable[[Any, Path], Any], network: tuple[Spec, Any], tmp_path: Path
) -> None:
    spec, model = network
    assert_same_logits(build(spec, "tensorflow", weights=write(model, tmp_path / "model")), model)


DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "epsilon": ({"epsilon": 1e-3}, r"'bn1' (batch_norm) in the spec and 'NAME' (batch_norm) in the model differ in "),
    "pool": ({"pool": layers.AveragePooling2D}, "the spec has 'maxpool' (max_pool2d) where the model has 'NAME' (avg"),
    "activation": ({"relu": False}, "the spec has 'layer2.1.relu1' (relu) where the model has 'NAME' (conv2d)"),
    "stride": (
        {"first_stride": False},
        "'layer2.0.conv1' (conv2d) in the spec and 'NAME' (conv2d) in the model differ",
    ),
    "shortcut": ({"late_shortcut": True}, "the spec has 'layer1.0.relu2' (relu) where the model has 'NAME' ("),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_reported_by_both_names(name: str, tmp_path: Path) -> None:
    change, message = DIFFERENCES[name]
    model = Network(**change).model
    with pytest.raises(WeightsError) as caught:
        build(spec_of(), "tensorflow", weights=write_keras(model, tmp_path / "model") if name == "pool" else model)
    first = str(caught.value).splitlines()[0]
    assert all(part in first for part in message.split("NAME"))


def test_a_network_with_unfolded_normalizations_says_so() -> None:
    spec = spec_of(folded=True)
    with pytest.raises(WeightsError, match="its batch normalizations are not folded into the convolutions"):
        build(spec, "tensorflow", weights=Network().model)


def test_names_that_fit_need_no_network_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    model = build(spec, "tensorflow")
    path = tmp_path / "ours.keras"
    write_model(model, spec, path, "tensorflow")
    read: list[Path] = []
    by_structure = io.read_by_structure

    def counted(path: Path, *rest: Any) -> Any:
        read.append(path)
        return by_structure(path, *rest)

    monkeypatch.setattr(io, "read_by_structure", counted)
    graph = spec.to_graph()
    wanted = read_weights(path, graph)
    assert not read
    strict = read_weights(path, graph, strict_graph=True)
    assert read == [path]
    assert all(np.array_equal(strict[name], wanted[name]) for name in wanted)


def test_a_network_that_contradicts_its_names_is_refused_if_it_is_asked_for(tmp_path: Path) -> None:
    spec, other = spec_of(), spec_of(**{"layers.norm.batch_norm.epsilon": 1e-3})
    path = tmp_path / "other.keras"
    write_model(build(other, "tensorflow"), other, path, "tensorflow")
    graph = spec.to_graph()
    assert read_weights(path, graph)
    with pytest.raises(WeightsError, match="is for another architecture than torchvision/resnet18: 'bn1' "):
        read_weights(path, graph, strict_graph=True)


def test_weights_without_an_architecture_keep_the_error_of_names(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    with silent():
        Network().model.save_weights(str(path))
    with pytest.raises(WeightsError) as caught:
        read_weights(path, load("torchvision/resnet34").to_graph())
    assert str(caught.value).startswith(f"{path}: not the ")


def test_nothing_in_a_hostile_file_is_executed(tmp_path: Path) -> None:
    executed, path = tmp_path / "executed", tmp_path / "model.keras"
    inputs = keras.Input((8, 8, 3))
    x = layers.Lambda(lambda x, to=str(executed): __import__("pathlib").Path(to).touch() or x, name="code")(inputs)
    save(keras.Model(inputs, layers.Conv2D(4, 3)(x)), path)
    executed.unlink()
    with pytest.raises(WeightsError) as caught:
        read_weights(path, spec_of().to_graph())
    first, second, *_ = str(caught.value).splitlines()
    assert first.startswith(f"{path}: its network cannot be read: code (Lambda): runs code that the file holds")
    assert second.startswith(f"{path}: not the ")
    assert not executed.exists()
