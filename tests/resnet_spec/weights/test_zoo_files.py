"""Files that other libraries wrote load by their tables of names, and the network computes what it computed there.

The networks are narrow; the scripts in ``made`` made them, and state the versions. The specs are shipped ones with
the overrides that a variant needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import Graph, build, initialize, load, read_weights
from resnet_spec.weights.converting import convert, find_target
from resnet_spec.weights.naming import find_table
from resnet_spec.weights.reading import read_checkpoint
from tests.needs import need
from tests.resnet_spec.weights.formats.wire import data, varint

MADE = Path(__file__).with_name("made")

MAX_RELATIVE = 3e-5
"""The largest difference of logits over their standard deviation, in float32."""


def block(**main: Any) -> dict[str, Any]:
    """Overrides by which every block is torchvision's bottleneck with these changes."""
    stages = {f"stages.layer{stage}.block": "theirs" for stage in range(1, 5)}
    return {"blocks.theirs": {"extends": "bottleneck", "main": main}, **stages}


NARROW: Mapping[str, Any] = {
    "parameters.classes": 5,
    "parameters.base_width": 2,
    "stem.conv1.conv2d.channels": 2,
    "stages.layer1.repeat": 2,
    **{f"stages.layer{stage}.repeat": 1 for stage in (2, 3, 4)},
    **{f"stages.layer{stage}.channels": 4 * 2**stage for stage in range(1, 5)},
}

SAME = {**block(conv2={"conv2d": {"padding": "same"}}), "stem.maxpool.max_pool2d.padding": "same"}

GLUON_V1 = block(
    conv1={"conv2d": {"stride": "stride", "bias": True}},
    conv2={"conv2d": {"stride": 1}},
    conv3={"conv2d": {"bias": True}},
)

WIDE_STEM = {"stem.conv1.conv2d.channels": 64}

