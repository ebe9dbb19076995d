"""Accuracy on images whose classes are known: none is left out or counted twice, and what is wrong is a line."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_spec import EvaluationReport, Preprocessing, evaluate, initialize, load, write_weights
from resnet_spec.evaluating import reading
from resnet_spec.evaluating.journal import Journal
from resnet_spec.evaluating.scores import wilson
from tests.resnet_spec.evaluating.fakes import CLASSES, Fake, picture

Command = Callable[..., Any]
Lines = Callable[[Callable[[], object]], list[str]]

PLAIN = Preprocessing()
pytestmark = pytest.mark.usefixtures("fakes")


def run(folder: Path | str = "images", *backends: str, **options: Any) -> EvaluationReport:
    values = {"preprocessing": PLAIN, "workers": 2, "batch": 5} | options
    return evaluate("net.yaml", folder, "net.safetensors", backends or ("torch",), **values)


def same(first: EvaluationReport, second: EvaluationReport) -> bool:
    return first.to_dict() | {"throughput": 0} == second.to_dict() | {"throughput": 0}


# -- accuracy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (5, 3), (22, 1), (23, 2), (100, 3)])
def test_every_image_is_counted_once(folder: Path, batch: int, workers: int) -> None:
    report = run(folder, batch=batch, workers=workers)
    assert sum(Fake.seen) == report.count == 23
    assert report.results["torch"].top1 == wilson(17, 23)
    ranks = report.scores["torch"].rank.tolist()
    by_image = {name: rank for (name, _), rank in zip(report.images, ranks, strict=True)}
    numbers = {int(Path(name).stem): rank for name, rank in by_image.items()}
    assert [number for number, rank in numbers.items() if rank == 0] != []
    assert sorted(number for number, rank in numbers.items() if rank == 0) == [*range(17)]
    assert all(numbers[number] == 1 for number in (17, 18, 19))
    assert all(numbers[number] > 1 for number in (20, 21, 22))
    assert report.passed


def test_a_wrong_order_of_classes_is_another_accuracy(folder: Path) -> None:
    order = [*reversed(CLASSES)]
    assert run(folder, labels=order).results["torch"].top1 == wilson(2, 23)
    assert run(folder, labels=CLASSES).results["torch"].top1 == wilson(17, 23)


def test_top_5_is_of_more_than_five_classes(folder: Path) -> None:
    # Of six classes, an image's own may be the last: those with equal logits are in the order of their numbers.
    report = run(folder)
    wrong = sum(rank == 5 for rank in report.scores["torch"].rank)
    assert wrong == 1
    assert report.results["torch"].top5 == wilson(22, 23)


def test_the_published_accuracy_is_beside_that_of_published_weights(
    folder: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("net.yaml").read_text(encoding="utf-8") + (
        "weights:\n  V1: {url: 'https://example.org/a.pth', accuracy: {top1: 75.5, top5: 92.25},\n"
        "    preprocessing: {resize: 20, crop: 16}}\n"
    )
    write(text, "published.yaml")
    monkeypatch.setattr("resnet_spec.weights.download.resolve", lambda _spec, _weights: Path("net.safetensors"))
    report = evaluate("published.yaml", folder, "V1", "torch", workers=1)
    assert report.published is not None
    assert (report.published.top1, report.published.top5) == (75.5, 92.25)
    assert report.preprocessing == Preprocessing(resize=20, crop=16)
    assert report.to_dict()["published"] == {"top1": 75.5, "top5": 92.25}
    assert run(folder).published is None


def test_images_are_sorted_into_one_class_of_the_network_or_several(folder: Path) -> None:
    for name in CLASSES[1:]:
        for file in (folder / name).iterdir():
            file.unlink()
    report = run(folder)
    assert report.count == 4
    assert report.notes == ("5 folders without images: cat, dog, emu, fox, gnu",)


# -- backends ----------------------------------------------------------------------------------------------------


def test_backends_that_agree_have_no_images_that_differ(folder: Path, fakes: type[Fake]) -> None:
    fakes.changes["tensorflow"] = lambda logits: logits + np.float32(1e-4)
    report = run(folder, "torch", "tensorflow")
    assert report.results["tensorflow"].differing == []
    assert report.passed
    logits, probabilities = report.results["tensorflow"].logits, report.results["tensorflow"].probabilities
    deviation = np.std(np.concatenate([_logits(folder, name) for name, _ in report.images]))
    assert logits == pytest.approx(1e-4 / deviation, rel=1e-2)
    assert report.bound == pytest.approx(1e-3 / deviation)
    assert probabilities < 1e-6


def _logits(folder: Path, name: str) -> Any:
    fake = Fake("torch")
    with Image.open(folder / name) as image:
        fake.images = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
    return fake.outputs()[0]


def test_images_that_differ_are_named_with_both_classes(folder: Path, fakes: type[Fake]) -> None:
    def wrong(logits: Any) -> Any:
        logits[:, 2] = np.where(logits.argmax(axis=1) == 2, 0, logits[:, 2])
        return logits

    fakes.changes["tensorflow"] = wrong
    report = run(folder, "torch", "tensorflow")
    assert not report.passed
    found = report.results["tensorflow"].differing
    dogs = {f"dog/{number:02}.png" for number in (2, 8, 14)} | {"cat/19.png"}
    assert {image.image for image in found} == dogs
    assert all(image.top[0][0] == "dog" and image.top[1][0] != "dog" and not image.is_tie for image in found)
    assert {image.label for image in found} == {"dog", "cat"}
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["results"][1]["differing"] == 4
    assert {image["image"] for image in data["results"][1]["images"]} == dogs
    assert data["results"][1]["ties"] == 0


def test_a_class_that_rounding_decides_is_a_tie(folder: Path, fakes: type[Fake]) -> None:
    # An image of two classes whose logits differ by less than the backends may.
    picture(folder / "ape" / "tie.png", 0, 3)

    def near(sign: float) -> Callable[[Any], Any]:
        def change(logits: Any) -> Any:
            tie = (logits[:, 0] == 4) & (logits[:, 3] == 3)
            logits[tie, 3] = 4 + np.float32(sign * 4e-4)
            return logits

        return change

    fakes.changes |= {"torch": near(-1), "tensorflow": near(1)}
    report = run(folder, "torch", "tensorflow")
    (image,) = report.results["tensorflow"].differing
    assert image.image == "ape/tie.png"
    assert image.is_tie
    assert report.passed
    fakes.changes["torch"] = lambda logits: near(-10)(logits)
    report = run(folder, "torch", "tensorflow")
    assert not report.results["tensorflow"].differing[0].is_tie
    assert not report.passed


def test_logits_that_are_not_finite_are_wrong_and_fail(folder: Path, fakes: type[Fake]) -> None:
    fakes.changes["torch"] = lambda logits: np.where(logits.argmax(axis=1)[:, None] == 0, np.nan, logits)
    report = run(folder)
    assert report.results["torch"].nonfinite == 4
    assert report.results["torch"].top1.share == (17 - 3) / 23
    assert not report.passed
    json.dumps(report.to_dict(), allow_nan=False)


def test_logits_of_another_shape_are_an_error(folder: Path, fakes: type[Fake], lines: Lines) -> None:
    fakes.changes["torch"] = lambda logits: logits[:, :3]
    assert lines(lambda: run(folder)) == ["torch: returned 5×3 numbers for 5 images, not 5×6 logits"]


# -- images that cannot be read --------------------------------------------------------------------------------------


def test_unreadable_images_are_listed_and_not_counted(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(folder / "ape" / "truncated.jpg")
    os.truncate(folder / "ape" / "truncated.jpg", 700)
    (folder / "cat" / "text.jpg").write_text("not an image")
    (folder / "cat" / "empty.jpg").touch()
    (folder / "cat" / "gone.jpg").symlink_to("nowhere")
    (folder / "dog" / "bomb.png").write_bytes(bomb())
    (folder / "dog" / "floats.tif").write_bytes(b"")
    Image.fromarray(np.zeros((16, 16), np.float32)).save(folder / "dog" / "floats.tif")
    picture(folder / "emu" / "large.png", 3, size=(20, 16))
    report = run(folder)
    assert not report.passed
    assert list(report.unreadable) == [
        "ape/truncated.jpg", "cat/empty.jpg", "cat/gone.jpg", "cat/text.jpg", "dog/bomb.png", "dog/floats.tif",
        "emu/large.png",
    ]  # fmt: skip
    assert report.count == 23
    assert report.results["torch"].top1 == wilson(17, 23)
    assert report.unreadable["cat/gone.jpg"] == "no such file"
    assert report.unreadable["cat/text.jpg"].startswith("is not an image (known: JPEG, PNG")
    assert report.unreadable["ape/truncated.jpg"].startswith("cannot be read (")
    assert report.unreadable["dog/floats.tif"].startswith("holds numbers without a range")
    assert report.unreadable["emu/large.png"].startswith("is 16 pixels high and 20 wide, not 16 and 16 as the first")
    assert "exceeds limit" in report.unreadable["dog/bomb.png"]


def bomb() -> bytes:
    """A PNG of 20,000 by 20,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_every_kind_of_image_is_read(folder: Path) -> None:
    red = Image.new("RGB", (16, 16), (80, 0, 0))
    red.convert("CMYK").save(folder / "dog" / "cmyk.jpg", quality=100)
    red.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "dog" / "palette.png")
    red.convert("RGBA").save(folder / "dog" / "alpha.png")
    Image.fromarray(np.full((16, 16), 80 * 257, np.uint16)).save(folder / "dog" / "deep.png")
    red.convert("L").save(folder / "dog" / "gray.gif")
    exif = Image.Exif()
    exif[0x0112] = 6
    red.save(folder / "dog" / "turned.png", exif=exif)
    report = run(folder)
    assert report.count == 29
    assert not report.unreadable
    (note,) = report.notes
    assert note == "1 image is stored turned (EXIF orientation) and used as it is stored: dog/turned.png"
    seen = {name: CLASSES[top] for (name, _), top in zip(report.images, report.scores["torch"].top[:, 0], strict=True)}
    kinds = ("palette.png", "alpha.png", "deep.png", "turned.png")
    assert all(seen[f"dog/{name}"] == "dog" for name in kinds)


