"""Files that PyTorch's own exporter writes of torchvision's and timm's networks, read as the specs that we have.

The exporter folds batch normalizations unless disabled, keeps equal weights once, and numbers what it makes itself.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper
from torch import nn

import resnet_spec
from resnet_spec import Graph
from resnet_spec.errors import WeightsError
from resnet_spec.parity.randomization import randomize
from resnet_spec_onnx.reading.checkpoint import read_onnx
from resnet_spec_torch import TorchBackend

from .common import relative
from .gates import GATES
from .torchvision_original import models

SIZES = (64, 97)

NETWORKS = (
    "torchvision/resnet18",
    "torchvision/resnet50",
    "timm/seresnext26t_32x4d",
    "timm/ecaresnet26t",
    "timm/resnetv2_50",
    "timm/resnet50_gn",
)


class Exported(NamedTuple):
    """An original with randomized weights, its file, and what ONNX Runtime makes of it at each size."""

    name: str
    folded: bool
    arrays: Mapping[str, NDArray[Any]]
    file: Path
    images: list[NDArray[np.float32]]
    logits: list[NDArray[np.float32]]
    deviation: float

    @property
    def graph(self) -> Graph:
        """The spec of the file."""
        return resnet_spec.load(self.name, {"folded": self.folded}).to_graph()


def original(name: str) -> nn.Module:
    library, _, network = name.partition("/")
    own = models()
    if library == "torchvision":
        return getattr(own, network)(weights=None)
    import timm

    return timm.create_model(network)


def randomized(name: str) -> nn.Module:
    graph = resnet_spec.load(name, {"input.height": 64, "input.width": 64}).to_graph()
    backend = TorchBackend()

    def train(graph: Graph, arrays: Any, images: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        ours = backend.compile(graph)
        backend.load(ours, graph, arrays)
        backend.forward(ours, images, training=True)
        return backend.arrays(ours, graph)

    statistics = any(not parameter.trainable for parameter in graph.parameters())
    arrays = randomize(graph, train if statistics else lambda graph, arrays, images: arrays, seed=7)
    model = original(name).eval()
    state = {key: torch.tensor(np.asarray(value)) for key, value in arrays.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return model


def export(model: nn.Module, path: Path, *, folded: bool, free: bool) -> None:
    settings: dict[str, Any] = {}
    if not folded:
        settings = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    if free:
        settings["dynamic_axes"] = {"input": {0: "batch", 2: "height", 3: "width"}}
    with warnings.catch_warnings():
        # The exporter that needs no other package warns that a newer one exists.
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(2, 3, 64, 64),), path, dynamo=False, input_names=["input"], **settings)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    return request.param, randomized(request.param)


@pytest.fixture(scope="module", params=["folded", "whole"])
def exported(
    request: pytest.FixtureRequest, network: tuple[str, nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    name, model = network
    folded, free = request.param == "folded", name != "torchvision/resnet50"
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(model, file, folded=folded, free=free)
    rng = np.random.default_rng(3)
    sizes = SIZES if free else SIZES[:1]
    images = [rng.standard_normal((2, 3, size, size)).astype(np.float32) for size in sizes]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits = [session.run(None, {"input": batch})[0] for batch in images]
    with torch.no_grad():
        exact = [model.double()(torch.from_numpy(batch).double()).numpy() for batch in images]
        model.float()
    arrays = {key: value.numpy() for key, value in model.state_dict().items() if "num_batches" not in key}
    return Exported(name, folded, arrays, file, images, logits, float(np.concatenate(exact).std()))


def anonymous(path: Path) -> Path:
    """The same file with numbers for its initializers' names."""
    model = onnx.load(path)
    names = {tensor.name: str(number) for number, tensor in enumerate(model.graph.initializer)}
    names |= {
        node.output[0]: f"copy {number}"
        for number, node in enumerate(model.graph.node)
        if node.op_type == "Identity" and node.input[0] in names
    }
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.get(name, name)
    renamed = path.with_name("anonymous.onnx")
    onnx.save(model, renamed)
    return renamed


