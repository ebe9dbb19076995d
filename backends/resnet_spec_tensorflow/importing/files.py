"""Loads ``.keras`` and ``.h5`` files; nothing that a file names is executed, and nothing unknown is built.

The configuration is checked before Keras sees it: every class in it is one that the package reads, or a plain object of
Keras such as an initializer. What it would build is counted before memory is taken.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.errors import ModelError, Problem, WeightsError
from resnet_spec.weights.formats.keras import (
    CONFIGURATION,
    WEIGHTS,
    read_archive,
    read_graph_names,
    read_hdf5,
    read_member,
)
from resnet_spec_keras.compilation import deep_recursion
from resnet_spec_keras.portable_names import renamed
from resnet_spec_keras.writing import silent
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing.reader import READERS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MAX_LAYERS = 10_000
"""The most layers of a file; Keras takes time that grows with the square of their number."""

MAX_PASSES = 50
"""The most times that Keras goes through the layers, which it does once for each that is listed before its input."""

VALUES = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__bytes__", "DTypePolicy"}
)
"""Classes of configurations that are values."""

MODELS = frozenset({"Functional", "Model", "Sequential", "InputLayer"})

MODULES = re.compile(r"keras|keras(\.src)?\.(layers|models)(\.\w+)*|keras\.src\.engine\.\w+|tensorflow\.keras\.layers")
OBJECTS = re.compile(r"keras|keras\.(initializers|regularizers|constraints|dtype_policies)(\.\w+)*|builtins")
FUNCTIONS = re.compile(r"keras\.src\.ops\.\w+")

_PLAIN = frozenset(
    name
    for module in (keras.initializers, keras.regularizers, keras.constraints)
    for name in dir(module)
    if not name.startswith("_")
)
_OWN = frozenset({"resnet_spec>gelu_erf", "resnet_spec>gelu_tanh"})
_ACTIVATIONS = frozenset(name for name in dir(keras.activations) if not name.startswith("_")) | {"swish"} | _OWN


def load_file(path: Path) -> Any:
    """The model in a ``.keras`` or ``.h5`` file, with its weights.

    Raises:
        ModelError: The file is broken, holds no architecture, names a class that the package does not read, or claims
            more than it holds.
    """
    try:
        archive = zipfile.is_zipfile(path)
        config = _configuration(path, archive)
        _check(config, path)
        stored = (read_archive if archive else read_hdf5)(path)
    except WeightsError as error:
        raise ModelError(error.problems) from None
    model = _built(config, path, sum(array.size for array in stored.tensors.values()))
    try:
        with silent(), _weights_file(path, archive) as file:
            model.load_weights(str(file))
    except Exception as error:
        raise ModelError(f"{path}: its weights do not fit its architecture ({_first_line(error)})") from None
    return model


@contextmanager
def _weights_file(path: Path, archive: bool) -> Generator[Path]:
    """A file of the weights only, with the ending by which Keras tells formats apart.

    Within an archive, HDF5's library would read the same bytes again and again.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("model.weights.h5" if archive else "model.h5")
        if not archive:
            file.symlink_to(path.resolve())
        else:
            with zipfile.ZipFile(path) as whole, whole.open(WEIGHTS) as member, file.open("wb") as copy:
                shutil.copyfileobj(member, copy, 2**20)
        yield file


def _configuration(path: Path, archive: bool) -> dict[str, Any]:
    names: dict[str, str] = {}
    try:
        if archive:
            with zipfile.ZipFile(path) as file:
                text: Any = read_member(file, CONFIGURATION, path.stat().st_size)
                names = read_graph_names(file, path.stat().st_size)
        else:
            import h5py  # pyright: ignore[reportMissingTypeStubs]

            with cast("Any", h5py).File(path, "r") as file:
                text = file.attrs.get("model_config")
        if text is None:
            raise ModelError(f"{path}: holds weights and no architecture; import a file that the model's save wrote")
        config: Any = json.loads(text)
        config = renamed(config, names) if names else config
    except RecursionError:
        raise ModelError(f"{path}: its configuration is nested too deep") from None
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: its configuration cannot be read ({_first_line(error)})") from None
    whole = _dict(config)
    if not _dict(whole.get("config")):
        raise ModelError(f"{path}: its configuration is not a model's")
    return whole


def _dict(value: Any) -> dict[str, Any]:
    """A dict, or an empty one in place of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


# -- what a configuration names ----------------------------------------------------------------------------------


def _check(config: dict[str, Any], path: Path) -> None:
    """Refuse a configuration with anything in it that is not known; remove what only training needs."""
    kind = config.get("class_name")
    if kind not in ("Functional", "Model", "Sequential"):
        raise ModelError(f"{path}: is a model of the class {kind}, whose code the file does not hold; import it live")
    problems: list[Problem] = []
    layers = 0
    for entry in _entries(config):
        if "class_name" not in entry:
            continue
        # Losses, metrics and optimizers.
        entry.pop("compile_config", None)
        message = _refusal(entry)
        if message is not None:
            problems.append(Problem(message, _where(entry)))
        listed: Any = _dict(entry.get("config")).get("layers")
        if isinstance(listed, list):
            layers += len(cast("list[Any]", listed))
            if layers > MAX_LAYERS:
                raise ModelError(f"{path}: has more than {MAX_LAYERS:,} layers")
            _check_order(cast("list[Any]", listed), path)
    if problems:
        raise ModelError(problems)


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict in a configuration, those of its own values first; compiled training is not looked at."""
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            entry = cast("dict[str, Any]", value)
            yield entry
            if isinstance(entry.get("activation"), str) and entry["activation"] not in _ACTIVATIONS:
                yield {"class_name": "function", "config": entry["activation"], "name": entry.get("name")}
            waiting += reversed([inner for key, inner in entry.items() if key != "compile_config"])
        elif isinstance(value, list):
            waiting += reversed(cast("list[Any]", value))


