"""Builds a native model with weights from a spec, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from resnet_spec.backend.protocol import DType
from resnet_spec.backend.registry import find, get_backend
from resnet_spec.graph.initialization import initialize
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.download import resolve
from resnet_spec.weights.io import Reading, fit_arrays, fit_model, read_weights

if TYPE_CHECKING:
    import keras  # pyright: ignore[reportMissingTypeStubs]
    from numpy.typing import NDArray
    from torch import nn


class _Dtype(TypedDict, total=False):
    dtype: DType


@overload
def build(
    spec: str | Path | Spec,
    backend: Literal["torch", "pytorch"],
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: DType | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    **reading: Unpack[Reading],
) -> nn.Module: ...


@overload
def build(
    spec: str | Path | Spec,
    backend: Literal["tensorflow", "tf"],
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: DType | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    **reading: Unpack[Reading],
) -> keras.Model: ...


@overload
def build(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: DType | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    **reading: Unpack[Reading],
) -> Any: ...


def build(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: DType | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    **reading: Unpack[Reading],
) -> Any:
    """Build a native model in inference mode.

    Args:
        spec: The name of a shipped spec (``"resnet50"``, ``"timm/resnet50d"``), the path of a YAML file, or a ``Spec``.
        backend: ``"torch"`` for an ``nn.Module`` that takes NCHW, ``"tensorflow"`` (or ``"tf"``) for a ``keras.Model``
            that takes NHWC, ``"onnx"`` for a model to be written, or the name of another installed backend.
        weights: A path, the name of published weights, or named arrays, which are copied; their names may be any that
            a file may have. A model of an installed backend, such as an ``nn.Module`` or a Keras model, is compared
            with the spec, layer by layer, and its weights are copied whatever their names.
            Without weights, the model is initialized at random by the spec's own rules, the same in every backend.
        seed: The seed of the initialization.
        overrides: Changes of the spec: dotted keys and their values, or one or several ``KEY=VALUE`` texts.
        dtype: ``"float32"`` or ``"float64"``. By default the framework's own setting: PyTorch's default dtype, or
            Keras' global dtype policy, which may be mixed. A PyTorch model is created on PyTorch's default device.
        exact_statistics: Whether to keep the running variance as the spec states it (biased or unbiased) where the
            framework's own layer keeps the other.
        mmap: Whether to map a file of weights instead of reading it, as in ``read_weights``, which states the danger.
        **reading: How to read the weights: ``adapt``, ``take``, ``ema``, ``strict_graph`` and ``check_finite``, as in
            ``read_weights``.

    Returns:
        The framework's own kind of model, with its parameters set.

    Raises:
        SpecError: The spec or an override is wrong.
        WeightsError: The weights cannot be read, or do not fit.
        DownloadError: Published weights cannot be fetched.
        BackendError: The backend is not installed or cannot be imported, or cannot follow the framework's setting.
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
        arrays = read_weights(path, graph, seed=seed, mmap=mmap, **reading)
    elif weights is None:
        arrays = initialize(graph, seed)
    elif isinstance(weights, Mapping):
        given = cast("Mapping[str, NDArray[Any]]", weights)
        arrays = fit_arrays(graph, _given(given), "the given arrays", seed=seed, **reading)
    else:
        arrays = _given(fit_model(graph, weights, seed=seed, **reading))
    compiler = get_backend(backend)
    # Without a dtype a backend's own default counts.
    chosen: _Dtype = {} if dtype is None else {"dtype": dtype}
    model = compiler.compile(graph, exact_statistics=exact_statistics, **chosen)
    compiler.load(model, graph, arrays)
    return model


def _given(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Read-only views, so that a backend copies them: training must not change what the caller still holds."""
    return {name: _read_only(array) for name, array in weights.items()}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
