"""The backend as the core sees it; the modules that need JAX are imported when one is made, not before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from resnet_spec.errors import BackendError
from resnet_spec_jax import OUTPUTS, PROCESS_SETTINGS
from resnet_spec_keras.backend import KerasBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.graph import Graph
    from resnet_spec.quantization import Quantization
    from resnet_spec_keras.training import Differentiate


class JaxBackend(KerasBackend):
    """Compiles graphs to Keras functional models of stock layers that run on JAX, channels last.

    Raises BackendError if Keras is set to run on another framework, ImportError if JAX is missing.
    """

    name: ClassVar[str] = "jax"
    outputs: ClassVar[Mapping[str, str]] = OUTPUTS
    process_settings: ClassVar[Mapping[str, str]] = PROCESS_SETTINGS

    def __init__(self) -> None:
        # Now, so that a missing framework is reported when the backend is requested.
        import_module("resnet_spec_jax.framework")

    def compile(
        self,
        graph: Graph,
        *,
        dtype: ModelDType | None = None,
        exact_statistics: bool = False,
        synchronized: bool = False,
    ) -> Any:
        """A ``keras.Model`` as every backend of Keras makes it.

        Raises:
            BackendError: Keras cannot express the graph, or JAX has no float64 as it is set, or ``synchronized`` is
                asked for: on JAX statistics are those of the whole batch, however it is sharded.
        """
        if synchronized:
            raise BackendError(
                "on JAX a batch normalization computes over the whole batch, also if it is sharded over devices by"
                " keras.distribution; leave out synchronized=True"
            )
        _check(dtype)
        return super().compile(graph, dtype=dtype, exact_statistics=exact_statistics)

    def compile_quantized(self, graph: Graph, quantization: Quantization, *, dtype: ModelDType | None = None) -> Any:
        """The 8-bit form of an optimized graph, as every backend of Keras makes it."""
        _check(dtype)
        return super().compile_quantized(graph, quantization, dtype=dtype)

    @property
    def differentiate(self) -> Differentiate:
        """Gradients by JAX's transformation of the model as a function of its variables."""
        from resnet_spec_jax.training import differentiate

        return differentiate

    def environment(self) -> dict[str, str]:
        """Versions, devices and settings that change rounding."""
        from resnet_spec_jax.environment import describe

        return describe()


def _check(dtype: ModelDType | None) -> None:
    from resnet_spec_jax.float64 import keep_float64
    from resnet_spec_jax.framework import jax, keras

    if (dtype or keras.config.dtype_policy().compute_dtype) != "float64":
        return
    if not jax.config.jax_enable_x64:
        raise BackendError(
            "JAX computes in float32 where float64 is asked for; set the environment variable JAX_ENABLE_X64=1 before"
            " jax is imported, or call jax.config.update('jax_enable_x64', True)"
        )
    keep_float64()
