"""What ``resnet-spec bench`` runs: a SavedModel's function, as it is or compiled by XLA, and a TFLite model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.runtime import Runtime
from resnet_spec.graph import INPUT
from resnet_spec_keras.execution import channels_last, quiet
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.lite_running import lite_function
from resnet_spec_tensorflow.writing import LITE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from resnet_spec.graph import Graph


def open_runtime(name: str, graph: Graph, path: Path, threads: int) -> Runtime:
    """Load a TFLite model or a SavedModel, and compile its function if the runtime's name says so."""
    names = graph.result_names
    if path.suffix == LITE:
        run = lite_function(path, threads)
        return Runtime(channels_last, run, lambda found: [_channels_first(value) for value in _ordered(found, names)])
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


def _ordered(found: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[NDArray[Any]]:
    """The outputs in the graph's order; a file of another program may call its output otherwise."""
    return [*found.values()] if found.keys().isdisjoint(names) else [found[name] for name in names]


def _channels_first(value: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(value, -1, 1))
