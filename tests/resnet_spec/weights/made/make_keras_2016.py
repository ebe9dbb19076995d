"""Makes the records of Keras' ResNet50 with its names of 2016.

Run with TensorFlow 2.21.0 and tf_keras 2.21.0, whose layers stand for those of Keras 2, keras_applications 1.0.8, and
the applications of Keras 2.0.8 in a folder that the only argument names (Python 3.11). The networks are the libraries'
own functions with a sixteenth of the channels.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tf_keras as keras
from keras_applications import resnet50 as applications
from recorded import record

PARTS = {"backend": keras.backend, "models": keras.models, "utils": keras.utils}


class Narrow(keras.layers.Conv2D):
    """A convolution with a sixteenth of the channels that it is asked for."""

    def __init__(self, filters, *arguments, **options):
        super().__init__(filters // 16, *arguments, **options)


def of_keras_2(folder):
    """The module of Keras 2.0.8, with tf_keras for the package that it is part of."""
    missing = ModuleType("tf_keras.engine")
    missing.topology = ModuleType("tf_keras.engine.topology")
    missing.topology.get_source_inputs = keras.utils.get_source_inputs
    sys.modules |= {"tf_keras.engine": missing, "tf_keras.engine.topology": missing.topology}
    keras.utils.layer_utils, keras.utils.data_utils = ModuleType("layer_utils"), ModuleType("data_utils")
    keras.utils.data_utils.get_file = None
    sys.modules["tf_keras.utils.data_utils"] = keras.utils.data_utils
    for name in ("imagenet_utils", "resnet50"):
        spec = importlib.util.spec_from_file_location(f"tf_keras.applications.{name}", Path(folder, f"{name}.py"))
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def record_keras(name, library, model, sizes):
    """Write the record of a Keras model without its softmax, in float64."""
    model.layers[-1].activation = keras.activations.linear

    def compute(arrays, pixels):
        for variable in model.variables:
            variable.assign(arrays[variable.name])
        return model(pixels.transpose(0, 2, 3, 1), training=False).numpy()

    shapes = {variable.name: tuple(variable.shape) for variable in model.variables}
    record(name, library, shapes, compute, sizes, inputs_last=True)


if __name__ == "__main__":
    keras.backend.set_floatx("float64")
    tf.random.set_seed(0)
    layers = SimpleNamespace(**{**vars(keras.layers), "Conv2D": Narrow})
    size = 224
    model = applications.ResNet50(weights=None, input_shape=(size, size, 3), classes=5, layers=layers, **PARTS)
    record_keras("keras_2016_applications", "keras_applications 1.0.8", model, (size,))
    module = of_keras_2(sys.argv[1])
    module.Conv2D = Narrow
    keras.backend.clear_session()
    model = module.ResNet50(weights=None, input_shape=(size, size, 3), classes=5)
    record_keras("keras_2016_keras", "Keras 2.0.8", model, (size,))