def _where(entry: dict[str, Any]) -> str:
    name = entry.get("name") or _dict(entry.get("config")).get("name")
    return f"{name} ({entry.get('class_name')})" if name else str(entry.get("class_name"))


def _refusal(entry: dict[str, Any]) -> str | None:
    """Why an object of a configuration is not built, or None."""
    kind, module, registered = entry["class_name"], entry.get("module"), entry.get("registered_name")
    if not isinstance(kind, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return "is not the configuration of an object"
    if kind == "function":
        # Of a built-in function, the name is all there is.
        known = entry.get("config") in _ACTIVATIONS and registered in (None, kind, entry.get("config"), *_OWN)
        return None if known else f"names the function {entry.get('config')!r}, which is not Keras'; it is not run"
    if registered is not None and registered.startswith("resnet_spec>"):
        own = registered.partition(">")[2]
        return None if f"own.{own}" in READERS else "is not one of this package's layers"
    if registered not in (None, kind):
        return f"is of the custom class {registered!r}, whose code is not run; import the model live"
    if kind in VALUES:
        return None
    if kind in _PLAIN and OBJECTS.fullmatch(module or "keras"):
        return None
    if (kind in MODELS or f"layers.{kind}" in READERS) and MODULES.fullmatch(module or "keras"):
        return None
    if f"ops.{kind}" in READERS and FUNCTIONS.fullmatch(module or ""):
        return None
    if kind in ("Lambda", "__lambda__"):
        return "runs code that the file holds; it is not run, and the language cannot express it"
    return "the spec language has no such operation"


def _check_order(layers: list[Any], path: Path) -> None:
    """Refuse layers in a cycle, and so many before their inputs that Keras would take forever."""
    waiting: dict[str, list[set[str]]] = {}
    for layer in layers:
        entry = _dict(layer)
        if not isinstance(entry.get("inbound_nodes"), list):
            # A sequential model's layers have none.
            return
        waiting[str(entry.get("name"))] = [{*_sources(node)} for node in entry["inbound_nodes"]]
    made = {name for name, nodes in waiting.items() if not nodes}
    unknown = {source for nodes in waiting.values() for node in nodes for source in node} - waiting.keys()
    if unknown:
        raise ModelError(f"{path}: reads from {min(unknown)!r}, which is not one of its layers")
    for _ in range(MAX_PASSES):
        before = sum(map(len, waiting.values()))
        for name, nodes in waiting.items():
            while nodes and nodes[0] - {name} <= made:
                nodes.pop(0)
                made.add(name)
        left = sum(map(len, waiting.values()))
        if not left:
            return
        if left == before:
            stuck = next(name for name, nodes in waiting.items() if nodes)
            raise ModelError(f"{path}: its layers are in a cycle, in which {stuck!r} is")
    raise ModelError(f"{path}: lists its layers in an order that would take Keras too long")


def _sources(node: Any) -> Iterator[str]:
    """The names of the layers that a call reads, in the notation of Keras 3 or 2."""
    waiting: list[Any] = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            history: Any = _dict(value).get("keras_history")
            if isinstance(history, list) and history:
                yield str(cast("list[Any]", history)[0])
            waiting += _dict(value).values()
        elif isinstance(value, list):
            parts = cast("list[Any]", value)
            if len(parts) in (3, 4) and isinstance(parts[0], str) and all(isinstance(part, int) for part in parts[1:3]):
                yield parts[0]
            waiting += parts


# -- how much it builds ------------------------------------------------------------------------------------------


def _built(config: dict[str, Any], path: Path, stored: int) -> Any:
    """The model without its weights; raises ModelError if it has far more of them than the file stores."""
    variables: Any = import_module("keras.src.backend.common.variables")
    state: Any = import_module("keras.src.backend.common.global_state")
    inner = config["config"]
    kind = keras.Sequential if config["class_name"] == "Sequential" else keras.Model
    try:
        # Variables get their values when they have been counted.
        with deep_recursion(len(inner["layers"])), keras.StatelessScope(initialize_variables=False):
            model = kind.from_config(inner)
        needed = sum(prod(variable.shape) for variable in model.variables)
        if needed > stored + 2 * len(model.variables):
            raise ModelError(f"{path}: refused: its layers need {needed:,} numbers, of which the file holds {stored:,}")
        if not model.built:
            raise ModelError(f"{path}: does not state the shape of its input; call the model, and save it again")
        variables.initialize_all_variables()
    except ModelError:
        raise
    # Keras and TensorFlow raise whatever they like for a broken configuration.
    except Exception as error:
        raise ModelError(f"{path}: Keras cannot build it ({_first_line(error)})") from None
    finally:
        state.set_global_attribute("uninitialized_variables", [])
    return model
