"""Keras' files are read without Keras, strictly, and whatever they could do beyond holding arrays is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from resnet_spec import Graph, WeightsError, initialize, read_weights
from resnet_spec.weights.formats.keras import read_archive, read_hdf5

Lines = Callable[..., list[str]]

TINY = """
    name: tiny
    input: {channels: 3, height: 8, width: 8}
    stem:
      conv.0: {conv2d: {channels: 4, kernel: 3, bias: true}}
      bn: {batch_norm: {epsilon: 1.0e-5, momentum: 0.1, running_variance: biased}}
      conv.1: {conv2d: {channels: 4, kernel: 1}}
    head: {pool: global_avg_pool, flat: flatten, fc: {linear: {features: 2}}}
"""

KERAS = {
    "conv.0/kernel": ("conv.0.weight", (2, 3, 1, 0)),
    "conv.0/bias": ("conv.0.bias", (0,)),
    "bn/gamma": ("bn.weight", (0,)),
    "bn/beta": ("bn.bias", (0,)),
    "bn/moving_mean": ("bn.running_mean", (0,)),
    "bn/moving_variance": ("bn.running_var", (0,)),
    "conv.1/kernel": ("conv.1.weight", (2, 3, 1, 0)),
    "fc/kernel": ("fc.weight", (1, 0)),
    "fc/bias": ("fc.bias", (0,)),
}
CLASSES = {"conv.0": "Conv2D", "bn": "BatchNormalization", "conv.1": "Conv2D", "fc": "Dense"}
PLACES = {"conv.0": "conv2d", "bn": "batch_normalization", "conv.1": "conv2d_1", "fc": "dense"}


@pytest.fixture
def tiny(lower: Callable[..., Graph]) -> Graph:
    return lower(TINY)


@pytest.fixture
def arrays(tiny: Graph) -> dict[str, Any]:
    """Keras' arrays by its own names, in its own layouts; no two values are equal."""
    ours = {name: np.random.default_rng(1).random(a.shape, "float32") for name, a in initialize(tiny).items()}
    return {name: ours[parameter].transpose(axes) for name, (parameter, axes) in KERAS.items()}


def by_layer(file: Any, arrays: dict[str, Any], ending: str = ":0") -> None:
    """As Keras writes ``.h5`` files: groups by layer, and lists of what is in them."""
    layers = list(dict.fromkeys(name.partition("/")[0] for name in arrays))
    file.attrs["layer_names"] = [layer.encode() for layer in layers]
    for layer in layers:
        group = file.create_group(layer)
        names = [name for name in arrays if name.startswith(f"{layer}/")]
        group.attrs["weight_names"] = [f"{name}{ending}".encode() for name in names]
        for name in names:
            group[f"{name}{ending}"] = arrays[name]


def by_class(file: Any, arrays: dict[str, Any], named: bool = True) -> None:
    """As Keras writes ``.weights.h5`` files: groups by class, and variables by number."""
    for layer, place in PLACES.items():
        group = file.create_group(f"layers/{place}/vars")
        if named:
            group.attrs["name"] = layer
        for number, name in enumerate(name for name in arrays if name.startswith(f"{layer}/")):
            group[str(number)] = arrays[name]


def hdf5(write: Callable[..., None], *arguments: Any) -> bytes:
    content = BytesIO()
    with h5py.File(content, "w") as file:
        write(file, *arguments)
    return content.getvalue()


def configuration(classes: dict[str, str] = CLASSES) -> str:
    layers = [{"class_name": kind, "config": {"name": name}} for name, kind in classes.items()]
    return json.dumps({"class_name": "Functional", "config": {"name": "tiny", "layers": layers}})


def write_archive(path: Path, weights: bytes, config: str | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config or configuration())
        archive.writestr("model.weights.h5", weights)
    return path


def assert_read(path: Path, graph: Graph, arrays: dict[str, Any], adapt: Sequence[str] = ()) -> None:
    result = read_weights(path, graph, adapt=adapt)
    assert list(result) == [parameter.name for parameter in graph.parameters()]
    for name, (parameter, axes) in KERAS.items():
        np.testing.assert_array_equal(result[parameter].transpose(axes), arrays[name])


# -- every layout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.bin", "w"])
@pytest.mark.parametrize("ending", [":0", ""])
def test_weights_by_layer_are_read_whatever_the_file_is_called(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, name: str, ending: str
) -> None:
    path = tmp_path / name
    path.write_bytes(hdf5(by_layer, arrays, ending))

    assert_read(path, tiny, arrays)


