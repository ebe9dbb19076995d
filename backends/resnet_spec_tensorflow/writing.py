"""Writes models in every format, one function each; none of the files needs this package to load."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from resnet_spec.errors import OutputError
from resnet_spec.graph import INPUT
from resnet_spec.weights.layouts import SLIM_NAMES
from resnet_spec_keras.compilation import QUANTIZATIONS
from resnet_spec_keras.execution import quiet
from resnet_spec_keras.parameters import variables
from resnet_spec_keras.writing import WRITERS, at_fixed_size, silent, writer_of
from resnet_spec_tensorflow.framework import keras, tf
from resnet_spec_tensorflow.lite_quantization import LiteFunction, check_grids

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from resnet_spec.graph import Graph
    from resnet_spec_keras.writing import Writer

LITE = ".tflite"

LACKING = re.compile(r"^(?:TF Select|Custom) ops:(.*)", re.MULTILINE)
"""The converter's list of operations that TFLite does not have, after a page for each."""


def write(model: Any, graph: Graph, path: Path, *, half: bool, batch: int | None = None) -> None:
    """Write a model in the format of the path's ending; a path without one becomes a folder.

    Raises OutputError for another ending, for ``half`` if the format has no half precision, for a fixed ``batch`` if
    the format has no input, and if the format cannot store the model.
    """
    writer = writer_of(path, _WRITERS, batch=batch)
    if half and writer is not _write_lite:
        raise OutputError(f"{path}: the tensorflow backend writes only {LITE} in half precision")
    if half and model in QUANTIZATIONS:
        raise OutputError(f"{path}: an 8-bit network cannot be written in half precision")
    with quiet(), silent():
        if batch is not None:
            model = _at_fixed_size(model, graph, batch)
        if half:
            _write_lite(model, graph, path, tf.float16)
        else:
            writer(model, graph, path)


def _write_saved_model(model: Any, graph: Graph, path: Path, compute: Callable[[Any], Any] | None = None) -> None:
    """The signature ``serving_default`` takes ``input`` and gives each output by its name; ``serve`` is the same.

    Keras' own export would write every variable twice. ``compute`` replaces the model.
    """
    module = tf.Module()
    names = graph.result_names

    def serve(input: Any) -> Any:
        values = compute(input) if compute is not None else model(input, training=False)
        if isinstance(values, dict):
            return cast("Any", values)
        return dict(zip(names, tf.nest.flatten(values), strict=True))

    (input,) = model.inputs
    signature = [tf.TensorSpec(input.shape, input.dtype, name=INPUT)]
    # Keras' layers are called as they are anyway; AutoGraph would rewrite the rest, which takes seconds.
    function = tf.function(serve, input_signature=signature, autograph=False)
    with _scoped_functions(model):
        if model in FROZEN:
            module.serve = _frozen(function, graph)
        else:
            module.model_variables = [variable.value for variable in model.variables]
            module.serve = function
        tf.saved_model.save(module, str(path), signatures=module.serve)


@contextmanager
def _scoped_functions(model: Any) -> Generator[None]:
    """Give the nodes of each function of ``keras.ops`` its name, as Keras gives those of a layer the layer's."""
    functions = [operation for operation in model.operations if not isinstance(operation, keras.Layer)]

    def scoped(operation: Any) -> Callable[..., Any]:
        call, name = operation.call, operation.name

        def named(*args: Any, **kwargs: Any) -> Any:
            with tf.name_scope(name):
                return call(*args, **kwargs)

        return named

    for function in functions:
        function.call = scoped(function)
    try:
        yield
    finally:
        for function in functions:
            del function.call


FROZEN: WeakSet[Any] = WeakSet()
"""Models whose SavedModel has constants in place of variables, which TensorFlow lays out for its kernels once."""


def _frozen(function: Any, graph: Graph) -> Any:
    """Return a function with the values of its variables as constants, and the same signature."""
    from tensorflow.python.framework.convert_to_constants import (  # pyright: ignore[reportMissingTypeStubs]
        convert_variables_to_constants_v2,  # pyright: ignore[reportUnknownVariableType]
    )

    frozen: Any = convert_variables_to_constants_v2(function.get_concrete_function())
    (signature,) = function.input_signature
    names = sorted(graph.result_names)

    def serve(input: Any) -> Any:
        return dict(zip(names, tf.nest.flatten(frozen(input)), strict=True))

    return tf.function(serve, input_signature=[signature])


def _write_lite(model: Any, graph: Graph, path: Path, weights: Any = None) -> None:
    """A TFLite model with the SavedModel's signature and its free sizes, of TFLite's own operations only.

    With ``weights``, constants are stored in that type, and computed with in float32. An 8-bit network computes in
    integers where its inputs and its value have grids; input and outputs stay in float32.
    """
    quantization = QUANTIZATIONS.get(model)
    if model.inputs[0].dtype != "float32":
        raise OutputError(f"{path}: TFLite computes in float32, not in {model.inputs[0].dtype}")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        compute = None if quantization is None else LiteFunction(model, graph, quantization)
        _write_saved_model(model, graph, Path(folder), compute)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if weights is not None or quantization is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights is not None:
            converter.target_spec.supported_types = [weights]
        try:
            content = converter.convert()
        # The converter raises its own errors and Python's for operations that TFLite does not have.
        except Exception as error:
            lacking = LACKING.search(str(error))
            reason = f"it has no {lacking[1].strip()}" if lacking else str(error).strip().split("\n")[0]
            raise OutputError(f"{path}: TFLite cannot express {graph.name} ({reason})") from None
    if quantization is not None:
        check_grids(content, graph, quantization, path)
    path.write_bytes(content)


def _write_checkpoint(model: Any, graph: Graph, path: Path) -> None:
    """Variables under TF-Slim's names, in the scope of the network's own name.

    In the format of TensorFlow before 0.12, which all later versions read: today's is three files, which cannot be
    renamed into place at once.
    """
    scope = graph.name.rpartition("/")[2]
    held = variables(model, graph)
    names = [f"{scope}/{p.node.replace('.', '/')}/{SLIM_NAMES[p.role]}" for p in graph.parameters()]
    try:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=[held[p.name].value for p in graph.parameters()])
    except tf.errors.OpError as error:
        raise OutputError(f"{path}: {graph.name} cannot be written as a checkpoint ({error.message})") from None


_WRITERS: Mapping[str, Writer] = {
    **WRITERS,
    "": _write_saved_model,
    LITE: _write_lite,
    ".ckpt": _write_checkpoint,
}


def _at_fixed_size(model: Any, graph: Graph, batch: int) -> Any:
    copy = at_fixed_size(model, graph, batch)
    if model in FROZEN:
        FROZEN.add(copy)
    return copy
