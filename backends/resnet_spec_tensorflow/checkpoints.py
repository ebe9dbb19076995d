"""TensorFlow's checkpoints, of both versions, as arrays by the names of their variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import WeightsError
from resnet_spec_tensorflow.framework import tf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

NOT_WEIGHTS = frozenset({"global_step", "mean_rgb", "save_counter", "beta1_power", "beta2_power"})
"""What training leaves beside the weights, and the mean of the images that slim's published ResNets were trained on."""

NOT_MODELS = frozenset({"optimizer", "keras_api"})
"""Objects beside a model's layers."""

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
SLOT = "/.OPTIMIZER_SLOT/"

MAX_EXPANSION = 20
"""How much larger than its files a checkpoint may be; those of TensorFlow before 0.12 are compressed."""


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a checkpoint, given as its ``.index`` file or as the one file of the oldest format.

    A checkpoint of TensorFlow 2 names its variables as Keras did when it was written, else by their places in its
    objects. Raises WeightsError where a file is broken or missing.
    """
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    try:
        reader: Any = tf.train.load_checkpoint(str(prefix))
        shapes: dict[str, list[int]] = reader.get_variable_to_shape_map()
        types: dict[str, Any] = reader.get_variable_to_dtype_map()
        claimed = sum(int(np.prod(shape, dtype=object)) * types[key].size for key, shape in shapes.items())
        held = sum(file.stat().st_size for file in [path, *prefix.parent.glob(f"{prefix.name}.data-*")])
        if claimed > MAX_EXPANSION * held:
            raise WeightsError(f"{path}: refused: it claims {claimed:,} bytes, of which its files hold {held:,}")
        return {name: _array(reader, key) for name, key in _variables(reader, shapes)}
    except WeightsError:
        raise
    # Broken files fail in as many ways as there are bytes to break.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(f"{path}: is not a whole TensorFlow checkpoint ({reason})") from None


def _variables(reader: Any, shapes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of the variables that may be weights, and the keys by which the reader knows them.

    A variable below another one (``conv1/weights/Momentum``) is what an optimizer or an average keeps for it.
    """
    names = _object_names(reader) if OBJECTS in shapes else {}
    for key in shapes:
        if key == OBJECTS or SLOT in key or (key.endswith(VALUE) and NOT_MODELS & set(key.split("/"))):
            continue
        name = names.get(key, key.removesuffix(VALUE))
        owner, _, last = name.rpartition("/")
        if last not in NOT_WEIGHTS and owner not in shapes:
            yield name, key


def _object_names(reader: Any) -> dict[str, str]:
    """Variables' own names by their keys, where each has one to itself."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph  # type: ignore[import]

    graph: Any = TrackableObjectGraph.FromString(reader.get_tensor(OBJECTS))
    attributes = [attribute for node in graph.nodes for attribute in node.attributes]
    named = {attribute.checkpoint_key: attribute.full_name for attribute in attributes if attribute.full_name}
    return named if len(set(named.values())) == len(named) else {}


def _array(reader: Any, key: str) -> NDArray[Any]:
    array: NDArray[Any] = reader.get_tensor(key)
    # NumPy itself knows no bfloat16.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array
