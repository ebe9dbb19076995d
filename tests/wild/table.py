"""The page of checkpoints in docs: the cases here, and those that other tests read beside the libraries' own code."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from resnet_spec.cli.common import as_options
from resnet_spec.cli.spec import command as program

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"

INTRODUCTION = """\
# Which checkpoints are read

Every row is a test: the library named made the file (or it is written by hand as the library is known to write it), the
file is read into a spec, and the logits equal those of the original network. Where a row is about names, the library's
names, shapes and outputs are recorded, and the values follow from the names. `make checkpoints` writes this page.

A prefix that all names of the network have comes off, however long it is. What is beside the network is listed in a
remark. If two parts of the file fit and differ, the error lists both, and `--take` names one of them.

No file can run code: unknown objects in a pickle are read as data and ignored.
"""


RECORDS = "tests/resnet_spec/weights/test_zoo_records.py"


class Elsewhere(NamedTuple):
    """A file that another test reads."""

    title: str
    made_by: str
    test: str


ELSEWHERE = (
    Elsewhere("`.h5`, `.weights.h5`, `.keras`", "Keras 3", "tests/oracles/test_keras_files.py"),
    Elsewhere("`.h5` of weights, of a model, and with an optimizer", "Keras 2", "tests/oracles/test_keras_files.py"),
    Elsewhere("TensorFlow 1's checkpoint, with slots and averages", "tf-slim", "tests/oracles/test_slim_files.py"),
    Elsewhere("TensorFlow 2's checkpoint, SavedModel", "TensorFlow", "tests/resnet_spec_tensorflow/test_reading.py"),
    Elsewhere("a frozen graph (`.pb`)", "TensorFlow", "tests/oracles/test_frozen_graphs.py"),
    Elsewhere(
        "a folder with `config.json`, with or without a head", "transformers", "tests/oracles/test_transformers.py"
    ),
    Elsewhere(
        "a model with automatic names, by structure (`.keras`, `.h5`, SavedModel, `.pb`)",
        "Keras 3",
        "tests/resnet_spec_tensorflow/importing/test_by_structure.py",
    ),
    Elsewhere(
        "a program (`.pt2`), by structure",
        "torch.export",
        "tests/resnet_spec_torch/importing/test_by_structure.py",
    ),
    Elsewhere("ONNX by name or by structure", "PyTorch's exporters", "tests/oracles/test_onnx_reading.py"),
    Elsewhere("ONNX after an optimizer", "ONNX Runtime", "tests/resnet_spec_onnx/reading/test_checkpoint.py"),
    Elsewhere("Flax's msgpack, and its names", "Flax", "tests/resnet_spec/weights/test_zoo_files.py"),
    Elsewhere("an Orbax folder, of Linen and of NNX", "Orbax", "tests/resnet_spec/weights/test_zoo_files.py"),
    Elsewhere("Gluon's `.params`, three families of names", "MXNet", "tests/resnet_spec/weights/test_zoo_files.py"),
    Elsewhere("`.pdparams`", "PaddlePaddle", "tests/resnet_spec/weights/test_zoo_files.py"),
    Elsewhere("`.caffemodel` in He's names", "Caffe's Python code", "tests/resnet_spec/weights/test_zoo_files.py"),
    Elsewhere("names of mmpretrain's ResNet, V1c, V1d, ResNeXt and SE-ResNet", "mmpretrain", RECORDS),
    Elsewhere("names of mmdetection's ResNet, V1c and V1d in a detector", "mmdet", RECORDS),
    Elsewhere("names of detectron2's ResNets, and in a detector", "detectron2", RECORDS),
    Elsewhere("Caffe2's blobs in the words of Detectron and detectron2, or folded", "detectron2's conversion", RECORDS),
    Elsewhere("Keras' names of 2016", "Keras 2.0 and keras_applications", RECORDS),
    Elsewhere("names of the official ResNet v1.5, of MLPerf's frozen graph", "TensorFlow's models", RECORDS),
    Elsewhere("names of kuangliu's ResNets for CIFAR", "kuangliu/pytorch-cifar", RECORDS),
    Elsewhere("shards with an index", "safetensors", "tests/resnet_spec/weights/formats/test_safetensors.py"),
)


def page() -> str:
    """The whole page."""
    from tests.wild.torch_cases import CASES

    read = [(c.title, c.made_by, f"`{c.flags}`" if c.flags else "", _note(c.refused)) for c in CASES if not c.why]
    refused = [(c.title, c.made_by, c.refused, c.why) for c in CASES if c.why]
    others = [(e.title, e.made_by, f"[{Path(e.test).name}](../{e.test})") for e in ELSEWHERE]
    parts = [
        INTRODUCTION,
        "## PyTorch and NumPy\n",
        _table(("file", "made by", "read with", "without it"), read),
        "\n## Other formats\n",
        _table(("file", "made by", "test"), others),
        "\n## What is refused\n",
        _table(("file", "made by", "the message says", "why"), refused),
    ]
    return "\n".join(parts) + "\n"


def _note(message: str) -> str:
    return f"refused: {as_options(message, program)}" if message else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)
