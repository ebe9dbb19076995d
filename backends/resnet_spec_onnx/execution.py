"""Running a model: float32 by ONNX Runtime on the processor, float64 by ONNX's own reference, which is slow and exact.

ONNX Runtime has no convolution in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from onnx import ModelProto, TensorProto

from resnet_spec.errors import BackendError
from resnet_spec_onnx.writing import with_parameters_as_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROVIDERS = ["CPUExecutionProvider"]

Runner = Callable[[Mapping[str, "NDArray[Any]"]], "list[NDArray[Any]]"]
"""From inputs by name to the outputs."""


def runner(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    """What runs a model without data, given its initializers'.

    Raises BackendError where ONNX Runtime is missing or refuses the model.
    """
    exact = skeleton.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE
    return (_by_reference if exact else _by_runtime)(skeleton, weights)


def _by_reference(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    from onnx.reference import ReferenceEvaluator

    from resnet_spec_onnx.reference_operators import MaxPool

    evaluator: Any = ReferenceEvaluator(with_parameters_as_inputs(skeleton), new_ops=[MaxPool])
    return lambda inputs: evaluator.run(None, {**inputs, **weights})


def _by_runtime(skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> Runner:
    return _Session(skeleton, weights).run


class _Session:
    """A session of ONNX Runtime, and the weights that it was given, whose memory it may share."""

    def __init__(self, skeleton: ModelProto, weights: Mapping[str, NDArray[Any]]) -> None:
        ort = runtime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers([*weights], self._values)
        content = _with_data_elsewhere(skeleton).SerializeToString()
        try:
            self._session = ort.InferenceSession(content, options, providers=PROVIDERS)
        except Exception as error:
            raise BackendError(f"ONNX Runtime refuses the model: {str(error).strip()}") from None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs for inputs by name."""
        return self._session.run(None, dict(inputs))


def _with_data_elsewhere(skeleton: ModelProto) -> ModelProto:
    """The model with its initializers marked as being outside of it: ONNX Runtime is given them as they are."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="given")
    return model


def runtime() -> Any:
    """The module ``onnxruntime``; raises BackendError where it is missing: models are written without it."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise BackendError(f"ONNX Runtime cannot be imported ({error}); pip install 'resnet-spec[onnx]'") from error
    return onnxruntime
