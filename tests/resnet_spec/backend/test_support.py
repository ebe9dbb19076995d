"""Layers that a backend cannot express are found without weights, all of them, by name."""

from __future__ import annotations

from typing import Any, cast

from resnet_spec import Graph
from resnet_spec.backend.protocol import Backend
from resnet_spec.backend.support import unsupported
from resnet_spec.errors import BackendError, Problem
from resnet_spec.spec.spec import Spec


def network() -> Graph:
    return Spec.model_validate(
        {
            "input": {"channels": 4, "height": 8, "width": 8},
            "stem": {
                "a": "relu",
                "b": {"elu": None},
                "c": {"add": None, "from": ["a", "b"]},
                "d": {"reshape": {"shape": [8, 32]}},
                "e": "relu",
                "f": "flatten",
                "g": "elu",
                "h": "elu",
            },
        }
    ).to_graph()


class Fake:
    """A backend without some operations, which reports the first one."""

    name = "fake"

    def __init__(self, *missing: str, whole: str = "") -> None:
        self.missing = missing
        self.whole = whole

    def compile(self, graph: Graph, **options: Any) -> None:
        for node in graph.nodes:
            if node.operation.op in self.missing:
                raise BackendError(Problem(f"no {node.operation.op}", node.name))
        if self.whole and len(graph.nodes) > 2:
            raise BackendError(Problem("too deep", self.whole))


def problems(*missing: str, whole: str = "") -> list[str]:
    return [str(problem) for problem in unsupported(network(), cast("Backend", Fake(*missing, whole=whole)))]


def test_what_a_backend_has_is_no_problem() -> None:
    assert problems() == []


def test_every_layer_is_found_and_the_backend_named() -> None:
    assert problems("elu", "add") == [
        "b: no elu (backend 'fake')",
        "c: no add (backend 'fake')",
        "g: no elu (backend 'fake')",
        "h: no elu (backend 'fake')",
    ]


def test_what_only_the_whole_network_shows_is_found_too() -> None:
    assert problems("elu", whole="d") == [f"{name}: no elu (backend 'fake')" for name in "bgh"]
    assert problems(whole="d") == ["d: too deep (backend 'fake')"]
