"""Reads a SavedModel's signature, or a frozen graph, as one flat graph whose variables are constants.

The protocol buffers are parsed and the checkpoint's tensors are read; TensorFlow's own loader would run what the folder
names. What is run later, to compute the source's outputs, has been read node by node.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_spec.errors import ModelError, WeightsError
from resnet_spec_tensorflow.framework import tf
from resnet_spec_tensorflow.importing.graph_def import CALL, INPUTS
from resnet_spec_tensorflow.reading import read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_DEPTH = 20
"""The most functions within functions."""

MAX_NODES = 200_000
"""The most nodes of the functions that a signature calls, each as often as it is called."""

LACKING = "?"
"""Begins the name of a variable in place of its value, which the checkpoint does not have."""

CALLS = ("StatefulPartitionedCall", "PartitionedCall")
VARIABLES = ("VarHandleOp", "VariableV2", "Variable")


def read_graph(path: Path) -> tuple[Any, list[str]]:
    """A flat graph without variables, and the tensors that it returns.

    Args:
        path: The folder of a SavedModel, or a ``.pb`` file with a frozen graph.

    Raises:
        ModelError: It is broken, or cannot be flattened.
    """
    return _saved_model(path) if os.path.isdir(path) else _frozen(path)


def _parsed(path: Path, message: Any) -> Any:
    try:
        message.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        raise ModelError(f"{path}: is not a whole graph ({str(error)[:100]})") from None
    return message


def _frozen(path: Path) -> tuple[Any, list[str]]:
    graph = _parsed(path, tf.compat.v1.GraphDef())
    if not graph.node:
        raise ModelError(f"{path}: holds no graph; import a frozen GraphDef, or the folder of a SavedModel")
    read = {text.removeprefix("^").partition(":")[0] for node in graph.node for text in node.input}
    outputs = [node.name for node in graph.node if node.name not in read and node.op not in ("NoOp", "Const", *INPUTS)]
    variables = [node.name for node in graph.node if node.op in VARIABLES]
    if variables:
        raise ModelError(f"{path}: has variables, such as {variables[0]!r}; freeze them to constants")
    return graph, [f"{name}:0" for name in outputs]


def _saved_model(folder: Path) -> tuple[Any, list[str]]:
    from tensorflow.core.protobuf import saved_model_pb2  # pyright: ignore

    message: Any = saved_model_pb2
    file = folder / "saved_model.pb"
    if not file.exists():
        raise ModelError(f"{folder}: is a folder without saved_model.pb, the file of a SavedModel")
    whole = _parsed(file, message.SavedModel())
    graphs = [graph for graph in whole.meta_graphs if "serve" in graph.meta_info_def.tags] or [*whole.meta_graphs]
    if not graphs:
        raise ModelError(f"{folder}: holds no graph")
    graph = graphs[0]
    signatures: dict[str, Any] = {
        name: signature
        for name, signature in graph.signature_def.items()
        if not name.startswith("__") and len(signature.inputs) == 1
    }
    if not signatures:
        raise ModelError(f"{folder}: has no signature of one input; save the model with one")
    name = next((name for name in ("serving_default", "serve") if name in signatures), min(signatures))
    try:
        stored = read_checkpoint(folder)
    except WeightsError as error:
        raise ModelError(error.problems) from None
    flat = _Flattener(graph.graph_def, stored.tensors, _variable_names(graph))
    outputs = [flat.tensor(tensor.name) for _, tensor in sorted(signatures[name].outputs.items())]
    return flat.graph, outputs


def _variable_names(graph: Any) -> dict[str, str]:
    """Variables' own names by those of their handles: Keras saves each variable twice, the second with a number.

    A function's last inputs are the variables that it binds, which the object graph lists.
    """
    names: dict[str, str] = {}
    handles = {
        node.name: node.attr["shared_name"].s.decode() for node in graph.graph_def.node if node.op == "VarHandleOp"
    }
    objects = graph.object_graph_def
    for node in graph.graph_def.node:
        function = node.attr["f"].func.name if node.op in CALLS else ""
        if function not in objects.concrete_functions:
            continue
        bound = [*objects.concrete_functions[function].bound_inputs]
        inputs = [text for text in node.input if not text.startswith("^")]
        for text, index in zip(inputs[len(inputs) - len(bound) :], bound, strict=False):
            if text in handles and index < len(objects.nodes) and objects.nodes[index].variable.name:
                names[handles[text]] = objects.nodes[index].variable.name
    return names


class _Flattener:
    """Copies what a graph's outputs need, functions opened and variables replaced by their values."""

    def __init__(self, graph_def: Any, stored: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> None:
        self.graph: Any = tf.compat.v1.GraphDef()
        self._stored = stored
        self._names = names
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._scope = _Scope(self, "", graph_def.node, {}, 0)
        self._written: set[str] = set()
        self._calls = 0

    def tensor(self, name: str) -> str:
        """The tensor of the flat graph that one of the whole graph is."""
        return self._scope.tensor(name)

    def function(self, name: str, inputs: Sequence[str], depth: int) -> list[str]:
        """Open a call of a function; return what it returns."""
        if name not in self._functions:
            raise ModelError(f"the graph calls {name!r}, which it does not have")
        if depth > MAX_DEPTH:
            raise ModelError(f"functions are more than {MAX_DEPTH} deep, at {name!r}")
        function = self._functions[name]
        arguments = [argument.name for argument in function.signature.input_arg]
        if len(arguments) != len(inputs):
            raise ModelError(f"the graph calls {name!r} with {len(inputs)} values, which takes {len(arguments)}")
        known = dict(zip(arguments, inputs, strict=True))
        self._calls += 1
        scope = _Scope(self, f"{self._calls}{CALL}", function.node_def, known, depth)
        return [scope.tensor(function.ret[result.name]) for result in function.signature.output_arg]

    def copy(self, node: Any, name: str, inputs: Sequence[str]) -> None:
        """Add a node."""
        if name in self._written:
            raise ModelError(f"the graph has two nodes named {name!r}")
        if len(self._written) >= MAX_NODES:
            raise ModelError(f"the graph has more than {MAX_NODES:,} nodes")
        lacking = [text.removeprefix(LACKING) for text in inputs if text.startswith(LACKING)]
        if lacking:
            raise ModelError(f"the checkpoint has no variable {lacking[0].partition(':')[0]!r}, which {name} reads")
        self._written.add(name)
        added = self.graph.node.add()
        added.CopyFrom(node)
        added.name = name
        del added.input[:]
        added.input.extend(inputs)

    def value(self, handle: str) -> str:
        """Add a variable's value as a constant; return the constant's name."""
        variable = self._names.get(handle, handle)
        name = f"{variable}/value"
        if name in self._written:
            return name
        if variable not in self._stored:
            # What only training draws from is passed along too.
            return f"{LACKING}{variable}"
        self._written.add(name)
        added = self.graph.node.add()
        added.op, added.name = "Const", name
        tensor = tf.make_tensor_proto(self._stored[variable])
        added.attr["value"].tensor.CopyFrom(tensor)
        added.attr["dtype"].type = tensor.dtype
        return name


class _Scope:
    """The nodes of the graph, or of one call of a function."""

    def __init__(self, whole: _Flattener, prefix: str, nodes: Any, known: Mapping[str, str], depth: int) -> None:
        self._whole = whole
        self._prefix = prefix
        self._nodes: dict[str, Any] = {node.name: node for node in nodes}
        self._known = dict(known)
        self._results: dict[str, list[str] | str] = {}
        self._depth = depth

    def tensor(self, text: str) -> str:
        """The flat graph's tensor for one of this scope: ``node``, ``node:1`` or, in a function, ``node:out:1``."""
        name, *places = text.split(":")
        if name in self._known:
            return self._known[name]
        if name not in self._results:
            self._open(name)
        result = self._results[name]
        if isinstance(result, list):
            index = int(places[-1]) if places else 0
            return result[index] if index < len(result) else ""
        return result if not places else f"{result}:{self._index(name, places)}"

    def _index(self, name: str, places: Sequence[str]) -> int:
        """The number of an output, which a function names."""
        if len(places) == 1:
            return int(places[0])
        definition = _op_def(self._nodes[name].op)
        index = 0
        for output in definition.output_arg if definition is not None else ():
            if output.name == places[0]:
                return index + int(places[1])
            attributes = self._nodes[name].attr
            index += attributes[output.number_attr].i if output.number_attr else 1
        return int(places[1])

    def _open(self, start: str) -> None:
        """Copy a node and what it reads, by a list instead of recursion."""
        waiting, begun = [(start, False)], set[str]()
        while waiting:
            name, inputs_done = waiting.pop()
            if name in self._results or name in self._known:
                continue
            node = self._nodes.get(name)
            if node is None:
                raise ModelError(f"the graph reads from {name!r}, which it does not have")
            sources = [text for text in node.input if not text.startswith("^")]
            if not inputs_done:
                if name in begun:
                    raise ModelError(f"the graph has a cycle, in which {name!r} is")
                begun.add(name)
                waiting.append((name, True))
                waiting += [(text.partition(":")[0], False) for text in reversed(sources)]
                continue
            self._results[name] = self._copied(node, [self.tensor(text) for text in sources])

    def _copied(self, node: Any, inputs: list[str]) -> list[str] | str:
        name = f"{self._prefix}{node.name}"
        if node.op in CALLS:
            return self._whole.function(node.attr["f"].func.name, inputs, self._depth + 1)
        if node.op == "VarHandleOp":
            return [f"~{node.attr['shared_name'].s.decode() or node.name}"]
        if node.op == "ReadVariableOp":
            return self._whole.value(inputs[0].removeprefix("~"))
        self._whole.copy(node, name, inputs)
        return name


def _op_def(op: str) -> Any:
    from tensorflow.python.framework import op_def_registry  # pyright: ignore

    registry: Any = op_def_registry
    return registry.get(op)


def runner(graph_def: Any, output_names: Sequence[str], batch: int | None) -> Callable[[Any], list[Any]]:
    """A function that computes a frozen graph's outputs from its one input, in batches of its size if it has one.

    For a graph of which each operation has been read.
    """
    functions: list[Any] = []

    def run(images: Any) -> list[Any]:
        if not functions:
            functions.append(_function(graph_def, output_names))
        # A graph takes only its own type; images for a comparison are in float64.
        images = np.asarray(images, functions[0].inputs[0].dtype.as_numpy_dtype)
        step = batch or len(images)
        padded = np.concatenate([images, images[:1].repeat(-len(images) % step, axis=0)])
        with _unfused():
            pieces = [functions[0](tf.constant(padded[start : start + step])) for start in range(0, len(padded), step)]
        whole = [np.concatenate([piece.numpy() for piece in output]) for output in zip(*pieces, strict=True)]
        return [value[: len(images)] for value in whole]

    return run


@contextmanager
def _unfused() -> Generator[None]:
    """Keep TensorFlow from fusing a bias with a grouped convolution, which it cannot compute on a CPU."""
    options: Any = tf.config.optimizer
    before = options.get_experimental_options()
    options.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        options.set_experimental_options({"remapping": before.get("remapping", True)})


def _function(graph_def: Any, output_names: Sequence[str]) -> Any:
    (placeholder,) = (node.name for node in graph_def.node if node.op in INPUTS)
    wrapped: Any = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    tensors = [wrapped.graph.as_graph_element(name if ":" in name else f"{name}:0") for name in output_names]
    return wrapped.prune(wrapped.graph.as_graph_element(f"{placeholder}:0"), tensors)