GLUON_V2 = {
    "parameters.classes": 5,
    "stem": {
        "stem.input_norm": "norm",
        "stem.conv": {"conv": {"channels": 2, "kernel": 7, "stride": 2, "padding": 3}},
        "stem.norm": "norm",
        "stem.act": "act",
        "stem.pool": {"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}},
    },
    "stages.stages.0.repeat": 2,
    **{f"stages.stages.{stage}.repeat": 1 for stage in (1, 2, 3)},
    **{f"stages.stages.{stage}.channels": 8 * 2**stage for stage in range(4)},
    **{f"stages.stages.{stage}.width": 2 * 2**stage for stage in range(4)},
}

CAFFE = {
    "parameters.classes": 5,
    "stem.stem.conv1.conv2d.channels": 2,
    "stem.stem.maxpool.max_pool2d.padding": "same",
    **{f"stages.res{stage}.channels": 2 * 2**stage for stage in range(2, 6)},
    **{f"stages.res{stage}.width": 2**stage // 2 for stage in range(2, 6)},
}

FILES = {
    "caffe_resnet101.caffemodel": ("msra/resnet101", CAFFE),
    "flax_resnet.msgpack": ("resnet50", {**NARROW, **SAME}),
    "nnx_resnet.msgpack": ("resnet50", NARROW),
    "mxnet_resnet_v1.params": ("resnet50", {**NARROW, **GLUON_V1}),
    "mxnet_resnet_v1-0000.params": ("resnet50", {**NARROW, **GLUON_V1}),
    "mxnet_resnet_v1b.params": ("resnet50", {**NARROW, **WIDE_STEM}),
    "mxnet_resnet_v1b-0000.params": ("resnet50", {**NARROW, **WIDE_STEM}),
    "paddle_resnet.pdparams": ("resnet50", {**NARROW, **WIDE_STEM}),
    "mxnet_resnet_v2.params": ("timm/resnetv2_50", GLUON_V2),
    "mxnet_resnet_v2-0000.params": ("timm/resnetv2_50", GLUON_V2),
}


@pytest.mark.parametrize("file", FILES)
def test_a_network_computes_what_it_computed_in_its_own_library(file: str) -> None:
    need("torch")
    spec, overrides = FILES[file]
    model = build(spec, "torch", weights=MADE / file, overrides=overrides)
    assert_computes(model, file.partition(".")[0].removesuffix("-0000"))


ORBAX = {
    "orbax_resnet": (".", "flax_resnet", SAME),
    "orbax_nnx/state": ("state", "nnx_resnet", {}),
    "orbax_nnx/pure": ("pure", "nnx_resnet", {}),
}
"""A folder in each archive, what its network computed, and how it differs from torchvision's."""


@pytest.mark.parametrize("folder", ORBAX)
def test_a_network_in_orbaxs_folders_computes_what_it_computed(
    folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NNX has a dropout's random state beside the arrays."""
    need("torch")
    need("tensorstore")
    place, record, overrides = ORBAX[folder]
    shutil.unpack_archive(MADE / f"{folder.partition('/')[0]}.zip", tmp_path)
    caplog.set_level("INFO")
    model = build("resnet50", "torch", weights=tmp_path / place, overrides={**NARROW, **overrides})

    assert_computes(model, record)
    assert ("skipped states of random generators (2)" in caplog.text) is (record == "nnx_resnet")


def assert_computes(model: Any, record: str) -> None:
    """Check a model's logits against those of the library that made its weights."""
    import torch

    recorded = np.load(MADE / f"{record}_logits.npz")
    image = recorded["pixels"].astype("float32") / 64 - 2
    if image.shape[-1] == 3:
        image = image.transpose(0, 3, 1, 2)
    with torch.inference_mode():
        logits = model(torch.from_numpy(np.ascontiguousarray(image))).numpy()

    assert np.abs(logits - recorded["logits"]).max() / recorded["logits"].std() < MAX_RELATIVE


TABLES = {
    "flax_resnet.msgpack": ("flax", "written.msgpack"),
    "nnx_resnet.msgpack": ("nnx", "written.msgpack"),
    "mxnet_resnet_v1.params": ("gluon_v1", "written.npz"),
    "mxnet_resnet_v1-0000.params": ("gluon_v1_symbol", "written.npz"),
    "mxnet_resnet_v1b.params": ("gluoncv", "written.npz"),
    "paddle_resnet.pdparams": ("paddle", "written.npz"),
    "mxnet_resnet_v2.params": ("gluon_v2", "written.safetensors"),
    "mxnet_resnet_v2-0000.params": ("gluon_v2_symbol", "written.safetensors"),
}
"""The table that writes each file's names, and a file of another format to write."""


@pytest.mark.parametrize("file", TABLES)
def test_the_names_and_the_layout_of_a_file_are_written_again_to_the_bit(tmp_path: Path, file: str) -> None:
    spec, overrides = FILES[file]
    table, name = TABLES[file]
    graph = load(spec, overrides).to_graph()
    convert(graph, read_weights(MADE / file, graph), find_target(tmp_path / name), names=table)
    written = read_checkpoint(tmp_path / name).tensors
    original = read_checkpoint(MADE / file).tensors
    # A training state has more than a network.
    weights = {name: array for name, array in original.items() if not name.startswith(("opt_state", "step"))}

    assert sorted(written) == sorted(weights)
    for key, array in weights.items():
        assert np.array_equal(written[key], array)
        assert written[key].dtype == array.dtype


# -- Caffe's names, with letters and with numbers ---------------------------------------------------------------------


def caffe_blob(array: Any) -> bytes:
    return data(7, data(7, data(1, *map(varint, array.shape))), data(5, array.astype("<f4").tobytes()))


def caffe_layer(name: str, kind: str, *arrays: Any) -> bytes:
    return data(100, data(1, name), data(2, kind), *map(caffe_blob, arrays))


def caffe_names(graph: Graph, many: bool) -> dict[str, str]:
    """He's name for the part of each layer after ``res``, ``bn`` and ``scale``; one with many blocks numbers them."""
    names: dict[str, str] = {}
    for layer in dict.fromkeys(parameter.node for parameter in graph.parameters()):
        words = layer.removesuffix(".norm").split(".")
        if words[0].startswith("res"):
            number = int(words[1])
            place = f"{words[0][3:]}{f'b{number}' if many and number else 'abcdef'[number]}"
            names[layer] = place + ("_branch1" if words[2] == "shortcut" else f"_branch2{'abc'[int(words[2][4:]) - 1]}")
    return names


@pytest.mark.parametrize("spec", ["msra/resnet50", "msra/resnet101"])
def test_caffes_files_are_read_by_hes_names(tmp_path: Path, spec: str) -> None:
    """Statistics and scales are in two layers, and the statistics are sums."""
    widths = {f"stages.res{stage}.{key}": 4 for stage in range(2, 6) for key in ("width", "channels")}
    overrides = {**widths, "parameters.classes": 5, "stem.stem.conv1.conv2d.bias": True}
    graph = load(spec, overrides).to_graph()
    arrays = initialize(graph, 3)
    parts = caffe_names(graph, "101" in spec)
    layers = [caffe_layer("data", "Input")]
    factor = np.array([4], "float32")
    for layer in dict.fromkeys(parameter.node for parameter in graph.parameters()):
        own = {
            name.removeprefix(f"{layer}."): array for name, array in arrays.items() if name.rpartition(".")[0] == layer
        }
        if "running_mean" in own:
            name = parts.get(layer, "_conv1")
            sums = own["running_mean"] * 4, own["running_var"] * 4, factor
            layers.append(caffe_layer(f"bn{name}", "BatchNorm", *sums))
            layers.append(caffe_layer(f"scale{name}", "Scale", own["weight"], own["bias"]))
        elif layer == "linear":
            layers.append(caffe_layer("fc1000", "InnerProduct", own["weight"], own["bias"]))
        else:
            name = f"res{parts[layer]}" if layer in parts else "conv1"
            layers.append(caffe_layer(name, "Convolution", *own.values()))
    path = tmp_path / "ResNet.caffemodel"
    path.write_bytes(data(1, "ResNet") + b"".join(layers))

    read = read_weights(path, graph)
    assert list(read) == list(arrays)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    assert "BGR" in find_table("caffe").remark


# -- names that count layers -----------------------------------------------------------------------------------------


def test_gluons_names_count_a_projection_last_and_tensorflows_first() -> None:
    """Whatever order a spec declares them in: detectron2's has the projection first, torchvision's last."""
    for spec, prefix in (("msra/resnet50", "res2.0."), ("resnet50", "layer1.0.")):
        graph = load(spec).to_graph()
        first = [name for name in find_table("gluon_v1_symbol").translated(graph).items() if name[0].startswith(prefix)]
        kernels = {name.removeprefix(prefix): theirs for name, theirs in first if "conv" in theirs}
        assert [kernels[f"conv{n}.weight"] for n in (1, 2, 3)] == [
            f"resnetv10_stage1_conv{n}_weight" for n in (0, 1, 2)
        ]
        assert "resnetv10_stage1_conv3_weight" in kernels.values()
        mlperf = find_table("mlperf").translated(graph)
        kernels = {name.removeprefix(prefix): mlperf[name] for name in mlperf if name.startswith(prefix)}
        assert [kernels[f"conv{n}.weight"] for n in (1, 2, 3)] == [f"resnet_model/conv2d_{n}/kernel" for n in (2, 3, 4)]
        assert "resnet_model/conv2d_1/kernel" in kernels.values()
    assert mlperf["conv1.weight"] == "resnet_model/conv2d/kernel"
    assert mlperf["layer4.2.bn3.running_var"] == "resnet_model/batch_normalization_52/moving_variance"
    assert mlperf["fc.weight"] == "resnet_model/dense/kernel"
