"""Makes the files of Flax NNX; run with flax 0.12.8, orbax-checkpoint 0.12.8 and jax 0.10.2 (CPU).

The modules have the names of torchvision's ResNet. ``state`` is an Orbax folder of ``nnx.State``, as NNX' guide saves
it, ``pure`` one of the plain dictionary; each has a dropout's random state beside the arrays.
"""

import shutil
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx, serialization

HERE = Path(__file__).parent
STAGES, FILTERS, CLASSES = (2, 1, 1, 1), 2, 5
WITHOUT_BIAS = partial(nnx.Conv, use_bias=False)
NORM = partial(nnx.BatchNorm, use_running_average=True, epsilon=1e-5)


class Bottleneck(nnx.Module):
    """1×1, 3×3, 1×1 convolutions and a projection where the shape changes."""

    def __init__(self, inputs, width, stride, rngs):
        outputs = 4 * width
        self.conv1, self.bn1 = WITHOUT_BIAS(inputs, width, (1, 1), rngs=rngs), NORM(width, rngs=rngs)
        self.conv2 = WITHOUT_BIAS(width, width, (3, 3), strides=stride, padding=1, rngs=rngs)
        self.bn2 = NORM(width, rngs=rngs)
        self.conv3, self.bn3 = WITHOUT_BIAS(width, outputs, (1, 1), rngs=rngs), NORM(outputs, rngs=rngs)
        projection = [WITHOUT_BIAS(inputs, outputs, (1, 1), strides=stride, rngs=rngs), NORM(outputs, rngs=rngs)]
        self.downsample = nnx.List(projection if stride > 1 or inputs != outputs else [])

    def __call__(self, x):
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = nnx.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        for layer in self.downsample:
            x = layer(x)
        return nnx.relu(x + y)


class ResNet(nnx.Module):
    """torchvision's network, two filters wide."""

    def __init__(self, rngs):
        self.conv1 = WITHOUT_BIAS(3, FILTERS, (7, 7), strides=2, padding=3, rngs=rngs)
        self.bn1 = NORM(FILTERS, rngs=rngs)
        inputs = FILTERS
        for stage, count in enumerate(STAGES):
            width, blocks = FILTERS * 2**stage, []
            for block in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if stage > 0 and block == 0 else 1, rngs))
                inputs = 4 * width
            setattr(self, f"layer{stage + 1}", nnx.List(blocks))
        self.dropout = nnx.Dropout(0.1, deterministic=True, rngs=rngs)
        self.fc = nnx.Linear(inputs, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
        return self.fc(self.dropout(jnp.mean(x, axis=(1, 2))))


def randomize(model):
    """Give a model random scales, offsets and statistics, so that each of them shows in the logits."""
    random = np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))):
        shape = variable.get_value().shape
        if path[-1] in {"scale", "var"}:
            variable.set_value(jnp.asarray(random.uniform(0.5, 1.5, shape), "float32"))
        elif path[-1] in {"bias", "mean"}:
            variable.set_value(jnp.asarray(random.normal(0, 0.1, shape), "float32"))


def main():
    """Save the network and what it computes."""
    model = ResNet(nnx.Rngs(0))
    randomize(model)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), "uint8")
    logits = np.asarray(model(pixels.astype("float32") / 64 - 2))
    np.savez(HERE / "nnx_resnet_logits.npz", pixels=pixels, logits=logits)
    arrays = nnx.to_pure_dict(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    (HERE / "nnx_resnet.msgpack").write_bytes(serialization.to_bytes(arrays))
    folder = HERE / "nnx"
    shutil.rmtree(folder, ignore_errors=True)
    state = nnx.state(model)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", state)
        checkpointer.save(folder / "pure", nnx.to_pure_dict(state))
    shutil.make_archive(str(HERE / "orbax_nnx"), "zip", folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
