"""TFLite models of other programs: 8-bit inputs and outputs, no signature, a fixed batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.lite_running import lite_function

KERNEL = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((7, 2, 2, 3), np.float32)
WANTED = IMAGES.reshape(7, 12) @ KERNEL


def convert(path: Path, *, batch: int | None = None, bits: int = 32, signature: bool = True) -> Path:
    """Write a linear layer as a TFLite model."""

    class Layer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([batch, 2, 2, 3], tf.float32, name="picture")])
        def __call__(self, picture: Any) -> dict[str, Any]:
            return {"scores": tf.reshape(picture, [-1, 12]) @ tf.constant(KERNEL)}

    layer = Layer()
    if signature:
        tf.saved_model.save(layer, str(path.parent / "saved"), signatures=layer.__call__.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path.parent / "saved"))
    else:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([layer.__call__.get_concrete_function()])
    if bits == 8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, 1e-5),
        ({"batch": 3}, 1e-5),
        ({"signature": False}, 1e-5),
        ({"signature": False, "batch": 1}, 1e-5),
        ({"bits": 8}, 0.1),
        ({"bits": 8, "signature": False}, 0.1),
    ],
    ids=str,
)
def test_a_model_of_another_program_is_run(tmp_path: Path, options: dict[str, Any], error: float) -> None:
    run = lite_function(convert(tmp_path / "a.tflite", **options), 1)
    for count in (7, 1):
        (found,) = run(IMAGES[:count]).values()
        assert found.dtype == np.float32
        assert np.abs(found - WANTED[:count]).max() < error
        assert np.corrcoef(found.ravel(), WANTED[:count].ravel())[0, 1] > 0.995
