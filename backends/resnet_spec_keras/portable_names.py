"""The names of layers in ``.keras`` files, which have to be ones that every framework of Keras can express.

PyTorch has no names with a dot, and on PyTorch Keras names its parameters after the layers. In a file a hyphen takes
the dot's place: ``layer1.0.conv1`` is ``layer1-0-conv1``, which no framework rejects and which differs from an
underscore of the name itself. The map back to the graph's names is in the file's metadata, which Keras ignores.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Any, cast

from resnet_spec.weights.formats.keras import CONFIGURATION, GRAPH_NAMES, METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KINDS = frozenset({"module", "class_name", "registered_name"})
"""Keys of a configuration whose texts are not names of layers."""


def make_portable(path: Path) -> None:
    """Rename the layers of a ``.keras`` file whose names have dots."""
    with zipfile.ZipFile(path) as archive:
        config, metadata = (json.loads(archive.read(name)) for name in (CONFIGURATION, METADATA))
        names = portable(layer_names(config))
        if not names:
            return
        metadata[GRAPH_NAMES] = {new: old for old, new in names.items()}
        changed = {CONFIGURATION: renamed(config, names), METADATA: metadata}
        temporary = path.with_name(f"{path.name}.renamed")
        with zipfile.ZipFile(temporary, "w") as copy:
            for info in archive.infolist():
                if info.filename in changed:
                    copy.writestr(info, json.dumps(changed[info.filename]))
                else:
                    # Copied in pieces, since it holds the weights.
                    with archive.open(info) as source, copy.open(info, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target, 2**20)
    os.replace(temporary, path)


def layer_names(config: Any) -> Iterator[str]:
    """The names of the layers and functions of a model's configuration, those of models within it too."""
    for layer in config["config"].get("layers", ()):
        yield layer["config"]["name"] if "name" in layer["config"] else layer["name"]
        yield from layer_names(layer)


def portable(names: Iterator[str]) -> dict[str, str]:
    """Another name for each that has a dot, which no other layer has."""
    known = list(names)
    taken, found = {*known}, dict[str, str]()
    for name in known:
        if "." in name and name not in found:
            new = hyphenated(name)
            while new in taken:
                new += "_"
            taken.add(new)
            found[name] = new
    return found


def hyphenated(name: str) -> str:
    """The name of a layer in a file, if no other has it."""
    return name.replace(".", "-")


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A configuration in which layers have other names, also where they are referred to."""
    if isinstance(value, dict):
        entry = cast("dict[str, Any]", value)
        return {key: inner if key in KINDS else renamed(inner, names) for key, inner in entry.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in cast("list[Any]", value)]
    return names.get(value, value) if isinstance(value, str) else value
