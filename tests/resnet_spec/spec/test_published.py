"""Published weights in a spec: what may be said of them, their names, and what a text for ``--weights`` means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_spec import SpecError, WeightsError, available, load
from resnet_spec.spec.published import MIB, Published, find, is_path

URL = "https://host/file"
SHIPPED = [name for name in available() if load(name).weights]


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
        (f"url: {URL}, size: 0", ".size: must be greater than or equal to 1, not 0"),
        (f"url: {URL}, hash: 'sha1:00000000'", ".hash: must be 'sha256:' or 'md5:' and at least eight"),
        (f"url: {URL}, hash: 'sha256:0000000'", ".hash: must be 'sha256:' or 'md5:' and at least eight"),
        (f"url: {URL}, classes: -1", ".classes: must be greater than or equal to 0, not -1"),
        (f"url: {URL}, licens: mit", ": unknown key 'licens'; did you mean 'license'?"),
        (f"url: {URL}, accuracy: {{top1: 101}}", ".accuracy.top1: must be less than or equal to 100, not 101"),
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
    assert "'a:b' is not a name here" in line


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
    assert published.may_have(least)
    assert published.may_have(most)
    assert size is None or not published.may_have(least - 1)
    assert size is None or not published.may_have(most + 1)


# -- names -------------------------------------------------------------------------------------------------------


def test_weights_are_found_by_name_here_and_elsewhere(write: Callable[..., Path]) -> None:
    resnet50 = load("resnet50")
    mine = load(write(spec(f"{{url: {URL}}}"), "mine.yaml"))
    assert find(resnet50, "IMAGENET1K_V2") is resnet50.weights["IMAGENET1K_V2"]
    assert find(mine, "torchvision/resnet50:IMAGENET1K_V2") == resnet50.weights["IMAGENET1K_V2"]
    assert find(mine, "resnet50:IMAGENET1K_V1") == resnet50.weights["IMAGENET1K_V1"]
    assert find(resnet50, "mine.yaml:a").url == URL


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "IMAGENET1K_V3",
            "torchvision/resnet50 has no published weights 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V2'?"
            " (known: IMAGENET1K_V2, IMAGENET1K_V1)",
        ),
        ("keras/resnet50:imagnet", "keras/resnet50 has no published weights 'imagnet'; did you mean 'imagenet'?"
            " (known: imagenet)"),
        ("slim/resnet_v1_50:imagenet", "slim/resnet_v1_50 has no published weights 'imagenet'"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_the_known_ones(name: str, wanted: str) -> None:
    with pytest.raises(WeightsError) as caught:
        find(load("resnet50"), name)
    assert str(caught.value) == wanted


def test_an_unknown_spec_is_told() -> None:
    with pytest.raises(SpecError, match="no shipped spec is named 'torchvison/resnet50'; did you mean 'torchvision/"):
        find(load("resnet50"), "torchvison/resnet50:IMAGENET1K_V2")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("IMAGENET1K_V2", False),
        ("IMAGENET1K_V3", False),
        ("torchvision/resnet50:IMAGENET1K_V2", False),
        ("./IMAGENET1K_V2", True),
        ("folder/file", True),
        ("file.pth", True),
        ("model.ckpt-1000", True),
        ("C:/file", True),
    ],
)
def test_a_path_is_told_from_a_name(text: str, path: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_path(load("resnet50"), text) is path


def test_where_no_names_are_listed_a_word_is_a_path() -> None:
    assert is_path(load("slim/resnet_v1_50"), "missing")
    assert not is_path(load("slim/resnet_v1_50"), "resnet50:IMAGENET1K_V2")


@pytest.mark.parametrize("file", ["IMAGENET1K_V2", "checkpoint.index", "folder/saved_model.pb"])
def test_a_file_that_is_there_is_a_path(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).touch()
    assert is_path(load("resnet50"), file.removesuffix(".index").removesuffix("/saved_model.pb"))


def test_a_name_that_looks_like_a_path_is_still_a_name(write: Callable[..., Path]) -> None:
    assert not is_path(load(write(f"extends: resnet18\nweights: {{v1.5: {{url: {URL}}}}}\n")), "v1.5")


# -- the shipped ones --------------------------------------------------------------------------------------------


def test_no_two_entries_share_an_address() -> None:
    addresses = [weights.url for name in SHIPPED for weights in load(name).weights.values()]
    assert len(addresses) == len(set(addresses)) > 150


def test_a_shipped_address_has_a_place_of_its_own_in_the_cache() -> None:
    from resnet_spec.weights.download import _place  # pyright: ignore[reportPrivateUsage]

    for name in SHIPPED:
        for weights in load(name).weights.values():
            assert _place(weights.url) == weights.url.removeprefix("https://")


def test_listing_weights_does_not_change_a_fingerprint() -> None:
    wanted = json.loads((Path(__file__).parents[1] / "graph" / "fingerprints.json").read_text())
    for name in ("torchvision/resnet50", "timm/resnet50", "keras/resnet50"):
        assert load(name).to_graph().fingerprint == wanted[name]
