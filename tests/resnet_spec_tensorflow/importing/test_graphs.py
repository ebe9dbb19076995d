"""SavedModels and frozen graphs that are read give the same results, and nothing in a hostile one is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import ModelError, load
from resnet_spec.graph import Graph
from resnet_spec.graph.difference import same_but_for_names
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.importing import graph_def
from tests.every_operation import every_operation
from tests.resnet_spec_tensorflow.importing.test_model import (
    OF_SIGNALS_AND_VOLUMES,
    agree,
    model_of,
    normalized,
    randomized,
)
from tests.resnet_spec_tensorflow.importing.tutorials import MODELS, layers

# Keras exports the random numbers of augmentations too.
READ = ("sequential", "functional", "shared", "transfer", "decoder")


def frozen(model: Any, path: Path, batch: int | None = None) -> Path:
    """A ``.pb`` file with the model's frozen graph."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec((batch, *model.inputs[0].shape[1:]), tf.float32)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    path.write_bytes(convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString())
    return path


def saved(model: Any, path: Path, batch: int | None = None) -> Path:
    """The folder of a SavedModel, as Keras exports it."""
    model.export(str(path), format="tf_saved_model", verbose=False)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "write"), [*((name, frozen) for name in READ), *((name, saved) for name in READ if name != "transfer")]
)
def test_a_graph_and_what_is_read_of_it_agree(
    name: str, write: Callable[..., Path], tmp_path: Path, backend: Any, images: Any
) -> None:
    make, shape = MODELS[name]
    path = write(randomized(make()), tmp_path / "model.pb")
    source = backend.import_model(path)
    assert source.graph.input.shape == shape
    agree(backend, source, images(3, *shape))


def stated(graph: Graph) -> Graph:
    """The graph as a frozen one can state it, without what only training depends on."""
    nodes = [
        node.model_copy(update={"operation": node.operation.model_copy(update=dict(node.operation.training_fields))})
        for node in normalized(graph).nodes
        if node.operation.op not in ("dropout", "stochastic_depth")
    ]
    return Graph(name=graph.name, input=graph.input, nodes=tuple(nodes), outputs=graph.outputs)


