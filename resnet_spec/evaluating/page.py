"""An evaluation as one self-contained HTML page: the accuracies, and the pictures on which backends differ."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from resnet_spec.errors import ImageError
from resnet_spec.evaluating import words
from resnet_spec.evaluating.report import Differing, EvaluationReport
from resnet_spec.parity.render.pages import render
from resnet_spec.parity.render.words import sentence
from resnet_spec.vision.preprocessing import load_rgb

PACKAGE = "resnet_spec.evaluating"

MOST = 100
"""The most pictures of a backend or model."""

SIDE = 192
"""The larger side of a picture in pixels; a larger one is reduced."""


class Picture(NamedTuple):
    """An image that differs, as the page shows it.

    Attributes:
        image: What differs.
        data: The address of the picture; empty if it can no longer be read.
        width: Its width.
        height: Its height.
    """

    image: Differing
    data: str
    width: int
    height: int


def html_page(report: EvaluationReport) -> str:
    """Return a page on an evaluation.

    Args:
        report: The evaluation.

    Returns:
        HTML without scripts and without references to other files.
    """
    return render(
        PACKAGE, "evaluate.html", report=report, words=words, sentence=sentence, pictures=_pictures, most=MOST
    )


def _pictures(report: EvaluationReport, name: str) -> Iterator[Picture]:
    for image in report.results[name].differing[:MOST]:
        yield Picture(image, *_reduced(os.path.join(report.folder, image.image)))


def _reduced(path: str) -> tuple[str, int, int]:
    """An image as an address, small enough for a page; small ones as they are, since JPEG would change their pixels."""
    try:
        picture = load_rgb(path)
    except ImageError:
        return "", 0, 0
    kind, options = ("PNG", {}) if max(picture.size) <= SIDE // 2 else ("JPEG", {"quality": 80})
    picture.thumbnail((SIDE, SIDE))
    content = BytesIO()
    picture.save(content, kind, **options)
    data = b64encode(content.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{data}", *picture.size
