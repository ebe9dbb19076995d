"""Keras models that are read give the same results, and what cannot be expressed is reported by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet_spec import ModelError, load
from resnet_spec.graph import Graph
from resnet_spec.graph.difference import same_but_for_names
from resnet_spec.operations.convolution import GAMMAS
from resnet_spec.structure.comparison import compare_with_source
from resnet_spec_tensorflow.framework import keras
from resnet_spec_tensorflow.importing import READERS
from resnet_spec_tensorflow.importing.reader import key_of
from tests.every_operation import arrays_for, every_operation
from tests.resnet_spec_tensorflow.importing.tutorials import MODELS, Subclassed, layers, ops


def randomized(model: Any) -> Any:
    """The model with variances that are not 1, and no weight that is 0."""
    generator = np.random.default_rng(3)
    for variable in model.weights:
        if variable.dtype != "float32":
            continue
        positive = variable.name in ("gamma", "moving_variance", "variance")
        drawn = generator.uniform(0.5, 1.5, variable.shape) if positive else generator.normal(0, 0.3, variable.shape)
        variable.assign(drawn)
    return model


def agree(backend: Any, source: Any, images: np.ndarray) -> None:
    """Hold our model of the source's graph to the source run by Keras: its results, and the values within it."""
    inner = source.values(images, [node.name for node in source.graph.nodes])
    assert inner
    names = [*dict.fromkeys((*source.graph.outputs, *inner))]
    graph = source.graph.with_outputs(names)
    ours = backend.compile(graph, dtype="float32")
    backend.load(ours, graph, {p.name: source.arrays[p.name] for p in graph.parameters()})
    found = dict(zip(names, backend.forward(ours, images), strict=True))
    results = zip(source.graph.outputs, source.run(images), strict=True)
    for name, value in results:
        assert found[name].shape == value.shape
        assert np.abs(found[name] - value).max() < 1e-4 * value.std()
    for name, value in inner.items():
        assert found[name].shape == value.shape, name
        assert np.abs(found[name] - value).max() <= 1e-4 * np.abs(value).max(), name


@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_graph_agree(name: str, backend: Any, images: Any) -> None:
    make, shape = MODELS[name]
    source = backend.import_model(randomized(make()))
    assert source.graph.input.shape == shape
    agree(backend, source, images(2, *shape))


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("sequential", "conv2d conv2d_relu max_pooling2d"),
        ("transfer", "rescaling_scale rescaling_offset normalization_offset normalization_scale base.conv"),
        ("subclassed", "stem block0.conv2d block0.norm block0.relu"),
    ],
)
def test_names_are_the_layers_own(name: str, nodes: str, backend: Any) -> None:
    keras.utils.clear_session()
    graph = backend.import_model(MODELS[name][0]()).graph
    assert [node.name for node in graph.nodes][: len(nodes.split())] == nodes.split()


def test_what_training_depends_on_is_read(backend: Any) -> None:
    source = backend.import_model(MODELS["functional"][0]())
    norms = [node.operation for node in source.graph.nodes if node.operation.op == "batch_norm"]
    assert [(norm.momentum, norm.epsilon, norm.running_variance) for norm in norms[:2]] == [
        (0.01, 1e-3, "biased"),
        (0.1, 1e-3, "biased"),
    ]
    assert not source.remarks


def test_a_layer_called_twice_is_one(backend: Any) -> None:
    graph = backend.import_model(MODELS["shared"][0]()).graph
    assert [node.calls for node in graph.nodes if node.layer == "shared_norm"] == [None, "shared_norm"]


def test_what_is_read_differently_is_remarked(backend: Any) -> None:
    keras.utils.clear_session()
    said = "\n".join(backend.import_model(MODELS["transfer"][0]()).remarks)
    assert "augmentations of images in training, which are left out (augmentation.random_flip, " in said
    assert "_depthwise and _pointwise (base.separable)" in said
    assert "(rescaling_offset, normalization_offset, normalization_scale)" in said
    keras.utils.clear_session()
    said = "\n".join(backend.import_model(MODELS["sequential"][0]()).remarks)
    assert said == "kernels whose columns are in channels-first order, since a map is flattened before them (dense)"


