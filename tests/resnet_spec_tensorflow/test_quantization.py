"""8-bit networks: in float with rounding, in TFLite in integers, and both against the exact reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import read_weights
from resnet_spec.errors import OutputError
from resnet_spec.graph import Graph
from resnet_spec.operations import Conv, Linear
from resnet_spec.optimization import optimize
from resnet_spec.quantization import (
    Grid,
    IntegerReference,
    Quantization,
    Value,
    bias_codes,
    calibrate,
    grids_of,
    kernel_codes,
)
from resnet_spec_keras.quantization import rounded
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.lite_quantization import check_grids, limits, lite_interpreter

RESOLVERS = tf.lite.experimental.OpResolverType


class Network:
    """An optimized network with its quantization and the reference of both."""

    def __init__(self, backend: Any, graph: Graph, arrays: Any, images: Any, keep: Any = ()) -> None:
        self.backend = backend
        rewriting = optimize(graph)
        self.graph, self.arrays, self.images = rewriting.graph, rewriting.arrays(arrays, "float32"), images
        self.model = self.compiled(self.graph, "float64")
        self.use(calibrate(graph, self.graph, self.arrays, lambda: [images], self.runner, keep=keep))

    def compiled(self, graph: Graph, dtype: Any, quantization: Quantization | None = None) -> Any:
        compiled = self.backend.compile if quantization is None else self.backend.compile_quantized
        model = compiled(graph, *([] if quantization is None else [quantization]), dtype=dtype)
        self.backend.load(model, graph, {p.name: self.arrays[p.name] for p in graph.parameters()})
        return model

    def runner(self, names: Any) -> Any:
        model = self.compiled(self.graph.with_outputs(names), "float32")
        return lambda batch: self.backend.forward(model, batch)

    def use(self, quantization: Quantization) -> None:
        self.quantization = quantization
        apply = self.backend.apply
        self.reference = IntegerReference(
            self.graph, self.arrays, quantization, lambda node, inputs: apply(self.model, self.graph, node.name, inputs)
        )

    def edited(self, **values: Grid | None) -> None:
        """Replace grids, or remove them."""
        kept = {name: grid for name, grid in {**self.quantization.values, **values}.items() if grid is not None}
        self.use(self.quantization.model_copy(update={"values": kept}))

    def round_biases(self) -> None:
        """Make each bias a multiple of what the reference rounds it to."""
        grids = grids_of(self.graph, self.quantization)
        for node in self.graph.layers:
            name, kernel = node.parameter_name("bias"), node.parameter_name("weight")
            if kernel in self.quantization.kernels and name in self.arrays and node.inputs[0] in grids:
                scales = np.array(self.quantization.kernels[kernel]) * grids[node.inputs[0]].scale
                self.arrays[name] = bias_codes(self.arrays[name], scales) * scales

    def write(self, path: Any, graph: Graph | None = None) -> None:
        graph = graph or self.graph
        self.backend.write(self.compiled(graph, "float32", self.quantization), graph, path)

    def run(self, path: Any, resolver: Any, graph: Graph | None = None) -> Any:
        """A TFLite model's outputs by their nodes."""
        graph = graph or self.graph
        interpreter = lite_interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
        found = interpreter.get_signature_runner()(input=np.moveaxis(self.images, 1, -1).copy())
        pairs = zip(graph.outputs, graph.result_names, strict=True)
        return {node: np.moveaxis(found[name], -1, 1) for node, name in pairs}


