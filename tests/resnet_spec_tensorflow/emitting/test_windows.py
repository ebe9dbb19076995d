"""Layers that only pad have names that no node has."""

from __future__ import annotations


def test_names_of_paddings_give_way_to_names_of_nodes(backend, builder):
    b = builder()
    b("pad", "pad2d", "input", padding=1, value=1.0)
    b("x.pad", "conv2d", "pad", channels=2, kernel=3, stride=2, padding=1)
    b("x", "max_pool2d", "x.pad", kernel=3, stride=2, padding=1)
    model = backend.compile(b.graph())
    names = [operation.name for operation in model.operations]
    assert names == ["input", "pad", "x.pad.pad", "x.pad", "x.pad_", "x"]