@pytest.mark.parametrize("spec", ["torchvision/resnet18", "timm/seresnet18", "cifar/resnet20", "monai/resnet10"])
def test_a_saved_model_of_ours_is_read_back(spec: str, tmp_path: Path, backend: Any) -> None:
    graph = load(spec).to_graph()
    backend.write(backend.compile(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", graph.input.shape)
    assert same_but_for_names(stated(graph), stated(source.graph))
    assert {*source.arrays} == {parameter.name for parameter in graph.parameters()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [frozen, saved])
@pytest.mark.parametrize(("shape", "steps", "found"), OF_SIGNALS_AND_VOLUMES, ids=["signal", "volume"])
def test_layers_of_signals_and_volumes(
    shape: Any, steps: Any, found: str, write: Callable[..., Path], tmp_path: Path, backend: Any, images: Any
) -> None:
    path = write(randomized(model_of(*(step() for step in steps), shape=shape)), tmp_path / "model.pb")
    source = backend.import_model(path)
    agree(backend, source, images(2, shape[-1], *shape[:-1]))
    # A graph has no cropping, and most layers of signals are written as those of maps of one row.
    if len(shape) == 4:
        assert [node.operation.op for node in source.graph.nodes if node.operation.op != "slice"] == found.split()


OPERATIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "position_batch_norm": ((3, 5, 4), {}),
    "softmax": ((2, 3, 4), {"axis": 1}),
    "filter_response_norm": ((4, 5, 4), {"epsilon": 1e-3, "threshold": False}),
    "filter_response_norm with a threshold": ((4, 5, 4), {"epsilon": 1e-3, "threshold": True}),
    "evo_norm_s0": ((4, 5, 6), {"groups": 2, "epsilon": 1e-3}),
    "evo_norm_s0 without its gate": ((4, 5, 6), {"groups": 2, "epsilon": 1e-3, "gate": False}),
    "l2_normalize": ((4, 5, 6), {"axis": 0, "epsilon": 1e-3}),
    "gelu": ((4, 5, 6), {"approximate": False}),
    "gelu by tanh": ((4, 5, 6), {"approximate": True}),
    "hard_swish": ((4, 5, 6), {}),
    "scale": ((4, 5, 6), {"shape": "channels"}),
    "offset": ((4, 5, 6), {"shape": "map"}),
    "conv_transpose2d": (
        (4, 5, 6),
        {"channels": 3, "kernel": 3, "stride": 2, "padding": ((1, 0), (0, 1)), "bias": True},
    ),
    "elu": ((4, 5, 6), {"alpha": 0.7}),
    "gem_pool": ((4, 5, 6), {"epsilon": 1e-3}),
    "resize": ((4, 5, 6), {"mode": "bilinear", "coordinates": "align_corners", "size": (9, 8)}),
    "resize of pixels": ((4, 5, 6), {"mode": "bilinear", "coordinates": "half_pixel", "size": (7, 9)}),
    "resize of rows": ((4, 5, 6), {"mode": "bilinear", "coordinates": "half_pixel", "size": (7, 6)}),
    "resize to a smaller map": ((4, 7, 9), {"mode": "bilinear", "coordinates": "half_pixel", "size": (3, 4)}),
    "resize to the nearest": (
        (4, 5, 6),
        {"mode": "nearest", "coordinates": "half_pixel", "rounding": "half_up", "size": (7, 9)},
    ),
    "std_conv2d": ((4, 5, 6), {"channels": 6, "kernel": 3, "padding": 1, "groups": 2, "epsilon": 1e-6, "bias": True}),
    "std_conv2d with a gain": ((4, 5, 6), {"channels": 6, "kernel": 3, "epsilon": 1e-6, "gain": True}),
}
"""Of which several nodes are written, by the shape of their input and their fields."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPERATIONS)
def test_an_operation_of_ours_is_read_back(
    op: str, tmp_path: Path, backend: Any, builder: Any, make: Any, images: Any
) -> None:
    shape, fields = OPERATIONS[op]
    build = builder(*shape)
    build("conv", "conv2d", "input", channels=shape[0], kernel=1)
    build("x", op.partition(" ")[0], "conv", **fields)
    graph = build.graph()
    backend.write(make(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", shape)
    assert same_but_for_names(stated(graph), stated(source.graph))
    agree(backend, source, images(2, *shape))


@pytest.mark.filterwarnings("ignore")
def test_every_operation_is_read_back(tmp_path: Path, backend: Any, make: Any, images: Any) -> None:
    graph = every_operation(of_maps=True)
    backend.write(make(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", graph.input.shape)
    inference = {node.operation.op for node in graph.nodes} - {"dropout", "stochastic_depth"}
    assert {node.operation.op for node in source.graph.nodes} == inference
    assert {*source.arrays} == {parameter.name for parameter in graph.parameters()}
    agree(backend, source, images(2, *graph.input.shape))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_products_of_matrices_of_heads_are_read_back(
    tmp_path: Path, backend: Any, builder: Any, make: Any, images: Any
) -> None:
    build = builder(3, 4, 5)
    build("keys", "conv2d", "input", channels=2, kernel=1)
    build("queries", "linear", "keys", features=5)
    build("scores", "matmul", "queries", "keys", transpose_second=True, factor=0.125)
    build("heads", "matmul", "scores", "keys", transpose_first=True)
    graph = build.graph()
    backend.write(make(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", (3, 4, 5))
    assert same_but_for_names(stated(graph), stated(source.graph))
    agree(backend, source, images(2, 3, 4, 5))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 1), 0), ((1, 2, 3), 1)])
def test_a_softmax_of_parts_is_read_back(
    shape: tuple[int, ...], axis: int, tmp_path: Path, backend: Any, builder: Any, make: Any, images: Any
) -> None:
    build = builder(3, 4, 5)
    build("conv", "conv2d", "input", channels=6, kernel=1)
    build("pool", "global_avg_pool", "conv")
    build("parts", "reshape", "pool", shape=shape)
    build("x", "softmax", "parts", axis=axis)
    build("first", "slice", "x", axis=axis, stop=1)
    graph = build.graph()
    backend.write(make(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", (3, 4, 5))
    assert same_but_for_names(stated(graph), stated(source.graph))
    agree(backend, source, images(2, 3, 4, 5))


def test_names_are_the_layers_own(tmp_path: Path, backend: Any) -> None:
    graph = load("torchvision/resnet18").to_graph()
    backend.write(backend.compile(graph), graph, tmp_path / "model")
    source = backend.import_model(tmp_path / "model", graph.input.shape)
    assert [node.name for node in source.graph.nodes] == [node.name for node in graph.nodes]
    (remark,) = source.remarks
    assert remark.startswith("batch normalizations of a frozen graph, which does not state their momentum; it is read")


@pytest.mark.filterwarnings("ignore")
def test_arrays_of_an_exported_model_have_the_layers_names(tmp_path: Path, backend: Any) -> None:
    """Keras exports a function in the scope of the model, whose nodes read some of the arrays."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="block1_1_conv")(inputs)
    x = layers.BatchNormalization(name="block1_1_bn")(x)
    model = keras.Model(inputs, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D()(x)), name="net")
    source = backend.import_model(saved(model, tmp_path / "model"))
    owners = {parameter.node for parameter in source.graph.parameters()}
    assert owners == {"block1_1_conv", "block1_1_bn", "top"}


def test_a_fixed_batch_is_filled(tmp_path: Path, backend: Any, images: Any) -> None:
    make, shape = MODELS["functional"]
    agree(backend, backend.import_model(frozen(make(), tmp_path / "model.pb", batch=2)), images(3, *shape))


