"""Functions of ``keras.ops`` as steps: operations of the functional model, which save and load like layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resnet_spec_keras.emitting.emitters import LayerContext


class Function:
    """A function of one tensor, or of a list of them; its operation in the model has the node's name."""

    def __init__(self, context: LayerContext, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._free_name = context.free_name
        self._names = [context.name]

    def __call__(self, inputs: Any) -> Any:
        """The function's value; in a functional model each call is an operation of its own."""
        outputs = self._function(inputs)
        if hasattr(outputs, "_keras_history"):
            # keras.ops takes no name, and the one it generates could be a node's.
            name = self._names[0] if len(self._names) == 1 else self._free_name(self._names[0])
            outputs._keras_history.operation.name = name
            self._names.append(name)
        return outputs