def test_a_whole_model_is_read_without_its_optimizer(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        by_layer(file.create_group("model_weights"), arrays)
        file["model_weights"].create_group("top_level_model_weights").attrs["weight_names"] = np.array([], "S1")
        file["optimizer_weights/adam/conv/kernel"] = np.zeros(3)
        file.attrs["model_config"] = '{"class_name": "Lambda"}'

    (tmp_path / "model.h5").write_bytes(hdf5(model))

    assert_read(tmp_path / "model.h5", tiny, arrays)


def test_a_list_of_layers_in_pieces_is_read_in_order(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        by_layer(file, arrays)
        for number, layer in enumerate(file.attrs["layer_names"]):
            file.attrs[f"layer_names{number}"] = [layer]
        del file.attrs["layer_names"]

    (tmp_path / "w.h5").write_bytes(hdf5(model))

    assert_read(tmp_path / "w.h5", tiny, arrays)


def test_a_model_in_a_model_has_its_layers_names(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        file.attrs["layer_names"] = [b"backbone", b"fc"]
        for group, inner in (("backbone", [n for n in arrays if n[:2] != "fc"]), ("fc", ["fc/kernel", "fc/bias"])):
            file.create_group(group).attrs["weight_names"] = [f"{name}:0".encode() for name in inner]
            for name in inner:
                file[group][f"{name}:0"] = arrays[name]

    (tmp_path / "w.h5").write_bytes(hdf5(model))

    assert_read(tmp_path / "w.h5", tiny, arrays)


def test_weights_by_class_are_read_where_they_name_their_layers(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path
) -> None:
    def model(file: Any) -> None:
        by_class(file, arrays)
        file["optimizer/vars/0"] = np.zeros(3)
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")

    (tmp_path / "w.weights.h5").write_bytes(hdf5(model))

    assert_read(tmp_path / "w.weights.h5", tiny, arrays)


def test_weights_by_class_that_name_no_layers_are_refused(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines
) -> None:
    path = tmp_path / "w.weights.h5"
    path.write_bytes(hdf5(by_class, arrays, False))

    assert lines(lambda: read_weights(path, tiny)) == [
        f"{path}: does not say which layer layers/batch_normalization is; Keras' .keras and .h5 files do"
    ]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["model.keras", "model.zip"])
def test_an_archive_is_read_by_its_configuration(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, name: str, compression: int
) -> None:
    path = write_archive(tmp_path / name, hdf5(by_class, arrays, False), compression=compression)

    assert_read(path, tiny, arrays)


def test_an_archive_of_a_model_in_a_model_is_read(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        by_class(file.create_group("layers/functional"), arrays, False)
        file.move("layers/functional/layers/dense", "layers/dense")

    inner = json.loads(configuration({name: kind for name, kind in CLASSES.items() if name != "fc"}))
    outer = json.loads(configuration({"fc": "Dense"}))
    outer["config"]["layers"].insert(0, inner)
    path = write_archive(tmp_path / "model.keras", hdf5(model), json.dumps(outer))

    assert_read(path, tiny, arrays)


def test_an_archive_of_a_class_of_its_own_is_read_by_its_groups_names(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path
) -> None:
    """Such as KerasHub's classifiers, whose configuration lists no layers."""
    config = json.dumps({"class_name": "Classifier", "config": {"name": "own", "backbone": {"class_name": "Trunk"}}})
    path = write_archive(tmp_path / "model.keras", hdf5(by_class, arrays), config)

    assert_read(path, tiny, arrays)


def test_half_precision_is_read_as_it_stands(arrays: dict[str, Any], tmp_path: Path) -> None:
    half = {name: array.astype("float16") for name, array in arrays.items()}
    (tmp_path / "w.h5").write_bytes(hdf5(by_layer, half))
    checkpoint = read_hdf5(tmp_path / "w.h5")

    assert not checkpoint.widened
    for name, array in half.items():
        assert checkpoint.tensors[name].dtype == "float16"
        np.testing.assert_array_equal(checkpoint.tensors[name], array)


def test_bfloat16_becomes_float32(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        by_class(file, {name: (array.view("uint32") >> 16).astype("uint16") for name, array in rounded.items()})
        for place in PLACES.values():
            for number in (group := file[f"layers/{place}/vars"]):
                group[number].attrs["dtype"] = "bfloat16"

    rounded = {n: (np.ascontiguousarray(a).view("uint32") >> 16 << 16).view("float32") for n, a in arrays.items()}
    (tmp_path / "w.h5").write_bytes(hdf5(model))

    assert len(read_hdf5(tmp_path / "w.h5").widened) == len(KERAS)
    assert_read(tmp_path / "w.h5", tiny, rounded, adapt=["half"])


# -- what lies beside the weights --------------------------------------------------------------------------------


def test_the_optimizer_of_a_whole_model_is_counted(arrays: dict[str, Any], tmp_path: Path) -> None:
    def model(file: Any) -> None:
        by_layer(file.create_group("model_weights"), arrays)
        for slot in ("m", "v"):
            file[f"optimizer_weights/Adam/{slot}/conv/kernel:0"] = np.zeros(3)
        file["optimizer_weights/iteration:0"] = 7

    (tmp_path / "w.h5").write_bytes(hdf5(model))
    checkpoint = read_hdf5(tmp_path / "w.h5")

    assert checkpoint.tensors.keys() == KERAS.keys()
    assert checkpoint.ignored == {"optimizer slots": 2, "counters": 1}


@pytest.mark.parametrize("format", ["w.weights.h5", "w.keras"])
def test_what_training_keeps_is_counted(arrays: dict[str, Any], tmp_path: Path, format: str) -> None:
    def model(file: Any) -> None:
        by_class(file, arrays)
        for number, value in enumerate((7, 0.1, np.zeros(3), np.zeros(3))):
            file[f"optimizer/vars/{number}"] = value
        file["metrics/mean/vars/0"] = 1.0
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")

    weights, path = hdf5(model), tmp_path / format
    if format == "w.keras":
        checkpoint = read_archive(write_archive(path, weights))
    else:
        path.write_bytes(weights)
        checkpoint = read_hdf5(path)

    assert len(checkpoint.tensors) == len(KERAS)
    assert checkpoint.ignored == {"optimizer slots": 2, "counters": 2, "metrics": 1, "random states": 1}


def test_an_array_that_is_not_a_layers_variable_is_unexpected(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines
) -> None:
    def model(file: Any) -> None:
        by_class(file, arrays)
        file["layers/conv2d/scale"] = np.zeros(4, "float32")

    (tmp_path / "w.h5").write_bytes(hdf5(model))

    assert "layers/conv2d/scale: unexpected" in lines(lambda: read_weights(tmp_path / "w.h5", tiny))


# -- what does not fit -------------------------------------------------------------------------------------------


def test_every_missing_unexpected_and_misshapen_tensor_is_listed(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines
) -> None:
    arrays["stray/kernel"] = arrays.pop("conv.1/kernel")
    arrays["fc/kernel"] = arrays["fc/kernel"].T
    arrays["bn/gamma"] = arrays["bn/gamma"][None]
    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(by_layer, arrays))

    assert lines(lambda: read_weights(path, tiny)) == [
        f"{path}: not the 9 tensors of tiny (1 missing, 1 unexpected, 2 mismatched)",
        "conv.1.weight: missing",
        "stray/kernel: unexpected",
        "bn.weight: has shape [1, 4], not [4]",
        "fc.weight: has shape [4, 2], not [2, 4]",
        "the kernels have their axes in another order than PyTorch's: output channels, input channels, height, width",
    ]


def test_two_variables_of_one_name_are_refused(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines
) -> None:
    def model(file: Any) -> None:
        by_class(file, arrays)
        file["layers/dense/vars"].attrs["name"] = "conv.0"

    (tmp_path / "w.h5").write_bytes(hdf5(model))

    assert lines(lambda: read_weights(tmp_path / "w.h5", tiny)) == [
        f"{tmp_path / 'w.h5'}: two variables are named conv.0/0"
    ]


# -- broken and hostile files ------------------------------------------------------------------------------------


def count_refused(path: Path, graph: Graph, contents: list[bytes]) -> int:
    """How many contents were refused; nothing but a WeightsError, or arrays, may come of any."""
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            read_weights(path, graph)
        except WeightsError:
            refused += 1
    return refused


@pytest.mark.parametrize("layout", ["h5", "keras"])
def test_a_truncated_file_is_refused(tiny: Graph, arrays: dict[str, Any], tmp_path: Path, layout: str) -> None:
    path = tmp_path / f"w.{layout}"
    content = hdf5(by_layer, arrays)
    if layout == "keras":
        content = write_archive(path, hdf5(by_class, arrays)).read_bytes()

    assert count_refused(path, tiny, [content[: len(content) * part // 20] for part in range(20)]) == 20


@pytest.mark.parametrize("layout", [pytest.param("h5", marks=pytest.mark.slow), "keras"])
def test_flipped_bytes_give_an_error_or_arrays(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, layout: str
) -> None:
    path = tmp_path / f"w.{layout}"
    content = hdf5(by_layer, arrays)
    if layout == "keras":
        content = write_archive(path, hdf5(by_class, arrays)).read_bytes()
    places = range(0, len(content), len(content) // 500)
    flipped = [content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :] for place in places]
    refused = count_refused(path, tiny, flipped)

    # A zip archive has checksums, HDF5 has none.
    assert refused > (400 if layout == "keras" else 20)


def test_an_archive_that_unpacks_to_more_than_it_can_hold_is_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = write_archive(tmp_path / "bomb.keras", bytes(2**25), compression=zipfile.ZIP_DEFLATED)
    (said,) = lines(lambda: read_weights(path, tiny))

    assert said.startswith(f"{path}: refused: model.weights.h5 claims 33,554,432 bytes, of which the file holds ")


@pytest.mark.parametrize("options", [{}, {"chunks": (2**20,), "compression": "gzip"}])
def test_an_array_larger_than_the_file_is_refused(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines, options: dict[str, Any]
) -> None:
    def model(file: Any) -> None:
        by_layer(file, arrays)
        del file["fc/fc/bias:0"]
        file.create_dataset("fc/fc/bias:0", (2**40,), "float32", **options)

    path = tmp_path / "bomb.h5"
    path.write_bytes(hdf5(model))

    assert lines(lambda: read_weights(path, tiny)) == [
        f"{path}: refused: fc/bias claims 4,398,046,511,104 bytes, of which the file holds 0"
    ]


@pytest.mark.parametrize("kind", ["external", "soft", "storage", "virtual"])
def test_a_file_that_would_read_another_is_refused(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines, kind: str
) -> None:
    other = tmp_path / "secret.h5"
    other.write_bytes(hdf5(lambda file: file.create_dataset("x", data=np.ones(2, "float32"))))

    def model(file: Any) -> None:
        by_layer(file, arrays)
        del file["fc/fc/bias:0"]
        if kind == "external":
            file["fc/fc/bias:0"] = h5py.ExternalLink(str(other), "x")
        elif kind == "soft":
            file["fc/fc/bias:0"] = h5py.SoftLink("/conv.0/conv.0/bias:0")
        elif kind == "storage":
            file.create_dataset("fc/fc/bias:0", (2,), "float32", external=[(str(other), 0, 8)])
        else:
            layout = h5py.VirtualLayout((2,), "float32")
            layout[:] = h5py.VirtualSource(str(other), "x", (2,))
            file.create_virtual_dataset("fc/fc/bias:0", layout)

    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(model))
    (said,) = lines(lambda: read_weights(path, tiny))

    assert said in (
        f"{path}: refused: fc/bias:0 is a link to somewhere else",
        f"{path}: refused: fc/bias lies in another file",
    )


def test_groups_in_a_circle_are_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    def model(file: Any) -> None:
        group = file.create_group("layers")
        group["layers"] = group

    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(model))

    assert lines(lambda: read_weights(path, tiny)) == [f"{path}: refused: layers/layers is in two places"]


def test_groups_that_would_be_walked_for_ever_are_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    def model(file: Any) -> None:
        group = file.create_group("layers")
        for _ in range(30):
            group["a"] = group["b"] = inner = file.create_group(None)
            group = inner

    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(model))

    assert lines(lambda: read_weights(path, tiny))[0].endswith(" is in two places")


def test_groups_too_deep_are_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(lambda file: file.create_group("/".join("x" * 33))))

    assert lines(lambda: read_weights(path, tiny)) == [f"{path}: refused: its groups are more than 32 deep"]


def test_one_array_under_many_names_is_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    def model(file: Any) -> None:
        file.attrs["layer_names"] = [b"x"]
        group = file.create_group("x")
        group["0"] = array = np.random.default_rng(0).random(2**18, "float32")
        for number in range(1, 100):
            group[str(number)] = group["0"]
        group.attrs["weight_names"] = [str(number).encode() for number in range(100)]
        assert array.nbytes == 2**20

    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(model))

    assert "refused: the whole claims" in lines(lambda: read_weights(path, tiny))[0]


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"config": 1}', '{"config": {"layers": [{}]}}', "[" * 100_000, '"\\ud800"']
)
def test_an_archive_with_a_broken_configuration_is_refused(
    tiny: Graph, arrays: dict[str, Any], tmp_path: Path, lines: Lines, config: str
) -> None:
    path = write_archive(tmp_path / "w.keras", hdf5(by_class, arrays), config or " ")

    assert lines(lambda: read_weights(path, tiny))[0].startswith(f"{path}: is not a whole Keras archive (")


def test_a_file_without_weights_is_refused(tiny: Graph, tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(hdf5(lambda file: file.create_group("layers")))

    assert lines(lambda: read_weights(path, tiny)) == [f"{path}: holds no weights"]


@pytest.mark.parametrize(("name", "what"), [("w.h5", "HDF5 file of weights"), ("w.keras", "Keras archive")])
def test_a_name_alone_makes_no_format(tiny: Graph, tmp_path: Path, lines: Lines, name: str, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00\xffweights")

    assert lines(lambda: read_weights(path, tiny))[0].startswith(f"{path}: is not a whole {what} (")


def test_nothing_of_a_model_is_run(tiny: Graph, arrays: dict[str, Any], tmp_path: Path) -> None:
    layers = json.loads(configuration())
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    layers["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "evil", "function": code}})
    path = write_archive(tmp_path / "w.keras", hdf5(by_class, arrays), json.dumps(layers))

    assert_read(path, tiny, arrays)
