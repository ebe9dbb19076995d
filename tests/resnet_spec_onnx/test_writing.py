"""Files: their contents, what is refused, and that they run without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import resnet_spec
from resnet_spec.errors import OutputError
from resnet_spec.graph import Graph
from resnet_spec_onnx import OnnxBackend, writing
from resnet_spec_onnx.compilation import build_skeleton
from tests.resnet_spec_onnx.support import model_of, single
from tests.resnet_spec_torch.graphs import Builder, random_arrays, random_images, small_resnet
from tests.shipped import shipped


def write(graph: Graph, path: Path, arrays: Any = None, dtype: str = "float32", **settings: Any) -> Path:
    backend = OnnxBackend()
    model = model_of(graph, arrays or random_arrays(graph, dtype=dtype), dtype)
    backend.write(model, graph, path, **settings)
    return path


def everything() -> Graph:
    """A network of operations that need more than one node, one of them called twice."""
    b = Builder(4, 20, 20).add("a", "std_conv2d", channels=8, kernel=3, stride=2, padding="same", epsilon=1e-6)
    b.add("b", "group_norm", groups=2, epsilon=1e-5).add("c", "conv2d", channels=8, kernel=3, stride=4, padding="same")
    b.add("d", "evo_norm_s0", groups=4, epsilon=1e-5).add("e", "filter_response_norm", epsilon=1e-6, threshold=True)
    b.add("f", "batch_norm").add("g", "batch_norm", calls="f")
    b.add("pool", "global_avg_pool").add("flatten", "flatten")
    return b.add("fc", "linear", features=5).graph()


# -- the file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_file_is_the_model_s_proto(dtype: str, tmp_path: Path) -> None:
    graph = small_resnet()
    path = write(graph, tmp_path / "x.onnx", dtype=dtype)
    onnx.checker.check_model(path, full_check=True)
    assert onnx.load(path) == model_of(graph, random_arrays(graph, dtype=dtype), dtype).to_proto()


def test_the_file_is_the_same_each_time(tmp_path: Path) -> None:
    graph = everything()
    assert write(graph, tmp_path / "a.onnx").read_bytes() == write(graph, tmp_path / "b.onnx").read_bytes()


def test_protobuf_writes_the_same_fields(tmp_path: Path) -> None:
    """Every length is right: protobuf writes the same message in as many bytes, and it reads the same."""
    path = write(everything(), tmp_path / "x.onnx")
    assert len(onnx.load(path).SerializeToString()) == path.stat().st_size


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**31 - 1, 2**35])
def test_lengths_are_varints(value: int) -> None:
    encoded = writing._varint(value)
    assert sum((byte & 127) << 7 * place for place, byte in enumerate(encoded)) == value
    assert [byte >> 7 for byte in encoded] == [1] * (len(encoded) - 1) + [0]


def test_the_file_runs_without_this_package(tmp_path: Path) -> None:
    graph = everything()
    path = write(graph, tmp_path / "x.onnx")
    code = """
import json, sys
for name in ("resnet_spec", "resnet_spec_onnx", "torch", "tensorflow", "onnx"):
    sys.modules[name] = None
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = numpy.random.default_rng(1).standard_normal((3, 4, 23, 18)).astype("float32")
print(json.dumps(session.run(["logits"], {"input": images})[0].tolist()))
"""
    ended = subprocess.run([sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    wanted = OnnxBackend().forward(model_of(graph, random_arrays(graph)), random_images(3, 4, 23, 18))
    np.testing.assert_allclose(json.loads(ended.stdout), wanted[0], rtol=0, atol=1e-6)


# -- half precision ----------------------------------------------------------------------------------------------


def test_half_stores_trainable_parameters_in_half_precision_and_computes_in_float32(tmp_path: Path) -> None:
    graph = everything()
    arrays = random_arrays(graph)
    path = write(graph, tmp_path / "x.onnx", arrays, half=True)
    onnx.checker.check_model(path, full_check=True)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert list(stored) == [parameter.name for parameter in graph.parameters()]
    for parameter in graph.parameters():
        wanted = arrays[parameter.name].astype("float16" if parameter.trainable else "float32")
        np.testing.assert_array_equal(stored[parameter.name], wanted, strict=True)
    rounded = {name: array.astype("float32") for name, array in stored.items()}
    images = random_images(2, 4, 20, 20)
    wanted = OnnxBackend().forward(model_of(graph, rounded), images)[0]
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": images})[0], wanted, rtol=0, atol=1e-6)


def test_writing_half_precision_does_not_change_the_model(tmp_path: Path) -> None:
    graph = small_resnet()
    arrays = random_arrays(graph)
    model = model_of(graph, arrays)
    before = model.to_proto()
    OnnxBackend().write(model, graph, tmp_path / "x.onnx", half=True)
    assert model.to_proto() == before


def test_a_value_too_large_for_half_is_refused(tmp_path: Path) -> None:
    graph = single("linear", 2, features=1, bias=False)
    arrays = {"x.weight": np.array([[1, 70000]], np.float32)}
    with pytest.raises(OutputError, match=r"^x\.weight: has values too large for float16$"):
        write(graph, tmp_path / "x.onnx", arrays, half=True)


# -- what is refused ---------------------------------------------------------------------------------------------


def test_more_than_2_gib_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    graph = single("linear", 2**15, features=2**14, bias=False)
    nothing = np.broadcast_to(np.float32(0), (2**14, 2**15))
    with pytest.raises(OutputError, match=r"^x\.onnx: would be 2\.0 GiB, but an ONNX file holds 2 GiB at most$"):
        writing.write_model(build_skeleton(graph, np.dtype("float32")), {"x.weight": nothing}, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_rejected_by_the_checker_is_not_written(tmp_path: Path) -> None:
    graph = single("linear", 2, features=1, bias=False)
    broken = build_skeleton(graph, np.dtype("float32"))
    broken.graph.node[0].op_type = "Gem"
    with pytest.raises(OutputError, match=r"^ONNX's checker rejects the model: .*Gem"):
        writing.write_model(broken, random_arrays(graph), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_the_checker_checks_shapes() -> None:
    broken = build_skeleton(single("linear", 2, features=1, bias=False), np.dtype("float32"))
    broken.graph.initializer[0].dims[1] = 3
    with pytest.raises(OutputError, match=r"^ONNX's checker rejects the model"):
        writing.check(broken)


# -- reading again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_a_file_is_read_again(half: bool, tmp_path: Path) -> None:
    graph = everything()
    arrays = random_arrays(graph)
    path = write(graph, tmp_path / "x.onnx", arrays, half=half)
    checkpoint = OnnxBackend().read(path)
    assert list(checkpoint.tensors) == list(arrays)
    assert not checkpoint.ignored
    assert checkpoint.metadata["resnet_spec.fingerprint"] == graph.fingerprint
    for parameter in graph.parameters():
        kept = "float16" if half and parameter.trainable else "float32"
        np.testing.assert_array_equal(
            checkpoint.tensors[parameter.name], arrays[parameter.name].astype(kept), strict=True
        )


# -- every network -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_checker_passes_every_shipped_network() -> None:
    for name in resnet_spec.available():
        writing.check(build_skeleton(shipped(name), np.dtype("float32")))
