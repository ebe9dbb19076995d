"""Makes the records of TensorFlow's official ResNet v1.5, which MLPerf's frozen graph was made of.

Run with TensorFlow 2.21.0, tf_keras 2.21.0 and, on the path, tensorflow/models' official/r1/resnet/resnet_model.py at
commit 185849599ade1e416391d850cded15907880d357, which no package has. Its normalizations are in float32.
"""

import importlib
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf

# TensorFlow looks for tf.layers where it was before Keras moved it.
for part in ("", ".base", ".core", ".normalization", ".convolutional", ".pooling", ".variable_scope_shim"):
    home = "tf_keras.legacy_tf_layers" + part
    sys.modules[home] = importlib.import_module(home.replace("tf_keras.", "tf_keras.src."))

from recorded import record  # noqa: E402
from resnet_model import Model  # noqa: E402

v1 = tf.compat.v1


def network(size, bottleneck, blocks):
    """The network that imagenet_main.py makes, with a sixteenth of the channels."""
    return Model(
        resnet_size=size,
        bottleneck=bottleneck,
        num_classes=5,
        num_filters=4,
        kernel_size=7,
        conv_stride=2,
        first_pool_size=3,
        first_pool_stride=2,
        block_sizes=blocks,
        block_strides=[1, 2, 2, 2],
        resnet_version=1,
        data_format="channels_last",
    )


def record_graph(name, library, model):
    """Write the record of a network in TensorFlow 1's graph mode, by the constants of its frozen graph."""
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        image = v1.placeholder(tf.float32, (None, None, None, 3), "input_tensor")
        logits = model(image, training=False)
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [logits.op.name])
        constants = {node.name for node in frozen.node if node.op == "Const"}
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        assert constants >= variables.keys()

        def compute(arrays, pixels):
            for key, variable in variables.items():
                variable.load(arrays[key], session)
            return session.run(logits, {image: pixels.transpose(0, 2, 3, 1)})

        shapes = {key: tuple(variable.shape.as_list()) for key, variable in variables.items()}
        record(name, library, shapes, compute, inputs_last=True)


if __name__ == "__main__":
    record_graph("mlperf_resnet50", "tensorflow/models official/r1", network(50, True, [3, 4, 6, 3]))
    record_graph("mlperf_resnet34", "tensorflow/models official/r1", network(34, False, [3, 4, 6, 3]))
