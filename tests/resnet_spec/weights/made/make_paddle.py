"""Makes the files of PaddlePaddle; run with paddlepaddle 3.3.1.

The network is paddle.vision's own class with fewer and narrower blocks.
"""

from pathlib import Path

import numpy as np
import paddle
from paddle.vision.models.resnet import BottleneckBlock, ResNet

HERE = Path(__file__).parent
CLASSES = 5


class Narrow(ResNet):
    """paddle.vision's network with a 32nd of the channels in its blocks, and at most two of these in a stage."""

    def __init__(self):
        super().__init__(BottleneckBlock, 50, num_classes=CLASSES)
        self.fc = paddle.nn.Linear(64, CLASSES)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        return super()._make_layer(block, planes // 32, 2 if planes == 64 else 1, stride, dilate)


def make_network():
    """A network's state as ``paddle.save`` saves it, and what it computes."""
    paddle.seed(0)
    random = np.random.default_rng(0)
    net = Narrow()
    net.eval()
    for name, parameter in net.state_dict().items():
        if name.endswith("_variance") or (name.endswith("weight") and parameter.ndim == 1):
            parameter.set_value(random.uniform(0.5, 1.5, parameter.shape).astype("float32"))
        elif name.endswith(("_mean", "bias")):
            parameter.set_value(random.normal(0, 0.1, parameter.shape).astype("float32"))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 48, 48), "uint8")
    logits = net(paddle.to_tensor(pixels.astype("float32") / 64 - 2)).numpy()
    paddle.save(net.state_dict(), str(HERE / "paddle_resnet.pdparams"))
    np.savez(HERE / "paddle_resnet_logits.npz", pixels=pixels, logits=logits)


def make_types():
    """Every type of numbers, bfloat16 and a scalar among them, and other objects beside them."""
    tree = {
        dtype: paddle.arange(6, dtype="float32").reshape([2, 3]).astype(dtype)
        for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")
    }
    tree["bfloat16"] = (paddle.arange(6, dtype="float32") / 7).reshape([2, 3]).astype("bfloat16")
    tree["nested"] = {"scalar": paddle.to_tensor(2.5), "number": 3, "text": "text"}
    for protocol in (2, 4):
        paddle.save(tree, str(HERE / f"paddle_types_{protocol}.pdparams"), protocol=protocol)


if __name__ == "__main__":
    make_types()
    make_network()
