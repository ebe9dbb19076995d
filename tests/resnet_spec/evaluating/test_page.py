"""An evaluation as a page and in a terminal: every figure, every picture that differs, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_spec import EvaluationReport, Preprocessing
from resnet_spec.cli import evaluate as command_module
from resnet_spec.evaluating import page
from resnet_spec.evaluating.page import html_page
from resnet_spec.evaluating.scores import Changes, Scores
from resnet_spec.spec.published import Accuracy
from tests.needs import posix
from tests.resnet_spec.evaluating.fakes import CLASSES, Fake, picture

Command = Callable[..., Any]


def made(folder: Path, *, count: int = 8, differing: int = 2, **fields: Any) -> EvaluationReport:
    """A report on a number of images, on the first of which a second model differs; the last of these is a tie."""
    own = np.arange(count) % 6
    other = np.where(np.arange(count) < differing, (own + 1) % 6, own)
    gap = np.where(np.arange(count) < differing, 0.5, 0.0)
    gap[max(differing - 1, 0)] = 1e-5
    scores = {
        name: Scores(top[:, None].repeat(5, axis=1), (top != own).astype(int), np.full(count, share))
        for name, top, share in (("torch", own, 0.75), ("int8.tflite", other, 0.5))
    }
    values: dict[str, Any] = {
        "spec": "net", "weights": "V1", "folder": str(folder), "preprocessing": Preprocessing(crop=16),
        "labels": ("<ape>", *CLASSES[1:]), "matched": "names",
        "images": tuple((f"{number}.png", int(place)) for number, place in enumerate(own)),
        "read": np.ones(count, bool), "unreadable": {}, "scores": scores,
        "changes": {"int8.tflite": Changes(np.full(count, 0.02), np.full(count, 0.01), gap)},
        "deviation": 2.0, "allowed": 1e-4, "published": Accuracy(top1=99.5, top5=100.0),
        "environment": {"torch": {"torch": "2"}},
    }  # fmt: skip
    return EvaluationReport(**values | fields)


class Page(HTMLParser):
    """The text of a page, and the addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        assert tag != "script"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_figure_and_every_picture_that_differs(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 1)
    picture(tmp_path / "1.png", 2, size=(600, 400))
    report = made(tmp_path)
    found = Page(html_page(report))
    small, large = (Image.open(BytesIO(b64decode(address.partition(",")[2]))) for address in found.addresses)
    assert (small.format, small.size) == ("PNG", (16, 16))
    assert (large.format, large.size) == ("JPEG", (192, 128))
    assert small.getpixel((3, 3)) == (40, 0, 0)
    for text in ("100.00", "99.50", "75.00", "0.png", "1.png", "<ape>", "rounding decides", "torch 2", "crop 16"):
        assert text in found.text, text
    assert "On 2 of 8 images, int8.tflite has another class than torch, of which rounding decides 1; prob" in found.text


def test_the_page_shows_as_many_pictures_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST", 3)
    text = Page(html_page(made(tmp_path, differing=7))).text
    assert text.count("the file can no longer be read") == 3
    assert "The first 3 of 7" in text


def test_unreadable_images_and_notes_are_on_the_page(tmp_path: Path) -> None:
    report = made(tmp_path, unreadable={"a<b>.jpg": "is not an image"}, notes=("1 folder without images: emu",))
    text = Page(html_page(report)).text
    for words in ("a<b>.jpg: is not an image", "1 folder without images: emu.", "ImageNet's 50,000 validation images"):
        assert words in text, words


@pytest.mark.parametrize(("differing", "passed"), [(0, True), (1, True), (2, False)])
def test_it_passes_if_only_rounding_decides(tmp_path: Path, differing: int, passed: bool) -> None:
    assert made(tmp_path, differing=differing).passed is passed


def test_a_notebook_shows_a_table(tmp_path: Path) -> None:
    report = made(tmp_path)
    assert repr(report) == "EvaluationReport('net', 8 images, torch 100.00%, int8.tflite 75.00%)"
    assert "75.00" in report._repr_html_()