def test_classes_of_layers_that_are_traced_are_kept(backend: Any) -> None:
    source = backend.import_model(MODELS["subclassed"][0]())
    assert source.classes == {"block0": "Residual", "block1": "Residual"}


def test_a_subclassed_model_that_was_never_called_needs_a_shape(backend: Any, images: Any) -> None:
    with pytest.raises(ModelError, match="is subclassed and has no input shape; pass shape"):
        backend.import_model(Subclassed())
    agree(backend, backend.import_model(Subclassed(), (3, 9, 9)), images(2, 3, 9, 9))


def test_a_sequential_model_that_was_never_called_needs_a_shape(backend: Any, images: Any) -> None:
    def make() -> Any:
        return keras.Sequential([layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()])

    with pytest.raises(ModelError, match=r"has no input shape; pass shape, or begin the model with keras\.Input"):
        backend.import_model(make())
    agree(backend, backend.import_model(make(), (3, 9, 9)), images(2, 3, 9, 9))


def test_a_size_that_is_not_fixed_is_the_callers(backend: Any) -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3)(inputs))
    source = backend.import_model(model)
    assert source.graph.input.shape == (3, 224, 224)
    assert source.remarks == ("the input's size is not fixed; it is read at 224×224",)
    assert backend.import_model(model, (3, 33, 32)).graph.input.shape == (3, 33, 32)
    with pytest.raises(ModelError, match="its input is 3×\\?×\\?, not 4×33×32"):
        backend.import_model(model, (4, 33, 32))


