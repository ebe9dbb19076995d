"""TensorFlow's checkpoints, of both versions and within SavedModels, as tensors by the names of their variables.

Only tensors are read: no function of a SavedModel is restored, let alone run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.errors import WeightsError
from resnet_spec.weights.formats.detection import inside
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.object_graph import OBJECT_GRAPH, ObjectGraph, parse_object_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AVERAGE = "ExponentialMovingAverage"
"""The variable that TensorFlow 1 keeps below the one it averages; Keras' optimizers say ``average``."""

COUNTER = re.compile(r"(global_step|save_counter|beta[12]_power)(_\d+)?")

IMAGE_MEAN = "mean_rgb"
"""The mean of the images that slim's published ResNets were trained on."""

RANDOM_STATE = "seed_generator_state"

METRICS = "keras_api"
"""What Keras 2 keeps beside a model's layers."""

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

MAX_EXPANSION = 20
"""How much larger than its files a checkpoint may be; those of TensorFlow before 0.12 are compressed."""


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a checkpoint: its ``.index`` file, the one file of the oldest format, or a SavedModel folder.

    Names are those that the variables had; where a checkpoint of TensorFlow 2 has none, or the same one for several,
    their places in its objects. What training leaves beside the weights is counted, if it is certainly no weight.
    Raises WeightsError where a file is broken, missing, or a link out of the folder.
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
        raise WeightsError(f"{path}: is not a whole TensorFlow checkpoint ({reason})") from None
    if not checkpoint.tensors and not checkpoint.averages:
        raise WeightsError(f"{path}: holds no weights")
    return checkpoint


def _files(path: Path) -> list[Path]:
    """The index, or the one file, and those that hold the data."""
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
        raise WeightsError(f"{path}: refused: it claims {claimed:,} bytes, of which its files hold {held:,}")


def _read(reader: Any) -> Checkpoint:
    shapes: dict[str, list[int]] = reader.get_variable_to_shape_map()
    objects = parse_object_graph(reader.get_tensor(OBJECT_GRAPH)) if OBJECT_GRAPH in shapes else ObjectGraph()
    names = {key: objects.names.get(key, key.removesuffix(VALUE)) for key in shapes if key != OBJECT_GRAPH}
    averages = _averages(objects, names)
    ignored: Counter[str] = Counter()
    keys: dict[str, list[str]] = {}
    beside = _Beside(reader, objects, {name: shapes[key] for key, name in names.items()})
    for key, name in names.items():
        if key in averages:
            continue
        if what := beside.kind(key, name, shapes[key]):
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
    """The names of the variables that are averaged, by the keys of their averages."""
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


class _Beside:
    """Tells what is certainly no weight."""

    def __init__(self, reader: Any, objects: ObjectGraph, shapes: Mapping[str, list[int]]) -> None:
        self._types: dict[str, Any] = reader.get_variable_to_dtype_map()
        self._objects = objects
        self._shapes = shapes

    def kind(self, key: str, name: str, shape: list[int]) -> str | None:
        """What a variable is instead, or None where it may be a weight."""
        owner, _, last = name.rpartition("/")
        if self._types[key] == tf.string:
            return "texts"
        if key.endswith(VALUE) and METRICS in key.split("/"):
            return "metrics"
        # No weight is a whole number.
        if not shape and (key in self._objects.optimizers or COUNTER.fullmatch(last) or self._types[key].is_integer):
            return "counters"
        # What is below another variable (conv1/weights/Momentum) is what an optimizer keeps for it.
        below = owner in self._shapes and shape in ([], self._shapes[owner])
        if below or key in self._objects.slots or key in self._objects.optimizers:
            return "optimizer slots"
        if last == RANDOM_STATE and self._types[key].is_integer:
            return "random states"
        return "means of the training images" if last == IMAGE_MEAN and len(shape) == 1 else None


def _arrays(reader: Any, name: str, keys: list[str]) -> list[tuple[str, NDArray[Any]]]:
    """One array under a variable's name: Keras 3 exports each variable twice. Under their keys where they differ."""
    first, *others = ((key, reader.get_tensor(key)) for key in keys)
    if all(np.array_equal(array, first[1]) for _, array in others):
        return [(name, first[1])]
    return [(key.removesuffix(VALUE), array) for key, array in (first, *others)]


def _is_bfloat16(array: NDArray[Any]) -> bool:
    return array.dtype.name == "bfloat16"


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    # NumPy itself knows no bfloat16.
    return array.astype("float32") if _is_bfloat16(array) else array
