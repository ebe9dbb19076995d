"""Compiles resnet-spec graphs to native Keras models; importing this package imports no framework yet."""

from __future__ import annotations

from resnet_spec_tensorflow.backend import TensorFlowBackend

__all__ = ["TensorFlowBackend"]
