"""Gives parameters the names that their original has, by patterns over the names that the language gives them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from resnet_spec.errors import KeyPath
from resnet_spec.graph import Graph

KEY = "parameter_names"
"""The key of a spec: patterns over names such as ``*.act.weight`` to a name within the layer."""

COUNTER = "num_batches_tracked"


def with_parameter_names(graph: Graph, patterns: Mapping[str, str], problem: Callable[[str, KeyPath], None]) -> Graph:
    """The graph with other names of parameters; of several patterns that match one, the last gives its name.

    After a problem the graph is unchanged. A pattern that matches nothing is none.
    """
    matched: dict[str, str] = {}
    for parameter in graph.parameters():
        for pattern in patterns:
            if fnmatchcase(parameter.systematic_name, pattern):
                matched[parameter.systematic_name] = pattern
    names: defaultdict[str, dict[str, str]] = defaultdict(dict)
    taken: dict[str, str] = {}
    problems: dict[str, str] = {}
    for parameter in graph.parameters():
        systematic, name = parameter.systematic_name, parameter.name
        pattern = matched.get(systematic)
        if pattern is not None:
            names[parameter.node][parameter.slot] = patterns[pattern]
            name = f"{parameter.node}.{patterns[pattern]}"
            if not parameter.slot:
                message = f"{systematic!r} has its layer's name, which its step gives; rename the step"
                problems.setdefault(pattern, message)
            if patterns[pattern] == COUNTER:
                problems.setdefault(pattern, f"{COUNTER!r} is the name of PyTorch's counter of batches")
        other = taken.setdefault(name, systematic)
        if other != systematic and (key := pattern or matched.get(other)):
            problems.setdefault(key, f"{other!r} and {systematic!r} would both be named {name!r}")
    for pattern, message in problems.items():
        problem(message, (KEY, pattern))
    return graph if problems or not names else graph.with_parameter_names(names)
