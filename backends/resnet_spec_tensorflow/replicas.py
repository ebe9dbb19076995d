"""Replicas of a model on logical devices of this process, trained by ``tf.distribute.MirroredStrategy``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import BackendError
from resnet_spec_keras import training
from resnet_spec_keras.compilation import compile_graph
from resnet_spec_keras.execution import quiet
from resnet_spec_keras.framework import keras
from resnet_spec_keras.parameters import get_arrays, set_arrays
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.training import differentiate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch, Gradients
    from resnet_spec.graph import Graph


class TensorFlowReplicas:
    """The devices, each a part of the processor; see ``resnet_spec.backend.replicas.Replicas``."""

    def __init__(self, count: int) -> None:
        processor = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
        except RuntimeError:
            raise BackendError(
                "TensorFlow has been used in this process, which can have no replicas any more"
            ) from None
        self._count = count
        self._strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
        self._compiled: dict[Optimizer | None, tuple[Any, Callable[..., Any]]] = {}

    def compile(self, graph: Graph, *, dtype: ModelDType, exact_statistics: bool = False) -> Any:
        """Compile a model whose variables are on every device, in place of the last one."""
        self._compiled.clear()
        # Compiled functions refer to themselves, and keep gigabytes until they are collected.
        gc.collect()
        with self._strategy.scope():
            return compile_graph(graph, dtype, exact_statistics=exact_statistics, synchronized=True)

    def load(self, model: Any, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter on every device."""
        with self._strategy.scope():
            set_arrays(model, graph, arrays)

    def arrays(self, model: Any, graph: Graph) -> dict[str, NDArray[Any]]:
        """Return every parameter of the first device; those that devices keep apart are averaged."""
        with self._strategy.scope():
            return get_arrays(model, graph)

    def gradients(self, model: Any, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Return the loss of the whole batch, the summed gradients, and those of each device's images."""
        with quiet(), self._strategy.scope():
            _, differentiated = self._compiled.get(None) or self._gradients(model, graph)
            loss, found = self._run(differentiated, training.tensor_for(model, images), training.for_keras(targets))
            summed = [self._sum(gradient) for gradient in found[:-1]]
            of_images = tf.concat(self._strategy.experimental_local_results(found[-1]), 0)
            return training.channels_first_gradients(graph, self._sum(loss), [*summed, of_images])

    def train(self, model: Any, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step of Keras' optimizer for each batch, on every device."""
        with self._strategy.scope():
            native, step = self._compiled.get(optimizer) or self._steps(model, graph, optimizer)
            for variable in native.variables:
                variable.assign(tf.zeros_like(variable.value))

            def take_step(batch: Any, targets: Sequence[NDArray[Any]]) -> Any:
                return self._sum(self._run(step, batch, targets))

            return training.train(take_step, native, model, graph, batches, optimizer)

    def _gradients(self, model: Any, graph: Graph) -> tuple[None, Callable[..., Any]]:
        """Compile the gradients of a device."""
        parameters = training.trainable(model, graph)

        @tf.function(autograph=False)
        def differentiated(batch: Any, *targets: Any) -> tuple[Any, list[Any]]:
            return training.scaled(differentiate, model, batch, parameters, targets, 1 / self._count)

        self._compiled[None] = None, differentiated
        return self._compiled[None]

    def _steps(self, model: Any, graph: Graph, optimizer: Optimizer) -> tuple[Any, Callable[..., Any]]:
        """Compile a device's step of an optimizer, which sums the gradients of all devices."""
        parameters = training.trainable(model, graph)
        native = training.native_optimizer(optimizer, parameters)
        if hasattr(native, "epsilon"):
            # Compiled, a number could not change.
            native.epsilon = keras.Variable(native.epsilon, trainable=False, dtype="float64", autocast=False)

        @tf.function(autograph=False)
        def step(batch: Any, *targets: Any) -> Any:
            share = 1 / self._count
            return training.take_step(differentiate, model, parameters, native, optimizer, batch, targets, share)

        self._compiled[optimizer] = native, step
        return self._compiled[optimizer]

    def _run(self, function: Callable[..., Any], batch: Any, targets: Sequence[NDArray[Any]]) -> Any:
        """Run a function on every device, with its part of a batch."""
        return self._strategy.run(function, [self._divided(np.asarray(array)) for array in (batch, *targets)])

    def _divided(self, array: NDArray[Any]) -> Any:
        """Return an array's parts, one for each device."""
        parts = np.split(array, self._count)

        def own(context: Any) -> Any:
            return tf.constant(parts[context.replica_id_in_sync_group])

        return self._strategy.experimental_distribute_values_from_function(own)

    def _sum(self, value: Any) -> Any:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
