"""Specs and blocks are found by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_spec import available, load
from resnet_spec.spec.catalog import Catalog

SPEC = "stem: {relu: relu}\n"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name in ("torchvision/a", "keras/a", "keras/b", "slim/b", "slim/deep/c", "blocks/a"):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("main: {}" if name.startswith("blocks") else SPEC)
    return Catalog(tmp_path)


def test_the_shipped_specs_are_listed_in_order() -> None:
    names = available()

    assert names == sorted(set(names))
    assert all((Catalog.shipped().root / f"{name}.yaml").is_file() for name in names)
    assert {"keras/resnet50", "torchvision/resnet18", "tutorial/resnet34"} <= set(names)
    assert not any(name.startswith("blocks/") for name in names)


def test_a_name_is_the_path_below_the_folder_and_blocks_are_no_specs(catalog: Catalog) -> None:
    assert catalog.names() == ["keras/a", "keras/b", "slim/b", "slim/deep/c", "torchvision/a"]
    assert set(catalog.blocks()) == {"a"}


def test_a_full_name_finds_its_file(catalog: Catalog) -> None:
    assert catalog.find("keras/a") == catalog.root / "keras" / "a.yaml"


def test_a_bare_name_means_torchvisions(catalog: Catalog) -> None:
    assert catalog.find("a") == catalog.root / "torchvision" / "a.yaml"


def test_a_bare_name_means_the_only_family_that_has_it(catalog: Catalog) -> None:
    assert catalog.find("c") == catalog.root / "slim" / "deep" / "c.yaml"


def test_a_bare_name_that_several_families_have_lists_them(catalog: Catalog, lines: Callable[..., list[str]]) -> None:
    expected = ["several families have a 'b': keras/b, slim/b; give the full name"]

    assert lines(lambda: catalog.find("b")) == expected
    assert lines(lambda: load("b", catalog=catalog)) == expected


def test_a_family_whose_name_only_begins_like_the_preferred_one_is_not_preferred(
    catalog: Catalog, lines: Callable[..., list[str]]
) -> None:
    for family in ("torchvision_fork", "zoo"):
        (catalog.root / family).mkdir()
        (catalog.root / family / "d.yaml").write_text(SPEC)

    said = "several families have a 'd': torchvision_fork/d, zoo/d; give the full name"
    assert lines(lambda: catalog.find("d")) == [said]


@pytest.mark.parametrize(
    ("name", "near"), [("wide_resnet50-2", "wide_resnet50_2"), ("keras/resnet5O", "keras/resnet50")]
)
def test_an_unknown_name_gets_a_suggestion(name: str, near: str, lines: Callable[..., list[str]]) -> None:
    said = f"no shipped spec is named {name!r}; did you mean {near!r}? (a file's path ends in .yaml or .yml)"
    assert lines(lambda: load(name)) == [said]


def test_a_name_like_no_other_is_reported_where_to_look(lines: Callable[..., list[str]]) -> None:
    hint = "'resnet-spec list' shows the shipped specs (a file's path ends in .yaml or .yml)"
    assert lines(lambda: load("vgg")) == [f"no shipped spec is named 'vgg'; {hint}"]


def test_a_shipped_file_is_read_once(catalog: Catalog) -> None:
    path = catalog.find("c")
    document = catalog.document(path)
    path.write_text("stem: {relu: sigmoid}\n", "utf-8")

    assert catalog.document(path) == document


@pytest.mark.parametrize(
    ("file", "name"),
    [("mine.yaml", "mine"), ("my net (2).yaml", "my-net-2-"), ("größe.yml", "gr-e"), ("模型.yaml", "-")],
)
def test_a_file_of_ones_own_is_named_after_itself_as_far_as_a_name_may_be(
    file: str, name: str, write: Callable[..., Path]
) -> None:
    assert load(write(SPEC, file)).name == name


def test_a_shipped_spec_is_named_as_it_is_found(catalog: Catalog) -> None:
    assert load("c", catalog=catalog).name == "slim/deep/c"
