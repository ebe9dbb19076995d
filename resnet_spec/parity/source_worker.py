"""The process of a model of another library, which is read and run there; arrays are exchanged in files.

Run as ``python -m resnet_spec.parity.source_worker``; requests and answers are those of ``worker``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.registry import get_backend, prepare_process
from resnet_spec.errors import ModelError
from resnet_spec.importing.importer import located, read_source
from resnet_spec.parity.exchange import save_arrays
from resnet_spec.parity.worker import answer, answer_stream, serve

if TYPE_CHECKING:
    from resnet_spec.backend.source import SourceModel


class _Worker:
    """The model that was read last."""

    def __init__(self) -> None:
        self.source: SourceModel

    def read(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read a model at the first of some input shapes that it accepts, and save its graph and arrays."""
        # The frameworks' settings of the process, such as whether Keras is quiet, are those of its backend.
        model, backend = located(request["model"])
        prepare_process(backend)
        self.source = source = _at_first_shape(model, request["shapes"])
        Path(request["graph"]).write_text(source.graph.to_json(), "utf-8")
        save_arrays(Path(request["result"]), source.arrays)
        return {
            "named": source.named,
            "classes": source.classes,
            "remarks": source.remarks,
            "gives_values": source.values is not None,
            "environment": get_backend(backend).environment(),
        }

    def run(self, request: Mapping[str, Any]) -> None:
        """Run the model, and save its outputs."""
        import numpy as np

        outputs = self.source.run(np.load(request["images"]))
        save_arrays(Path(request["result"]), dict(enumerate(outputs)))

    def values(self, request: Mapping[str, Any]) -> None:
        """Run the model, and save some of its inner values by name."""
        import numpy as np

        assert self.source.values is not None  # noqa: S101 - else it is not asked for
        found = self.source.values(np.load(request["images"]), request["names"])
        save_arrays(Path(request["result"]), found)


def _at_first_shape(model: Any, shapes: Sequence[Sequence[int] | None]) -> SourceModel:
    failure: ModelError | None = None
    for shape in shapes:
        try:
            return read_source(model, None if shape is None else tuple(shape))
        except ModelError as error:
            failure = failure or error
    raise failure or ModelError("no input shape was given")


def main() -> None:
    """Answer requests until standard input ends."""
    # The user's code may read from standard input, and print.
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    answers = answer_stream()
    worker = _Worker()
    answer(answers, {})
    serve({"read": worker.read, "run": worker.run, "values": worker.values}, requests, answers)


if __name__ == "__main__":
    main()
