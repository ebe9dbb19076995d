"""TensorFlow's checkpoints, as slim and others leave them, are read strictly and under whatever scope they have."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from resnet_spec import WeightsError, read_weights
from resnet_spec_tensorflow.framework import tf

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


def test_what_training_leaves_beside_the_weights_is_ignored(graph, ours, tmp_path):
    named = variables(graph, ours)
    slots = {f"{name}/Momentum": value for name, value in named.items()}
    others = {"global_step": np.int64(7), "net/mean_rgb": np.zeros(3, "float32"), "beta1_power": np.float32(0.9)}

    assert_equal(read_weights(save(tmp_path / "x.ckpt", {**named, **slots, **others}), graph), ours)


def test_bfloat16_becomes_float32(graph, ours, tmp_path):
    named = {name: tf.cast(value, tf.bfloat16) for name, value in variables(graph, ours).items()}
    result = read_weights(save(tmp_path / "x.ckpt", named), graph)

    assert {array.dtype.name for array in result.values()} == {"float32"}
    np.testing.assert_allclose(result["conv1.weight"], ours["conv1.weight"], rtol=2**-8)


@pytest.mark.parametrize("shape", [(1, 5, 6, 4), (5, 6, 4), (120,)])
def test_statistics_of_positions_have_any_of_their_shapes(single, random_arrays, tmp_path, shape):
    norm = {"epsilon": 1e-5, "momentum": 0.1, "running_variance": "biased"}
    graph = single("position_batch_norm", (4, 5, 6), **norm)
    arrays = random_arrays(graph)
    named = {name: value.reshape(shape) for name, value in variables(graph, arrays).items()}

    assert_equal(read_weights(save(tmp_path / "x.ckpt", named), graph), arrays)


@pytest.mark.parametrize("ending", ["", ".index"])
def test_keras_checkpoints_name_variables_by_their_layers(graph, ours, make, tmp_path, ending):
    model = make(graph, ours)
    model.compile("sgd", "mse")
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / "x"))

    assert_equal(read_weights(f"{tmp_path / 'x'}{ending}", graph), ours)


def test_a_scope_within_a_scope_is_not_taken_off(graph, ours, tmp_path):
    with pytest.raises(WeightsError, match="missing"):
        read_weights(save(tmp_path / "x.ckpt", variables(graph, ours, scope="a/b/")), graph)


def test_a_scope_that_not_all_share_is_not_taken_off(graph, ours, tmp_path):
    named = variables(graph, ours) | {"other/weights": np.zeros(3, "float32")}
    with pytest.raises(WeightsError) as caught:
        read_weights(save(tmp_path / "x.ckpt", named), graph)
    told = [line.partition(";")[0] for line in str(caught.value).splitlines()]
    assert {"net/conv1/weights: unexpected", "other/weights: unexpected", "conv1.weight: missing"} <= set(told)


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
    assert lines[0] == "fc.weight: missing"
    assert lines[1] in ("net/conv1/kernel: unexpected", "net/conv1/weights: unexpected")
    assert lines[2] == "net/stray/weights: unexpected"
    assert lines[3] == "conv1.weight: has shape [3, 3, 8], not [8, 3, 3, 3]"


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
    with pytest.raises(WeightsError, match=r"refused: it claims 268,435,456 bytes, of which its files hold"):
        read_weights(tmp_path / "y.ckpt", graph)


def test_the_endings_of_checkpoints_are_known(backend):
    assert backend.inputs == (".index", ".ckpt")
