"""What is written loads on a machine without this package; proven in a process that cannot import it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from resnet_spec.errors import OutputError

# Loads what was written and runs it on the same images; a .keras file that needs the package says so.
STRANGER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("resnet_spec"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
import keras, numpy as np, tensorflow as tf

folder, images = sys.argv[1], np.load(sys.argv[1] + "/images.npy")
for name in ("plain", "grouped", "stock"):
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    np.save(f"{folder}/{name}.keras.npy", model(images).numpy())
for name in ("plain", "grouped", "stock", "exact", "own"):
    served = tf.saved_model.load(f"{folder}/{name}")
    np.save(f"{folder}/{name}.npy", served.serve(images).numpy())
for name in ("exact", "own"):
    try:
        keras.saving.load_model(f"{folder}/{name}.keras")
    except TypeError as error:
        print(error)
"""

STOCK = ("plain", "grouped", "stock")
VARIANTS = (*STOCK, "exact", "own")
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


@pytest.fixture(scope="module")
def graphs(small_resnet, stock_net, own_net):
    plain = small_resnet()
    return {
        "plain": plain,
        "grouped": small_resnet(groups=2),
        "stock": stock_net(),
        "exact": plain,
        "own": own_net(),
    }


@pytest.fixture(scope="module")
def written(backend, make, graphs, images, tmp_path_factory):
    """A folder of models in both formats, what each gave here, and what a process without the package gave and said."""
    folder = tmp_path_factory.mktemp("written")
    x = images(2, 3, 21, 16)
    expected = {}
    for name, graph in graphs.items():
        model = make(graph, exact_statistics=name == "exact")
        (expected[name],) = backend.forward(model, x)
        for ending in backend.outputs:
            backend.write(model, graph, folder / f"{name}{ending}")
    np.save(folder / "images.npy", x.transpose(0, 2, 3, 1))
    command = [sys.executable, "-I", "-c", STRANGER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, expected, done.stdout


@pytest.mark.parametrize("name", STOCK)
def test_a_keras_file_loads_without_this_package(written, name):
    folder, expected, _ = written
    np.testing.assert_allclose(np.load(folder / f"{name}.keras.npy"), expected[name], rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_model_serves_without_this_package(written, name):
    folder, expected, _ = written
    np.testing.assert_allclose(np.load(folder / f"{name}.npy"), expected[name], rtol=1e-5)


def test_what_keras_lacks_needs_this_package(written):
    _, _, said = written
    assert "Could not locate class 'UnbiasedBatchNormalization'" in said
    assert "Could not locate class 'StandardizedConv2D'" in said


@pytest.mark.parametrize("name", VARIANTS)
def test_a_keras_file_gives_the_same_model_back(backend, written, graphs, images, name):
    from resnet_spec_tensorflow.framework import keras

    folder, expected, _ = written
    model = keras.saving.load_model(folder / f"{name}.keras")
    assert np.array_equal(backend.forward(model, images(2, 3, 21, 16))[0], expected[name])
    kinds = {type(layer).__name__ for layer in model.layers if type(layer).__module__.startswith("resnet_spec")}
    assert kinds == OWN_LAYERS.get(name, set())
    assert list(backend.arrays(model, graphs[name]))


def test_names_survive(written, small_resnet):
    from resnet_spec_tensorflow.framework import keras

    model = keras.saving.load_model(written[0] / "plain.keras")
    assert {layer.name for layer in model.layers} == {"input", "conv1.pad", *small_resnet().by_name}


def test_writing_prints_nothing(backend, make, single, tmp_path, capfd):
    graph = single("conv2d", channels=1, kernel=3)
    model = make(graph)
    for ending in backend.outputs:
        backend.write(model, graph, tmp_path / f"model{ending}")
    assert capfd.readouterr().out == ""


def test_a_graph_may_have_a_name_that_tensorflow_refuses(backend, make, single, tmp_path):
    graph = single("relu").model_copy(update={"name": "-/été/1 net"})
    model = make(graph)
    assert model.name == "t_1_net"
    for ending in backend.outputs:
        backend.write(model, graph, tmp_path / f"model{ending}")


def test_another_ending_is_refused(backend, make, single, tmp_path):
    graph = single("relu")
    with pytest.raises(OutputError, match=r"writes \.keras files and folders, not \.h5"):
        backend.write(make(graph), graph, tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())
