"""The names of a file's layers: paths of modules, as an exporter keeps them in initializers, node names or metadata."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from onnx import NodeProto

from resnet_spec.structure.steps import Step

if TYPE_CHECKING:
    from onnx import ModelProto

PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
LONGEST = 150

WORDS: Mapping[str, str] = {
    "max_pool2d": "maxpool",
    "avg_pool2d": "avgpool",
    "global_avg_pool": "avgpool",
    "global_max_pool": "maxpool",
    "conv2d": "conv",
    "batch_norm": "bn",
    "linear": "fc",
}
"""Names of nodes that the file does not name, where they differ from the operation's."""


class Origin(NamedTuple):
    """Where a node is in the source: the path of its module, and the user's line, as far as the file states them.

    ``own`` says that the path is the node's own rather than its module's, ``exact`` that equal paths are one module.
    """

    path: str | None = None
    line: str = ""
    own: bool = False
    exact: bool = False

    def first_call(self, paths: Mapping[str, int]) -> Origin:
        """Return the origin of a module's first call: torch's older exporter numbers the scopes of later ones."""
        if self.own or self.exact or not self.path:
            return self
        parts: list[str] = []
        for part in self.path.split("."):
            first = re.sub(r"_\d+$", "", part)
            parts.append(first if ".".join([*parts, first]) in paths else part)
        return self._replace(path=".".join(parts))


class Names:
    """Gives each step of a network the source's name for it.

    ``classes`` are the classes of the source's modules by path, if the file states them.
    """

    def __init__(self, model: ModelProto, initializers: Iterable[str], steps: Sequence[Step]) -> None:
        self._initializers = frozenset(initializers)
        own = model.producer_name == "resnet-spec"
        scoped = [node for node in model.graph.node if "/" in node.name and not node.name.startswith("/")]
        prefix = _common_prefix(scoped)
        self._origins = {source_of(node): _origin(node, own, prefix) for node in model.graph.node}
        self.classes = dict(_classes(model.graph.node))
        self.named = True
        self._taken: dict[str, object] = {"input": None}
        self._keys: dict[object, str] = {}
        known = [origin.path for origin in self._origins.values() if origin.path]
        scopes = Counter(path[:at] for path in known for at in (*_dots(path), None))
        self._calls = {source: origin.first_call(scopes) for source, origin in self._origins.items()}
        kinds: dict[str, set[str]] = defaultdict(set)
        for step in steps[1:]:
            kinds[self._path(step) or ""].add(step.kind)
        self._parents = {path[:at] for path in kinds for at in _dots(path)}
        self._containers = self._parents | {path for path, found in kinds.items() if len(found) > 1} | {""}
        self._owned = {path for step in steps if (path := self.parameter_path(step))}

    def where(self, source: str) -> str:
        """Return a node in the source's own words, with the user's line if the file has it."""
        line = self._origins.get(source, Origin()).line
        return f"{source} at {line}" if line else source

    def parameter_path(self, step: Step) -> str | None:
        """Return the path that the names of a step's arrays begin with, if they are named after a module."""
        for slot, tensor in step.tensors.items():
            (name, *others) = tensor.names or ("",)
            if others or name not in self._initializers or not _is_path(name):
                return None
            path = name.removesuffix(f".{slot}") if slot else name
            return path if path != name or (not slot and "." in name) or not slot else None
        return None

    def layer(self, step: Step, op: str, key: object) -> str:
        """Return the name of a layer with arrays; ``key`` is equal for the calls of one layer."""
        path = self.parameter_path(step)
        origin = self._origins.get(step.source, Origin())
        if origin.exact:
            # An exporter may store equal arrays of several modules once.
            key = key, origin.path
        if key in self._keys:
            return self._keys[key]
        if path in self._taken and origin.exact:
            path = origin.path
        if path is None and origin.path and origin.path not in self._parents and origin.path not in self._taken:
            # A module with an activation of its own.
            path = origin.path
        if path is None:
            path = self._unnumbered(origin, op) if origin.path is not None else None
        if path is None:
            self.named = False
        self._keys[key] = self._unique(path or WORDS.get(op, op), key)
        return self._keys[key]

    def function(self, step: Step, op: str) -> str:
        """Return the name of a step without arrays; several may have the same."""
        return self._unnumbered(self._calls.get(step.source, Origin()), op)

    def beside(self, reader: Step, op: str) -> str:
        """Return the name of a node that a step needs before it and that the file does not have."""
        scope = self._path(reader) if reader.source else None
        scope = (scope or "").rpartition(".")[0]
        return f"{scope}.{op}" if scope else op

    def _unnumbered(self, origin: Origin, op: str) -> str:
        word = WORDS.get(op, op)
        if not origin.path:
            return word
        if origin.own or (origin.path not in self._containers and origin.path not in self._owned):
            return origin.path
        return f"{origin.path}.{word}"

    def _path(self, step: Step) -> str | None:
        return self.parameter_path(step) or self._calls.get(step.source, Origin()).path

    def _unique(self, wanted: str, key: object) -> str:
        name, number = wanted, 1
        while name in self._taken and self._taken[name] != key:
            number += 1
            name = f"{wanted}_{number}"
        self._taken[name] = key
        return name