def various(builder: Any, height: int, width: int) -> Graph:
    """Everything that int8 kernels treat in their own way, and what stays in float."""
    b = builder(3, height, width)
    b("stem", "conv2d", "input", channels=8, kernel=3, stride=2, padding="same", bias=True)
    b("relu6", "relu6", "stem")
    b("grouped", "conv2d", "relu6", channels=8, kernel=3, padding=1, groups=2)
    b("dilated", "conv2d", "grouped", channels=8, kernel=3, padding="same", dilation=2, bias=True)
    b("add", "add", "dilated", "relu6")
    b("max", "max_pool2d", "add", kernel=3, stride=1, padding=1)
    b("average", "avg_pool2d", "max", kernel=3, stride=1, padding=1, count_include_pad=False)
    b("counted", "avg_pool2d", "max", kernel=3, stride=1, padding=1, count_include_pad=True)
    b("both", "concat", "average", "counted")
    b("pool", "global_avg_pool", "both")
    b("squeeze", "conv2d", "pool", channels=16, kernel=1, bias=True)
    b("gate", "sigmoid", "squeeze")
    b("gated", "multiply", "both", "gate")
    b("bn", "batch_norm", "gated")
    b("before", "relu", "bn")
    b("once", "conv2d", "before", channels=16, kernel=3, padding=1)
    b("between", "relu", "once")
    b("again", "conv2d", "between", channels=16, kernel=3, padding=1, calls="once")
    b("sum", "add", "again", "gated")
    b("jump", "conv2d", "sum", channels=8, kernel=3, stride=2, dilation=3, padding=3)
    b("after", "relu", "jump")
    b("mirror", "pad2d", "after", padding=1, mode="reflect")
    b("half", "slice", "mirror", part=1, parts=2)
    b("kept", "conv2d", "half", channels=8, kernel=3, bias=True)
    b("kept_relu", "relu", "kept")
    b("last", "conv2d", "kept_relu", channels=6, kernel=1)
    b("means", "global_avg_pool", "last")
    b("line", "reshape", "means", shape=(1, 6))
    b("conv1d", "conv1d", "line", channels=2, kernel=3, padding=1, bias=True)
    b("flat", "flatten", "conv1d")
    b("hidden", "linear", "flat", features=7)
    b("hidden_relu", "relu", "hidden")
    b("fc", "linear", "hidden_relu", features=5)
    return b.graph("sum", "fc")


def volumes(builder: Any) -> Graph:
    """Layers that TFLite computes in float, with kernels that are rounded."""
    b = builder(4, 6, 6)
    b("volume", "reshape", "input", shape=(2, 2, 6, 6))
    b("conv3d", "conv3d", "volume", channels=3, kernel=3, padding=1, bias=True)
    b("relu", "relu", "conv3d")
    b("rows", "linear", "relu", features=5, bias=True)
    b("relu6", "relu6", "rows")
    b("columns", "linear", "relu6", features=4)
    b("flat", "flatten", "columns")
    b("fc", "linear", "flat", features=3)
    return b.graph()


@pytest.fixture
def network(backend, builder, images):
    """Makes the network above, whose ``kept`` stays in float, or another."""

    def make(graph: Graph | None = None, size: Any = (21, 16), keep: Any = ("kept",)) -> Network:
        graph = graph or various(builder, *size)
        rng = np.random.default_rng(0)
        arrays = resnet_spec.initialize(graph)
        for parameter in graph.parameters():
            if len(parameter.shape) == 1:
                arrays[parameter.name] += np.abs(rng.normal(0, 0.2, parameter.shape)).astype(np.float32)
        return Network(backend, graph, arrays, images(4, *graph.input.shape), keep)

    return make


@pytest.fixture
def small(network, builder):
    """A few layers, for what does not depend on them."""
    b = builder(3, 8, 8)
    b("conv", "conv2d", "input", channels=4, kernel=3, padding=1, bias=True)
    b("relu", "relu", "conv")
    b("pool", "global_avg_pool", "relu")
    b("flat", "flatten", "pool")
    b("fc", "linear", "flat", features=5)
    return network(b.graph(), keep=())