@pytest.mark.parametrize("kind", [frozen, saved])
def test_images_of_another_type_are_taken(tmp_path: Path, backend: Any, images: Any, kind: Any) -> None:
    """As a comparison draws them, in float64."""
    run = backend.import_model(kind(small(), tmp_path / ("model.pb" if kind is frozen else "model"))).run
    drawn = images(2, 3, 8, 8)

    assert np.array_equal(run(drawn.astype(np.float64))[0], run(drawn)[0])


def test_a_size_that_is_not_fixed_is_the_callers(tmp_path: Path, backend: Any) -> None:
    inputs = keras.Input((None, None, 3))
    path = frozen(keras.Model(inputs, layers.Conv2D(4, 3, 2, padding="same")(inputs)), tmp_path / "model.pb")
    assert backend.import_model(path).remarks[0] == "the input's size is not fixed; it is read at 224×224"
    assert backend.import_model(path, (3, 33, 32)).graph.nodes[0].shape == (4, 17, 16)


def small() -> Any:
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.ReLU(name="last")(layers.Conv2D(4, 3, name="conv")(inputs)))


def changed(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    path = frozen(small(), tmp_path / "model.pb")
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    change(graph)
    path.write_bytes(graph.SerializeToString())
    return path


def test_shapes_need_no_large_constants(tmp_path: Path, backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = frozen(small(), tmp_path / "model.pb")
    wanted = backend.import_model(path).graph
    monkeypatch.setattr(graph_def, "LARGE", 100)
    given, read = list[Any](), tf.import_graph_def
    monkeypatch.setattr(tf, "import_graph_def", lambda graph, **_: given.append(graph) or read(graph, name=""))
    assert backend.import_model(path).graph == wanted
    assert max(node.ByteSize() for node in given[0].node) < 400


def _node(graph: Any, op: str) -> Any:
    return next(node for node in graph.node if node.op == op)


def _writes(graph: Any) -> None:
    _node(graph, "Relu").op = "WriteFile"


def _calls_python(graph: Any) -> None:
    relu = _node(graph, "Relu")
    relu.op = "PyFunc"
    relu.attr["token"].s = b"token"


def _cycle(graph: Any) -> None:
    _node(graph, "Conv2D").input[0] = _node(graph, "Relu").name


def _nowhere(graph: Any) -> None:
    _node(graph, "Relu").input[0] = "nowhere"


def _two_inputs(graph: Any) -> None:
    graph.node.add(op="Placeholder", name="other")


def _huge(graph: Any) -> None:
    constant = _node(graph, "Const").attr["value"].tensor
    constant.tensor_shape.Clear()
    for size in (2**20, 2**20):
        constant.tensor_shape.dim.add(size=size)


def _many(graph: Any) -> None:
    for index in range(150_000):
        graph.node.add(op="Relu", name=f"r{index}", input=[f"r{index - 1}" if index else _node(graph, "Relu").name])


HOSTILE = {
    _writes: r"last_\d+/Relu \(WriteFile\): the spec language has no such operation",
    _calls_python: r"\(PyFunc\): the spec language has no such operation",
    _cycle: "the graph has a cycle",
    _nowhere: "reads from 'nowhere', which it does not have",
    _two_inputs: "the graph has 2 inputs",
    _huge: "refused|cannot",
    _many: "150,0.. nodes; at most 100,000 are read",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_graph_is_refused(change: Callable[[Any], None], tmp_path: Path, backend: Any) -> None:
    with pytest.raises(ModelError, match=HOSTILE[change]):
        backend.import_model(changed(tmp_path, change))


def test_broken_graphs_are_refused(tmp_path: Path, backend: Any) -> None:
    (tmp_path / "model.pb").write_bytes(b"\x0a\xff\xff\xff\xff\x0f")
    with pytest.raises(ModelError, match=r"model\.pb: is not a whole graph"):
        backend.import_model(tmp_path / "model.pb")
    (tmp_path / "model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="holds no graph"):
        backend.import_model(tmp_path / "model.pb")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match=r"folder: is a folder without saved_model\.pb, the file of a SavedModel$"):
        backend.import_model(tmp_path / "folder")


def test_a_decomposed_batch_normalization_is_one_node(tmp_path: Path, backend: Any) -> None:
    cases = [(3, {}), (3, {"scale": False}), (3, {"center": False}), (3, {"scale": False, "center": False}), (1, {})]
    for channels, options in cases:
        inputs = keras.Input((8, 8, channels))
        layer = layers.BatchNormalization(epsilon=2e-5, **options)
        source = backend.import_model(frozen(randomized(keras.Model(inputs, layer(inputs))), tmp_path / "model.pb"))
        (node,) = source.graph.nodes
        assert (node.operation.op, node.operation.epsilon) == ("batch_norm", 2e-5)
        assert (node.operation.scale, node.operation.offset) == (
            options.get("scale", True),
            options.get("center", True),
        )
        assert np.array_equal(source.arrays[f"{node.layer}.running_var"], layer.moving_variance)
        agree(backend, source, np.random.default_rng(1).standard_normal((2, channels, 8, 8)).astype("float32"))
