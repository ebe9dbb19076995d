"""Runs a file in ONNX Runtime as it is: its own layout, its own batch, its own type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from resnet_spec.errors import BackendError
from resnet_spec_onnx.execution import PROVIDERS, import_runtime
from resnet_spec_onnx.reading.node_view import ANY_BATCH, Layout
from resnet_spec_onnx.reading.normal_form import image_input
from resnet_spec_onnx.reading.protobuf import Contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Results = list[NDArray[np.floating[Any]]]


def runner(
    source: Path | bytes, contents: Contents, layout: Layout, orders: Sequence[tuple[int, ...]]
) -> Callable[[Images], Results]:
    """Return a function that runs a file, or the bytes of one, on (batch, channels, height, width) images.

    ``orders`` are the axes of each output in the file, as those of the result. The session is made at the first call.
    """
    tensor = image_input(contents)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.type.tensor_type.elem_type)
    sessions: list[Any] = []

    def run(images: Images) -> Results:
        if not sessions:
            sessions.append(_session(source))
        values = images.astype(dtype).transpose(layout.axes)
        size = len(values) if layout.batch == ANY_BATCH else layout.batch
        parts = [_run(sessions[0], tensor.name, values[at : at + size], size) for at in range(0, len(values), size)]
        joined = [np.concatenate(arrays)[: len(values)] for arrays in zip(*parts, strict=True)]
        return [in_float32(array.transpose(np.argsort(o))) for array, o in zip(joined, orders, strict=True)]

    return run


def _session(source: Path | bytes) -> Any:
    ort = import_runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        content = source if isinstance(source, bytes) else str(source)
        return ort.InferenceSession(content, options, providers=PROVIDERS)
    except Exception as error:
        raise BackendError(f"ONNX Runtime rejects the model: {str(error).strip()}") from None


def _run(session: Any, name: str, values: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Run one batch, filled up with zeros to the size that the file has."""
    missing = np.zeros((size - len(values), *values.shape[1:]), values.dtype)
    try:
        results: list[NDArray[Any]] = session.run(None, {name: np.concatenate([values, missing])})
    except Exception as error:
        raise BackendError(f"ONNX Runtime cannot run the model: {str(error).strip()}") from None
    return results


def in_float32(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in a type that is computed in: half precision is only stored."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