def test_a_model_that_is_channels_first(backend: Any) -> None:
    inputs = keras.Input((3, 12, 10))
    first: dict[str, Any] = {"data_format": "channels_first"}
    x = layers.Conv2D(4, 3, padding="same", **first)(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.MaxPooling2D(2, **first)(x)
    x = layers.Flatten(**first)(x)
    model = randomized(keras.Model(inputs, layers.Dense(3)(x)))
    source = backend.import_model(model)
    assert source.graph.input.shape == (3, 12, 10)
    images = np.random.default_rng(1).standard_normal((2, 3, 12, 10)).astype("float32")
    agree(backend, source, images)


# Keras' own batch normalization keeps the biased variance, a padding that is "same" at every size is written so, and
# a pool rounds up by a padding.


def normalized(graph: Graph) -> Graph:
    """The graph as Keras' own layers can state it."""
    nodes: list[Any] = []
    for node in graph.nodes:
        changed: dict[str, Any] = {}
        if hasattr(node.operation, "running_variance"):
            changed["running_variance"] = "biased"
        if getattr(node.operation, "fixed_padding", None) is not None:
            changed["padding"] = node.operation.fixed_padding  # type: ignore[union-attr]
            changed |= {"ceil_mode": False} if hasattr(node.operation, "ceil_mode") else {}
        nodes.append(node.model_copy(update={"operation": node.operation.model_copy(update=changed)}))
    return Graph(name=graph.name, input=graph.input, nodes=tuple(nodes), outputs=graph.outputs)


# Convolutions that are strided and dilated (timm/skresnet18) are read as the layers that TensorFlow runs.
SPECS = (
    "torchvision/resnet18",
    "keras/resnet50v2",
    "cifar/resnet20",
    "mirror/encoder18",
    "mirror/decoder18",
    "timm/resnest14d",
    "timm/gcresnext26ts",
    "timm/resnetv2_50x1_bit",
    "timm/resnetblur18",
)


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_of_ours_is_read_back(spec: str, backend: Any) -> None:
    graph = load(spec).to_graph()
    source = backend.import_model(backend.compile(graph), graph.input.shape)
    assert same_but_for_names(normalized(graph), normalized(source.graph))
    assert {*source.arrays} == {parameter.name for parameter in graph.parameters()}


@pytest.mark.parametrize("saved", [False, True])
def test_every_operation_is_read_back(saved: bool, tmp_path: Any, backend: Any, images: Any) -> None:
    # Paddings of signals and volumes are read in the form that is the same at this size, such as "same".
    graph = every_operation(of_maps=not saved)
    model = backend.compile(graph, exact_statistics=True)
    backend.load(model, graph, arrays_for(graph, "float32"))
    if saved:
        backend.write(model, graph, tmp_path / "every.keras")
    source = backend.import_model(tmp_path / "every.keras" if saved else model, graph.input.shape)
    assert saved or same_but_for_names(normalized(graph), normalized(source.graph))
    compare_with_source(source, graph)
    assert {node.operation.op for node in source.graph.nodes} == {node.operation.op for node in graph.nodes}
    assert {node.operation.running_variance for node in source.graph.nodes if node.operation.op == "batch_norm"} == {
        "unbiased"
    }
    assert not source.remarks
    agree(backend, source, images(2, *graph.input.shape))


OF_SIGNALS_AND_VOLUMES: list[tuple[tuple[int, ...], tuple[Callable[[], Any], ...], str]] = [
    (
        (20, 3),
        (
            lambda: layers.ZeroPadding1D((1, 2)),
            lambda: layers.ZeroPadding1D((1, 2), data_format="channels_first"),
            lambda: layers.Conv1D(4, 3, 2, "same", dilation_rate=1, groups=1, activation="relu"),
            lambda: layers.DepthwiseConv1D(3, depth_multiplier=2),
            lambda: layers.MaxPooling1D(3, 1, "same"),
            lambda: layers.AveragePooling1D(2, 1),
            lambda: layers.Conv1DTranspose(3, 2, 2),
            lambda: layers.Cropping1D((1, 2)),
            lambda: layers.SeparableConv1D(5, 3),
            lambda: layers.GlobalMaxPooling1D(),
        ),
        "pad1d pad_channels conv1d relu conv1d max_pool1d avg_pool1d conv_transpose1d conv1d conv1d global_max_pool"
        " flatten",
    ),
    (
        (9, 8, 7, 3),
        (
            lambda: layers.ZeroPadding3D(((0, 1), (1, 0), (2, 1))),
            lambda: layers.ZeroPadding3D(((0, 0), (0, 0), (1, 2)), data_format="channels_first"),
            lambda: layers.Conv3D(4, 3, (1, 2, 2), "same", groups=1),
            lambda: layers.BatchNormalization(),
            lambda: layers.MaxPooling3D(2, 1),
            lambda: layers.AveragePooling3D((1, 2, 2), 1, "same"),
            lambda: layers.Conv3DTranspose(3, 2, 2),
            lambda: layers.Cropping3D(((1, 0), (0, 1), (1, 1))),
            lambda: layers.GlobalAveragePooling3D(),
        ),
        "pad3d pad_channels conv3d batch_norm max_pool3d avg_pool3d conv_transpose3d global_avg_pool flatten",
    ),
]
"""The shape of an input, layers, and the operations that they are read as."""


@pytest.mark.parametrize(("shape", "steps", "found"), OF_SIGNALS_AND_VOLUMES, ids=["signal", "volume"])
def test_layers_of_signals_and_volumes(shape: Any, steps: Any, found: str, backend: Any, images: Any) -> None:
    keras.utils.set_random_seed(0)
    source = backend.import_model(model_of(*(step() for step in steps), shape=shape))
    assert [node.operation.op for node in source.graph.nodes] == found.split()
    agree(backend, source, images(2, shape[-1], *shape[:-1]))


def model_of(*steps: Any, shape: tuple[int, ...] = (8, 8, 3)) -> Any:
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda: layers.SpatialDropout2D(0.1), "spatial_dropout2d.*: is regularization that the language lacks"),
        (lambda: layers.Lambda(lambda x: x), r"lambda \(Lambda\): the spec language has no such operation"),
        (lambda: layers.ReLU(threshold=1.0), "has max_value None, negative_slope 0 and threshold 1"),
        (lambda: layers.Activation("selu"), "has the activation 'selu'"),
        (lambda: layers.Conv2D(4, 3, activation=lambda x: x), "has the activation '<lambda>'"),
        (lambda: lambda x: layers.Conv1D(4, 3, padding="causal")(layers.Reshape((64, 3))(x)), "has causal padding"),
        (lambda: layers.PReLU(), "has a slope for each position"),
        (lambda: layers.LayerNormalization(axis=(1, 2)), "normalizes along several axes"),
        (lambda: layers.Softmax(axis=(1, 2)), "is over several axes"),
        (lambda: layers.UpSampling2D(2, interpolation="bicubic"), "has the interpolation 'bicubic'"),
        (lambda: layers.Conv2DTranspose(4, 3, 2, dilation_rate=1, output_padding=1), "has output_padding"),
        (lambda: layers.Dropout(0.1, noise_shape=(None, 1, 1, 3)), "drops in the shape"),
        (lambda: lambda x: ops.mean(x, axis=0, keepdims=True), "works along the batch"),
        (lambda: lambda x: ops.sort(x), "Sort.*: the spec language has no such operation"),
        (lambda: lambda x: x[:, ::2], "takes every 2. position"),
        (lambda: lambda x: ops.divide(1.0, x), "divides a constant by a value"),
        (lambda: lambda x: ops.clip(x, 0, 1), "clips to 0 and 1; the language has relu6"),
    ],
)
def test_what_cannot_be_expressed_is_reported(step: Any, message: str, backend: Any) -> None:
    keras.utils.clear_session()
    with pytest.raises(ModelError, match=message):
        backend.import_model(model_of(step()))


