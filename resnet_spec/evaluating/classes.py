"""Which class of a network each folder of images is: by a name, by a number, or by its place in the sorted order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from resnet_spec.errors import LabelsError, Problem, listed, suggest
from resnet_spec.vision.prediction import checked_labels, imagenet_wnids

WNID = re.compile(r"n\d{8}")
"""A WordNet id, by which ImageNet's folders are named."""


class Classes(NamedTuple):
    """The classes of a network, and which of them folders are.

    Attributes:
        labels: The names of the network's classes.
        numbers: The class of each folder, in the order of the folders.
        by: By what folders were matched with classes, for reports.
        notes: What a user should know of that, a sentence each.
    """

    labels: tuple[str, ...]
    numbers: tuple[int, ...]
    by: str
    notes: tuple[str, ...] = ()


def match_folders(folders: Sequence[str], classes: int, labels: Sequence[str] | None = None) -> Classes:
    """Match folders with the classes of a network.

    In this order: by ImageNet's WordNet ids (``n01440764``); by the labels, which are ImageNet's by default for as many
    classes; by the numbers that folders are named by; by the sorted order, as torchvision's ``ImageFolder`` does.

    Args:
        folders: The names of the folders, sorted.
        classes: How many classes the network has.
        labels: The names of the classes, in order, if they are known.

    Returns:
        The class of each folder.

    Raises:
        LabelsError: A folder is not a class, or its class cannot be known.

    Examples:
        >>> match_folders(["cat", "dog"], 2).numbers
        (0, 1)
        >>> match_folders(["n01443537"], 1000).labels[1]
        'goldfish'
    """
    names = checked_labels(classes, labels)
    wnids = len(imagenet_wnids())
    is_imagenets = classes in (wnids, wnids + 1)
    if is_imagenets and any(map(WNID.fullmatch, folders)):
        table = {wnid: classes - wnids + place for place, wnid in enumerate(imagenet_wnids())}
        return Classes(names, _matched(folders, table.get, "a WordNet id of ImageNet's classes", ()), "WordNet ids")
    if (labels is not None or is_imagenets) and not {*folders}.isdisjoint(names):
        if twice := [folder for folder in folders if names.count(folder) > 1]:
            raise LabelsError([Problem("is the label of several classes", folder) for folder in twice])
        what = "one of the labels" if labels is not None else "the name of an ImageNet class"
        numbers = {name: place for place, name in enumerate(names)}
        return Classes(names, _matched(folders, numbers.get, what, numbers), "names")
    if all(map(str.isdecimal, folders)):
        found = _matched(folders, lambda text: int(text) if int(text) < classes else None, _range(classes), ())
        return Classes(names, found, "numbers", tuple(_notes(folders, found)))
    if labels is not None:
        raise LabelsError(f"none of the folders is one of the labels (folders: {listed(folders)})")
    if len(folders) != classes:
        count = "1 folder is" if len(folders) == 1 else f"{len(folders)} folders are"
        raise LabelsError(
            f"{count} not the {classes} classes in their order; give labels, the names of the classes (folders: "
            f"{listed(folders)})"
        )
    order = {folder: place for place, folder in enumerate(folders)}
    # ImageFolder takes the order, but a folder whose number is another class's may be meant as that.
    if problems := [
        Problem(f"is class {place} in sorted order, but its name is the number of another; give labels", folder)
        for folder, place in order.items()
        if folder.isdecimal() and place != int(folder) < classes
    ]:
        raise LabelsError(problems)
    return Classes(tuple(folders), tuple(order.values()), "their sorted order")


def _range(classes: int) -> str:
    return f"one of {classes} classes, whose numbers are 0 to {classes - 1}"


def _matched(
    folders: Sequence[str], find: Callable[[str], int | None], what: str, known: Mapping[str, int] | tuple[()]
) -> tuple[int, ...]:
    found = {folder: find(folder) for folder in folders}
    problems = [Problem(f"is not {what}{suggest(f, known)}", f) for f, number in found.items() if number is None]
    first: dict[int, str] = {}
    for folder, number in found.items():
        if number is not None and first.setdefault(number, folder) != folder:
            problems.append(Problem(f"is the same class as the folder {first[number]}", folder))
    if problems:
        raise LabelsError(problems)
    return tuple(number for number in found.values() if number is not None)


def _notes(folders: Sequence[str], numbers: Sequence[int]) -> list[str]:
    if [*numbers] == sorted(numbers):
        return []
    return [
        "folders are classes by their numbers; torchvision's ImageFolder sorts them as texts (0, 1, 10, 2), so for a "
        "network trained by it give labels in that order"
    ]