@pytest.mark.parametrize("change", [lambda path: path, anonymous], ids=["as it is", "anonymous"])
def test_the_spec_gives_the_files_logits(exported: Exported, change: Callable[[Path], Path]) -> None:
    file = change(exported.file)
    arrays = resnet_spec.read_weights(file, exported.graph)
    if not exported.folded:
        assert arrays.keys() == exported.arrays.keys()
        assert all(np.array_equal(arrays[name], array) for name, array in exported.arrays.items())
    backend = TorchBackend()
    ours = backend.compile(exported.graph)
    backend.load(ours, exported.graph, arrays)
    for images, logits in zip(exported.images, exported.logits, strict=True):
        (result,) = backend.forward(ours, images)
        error = relative(result, logits, exported.deviation)
        assert error < GATES["float32"], f"{exported.name}: {error:.1e} × std"


def test_the_other_spec_is_refused(exported: Exported) -> None:
    other = resnet_spec.load(exported.name, {"folded": not exported.folded}).to_graph()
    if other.nodes == exported.graph.nodes:
        # There is nothing to fold.
        assert exported.name == "timm/resnet50_gn"
        return
    said = "are not folded into" if not exported.folded else r"are folded into.*overrides=\"folded=true\"\)$"
    for file in (exported.file, anonymous(exported.file)):
        with pytest.raises(WeightsError, match=said):
            resnet_spec.read_weights(file, other)


# -- mutations ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutations") / "resnet18.onnx"
    export(randomized("torchvision/resnet18"), path, folded=False, free=False)
    return path


def _node(model: ModelProto, name: str) -> Any:
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def _set(model: ModelProto, name: str, attribute: str, value: Any) -> None:
    node = _node(model, name)
    (old,) = [held for held in node.attribute if held.name == attribute]
    old.CopyFrom(helper.make_attribute(attribute, value))


def _stride(model: ModelProto) -> None:
    _set(model, "/layer2/layer2.0/conv1/Conv", "strides", [1, 1])
    _set(model, "/layer2/layer2.0/conv2/Conv", "strides", [2, 2])


def _pads(model: ModelProto) -> None:
    _set(model, "/layer3/layer3.0/conv1/Conv", "pads", [0, 0, 1, 1])


def _epsilon(model: ModelProto) -> None:
    _set(model, "/layer4/layer4.1/bn2/BatchNormalization", "epsilon", 1.001e-5)


def _branches(model: ModelProto) -> None:
    """The second block adds what the first one does before its activation."""
    adding = _node(model, "/layer1/layer1.1/Add")
    adding.input[1] = _node(model, "/layer1/layer1.0/Add").output[0]


def _weights(model: ModelProto) -> None:
    """Two convolutions of equal shape have each other's weights, by name."""
    first, second = (_node(model, f"/layer1/layer1.{index}/conv2/Conv") for index in (0, 1))
    first.input[1], second.input[1] = second.input[1], first.input[1]


@pytest.mark.parametrize(
    ("mutate", "said"),
    [
        (_stride, r"'layer2\.0\.conv1' \(conv2d\).*differ in stride: \[2, 2\] and \[1, 1\]"),
        (_pads, r"'layer3\.0\.conv1' \(conv2d\).*differ in effective padding: \[\[1, 0\], \[1, 0\]\] and \[\[0, 1\]"),
        (_epsilon, r"'layer4\.1\.bn2' \(batch_norm\).*differ in epsilon: 1e-05 and 1\.001e-05"),
        (_branches, r"'layer1\.1\.add' \(add\) joins .* in the spec, but '/layer1/layer1\.1/Add' \(Add\) joins .*"),
        (_weights, r"'layer1\.0\.conv2' \(conv2d\).*differ in weights: \[layer1\.0\.conv2\.weight\] and \[layer1\.1"),
    ],
)
def test_a_file_that_was_changed_is_refused(
    mutate: Callable[[ModelProto], None], said: str, whole: Path, tmp_path: Path
) -> None:
    model = onnx.load(whole)
    graph = resnet_spec.load("resnet18").to_graph()
    assert len(read_onnx(whole, graph).tensors) == len(graph.parameters())
    mutate(model)
    changed = tmp_path / "changed.onnx"
    onnx.save(model, changed)
    with pytest.raises(WeightsError, match=said):
        # Where all names fit, a difference is reported.
        resnet_spec.read_weights(changed, graph, strict_graph=True)
    if mutate is not _weights:
        assert re.search(said, read_onnx(changed, graph).doubt)
        with pytest.raises(WeightsError, match=said):
            read_onnx(anonymous(changed), graph)
