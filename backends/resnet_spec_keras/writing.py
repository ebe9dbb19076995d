"""Writes models in the formats of Keras, one function each; none of the files needs this package to load."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeAlias

from resnet_spec.errors import OutputError
from resnet_spec.weights.atomic import ending
from resnet_spec_keras.compilation import QUANTIZATIONS, compile_graph
from resnet_spec_keras.execution import quiet
from resnet_spec_keras.framework import NAME, keras
from resnet_spec_keras.layers import UnbiasedBatchNormalization
from resnet_spec_keras.parameters import get_arrays, set_arrays
from resnet_spec_keras.portable_names import make_portable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from resnet_spec.graph import Graph

    Writer: TypeAlias = Callable[[Any, Graph, Path], None]

WEIGHTS_ONLY = (".weights.h5", ".ckpt")


def writer_of(path: Path, writers: Mapping[str, Writer], *, batch: int | None = None) -> Writer:
    """Return what writes the format of a path's ending, of a fixed ``batch`` if it is given.

    Raises OutputError for another ending, and for a ``batch`` if the format has no input.
    """
    kind = ending(path, writers)
    if kind not in writers:
        known = ", ".join(known or "a folder" for known in writers)
        raise OutputError(f"{path}: the {NAME} backend cannot write {kind or 'a folder'}; it writes {known}")
    if batch is not None and kind in WEIGHTS_ONLY:
        raise OutputError(f"{path}: a fixed size is for a whole model, and {kind} has weights only")
    return writers[kind]


def write_keras(model: Any, graph: Graph, path: Path) -> None:
    """A ``.keras`` file, in which layers have names that every framework of Keras can express."""
    model.save(path, include_optimizer=False)
    make_portable(path)


def write_hdf5(model: Any, graph: Graph, path: Path) -> None:
    """A ``.h5`` file of a whole model."""
    others = [operation.name for operation in model.operations if not isinstance(operation, keras.Layer)]
    if others:
        # Keras writes them, but cannot read them again.
        message = f"the .h5 format can store layers only, and {others[0]} is not a layer; write .keras or .weights.h5"
        raise OutputError(f"{path}: {message}")
    model.save(path, include_optimizer=False)


def write_weights(model: Any, graph: Graph, path: Path) -> None:
    """A ``.weights.h5`` file."""
    model.save_weights(path)


WRITERS: Mapping[str, Writer] = {".keras": write_keras, ".h5": write_hdf5, ".weights.h5": write_weights}
"""What writes each format that Keras writes on every framework."""


def write(model: Any, graph: Graph, path: Path, *, half: bool, batch: int | None = None) -> None:
    """Write a model in the format of the path's ending, one of ``WRITERS``.

    Raises OutputError for another ending, for ``half``, for a fixed ``batch`` if the format has no input, and if the
    format cannot store the model.
    """
    writer = writer_of(path, WRITERS, batch=batch)
    if half:
        raise OutputError(f"{path}: the {NAME} backend writes nothing in half precision")
    with quiet(), silent():
        writer(model if batch is None else at_fixed_size(model, graph, batch), graph, path)


def at_fixed_size(model: Any, graph: Graph, batch: int) -> Any:
    """Return a copy of a model that takes a fixed number of images of the graph's size."""
    exact = any(isinstance(layer, UnbiasedBatchNormalization) for layer in model.layers)
    policy = model.layers[-1].dtype_policy.name
    copy = compile_graph(graph, policy, exact_statistics=exact, batch=batch, quantization=QUANTIZATIONS.get(model))
    set_arrays(copy, graph, get_arrays(model, graph))
    return copy


@contextmanager
def silent() -> Generator[None]:
    """Suppress what Keras and TFLite's converter print, and the warning that ``.h5`` is an older format."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            # Keras reads its variables in a way that NumPy 2 deprecates.
            message = "__array__ implementation doesn't accept a copy keyword"
            warnings.filterwarnings("ignore", message, DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
