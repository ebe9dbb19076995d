"""The one layer Keras lacks: batch normalisation whose running variance is unbiased, as PyTorch keeps it.

A graph that asks for it is compiled with Keras' own layer all the same, unless exact statistics are wanted, so that
the saved model loads on a machine without this package.
"""

from __future__ import annotations

from typing import Any

from resnet_spec_tensorflow.framework import keras


@keras.saving.register_keras_serializable(package="resnet_spec")
class UnbiasedBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization that keeps the running variance divided by n - 1 instead of n.

    Takes the arguments of ``keras.layers.BatchNormalization``; inputs have the channels last. The batch itself is
    still normalised by its biased variance, as in PyTorch. A batch of one value a channel has no unbiased variance
    and counts as 0.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise ``inputs`` (batch, ..., channels); in training mode move the running statistics."""
        parent: Any = super()
        if not (training and self.trainable):
            return parent.call(inputs, training=training, mask=mask)
        before = keras.ops.convert_to_tensor(self.moving_variance)
        outputs = parent.call(inputs, training=training, mask=mask)
        after = keras.ops.convert_to_tensor(self.moving_variance)
        shape = keras.ops.shape(inputs)
        count = 1
        for size in shape[:-1]:
            count = count * size
        others = keras.ops.cast(keras.ops.maximum(count - 1, 1), after.dtype)
        # What the batch added, times n/(n-1), is what it added once more divided by n-1.
        self.moving_variance.assign(after + (after - self.momentum * before) / others)
        return outputs