def test_every_problem_is_reported(backend: Any) -> None:
    model = model_of(layers.Conv2D(4, 3), layers.GaussianNoise(0.1, name="one"), layers.Activation("selu", name="two"))
    with pytest.raises(ModelError) as error:
        backend.import_model(model)
    assert [problem.path for problem in error.value.problems] == ["one (GaussianNoise)"]
    both = keras.Model(model.inputs, [layers.GaussianNoise(0.1)(model.inputs[0]), ops.sort(model.inputs[0])])
    with pytest.raises(ModelError) as error:
        backend.import_model(both)
    assert len(error.value.problems) == 2


class _Untraceable(layers.Layer):
    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, x: Any) -> Any:
        return x if float(ops.sum(x)) > 0 else -x


def test_a_layer_that_cannot_be_traced_is_named_with_its_line(backend: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ModelError, match=r"flow \(_Untraceable\): cannot be traced .*test_model\.py:\d+"):
        backend.import_model(keras.Model(inputs, _Untraceable(name="flow")(inputs)))


def test_a_model_of_two_inputs_is_refused(backend: Any) -> None:
    inputs = [keras.Input((4,)), keras.Input((4,))]
    with pytest.raises(ModelError, match="has 2 inputs; a model of one is supported"):
        backend.import_model(keras.Model(inputs, layers.Add()(inputs)))


def test_names_that_keras_gave_are_not_the_models_own(backend: Any) -> None:
    def made(**names: str) -> Any:
        image = keras.Input((8, 8, 3))
        x = layers.BatchNormalization()(layers.Conv2D(4, 3, **names)(image))
        return keras.Model(image, layers.ReLU()(x))

    assert not backend.import_model(made()).named
    assert backend.import_model(made(name="stem_conv")).named
    image = keras.Input((8, 8, 3))
    mostly = keras.Model(image, layers.Conv2D(4, 1, name="own")(layers.Conv2D(4, 1)(layers.Conv2D(4, 1)(image))))
    assert not backend.import_model(mostly).named


