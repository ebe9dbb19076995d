"""TensorFlow's checkpoints, as slim and others leave them, are read strictly and under whatever scope they have."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest

from resnet_spec import WeightsError, read_weights
from resnet_spec_tensorflow.framework import keras, tf

KERAS = {"weight": "kernel", "bias": "bias"}
SLIM = {"weight": "weights", "bias": "biases"}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
AXES = {1: (0,), 2: (1, 0), 3: (1, 2, 0), 4: (2, 3, 1, 0)}


@pytest.fixture(scope="module")
def graph(small_resnet):
    return small_resnet()


@pytest.fixture(scope="module")
def ours(graph, random_arrays):
    return random_arrays(graph)


def variables(graph, arrays, words=SLIM, scope="net/"):
    """The arrays by TensorFlow's names, in its layouts."""
    named = {}
    for parameter in graph.parameters():
        known = NORM if parameter.role.startswith(("norm", "position")) else words
        name = f"{scope}{parameter.node.replace('.', '/')}/{known[parameter.name.rpartition('.')[2]]}"
        named[name] = arrays[parameter.name].transpose(AXES[len(parameter.shape)])
    return named


def save(prefix, named):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(named),
        shape_and_slices=[""] * len(named),
        tensors=[tf.constant(value) for value in named.values()],
    )
    return prefix


def assert_equal(result, wanted):
    assert list(result) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(result[name], array)


@pytest.mark.parametrize("scope", ["", "net/"])
@pytest.mark.parametrize("words", [SLIM, KERAS])
def test_a_checkpoint_is_read_by_prefix_and_by_index(graph, ours, tmp_path, words, scope):
    prefix = save(tmp_path / "model.ckpt-7", variables(graph, ours, words, scope))

    assert_equal(read_weights(prefix, graph), ours)
    assert_equal(read_weights(f"{prefix}.index", graph), ours)


def test_a_checkpoint_of_the_oldest_format_is_one_file(graph, ours, tmp_path):
    named = variables(graph, ours)
    for name in ("model.ckpt", "model"):
        data = [tf.constant(value) for value in named.values()]
        tf.raw_ops.Save(filename=str(tmp_path / name), tensor_names=list(named), data=data)
        assert_equal(read_weights(tmp_path / name, graph), ours)


def test_bfloat16_becomes_float32_where_asked_for(graph, ours, tmp_path):
    named = {name: tf.cast(value, tf.bfloat16) for name, value in variables(graph, ours).items()}
    result = read_weights(save(tmp_path / "x.ckpt", named), graph, adapt=["half"])

    assert {array.dtype.name for array in result.values()} == {"float32"}
    np.testing.assert_allclose(result["conv1.weight"], ours["conv1.weight"], rtol=2**-8)
    with pytest.raises(WeightsError, match="half precision"):
        read_weights(tmp_path / "x.ckpt", graph)


@pytest.mark.parametrize("shape", [(1, 5, 6, 4), (5, 6, 4), (120,)])
def test_statistics_of_positions_have_any_of_their_shapes(single, random_arrays, tmp_path, shape):
    norm = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}
    graph = single("position_batch_norm", (4, 5, 6), **norm)
    arrays = random_arrays(graph)
    named = {name: value.reshape(shape) for name, value in variables(graph, arrays).items()}

    assert_equal(read_weights(save(tmp_path / "x.ckpt", named), graph), arrays)


@pytest.mark.parametrize("shape", [(1, 1, 4), (4,)])
def test_slopes_have_the_shape_of_keras_or_of_the_graph(single, random_arrays, tmp_path, shape):
    graph = single("prelu", (4, 5, 6), per_channel=True)
    arrays = random_arrays(graph)
    named = {"net/x/alpha": arrays["x.weight"].reshape(shape)}

    assert_equal(read_weights(save(tmp_path / "x.ckpt", named), graph), arrays)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_learned_slopes_are_read_from_what_keras_saves(backend, single, random_arrays, tmp_path, ending, per_channel):
    graph = single("prelu", (4, 5, 6), per_channel=per_channel)
    arrays = random_arrays(graph)
    model = backend.compile(graph)
    backend.load(model, graph, arrays)
    path = tmp_path / f"model{ending}"
    backend.write(model, graph, path)

    assert_equal(read_weights(path, graph), arrays)


# -- what lies beside the weights ----------------------------------------------------------------------------------


