"""Networks of other libraries load by their tables of names, and compute what they computed there, in float64.

The records in ``made`` have each library's own names and outputs; the values follow from the names. The networks are
narrow, and the specs are shipped ones with the overrides that a variant needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from resnet_spec import build, load
from resnet_spec.backend.checkpoint import Checkpoint
from resnet_spec.weights.naming import find_table
from resnet_spec.weights.selection import select
from tests.needs import need
from tests.resnet_spec.weights.made import recorded

MAX_RELATIVE = {"float64": 1e-9, "float32": 3e-5}
"""The largest difference of outputs over their standard deviation, by what the library computes in."""

Overrides = Mapping[str, Any]


def narrow(expansion: int = 4) -> dict[str, Any]:
    """Overrides by which a spec of torchvision or timm has a sixteenth of its channels."""
    channels = {f"stages.layer{stage}.channels": 2 * 2**stage * expansion for stage in range(1, 5)}
    return {"parameters.classes": 5, "stem.conv1.conv2d.channels": 4, **channels}


BOTTLENECK = {**narrow(), "parameters.base_width": 4}
DEEP_STEM = {
    **{key: value for key, value in BOTTLENECK.items() if not key.startswith("stem")},
    "stem.conv1.deep_stem.width": 2,
}
CIFAR = {key: value for key, value in narrow(1).items() if key.startswith("stages")}
CIFAR_WIDE = {key: value for key, value in narrow().items() if key.startswith("stages")}
THIN = {f"stages.layer{stage}.width": 2 * 2**stage for stage in range(1, 5)}
SAME_POOL = {"stem.maxpool.max_pool2d.padding": "same"}

MSRA = {
    "parameters.classes": 5,
    "stem.stem.conv1.conv2d.channels": 4,
    **{f"stages.res{stage}.channels": 4 * 2**stage for stage in range(2, 6)},
    **{f"stages.res{stage}.width": 2**stage for stage in range(2, 6)},
}
KERAS = {
    "parameters.classes": 5,
    "layers.norm.batch_norm.epsilon": 1e-3,
    "stem.conv1_conv.conv.channels": 4,
    **{f"stages.conv{stage}.channels": 4 * 2**stage for stage in range(2, 6)},
    **{f"stages.conv{stage}.width": 2**stage for stage in range(2, 6)},
    "head.softmax": None,
}
KERAS_2 = {
    **KERAS,
    "stem.conv1_pad": None,
    "stem.conv1_conv.conv.padding": "same",
    "stem.pool1_pad": None,
}
PROJECTED = {
    **{f"stages.layer{stage}.block": "theirs" for stage in range(1, 5)},
    "blocks.theirs": {"extends": "basic_block", "parameters": {"projected": 0}, "shortcut": {"when": "projected == 1"}},
    **{f"stages.layer{stage}.first": {"projected": 1} for stage in range(1, 5)},
}
HEADLESS = {"head": None, "parameters.classes": None}


class Case(NamedTuple):
    """A record, the table that names it, the spec that computes it, and whether its names are those that we write."""

    record: str
    table: str
    spec: str
    overrides: Overrides
    written: bool = True


CASES = (
    Case("mmpretrain_resnet18", "mmpretrain", "resnet18", narrow(1)),
    Case("mmpretrain_resnet50", "mmpretrain", "resnet50", BOTTLENECK),
    Case("mmpretrain_resnet50c", "mmpretrain", "timm/resnet50c", DEEP_STEM),
    Case("mmpretrain_resnet50d", "mmpretrain", "timm/resnet50d", DEEP_STEM),
    Case(
        "mmpretrain_resnext50",
        "mmpretrain",
        "resnext50_32x4d",
        {**BOTTLENECK, "parameters.groups": 2, "parameters.base_width": 2},
    ),
    Case(
        "mmpretrain_seresnet50",
        "mmpretrain",
        "timm/seresnet50",
        {**BOTTLENECK, "layers.gate": {"squeeze_excite": {"reduction": 4}}},
    ),
    Case("mmdet_resnet50", "mmdet", "resnet50", BOTTLENECK | HEADLESS),
    Case("mmdet_resnet50c", "mmdet", "timm/resnet50c", DEEP_STEM | HEADLESS),
    Case("mmdet_resnet50d", "mmdet", "timm/resnet50d", DEEP_STEM | HEADLESS),
    Case("detectron2_resnet50", "detectron2", "msra/resnet50", MSRA),
    Case("detectron2_resnet18", "detectron2", "resnet18", narrow(1)),
    Case("detectron2_within", "detectron2", "resnet50", BOTTLENECK | HEADLESS),
    Case("caffe2_resnet50", "caffe2", "msra/resnet50", MSRA),
    Case("caffe2_resnet50_long", "caffe2", "msra/resnet50", MSRA, written=False),
    Case("caffe2_resnet50_affine", "caffe2", "msra/resnet50", MSRA),
    Case("keras_2016_applications", "keras_2016", "keras/resnet50", KERAS),
    Case("keras_2016_keras", "keras_2016", "keras/resnet50", KERAS_2),
    Case("kuangliu_resnet18", "kuangliu", "cifar/resnet18", CIFAR),
    Case("kuangliu_resnet50", "kuangliu", "cifar/resnet50", {**CIFAR_WIDE, **THIN}),
    Case("mlperf_resnet50", "mlperf", "resnet50", BOTTLENECK | SAME_POOL),
    Case("mlperf_resnet34", "mlperf", "resnet34", narrow(1) | SAME_POOL | PROJECTED),
)


def bare(name: str) -> str:
    """A name without what holds the network, or the number of TensorFlow's output."""
    return name.removeprefix("module.").removeprefix("backbone.bottom_up.").partition(":")[0]


def tensors_of(case: Case) -> dict[str, Any]:
    inputs_last = find_table(case.table).layout == "tensorflow"
    shapes = recorded.read(case.record).shapes
    return {name: recorded.value(name, shape, inputs_last=inputs_last) for name, shape in shapes.items()}


each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.record)


@each
def test_a_librarys_names_are_read_and_written(case: Case) -> None:
    graph = load(case.spec, case.overrides).to_graph()
    tensors = tensors_of(case)
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    read = select(graph, Checkpoint(tensors), case.record)

    assert {*read.origins} == {parameter.name for parameter in graph.parameters()}
    # Folded statistics are added.
    assert {*tensors} - counters == {*read.origins.values()} & {*tensors}
    if case.written:
        written = find_table(case.table).translated(graph)
        assert {ours: bare(name) for ours, name in read.origins.items()} == {
            ours: bare(name) for ours, name in written.items()
        }


@pytest.mark.slow
@each
def test_a_network_computes_what_it_computed_in_its_own_library(case: Case) -> None:
    need("torch")
    import torch

    graph = load(case.spec, case.overrides).to_graph()
    arrays = select(graph, Checkpoint(tensors_of(case)), case.record).tensors
    model = build(case.spec, "torch", weights=arrays, overrides=case.overrides, dtype="float64")
    for size, wanted in recorded.read(case.record).outputs.items():
        with torch.inference_mode():
            output = model(torch.from_numpy(recorded.images(size))).numpy()

        assert np.abs(output - wanted).max() / wanted.std() < MAX_RELATIVE[wanted.dtype.name]