# -- the command -------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.usefixtures("fakes")
def test_the_command_prints_figures_and_ends_with_a_status(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESNET_SPEC_CACHE", str(tmp_path / "cache"))
    arguments = [
        "resnet-spec", "evaluate", "net.yaml", "--images", folder, "--weights", "net.safetensors", "--preprocessing",
        "{range: 1.0}",
    ]  # fmt: skip
    done = command(*arguments, "--backend", "torch")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^torch +73.91 +53.53 to 87.45 +95.65 +79.01 to 99.23$", done.out, re.MULTILINE), done.out
    assert done.out.startswith("net  weights net.safetensors, 23 images of 6 classes in images\n")

    (folder / "ape" / "bro\nken\x1b[31m.png").touch()
    Fake.changes["tensorflow"] = lambda logits: logits[:, ::-1]
    html = Path("page.html")
    done = command(*arguments, "--backends", "torch,tensorflow", "--html", html)
    assert done.status == 1
    assert "ape/bro\\nken\\x1b[31m.png: is not an image" in done.err
    assert "on 23 of 23 images, tensorflow has another class than torch;" in done.out
    assert "and 13 more, which --json and --html list" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert "Accuracy of net" in html.read_text("utf-8")
    done = command(*arguments, "--backend", "torch", "--json")
    assert done.status == 1
    data = json.loads(done.out)
    assert (data["images"], len(data["unreadable"]), data["passed"]) == (23, 1, False)
    assert [*Path(tmp_path / "cache").rglob("*.state")] == []


@pytest.mark.usefixtures("fakes")
def test_a_cache_that_cannot_be_written_does_not_matter(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_SPEC_CACHE", str(tmp_path / "file"))
    arguments = ["--weights", "net.safetensors", "--preprocessing", "{}", "--backend", "torch"]
    done = command("resnet-spec", "evaluate", "net.yaml", "--images", folder, *arguments)
    assert (done.status, done.err) == (0, "")


@pytest.mark.usefixtures("fakes")
def test_after_ctrl_c_the_same_command_continues(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESNET_SPEC_CACHE", str(tmp_path / "cache"))
    arguments = [
        "resnet-spec", "evaluate", "net.yaml", "--images", folder, "--weights", "net.safetensors", "--preprocessing",
        "{range: 1.0}", "--backend", "torch", "--batch", "5",
    ]  # fmt: skip

    def stop(step: str) -> None:
        if " 10 of " in step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command_module, "_quietly", stop)
        done = command(*arguments)
    assert done.status == 130
    assert "has the results of 10 of 23 images; the same command continues after them" in done.err
    assert done.err.endswith("interrupted\n")
    done = command(*arguments)
    assert done.status == 0
    assert "continuing after 10 images" in done.err
    assert "73.91" in done.out
    assert sum(Fake.seen) == 23


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give --weights, a file; net.yaml lists no published ones"),
        (["--weights", "net.safetensors", "--html", "no/page.html"], "no/page.html: the folder no does not exist"),
        (["--weights", "nothing.pth"], "nothing.pth"),
        (["--weights", "net.safetensors", "--preprocessing", "{crop: 16}", "--labels", "no.txt"], "no.txt: No such"),
        (["--weights", "net.safetensors", "--preprocessing", "{crop: 16}", "--backend", "nope"],
         "no backend is named 'nope'"),
        (["--weights", "net.safetensors", "--preprocessing", ""], "net has no published weights ''"),
        (["--weights", "net.safetensors", "--preprocessing", "{crop: 16}", "--labels", ""], "Is a directory"),
        (["--weights", "net.safetensors", "--preprocessing", "{}", "--backend", "onnx,onnx"], "each only once"),
        (["--weights", "net.safetensors", "--preprocessing", "{}", "--backend", ","], "name at least one backend"),
        (["--weights", "net.safetensors", "--html", "images"], "images is a folder\n"),
        (["--weights", "net.safetensors", "--html", "net.safetensors"], "net.safetensors exists already and is not"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_line(folder: Path, command: Command, arguments: list[str], line: str) -> None:
    done = command("resnet-spec", "evaluate", "net.yaml", "--images", folder, *arguments)
    # A backend that is missing is no mistake of the command.
    assert done.status == (3 if "nope" in arguments else 2)
    assert line in done.err
    assert done.out == ""
