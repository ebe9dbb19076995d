"""The process of a reader: it decodes and preprocesses images, and writes them as a batch for backends.

Run as ``python -m resnet_spec.evaluating.worker``; requests and answers are those of ``parity.worker``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_spec.errors import ImageError
from resnet_spec.parity.worker import answer, answer_stream, serve
from resnet_spec.spec.published import Preprocessing
from resnet_spec.vision import preprocessing as vision


class _Warnings(logging.Handler):
    """Counts the warnings about an image: that its EXIF orientation is ignored."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a warning."""
        self.count += 1


class _Worker:
    def __init__(self) -> None:
        self.warnings = _Warnings()
        logger = logging.getLogger(vision.__name__)
        logger.addHandler(self.warnings)
        logger.propagate = False

    def read(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the images of a batch that can be read, and return which those are, and why others cannot be."""
        import numpy as np

        preprocessing = Preprocessing.model_validate(request["preprocessing"])
        images: list[str] = request["images"]
        height, width = request["size"]
        batch = np.empty((len(images), 3, height, width), np.float32)
        read: list[int] = []
        turned: list[int] = []
        problems: list[tuple[int, str]] = []
        for place, image in enumerate(images):
            before = self.warnings.count
            try:
                found = vision.prepare(image, preprocessing)[0]
                if found.shape != batch.shape[1:]:
                    raise ImageError(
                        f"is {found.shape[1]} pixels high and {found.shape[2]} wide, not {height} and {width} as the "
                        "first image; preprocessing with 'crop' gives all images one size"
                    )
            except ImageError as error:
                problems.append((place, "; ".join(problem.message for problem in error.problems)))
                continue
            except MemoryError:
                problems.append((place, "needs more memory than there is"))
                continue
            batch[len(read)] = found
            read.append(place)
            if self.warnings.count > before:
                turned.append(place)
        if read:
            np.save(Path(request["path"]), batch[: len(read)])
        return {"read": read, "problems": problems, "turned": turned}


def main() -> None:
    """Answer requests until standard input ends."""
    answers = answer_stream()
    worker = _Worker()
    answer(answers, {})
    serve({"read": worker.read}, sys.stdin, answers)


if __name__ == "__main__":
    main()