def test_a_gradient_goes_through_where_nothing_is_limited():
    grid = Grid(scale=0.5, zero_point=100)
    values = np.array([-114.2, -114.3, -3.25, 0.25, 0.75, 13.5, 13.7, 13.8, 99.0])
    x = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = rounded(x, grid.scale, -228, 27)
    assert y.numpy().tolist() == grid.rounded(values).tolist()
    assert y.numpy().tolist() == [-114.0, -114.0, -3.0, 0.0, 1.0, 13.5, 13.5, 13.5, 13.5]
    assert tape.gradient(y, x).numpy().tolist() == [1, 0, 1, 1, 1, 1, 1, 0, 0]


def test_ranges_have_exactly_the_scales():
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(-20, 5, 20_000)).astype(np.float32)
    for low, high in [(-127, 127), (0, 255), (-255, 0), (-128, 127), (-1, 254), (-200, 55)]:
        ends = limits(scales, low, high)
        assert [end.dtype for end in ends] == [np.float32] * 2
        first, last = (end.astype(np.float64) for end in ends)
        assert (first <= 0).all()
        assert (last >= 0).all()
        assert (((last - first) / (high - low)).astype(np.float32) == scales).all()
        assert (np.rint(-first / scales) == -low).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(21, 16), (24, 17)])
def test_a_model_in_float64_computes_what_the_reference_computes(network, size):
    net = network(size=size)
    # On the grid of its inputs an average is often as near to two codes, and rounding errors choose.
    net.edited(average=Grid(scale=0.019, zero_point=-20))
    net.round_biases()
    model = net.compiled(net.graph, "float64", net.quantization)
    for value, wanted in zip(net.backend.forward(model, net.images), net.reference.outputs(net.images), strict=True):
        assert np.abs(value - wanted).max() < 1e-9 * wanted.std()


@pytest.mark.slow
def test_a_bias_that_is_not_rounded_changes_a_code_by_one_at_most(network):
    net = network()
    model = net.compiled(net.graph, "float64", net.quantization)
    values = dict(net.reference.walk(net.images))
    changed = 0
    for node in net.graph.nodes:
        value = values[node.name]
        inputs = [values[name].real for name in node.inputs]
        found = net.backend.apply(model, net.graph, node.name, inputs)
        if value.grid is not None:
            codes = np.rint(found / value.grid.scale) + value.grid.zero_point - value.codes.astype(np.float64)
            assert np.abs(codes).max() <= 1, node.name
            changed += np.count_nonzero(codes)
            continue
        bound = 1e-9 * value.real.std()
        if isinstance(node.operation, Conv | Linear) and node.parameter_name("weight") in net.quantization.kernels:
            # Half a step of the bias.
            scale = max(net.quantization.kernels[node.parameter_name("weight")])
            bound += scale * values[node.inputs[0]].grid.scale / 2
        assert np.abs(found - value.real).max() <= bound, node.name
    assert 0 < changed < 100


