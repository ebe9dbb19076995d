"""What is written loads on a machine without this package; proven in a process that cannot import it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from resnet_spec import load, read_weights
from resnet_spec.errors import OutputError
from resnet_spec_tensorflow.framework import keras

# Loads what was written and runs it on the same images; a .keras file that needs the package says so.
STRANGER = """
import json, os, sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("resnet_spec"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
import keras, numpy as np, tensorflow as tf

folder = sys.argv[1]
plan = json.load(open(f"{folder}/plan.json"))
said = {}

def keep(file, model):
    for number in (0, 1):
        images = np.load(f"{folder}/{name}-images-{number}.npy")
        for output, value in model(images).items():
            np.save(f"{folder}/{file}-{output}-{number}.npy", value)

def only(model):
    return lambda x: {"logits": model(x).numpy()}

for name in plan["stock"]:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    keep(f"{name}.keras", only(model))
    if name in plan["hdf5"]:
        keep(f"{name}.h5", only(keras.saving.load_model(f"{folder}/{name}.h5", compile=False)))
    for variable in model.variables:
        variable.assign(keras.ops.zeros_like(variable))
    model.load_weights(f"{folder}/{name}.weights.h5")
    keep(f"{name}.weights.h5", only(model))
for name in plan["all"]:
    signatures = tf.saved_model.load(f"{folder}/{name}").signatures
    serve = signatures["serving_default"]
    said[name] = {
        "signatures": list(signatures),
        "inputs": {k: v.shape.as_list() for k, v in serve.structured_input_signature[1].items()},
        "outputs": {k: v.shape.as_list() for k, v in serve.structured_outputs.items()},
    }
    keep(name, lambda x: {k: v.numpy() for k, v in serve(input=tf.constant(x)).items()})
for name in plan["lite"]:
    lite = tf.lite.Interpreter(f"{folder}/{name}.tflite")
    (said[f"{name}.tflite"],) = lite.get_signature_list().items()
    keep(f"{name}.tflite", lambda x: lite.get_signature_runner()(input=x))
    if name in plan["half"]:
        lite = tf.lite.Interpreter(f"{folder}/{name}-half.tflite")
        keep(f"{name}-half.tflite", lambda x: lite.get_signature_runner()(input=x))
        said[f"{name}-half.tflite"] = [
            detail["shape"].tolist() for detail in lite.get_tensor_details() if detail["dtype"] == np.float16
        ]
for name in ("exact", "own"):
    try:
        keras.saving.load_model(f"{folder}/{name}.keras")
    except TypeError as error:
        said[f"{name}.keras"] = str(error)
json.dump(said, open(f"{folder}/said.json", "w"))
"""

STOCK = ("plain", "stem", "grouped", "stock")
SINGLE = (*STOCK, "exact", "own")
SEVERAL = {"listed": ["layer1.0.relu", "fc"], "named": ["map", "scores"]}
VARIANTS = (*SINGLE, *SEVERAL)
# What TFLite says of the others is tested below.
LITE = ("plain", "stem", "grouped", "stock", "own", "named")
HALF = ("stem", "grouped")
# What is no layer, as the others' padding with other values than zeros, is not in Keras' older format.
HDF5 = ("stem",)
FIXED = {"stock"}
OWN_LAYERS = {
    "exact": {"UnbiasedBatchNormalization"},
    "own": {
        "StandardizedConv2D",
        "EvoNormalization",
        "FilterResponseNormalization",
        "MaskedAveragePooling2D",
        "SamePadding2D",
    },
}


def rectified_stem(builder):
    """A stem whose max-pool follows a ReLU, as those of ResNets do."""
    b = builder()
    b("conv1", "conv2d", "input", channels=8, kernel=3, stride=2, padding="same", bias=True)
    b("bn1", "batch_norm", "conv1")
    b("relu", "relu", "bn1")
    b("maxpool", "max_pool2d", "relu", kernel=3, stride=2, padding=1)
    b("conv2", "conv2d", "maxpool", channels=8, kernel=3, padding="same", dilation=2)
    b("avgpool", "global_avg_pool", "conv2")
    b("flatten", "flatten", "avgpool")
    b("fc", "linear", "flatten", features=5)
    return b.graph()


@pytest.fixture(scope="module")
def graphs(builder, small_resnet, stock_net, own_net):
    plain = small_resnet()
    several = plain.model_copy(update={"outputs": ("layer1.0.relu", "fc")})
    return {
        "plain": plain,
        "stem": rectified_stem(builder),
        "grouped": small_resnet(groups=2),
        "stock": stock_net(),
        "exact": plain,
        "own": own_net(),
        "listed": several,
        "named": several.model_copy(update={"output_names": ("map", "scores")}),
    }


@pytest.fixture(scope="module")
def batches(graphs, images):
    """Two batches for each network, of other sizes where it takes any."""

    def of(name):
        return images(2, 3, 21, 16), images(3, 3, 21, 16) if name in FIXED else images(3, 3, 24, 17)

    return of


@pytest.fixture(scope="module")
def written(backend, make, graphs, batches, tmp_path_factory):
    """A folder of models in every format, what each gave here, and what a process without the package says of them."""
    folder = tmp_path_factory.mktemp("written")
    expected = {}
    for name, graph in graphs.items():
        model = make(graph, exact_statistics=name == "exact")
        expected[name] = [backend.forward(model, batch) for batch in batches(name)]
        for ending in backend.outputs:
            if name in {".tflite": LITE, ".h5": HDF5}.get(ending, graphs):
                backend.write(model, graph, folder / f"{name}{ending}")
        if name in HALF:
            backend.write(model, graph, folder / f"{name}-half.tflite", half=True)
        for number, batch in enumerate(batches(name)):
            np.save(folder / f"{name}-images-{number}.npy", batch.transpose(0, 2, 3, 1))
    plan = {"stock": STOCK, "hdf5": HDF5, "all": VARIANTS, "lite": LITE, "half": HALF}
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-I", "-c", STRANGER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, expected, json.loads((folder / "said.json").read_text())


def within(written, name, file, bound):
    """Whether every output of a file is within a bound of what the model gave here, for both batches."""
    folder, expected, _ = written
    names = SEVERAL.get(name, ["logits"])
    for number, outputs in enumerate(expected[name]):
        for output, wanted in zip(names, outputs, strict=True):
            given = np.moveaxis(np.load(folder / f"{file}-{output}-{number}.npy"), -1, 1)
            assert given.shape == wanted.shape
            if np.abs(given - wanted).max() >= bound(wanted):
                return False
    return True


def rounding(wanted):
    return 3e-5 * wanted.std()


@pytest.mark.slow
@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_a_keras_file_loads_without_this_package(written, name, ending):
    assert within(written, name, f"{name}{ending}", rounding)


@pytest.mark.slow
@pytest.mark.parametrize("name", HDF5)
def test_a_file_in_kerass_older_format_loads_without_this_package(written, name):
    assert within(written, name, f"{name}.h5", rounding)


def test_the_older_format_refuses_what_it_would_not_give_back(backend, make, small_resnet, tmp_path):
    graph = small_resnet()
    with pytest.raises(OutputError, match=r"store layers only, and maxpool\.pad is not a layer; write \.keras or"):
        backend.write(make(graph), graph, tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_model_serves_without_this_package(written, name):
    assert within(written, name, name, rounding)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_models_signature_has_names_and_free_sizes(written, graphs, name):
    size = [21, 16] if name in FIXED else [None, None]
    said = written[2][name]

    assert said["signatures"] == ["serving_default"]
    assert said["inputs"] == {"input": [None, *size, 3]}
    names = SEVERAL.get(name, ["logits"])
    shapes = [graphs[name].by_name[output].shape for output in graphs[name].outputs]
    # What flattens a map of any size has any length.
    channels = [None if name == "own" else shape[0] for shape in shapes]
    assert {output: shape[-1] for output, shape in said["outputs"].items()} == dict(zip(names, channels, strict=True))
    assert all(shape[0] is None for shape in said["outputs"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", LITE)
def test_a_tflite_model_runs_in_its_interpreter_at_any_size(written, name):
    assert within(written, name, f"{name}.tflite", rounding)
    outputs = sorted(SEVERAL.get(name, ["logits"]))
    assert written[2][f"{name}.tflite"] == ["serving_default", {"inputs": ["input"], "outputs": outputs}]


@pytest.mark.slow
@pytest.mark.parametrize("name", HALF)
def test_a_tflite_model_in_half_precision_rounds_its_weights_alone(written, graphs, name):
    kernels = [p for p in graphs[name].parameters() if len(p.shape) > 1]
    file = f"{name}-half.tflite"
    # A number in half precision is off by 2^-11 of itself at most; each layer's weights add as much to the error.
    assert within(written, name, file, lambda wanted: len(kernels) * 2**-11 * np.abs(wanted).max())
    assert not within(written, name, file, rounding)
    halves = {tuple(shape) for shape in written[2][file]}
    assert halves >= {(p.shape[0], *p.shape[2:], *p.shape[1:2]) for p in kernels}


@pytest.mark.slow
def test_what_keras_lacks_needs_this_package(written):
    assert "Could not locate class 'UnbiasedBatchNormalization'" in written[2]["exact.keras"]
    assert "Could not locate class 'StandardizedConv2D'" in written[2]["own.keras"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE)
def test_a_keras_file_gives_the_same_model_back(backend, written, graphs, batches, name):
    from resnet_spec_tensorflow.framework import keras

    folder, expected, _ = written
    model = keras.saving.load_model(folder / f"{name}.keras")
    assert np.array_equal(backend.forward(model, batches(name)[0])[0], expected[name][0][0])
    kinds = {type(layer).__name__ for layer in model.layers if type(layer).__module__.startswith("resnet_spec")}
    assert kinds == OWN_LAYERS.get(name, set())
    assert list(backend.arrays(model, graphs[name]))


@pytest.mark.slow
def test_a_file_of_an_earlier_version_still_loads(backend, make, own_net, random_arrays, images, tmp_path):
    """With dots in its names, and layers of the modules of then."""
    from resnet_spec_keras.writing import silent
    from resnet_spec_tensorflow.framework import keras

    graph = own_net()
    model = make(graph)
    with silent():
        model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                assert b"resnet_spec_keras." in content
                assert b"same.pad" in content
                content = content.replace(b"resnet_spec_keras.", b"resnet_spec_tensorflow.")
            old.writestr(name, content)
    again = keras.saving.load_model(tmp_path / "old.keras")
    x = images(2, 3, 16, 16)
    assert np.array_equal(backend.forward(again, x)[0], backend.forward(model, x)[0])
    result = read_weights(tmp_path / "old.keras", graph)
    assert all(np.array_equal(result[name], array) for name, array in random_arrays(graph).items())


@pytest.mark.slow
def test_names_survive(written, small_resnet):
    from resnet_spec_tensorflow.framework import keras

    model = keras.saving.load_model(written[0] / "plain.keras")
    # In a file they have no dots, which not every framework of Keras allows.
    names = {"input", "conv1.pad", *small_resnet().by_name}
    assert {layer.name for layer in model.layers} == {name.replace(".", "-") for name in names}


@pytest.mark.parametrize(
    ("name", "ending"),
    [(name, ending) for name in SINGLE for ending in (".keras", ".weights.h5", "", ".ckpt")]
    + [(name, ".h5") for name in HDF5],
)
@pytest.mark.slow
def test_what_is_written_is_read_again_to_the_bit(written, graphs, random_arrays, name, ending):
    result = read_weights(written[0] / f"{name}{ending}", graphs[name])

    for parameter, array in random_arrays(graphs[name]).items():
        np.testing.assert_array_equal(result[parameter], array, err_msg=parameter)


@pytest.mark.slow
def test_a_checkpoint_has_slims_names_in_the_networks_scope(written, graphs):
    from resnet_spec_tensorflow.framework import tf

    shapes = dict(tf.train.list_variables(str(written[0] / "plain.ckpt")))

    assert len(shapes) == len(graphs["plain"].parameters())
    assert shapes["net/layer1/0/conv1/weights"] == [3, 3, 8, 8]
    assert shapes["net/layer1/0/bn1/moving_variance"] == [8]
    assert shapes["net/fc/biases"] == [5]


def test_writing_prints_nothing(backend, make, single, tmp_path, capfd):
    graph = single("conv2d", channels=1, kernel=3)
    model = make(graph)
    for ending in backend.outputs:
        backend.write(model, graph, tmp_path / f"model{ending}")
    assert capfd.readouterr().out == ""


def test_writing_leaves_nothing_beside_the_file(backend, make, single, tmp_path):
    graph = single("conv2d", channels=1, kernel=3)
    model = make(graph)
    for ending in backend.outputs:
        backend.write(model, graph, tmp_path / f"model{ending}")
    assert {path.name for path in tmp_path.iterdir()} == {f"model{ending}" for ending in backend.outputs}


def test_a_graph_may_have_a_name_that_tensorflow_refuses(backend, make, single, tmp_path):
    graph = single("batch_norm").model_copy(update={"name": "-/été/1 net"})
    model = make(graph)
    assert model.name == "t_1_net"
    for ending in backend.outputs:
        backend.write(model, graph, tmp_path / f"model{ending}")


def test_another_ending_is_refused(backend, make, single, tmp_path):
    graph = single("relu")
    with pytest.raises(OutputError, match=r"cannot write \.pb; it writes \.keras, \.h5, \.weights\.h5, a folder, "):
        backend.write(make(graph), graph, tmp_path / "model.pb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5", "", ".ckpt"])
def test_half_precision_elsewhere_is_refused(backend, make, single, tmp_path, ending):
    graph = single("relu")
    with pytest.raises(OutputError, match=r"writes only \.tflite in half precision"):
        backend.write(make(graph), graph, tmp_path / f"model{ending}", half=True)
    assert not list(tmp_path.iterdir())


def test_tflite_refuses_float64(backend, make, single, tmp_path):
    graph = single("conv2d", channels=1, kernel=3)
    with pytest.raises(OutputError, match="TFLite computes in float32, not in float64"):
        backend.write(make(graph, dtype="float64"), graph, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_what_tflite_lacks_is_reported(backend, single, tmp_path):
    from resnet_spec_tensorflow.framework import keras, tf

    graph = single("relu")
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Lambda(tf.math.bessel_i0e)(inputs))
    with pytest.raises(OutputError, match=r"TFLite cannot express test/net \(it has no BesselI0e\)$"):
        backend.write(model, graph, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_lambda_layer_in_a_file_is_never_run(ending: str, tmp_path: Path) -> None:
    """Keras keeps a lambda's bytecode in the configuration; anyone who rebuilds the model from it runs that."""
    name, path = str(tmp_path / "ran"), tmp_path / f"model{ending}"
    inputs = keras.Input((8, 8, 3))
    mapped = keras.layers.Lambda(lambda x: (open(name, "w", encoding="utf-8").close(), x)[1])(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(mapped))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    marker = Path(name)
    marker.unlink()
    spec = tmp_path / "tiny.yaml"
    spec.write_text("input: {height: 8, width: 8}\nstem: {conv1: {conv2d: {channels: 4, kernel: 3}}}\n")
    graph = load(spec).to_graph()
    arrays = read_weights(path, graph)
    assert np.array_equal(arrays["conv1.weight"], model.get_layer("conv1").get_weights()[0].transpose(3, 2, 0, 1))
    assert not marker.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.models.load_model(path, safe_mode=False, compile=False)
    assert marker.exists()
