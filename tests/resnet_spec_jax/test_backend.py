"""JAX computes, trains and writes what the other backends do, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from resnet_spec import Graph, compare, initialize, load, read_weights, write_weights
from resnet_spec.backend.protocol import Backend
from resnet_spec.backend.registry import find, outputs_of
from resnet_spec.errors import BackendError, OutputError
from resnet_spec.parity.process import BackendProcess, started
from resnet_spec.parity.report import largest_difference
from resnet_spec.weights.converting import artifact_path
from resnet_spec_jax import JaxBackend
from tests.every_operation import SHAPE, arrays_for, every_operation
from tests.needs import need

pytestmark = pytest.mark.usefixtures("kept_backends")

TINY = """
description: a block
input: {channels: 3, height: 16, width: 16}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
  act: relu
stem:
  conv1: {conv2d: {channels: 4, kernel: 3, stride: 2, padding: 1}}
  bn1: norm
stages:
  layer1: {block: basic_block, channels: 4}
head:
  pool: global_avg_pool
  flatten: flatten
  fc: {linear: {features: 3}}
"""


@pytest.fixture(scope="module")
def processes(kept_backends: None) -> Iterator[list[BackendProcess]]:
    need("jax")
    with started(["torch", "jax"]) as both:
        yield both


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec of a few layers, since JAX compiles each operation on its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def python(code: str, *arguments: object, **environment: str) -> str:
    """What a new process prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS_", "JAX_"))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_synchronized_statistics_are_refused() -> None:
    # Before JAX is asked for anything: on it, the statistics of a batch that is spread over devices are its own.
    with pytest.raises(BackendError, match=r"leave out synchronized=True$"):
        JaxBackend.compile(object.__new__(JaxBackend), Graph.model_construct(), synchronized=True)


def test_everything_the_protocol_asks_for_is_there() -> None:
    wanted = {name for name in [*vars(Backend), *Backend.__annotations__] if not name.startswith("_")}
    assert wanted - set(dir(JaxBackend)) == set()


def test_importing_the_package_imports_no_framework() -> None:
    code = "import resnet_spec_jax.backend, sys; print({'keras', 'jax', 'numpy', 'tensorflow'} & set(sys.modules))"
    assert python(code).strip() == "set()"


@pytest.mark.slow
def test_every_operation_computes_what_it_does_in_pytorch(processes: list[BackendProcess], tmp_path: Path) -> None:
    graph = every_operation()
    whole: Graph = graph.with_outputs([node.name for node in graph.nodes])
    write_weights(tmp_path / "weights.safetensors", whole, arrays_for(graph, "float64"))
    images = np.random.default_rng(1).standard_normal((2, *SHAPE))
    found = []
    for process in processes:
        process.load(whole, tmp_path / "weights.safetensors", "float64")
        process.forward(images, "float64")
        found.append(process.outputs())
    for name, wanted, value in zip(whole.outputs, *found, strict=True):
        assert value.dtype == "float64"
        assert largest_difference(value, wanted) <= 1e-12 * max(1.0, float(wanted.std())), name


@pytest.mark.slow
def test_nodes_gradients_and_steps_agree_with_pytorch(tiny: Path) -> None:
    need("jax")
    report = compare(tiny, ("torch", "jax"), bisect=True, training_steps=1)
    assert report.passed
    assert {node.name for node in report.nodes} >= {"conv1", "layer1.0.conv2", "fc"}
    assert {"adamw", "running_var"} <= {word for d in report.differences for word in re.split(r"[ .]", d.subject)}


WRITE = """
import json, sys
import numpy as np
import resnet_spec
from resnet_spec.errors import BackendError

spec = resnet_spec.load("tiny.yaml")
model = resnet_spec.build(spec, "jax", seed=2)
import keras
said = {"keras": keras.config.backend(), "tensorflow": "tensorflow" in sys.modules}
for ending in (".keras", ".h5", ".weights.h5", ".safetensors"):
    resnet_spec.save(model, f"model{ending}", spec)
for name in ("a.tflite", "a.ckpt", "folder"):
    try:
        resnet_spec.save(model, name)
    except resnet_spec.OutputError as error:
        said[name] = str(error)
for dtype in ("float64", "float32"):
    try:
        said[dtype] = resnet_spec.build(spec, "jax", dtype=dtype).layers[1].compute_dtype
    except BackendError as error:
        said[dtype] = str(error)
images = np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)
np.savez("run.npz", images=images, logits=np.asarray(model(images)))
print(json.dumps(said))
"""

READ = """
import sys, numpy as np, keras
model = keras.models.load_model("model.keras")
run = np.load("run.npz")
found = keras.ops.convert_to_numpy(model(run["images"]))
model.save("again.keras")
print(keras.config.backend(), model.get_layer("layer1-0-conv1").name, np.allclose(found, run["logits"], atol=1e-5))
print({"resnet_spec", "resnet_spec_keras"} & set(sys.modules))
"""


@pytest.mark.slow
def test_what_is_written_loads_on_another_framework_without_this_package(tiny: Path) -> None:
    """Written on JAX, read and written again by Keras on PyTorch, and all read by this package."""
    need("jax")
    need("torch")
    said = json.loads(python(WRITE).splitlines()[-1])
    assert "set the environment variable JAX_ENABLE_X64=1 before jax is imported" in said.pop("float64")
    for name, kind in (("a.tflite", ".tflite"), ("a.ckpt", ".ckpt"), ("folder", "a folder")):
        assert said.pop(name).endswith(f", not {kind}; the tensorflow backend writes that")
    assert said == {"keras": "jax", "tensorflow": False, "float32": "float32"}
    assert python(READ, KERAS_BACKEND="torch").splitlines()[-2:] == ["torch layer1-0-conv1 True", "set()"]
    graph = load(tiny).to_graph()
    wanted = initialize(graph, seed=2)
    for file in ("model.keras", "model.h5", "model.weights.h5", "model.safetensors", "again.keras"):
        arrays = read_weights(file, graph)
        assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted), file


@pytest.mark.parametrize(("path", "kind"), [("folder", "a folder"), ("a.tflite", ".tflite"), ("a.ckpt", ".ckpt")])
def test_the_formats_of_tensorflow_are_refused_before_jax_is_imported(path: str, kind: str) -> None:
    with pytest.raises(OutputError) as caught:
        artifact_path(path, outputs_of(find("jax")), "jax")
    endings = ".safetensors, .npz, .msgpack, .keras, .h5, .weights.h5"
    hint = "the tensorflow backend writes that"
    assert str(caught.value) == f"{path}: the jax backend writes {endings}, not {kind}; {hint}"


ASK = """
import sys
from resnet_spec.backend.registry import get_backend
from resnet_spec.errors import BackendError
try:
    get_backend("jax")
except BackendError as error:
    print(error, "after importing", {"keras", "jax"} & set(sys.modules))
"""


def test_another_framework_of_keras_is_reported_with_its_setting() -> None:
    said = python(ASK, KERAS_BACKEND="torch")
    assert "Keras is configured for 'torch' by the environment variable KERAS_BACKEND=torch" in said
    assert "but this backend needs 'jax'; unset it or set it to jax after importing set()" in said
