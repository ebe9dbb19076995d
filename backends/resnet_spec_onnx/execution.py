"""Runs a model: float32 in ONNX Runtime on the CPU, float64 in ONNX's reference implementation, slow and exact.

ONNX Runtime has no float64 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, TensorProto

from resnet_spec.errors import BackendError
from resnet_spec.graph import INPUT
from resnet_spec_onnx.model import OnnxModel, Runner
from resnet_spec_onnx.writing import with_parameters_as_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROVIDERS = ["CPUExecutionProvider"]


def forward(model: OnnxModel, images: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the outputs for (batch, *input) images; the runner is made once and kept with the model."""
    if model.runner is None:
        model.runner = make_runner(model.skeleton, model.loaded_initializers())
    return model.runner({INPUT: images.astype(model.dtype, copy=False)})


def make_runner(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    """Return a function that runs a model without data, with the arrays of its initializers.

    Raises BackendError if ONNX Runtime is missing or rejects the model.
    """
    float64 = skeleton.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE
    return (_reference_runner if float64 else _runtime_runner)(skeleton, weights)


def _reference_runner(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    from onnx.reference import ReferenceEvaluator

    from resnet_spec_onnx.reference_operators import Erf, GlobalMaxPool, MaxPool

    evaluator: Any = ReferenceEvaluator(with_parameters_as_inputs(skeleton), new_ops=[Erf, GlobalMaxPool, MaxPool])
    return lambda inputs: evaluator.run(None, {**inputs, **weights})


def _runtime_runner(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    ort = import_runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers([*weights], values)
    content = _with_external_data(skeleton).SerializeToString()
    try:
        session = ort.InferenceSession(content, options, providers=PROVIDERS)
    except Exception as error:
        raise BackendError(f"ONNX Runtime rejects the model: {str(error).strip()}") from None

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        # The session may share the memory of the values and of their arrays, so they must live as long as it does.
        _ = values, weights
        return session.run(None, dict(inputs))

    return run


def _with_external_data(skeleton: ModelProto) -> ModelProto:
    """Return the model with its initializers marked as external, since ONNX Runtime is given them as arrays."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="given")
    return model


def import_runtime() -> Any:
    """Import ``onnxruntime`` late, since models are compiled and written without it; raises BackendError."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise BackendError(f"ONNX Runtime cannot be imported ({error}); pip install 'resnet-spec[onnx]'") from error
    return onnxruntime
