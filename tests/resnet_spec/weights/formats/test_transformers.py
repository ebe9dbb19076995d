"""Folders of Hugging Face transformers are checked against their config.json, and written whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from resnet_spec import Graph, OutputError, WeightsError, initialize, load, read_weights
from resnet_spec.weights.converting import Target, convert, find_target
from resnet_spec.weights.formats import transformers as transformers_files
from resnet_spec.weights.formats.transformers import to_transformers, write_folder

Lines = Callable[..., list[str]]
Change = Callable[..., None]

THIN = {f"stages.layer{number}.repeat": 1 for number in range(1, 5)} | {
    "parameters.classes": 3,
    "stages.layer3.channels": 128,
    "stages.layer4.channels": 64,
}
BOTTLENECKS = THIN | {
    f"stages.layer{number}.{key}": value
    for number, width in enumerate((4, 8, 8, 16), 1)
    for key, value in (("width", width), ("channels", 4 * width))
}
FIRST = {
    "blocks.first": {
        "extends": "bottleneck",
        "main": {"conv1": {"conv2d": {"stride": "stride"}}, "conv2": {"conv2d": {"stride": 1}}},
    },
    **{f"stages.layer{number}.block": "first" for number in range(1, 5)},
}


def thin() -> Graph:
    """A ResNet-18 of single blocks."""
    return load("torchvision/resnet18", THIN).to_graph()


def bottlenecks(**overrides: Any) -> Graph:
    return load("torchvision/resnet50", BOTTLENECKS | overrides).to_graph()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return bottlenecks()


@pytest.fixture
def folder(graph: Graph, tmp_path: Path) -> Path:
    """A folder as it is written here."""
    write_folder(tmp_path / "model", graph, initialize(graph))
    return tmp_path / "model"


@pytest.fixture
def change(folder: Path) -> Change:
    """Say something else in the folder's config.json; None takes a key out."""

    def changed(**values: Any) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return changed


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return list(first) == list(second) and all(np.array_equal(first[name], second[name]) for name in first)


# -- writing -----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(graph: Graph, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert same(read_weights(folder, graph), initialize(graph))
    assert same(read_weights(folder / "model.safetensors", graph), initialize(graph))


