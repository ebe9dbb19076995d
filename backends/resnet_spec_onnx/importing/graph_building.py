"""From the steps of a file to a graph: one node for each, with as many axes as its operation takes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resnet_spec.backend.graph_builder import GraphBuilder, Value
from resnet_spec.graph import Graph, Node, parameter_name
from resnet_spec.structure.steps import NormalForm, Step, Tensor
from resnet_spec_onnx.importing.names import Names
from resnet_spec_onnx.importing.running import in_float32
from resnet_spec_onnx.importing.statements import STATEMENTS
from resnet_spec_onnx.importing.step_view import Statement, StepView, UnstatedError, decimal
from resnet_spec_onnx.reading.normal_form import InnerValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.operations.fields import Shape

TRAINED = ("batch_norm", "position_batch_norm")
"""Operations with running statistics, of which a file does not state the kind."""

NEUTRAL = {"weight": 1, "bias": 0}


class GraphReader:
    """Adds the steps of a network, read at one or several input sizes, to a graph.

    ``constants`` names the layers whose arrays are constants of the file rather than initializers.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        networks: Sequence[NormalForm],
        names: Names,
        initializers: frozenset[str],
        running_variance: Literal["biased", "unbiased"],
    ) -> None:
        self._builder = builder
        self._networks = networks
        self._names = names
        self._initializers = initializers
        self._training = {"running_variance": running_variance}
        self._values: dict[int, Value | None] = {0: builder.input}
        self._fitted: dict[tuple[int, int], Value | None] = {}
        self._tensors: dict[str, Mapping[str, Tensor]] = {}
        self.constants: list[str] = []

    def read(self) -> None:
        """Add every step."""
        network = self._networks[0]
        consumers = network.consumers()
        for index, step in enumerate(network.steps[1:], 1):
            if not (step.inputs[0] in self._values and _continues(network, consumers, index)):
                self._values[index] = self._value(index, self._merged(step))

    def _merged(self, step: Step) -> Step:
        """Return a step; of two resizes, one for each axis, the second reads what the first does."""
        before = self._networks[0].steps[step.inputs[0]]
        return replace(step, inputs=before.inputs) if step.inputs[0] not in self._values else step

    def _value(self, index: int, step: Step) -> Value | None:
        read = {number: self._values[number] for number in step.inputs}
        known = {number: value.shape for number, value in read.items() if value is not None}
        if len(known) < len(read):
            return None
        where = self._names.where(step.source)
        if step.kind not in STATEMENTS:
            return self._builder.problem(f"has no operation in the language ({step.kind.replace('_', ' ')})", where)
        step = self._without_neutral(step)
        try:
            statement = STATEMENTS[step.kind](StepView(self._networks, index, step, known))
        except UnstatedError as error:
            return self._builder.problem(str(error), where)
        inputs = [self._fit(number, statement.rank, step) for number in statement.inputs or step.inputs]
        if statement.op == "reshape" and inputs[0] and inputs[0].shape == statement.fields["shape"]:
            return inputs[0]
        return self._add(statement, step, inputs, where)

    def _without_neutral(self, step: Step) -> Step:
        """Return a normalization without a scale of ones and an offset of zeros that the file has as constants."""
        if not step.kind.endswith("_norm"):
            return step
        kept = {
            slot: tensor
            for slot, tensor in step.tensors.items()
            if slot not in NEUTRAL
            or not self._initializers.isdisjoint(tensor.names)
            or not np.all(tensor.array == NEUTRAL[slot])
        }
        return replace(step, tensors=kept)

    def _add(self, statement: Statement, step: Step, inputs: Sequence[Value | None], where: str) -> Value | None:
        tensors = step.tensors if statement.tensors is None else statement.tensors
        fields: dict[str, Any] = {**statement.fields, **(self._training if statement.op in TRAINED else {})}
        constant = all(self._initializers.isdisjoint(tensor.names) for tensor in step.tensors.values())
        if constant and statement.op == "scale" and fields["shape"] == "scalar":
            # One number that no array of the source has is not learned.
            factor = decimal(np.asarray(tensors[""].array).flat[0])
            name = self._names.function(step, "multiply")
            return self._builder.add("multiply", inputs, name, where=where, factor=factor)
        if not tensors:
            name = self._names.function(step, statement.op)
            return self._builder.add(statement.op, inputs, name, where=where, **fields)
        step = replace(step, tensors=tensors)
        rank = inputs[0] and len(inputs[0].shape)
        key: Hashable = statement.op, repr(fields), rank, tuple((slot, t.names) for slot, t in tensors.items())
        if any(self._initializers.isdisjoint(tensor.names) for tensor in tensors.values()):
            # Constants, or what was computed from weights, are not shared.
            key = object()
        name = self._names.layer(step, statement.op, key)
        self._tensors.setdefault(name, tensors)
        if "" in tensors and self._initializers.isdisjoint(tensors[""].names):
            self.constants.append(name)
            if fields.get("shape") == "scalar":
                fields["initial"] = decimal(tensors[""].array)
        return self._builder.add(statement.op, inputs, name, layer=True, where=where, **fields)

    def tensors_of_nodes(self) -> dict[str, InnerValue]:
        """Return the file's tensor that has each node's value, by the node's name, once the graph is finished."""
        found: dict[str, InnerValue] = {}
        for index, value in self._values.items():
            own = [tensor for tensor in self._networks[0].steps[index].values if isinstance(tensor, InnerValue)]
            if value is not None and value.index >= 0 and own:
                found[self._builder.names[value.index]] = own[-1]
        return found

    # -- axes ----------------------------------------------------------------------------------------------------

    def _fit(self, index: int, rank: int | None, reader: Step) -> Value | None:
        """Return a value with so many axes: the others have size 1."""
        value = self._values[index]
        if value is None or rank is None or len(value.shape) == rank:
            return value
        if (index, rank) not in self._fitted:
            shape = (*value.shape, 1, 1, 1)[:rank]
            op = "flatten" if rank == 1 else "reshape"
            fields: dict[str, Any] = {} if rank == 1 else {"shape": shape}
            name = self._names.beside(reader, op)
            self._fitted[index, rank] = self._builder.add(op, [value], name, where=reader.source, **fields)
        return self._fitted[index, rank]

    def outputs(self, ranks: Sequence[int]) -> list[Value | None]:
        """Return the network's outputs, each with as many axes as the file's output has besides the batch."""
        steps = self._networks[0].steps
        found = zip(self._networks[0].outputs, ranks, strict=True)
        return [self._fit(index, rank, replace(steps[index], source="")) for index, rank in found]

    # -- arrays --------------------------------------------------------------------------------------------------

    def arrays(self, graph: Graph) -> dict[str, NDArray[Any]]:
        """Return the graph's parameters in PyTorch's layouts."""
        found: dict[str, NDArray[Any]] = {}
        for node in graph.layers:
            for slot in node.operation.parameters(*graph.input_shapes(node)):
                found[parameter_name(node.name, slot.name)] = self._array(node, slot.name, slot.shape)
        return found

    def _array(self, node: Node, slot: str, shape: Shape) -> NDArray[Any]:
        array = np.asarray(self._tensors[node.name][slot].array)
        return np.require(in_float32(array).reshape(shape), requirements="C")


def _continues(network: NormalForm, consumers: Sequence[Sequence[int]], index: int) -> bool:
    """Whether a resize of one axis is only read by that of the other."""
    step = network.steps[index]
    if step.kind != "resize" or len(consumers[index]) != 1 or index in network.outputs:
        return False
    (reader,) = consumers[index]
    other = network.steps[reader]
    return other.kind == "resize" and step.fields["axis"] != other.fields["axis"] and _same_rule(step, other)


def _same_rule(step: Step, other: Step) -> bool:
    return step.fields["interpolation"] == other.fields["interpolation"]