def test_a_keras_file_gives_the_rounding_model_back(small, tmp_path):
    model = small.compiled(small.graph, "float32", small.quantization)
    small.backend.write(model, small.graph, tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    expected = small.backend.forward(model, small.images)[0]
    assert np.array_equal(small.backend.forward(again, small.images)[0], expected)
    assert len(np.unique(expected / np.float32(small.quantization.values["fc"].scale))) < expected.size
    kept = read_weights(tmp_path / "model.keras", small.graph)
    held = small.backend.arrays(model, small.graph)
    for name, array in small.arrays.items():
        # Those in float, not the rounded ones.
        assert np.array_equal(kept[name], array)
        assert np.array_equal(held[name], array)


def test_a_saved_model_rounds_without_this_packages_layers(small, tmp_path):
    model = small.compiled(small.graph, "float32", small.quantization)
    small.backend.write(model, small.graph, tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    found = served(input=tf.constant(np.moveaxis(small.images, 1, -1)))["logits"].numpy()
    assert np.array_equal(found, small.backend.forward(model, small.images)[0])


@pytest.mark.slow
def test_training_goes_through_the_rounding(network):
    net = network(resnet_spec.load("cifar/resnet20").to_graph(), keep=())
    model = net.compiled(net.graph, "float32", net.quantization)
    before = net.backend.arrays(model, net.graph)
    images, labels = np.moveaxis(net.images, 1, -1), np.arange(len(net.images))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
    losses = model.fit(images, labels, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.7 * losses[0]
    after = net.backend.arrays(model, net.graph)
    assert all(np.isfinite(array).all() and not np.array_equal(array, before[name]) for name, array in after.items())
    for name in net.quantization.kernels:
        # By less than a step too.
        steps = after[name] / np.array(net.quantization.kernels[name]).reshape(-1, *[1] * (after[name].ndim - 1))
        assert np.abs(steps - np.rint(steps)).max() > 0.1


def differences(net: Network, found: Any) -> dict[str, Any]:
    """By how many codes TFLite's values differ from the reference's of the same codes."""
    values = {"input": net.reference.on_grid("input", net.images)}
    off = {}
    for node in net.graph.nodes:
        value = net.reference.value(node, [values[name] for name in node.inputs])
        if node.name in found:
            grid = value.grid
            codes = np.rint(found[node.name].astype(np.float64) / grid.scale) + grid.zero_point
            off[node.name] = codes - value.codes.astype(np.float64)
            value = Value(grid.values(codes), grid, codes.astype(np.int8))
        values[node.name] = value
    return off


def edits(net: Network) -> None:
    """Grids that no calibration chooses, and layers that a file leaves in float."""
    net.edited(
        average=Grid(scale=0.019, zero_point=-20),
        counted=Grid(scale=0.017, zero_point=-20),
        max=Grid(scale=0.03, zero_point=-5),
        gate=Grid(scale=0.01, zero_point=-100),
        bn=Grid(scale=0.02, zero_point=0),
        once=Grid(scale=0.005, zero_point=0),
        between=Grid(scale=0.005, zero_point=100),
        last=None,
        dilated=None,
    )
    kernels = dict(net.quantization.kernels)
    del kernels["jump.weight"]
    kernels["stem.weight"] = tuple(scale * 0.7 for scale in kernels["stem.weight"])
    net.use(net.quantization.model_copy(update={"kernels": kernels}))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["odd", "even", "edited", "volumes"])
def test_tflite_is_within_one_code_of_the_reference_at_every_node(network, builder, tmp_path, case):
    if case == "volumes":
        net = network(volumes(builder), keep=())
    else:
        net = network(size=(24, 17) if case == "even" else (21, 16))
    if case == "edited":
        edits(net)
    names = [name for name in net.quantization.values if name != "input"]
    # Each value as an output of its own.
    graph = net.graph.with_outputs(names, [f"value{number}" for number in range(len(names))])
    net.write(tmp_path / "model.tflite", graph)
    # By XNNPACK, and by TFLite's own kernels.
    for resolver in (RESOLVERS.AUTO, RESOLVERS.BUILTIN_REF):
        off = differences(net, net.run(tmp_path / "model.tflite", resolver, graph))
        assert off.keys() == set(names)
        for name, codes in off.items():
            assert np.abs(codes).max() <= 1, name
            # What is computed in float is rounded as the reference rounds it.
            assert name not in {"gate", "before", "kept_relu", "relu", "columns"} or not codes.any(), name
        assert np.mean(np.concatenate([codes.ravel() for codes in off.values()]) != 0) < 0.01


@pytest.mark.slow
def test_tflites_logits_are_those_of_the_reference(network, tmp_path):
    net = network(resnet_spec.load("cifar/resnet20").to_graph(), keep=())
    before, scale = net.reference.outputs(net.images)[0], net.quantization.values["linear"].scale
    grid = net.quantization.values["layer2.0.relu2"]
    for edit in ({}, {"layer2.0.relu2": Grid(scale=grid.scale / 4, zero_point=grid.zero_point)}):
        net.edited(**edit)
        wanted = net.reference.outputs(net.images)[0]
        net.write(tmp_path / "model.tflite")
        found = net.run(tmp_path / "model.tflite", RESOLVERS.AUTO)["linear"]
        assert np.abs(found - wanted).max() < 2.5 * scale
        assert bool(edit) == (np.abs(wanted - before).max() > 5 * scale)


def test_a_tflite_model_has_exactly_the_files_grids_and_codes(small, tmp_path):
    path = tmp_path / "model.tflite"
    small.edited(relu=Grid(scale=0.0123, zero_point=-128), pool=Grid(scale=0.00345, zero_point=7))
    small.write(path)
    resolver = RESOLVERS.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = lite_interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    operations = interpreter._get_ops_details()
    kinds = {op["op_name"] for op in operations if tensors[op["outputs"][0]]["dtype"] is np.float32}
    assert kinds == {"DEQUANTIZE"}
    found = set()
    for op in operations:
        parameters = tensors[op["outputs"][0]]["quantization_parameters"]
        if len(parameters["scales"]):
            found.add((float(parameters["scales"][0]), int(parameters["zero_points"][0])))
    values = small.quantization.values
    assert found == {(float(np.float32(grid.scale)), grid.zero_point) for grid in values.values()}

    layers = [op for op in operations if op["op_name"] == "CONV_2D"]
    for op, name, before in zip(layers, ["conv", "fc"], ["input", "pool"], strict=True):
        scales = small.quantization.kernels[f"{name}.weight"]
        _, kernel, bias = op["inputs"]
        assert tensors[kernel]["quantization_parameters"]["scales"].tolist() == list(scales)
        codes = kernel_codes(small.arrays[f"{name}.weight"], scales)
        written = interpreter.get_tensor(kernel)
        assert np.array_equal(written, np.moveaxis(codes, 1, -1).reshape(written.shape))
        wanted = bias_codes(small.arrays[f"{name}.bias"], np.array(scales) * values[before].scale)
        assert np.array_equal(interpreter.get_tensor(bias), wanted)


def test_a_fixed_size_keeps_the_rounding(small, tmp_path):
    model = small.compiled(small.graph, "float32", small.quantization)
    small.backend.write(model, small.graph, tmp_path / "model.keras", batch=4)
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.inputs[0].shape == (4, 8, 8, 3)
    assert np.array_equal(again(np.moveaxis(small.images, 1, -1)), model(np.moveaxis(small.images, 1, -1)))


def test_half_precision_is_refused(small, tmp_path):
    model = small.compiled(small.graph, "float32", small.quantization)
    with pytest.raises(OutputError, match="an 8-bit network cannot be written in half precision"):
        small.backend.write(model, small.graph, tmp_path / "model.tflite", half=True)
    assert not list(tmp_path.iterdir())


def test_what_the_converter_would_round_is_refused(network, builder, tmp_path):
    b = builder(3, 8, 8)
    b("conv", "conv2d", "input", channels=4, kernel=3, padding=1)
    b("up", "conv_transpose2d", "conv", channels=4, kernel=3, stride=2)
    net = network(b.graph(), keep=())
    with pytest.raises(OutputError, match=r"^up: TFLite's converter would round this kernel"):
        net.write(tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_grid_that_is_missing_is_reported(small, tmp_path):
    path = tmp_path / "model.tflite"
    small.write(path)
    check_grids(path.read_bytes(), small.graph, small.quantization, path)
    small.edited(pool=Grid(scale=0.003, zero_point=7))
    # A graph without the node.
    check_grids(path.read_bytes(), small.graph.with_outputs(["relu"]), small.quantization, path)
    with pytest.raises(OutputError, match="TFLite's converter does not keep the grid of pool"):
        check_grids(path.read_bytes(), small.graph, small.quantization, path)
