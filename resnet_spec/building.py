"""Builds a native model with weights from a spec, and saves one, each in one call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from resnet_spec.backend.protocol import Backend, DType
from resnet_spec.backend.registry import find, get_backend
from resnet_spec.graph import Graph
from resnet_spec.graph.initialization import initialize
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.atomic import ending
from resnet_spec.weights.converting import SAVED_MODEL, Target, convert, find_target, write_model
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
    _remember(model, graph, compiler)
    return model


_BUILT: dict[int, tuple[Graph, Backend]] = {}
"""The graph and the backend of each living model that ``build`` returned, by its id; a model itself stays as it is."""


def _remember(model: Any, graph: Graph, compiler: Backend) -> None:
    # What cannot be referred to is saved with its spec.
    with suppress(TypeError):
        weakref.finalize(model, _BUILT.pop, id(model), None).atexit = False
        _BUILT[id(model)] = graph, compiler


def save(
    model: Any,
    path: str | Path,
    spec: str | Path | Spec | Graph | None = None,
    *,
    half: bool = False,
    force: bool = False,
) -> None:
    """Save a model as it is now, for example after training; the ending of the path decides the format.

    ``.safetensors``, ``.npz``, ``.msgpack``, ``.pth`` and ``.weights.h5`` are weights; ``.pt2``, ``.keras``, ``.h5``,
    ``.onnx``, ``.tflite`` and a folder without an ending (a SavedModel) are whole models. Each installed backend writes
    its formats, of whatever backend the model is. The file or folder appears whole or not at all, so that it may be the
    one that the model was loaded from.

    Args:
        model: A model that ``build`` returned, trained or not; or, with its spec, another model of an installed
            backend, such as an ``nn.Module``, which is compared with the spec layer by layer.
        path: Where to write.
        spec: What the model was built from, if ``build`` did not return it, or if it is a copy of what ``build``
            returned: a name, a path, a ``Spec`` or a ``Graph``.
        half: Whether to store the weights in half precision, in the formats that can.
        force: Whether to replace what exists at ``path``.

    Raises:
        TypeError: The model is not one that ``build`` returned, and no spec is given; or it is no model.
        OutputError: No installed backend writes this format, or the path exists or cannot be written.
        WeightsError: The model's parameters are not those of the spec, or are too large for half precision.
        BackendError: The backend that writes the format cannot be imported.

    Examples:
        >>> from resnet_spec import build, save
        >>> model = build("cifar/resnet20", "torch")
        >>> save(model, "resnet20.safetensors")
        >>> again = build("cifar/resnet20", "tensorflow", "resnet20.safetensors")
    """
    built = _BUILT.get(id(model))
    graph = _graph(spec) if spec is not None else built[0] if built else None
    if graph is None:
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise TypeError(f"build() did not return this {kind}: give what it is built from, save(model, path, spec=...)")
    path = Path(path)
    if built and built[0].fingerprint == graph.fingerprint:
        compiler = built[1]
        if ending(path, compiler.outputs) in compiler.outputs:
            write_model(model, graph, path, compiler, half=half, force=force)
            return
        target = _target(path, force)
        arrays = compiler.arrays(model, graph)
    else:
        # Before a large model is read in vain.
        target = _target(path, force)
        arrays = fit_model(graph, model)
    convert(graph, arrays, target, half=half, force=force)


def _graph(spec: str | Path | Spec | Graph) -> Graph:
    if isinstance(spec, Graph):
        return spec
    return (spec if isinstance(spec, Spec) else load(spec)).to_graph()


def _target(path: Path, force: bool) -> Target:
    return find_target(path, None if path.suffix else SAVED_MODEL, force=force)


def _given(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Read-only views, so that a backend copies them: training must not change what the caller still holds."""
    return {name: _read_only(array) for name, array in weights.items()}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
