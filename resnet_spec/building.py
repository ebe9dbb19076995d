"""Builds a native model with weights from a spec, in one call."""

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

    Args:
        spec: The name of a shipped spec (``"resnet50"``, ``"timm/resnet50d"``), the path of a YAML file, or a ``Spec``.
        backend: ``"torch"`` for an ``nn.Module`` that takes NCHW, ``"tensorflow"`` (or ``"tf"``) for a ``keras.Model``
            that takes NHWC, ``"onnx"`` for a model to be written, or the name of another installed backend.
        weights: A path, the name of published weights, or arrays by the graph's parameter names, which are copied.
            Without weights, the model is initialized at random by the spec's own rules, the same in every backend.
        seed: The seed of the initialization.
        overrides: Changes of the spec: dotted keys and their values, or one or several ``KEY=VALUE`` texts.
        dtype: ``"float32"`` or ``"float64"``.
        exact_statistics: Whether to keep the running variance as the spec states it (biased or unbiased) where the
            framework's own layer keeps the other.
        adapt: Adaptations of the weights to this network, as in ``read_weights``.
        ema: Whether to take exponential moving averages, where ``weights`` is a file.
        check_finite: Whether to refuse weights that contain NaN or infinity.
        mmap: Whether to map a file of weights instead of reading it, as in ``read_weights``, which states the danger.

    Returns:
        The framework's own kind of model, with its parameters set.

    Raises:
        SpecError: The spec or an override is wrong.
        WeightsError: The weights cannot be read, or do not fit.
        DownloadError: Published weights cannot be fetched.
        BackendError: The backend is not installed or cannot be imported.
        TypeError: ``overrides`` are given for a ``Spec`` that is loaded already.

    Examples:
        >>> model = build("cifar/resnet20", "torch", overrides="parameters.classes=7")
        >>> model.linear.out_features
        7
    """
    if isinstance(spec, Spec):
        if overrides:
            raise TypeError("overrides apply while a spec is loaded: pass them to load()")
        loaded = spec
    else:
        loaded = load(spec, overrides)
    graph = loaded.to_graph()
    # Wrong weights are reported before seconds go into importing a framework.
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
