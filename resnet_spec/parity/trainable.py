"""Which parameters training moves, and which batches it takes."""

from __future__ import annotations

from math import prod

from resnet_spec.errors import SpecError
from resnet_spec.graph import INPUT, Graph, Node
from resnet_spec.operations import (
    BIASES,
    OFFSETS,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    FilterResponseNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Linear,
    Mean,
    Offset,
    PositionBatchNorm,
    Role,
    Scale,
    StdConv,
)
from resnet_spec.operations.windows import is_unpadded


def check_batch(graph: Graph, batch: int) -> None:
    """Raise SpecError for a batch that leaves a normalization one value per channel, which has no variance."""
    for node in graph.nodes:
        if isinstance(node.operation, BatchNorm | PositionBatchNorm) and values_normalized(graph, node, batch) < 2:
            raise SpecError(
                f"a training batch of {batch} leaves {node.name} one value to normalize by;"
                " compare training with a batch of 2 or more"
            )


def values_normalized(graph: Graph, node: Node, batch: int) -> int:
    """Return the number of values from which each statistic of a normalization is computed."""
    return batch * (prod(graph.input_shapes(node)[0][1:]) if node.operation.op == "batch_norm" else 1)


def trainable_parameters(graph: Graph) -> list[str]:
    """Return the trainable parameters without those of ``zero_gradient_biases``."""
    without = zero_gradient_biases(graph)
    return [p.name for p in graph.parameters() if p.trainable and p.name not in without]


def zero_gradient_biases(graph: Graph) -> set[str]:
    """Return biases and offsets of layers whose values all lead to normalizations of single channels.

    The normalizations subtract them again, so that their gradient in training mode is 0; the computed gradient is
    noise, which Adam would amplify.
    """
    users: dict[str, list[Node]] = {name: [] for name in (INPUT, *graph.by_name)}
    for node in graph.nodes:
        for name in node.inputs:
            users[name].append(node)
    subtracted: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        subtracted[node.name] = node.name not in graph.outputs and all(
            _subtracts_shifts(user) or (_keeps_shifts(user) and subtracted[user.name]) for user in users[node.name]
        )
    return {
        parameter.name
        for parameter in graph.parameters()
        if parameter.role in _SHIFTS
        and all(
            subtracted[call.name] and _shifts_channels(call) for call in graph.nodes if call.layer == parameter.node
        )
    }


_SHIFTS = BIASES | OFFSETS | {Role.LEARNED_OFFSET}


def _shifts_channels(node: Node) -> bool:
    """Whether a bias or offset of a layer shifts whole channels of its value."""
    match node.operation:
        case FilterResponseNorm() | PositionBatchNorm():
            return False
        case Linear():
            return len(node.shape) == 1
        case LayerNorm():
            return node.operation.axis == 0
        case Offset():
            return node.operation.shape != "map"
        case _:
            return True


def _subtracts_shifts(node: Node) -> bool:
    """Whether a normalization subtracts the mean of each channel."""
    operation = node.operation
    if isinstance(operation, GroupNorm):
        return operation.groups == node.shape[0]
    if isinstance(operation, LayerNorm):
        return operation.axis != 0
    return isinstance(operation, BatchNorm | PositionBatchNorm | InstanceNorm)


def _keeps_shifts(node: Node) -> bool:
    """Whether a shift of a channel of the input is a shift of the channels of the result, at every position."""
    operation = node.operation
    match operation.op:
        case (
            "add"
            | "subtract"
            | "slice"
            | "resize"
            | "max_pool1d"
            | "max_pool2d"
            | "max_pool3d"
            | "global_avg_pool"
            | "global_max_pool"
            | "dropout"
            | "stochastic_depth"
        ):
            return True
        case "flatten" | "linear":
            # The features of a vector are its channels.
            return len(node.shape) == 1
        case "scale" | "offset":
            assert isinstance(operation, Scale | Offset)  # noqa: S101 - by its name
            return operation.op == "offset" or operation.shape != "map"
        case "avg_pool1d" | "avg_pool2d" | "avg_pool3d":
            assert isinstance(operation, AvgPool)  # noqa: S101 - by its name
            return is_unpadded(operation.padding) or not operation.count_include_pad
        case "conv1d" | "conv2d" | "conv3d" | "std_conv2d":
            assert isinstance(operation, Conv | StdConv)  # noqa: S101 - by its name
            return is_unpadded(operation.padding)
        case "mean":
            assert isinstance(operation, Mean)  # noqa: S101 - by its name
            return 0 not in operation.axis
        case "concat":
            assert isinstance(operation, Concat)  # noqa: S101 - by its name
            return operation.axis == 0
        case _:
            return False
