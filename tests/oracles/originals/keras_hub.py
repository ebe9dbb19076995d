"""The ResNets of KerasHub, on TensorFlow: the architectures of its presets, whose files only its server has."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import keras_hub

from .keras import Network as KerasNetwork

REPEATS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 12, 48, 3],
}


class Network(KerasNetwork):
    """An image classifier around a backbone, of the name of its preset, such as ``resnet_vd_50``."""

    version = f"KerasHub {version('keras-hub')}"

    def build(self, name: str, dtype: str) -> Any:
        match = re.fullmatch(r"resnet_(v2_|vd_)?(\d+)", name)
        assert match
        kind, depth = match[1], int(match[2])
        deep = {"input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]}
        backbone = keras_hub.models.ResNetBackbone(
            **(deep if kind == "vd_" else {"input_conv_filters": [64], "input_conv_kernel_sizes": [7]}),
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=REPEATS[depth],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type=("basic_block" if depth < 50 else "bottleneck_block") + ("_vd" if kind == "vd_" else ""),
            use_pre_activation=kind == "v2_",
            dtype=dtype,
        )
        self.task = keras_hub.models.ResNetImageClassifier(backbone, 1000, head_dtype=dtype)
        # The same layers in one model, where they are found by their names, instead of a model within a model.
        pooled = self.task.pooler(backbone.output)
        return keras.Model(backbone.input, self.task.output_dense(pooled))

    def save(self, folder: Path) -> list[Path]:
        model, self.model = self.model, self.task
        try:
            return super().save(folder)
        finally:
            self.model = model
