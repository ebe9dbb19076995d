"""What ``resnet-spec bench`` runs: a SavedModel's function, frozen or compiled by XLA, and a TFLite model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.runtime import Runtime
from resnet_spec.graph import INPUT
from resnet_spec_tensorflow.execution import channels_last, quiet
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.writing import LITE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from resnet_spec.backend.protocol import Arrays, Backend
    from resnet_spec.graph import Graph

TFLITE = "tflite"


def write(backend: Backend, name: str, graph: Graph, arrays: Arrays, folder: Path) -> Path:
    """Write a TFLite model or a SavedModel."""
    model = backend.compile(graph, dtype="float32")
    backend.load(model, graph, arrays)
    path = folder / (f"model{LITE}" if name == TFLITE else "model")
    backend.write(model, graph, path)
    return path


def open_runtime(name: str, graph: Graph, path: Path, threads: int) -> Runtime:
    """Load what was written in the form that the runtime's name says."""
    names = graph.result_names
    if name == TFLITE:
        run = _lite(path, threads)
        return Runtime(channels_last, run, lambda found: [_channels_first(found[name]) for name in names])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with quiet():
        run = _FORMS[name](tf.saved_model.load(str(path)))
    return Runtime(
        convert=lambda images: tf.constant(channels_last(images)),
        run=run,
        values=lambda found: [_channels_first(found[name].numpy()) for name in names],
    )


def _function(loaded: Any) -> Callable[[Any], Any]:
    function = loaded.signatures["serving_default"]
    # ``loaded`` holds the variables, and must live as long as the function.
    return lambda images: (loaded, function(**{INPUT: images}))[1]


def _frozen(loaded: Any) -> Callable[[Any], Any]:
    from tensorflow.python.framework import convert_to_constants  # pyright: ignore[reportMissingTypeStubs]

    function = loaded.signatures["serving_default"]
    frozen: Any = convert_to_constants.convert_variables_to_constants_v2(function)  # pyright: ignore
    # Its outputs are in the order of their names.
    names = sorted(function.structured_outputs)
    return lambda images: dict(zip(names, frozen(images), strict=True))


def _compiled(loaded: Any) -> Callable[[Any], Any]:
    return tf.function(_function(loaded), jit_compile=True)


_FORMS: Mapping[str, Callable[[Any], Callable[[Any], Any]]] = {
    "tensorflow": _function,
    "tensorflow-frozen": _frozen,
    "tensorflow-xla": _compiled,
}


def _lite(path: Path, threads: int) -> Callable[[Any], Any]:
    with warnings.catch_warnings():
        # It announces the package that it will move to.
        warnings.simplefilter("ignore")
        interpreter: Any = tf.lite.Interpreter(str(path), num_threads=threads)
    runner = interpreter.get_signature_runner()
    return lambda images: runner(**{INPUT: images})


def _channels_first(value: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(value, -1, 1))
