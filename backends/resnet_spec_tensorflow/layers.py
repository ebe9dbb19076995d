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
        # A product, since what merely reads a variable sees a later assignment too.
        kept = self.moving_variance * self.momentum
        outputs = parent.call(inputs, training=training, mask=mask)
        added = self.moving_variance - kept
        # What the batch added, times n/(n-1), is what it added once more divided by n-1.
        self.moving_variance.assign_add(added / keras.ops.cast(_others(inputs), added.dtype))
        return outputs


def _others(inputs: Any) -> Any:
    """How many values a channel has besides one, and at least 1."""
    values = keras.ops.prod(keras.ops.shape(inputs)[:-1])
    return keras.ops.maximum(values - 1, 1)