def test_the_configuration_describes_the_graph(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text()) == {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [16, 32, 32, 64],
        "depths": [1, 1, 1, 1],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "dtype": "float32",
        "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
    }


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (thin(), {"layer_type": "basic", "hidden_sizes": [64, 128, 128, 64], "downsample_in_bottleneck": False}),
        (bottlenecks(**FIRST), {"downsample_in_bottleneck": True}),
        (bottlenecks(**{"stages.layer1.stride": 2}), {"downsample_in_first_stage": True}),
        (bottlenecks(**{"input.channels": 5}), {"num_channels": 5}),
        (bottlenecks(**{"stem.conv1.conv2d.channels": 24}), {"embedding_size": 24}),
        (bottlenecks(**{"stages.layer4": None, "stages.layer3.repeat": 4}), {"depths": [1, 1, 4]}),
        (
            bottlenecks(**{"stages.layer5": {"block": "bottleneck", "width": 2, "channels": 8, "stride": 2}}),
            {"depths": [1] * 5},
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_network_that_transformers_builds_is_described(
    graph: Graph, said: dict[str, Any], tmp_path: Path
) -> None:
    write_folder(tmp_path / "model", graph, initialize(graph))

    content = json.loads((tmp_path / "model" / "config.json").read_text())
    assert {key: content[key] for key in said} == said
    assert same(read_weights(tmp_path / "model", graph), initialize(graph))


def test_the_tensors_have_transformers_names_and_its_counters(graph: Graph, folder: Path) -> None:
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    counters = {name: tensor for name, tensor in tensors.items() if name.endswith("num_batches_tracked")}

    assert {to_transformers(parameter.name) for parameter in graph.parameters()} == tensors.keys() - counters.keys()
    assert len(counters) == sum(node.operation.op == "batch_norm" for node in graph.nodes)
    for name, counter in counters.items():
        assert name.replace("num_batches_tracked", "running_var") in tensors
        np.testing.assert_array_equal(counter, np.zeros((), np.int64), strict=True)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_precisions_are_written_and_said(dtype: str, graph: Graph, tmp_path: Path) -> None:
    arrays = {name: array.astype("float64") for name, array in initialize(graph).items()}
    write_folder(tmp_path / "model", graph, arrays, half=dtype == "float16")

    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == dtype
    with safe_open(tmp_path / "model" / "model.safetensors", framework="numpy") as file:
        np.testing.assert_array_equal(
            file.get_tensor("classifier.1.weight"), arrays["fc.weight"].astype(dtype), strict=True
        )
        assert file.get_tensor("resnet.embedder.embedder.normalization.num_batches_tracked").dtype == np.int64


def test_what_half_precision_does_not_hold_is_reported(graph: Graph, tmp_path: Path, lines: Lines) -> None:
    arrays = initialize(graph)
    arrays["fc.bias"] = arrays["fc.bias"] + np.float32(1e5)

    said = lines(lambda: write_folder(tmp_path / "model", graph, arrays, half=True))
    assert said == [
        "some values are too large for half precision",
        "fc.bias: 3 of 3 elements are too large for float16",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spec", "overrides", "lacking"),
    [
        ("timm/seresnet18", {}, "layer1.0.se.squeeze"),
        ("timm/resnet18d", {}, "conv1.0"),
        ("timm/resnetblur18", {}, "maxpool.0"),
        ("torchvision/resnext50_32x4d", {}, "layer1.0.conv1"),
        ("torchvision/wide_resnet50_2", {}, "layer1.0.conv1"),
        ("torchvision/resnet18", {"layers.norm.batch_norm.epsilon": 1e-3}, "bn1"),
        ("torchvision/resnet18", {"layers.norm.batch_norm.running_variance": "biased"}, "bn1"),
        ("torchvision/resnet18", {"layers.act": "sigmoid"}, "relu"),
        ("torchvision/resnet18", {"stem.maxpool.max_pool2d.padding": [[0, 1], [0, 1]]}, "maxpool"),
        ("torchvision/resnet50", {"parameters.output_stride": 16}, "layer4.0.conv2"),
        ("torchvision/resnet18", {"head.fc.linear.bias": False}, "fc"),
        ("torchvision/resnet18", {"head.softmax": "softmax"}, "softmax"),
        ("torchvision/resnet18", {"stages.layer2.block": "bottleneck", "stages.layer2.width": 32}, "layer2.0.conv1"),
        ("torchvision/resnet18", {"head.fc": None, "head.linear": {"linear": {"features": 2}}}, "linear"),
        ("keras/resnet50", {}, "conv1_pad"),
        ("cifar/resnet20", {}, "conv1"),
        ("mirror/encoder18", {}, "conv1.conv"),
    ],
)
def test_the_first_node_that_transformers_lacks_is_named(
    spec: str, overrides: dict[str, Any], lacking: str, tmp_path: Path, lines: Lines
) -> None:
    graph = load(spec, overrides).to_graph()
    path = tmp_path / "model"

    assert lines(lambda: write_folder(path, graph, {})) == [
        f"{path}: transformers' ResNet has nothing like {lacking!r} in its place"
    ]
    assert not list(tmp_path.iterdir())


def test_a_network_that_ends_sooner_is_refused(tmp_path: Path, lines: Lines) -> None:
    graph = load("torchvision/resnet18", {"head": None}).to_graph()

    said = f"{tmp_path}: the network returns layer4.1.relu2; transformers' ResNet returns fc"
    assert lines(lambda: write_folder(tmp_path, graph, {})) == [said]


def test_widths_that_no_block_has_are_refused(tmp_path: Path) -> None:
    graph = bottlenecks(**{"stages.layer1.channels": 3, "stages.layer1.width": 1})

    with pytest.raises(OutputError, match="transformers' ResNet has no blocks of these widths"):
        write_folder(tmp_path / "model", graph, {})


def test_a_conversion_writes_a_folder(graph: Graph, tmp_path: Path) -> None:
    arrays = initialize(graph)
    convert(graph, arrays, find_target(tmp_path / "model", "transformers"))

    assert same(read_weights(tmp_path / "model", graph), arrays)


def test_a_folder_is_replaced_by_force_alone(graph: Graph, folder: Path, lines: Lines) -> None:
    (folder / "pytorch_model.bin").write_text("old")
    arrays = {name: array + 1 for name, array in initialize(graph).items()}

    target = find_target(folder, "transformers", force=True)

    assert lines(lambda: convert(graph, arrays, target)) == [f"{folder} exists already; force=True replaces it"]
    assert same(read_weights(folder, graph), initialize(graph))
    convert(graph, arrays, target, force=True)
    assert same(read_weights(folder, graph), arrays)
    assert not (folder / "pytorch_model.bin").exists()


def test_a_folder_of_another_kind_is_not_replaced(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "config.json").write_text("{}")

    with pytest.raises(OutputError, match="it is not replaced"):
        convert(graph, initialize(graph), Target(tmp_path / "thesis", "transformers", None), force=True)


def test_a_folder_whose_writing_fails_stays_as_it_was(
    graph: Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers_files, "write_safetensors", full)
    with pytest.raises(OutputError, match="No space left on device"):
        convert(graph, initialize(graph), find_target(folder, "transformers", force=True), force=True)
    assert same(read_weights(folder, graph), initialize(graph))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_arrays_that_do_not_fit_are_refused(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"fc\.bias: missing"):
        write_folder(tmp_path / "model", graph, {k: v for k, v in initialize(graph).items() if k != "fc.bias"})
    assert not list(tmp_path.iterdir())


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "ours"),
    [
        ("depths", [3, 4, 6, 3], "[1, 1, 1, 1]"),
        ("depths", [1, 1, 1], "[1, 1, 1, 1]"),
        ("depths", [1, 1, 1, 1, 1], "[1, 1, 1, 1]"),
        ("hidden_sizes", [16, 32, 32, 65], "[16, 32, 32, 64]"),
        ("embedding_size", 32, "64"),
        ("layer_type", "basic", "'bottleneck'"),
        ("hidden_act", "gelu", "'relu'"),
        ("downsample_in_bottleneck", True, "false"),
        ("downsample_in_first_stage", True, "false"),
    ],
)
def test_what_differs_from_the_graph_is_reported(
    key: str, value: Any, ours: str, graph: Graph, folder: Path, change: Change, lines: Lines
) -> None:
    change(**{key: value})

    shown = {True: "true"}.get(value, repr(value)) if isinstance(value, bool) else repr(value)
    assert lines(lambda: read_weights(folder, graph)) == [
        f"{folder / 'config.json'}: describes another network",
        f"{key}: is {shown}; {graph.name}'s is {ours}",
    ]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("num_channels", 1, "num_channels: is 1; the tensors' is 3"),
        ("num_labels", 10, "num_labels: is 10; the tensors' is 3"),
        ("id2label", {"0": "cat"}, "num_labels: is 1; the tensors' is 3"),
        ("id2label", None, "num_labels: is 2; the tensors' is 3"),
    ],
)
def test_what_differs_from_the_tensors_is_reported(
    key: str, value: Any, line: str, graph: Graph, folder: Path, change: Change, lines: Lines
) -> None:
    change(**{key: value})

    assert lines(lambda: read_weights(folder, graph))[1:] == [line]


