"""Functions registered by name with a decorator: a backend's emitters by operation, its readers by ONNX type.

A second function of the same name is an error and not a replacement, since a model would otherwise depend on the order
of imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry", bound=Callable[..., Any])


class Table(Mapping[str, Entry], Generic[Entry]):
    """A read-only mapping of names to functions, to which only ``register`` adds.

    Args:
        kind: What an entry is, as error messages call it: ``"emitter"``.
        disjoint: Another table whose names this one must not repeat, nor the other way round. PyTorch's backend has
            one table for operations that become modules and one for those that become expressions.

    Examples:
        >>> emitters = Table("emitter")
        >>> @emitters.register("relu")
        ... def emit_relu(operation, x):
        ...     return f"maximum({x}, 0)"
        >>> emitters["relu"](None, "y")
        'maximum(y, 0)'
        >>> sorted(emitters)
        ['relu']
    """

    def __init__(self, kind: str, *, disjoint: Table[Any] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._registered: dict[str, Callable[..., Any]] = {} if disjoint is None else disjoint._registered

    def register(self, *names: str) -> Callable[[Entry], Entry]:
        """Return a decorator that registers a function under one name or several and returns it unchanged.

        Args:
            names: The operations, or ONNX types, that the function serves.

        Raises:
            ValueError: When the decorator is applied, if one of the names has an entry, here or in ``disjoint``.
        """

        def enter(function: Entry) -> Entry:
            for name in names:
                if name in self._registered:
                    first, second = _qualified(self._registered[name]), _qualified(function)
                    raise ValueError(f"{name!r} has two {self.kind}s: {first} and {second}; remove one")
                self._registered[name] = self._entries[name] = function
            return function

        return enter

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _qualified(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
