"""Builds a native model with weights from a spec, and saves one, each in one call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack, cast, overload

from resnet_spec.backend.dtypes import HalfDType, ModelDType, checked_dtype, is_half
from resnet_spec.backend.optimizing import Forms, core_forms, finish, optimized
from resnet_spec.backend.protocol import Backend
from resnet_spec.backend.quantizing import quantizing
from resnet_spec.backend.registry import find, get_backend
from resnet_spec.backend.training import begin_training, check_trains, counters_of, set_counters
from resnet_spec.errors import WeightsError
from resnet_spec.graph import Graph
from resnet_spec.graph.initialization import initialize
from resnet_spec.quantization import Quantization, check, report_other_weights
from resnet_spec.spec.loader import Overrides, load
from resnet_spec.spec.spec import Spec
from resnet_spec.weights.atomic import ending
from resnet_spec.weights.converting import SAVED_MODEL, Target, convert, find_target, write_model
from resnet_spec.weights.download import resolve
from resnet_spec.weights.io import Fitted, Reading, accepting_half, fit_arrays, fit_file, fit_model
from resnet_spec.weights.matching import report_nonfinite

if TYPE_CHECKING:
    import keras  # pyright: ignore[reportMissingTypeStubs]
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from resnet_spec.operations.fields import Shape


class _Dtype(TypedDict, total=False):
    dtype: ModelDType


class _Options(Reading, total=False):
    exact_statistics: bool
    mmap: bool
    training: bool
    synchronized: bool
    optimize: bool
    quantization: str | Path | Quantization | None


@overload
def build(
    spec: str | Path | Spec,
    backend: Literal["torch", "pytorch"],
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: ModelDType | torch.dtype | None = None,
    **options: Unpack[_Options],
) -> nn.Module: ...


@overload
def build(
    spec: str | Path | Spec,
    backend: Literal["tensorflow", "tf", "jax"],
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: ModelDType | None = None,
    **options: Unpack[_Options],
) -> keras.Model: ...


@overload
def build(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: ModelDType | None = None,
    **options: Unpack[_Options],
) -> Any: ...


def build(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: ModelDType | torch.dtype | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    training: bool = False,
    synchronized: bool = False,
    optimize: bool = False,
    quantization: str | Path | Quantization | None = None,
    **reading: Unpack[Reading],
) -> Any:
    """Build a native model, in inference mode unless ``training`` asks for training mode.

    Args:
        spec: The name of a shipped spec (``"resnet50"``, ``"timm/resnet50d"``), the path of a YAML file, or a ``Spec``.
        backend: ``"torch"`` for an ``nn.Module`` that takes NCHW, ``"tensorflow"`` (or ``"tf"``) or ``"jax"`` for a
            ``keras.Model`` that takes NHWC, ``"onnx"`` for a model to be written, or the name of another installed
            backend.
        weights: A path, the name of published weights, or named arrays, which are copied; their names may be any that
            a file may have. A model of an installed backend, such as an ``nn.Module`` or a Keras model, is compared
            with the spec, layer by layer, and its weights are copied whatever their names.
            Without weights, the model is initialized at random by the spec's own rules, the same in every backend.
        seed: The seed of the initialization.
        overrides: Changes of the spec: dotted keys and their values, or one or several ``KEY=VALUE`` texts.
        dtype: ``"float32"``, ``"float64"``, ``"bfloat16"``, ``"float16"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``;
            in the last four weights may be in half precision too. A mixed policy is Keras' own, and in PyTorch autocast
            around ``forward``. By default the framework's own setting: PyTorch's default dtype, or Keras' global dtype
            policy. A PyTorch model is on PyTorch's default device.
        exact_statistics: Whether to keep the running variance as the spec states it (biased or unbiased) where the
            framework's own layer keeps the other.
        mmap: Whether to map a file of weights instead of reading it, as in ``read_weights``, which states the danger.
        training: Whether a PyTorch model is in training mode, as torchvision's and timm's constructors return theirs.
            In inference mode it trains too, with the running statistics and without dropout: loops that do not call
            ``model.train()``, such as Lightning's, leave it so. Keras models have no mode: ``fit`` trains.
        synchronized: Whether batch normalizations train by the batch of all processes of PyTorch's default group, or
            of all replicas of the strategy of ``tf.distribute`` in whose scope the model is built.
        optimize: Whether to build the fastest form for inference: normalizations folded into the layers beside them,
            standardized kernels computed, padding merged, and layers that act in training only removed
            (``resnet_spec.optimization``), then what only the backend decides, such as the layout in memory. The
            weights may be those of the spec or of its optimized form. Such a model does not train.
        quantization: What ``quantize`` returned, or the file that it was written to. The model is then 8-bit, of the
            optimized form: its values and kernels are rounded to their grids as they are computed. In PyTorch and
            TensorFlow it trains, with gradients that pass the roundings straight through; ``.onnx`` and ``.tflite``
            files have kernels of 8-bit integers, with which their runtimes compute.
        **reading: How to read the weights: ``adapt``, ``take``, ``ema``, ``strict_graph`` and ``check_finite``, as in
            ``read_weights``.

    Returns:
        The framework's own kind of model, with its parameters set.

    Raises:
        SpecError: The spec or an override is wrong.
        WeightsError: The weights cannot be read, or do not fit.
        DownloadError: Published weights cannot be fetched.
        QuantizationError: The quantization is of another network.
        BackendError: The backend is not installed or cannot be imported, or cannot follow the framework's setting, or
            has no 8-bit form of the network, or its models do not train, or cannot be synchronized.
        TypeError: ``overrides`` are given for a loaded ``Spec``, ``training`` or ``synchronized`` together with
            ``optimize``, or ``quantization`` is neither of the two.

    Examples:
        >>> model = build("cifar/resnet20", "torch", overrides="parameters.classes=7")
        >>> model.linear.out_features
        7
    """
    return built_with_graph(
        spec,
        backend,
        weights,
        seed,
        overrides,
        dtype,
        exact_statistics=exact_statistics,
        mmap=mmap,
        training=training,
        synchronized=synchronized,
        optimize=optimize,
        quantization=quantization,
        **reading,
    )[0]


def built_with_graph(
    spec: str | Path | Spec,
    backend: str,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    overrides: Overrides | None = None,
    dtype: ModelDType | torch.dtype | None = None,
    *,
    exact_statistics: bool = False,
    mmap: bool = False,
    training: bool = False,
    synchronized: bool = False,
    optimize: bool = False,
    quantization: str | Path | Quantization | None = None,
    **reading: Unpack[Reading],
) -> tuple[Any, Graph]:
    """Build a model as ``build`` does, and return the graph that it was compiled from too: the optimized one, if any.

    Args:
        spec: As for ``build``, like all that follow.
        backend: The backend.
        weights: The weights.
        seed: The seed.
        overrides: The overrides.
        dtype: The dtype.
        exact_statistics: Whether to keep the running variance as the spec states it.
        mmap: Whether to map a file of weights.
        training: Whether to put the model in training mode.
        synchronized: Whether batch normalizations train by the batch of all processes.
        optimize: Whether to build the optimized form.
        quantization: What is quantized.
        **reading: How to read the weights.

    Returns:
        The model and its graph.
    """
    if (training or synchronized) and optimize:
        wanted = "training" if training else "synchronized"
        raise TypeError(f"a model with optimize=True does not train; leave out optimize or {wanted}")
    if isinstance(spec, Spec):
        if overrides:
            raise TypeError("overrides apply while a spec is loaded: pass them to load()")
        loaded = spec
    else:
        loaded = load(spec, overrides)
    graph = loaded.to_graph()
    # Without a dtype a backend's own default counts.
    chosen: _Dtype = {} if dtype is None else {"dtype": checked_dtype(dtype)}
    if is_half(chosen.get("dtype")):
        reading = accepting_half(reading)
    quantized = Quantization.read(quantization) if isinstance(quantization, str | Path) else quantization
    if not isinstance(quantized, Quantization | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"quantization is a Quantization or the path of its file, not {type(quantized).__name__}")
    # Wrong weights are reported before seconds go into importing a framework.
    find(backend)
    fitted = None
    try:
        if weights is None:
            fitted = Fitted(initialize(graph, seed))
        else:
            fitted = weights_of(loaded, graph, weights, seed, mmap, reading)
    except WeightsError:
        # They may be those of an optimized form, which the backend determines.
        if not optimize and quantized is None:
            raise
    compiler = get_backend(backend)
    if training or synchronized:
        check_trains(compiler, "training" if training else "synchronized")
    if quantized is not None:
        forms = core_forms(graph)
        check(forms.graphs[-1], quantized, graph.fingerprint)
    else:
        forms = optimized(compiler, graph) if optimize else Forms.unchanged(graph)
    if fitted is None:
        fitted = _in_any_form(loaded, forms, weights, seed, mmap, reading)
    else:
        fitted = fitted._replace(arrays=forms.rewriting.arrays(fitted.arrays))
    if quantized is not None:
        report_other_weights(quantized, fitted.arrays)
        model = quantizing(compiler).compile_quantized(forms.graphs[-1], quantized, **chosen)
    else:
        # Backends that cannot synchronize need not have the argument.
        asked: dict[str, Any] = {"synchronized": True} if synchronized else {}
        model = compiler.compile(forms.graphs[-1], exact_statistics=exact_statistics, **chosen, **asked)
    _load(compiler, model, forms.graphs[-1], fitted)
    if optimize and quantized is None:
        finish(compiler, model)
    if training:
        begin_training(compiler, model)
    _remember(model, _Built(loaded, forms, compiler))
    return model, forms.graphs[-1]


def load_weights(
    model: Any,
    weights: str | Path | Mapping[str, NDArray[Any]] | Callable[..., Any],
    *,
    mmap: bool = False,
    **reading: Unpack[Reading],
) -> None:
    """Load weights into a model that ``build`` returned, in place; they may be of the spec or of its optimized form.

    The model stays in its mode, and so does what is frozen. Counts of batches become those of the weights, or 0.

    Args:
        model: A model that ``build`` returned.
        weights: As for ``build``: a path, the name of published weights, named arrays, or a live model.
        mmap: Whether to map a file of weights instead of reading it; the values are copied into the model.
        **reading: How to read the weights, as in ``read_weights``.

    Raises:
        TypeError: ``build`` did not return this model.
        WeightsError: The weights cannot be read, or do not fit; the model is then unchanged.
        DownloadError: Published weights cannot be fetched.

    Examples:
        >>> from resnet_spec import build, initialize, load
        >>> model = build("cifar/resnet20", "torch", optimize=True)
        >>> load_weights(model, initialize(load("cifar/resnet20").to_graph(), seed=1))
    """
    built = _built(model, "load weights when you build it, or with its own library")
    _load(built.compiler, model, built.graph, _in_any_form(built.spec, built.forms, weights, 0, mmap, reading))


def _load(compiler: Backend, model: Any, graph: Graph, fitted: Fitted) -> None:
    compiler.load(model, graph, fitted.arrays)
    set_counters(compiler, model, graph, fitted.counters)


def _in_any_form(spec: Spec, forms: Forms, weights: Any, seed: int, mmap: bool, reading: Reading) -> Fitted:
    """Return the arrays of the last form from weights of any form; raises the error of the first if none fits."""
    failed: WeightsError | None = None
    for graph, rewriting in zip(forms.graphs, forms.rewritings, strict=True):
        try:
            fitted = weights_of(spec, graph, weights, seed, mmap, reading)
            return fitted._replace(arrays=rewriting.arrays(fitted.arrays))
        except WeightsError as error:
            failed = failed or error
    assert failed is not None  # noqa: S101 - there is a form
    raise failed


def weights_of(spec: Spec, graph: Graph, weights: Any, seed: int, mmap: bool, reading: Reading) -> Fitted:
    """Return weights of any kind that ``build`` takes as a graph's arrays.

    Args:
        spec: The spec, whose published weights may be named.
        graph: The spec's graph, or another form of it.
        weights: A path, the name of published weights, named arrays, or a live model.
        seed: The seed of what is initialized at random.
        mmap: Whether to map a file.
        reading: How to read the weights.

    Returns:
        The arrays by name, and the counts of batches.
    """
    if isinstance(weights, str | Path):
        return fit_file(resolve(spec, weights), graph, seed=seed, mmap=mmap, **reading)
    if isinstance(weights, Mapping):
        given = cast("Mapping[str, NDArray[Any]]", weights)
        return fit_arrays(graph, _given(given), "the given arrays", seed=seed, **reading)
    fitted = fit_model(graph, weights, seed=seed, **reading)
    return fitted._replace(arrays=_given(fitted.arrays))


class _Built(NamedTuple):
    """What is remembered of a model that ``build`` returned."""

    spec: Spec
    forms: Forms
    compiler: Backend

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        return self.forms.graphs[-1]


_BUILT: dict[int, _Built] = {}
"""What is known of each living model that ``build`` returned, by its id; a model itself stays as it is."""


def _remember(model: Any, built: _Built) -> None:
    # What cannot be referred to is saved with its spec.
    with suppress(TypeError):
        weakref.finalize(model, _BUILT.pop, id(model), None).atexit = False
        _BUILT[id(model)] = built


def _built(model: Any, remedy: str) -> _Built:
    """Return what is known of a model; raises TypeError if ``build`` did not return it."""
    if (built := _BUILT.get(id(model))) is None:
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise TypeError(f"build() did not return this {kind}: {remedy}")
    return built


def save(
    model: Any,
    path: str | Path,
    spec: str | Path | Spec | Graph | None = None,
    *,
    half: bool | HalfDType = False,
    fixed: Shape | None = None,
    force: bool = False,
) -> None:
    """Save a model as it is now, for example after training; the ending of the path decides the format.

    ``.safetensors``, ``.npz``, ``.msgpack``, ``.pth`` and ``.weights.h5`` are weights; ``.pt2``, ``.keras``, ``.h5``,
    ``.onnx``, ``.tflite`` and a folder without an ending (a SavedModel) are whole models. Each installed backend writes
    its formats, of whatever backend the model is. The file or folder appears whole or not at all, so that it may be the
    one that the model was loaded from. Weights that are NaN or infinite are saved, with a warning in the log.

    Args:
        model: A model that ``build`` returned, trained or not; or, with its spec, another model of an installed
            backend, such as an ``nn.Module``, which is compared with the spec layer by layer.
        path: Where to write.
        spec: What the model was built from, if ``build`` did not return it, or if it is a copy of what ``build``
            returned: a name, a path, a ``Spec`` or a ``Graph``.
        half: Whether to store the weights in half precision, as in ``write_model``.
        fixed: The only shape of a batch that a written model takes, (batch, channels, height, width); by default any
            number of images, of any size that the network takes.
        force: Whether to replace what exists at ``path``.

    Raises:
        TypeError: The model is not one that ``build`` returned, and no spec is given; or it is no model.
        OutputError: No installed backend writes this format, or none that may be in one process with the model's, or
            the path exists or cannot be written, or ``fixed`` is not a shape that the network takes, or is given for a
            file of weights only.
        WeightsError: The model's parameters are not those of the spec, or are too large for half precision.
        BackendError: The backend that writes the format cannot be imported.

    Examples:
        >>> from resnet_spec import build, save
        >>> model = build("cifar/resnet20", "torch")
        >>> save(model, "resnet20.safetensors")
        >>> again = build("cifar/resnet20", "tensorflow", "resnet20.safetensors")
    """
    if spec is None:
        graph = _built(model, "give what it is built from, save(model, path, spec=...)").graph
    else:
        graph = _graph(spec)
    built = _BUILT.get(id(model))
    path = Path(path)
    if built and built.graph.fingerprint == graph.fingerprint:
        compiler = built.compiler
        if ending(path, compiler.outputs) in compiler.outputs:
            report_nonfinite(compiler.arrays(model, graph), str(path))
            write_model(model, graph, path, compiler, half=half, fixed=fixed, force=force)
            return
        target = _target(path, force, compiler)
        arrays, counters = compiler.arrays(model, graph), counters_of(compiler, model, graph)
    else:
        # Before a large model is read in vain.
        target = _target(path, force)
        arrays, counters = fit_model(graph, model)
    report_nonfinite(arrays, str(path))
    convert(graph, arrays, target, half=half, fixed=fixed, force=force, counters=counters)


def _graph(spec: str | Path | Spec | Graph) -> Graph:
    if isinstance(spec, Graph):
        return spec
    return (spec if isinstance(spec, Spec) else load(spec)).to_graph()


def _target(path: Path, force: bool, compiler: Backend | None = None) -> Target:
    return find_target(path, None if path.suffix else SAVED_MODEL, force=force, beside=compiler)


def _given(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Read-only views, so that a backend copies them: training must not change what the caller still holds."""
    views = {name: array.view() for name, array in weights.items()}
    for view in views.values():
        view.flags.writeable = False
    return views
