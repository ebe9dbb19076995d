"""What a pass returns: a graph, and the formulas by which its parameters follow from those of the graph before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from resnet_spec.graph import Graph, Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Formula(NamedTuple):
    """How one parameter is computed: from which arrays, and by which function of them, in float64.

    Attributes:
        sources: Names of parameters of the graph before.
        compute: Takes their arrays in float64, in this order, and returns the new one in float64.
    """

    sources: tuple[str, ...]
    compute: Callable[..., NDArray[Any]]


@dataclass(frozen=True)
class Rewriting:
    """A graph that computes what another does, and how its arrays follow from the other's.

    Attributes:
        graph: The rewritten graph.
        steps: For each change, one after another, the formulas of the parameters that it computes; all others keep
            their arrays.
        values: For the nodes of ``graph`` that compute the value of a node of the first graph, the name of that node.

    Examples:
        >>> import resnet_spec
        >>> from resnet_spec.optimization import optimize
        >>> rewriting = optimize(resnet_spec.load("torchvision/resnet18").to_graph())
        >>> len(rewriting.graph.nodes), rewriting.values["conv1"]
        (49, 'bn1')
    """

    graph: Graph
    steps: tuple[Mapping[str, Formula], ...] = ()
    values: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def unchanged(cls, graph: Graph) -> Rewriting:
        """The rewriting that changes nothing.

        Args:
            graph: A graph.

        Returns:
            A rewriting whose graph it is.
        """
        return cls(graph, (), {node.name: node.name for node in graph.nodes})

    def then(self, rewrite: Pass) -> Rewriting:
        """Apply a pass to the graph.

        Args:
            rewrite: A pass, or any other function that returns a rewriting.

        Returns:
            Both rewritings as one.
        """
        after = rewrite(self.graph)
        values = {name: self.values[old] for name, old in after.values.items() if old in self.values}
        return Rewriting(after.graph, self.steps + after.steps, values)

    def arrays(self, arrays: Arrays, dtype: str | None = None) -> dict[str, NDArray[Any]]:
        """The arrays of the rewritten graph, computed in float64.

        Args:
            arrays: Those of the first graph.
            dtype: What the computed arrays are rounded to, once; by default they stay in float64.

        Returns:
            Arrays in the graph's order; those that no formula computes are the given ones.

        Examples:
            >>> import resnet_spec
            >>> from resnet_spec.optimization import optimize
            >>> graph = resnet_spec.load("torchvision/resnet18").to_graph()
            >>> arrays = optimize(graph).arrays(resnet_spec.initialize(graph), "float32")
            >>> arrays["conv1.weight"].shape, arrays["conv1.bias"].shape, "bn1.weight" in arrays
            ((64, 3, 7, 7), (64,), False)
        """
        import numpy as np

        current = dict(arrays)
        for formulas in self.steps:
            # All from the arrays before the step, of which some are replaced.
            current |= {
                name: np.asarray(formula.compute(*(current[source].astype(np.float64) for source in formula.sources)))
                for name, formula in formulas.items()
            }
        computed = self.computed
        return {
            parameter.name: current[parameter.name].astype(dtype, copy=False)
            if dtype and parameter.name in computed
            else current[parameter.name]
            for parameter in self.graph.parameters()
        }

    @property
    def computed(self) -> frozenset[str]:
        """Names of the graph's parameters that a formula computes; they are rounded once more than the others."""
        formulas = {name for step in self.steps for name in step}
        return frozenset(parameter.name for parameter in self.graph.parameters() if parameter.name in formulas)


Pass: TypeAlias = Callable[[Graph], Rewriting]
"""A function from a graph to another that computes the same."""


def repeated(rewrite: Callable[[Graph], Rewriting | None], graph: Graph) -> Rewriting:
    """Apply one change after another, until there is none left.

    Args:
        rewrite: Returns the rewriting of one change, or of several that do not affect each other; None if there is
            nothing to change.
        graph: The graph to begin with.

    Returns:
        All changes as one rewriting.
    """
    whole = Rewriting.unchanged(graph)
    while (change := rewrite(whole.graph)) is not None:
        found = change
        whole = whole.then(lambda _, found=found: found)
    return whole


def replaced(
    graph: Graph,
    operations: Mapping[str, Any],
    removed: Mapping[str, str],
    formulas: Mapping[str, Formula],
    values: Mapping[str, str] | None = None,
) -> Rewriting:
    """Return a graph with other operations in some nodes and without some others.

    Args:
        graph: The graph before.
        operations: The new operations, by the names of their nodes.
        removed: The nodes that are removed, and for each the node or input that is used in its place.
        formulas: The formulas of the change.
        values: For nodes that no longer compute the value of their name, the node whose value they compute, or nothing
            if there is none.

    Returns:
        The rewriting.
    """

    def renamed(name: str) -> str:
        while name in removed:
            name = removed[name]
        return name

    def changed(node: Node) -> Node:
        update: dict[str, Any] = {"inputs": tuple(map(renamed, node.inputs))}
        if node.name in operations:
            operation = operations[node.name]
            shapes = graph.input_shapes(node)
            slots = {slot.name for slot in operation.parameters(*shapes)}
            own = {slot: name for slot, name in node.parameter_names.items() if slot in slots}
            update |= {"operation": operation, "parameter_names": own}
        return node.model_copy(update=update)

    after = Graph(
        name=graph.name,
        description=graph.description,
        input=graph.input,
        nodes=tuple(changed(node) for node in graph.nodes if node.name not in removed),
        outputs=tuple(map(renamed, graph.outputs)),
        output_names=graph.output_names,
        scopes=tuple(scope.model_copy(update={"output": renamed(scope.output)}) for scope in graph.scopes),
        declaration=tuple(name for name in graph.declaration if name not in removed),
        initialization=graph.initialization,
    )
    known = {node.name: node.name for node in after.nodes} | dict(values or {})
    return Rewriting(after, (formulas,) if formulas else (), {name: old for name, old in known.items() if old})


class Uses:
    """Who reads each value of a graph, and how often each layer is called.

    Attributes:
        readers: The nodes that read each value, by its name; a node that reads it twice is listed twice.
    """

    def __init__(self, graph: Graph) -> None:
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self._calls = Counter(node.layer for node in graph.nodes)
        self._outputs = {*graph.outputs}

    def called_once(self, node: Node) -> bool:
        """Whether no other node uses a node's layer, so that it can be changed."""
        return self._calls[node.layer] == 1

    def is_inner(self, node: Node) -> bool:
        """Whether only a node's readers notice a change: its layer is called once and its value is no output."""
        return self.called_once(node) and node.name not in self._outputs

    def only_reader(self, node: Node) -> Node | None:
        """Return the node that reads a value, if it is the only use of it."""
        readers = self.readers.get(node.name, [])
        return readers[0] if len(readers) == 1 and node.name not in self._outputs else None
