"""A spec: what its file says, after ``extends`` and overrides, with the position of every key and value for errors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import PrivateAttr

from resnet_spec import notebook
from resnet_spec.document.dump import to_yaml
from resnet_spec.document.parser import Document, KeyPath
from resnet_spec.errors import Position, SpecError
from resnet_spec.graph import Graph
from resnet_spec.spec.lowering import lower
from resnet_spec.spec.models import Network


class Spec(Network):
    """A validated spec, with every block it uses; ``to_graph()`` gives it a meaning.

    Made by ``resnet_spec.load``, or from plain data by ``Spec.model_validate``; plain data must include every block
    that it uses.

    Examples:
        >>> import resnet_spec
        >>> spec = resnet_spec.load("torchvision/resnet18")
        >>> spec.name, spec.input.shape, list(spec.stages)
        ('torchvision/resnet18', (3, 224, 224), ['layer1', 'layer2', 'layer3', 'layer4'])
        >>> spec.stages["layer2"].stride
        2

        >>> tiny = resnet_spec.Spec.model_validate({"stem": {"conv1": {"conv2d": {"channels": 8, "kernel": 3}}}})
        >>> [parameter.name for parameter in tiny.to_graph().parameters()]
        ['conv1.weight']
    """

    _document: Document | None = PrivateAttr(default=None)
    _overridden: bool = PrivateAttr(default=False)

    def __repr__(self) -> str:
        """Say in a line which network it is; ``to_yaml`` has all of it.

        Examples:
            >>> import resnet_spec
            >>> resnet_spec.load("cifar/resnet20")
            Spec('cifar/resnet20', input (3, 32, 32), stages layer1, layer2, layer3)
        """
        stages = f", stages {', '.join(self.stages)}" if self.stages else ""
        return f"Spec({self.name!r}, input {self.input.shape}{stages})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the drawing if the spec is valid, and the resolved YAML."""
        from resnet_spec.drawing import svg

        picture = ""
        with suppress(SpecError):
            picture = notebook.picture(svg(self.to_graph()), self.name)
        return picture + notebook.folded(
            f"{self.name}: {self.description}" if self.description else self.name, self.to_yaml()
        )

    def __hash__(self) -> int:
        return hash((self.name, self.to_yaml()))

    @property
    def overridden(self) -> bool:
        """Whether ``load`` was given overrides, after which what the file says of its network need not hold."""
        return self._overridden

    def to_graph(self) -> Graph:
        """Lower the spec to a graph.

        Returns:
            The graph, with every shape inferred for the spec's input size.

        Raises:
            SpecError: With every problem found, each at its position in the spec's files.

        Examples:
            >>> import resnet_spec
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> graph.nodes[0].name, graph.nodes[0].operation.op, graph.nodes[0].shape
            ('conv1', 'conv2d', (64, 112, 112))
        """
        return lower(self, self.position, overridden=self._overridden)

    def to_yaml(self) -> str:
        """The spec as one YAML text that needs no other file: ``extends``, overrides and blocks are resolved.

        Returns:
            YAML that ``resnet_spec.load`` reads back to a spec of the same graph.

        Examples:
            >>> import resnet_spec
            >>> text = resnet_spec.load("torchvision/wide_resnet50_2").to_yaml()
            >>> text.splitlines()[0], "extends" in text
            ('name: torchvision/wide_resnet50_2', False)
        """
        return to_yaml(self.data())

    def data(self) -> dict[str, Any]:
        """The resolved spec as plain data, as its YAML has it.

        Returns:
            Mappings, lists, texts and numbers, which the caller may change.

        Examples:
            >>> import resnet_spec
            >>> resnet_spec.load("torchvision/resnet18").data()["stages"]["layer1"]
            {'block': 'basic_block', 'repeat': 2, 'channels': 64}
        """
        if self._document is None:
            return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return self._document.copy().data

    def position(self, path: KeyPath, *, key: bool = False) -> Position | None:
        """Where a value, or a key, is written.

        Args:
            path: The keys that lead to the value, such as ``("stages", "layer1", "repeat")``.
            key: Whether to find the last key instead of its value.

        Returns:
            File, line and column, those of the nearest value around it if the files do not contain it, or None for
            a spec made from plain data.

        Examples:
            >>> import resnet_spec
            >>> resnet_spec.load("torchvision/resnet18").position(("stages", "layer1")).column
            11
        """
        return None if self._document is None else self._document.locate(path, key=key)