def test_two_outputs_are_read_in_order(backend: Any, images: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    source = backend.import_model(keras.Model(inputs, {"b": ops.relu(x), "a": x}))
    assert [source.graph.by_name[name].operation.op for name in source.graph.outputs] == ["conv2d", "relu"]
    agree(backend, source, images(2, 3, 8, 8))


def test_an_auxiliary_head_comes_after_the_network(backend: Any) -> None:
    inputs = keras.Input((8, 8, 3))
    middle = layers.Conv2D(4, 3, name="middle")(inputs)
    auxiliary = layers.Dense(2, name="auxiliary")(layers.Flatten(name="flat")(middle))
    last = layers.Conv2D(4, 3, name="last")(middle)
    source = backend.import_model(keras.Model(inputs, [auxiliary, last]))
    assert [node.name for node in source.graph.nodes] == ["middle", "last", "flat", "auxiliary"]
    assert source.graph.outputs == ("auxiliary", "last")


def test_patterns_are_one_operation(backend: Any) -> None:
    def gate(x: Any) -> Any:
        return layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)

    source = backend.import_model(model_of(gate))
    assert [node.operation.op for node in source.graph.nodes] == ["hard_sigmoid"]
    assert not source.remarks
    flat = (layers.Flatten(), layers.BatchNormalization(), layers.Reshape((8, 8, 3)))
    assert [node.operation.op for node in backend.import_model(model_of(*flat)).graph.nodes] == ["position_batch_norm"]
    squeezed = (layers.GlobalAveragePooling2D(), layers.Reshape((1, 1, 3)), layers.Conv2D(2, 1))
    assert [node.operation.op for node in backend.import_model(model_of(*squeezed)).graph.nodes] == [
        "global_avg_pool",
        "conv2d",
    ]


def test_the_model_is_left_as_it_was(backend: Any) -> None:
    model = MODELS["functional"][0]()
    before = [variable.numpy().copy() for variable in model.weights]
    source = backend.import_model(model)
    name = next(iter(source.arrays))
    source.arrays[name][:] = 7
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))


def test_readers_are_of_classes_that_exist() -> None:
    known = {key_of_class(kind) for kind in _classes(keras.layers)} | {
        f"own.{name}" for own in _own() for name in dir(own)
    }
    lacking = [key for key in READERS if not key.startswith(("ops.", "tf.")) and key not in known]
    # Of keras.applications.
    assert lacking == ["layers.LayerScale", "layers.StochasticDepth"]


def _classes(module: Any) -> list[Any]:
    return [value for value in vars(module).values() if isinstance(value, type)]


def key_of_class(kind: Any) -> str:
    return key_of(kind.__new__(kind)) if issubclass(kind, keras.Layer) else kind.__name__


def _own() -> tuple[Any, Any]:
    from resnet_spec_keras import layers, window_layers

    return layers, window_layers


def test_a_factor_is_no_parameter(backend: Any, builder: Any, make: Any, images: Any) -> None:
    build = builder(3, 8, 8)
    build("damped", "multiply", "input", factor=0.2)
    build("gate", "sigmoid", "damped")
    build("gated", "multiply", "damped", "gate", factor=1.75)
    build("doubled", "multiply", "gated", factor=2.0)
    build("product", "multiply", "doubled", "damped")
    build("halved", "multiply", "product", factor=0.5)
    graph = build.graph()
    source = backend.import_model(make(graph), graph.input.shape)
    assert [(node.name, node.operation) for node in source.graph.nodes] == [
        (node.name, node.operation) for node in graph.nodes
    ]
    assert not source.remarks
    agree(backend, source, images(2, 3, 8, 8))


def test_a_gamma_is_read_back_to_the_last_digit(backend: Any, builder: Any, make: Any) -> None:
    build = builder(3, 8, 8)
    for count, gamma in enumerate((*GAMMAS, 1.25)):
        given = f"conv{count - 1}" if count else "input"
        build(f"conv{count}", "std_conv2d", given, channels=4, kernel=(1, 1), bias=False, epsilon=1e-5, gain=True,
              gamma=gamma)  # fmt: skip
    graph = build.graph()
    source = backend.import_model(make(graph), graph.input.shape)
    assert [node.operation.gamma for node in source.graph.nodes] == [*GAMMAS, 1.25]