def test_what_training_leaves_beside_the_weights_is_counted(backend, graph, ours, tmp_path):
    named = variables(graph, ours)
    slots = {f"{name}/Momentum": value for name, value in named.items()}
    slots |= {f"{name}/Adam_1": np.float32(0) for name in named}
    counters = {"global_step": np.int64(7), "beta1_power": np.float32(0.9), "beta2_power_1": np.float32(0.9)}
    means = {"net/mean_rgb": np.zeros(3, "float32")}
    prefix = save(tmp_path / "x.ckpt", {**named, **slots, **counters, **means})
    checkpoint = backend.read(prefix.with_name("x.ckpt.index"))

    assert checkpoint.tensors.keys() == named.keys()
    assert checkpoint.ignored == {
        "optimizer slots": 2 * len(named),
        "counters": 3,
        "means of the training images": 1,
    }
    assert_equal(read_weights(prefix, graph), ours)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net/conv1/weights/Momentum", np.zeros(3, "float32")),
        ("net/scale", np.float32(1)),
        ("net/conv7/weights", np.zeros(3, "float32")),
        ("net/global_step", np.zeros(3, "float32")),
        ("net/fc/mean_rgb", np.zeros((3, 1), "float32")),
    ],
)
def test_what_may_be_a_weight_is_not_left_out(backend, graph, ours, tmp_path, name, value):
    prefix = save(tmp_path / "x.ckpt", {**variables(graph, ours), name: value})

    assert backend.read(prefix.with_name("x.ckpt.index")).ignored == {}
    with pytest.raises(WeightsError, match=f"{name}: unexpected"):
        read_weights(prefix, graph)


@pytest.mark.parametrize("name", ["net/conv7/weights/Momentum", "keras_api/weights", "other/weights"])
def test_a_variable_beside_the_network_is_listed(graph, ours, tmp_path, caplog, name):
    prefix = save(tmp_path / "x.ckpt", {**variables(graph, ours), name: np.zeros(3, "float32")})

    assert_equal(read_weights(prefix, graph), ours)
    assert caplog.messages == [f"{prefix}: left out, since they are beside the network: {name!r}"]


def test_moving_averages_are_taken_where_asked_for(backend, graph, ours, tmp_path):
    averages = {f"{name}/ExponentialMovingAverage": value / 2 for name, value in variables(graph, ours).items()}
    # Running statistics are averages already.
    averages = {name: value for name, value in averages.items() if "moving_" not in name}
    prefix = save(tmp_path / "x.ckpt", {**variables(graph, ours), **averages})
    result = read_weights(prefix, graph, ema=True)

    assert backend.read(prefix.with_name("x.ckpt.index")).ignored == {}
    assert_equal(read_weights(prefix, graph), ours)
    assert_equal(result, {name: array if "running" in name else array / 2 for name, array in ours.items()})


# -- what TensorFlow 2 and Keras write ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(graph, make):
    """A Keras model after a step, with slots, averages and metrics, and the graph's arrays then."""
    model = make(graph)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True)
    model.compile(optimizer, "mse", metrics=["mae"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            model.train_on_batch(np.ones((2, 16, 16, 3), "float32"), np.ones((2, 5), "float32"))
    return model


@pytest.fixture(scope="module")
def now(backend, graph, trained):
    return backend.arrays(trained, graph)


@pytest.mark.parametrize("ending", ["", ".index"])
def test_keras_checkpoints_name_variables_by_their_layers(backend, graph, trained, now, tmp_path, ending):
    step = tf.Variable(3, dtype=tf.int64)
    tf.train.Checkpoint(net=trained, opt=trained.optimizer, step=step).write(str(tmp_path / "x"))

    assert_equal(read_weights(f"{tmp_path / 'x'}{ending}", graph), now)
    count = sum(parameter.trainable for parameter in graph.parameters())
    ignored = backend.read(tmp_path / "x.index").ignored
    assert ignored == {"optimizer slots": count, "counters": 3}


def test_the_averages_of_keras_optimizers_are_taken_where_asked_for(graph, trained, now, tmp_path):
    tf.train.Checkpoint(trained).write(str(tmp_path / "x"))
    result = read_weights(tmp_path / "x", graph, ema=True)

    paths = {variable.path: variable for variable in trained.optimizer.variables}
    average = paths[f"{trained.optimizer.name}/layer1.0.conv1_kernel_average"].value.numpy()
    assert np.array_equal(result["layer1.0.conv1.weight"], average.transpose(3, 2, 0, 1))
    assert not np.array_equal(result["layer1.0.conv1.weight"], now["layer1.0.conv1.weight"])
    assert np.array_equal(result["bn1.running_mean"], now["bn1.running_mean"])


@pytest.mark.parametrize("kind", ["export", "saved", "ours"])
def test_a_saved_model_is_read(backend, graph, trained, now, tmp_path, kind):
    path = tmp_path / "model"
    if kind == "export":
        trained.export(path, verbose=False)
    elif kind == "saved":
        tf.saved_model.save(trained, str(path))
    else:
        backend.write(trained, graph, path)

    assert_equal(read_weights(path, graph), now)
    count = sum(parameter.trainable for parameter in graph.parameters())
    assert backend.read(path).ignored == ({"optimizer slots": count, "counters": 2} if kind == "saved" else {})


def test_what_we_write_holds_each_variable_once(backend, graph, trained, tmp_path):
    backend.write(trained, graph, tmp_path / "model")

    shapes = [shape for _, shape in tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))]
    assert sum(map(np.prod, shapes)) == sum(np.prod(p.shape) for p in graph.parameters()) + 1