def test_the_place_of_the_stride_is_shown_by_the_configuration_alone(
    graph: Graph, folder: Path, change: Change
) -> None:
    """The weights of both networks have the same names and shapes."""
    other = bottlenecks(**FIRST)
    with pytest.raises(WeightsError, match=r"downsample_in_bottleneck: is false; .*'s is true"):
        read_weights(folder, other)
    change(downsample_in_bottleneck=True)
    assert same(read_weights(folder, other), initialize(graph))


def test_a_key_that_is_left_out_has_transformers_default(tmp_path: Path, lines: Lines) -> None:
    overrides = {"parameters.classes": 2}
    graph = load("torchvision/resnet50", overrides).to_graph()
    arrays = {name: np.broadcast_to(np.float32(0), array.shape) for name, array in initialize(graph).items()}
    write_folder(tmp_path / "model", graph, arrays)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "resnet"}')

    assert list(read_weights(tmp_path / "model", graph)) == list(arrays)
    other = load("torchvision/resnet101", overrides).to_graph()
    assert "depths: is [3, 4, 6, 3]; torchvision/resnet101's is [3, 4, 23, 3]" in lines(
        lambda: read_weights(tmp_path / "model", other)
    )


def test_adaptations_are_not_in_the_way(folder: Path) -> None:
    graph = bottlenecks(**{"parameters.classes": 7, "input.channels": 1})

    with pytest.raises(WeightsError, match='adapt="classes"'):
        read_weights(folder, graph)
    arrays = read_weights(folder, graph, adapt=["classes", "channels"])
    assert (arrays["fc.bias"].shape, arrays["conv1.weight"].shape) == ((7,), (64, 1, 7, 7))


