"""Keras' own loop: what trains, what is averaged, and what goes on from a file to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import resnet_spec

SPEC = resnet_spec.load("cifar/resnet20", [f"stages.layer{number}.repeat=1" for number in (1, 2, 3)])


@pytest.fixture(autouse=True)
def deterministic(backend: Any) -> None:
    import keras

    keras.utils.set_random_seed(0)


def data(seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    return random.standard_normal((8, 32, 32, 3), "float32"), np.arange(8) % 10


def compiled(model: Any, **options: Any) -> Any:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eager steps of a small network are faster than a trace of them.
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9, **options), loss, run_eagerly=True)
    return model


def arrays(model: Any) -> dict[str, Any]:
    return resnet_spec.get_backend("tensorflow").arrays(model, SPEC.to_graph())


def equal(one: Any, other: Any) -> bool:
    theirs = arrays(other)
    return all(np.array_equal(array, theirs[name]) for name, array in arrays(one).items())


def test_training_goes_on_from_a_file_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    whole = compiled(resnet_spec.build(SPEC, "tensorflow", training=True))
    for seed in range(4):
        whole.train_on_batch(*data(seed))

    resnet_spec.save(resnet_spec.build(SPEC, "tensorflow"), path)
    state: list[Any] = []
    for first in (0, 2):
        model = compiled(resnet_spec.build(SPEC, "tensorflow", path, mmap=True))
        if state:
            model.optimizer.build(model.trainable_variables)
            for variable, value in zip(model.optimizer.variables, state, strict=True):
                variable.assign(value)
        for seed in (first, first + 1):
            model.train_on_batch(*data(seed))
        resnet_spec.save(model, path, force=True)
        state = [variable.value.numpy() for variable in model.optimizer.variables]
    assert equal(resnet_spec.build(SPEC, "tensorflow", path), whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_training_goes_on_from_keras_own_file_to_the_bit(tmp_path: Path) -> None:
    import keras

    whole = compiled(resnet_spec.build(SPEC, "tensorflow"))
    whole.train_on_batch(*data(0))
    whole.save(tmp_path / "training.keras")
    whole.train_on_batch(*data(1))
    resumed = keras.models.load_model(tmp_path / "training.keras")
    resumed.train_on_batch(*data(1))
    assert equal(resumed, whole)


@pytest.mark.slow
def test_fit_ends_with_the_averages_which_are_saved(tmp_path: Path) -> None:
    images, labels = data()
    plain = compiled(resnet_spec.build(SPEC, "tensorflow"))
    averaged = compiled(resnet_spec.build(SPEC, "tensorflow"), use_ema=True, ema_momentum=0.5)
    kernels = []
    for part in (slice(0, 4), slice(4, 8)):
        plain.train_on_batch(images[part], labels[part])
        kernels.append(arrays(plain)["conv1.weight"])
    averaged.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    resnet_spec.save(averaged, tmp_path / "w.safetensors")
    saved = resnet_spec.read_weights(tmp_path / "w.safetensors", SPEC.to_graph())
    np.testing.assert_allclose(saved["conv1.weight"], sum(kernels) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_layer_that_is_frozen_keeps_its_weights_and_statistics() -> None:
    model = resnet_spec.build(SPEC, "tensorflow", training=True)
    for layer in model.layers[:-1]:
        layer.trainable = False
    before = arrays(model)
    compiled(model).fit(*data(), verbose=0)
    after = arrays(model)
    moved = [name for name, array in after.items() if not np.array_equal(array, before[name])]
    assert moved == ["linear.weight", "linear.bias"]


@pytest.mark.slow
def test_a_call_does_not_train_and_a_step_does() -> None:
    model = resnet_spec.build(SPEC, "tensorflow", training=True)
    before = arrays(model)
    model(data()[0])
    assert all(np.array_equal(array, before[name]) for name, array in arrays(model).items())
    compiled(model).train_on_batch(*data())
    after = arrays(model)
    assert [name for name, array in after.items() if np.array_equal(array, before[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_of_a_mixed_policy_trains(dtype: Any) -> None:
    import keras

    model = compiled(resnet_spec.build(SPEC, "tensorflow", dtype=dtype))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (dtype == "mixed_float16")
    losses = [float(model.train_on_batch(*data())) for _ in range(3)]
    assert losses[-1] < losses[0]
    assert {array.dtype for array in arrays(model).values()} == {np.dtype("float32")}
