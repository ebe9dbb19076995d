"""Processes that read images: every batch in order, with the bits of ``preprocess``, whatever process read it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_spec.errors import BackendError
from resnet_spec.evaluating.reading import Readers
from resnet_spec.spec.published import Preprocessing
from resnet_spec.vision.preprocessing import prepare
from tests.needs import posix

Lines = Callable[[Callable[[], object]], list[str]]
PREPROCESSING = Preprocessing(resize=40, crop=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Twelve parts of a picture, and a file that is not an image as the fourth."""
    rows, columns = np.mgrid[:300, :450]
    photograph = np.stack([rows, columns, rows * columns], axis=2).astype(np.uint8)
    for number in range(12):
        Image.fromarray(photograph[20 * number :]).save(tmp_path / f"{number:02}.jpg")
    (tmp_path / "03.jpg").write_text("nothing")
    return sorted(map(str, tmp_path.glob("*.jpg")))


def test_batches_are_those_of_preprocess_in_order(paths: list[str], tmp_path: Path) -> None:
    whole = prepare([path for path in paths if "03" not in path], PREPROCESSING)
    with Readers(PREPROCESSING, (32, 32), 2, 2, tmp_path) as readers:
        for first in (0, 5):
            batches = [(batch, np.load(batch.path)) for batch in readers.batches(paths, first)]
            assert [batch.first for batch, _ in batches] == [*range(first, 12, 2)]
            assert sum(batch.images for batch, _ in batches) == 12 - first
            read = [place for batch, _ in batches for place in batch.read]
            assert read == [place for place in range(first, 12) if place != 3]
            assert np.array_equal(np.concatenate([array for _, array in batches]), whole[-len(read) :])
            problems = {place: why for batch, _ in batches for place, why in batch.problems.items()}
            assert list(problems) == ([3] if first == 0 else [])
            # Each file is deleted once the next is used.
            assert [*tmp_path.glob("*.npy")] == []


@posix
@pytest.mark.slow
def test_a_reader_that_is_killed_is_an_error_that_names_its_images(paths: list[str], tmp_path: Path) -> None:
    with Readers(PREPROCESSING, (32, 32), 1, 4, tmp_path) as readers:
        batches = readers.batches(paths)
        next(batches)
        os.kill(readers._readers[0]._process.pid, signal.SIGKILL)
        with pytest.raises(BackendError) as caught:
            list(batches)
    assert "an image reader's process was killed by SIGKILL" in str(caught.value)
    assert f"it read the images from {paths[4]} to {paths[7]}" in str(caught.value) or paths[8] in str(caught.value)
