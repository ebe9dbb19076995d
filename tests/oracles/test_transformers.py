"""Hugging Face transformers' ResNets compared with ours: folders read and written back bit for bit, and logits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# transformers reads this at import: no access to the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import resnet_spec
from resnet_spec import Graph, read_weights
from resnet_spec.parity.randomization import randomize
from resnet_spec.weights.formats.transformers import write_folder
from resnet_spec_torch import TorchBackend

from .common import images, relative
from .gates import GATES
from .torchvision_original import models

# transformers imports torchvision, whose operators must be registered first.
models()

from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()

BACKEND = TorchBackend()
CLASSES = 7


class Network(NamedTuple):
    """The same network as a spec and as a transformers configuration."""

    spec: str
    overrides: Mapping[str, Any]
    configuration: Mapping[str, Any]

    @property
    def graph(self) -> Graph:
        """Ours."""
        return resnet_spec.load(self.spec, {"parameters.classes": CLASSES, **self.overrides}).to_graph()

    def model(self) -> Any:
        """Theirs, in inference mode, every tensor random."""
        torch.manual_seed(3)
        model = ResNetForImageClassification(ResNetConfig(num_labels=CLASSES, **self.configuration)).eval()
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.normal_()
        return model


def _thin(*repeats: int) -> dict[str, Any]:
    """A ResNet-50 with a handful of channels."""
    stages: dict[str, Any] = {f"stages.layer{number}": None for number in range(len(repeats) + 1, 5)}
    for number, repeat in enumerate(repeats, 1):
        width = 2 * number
        values = {"block": "bottleneck", "repeat": repeat, "width": width, "channels": 4 * width}
        stages[f"stages.layer{number}"] = {**values, "stride": 1 if number == 1 else 2}
    return {"stem.conv1.conv2d.channels": 8, **stages}


_FIRST = {
    "extends": "bottleneck",
    "main": {"conv1": {"conv2d": {"stride": "stride"}}, "conv2": {"conv2d": {"stride": 1}}},
}
_FIVE = [8, 16, 24, 32, 40]

SMALL = {
    "three stages": Network(
        "torchvision/resnet50",
        _thin(2, 1, 3),
        {"depths": [2, 1, 3], "hidden_sizes": _FIVE[:3], "embedding_size": 8},
    ),
    "five stages": Network(
        "torchvision/resnet50",
        _thin(1, 1, 1, 2, 1),
        {"depths": [1, 1, 1, 2, 1], "hidden_sizes": _FIVE, "embedding_size": 8},
    ),
    "no shortcut": Network(
        "torchvision/resnet50",
        _thin(2, 1),
        {"depths": [2, 1], "hidden_sizes": _FIVE[:2], "embedding_size": 8},
    ),
    "first stage": Network(
        "torchvision/resnet50",
        {**_thin(2, 1), "stages.layer1.stride": 2},
        {"depths": [2, 1], "hidden_sizes": _FIVE[:2], "embedding_size": 8, "downsample_in_first_stage": True},
    ),
    "first convolution": Network(
        "torchvision/resnet50",
        {**_thin(2, 2), "blocks.first": _FIRST, "stages.layer1.block": "first", "stages.layer2.block": "first"},
        {"depths": [2, 2], "hidden_sizes": _FIVE[:2], "embedding_size": 8, "downsample_in_bottleneck": True},
    ),
    "four channels": Network(
        "torchvision/resnet18",
        {"input.channels": 4, "stages.layer3": None, "stages.layer4": None},
        {"depths": [2, 2], "hidden_sizes": [64, 128], "layer_type": "basic", "num_channels": 4},
    ),
}

REAL = {
    "resnet-18": Network(
        "torchvision/resnet18",
        {},
        {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
    ),
    "resnet-50": Network("timm/resnet50", {"parameters.classes": CLASSES}, {}),
    "resnet-101": Network("torchvision/resnet101", {}, {"depths": [3, 4, 23, 3]}),
}

NETWORKS = SMALL | REAL


def _whole(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()


def _sharded(model: Any, folder: Path) -> None:
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    model.save_pretrained(folder, max_shard_size=min(10_000_000, size // 3))
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def _pickled(model: Any, folder: Path) -> None:
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("save", [_whole, _sharded, _pickled])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_folder_goes_in_and_out_to_the_bit(
    network: Network, save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    graph, model = network.graph, network.model()
    save(model, tmp_path / "theirs")
    arrays = read_weights(tmp_path / "theirs", graph)
    ours = BACKEND.compile(graph)
    BACKEND.load(ours, graph, arrays)
    write_folder(tmp_path / "ours", graph, BACKEND.arrays(ours, graph))

    again, told = ResNetForImageClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told.values())
    state, wanted = again.state_dict(), model.state_dict()
    assert list(state) == list(wanted)
    for name, tensor in wanted.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name
    # The keys about the network; transformers adds keys about the file when it saves.
    said, wanted = again.config.to_diff_dict(), model.config.to_diff_dict()
    assert said == wanted | {"architectures": ["ResNetForImageClassification"], "dtype": "float32"}


@pytest.mark.parametrize("network", SMALL.values(), ids=SMALL)
def test_our_configuration_is_theirs(network: Network, tmp_path: Path) -> None:
    """Except for what follows from other keys: the names of the stages, and the last one."""
    network.model().save_pretrained(tmp_path / "theirs")
    graph = network.graph
    write_folder(tmp_path / "ours", graph, read_weights(tmp_path / "theirs", graph))
    ours, theirs = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))

    assert theirs.keys() - ours.keys() <= {"out_features", "out_indices", "stage_names", "transformers_version"}
    assert ours == {key: theirs[key] for key in ours}


def test_a_model_without_classifier_is_read(tmp_path: Path) -> None:
    network = SMALL["three stages"]
    graph = network._replace(overrides={**network.overrides, "head": None}).graph
    model = ResNetModel(ResNetConfig(**network.configuration)).eval()
    model.save_pretrained(tmp_path / "model")
    ours = BACKEND.compile(graph)
    BACKEND.load(ours, graph, read_weights(tmp_path / "model", graph))

    batch = torch.from_numpy(images(64, 2)).float()
    with torch.inference_mode():
        torch.testing.assert_close(ours(batch), model(batch).last_hidden_state, rtol=1e-5, atol=1e-5)


def test_a_trained_models_counters_are_left_out(tmp_path: Path) -> None:
    network = SMALL["no shortcut"]
    model = network.model().train()
    model(torch.from_numpy(images(64, 2)).float())
    assert model.state_dict()["resnet.embedder.embedder.normalization.num_batches_tracked"] == 1
    model.save_pretrained(tmp_path / "model")

    arrays = read_weights(tmp_path / "model", network.graph)
    wanted = model.state_dict()["resnet.embedder.embedder.normalization.running_mean"].numpy()
    np.testing.assert_array_equal(arrays["bn1.running_mean"], wanted)


def _randomized(graph: Graph) -> dict[str, NDArray[Any]]:
    def train(calibrating: Graph, arrays: Mapping[str, Any], batch: NDArray[Any]) -> Mapping[str, Any]:
        model = BACKEND.compile(calibrating)
        BACKEND.load(model, calibrating, {name: array.copy() for name, array in arrays.items()})
        BACKEND.forward(model, batch, training=True)
        return BACKEND.arrays(model, calibrating)

    return randomize(graph, train, seed=7)


LOGITS = {name: network for name, network in NETWORKS.items() if name not in ("five stages", "resnet-101")}


@pytest.mark.parametrize("network", LOGITS.values(), ids=LOGITS)
def test_logits_are_within_the_gates(network: Network, tmp_path: Path) -> None:
    graph = network.graph
    arrays = _randomized(graph)
    write_folder(tmp_path / "model", graph, arrays)
    theirs = ResNetForImageClassification.from_pretrained(tmp_path / "model").double().eval()
    read = read_weights(tmp_path / "model", graph)
    batches = [images(size, batch, graph.input.channels) for size, batch in ((224, 1), (151, 2))]
    with torch.inference_mode():
        wanted = [theirs(torch.from_numpy(batch)).logits.numpy() for batch in batches]
    deviation = float(np.concatenate([logits.ravel() for logits in wanted]).std())
    for dtype, gate in GATES.items():
        ours = BACKEND.compile(graph, dtype=dtype)
        BACKEND.load(ours, graph, read)
        for batch, logits in zip(batches, wanted, strict=True):
            error = relative(BACKEND.forward(ours, batch)[0], logits, deviation)
            assert error < gate, f"{dtype} at {batch.shape}: {error:.1e} × std"
