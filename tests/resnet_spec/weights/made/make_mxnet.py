"""Makes the files of MXNet; run with mxnet 1.9.1, gluoncv 0.10.5 and NumPy 1.23.5 (Python 3.11).

The networks are the model zoo's own classes with fewer and narrower blocks.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

# MXNet 1.9 has names that NumPy removed.
np.bool = bool

import mxnet as mx  # noqa: E402
from mxnet.gluon.model_zoo.vision.resnet import BottleneckV1, BottleneckV2, ResNetV1, ResNetV2  # noqa: E402

# GluonCV itself imports libraries that this module of it does not need.
_PLACE = next(Path(folder, "gluoncv/model_zoo/resnetv1b.py") for folder in sys.path if Path(folder, "gluoncv").is_dir())
_SPEC = importlib.util.spec_from_file_location("resnetv1b", _PLACE)
resnetv1b = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(resnetv1b)

HERE = Path(__file__).parent
LAYERS, CHANNELS, CLASSES = [2, 1, 1, 1], [2, 8, 16, 32, 64], 5


class Narrow(resnetv1b.ResNetV1b):
    """GluonCV's network, whose widths cannot be set, with a 32nd of them in its blocks."""

    def _make_layer(self, stage_index, block, planes, *arguments, **options):
        return super()._make_layer(stage_index, block, planes // 32, *arguments, **options)


def perturb(net):
    """Random scales and statistics, so that each of them shows in the logits."""
    random = np.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        shape = parameter.shape
        if name.endswith(("_gamma", "_beta")) and parameter.grad_req == "null":
            # The scale and the offset of the image's normalization are fixed.
            continue
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.array(random.uniform(0.5, 1.5, shape)))
        elif name.endswith(("beta", "running_mean", "bias")):
            parameter.set_data(mx.nd.array(random.normal(0, 0.1, shape)))


def make_network(name, net):
    """A network as ``save_parameters`` and as ``export`` save it, and what it computes."""
    mx.random.seed(0)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 48, 48), "uint8")
    image = mx.nd.array(pixels.astype("float32") / 64 - 2)
    net(image)
    perturb(net)
    logits = net(image).asnumpy()
    net.save_parameters(str(HERE / f"mxnet_{name}.params"))
    net.export(str(HERE / f"mxnet_{name}"))
    (HERE / f"mxnet_{name}-symbol.json").unlink()
    np.savez(HERE / f"mxnet_{name}_logits.npz", pixels=pixels, logits=logits)


def make_types():
    """Every type of numbers, in the records of MXNet 1 and of its NumPy interface."""
    arrays = {
        dtype: mx.nd.array(np.arange(6).reshape(2, 3), dtype=dtype)
        for dtype in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
    }
    arrays["arg:prefixed"] = mx.nd.ones((3,))
    arrays["aux:statistic"] = mx.nd.zeros((2,))
    mx.nd.save(str(HERE / "mxnet_types.params"), arrays)
    mx.nd.save(str(HERE / "mxnet_sparse.params"), {"sparse": mx.nd.array(np.eye(3)).tostype("csr")})
    mx.nd.save(str(HERE / "mxnet_unnamed.params"), [mx.nd.ones((2,))])
    mx.npx.set_np()
    new = {"scalar": mx.np.array(2.5), "empty": mx.np.zeros((0, 3)), "bool": mx.np.array([True, False], dtype="bool")}
    mx.npx.save(str(HERE / "mxnet_numpy.params"), new)
    mx.npx.reset_np()


if __name__ == "__main__":
    make_types()
    make_network("resnet_v1", ResNetV1(BottleneckV1, LAYERS, CHANNELS, classes=CLASSES))
    make_network("resnet_v2", ResNetV2(BottleneckV2, LAYERS, CHANNELS, classes=CLASSES))
    narrow = Narrow(resnetv1b.BottleneckV1b, LAYERS, classes=CLASSES)
    narrow.fc.weight._shape = (CLASSES, 64)
    make_network("resnet_v1b", narrow)