@pytest.mark.parametrize("overrides", [{"head": None}, {"head": None, "stages.layer4": None}])
def test_the_beginning_of_a_network_may_be_read(overrides: dict[str, Any], folder: Path, change: Change) -> None:
    graph = bottlenecks(**overrides)
    bare = {name.removeprefix("resnet."): array for name, array in tensors_of(folder).items()}
    kept = {name: array for name, array in bare.items() if "layer4" not in overrides or "stages.3." not in name}
    save_file({k: v for k, v in kept.items() if "classifier" not in k}, folder / "model.safetensors")

    if "stages.layer4" in overrides:
        kept = {name: array for name, array in kept.items() if "stages.3." not in name and "classifier" not in name}
        save_file(kept, folder / "model.safetensors")
    assert list(read_weights(folder, graph)) == [parameter.name for parameter in graph.parameters()]
    change(depths=[1, 1, 2, 1])
    with pytest.raises(WeightsError, match="depths: is"):
        read_weights(folder, graph)


def test_a_dilated_network_may_be_read(folder: Path) -> None:
    for stride in (8, 16):
        wider = {"stages.layer3.width": 12, "stages.layer3.channels": 48}
        whole, graph = bottlenecks(**wider), bottlenecks(**wider, **{"parameters.output_stride": stride})
        convert(whole, initialize(whole), find_target(folder, "transformers", force=True), force=True)
        assert list(read_weights(folder, graph)) == [parameter.name for parameter in graph.parameters()]


def test_a_network_without_strides_says_nothing_of_their_place(graph: Graph, folder: Path, change: Change) -> None:
    flat = bottlenecks(**{f"stages.layer{number}.stride": 1 for number in (2, 3, 4)}, **{"stages.layer3.channels": 48})
    arrays = initialize(flat)
    save_file({str(to_transformers(name)): array for name, array in arrays.items()}, folder / "model.safetensors")
    change(hidden_sizes=[16, 32, 48, 64], downsample_in_bottleneck=True)

    assert same(read_weights(folder, flat), arrays)


def tensors_of(folder: Path) -> dict[str, Any]:
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def in_shards(folder: Path) -> None:
    """Cut the folder's file in two, as transformers does a large one."""
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    parts = {f"model-0000{part}-of-00002.safetensors": list(tensors)[part - 1 :: 2] for part in (1, 2)}
    for name, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / name)
    index = {"metadata": {}, "weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_folder_in_shards_is_read_and_checked(graph: Graph, folder: Path, change: Change) -> None:
    in_shards(folder)

    assert same(read_weights(folder, graph), initialize(graph))
    assert same(read_weights(folder / "model.safetensors.index.json", graph), initialize(graph))
    change(hidden_act="gelu")
    with pytest.raises(WeightsError, match="hidden_act"):
        read_weights(folder, graph)


def test_no_configuration_is_not_an_error(graph: Graph, folder: Path) -> None:
    (folder / "config.json").unlink()

    assert same(read_weights(folder, graph), initialize(graph))


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "{", '{"architecture": "resnet50"}'])
def test_a_configuration_of_something_else_beside_is_not_an_error(text: str, graph: Graph, folder: Path) -> None:
    """Beside a file of another name, or in a folder whose tensors are named otherwise, such as timm's."""
    (folder / "config.json").write_text(text)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert same(read_weights(folder / "other.safetensors", graph), initialize(graph))

    save_file(initialize(graph), folder / "model.safetensors")
    assert same(read_weights(folder, graph), initialize(graph))
    assert same(read_weights(folder / "model.safetensors", graph), initialize(graph))


