"""Published weights in a spec: what an entry may state, and the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import available, load
from resnet_spec.spec.published import MIB, Published

URL = "https://host/file"


@pytest.fixture(scope="module")
def shipped_weights() -> list[Published]:
    """The entries of all shipped specs."""
    return [weights for name in available() for weights in load(name).weights.values()]


def spec(weights: str) -> str:
    return f"extends: resnet18\nweights: {{a: {weights}}}\n"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", ": needs 'url'"),
        ("url: file:///x", ".url: must be an address that starts with https:// or http:// and has no query, not 'file"),
        ("url: ftp://host/x", ".url: must be an address that starts with"),
        ("url: https://host", ".url: must be an address that starts with"),
        ("url: 'https://host/x?y=1'", ".url: must be an address that starts with"),
        ("url: https://user:word@host/x", ".url: must be an address that starts with"),
        ("url: https://host/x y", ".url: must be an address that starts with"),
        (f"url: {URL}, size: 5 MB", ".size: must be bytes, or a text like '97.8 MiB', not '5 MB'"),
        (f"url: {URL}, size: 0", ".size: must be at least 1, not 0"),
        (f"url: {URL}, hash: 'sha1:00000000'", ".hash: must be 'sha256:' or 'md5:' and at least eight"),
        (f"url: {URL}, hash: 'sha256:0000000'", ".hash: must be 'sha256:' or 'md5:' and at least eight"),
        (f"url: {URL}, classes: -1", ".classes: must be at least 0, not -1"),
        (f"url: {URL}, licens: mit", ": unknown key 'licens'; did you mean 'license'?"),
        (f"url: {URL}, accuracy: {{top1: 101}}", ".accuracy.top1: must be at most 100, not 101"),
        (f"url: {URL}, accuracy: {{top1: 1, topp: 2}}", ".accuracy: unknown key 'topp'; did you mean 'top"),
        (f"url: {URL}, preprocessing: {{crp: 1}}", ".preprocessing: unknown key 'crp'; did you mean 'crop'?"),
        (f"url: {URL}, preprocessing: {{order: gbr}}", ".preprocessing.order: must be 'rgb' or 'bgr', not 'gbr'"),
        (f"url: {URL}, preprocessing: {{range: 0}}", ".preprocessing.range: must be greater than 0, not 0"),
        (f"url: {URL}, preprocessing: {{std: [1, 0, 1]}}", ".preprocessing.std.1: must be greater than 0, not 0"),
    ],
)
def test_what_cannot_be_said_of_weights(mistakes: Callable[..., list[str]], said: str, wanted: str) -> None:
    lines = [line.partition(" ")[2] for line in mistakes(spec(f"{{{said}}}"))]
    assert [line for line in lines if line.startswith(f"weights.a{wanted}")], lines


def test_a_name_is_one_word(mistakes: Callable[..., list[str]]) -> None:
    (line,) = mistakes(f"extends: resnet18\nweights: {{'a:b': {{url: {URL}}}}}\n")
    assert "'a:b' is not a valid key" in line


def test_weights_are_not_inherited_and_not_in_the_graph(write: Callable[..., Path]) -> None:
    base = load(write(spec(f"{{url: {URL}}}"), "base.yaml"))
    extending = load(write("extends: base.yaml\n"))
    assert list(base.weights) == ["a"]
    assert extending.weights == {}
    assert base.to_graph().fingerprint == extending.to_graph().fingerprint == load("resnet18").to_graph().fingerprint


def test_a_shown_spec_has_its_weights(command: Callable[..., Any]) -> None:
    for arguments in ([], ["--resolved"]):
        out = command("resnet-spec", "show", "torchvision/resnet18", *arguments).out
        assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in out


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [
        (None, 1, 10**15),
        (1000, 1000, 1000),
        ("97.781 MiB", round(97.7805 * MIB + 0.5), int(97.7815 * MIB)),
        ("98 MiB", int(97.5 * MIB), int(98.5 * MIB)),
    ],
)
def test_a_size_is_met_by_what_rounds_to_it(size: int | str | None, least: int, most: int) -> None:
    published = Published(url=URL, size=size)
    assert published.matches_size(least)
    assert published.matches_size(most)
    assert size is None or not published.matches_size(least - 1)
    assert size is None or not published.matches_size(most + 1)


# -- the shipped ones --------------------------------------------------------------------------------------------


def test_no_two_entries_share_an_address(shipped_weights: list[Published]) -> None:
    addresses = [weights.url for weights in shipped_weights]
    assert len(addresses) == len(set(addresses)) > 150


def test_a_shipped_address_has_a_place_of_its_own_in_the_cache(shipped_weights: list[Published]) -> None:
    from resnet_spec.weights.cache import cache_folder, cached_path

    for weights in shipped_weights:
        path = cached_path(weights.url).relative_to(cache_folder())
        assert path.as_posix() == weights.url.removeprefix("https://")


def test_listing_weights_does_not_change_a_fingerprint() -> None:
    wanted = json.loads((Path(__file__).parents[1] / "graph" / "fingerprints.json").read_text())
    for name in ("torchvision/resnet50", "timm/resnet50", "keras/resnet50"):
        assert load(name).to_graph().fingerprint == wanted[name]
