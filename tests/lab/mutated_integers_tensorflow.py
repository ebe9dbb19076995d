"""TensorFlow whose 8-bit models have mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import tensorflow as tf

from resnet_spec_tensorflow import TensorFlowBackend
from tests.lab.mutated_integers import MutatedIntegers
from tests.lab.quantized_mutations import CONV


def _rounding(steps: Callable[[Any], Any], narrow: int = 0) -> Callable[..., Any]:
    def rounded(values: Any, scale: Any, low: int, high: int) -> Any:
        # A kernel's grid is narrow already, and its scales are many.
        if getattr(scale, "shape", ()):
            return tf.clip_by_value(tf.round(values / scale), low, high) * scale
        return tf.clip_by_value(steps(values / scale), low + narrow, high) * scale

    return rounded


ROUNDINGS: Mapping[str, Callable[..., Any]] = {
    "rounded_down": _rounding(tf.floor),
    "rounded_up": _rounding(lambda steps: tf.floor(steps + 0.5)),
    "narrow": _rounding(tf.round, 1),
}


class Mutated(MutatedIntegers, TensorFlowBackend):
    name = "integer_tensorflow"

    def altered(self, model: Any, change: str) -> None:
        if change not in ("kernel_rounded_down", "wrong_axis"):
            return
        layer = next(layer for layer in model.layers if layer.name == CONV)
        scales = tf.constant(layer.kernel_scales, "float32")
        if change == "kernel_rounded_down":
            layer.rounded_kernel = lambda kernel: tf.floor(kernel / scales) * scales
        else:
            own = scales[:, None]
            layer.rounded_kernel = lambda kernel: tf.clip_by_value(tf.round(kernel / own), -127, 127) * own

    def forward(self, model: Any, images: Any, *, training: bool = False) -> list[Any]:
        change = self.mutation.change if self.mutation and model is self.compiled else ""
        with ExitStack() as stack:
            if change in ROUNDINGS:
                stack.enter_context(patch("resnet_spec_keras.quantization.rounded", ROUNDINGS[change]))
            return super().forward(model, images, training=training)
