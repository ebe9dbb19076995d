"""Which class of a network a folder is; a wrong order would be a wrong accuracy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from resnet_spec.evaluating.classes import match_folders
from resnet_spec.vision.prediction import imagenet_labels, imagenet_wnids
from tests.needs import need

Lines = Callable[[Callable[[], object]], list[str]]


def test_the_wordnet_ids_are_those_of_the_libraries() -> None:
    need("timm")
    # Its files, as to import it takes seconds.
    (package,) = find_spec("timm").submodule_search_locations
    tables = Path(package, "data", "_info")
    ids = (tables / "imagenet_synsets.txt").read_text("utf-8").split()
    assert [*imagenet_wnids()] == ids == sorted({*ids})
    # The names are of the same classes: timm's have a word in common with nearly all.
    lemmas = (line.split("\t") for line in (tables / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines())
    words = {wnid: {*re.findall(r"[a-z]+", text.lower())} for wnid, text in lemmas}
    pairs = zip(ids, imagenet_labels(), strict=True)
    assert sum(not words[wnid].isdisjoint(re.findall(r"[a-z]+", label.lower())) for wnid, label in pairs) > 970


@pytest.mark.parametrize(
    ("folders", "classes", "labels", "numbers", "by"),
    [
        (["ape", "cat", "dog"], 3, None, (0, 1, 2), "their sorted order"),
        (["0", "1", "2"], 3, None, (0, 1, 2), "numbers"),
        (["0", "2"], 3, None, (0, 2), "numbers"),
        (["0", "1", "dog"], 3, None, (0, 1, 2), "their sorted order"),
        (["30", "40", "dog"], 3, None, (0, 1, 2), "their sorted order"),
        (["0", "1", "10", "2"], 4, ["0", "1", "10", "2"], (0, 1, 2, 3), "names"),
        (["000", "001", "010"], 1000, None, (0, 1, 10), "numbers"),
        (["0", "1", "10", "2"], 11, None, (0, 1, 10, 2), "numbers"),
        (["cat", "dog"], 3, ["dog", "ape", "cat"], (2, 0), "names"),
        (["0", "1"], 2, ["zero", "one"], (0, 1), "numbers"),
        (["n01440764", "n01443537", "n15075141"], 1000, None, (0, 1, 999), "WordNet ids"),
        (["n01440764", "n15075141"], 1001, None, (1, 1000), "WordNet ids"),
        (["goldfish", "tench"], 1000, None, (1, 0), "names"),
        (["background", "tench"], 1001, None, (0, 1), "names"),
        (["n01443537"], 1000, [f"class {number}" for number in range(1000)], (1,), "WordNet ids"),
    ],
)  # fmt: skip
def test_folders_are_matched(
    folders: Sequence[str], classes: int, labels: Sequence[str] | None, numbers: tuple[int, ...], by: str
) -> None:
    found = match_folders(folders, classes, labels)
    assert (found.numbers, found.by) == (numbers, by)
    assert len(found.labels) == classes


def test_labels_are_the_folders_where_their_order_counts() -> None:
    assert match_folders(["ape", "cat"], 2).labels == ("ape", "cat")
    assert match_folders([f"x{number:04}" for number in range(1000)], 1000).labels[7] == "x0007"


def test_numbers_in_another_order_than_torchvisions_are_noted() -> None:
    (note,) = match_folders([*sorted(map(str, range(11)))], 11).notes
    assert "torchvision's ImageFolder sorts them as texts" in note
    assert match_folders([f"{number:02}" for number in range(11)], 11).notes == ()


@pytest.mark.parametrize(
    ("folders", "classes", "labels", "expected"),
    [
        (
            ["n00000001", "n01440764", "other"], 1000, None,
            ["n00000001: is not a WordNet id of ImageNet's classes",
             "other: is not a WordNet id of ImageNet's classes"],
        ),
        (["goldfsh", "tench"], 1000, None,
         ["goldfsh: is not the name of an ImageNet class; did you mean 'goldfish'?"]),
        (["cat", "dgo"], 2, ["cat", "dog"], ["dgo: is not one of the labels; did you mean 'dog'?"]),
        (["x", "y"], 2, ["cat", "dog"], ["none of the folders is one of the labels (folders: x, y)"]),
        (["cat", "dog"], 3, ["cat", "cat", "dog"], ["cat: is the label of several classes"]),
        (["1", "2", "3"], 3, None, ["3: is not one of 3 classes, whose numbers are 0 to 2"]),
        (["01", "1"], 3, None, ["1: is the same class as the folder 01"]),
        (["1", "2", "dog"], 3, None,
         ["1: is class 0 in sorted order, but its name is the number of another; give labels",
          "2: is class 1 in sorted order, but its name is the number of another; give labels"]),
        (["0", "dog"], 3, None,
         ["2 folders are not the 3 classes in their order; give labels, the names of the classes (folders: 0, dog)"]),
        (["a", "b", "c"], 2, None,
         ["3 folders are not the 2 classes in their order; give labels, the names of the classes (folders: a, b, c)"]),
        (["a"], 2, None,
         ["1 folder is not the 2 classes in their order; give labels, the names of the classes (folders: a)"]),
        (["a", "b"], 2, ["a"], ["got 1 labels for 2 classes"]),
    ],
)  # fmt: skip
def test_a_folder_of_an_unknown_class_is_a_line(
    lines: Lines, folders: Sequence[str], classes: int, labels: Sequence[str] | None, expected: list[str]
) -> None:
    assert lines(lambda: match_folders(folders, classes, labels)) == expected
