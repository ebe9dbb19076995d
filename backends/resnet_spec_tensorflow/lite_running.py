"""Runs a TFLite model as it is: of float or 8-bit input, with a signature or without, of any batch or a fixed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec_tensorflow.lite_quantization import lite_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Values = Mapping[str, NDArray[Any]]
    Function = Callable[[NDArray[Any]], Values]


def lite_function(path: Path, threads: int) -> Function:
    """Load a model.

    Args:
        path: Its file.
        threads: How many threads it may compute with.

    Returns:
        A function from float images, laid out as the model takes them, to its outputs by name, in float too.
    """
    interpreter = lite_interpreter(model_path=str(path), num_threads=threads)
    if interpreter.get_signature_list():
        given, outputs, call = _with_signature(interpreter.get_signature_runner())
    else:
        (given,) = interpreter.get_input_details()
        outputs = {output["name"]: output for output in interpreter.get_output_details()}
        call = _without_signature(interpreter, given["index"], outputs)

    def run(images: NDArray[Any]) -> Values:
        found = _in_batches(call, _stored(images, given), int(given["shape_signature"][0]))
        return {name: _real(value, outputs[name]) for name, value in found.items()}

    return run


def _with_signature(runner: Any) -> tuple[Any, Any, Function]:
    (name,) = runner.get_input_details()

    def call(images: NDArray[Any]) -> Values:
        return runner(**{name: images})

    return runner.get_input_details()[name], runner.get_output_details(), call


def _without_signature(interpreter: Any, place: int, outputs: Mapping[str, Any]) -> Function:
    def call(images: NDArray[Any]) -> Values:
        interpreter.resize_tensor_input(place, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, images)
        interpreter.invoke()
        return {name: interpreter.get_tensor(output["index"]) for name, output in outputs.items()}

    return call


def _in_batches(call: Function, images: NDArray[Any], size: int) -> Values:
    """Call a model of a fixed batch as often as there are images; the last batch is filled up."""
    if size in (-1, len(images)):
        return call(images)
    filled = np.concatenate([images, images[:1].repeat(-len(images) % size, axis=0)])
    parts = [call(filled[start : start + size]) for start in range(0, len(filled), size)]
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}


def _stored(images: NDArray[Any], given: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = map(float, given["quantization"])
    kind: Any = given["dtype"]
    if kind == np.float32 or not scale:
        return images.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.clip(np.round(images / scale) + zero, limits.min, limits.max).astype(kind)


def _real(value: NDArray[Any], output: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = output["quantization"]
    if output["dtype"] == np.float32 or not scale:
        return value
    return ((value.astype(np.float32) - zero) * scale).astype(np.float32)