def test_a_batch_without_a_readable_image_is_passed_over(folder: Path) -> None:
    for number in range(7):
        (folder / "ape" / f"!{number}.jpg").touch()
    report = run(folder, "torch", "tensorflow", batch=3)
    assert report.count == 23
    assert len(report.unreadable) == 7


def test_no_readable_image_is_an_error(folder: Path, lines: Lines) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    expected = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))
    found = lines(lambda: run(folder, preprocessing=Preprocessing(resize=16, crop=16)))
    assert [line.partition(": ")[0] for line in found] == expected
    assert [line.partition(": ")[0] for line in lines(lambda: run(folder))] == expected


# -- going on -------------------------------------------------------------------------------------------------------


def interrupted(after: int, **options: Any) -> None:
    """Evaluate until that many images are known."""

    def stop(step: str) -> None:
        if f" {after} of " in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(progress=stop, state="a.state", **options)


@pytest.mark.parametrize("batch", [5, 4])
def test_an_interrupted_evaluation_continues_where_it_was(
    folder: Path, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "ape" / "!broken.png").touch()
    whole = run(folder)
    Fake.seen.clear()
    interrupted(10)
    assert sum(Fake.seen) == 9
    assert "a.state: has the results of 10 of 24 images; the same command continues after them" in caplog.text
    # With another batch size too.
    report = run(folder, state="a.state", batch=batch)
    assert sum(Fake.seen) == 23
    assert same(report, whole)
    assert not Path("a.state").exists()