def test_variables_that_share_a_name_have_those_of_their_places(backend, tmp_path):
    holder = tf.Module()
    holder.a, holder.b = (tf.Variable([float(number)], name="kernel") for number in range(2))
    holder.c = tf.Variable([5.0], name="bias")
    tf.train.Checkpoint(holder).write(str(tmp_path / "x"))

    assert {name: value.item() for name, value in backend.read(tmp_path / "x.index").tensors.items()} == {
        "a": 0,
        "b": 1,
        "bias": 5,
    }


class Writes(tf.saved_model.experimental.TrackableResource):
    """Writes a file when it is restored, and when it is called."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def _create_resource(self):
        return tf.constant(0)

    def _initialize(self):
        tf.io.write_file(self._path, "run")


def test_nothing_of_a_saved_model_is_run(backend, tmp_path):
    module = tf.Module()
    module.weight = tf.Variable([1.0], name="fc/bias")
    module.resource = Writes(str(tmp_path / "run"))
    tf.saved_model.save(module, str(tmp_path / "model"))
    (tmp_path / "run").unlink(missing_ok=True)

    assert backend.read(tmp_path / "model").tensors.keys() == {"fc/bias"}
    assert not (tmp_path / "run").exists()
    tf.saved_model.load(str(tmp_path / "model"))
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["variables.index", "variables.data-00000-of-00001", ""])
def test_a_link_out_of_a_saved_model_is_refused(backend, graph, trained, tmp_path, part):
    backend.write(trained, graph, tmp_path / "other")
    backend.write(trained, graph, tmp_path / "model")
    path = tmp_path / "model" / "variables" / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(tmp_path / "other" / "variables" / part)

    with pytest.raises(WeightsError, match=r"model: refused: its variables/variables.* is a link out of the folder"):
        read_weights(tmp_path / "model", graph)


def test_a_saved_model_without_variables_is_refused(backend, graph, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="empty: contains no weights"):
        read_weights(tmp_path / "empty", graph)
    shutil.rmtree(tmp_path / "empty" / "variables")
    with pytest.raises(WeightsError, match="empty: is a SavedModel without variables"):
        read_weights(tmp_path / "empty", graph)


def test_any_scope_comes_off(graph, ours, tmp_path):
    assert_equal(read_weights(save(tmp_path / "x.ckpt", variables(graph, ours, scope="a/b/")), graph), ours)


def test_every_missing_unexpected_and_misshapen_variable_is_listed(graph, ours, tmp_path):
    named = variables(graph, ours)
    named["net/stray/weights"] = named.pop("net/fc/weights")
    named["net/conv1/weights"] = named["net/conv1/weights"][0]
    named["net/conv1/kernel"] = named["net/conv1/weights"]
    prefix = save(tmp_path / "x.ckpt", named)
    with pytest.raises(WeightsError) as caught:
        read_weights(prefix, graph)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{prefix}: not the {len(ours)} tensors of test/net (1 missing, 2 unexpected, 1 ")
    # Of two names for one parameter the second is left over, whichever it is.
    told = {line.partition(";")[0] for line in lines}
    assert told >= {"fc.weight: missing", "net/stray/weights: unexpected"}
    assert told & {"net/conv1/kernel: unexpected", "net/conv1/weights: unexpected"}
    assert "conv1.weight: has shape [3, 3, 8], not [8, 3, 3, 3]" in told


# -- broken files ------------------------------------------------------------------------------------------------


def test_a_checkpoint_without_its_data_is_refused(graph, ours, tmp_path):
    prefix = save(tmp_path / "x.ckpt", variables(graph, ours))
    (data,) = tmp_path.glob("*.data-*")
    data.unlink()
    with pytest.raises(WeightsError, match=r"x\.ckpt\.index: "):
        read_weights(prefix, graph)


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_truncated_and_changed_files_are_refused(graph, ours, tmp_path, part):
    prefix = save(tmp_path / "x.ckpt", variables(graph, ours))
    path = tmp_path / f"x.ckpt.{part}"
    content = path.read_bytes()
    whole = [content[: len(content) * tenths // 10] for tenths in range(10)]
    places = range(0, len(content), len(content) // 100)
    changed = [content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :] for place in places]
    for broken in [*whole, *changed]:
        path.write_bytes(broken)
        try:
            assert_equal(read_weights(prefix, graph), ours)
        except WeightsError:
            continue
        assert broken not in whole


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(graph, ours, tmp_path):
    prefix = save(tmp_path / "x.ckpt", {"conv1/weights": np.zeros((64, 1024, 1024), "float32")})
    shutil.copy(tmp_path / "x.ckpt.index", tmp_path / "y.ckpt.index")
    (tmp_path / "y.ckpt.data-00000-of-00001").write_bytes(bytes(100))
    (tmp_path / "x.ckpt.data-00000-of-00001").unlink()
    assert prefix.with_name("y.ckpt.index").exists()
    with pytest.raises(WeightsError, match=r"refused: its tensors need 268,435,456 bytes, but its files contain"):
        read_weights(tmp_path / "y.ckpt", graph)


def test_the_endings_of_checkpoints_are_known(backend):
    assert tuple(backend.inputs) == (".index", ".ckpt", "")
