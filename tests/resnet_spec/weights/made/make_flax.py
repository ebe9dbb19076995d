"""Makes the files of Flax and Orbax; run with flax 0.12.8, orbax-checkpoint 0.12.8 and jax 0.10.2 (CPU).

The network is that of Flax's ImageNet example: its modules have the same names and are created in the same order.
"""

import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import linen as nn
from flax import serialization

HERE = Path(__file__).parent
STAGES, FILTERS, CLASSES = (2, 1, 1, 1), 2, 5


class BottleneckResNetBlock(nn.Module):
    """1×1, 3×3, 1×1 convolutions and a projection where the shape changes."""

    filters: int
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        conv, norm = partial(nn.Conv, use_bias=False), partial(nn.BatchNorm, use_running_average=True, epsilon=1e-5)
        y = nn.relu(norm()(conv(self.filters, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.filters, (3, 3), self.strides)(y)))
        y = norm(scale_init=nn.initializers.zeros_init())(conv(self.filters * 4, (1, 1))(y))
        if x.shape != y.shape:
            x = norm(name="norm_proj")(conv(self.filters * 4, (1, 1), self.strides, name="conv_proj")(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The example's network."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(FILTERS, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], use_bias=False, name="conv_init")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="bn_init")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, count in enumerate(STAGES):
            for block in range(count):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                x = BottleneckResNetBlock(FILTERS * 2**stage, strides)(x)
        return nn.Dense(CLASSES)(jnp.mean(x, axis=(1, 2)))


def perturbed(variables):
    """Variables with random scales and statistics, so that each of them shows in the logits."""
    random = np.random.default_rng(0)

    def draw(path, array):
        word, shape = path[-1].key, array.shape
        if word in {"scale", "var"}:
            return random.uniform(0.5, 1.5, shape).astype("float32")
        if word in {"bias", "mean"}:
            return random.normal(0, 0.1, shape).astype("float32")
        return np.asarray(array)

    return jax.tree_util.tree_map_with_path(draw, variables)


def make_network():
    """A training state of the network, and what it computes."""
    pixels = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), "uint8")
    image = pixels.astype("float32") / 64 - 2
    model = ResNet()
    variables = perturbed(model.init(jax.random.key(0), image))
    logits = np.asarray(model.apply(variables, image))
    zeros = jax.tree_util.tree_map(np.zeros_like, variables["params"]["Dense_0"])
    state = {
        "step": np.array(3, "int32"),
        **variables,
        "opt_state": {"0": {"trace": {"Dense_0": zeros}}, "1": {"count": np.array(3, "int32")}},
    }
    (HERE / "flax_resnet.msgpack").write_bytes(serialization.to_bytes(state))
    np.savez(HERE / "flax_resnet_logits.npz", pixels=pixels, logits=logits)
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(HERE / "orbax_resnet" / "0" / "default", state)
    checkpointer.wait_until_finished()
    shutil.make_archive(str(HERE / "orbax_resnet"), "zip", HERE / "orbax_resnet")
    shutil.rmtree(HERE / "orbax_resnet")


def make_types():
    """Every kind of leaf, an array in pieces among them."""
    serialization.MAX_CHUNK_SIZE = 24
    arrays = {
        dtype: np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool", "complex64")
    }
    tree = {
        "params": {**arrays, "bfloat16": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 7},
        "pieces": np.arange(20, dtype="float32").reshape(4, 5),
        "scalar": np.float32(1.5),
        "scalar_array": np.array(2.5, "float32"),
        "empty": np.zeros((0, 3), "float32"),
        "plain": [1, 2.5, "text", None, True, 1 + 2j, {"deep": np.ones(2, "float32")}],
    }
    (HERE / "flax_types.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    serialization.MAX_CHUNK_SIZE = 2**30


def make_orbax():
    """The same small tree in each of Orbax's layouts."""
    tree = {
        "params": {
            "conv_init": {"kernel": np.arange(24, dtype="float32").reshape(2, 2, 3, 2)},
            "Dense_0": {"bias": jnp.arange(3, dtype=jnp.bfloat16) / 7},
        },
        "batch_stats": {"bn_init": {"mean": np.arange(2, dtype="float16")}},
        "step": 7,
        "opt_state": [{"count": np.array(3, "int32")}, None, ()],
    }
    folder = HERE / "orbax"
    shutil.rmtree(folder, ignore_errors=True)
    standard = ocp.StandardCheckpointer()
    standard.save(folder / "standard", tree)
    standard.wait_until_finished()
    for name, options in {"zarr": {"use_ocdbt": False}, "zarr3": {"use_zarr3": True}}.items():
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)).save(folder / name, tree)
    manager = ocp.CheckpointManager(folder / "manager")
    manager.save(1, args=ocp.args.StandardSave(tree))
    manager.wait_until_finished()
    shutil.make_archive(str(HERE / "orbax"), "zip", folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    make_network()
    make_types()
    make_orbax()
