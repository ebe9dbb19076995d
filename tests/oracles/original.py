"""What an original implementation must answer to be compared with, and the process it runs in.

Run as ``python -m tests.oracles.original LIBRARY FOLDER``: builds the network of ``FOLDER/graph.json`` with the
library, randomizes it, and leaves in the folder the files its users would have, ``read.safetensors``, which is what the
public function reads from them, and the network's logits at every planned size.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_spec import Graph, read_weights
from resnet_spec.parity.randomization import random_images, randomize
from resnet_spec.weights.formats.safetensors import write_safetensors

DTYPES = ("float32", "float64")


class Original(ABC):
    """One network of a library, built there in one dtype; arrays go by the graph's names and in its layout."""

    version: str
    """The library and its version, such as ``timm 1.0.31``."""

    @abstractmethod
    def __init__(self, graph: Graph, dtype: str) -> None:
        """Build what the library has under the graph's name."""

    @abstractmethod
    def set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Set every parameter; raises if one is left over on either side."""

    @abstractmethod
    def train(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All arrays after one training-mode batch, whose statistics the running ones then are."""

    @abstractmethod
    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        """The logits for (batch, channels, height, width) images, or (batch, features) vectors."""

    @abstractmethod
    def save(self, folder: Path) -> list[Path]:
        """Write the network in every form its users have, the most usual one first."""

    @abstractmethod
    def parameters(self) -> int:
        """How many trainable parameters the library counts."""


def key(dtype: str, size: tuple[int, ...]) -> str:
    """The name of an array of logits in the file."""
    return f"{dtype} {'×'.join(map(str, size))}"


def main() -> None:
    """Run one original and leave what it gives."""
    library, folder = sys.argv[1], Path(sys.argv[2])
    network: type[Original] = importlib.import_module(f"tests.oracles.originals.{library}").Network
    graph = Graph.from_json((folder / "graph.json").read_bytes())
    plan: list[list[int]] = json.loads((folder / "plan.json").read_text())
    trained: list[Original] = []

    def train(_: Graph, drawn: Mapping[str, NDArray[Any]], batch: NDArray[Any]) -> Mapping[str, Any]:
        trained.append(network(graph, DTYPES[0]))
        trained[0].set(drawn)
        return trained[0].train(batch)

    arrays = randomize(graph, train, seed=7)
    logits: dict[str, NDArray[Any]] = {}
    refused: dict[str, str] = {}
    said: dict[str, Any] = {}
    for dtype in DTYPES:
        # TensorFlow takes seconds to build a network: the one that was trained is the first.
        original = trained.pop() if trained else network(graph, dtype)
        original.set(arrays)
        if dtype == "float32":
            files = [str(path) for path in original.save(folder)]
            said = {"version": original.version, "files": files, "parameters": original.parameters()}
        for *sizes, batch in plan:
            try:
                found = original.logits(images((batch, graph.input.shape[0], *sizes)))
                logits[key(dtype, (*sizes, batch))] = found
            except Exception as error:
                refused[key(dtype, (*sizes, batch))] = str(error).strip().split("\n")[0]
        del original
        gc.collect()
    np.savez(folder / "logits.npz", **logits)
    write_safetensors(folder / "read.safetensors", _read(graph, said["files"]))
    (folder / "said.json").write_text(json.dumps(said | {"refused": refused}))


def images(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The inputs of both sides; they differ for each shape."""
    return random_images(shape, seed=sum(size * 1009**place for place, size in enumerate(shape)) % 2**32)


def _read(graph: Graph, files: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays of an original's files, all of which must hold the same; a file may need the framework loaded here."""
    first, *others = files
    arrays = read_weights(first, graph)
    for other in others:
        for name, array in read_weights(other, graph).items():
            assert np.array_equal(array, arrays[name]), f"{name} differs between {first} and {other}"
    return arrays


if __name__ == "__main__":
    main()
