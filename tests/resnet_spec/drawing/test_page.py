"""Drawings as pages and images."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import resnet_spec
from resnet_spec import OutputError
from resnet_spec.drawing import html, png
from tests.needs import need
from tests.shipped import shipped

GRAPH = shipped("torchvision/resnet18")


def test_a_page_has_the_drawing_and_what_each_part_costs() -> None:
    page = html(GRAPH, color="macs")
    summary = resnet_spec.summarize(GRAPH)
    cells = re.findall(r'<t[dh] class="n">([^<]*)</t', page)

    assert page.count("<svg ") == 1
    assert cells[-3:-1] == [f"{summary.parameters:,}", f"{summary.macs:,}"]


def test_a_page_needs_no_other_file_and_runs_nothing() -> None:
    page = html(GRAPH)

    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<img|href=|src=|url\(|@import", page)


def test_a_page_of_two_networks_has_both_tables() -> None:
    page = html(GRAPH, against=shipped("cifar/resnet20"))

    assert re.findall(r"<h2>([^<]*)</h2>", page) == ["torchvision/resnet18", "cifar/resnet20"]


def read(data: bytes) -> Any:
    need("PIL")
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def test_an_image_is_of_twice_the_size_with_text_on_it() -> None:
    need("resvg_py")
    image = read(png(shipped("cifar/resnet20")))
    height, width, _ = image.shape

    assert width > 500
    assert height > 1500
    # The title is dark letters on white.
    assert (image[:60].min(), image[0, 0].tolist()) < (100, [255, 255, 255])


def test_an_image_too_large_is_smaller_or_refused() -> None:
    need("resvg_py")
    long = shipped("torchvision/resnet152")

    assert read(png(long, nodes=True, scale=2)).shape[0] <= 32_000
    with pytest.raises(OutputError, match=r"too large for PNG: write \.svg"):
        png(shipped("cifar/resnet1202"), nodes=True)


def test_without_a_font_an_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    need("resvg_py")
    import resvg_py

    draws: Callable[..., bytes] = resvg_py.svg_to_bytes
    monkeypatch.setattr(resvg_py, "svg_to_bytes", lambda **options: draws(**options, skip_system_fonts=True))

    with pytest.raises(OutputError, match="no font is installed"):
        png(GRAPH)