def source_of(node: NodeProto) -> str:
    """Return how messages call a node, as ``NodeView`` does."""
    return f"{node.name or next(iter(node.output), '')!r} ({node.op_type})"


def _dots(path: str) -> Iterable[int]:
    return (index for index, letter in enumerate(path) if letter == ".")


def _origin(node: NodeProto, own: bool, prefix: str) -> Origin:
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    if scopes := metadata.get("pkg.torch.onnx.name_scopes"):
        parts = re.findall(r"'([^']*)'", scopes)
        path = parts[-2].partition("@")[0] if len(parts) > 1 else ""
        return Origin(path if not path or _is_path(path) else None, _users_line(metadata), exact=True)
    if own:
        return Origin(node.name if _is_path(node.name) else None, own=True)
    if node.name.startswith("/"):
        parts = [""]
        for part in node.name[1:].split("/")[:-1]:
            # The child of a sequence has the sequence's name in its own.
            if part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
        path = ".".join(filter(None, parts))
        return Origin(path if not path or _is_path(path) else None)
    if "/" in node.name:
        path = ".".join(node.name.removeprefix(prefix).split("/")[:-1])
        return Origin(path if _is_path(path) else None)
    return Origin()


def _is_path(path: str) -> bool:
    return len(path) <= LONGEST and PATH.fullmatch(path) is not None


def _common_prefix(nodes: Sequence[NodeProto]) -> str:
    """Return the scopes that all nodes of a TensorFlow export are in."""
    parts = [node.name.split("/")[:-1] for node in nodes]
    common: list[str] = []
    for level in zip(*parts, strict=False):
        if len({*level}) > 1:
            break
        common.append(level[0])
    return "".join(f"{part}/" for part in common)


def _users_line(metadata: Mapping[str, str]) -> str:
    """Return the last line of a stack trace that is not in a library."""
    frames = re.findall(r'File "([^"\n]+)", line (\d+)', metadata.get("pkg.torch.onnx.stack_trace", ""))
    own = [f"{file}:{line}" for file, line in frames if "site-packages" not in file and "/torch/" not in file]
    return own[-1] if own else ""


def _classes(nodes: Iterable[NodeProto]) -> Iterable[tuple[str, str]]:
    for node in nodes:
        metadata = {entry.key: entry.value for entry in node.metadata_props}
        scopes = re.findall(r"'([^']*)'", metadata.get("pkg.torch.onnx.name_scopes", ""))
        classes = re.findall(r"'([^']*)'", metadata.get("pkg.torch.onnx.class_hierarchy", ""))
        for path, name in zip(scopes[:-1], classes[:-1], strict=False):
            if path and _is_path(path):
                yield path.partition("@")[0], name.rpartition(".")[2]
