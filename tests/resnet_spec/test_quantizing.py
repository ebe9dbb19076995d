"""``quantize``: from photographs or arrays and weights of any kind, and how far the 8-bit network is from float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resnet_spec
from resnet_spec import Quantization, build, initialize, load, quantize, save
from resnet_spec.errors import QuantizationError, SpecError, WeightsError
from resnet_spec.quantizing import loss_of
from tests.needs import need

need("torch")

SPEC = "cifar/resnet20"
GRAPH = load(SPEC).to_graph()
ARRAYS = initialize(GRAPH)
IMAGES = np.random.default_rng(0).normal(size=(6, 3, 32, 32)).astype("float32")


def test_a_photograph_is_prepared_as_the_weights_expect_it() -> None:
    photographs = [np.random.default_rng(n).integers(0, 256, (40, 50, 3)).astype("uint8") for n in range(5)]
    how = resnet_spec.Preprocessing(resize=32, crop=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    found = quantize(SPEC, ARRAYS, photographs, preprocessing=how)
    prepared = resnet_spec.preprocess(SPEC, photographs, how)
    assert found.images.count == 5
    assert found.values["input"].limits[1] == pytest.approx(prepared.max(), abs=found.values["input"].scale)
    with pytest.raises(SpecError, match="no preprocessing"):
        quantize(SPEC, ARRAYS, photographs)


def test_weights_may_be_a_file_or_a_model(tmp_path: Path) -> None:
    model = build(SPEC, "torch", ARRAYS)
    path = tmp_path / "w.safetensors"
    save(model, path)
    one, two, three = (quantize(SPEC, weights, IMAGES) for weights in (ARRAYS, path, model))
    assert one == two == three
    with pytest.raises(WeightsError):
        quantize("cifar/resnet32", path, IMAGES)


def test_the_8_bit_model_is_saved_and_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = quantize(SPEC, ARRAYS, IMAGES)
    path = tmp_path / "q.json"
    path.write_text(found.to_json())
    model = build(SPEC, "torch", ARRAYS, quantization=path)
    save(model, tmp_path / "w.safetensors")
    again = build(SPEC, "torch", tmp_path / "w.safetensors", quantization=found)
    import torch

    with torch.no_grad():
        torch.testing.assert_close(model(torch.from_numpy(IMAGES)), again(torch.from_numpy(IMAGES)))
    assert caplog.text == ""
    build(SPEC, "torch", ARRAYS | {"linear.bias": ARRAYS["linear.bias"] + 1}, quantization=path)
    assert "the 8-bit grids of cifar/resnet20 were chosen with the weights " in caplog.text
    with pytest.raises(QuantizationError, match="was calibrated for cifar/resnet20"):
        build("cifar/resnet32", "torch", quantization=path)


def test_a_network_without_anything_rounded_loses_nothing() -> None:
    found = quantize(SPEC, ARRAYS, IMAGES)
    whole = loss_of(SPEC, ARRAYS, IMAGES, found)
    assert whole.images == 6
    assert 20 < whole.logits < 60
    assert list(whole.decibels) == list(found.values)
    nothing = found.model_copy(update={"values": {}, "kernels": {}})
    none = loss_of(SPEC, ARRAYS, IMAGES, nothing)
    assert none.agreeing == 6
    # float32 remains.
    assert none.logits > 100


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(QuantizationError, match=r"an array \[6, 32, 32, 3\], not \(batch, 3, 32, 32\)"):
        quantize(SPEC, ARRAYS, IMAGES.transpose(0, 2, 3, 1))
    with pytest.raises(QuantizationError, match="no image was given"):
        quantize(SPEC, ARRAYS, IMAGES[:0])
    assert isinstance(quantize(SPEC, ARRAYS, IMAGES[:1], keep=["layer1"]), Quantization)
