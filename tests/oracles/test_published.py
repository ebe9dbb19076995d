"""The published weights that specs list match the libraries' own tables."""

from __future__ import annotations

from math import prod

import pytest

import resnet_spec
from resnet_spec import load, summarize
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.published import MIB

from .publishing import LIBRARIES, Entries, gathered, rewritten

FAMILIES = ("torchvision", "timm", "keras")


@pytest.fixture(scope="module", params=FAMILIES)
def tables(request: pytest.FixtureRequest) -> dict[str, Entries]:
    """What a library publishes, by the spec's name."""
    return gathered(request.param)


def text(name: str) -> str:
    return (Catalog.shipped().root / f"{name}.yaml").read_text("utf-8")


def test_every_family_whose_library_publishes_is_asked() -> None:
    listing = {name.partition("/")[0] for name in resnet_spec.available() if load(name).weights}
    assert listing == set(FAMILIES) == set(LIBRARIES)


def test_each_spec_lists_what_its_library_publishes(tables: dict[str, Entries]) -> None:
    family = next(iter(tables)).partition("/")[0]
    assert set(tables) == {name for name in resnet_spec.available() if name.startswith(f"{family}/")}
    for name, entries in tables.items():
        listed = {
            key: value.model_dump(mode="json", exclude_defaults=True) for key, value in load(name).weights.items()
        }
        assert listed == entries, name
        # The first is the library's own default, so that their order counts.
        assert list(listed) == list(entries), name
        assert rewritten(text(name), entries) == text(name), name


def test_torchvisions_sizes_are_those_of_its_parameters() -> None:
    """Four bytes a number; the first wide networks were published in half precision."""
    for name in resnet_spec.available():
        if name.startswith("torchvision/"):
            spec = load(name)
            graph = spec.to_graph()
            numbers = sum(prod(parameter.shape) for parameter in graph.parameters())
            assert summarize(graph).parameters < numbers
            for tag, weights in spec.weights.items():
                size = float(str(weights.size).removesuffix(" MiB")) * MIB
                width = 2 if name.rpartition("/")[2].startswith("wide") and tag == "IMAGENET1K_V1" else 4
                assert size == pytest.approx(width * numbers, rel=0.01), (name, tag)


def test_every_entry_can_be_verified() -> None:
    for name in resnet_spec.available():
        spec = load(name)
        for tag, weights in spec.weights.items():
            assert weights.hash or weights.url.startswith("https://huggingface.co/"), (name, tag)
            assert weights.url.startswith("https://"), (name, tag)
            # A video has no preprocessing of photographs.
            assert (weights.preprocessing is None) == ("depth" in spec.input.positions), (name, tag)


# -- writing -----------------------------------------------------------------------------------------------------

SPEC = "# yaml-language-server: $schema=../spec.schema.json\nextends: resnet18  # ß\nhead: null\n"
ENTRIES: Entries = {"a": {"url": "https://host/a", "license": "of the host"}, "b": {"url": "https://host/" + "b" * 100}}
WRITTEN = """weights:
  a: {url: "https://host/a", license: of the host}
  b: {url:
    "https://host/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}
"""


def test_weights_are_written_at_the_end_and_over_earlier_ones() -> None:
    assert rewritten(SPEC, ENTRIES) == SPEC + WRITTEN
    assert rewritten(SPEC + WRITTEN, ENTRIES) == SPEC + WRITTEN
    assert rewritten(SPEC + WRITTEN, {"a": ENTRIES["a"]}) == SPEC + "".join(WRITTEN.splitlines(True)[:2])
    assert rewritten(SPEC + WRITTEN, {}) == SPEC
