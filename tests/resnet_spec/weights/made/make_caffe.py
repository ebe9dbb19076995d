"""Makes a file of Caffe's ResNet-101: its names by Caffe's own code, its layout by Caffe's own protobuf schema.

Run with the Python code of Caffe's SSD branch (PyPI's caffe-ssd 0.1, whose compiled part needs Python 2), protobuf
3.20.3, OpenCV 4.11, which computes the logits, NumPy 1.26 and six (Python 3.11), as ``python -O``, since an assertion
there is Python 2's. The network has a 32nd of the channels.
"""

import builtins
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

HERE = Path(__file__).parent

# The package itself loads the compiled part, which its descriptions of networks do not need.
builtins.xrange = range
caffe = sys.modules["caffe"] = ModuleType("caffe")
caffe.__path__ = [str(next(Path(folder, "caffe") for folder in sys.path if Path(folder, "caffe/net_spec.py").exists()))]

from caffe.net_spec import NetSpec, layers, params  # noqa: E402

caffe.layers, caffe.params, caffe.NetSpec, caffe.proto = layers, params, NetSpec, sys.modules["caffe.proto"]

from caffe import model_libs  # noqa: E402

SIZE = 64


def narrow(*names, num_output, wide=model_libs.ConvBNLayer, **options):
    """A convolution with its normalization, with a 32nd of the channels that it is asked for."""
    wide(*names, num_output=num_output // 32, **options)


model_libs.ConvBNLayer = narrow


def described():
    """The network as its prototxt has it."""
    net = NetSpec()
    net.data = layers.Input(shape={"dim": [1, 3, SIZE, SIZE]})
    model_libs.ResNet101Body(net, "data", eps=1e-5, use_global_stats=True)
    net.fc1000 = layers.InnerProduct(net.pool5, num_output=5)
    return net.to_proto()


def filled(net):
    """The same with random weights, as a caffemodel has it."""
    random = np.random.default_rng(0)
    channels = {"data": 3}
    for layer in net.layer:
        if not layer.bottom:
            continue
        outputs = inputs = channels[layer.bottom[0]]
        arrays = []
        if layer.type == "Convolution":
            outputs = layer.convolution_param.num_output
            kernel = layer.convolution_param.kernel_size[0]
            arrays = [random.normal(0, (1.5 / inputs) ** 0.5 / kernel, (outputs, inputs, kernel, kernel))]
        elif layer.type == "InnerProduct":
            outputs = layer.inner_product_param.num_output
            arrays = [random.normal(0, inputs**-0.5, (outputs, inputs)), random.normal(size=outputs)]
        elif layer.type == "BatchNorm":
            # Sums over a number of batches, which the last blob has.
            arrays = [4 * random.normal(0, 0.1, inputs), 4 * random.uniform(0.5, 1.5, inputs), np.array([4.0])]
        elif layer.type == "Scale":
            size = 0.2 if layer.name.endswith("branch2c") else 1
            arrays = [size * random.uniform(0.5, 1.5, inputs), size * random.normal(0, 0.1, inputs)]
        for array in arrays:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.astype("float32").ravel().tolist())
        channels[layer.top[0]] = outputs
    return net


if __name__ == "__main__":
    prototxt = str(described())
    model = filled(described()).SerializeToString()
    (HERE / "caffe_resnet101.caffemodel").write_bytes(model)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, SIZE, SIZE), "uint8")
    net = cv2.dnn.readNetFromCaffe(prototxt.encode(), model)
    net.enableFusion(False)
    net.enableWinograd(False)
    net.setInput(pixels.astype("float32") / 64 - 2)
    logits = net.forward("fc1000")
    np.savez(HERE / "caffe_resnet101_logits.npz", pixels=pixels, logits=logits)
    print(len(model), logits.std(), cv2.__version__)
