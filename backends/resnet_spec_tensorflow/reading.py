"""Reads TensorFlow's checkpoints, of both versions and within SavedModels, by the names of their variables.

Only tensors are read: no function of a SavedModel is restored or run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.checkpoint import Checkpoint, widen_bfloat16
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.detection import inside
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.object_graph import OBJECT_GRAPH, ObjectGraph, parse_object_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AVERAGE = "ExponentialMovingAverage"
"""The last part of the name of TensorFlow 1's averages; Keras' optimizers call theirs ``average``."""

COUNTER = re.compile(r"(global_step|save_counter|beta[12]_power)(_\d+)?")

IMAGE_MEAN = "mean_rgb"
"""The mean of the images that slim's published ResNets were trained on."""

RANDOM_STATE = "seed_generator_state"

METRICS = "keras_api"
"""Key of the metrics that Keras 2 saves with a model's layers."""

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

MAX_EXPANSION = 20
"""Maximum size of a checkpoint's tensors, in multiples of its files'; before TensorFlow 0.12 they are compressed."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the tensors of a checkpoint: an ``.index`` file, the one file of the oldest format, or a SavedModel.

    Names are those of the variables; if a checkpoint of TensorFlow 2 has none, or the same one for several, the keys
    of its object graph. Training state that is certainly not a weight is counted and left out. Raises WeightsError if
    a file is broken, missing, or a link out of the folder.
    """
    files = _saved_model_files(path) if os.path.isdir(path) else _files(path)
    prefix = files[0].with_suffix("") if files[0].suffix == ".index" else files[0]
    try:
        reader: Any = tf.compat.v1.train.NewCheckpointReader(str(prefix))
        _refuse_bomb(reader, path, files)
        checkpoint = _read(reader)
    except WeightsError:
        raise
    # Broken files fail in as many ways as there are bytes to break.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(f"{path}: is a broken or incomplete TensorFlow checkpoint ({reason})") from None
    if not checkpoint.tensors and not checkpoint.averages:
        raise WeightsError(f"{path}: contains no weights")
    return checkpoint


def _files(path: Path) -> list[Path]:
    """Return the index, or the one file, and the files with the data."""
    start = f"{path.with_suffix('').name}.data-"
    return [path, *sorted(file for file in path.parent.iterdir() if file.name.startswith(start))]


def _saved_model_files(folder: Path) -> list[Path]:
    index = folder / "variables" / "variables.index"
    if not index.is_file():
        raise WeightsError(f"{folder}: is a SavedModel without variables")
    files = _files(index)
    for file in files:
        if not inside(folder, file):
            raise WeightsError(f"{folder}: refused: its {file.relative_to(folder)} is a link out of the folder")
    return files


def _refuse_bomb(reader: Any, path: Path, files: Iterable[Path]) -> None:
    types: dict[str, Any] = reader.get_variable_to_dtype_map()
    shapes: dict[str, list[int]] = reader.get_variable_to_shape_map()
    claimed = sum(int(np.prod(shape, dtype=object)) * types[key].size for key, shape in shapes.items())
    held = sum(file.stat().st_size for file in files)
    if claimed > MAX_EXPANSION * held:
        raise WeightsError(f"{path}: refused: its tensors need {claimed:,} bytes, but its files contain {held:,}")


def _read(reader: Any) -> Checkpoint:
    shapes: dict[str, list[int]] = reader.get_variable_to_shape_map()
    objects = parse_object_graph(reader.get_tensor(OBJECT_GRAPH)) if OBJECT_GRAPH in shapes else ObjectGraph()
    names = {key: objects.names.get(key, key.removesuffix(VALUE)) for key in shapes if key != OBJECT_GRAPH}
    averages = _averages(objects, names)
    ignored: Counter[str] = Counter()
    keys: dict[str, list[str]] = {}
    state = _TrainingState(reader, objects, {name: shapes[key] for key, name in names.items()})
    for key, name in names.items():
        if key in averages:
            continue
        if what := state.kind(key, name, shapes[key]):
            ignored[what] += 1
        else:
            keys.setdefault(name, []).append(key)
    tensors = {name: array for name, shared in keys.items() for name, array in _arrays(reader, name, shared)}
    widened = {name for name, array in tensors.items() if _is_bfloat16(array)}
    return Checkpoint(
        {name: _widened(array) for name, array in tensors.items()},
        averages={name: _widened(reader.get_tensor(key)) for key, name in averages.items()},
        ignored=ignored,
        widened=frozenset(widened),
    )


def _averages(objects: ObjectGraph, names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the averaged variables by the keys of their averages."""
    # Keras 3 calls an optimizer's variable after the model's: adam/conv1_kernel_average.
    keras = {f"{name.replace('/', '_')}_average": name for name in names.values()}
    found: dict[str, str] = {}
    for key, name in names.items():
        owner, slot = objects.slots.get(key, ("", ""))
        if slot == "average":
            found[key] = names[owner]
        elif name.endswith(f"/{AVERAGE}"):
            found[key] = name.removesuffix(f"/{AVERAGE}")
        elif key in objects.optimizers and (averaged := keras.get(name.partition("/")[2])):
            found[key] = averaged
    return found


class _TrainingState:
    """Recognizes variables that are certainly not weights."""

    def __init__(self, reader: Any, objects: ObjectGraph, shapes: Mapping[str, list[int]]) -> None:
        self._types: dict[str, Any] = reader.get_variable_to_dtype_map()
        self._objects = objects
        self._shapes = shapes

    def kind(self, key: str, name: str, shape: list[int]) -> str | None:
        """Return what a variable is, or None if it may be a weight."""
        owner, _, last = name.rpartition("/")
        if self._types[key] == tf.string:
            return "texts"
        if key.endswith(VALUE) and METRICS in key.split("/"):
            return "metrics"
        # No weight is an integer.
        if not shape and (key in self._objects.optimizers or COUNTER.fullmatch(last) or self._types[key].is_integer):
            return "counters"
        # A variable below another one (conv1/weights/Momentum) is an optimizer's.
        below = owner in self._shapes and shape in ([], self._shapes[owner])
        if below or key in self._objects.slots or key in self._objects.optimizers:
            return "optimizer slots"
        if last == RANDOM_STATE and self._types[key].is_integer:
            return "random states"
        return "means of the training images" if last == IMAGE_MEAN and len(shape) == 1 else None


def _arrays(reader: Any, name: str, keys: list[str]) -> list[tuple[str, NDArray[Any]]]:
    """Return one array under a variable's name, since Keras 3 exports each twice; if they differ, all by key."""
    first, *others = ((key, reader.get_tensor(key)) for key in keys)
    if all(np.array_equal(array, first[1]) for _, array in others):
        return [(name, first[1])]
    return [(key.removesuffix(VALUE), array) for key, array in (first, *others)]


def _is_bfloat16(array: NDArray[Any]) -> bool:
    return array.dtype.name == "bfloat16"


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return widen_bfloat16(array) if _is_bfloat16(array) else array
