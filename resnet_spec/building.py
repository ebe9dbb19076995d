"""From a spec to a native model with weights, in one call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec.backend.protocol import DType
from resnet_spec.backend.registry import find, get_backend
from resnet_spec.graph.initialization import initialize
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.download import resolve
from resnet_spec.weights.io import fit, read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: DType = "float32",
    *,
    exact_statistics: bool = False,
    adapt: str | Collection[str] = (),
    ema: bool = False,
    check_finite: bool = False,
    mmap: bool = False,
) -> Any:
    """Build a native model in inference mode.

    ``backend`` is ``torch`` (an ``nn.Module`` that takes NCHW), ``tensorflow`` (a ``keras.Model`` that takes NHWC),
    ``onnx`` (a model to be written) or another that is installed.
    ``weights`` is a path, the name of published weights, or arrays by the graph's parameter names; without, they are
    drawn by the spec's own rules from ``seed``, the same in every backend; given arrays are copied. ``adapt``, ``ema``,
    ``check_finite`` and ``mmap`` (for a file) are ``read_weights``'s. ``exact_statistics`` keeps the running variance
    as the spec states it where the framework's own layer keeps the other (biased or unbiased).

    Raises SpecError, WeightsError, DownloadError or BackendError.
    """
    if isinstance(spec, Spec):
        if overrides:
            raise TypeError("overrides are for a spec that is still to be loaded: give them to load()")
        loaded = spec
    else:
        loaded = load(spec, overrides)
    graph = loaded.to_graph()
    # Wrong weights are told before seconds go into importing a framework.
    find(backend)
    if isinstance(weights, str | Path):
        path = resolve(loaded, weights)
        arrays = read_weights(path, graph, adapt=adapt, ema=ema, check_finite=check_finite, seed=seed, mmap=mmap)
    elif weights is None:
        arrays = initialize(graph, seed)
    else:
        source = "the given arrays"
        arrays = fit(graph, _given(weights), source, adapt=adapt, check_finite=check_finite, seed=seed)
    compiler = get_backend(backend)
    model = compiler.compile(graph, dtype=dtype, exact_statistics=exact_statistics)
    compiler.load(model, graph, arrays)
    return model


def _given(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Read-only views, so that a backend copies them: training must not change what the caller still holds."""
    return {name: _read_only(array) for name, array in weights.items()}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