def test_a_finished_evaluation_is_run_again(folder: Path) -> None:
    run(folder, state="a.state")
    run(folder, state="a.state")
    assert sum(Fake.seen) == 46


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def other_weights() -> None:
    graph = load("net.yaml").to_graph()
    write_weights("net.safetensors", graph, initialize(graph, 9), force=True)


CHANGES: dict[str, tuple[Callable[[], object], dict[str, Any]]] = {
    "weights": (other_weights, {}),
    "images": (lambda: touched(Path("images/gnu/05.png")), {}),
    "images, one more": (lambda: picture(Path("images/gnu/99.png"), 5), {}),
    "images, of other classes": (lambda: None, {"labels": [*reversed(CLASSES)]}),
    "preprocessing": (lambda: None, {"preprocessing": Preprocessing(std=(1.0, 1.0, 0.5))}),
    "backends": (lambda: None, {"backends": ("tensorflow",)}),
    "network": (lambda: None, {"overrides": {"layers.norm.batch_norm.epsilon": 1e-3}}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_of_another_evaluation_is_not_used(folder: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(10)
    Fake.seen.clear()
    change, options = CHANGES[what]
    change()
    backends = options.pop("backends", ("torch",))
    report = run(folder, *backends, state="a.state", **options)
    assert sum(Fake.seen) == report.count == (24 if "more" in what else 23)
    assert f"is of another evaluation ({what.partition(',')[0]}" in caplog.text


@pytest.mark.parametrize("changed", [("[0,1,2,3,4]", "[0,1,2,3,7]"), ('"count":5', '"count":-5'), ("]],[", "]],[9,")])
def test_a_changed_line_is_computed_again(folder: Path, changed: tuple[str, str]) -> None:
    whole = run(folder)
    interrupted(10)
    text = Path("a.state").read_text("utf-8")
    assert changed[0] in text
    Path("a.state").write_text(text.replace(*changed, 1), "utf-8")
    Fake.seen.clear()
    assert same(run(folder, state="a.state"), whole)
    assert sum(Fake.seen) == 23


def test_every_image_is_known_at_the_end(folder: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(10)
    batches = Journal.batches
    # As if the second batch had been recorded as the first.
    monkeypatch.setattr(Journal, "batches", lambda *arguments: [*batches(*arguments)][1:])
    monkeypatch.setattr(reading.Readers, "batches", lambda *_arguments: iter(()))
    assert lines(lambda: run(folder, state="a.state")) == ["results are of 5 of 23 images only"]
    assert Path("a.state").exists()


def test_a_state_that_is_another_file_is_refused_before_anything_is_computed(folder: Path, lines: Lines) -> None:
    Path("thesis.txt").write_text("It was a dark and stormy night.\n", "utf-8")
    assert lines(lambda: run(folder, state="thesis.txt")) == [
        "thesis.txt: holds something else than results of an evaluation; it is not replaced"
    ]
    assert not Fake.seen


def test_memory_does_not_depend_on_the_logits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    monkeypatch.setattr(Journal, "record", lambda _self, batch: recorded.append(len(batch.line())))
    run(folder, "torch", "tensorflow", state="a.state", batch=23)
    assert max(recorded) < 400 * 23


# -- what a user may get wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"backends": ["torch", "pytorch"]}, "name at least one backend or file of a model, and each only once"),
        ({"backends": []}, "name at least one backend or file of a model, and each only once"),
        ({"backends": ["model.onnx"]}, "model.onnx: no such file"),
        ({"backends": ["net.yaml"]}, "net.yaml: no installed backend runs .yaml"),
        ({"weights": None}, "weights are needed for torch"),
        ({"batch": 0}, "batch and workers are 1 or more"),
        ({"overrides": {"input.channels": 1}}, "net reads 1 channels, not color images"),
        ({"overrides": {"head.end": "sigmoid"}}, "net ends in the sigmoid 'end', whose classes do not"),
        ({"overrides": {"head": None}}, "net ends in 'layer2.0.relu2' of shape [12, 4, 4], not in a vector of classes"),
        ({"preprocessing": None}, "net lists no published weights, and so no preprocessing; give one, such as {resize: "
                                  "256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"),
        ({"labels": ["a"]}, "got 1 labels for 6 classes"),
        ({"images": "nowhere"}, "nowhere: no such folder"),
    ],
)  # fmt: skip
def test_mistakes_are_reported(folder: Path, lines: Lines, options: dict[str, Any], line: str) -> None:
    values: dict[str, Any] = {
        "images": folder, "weights": "net.safetensors", "backends": ["torch"], "preprocessing": PLAIN,
    } | options  # fmt: skip
    assert lines(lambda: evaluate("net.yaml", **values))[0].startswith(line)
