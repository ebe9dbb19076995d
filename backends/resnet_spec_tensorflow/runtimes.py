"""What ``resnet-spec bench`` runs: a SavedModel's function, as it is or compiled by XLA, and a TFLite model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.runtime import Runtime
from resnet_spec.graph import INPUT
from resnet_spec_tensorflow.execution import channels_last, quiet
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.lite_quantization import lite_interpreter
from resnet_spec_tensorflow.writing import LITE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph


def open_runtime(name: str, graph: Graph, path: Path, threads: int) -> Runtime:
    """Load a TFLite model or a SavedModel, and compile its function if the runtime's name says so."""
    names = graph.result_names
    if path.suffix == LITE:
        run = _lite(path, threads)
        return Runtime(channels_last, run, lambda found: [_channels_first(found[name]) for name in names])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with quiet():
        run = _function(path)
    return Runtime(
        convert=lambda images: tf.constant(channels_last(images)),
        run=tf.function(run, jit_compile=True) if name == "tensorflow-xla" else run,
        values=lambda found: [_channels_first(found[name].numpy()) for name in names],
    )


def _function(path: Path) -> Callable[[Any], Any]:
    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures["serving_default"]
    # ``loaded`` holds the variables, and must live as long as the function.
    return lambda images: (loaded, function(**{INPUT: images}))[1]


def _lite(path: Path, threads: int) -> Callable[[Any], Any]:
    runner = lite_interpreter(model_path=str(path), num_threads=threads).get_signature_runner()
    return lambda images: runner(**{INPUT: images})


def _channels_first(value: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(value, -1, 1))
