"""Sums of values of different shapes, for one image too: Keras takes some of their terms for biases of channels."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import resnet_spec
from resnet_spec_tensorflow.backend import TensorFlowBackend

SHAPES = [*product((1, 2), repeat=3)]
"""Channels, height and width; both sizes are alike, so that an axis can be taken for another."""

Shape = tuple[int, ...]


def part(image: np.ndarray, number: int, shape: Shape) -> np.ndarray:
    for axis, size in enumerate(shape, start=1):
        if size == 1:
            image = image.take([number % 2], axis)
    return image


def spec_of(shapes: tuple[Shape, ...]) -> str:
    lines = ["input: {channels: 2, height: 2, width: 2}", "stem:"]
    terms: list[str] = []
    for number, shape in enumerate(shapes):
        term, start = f"square{number}", number % 2
        lines.append(f"  {term}: {{multiply: {{}}, from: [input, input]}}")
        for axis in (axis for axis, size in enumerate(shape) if size == 1):
            term = f"cut{number}.axis{axis}"
            lines.append(f"  {term}: {{slice: {{axis: {axis}, start: {start}, stop: {start + 1}}}}}")
        terms.append(term)
    return "\n".join([*lines, f"  sum: {{add: {{}}, from: [{', '.join(terms)}]}}"])


@pytest.mark.parametrize(
    "shapes",
    [*product(SHAPES, repeat=2), ((2, 1, 1), (1, 2, 1), (1, 1, 2)), ((1, 2, 1), (2, 2, 2), (1, 1, 2))],
    ids=lambda shapes: " + ".join("x".join(map(str, shape)) for shape in shapes),
)
def test_terms_of_any_shapes_are_added_for_one_image_and_for_several(shapes: tuple[Shape, ...], tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(spec_of(shapes))
    graph = resnet_spec.load(path).to_graph()
    backend = TensorFlowBackend()
    model = backend.compile(graph, dtype="float64")
    for count in (1, 2):
        images = np.random.default_rng(0).normal(size=(count, 2, 2, 2))
        terms = [part(images**2, number, shape) for number, shape in enumerate(shapes)]
        (found,) = backend.forward(model, images)
        np.testing.assert_allclose(found, sum(terms[1:], terms[0]), rtol=1e-14)