# -- hostile files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is not a model's configuration (Expecting value: line 1 column 1 (char 0))"),
        (b"{", "is not a model's configuration (Expecting property name"),
        (b"[]", "is not a model's configuration (it holds a list)"),
        (b"\xff\xfe{}", "is not a model's configuration ('utf-8' codec can't decode"),
        (b"[" * 10**6, "is not a model's configuration (it is nested too deep)"),
        (b'{"depths": %s}' % (b"9" * 10**5), "is not a model's configuration (Exceeds the limit"),
        (b'{"x": "' + b" " * 2**24 + b'"}', "is not a model's configuration (it is too long)"),
        (b"{}", "model_type is null, where the tensors are named as those of a 'resnet'"),
        (b'{"model_type": "bert"}', "model_type is 'bert', where the tensors are named as those of a 'resnet'"),
        (b'{"model_type": ["resnet"]}', "model_type is ['resnet'], where the tensors"),
    ],
)  # fmt: skip
def test_a_broken_configuration_is_reported_in_one_line(
    text: bytes, said: str, graph: Graph, folder: Path, lines: Lines
) -> None:
    (folder / "config.json").write_bytes(text)

    (line,) = lines(lambda: read_weights(folder, graph))
    assert line.startswith(f"{folder / 'config.json'}: {said}")


@pytest.mark.parametrize("value", [None, True, 1.5, "x", -3, [], {}, [[1]], {"a": []}, "1" * 10**6, [9] * 10**5])
@pytest.mark.parametrize("key", [*transformers_files.DEFAULTS, "num_channels", "num_labels", "id2label"])
def test_a_value_of_the_wrong_kind_is_reported(key: str, value: Any, graph: Graph, folder: Path, lines: Lines) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    said = lines(lambda: read_weights(folder, graph))
    assert said[0] == f"{path}: describes another network"
    assert all(len(line) < 200 for line in said[1:])


def test_a_deeply_nested_value_is_reported(graph: Graph, folder: Path) -> None:
    path = folder / "config.json"
    whole = path.read_text()
    for depth in range(700, 1000, 7):
        path.write_text(whole.replace('"depths":', f'"depths": {"[" * depth}{"]" * depth}, "other":'))
        with pytest.raises(WeightsError):
            read_weights(folder, graph)


def test_a_link_out_of_the_folder_is_refused(graph: Graph, folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        outside = folder.parent / name
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)
        with pytest.raises(WeightsError, match="link out of the folder"):
            read_weights(folder, graph)
        (folder / name).unlink()
        outside.rename(folder / name)


def test_a_part_that_links_out_of_the_folder_is_refused(graph: Graph, folder: Path) -> None:
    in_shards(folder)
    part = folder / "model-00002-of-00002.safetensors"
    part.rename(folder.parent / "part")
    part.symlink_to(folder.parent / "part")

    with pytest.raises(WeightsError, match=r"refused: its part '\S+-00002\.safetensors' lies outside its folder"):
        read_weights(folder, graph)


def test_hugging_faces_cache_is_read(graph: Graph, folder: Path) -> None:
    """There a revision's files are links to blobs that are named by their hashes."""
    cache = folder.parent / "models--someone--resnet"
    snapshot = cache / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, name in enumerate(("config.json", "model.safetensors")):
        (folder / name).rename(cache / "blobs" / f"{number}")
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / f"{number}")

    assert same(read_weights(snapshot, graph), initialize(graph))
    path = cache / "blobs" / "0"
    path.write_text(path.read_text().replace("relu", "gelu"))
    with pytest.raises(WeightsError, match="hidden_act"):
        read_weights(snapshot, graph)
