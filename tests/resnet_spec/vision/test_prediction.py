"""What two backends see in photographs, side by side; and what a user may get wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from skimage import data

import resnet_spec
from resnet_spec import (
    Graph,
    LabelsError,
    Preprocessing,
    SpecError,
    WeightsError,
    initialize,
    load,
    predict,
    write_weights,
)
from resnet_spec.backend.registry import get_backend
from resnet_spec.parity.report import standard_deviation
from resnet_spec.vision import prediction
from resnet_spec.vision.prediction import Prediction, imagenet_labels, read_labels
from resnet_spec.weights.formats.safetensors import read_safetensors
from tests.needs import need
from tests.third_party import WRONG_BACKENDS, distribution, on_path

Command = Callable[..., Any]
Lines = Callable[[Callable[[], object]], list[str]]

INLINE = "{resize: 72, crop: 64, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
THIN = """
    extends: resnet18
    input: {height: 64, width: 64}
    stem:
      conv1: {conv2d: {channels: 8}}
    stages:
      layer1: {channels: 8}
      layer2: {channels: 8}
      layer3: {channels: 16}
      layer4: {channels: 16}
    weights:
      V1: {url: "https://example.org/a.pth", preprocessing: {resize: 72, crop: 64, mean: [0.4, 0.4, 0.4]}}
      V2: {url: "https://example.org/b.pth", preprocessing: {resize: 56, crop: 48, std: [0.2, 0.2, 0.2]}}
      V3: {url: "https://example.org/c.pth"}
"""


pytestmark = pytest.mark.usefixtures("kept_backends")


@pytest.fixture
def thin(write: Callable[..., Path]) -> Path:
    """A spec, its weights and two photographs, beside each other in the folder the test runs in."""
    path = write(THIN, "thin.yaml")
    graph = load(path).to_graph()
    write_weights("thin.safetensors", graph, initialize(graph, seed=1))
    Image.fromarray(data.chelsea()).save("chelsea.png")
    Image.fromarray(data.camera()).save("camera.png")
    return path


class Here:
    """PyTorch in this process, which spares the tests that are not about processes its start."""

    name = "torch"
    environment: ClassVar[dict[str, str]] = {}

    def load(self, graph: Graph, weights: Path) -> None:
        self.backend = get_backend("torch")
        self.model = self.backend.compile(graph)
        self.backend.load(self.model, graph, read_safetensors(weights).tensors)

    def forward(self, images: Any) -> None:
        self.logits = self.backend.forward(self.model, images)

    def outputs(self) -> list[Any]:
        return self.logits


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_spec.vision.prediction.started", lambda names, progress: nullcontext([Here()]))


BOUND = 3e-5


def fake(**logits: Any) -> Prediction:
    """A prediction with given logits."""
    arrays = {name: np.array(values, np.float32) for name, values in logits.items()}
    images, classes = next(iter(arrays.values())).shape
    names = tuple(f"{index}.png" for index in range(images))
    return Prediction(
        "spec",
        "w.pth",
        names,
        tuple("abcdefgh"[:classes]),
        arrays,
        allowed=BOUND * standard_deviation(next(iter(arrays.values()))),
    )


# -- what is predicted -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_photographs_in_both_backends(thin: Path, command: Command) -> None:
    need("tensorflow")
    done = command(
        "resnet-spec", "predict", thin, "chelsea.png", "camera.png",
        "--weights", "thin.safetensors", "--preprocessing", INLINE, "--top", 3, "--json",
    )  # fmt: skip

    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["passed"], found["spec"], found["weights"]) == (True, "thin", "thin.safetensors")
    assert [entry["image"] for entry in found["images"]] == ["chelsea.png", "camera.png"]
    assert 0 < found["relative"] <= found["bound"] < 1e-4
    assert set(found["environment"]) == {"torch", "tensorflow"}

    preprocessing = Preprocessing(resize=72, crop=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    batch = resnet_spec.preprocess(thin, [data.chelsea(), data.camera()], preprocessing)
    model = resnet_spec.build(thin, "torch", weights="thin.safetensors")
    logits = get_backend("torch").forward(model, batch)[0].astype(np.float64)
    for row, entry in zip(logits, found["images"], strict=True):
        wanted = np.exp(row) / np.exp(row).sum()
        best = np.argsort(-wanted)[:3]
        for backend in ("torch", "tensorflow"):
            top = entry["top"][backend]
            assert [item["class"] for item in top] == best.tolist()
            assert [item["label"] for item in top] == [imagenet_labels()[number] for number in best]
            np.testing.assert_allclose([item["probability"] for item in top], wanted[best], rtol=1e-5)


@pytest.mark.usefixtures("here")
def test_a_final_softmax_is_not_done_twice(thin: Path, write: Callable[..., Path]) -> None:
    ending = write("extends: thin.yaml\nhead: {softmax: softmax}", "ending.yaml")
    graph = load(ending).to_graph()
    write_weights("ending.safetensors", graph, initialize(graph, seed=1))

    def run(spec: Path, weights: str) -> Prediction:
        return predict(spec, "chelsea.png", weights, ["torch"], preprocessing=Preprocessing(resize=72, crop=64))

    with_, without = run(ending, "ending.safetensors"), run(thin, "thin.safetensors")
    np.testing.assert_array_equal(with_.probabilities["torch"], without.probabilities["torch"])


@pytest.mark.usefixtures("here")
def test_many_images_go_through_in_batches(thin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [data.chelsea()[:, shift : shift + 300] for shift in range(0, 150, 30)]

    whole = predict(thin, images, "thin.safetensors", ["torch"], preprocessing="V1")
    monkeypatch.setattr("resnet_spec.vision.prediction.BATCH", 2)
    parts = predict(thin, images, "thin.safetensors", ["torch"], preprocessing="V1")

    assert whole.images == tuple(f"image {number}" for number in range(1, 6))
    np.testing.assert_allclose(parts.logits["torch"], whole.logits["torch"], rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in whole.logits["torch"]}) == 5


@pytest.mark.usefixtures("here")
def test_the_preprocessing_is_the_specs_first_and_that_is_reported(thin: Path, command: Command) -> None:
    arguments = ("resnet-spec", "predict", thin, "chelsea.png", "--weights", "thin.safetensors", "--backends", "torch")

    silent = command(*arguments, "--preprocessing", "V1", "--json")
    default = command(*arguments, "--json")
    other = command(*arguments, "--preprocessing", "V2", "--json")

    assert (silent.status, silent.err) == (0, "")
    assert "thin.safetensors: preprocessed as for thin's published weights V1" in default.err
    assert json.loads(default.out)["images"] == json.loads(silent.out)["images"] != json.loads(other.out)["images"]


@pytest.mark.usefixtures("here")
def test_published_weights_bring_their_preprocessing(thin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_spec.weights.download.resolve", lambda spec, weights: Path("thin.safetensors"))

    named = predict(thin, "chelsea.png", "V2", ["torch"])
    wanted = predict(thin, "chelsea.png", "thin.safetensors", ["torch"], preprocessing="V2")

    np.testing.assert_array_equal(named.logits["torch"], wanted.logits["torch"])
    assert named.weights == "V2"


@pytest.mark.usefixtures("here")
def test_a_preprocessing_may_be_a_mapping_as_the_error_writes_it(thin: Path, lines: Callable[..., list[str]]) -> None:
    wanted = {"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    given = predict(thin, "chelsea.png", "thin.safetensors", ["torch"], preprocessing=wanted)
    same = predict(
        thin, "chelsea.png", "thin.safetensors", ["torch"], preprocessing=Preprocessing.model_validate(wanted)
    )

    np.testing.assert_array_equal(given.logits["torch"], same.logits["torch"])
    (said,) = lines(lambda: predict(thin, "chelsea.png", "thin.safetensors", ["torch"], preprocessing={"crop": -1}))
    assert said.startswith("preprocessing.crop: ")


# -- agreement ---------------------------------------------------------------------------------------------------


def test_backends_that_differ_by_more_than_rounding_do_not_agree() -> None:
    base = np.array([[3.0, 1.0, 0.0, -2.0]])

    assert fake(a=base, b=base + np.array([0, 1e-5, 0, 0])).passed
    differing = fake(a=base, b=base + np.array([0, 1e-3, 0, 0]))
    assert not differing.passed
    assert differing.relative == pytest.approx(1e-3 / base.std(), rel=1e-3)
    assert not fake(a=base, b=base, c=base + 0.1).passed


@pytest.mark.parametrize(("gap", "passes"), [(2e-7, True), (1e-2, False)])
def test_rounding_may_decide_a_tie_and_nothing_else(gap: float, passes: bool) -> None:
    tie = np.array([[1.0, 1.0 + gap, -50.0]])
    found = fake(a=tie, b=tie[:, [1, 0, 2]])

    assert found.top(0, "a", 1) != found.top(0, "b", 1)
    assert found.passed == passes


def test_what_is_not_a_number_agrees_with_nothing() -> None:
    for wrong in (np.nan, np.inf):
        assert not fake(a=[[0.0, wrong, 1.0]], b=[[0.0, wrong, 1.0]]).passed
        assert not fake(a=[[0.0, wrong, 1.0]]).passed


def test_the_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(fake(a=[[1000.0, 1000.0, -1000.0]]).probabilities["a"], [[0.5, 0.5, 0]])


def test_the_largest_difference_is_of_all_images_classes_and_backends() -> None:
    found = fake(a=[[0.0, 0.0], [0.0, 0.0]], b=[[0.0, 0.0], [0.0, 0.0]], c=[[0.0, 0.0], [np.log(3.0), 0.0]])

    assert found.largest == pytest.approx(0.25)


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third-party backend with another epsilon, on the path of this process and of its workers."""
    distribution(tmp_path, "wrong", {"epsilon": "wrong_backends:Epsilon"}, WRONG_BACKENDS)
    on_path(monkeypatch, tmp_path)


@pytest.mark.usefixtures("wrong")
def test_a_wrong_backend_is_status_1(thin: Path, command: Command) -> None:
    done = command(
        "resnet-spec", "predict", thin, "chelsea.png", "--weights", "thin.safetensors", "--preprocessing", "V1",
        "--backends", "torch,epsilon",
    )  # fmt: skip

    assert done.status == 1
    assert re.search(r"^torch and epsilon DIFFER: probabilities by \d\.\de-\d\d at most,$", done.out, re.MULTILINE)


@pytest.mark.usefixtures("here")
def test_weights_that_are_not_finite_are_reported_and_refused_on_request(thin: Path, command: Command) -> None:
    graph = load(thin).to_graph()
    arrays = initialize(graph, seed=1)
    arrays["fc.bias"][3] = np.nan
    write_weights("nan.safetensors", graph, arrays)
    arguments = ("resnet-spec", "predict", thin, "chelsea.png", "--weights", "nan.safetensors", "--backends", "torch")

    done = command(*arguments)
    refused = command(*arguments, "--check-finite")

    assert done.status == 1
    assert "nan.safetensors: " in done.err
    assert (refused.status, refused.out) == (2, "")
    assert "fc.bias: 1 of 1000 elements are NaN, 0 infinite" in refused.err


# -- what is printed ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_table_for_each_image(thin: Path, command: Command) -> None:
    Path("labels.txt").write_text("".join(f"class {number} of many\n" for number in range(1000)), encoding="utf-8")

    done = command(
        "resnet-spec", "predict", thin, "chelsea.png", "camera.png", "--weights", "thin.safetensors",
        "--preprocessing", "V1", "--backends", "torch", "--labels", "labels.txt", "--top", 2,
    )  # fmt: skip

    row = r"class \d+ of many +\d+\.\d\d% *\n"
    image = rf" +torch *\n 1 +{row} 2 +{row}\n"
    assert done.status == 0
    assert re.fullmatch(rf"chelsea\.png\n{image}camera\.png\n{image}", done.out), done.out


def test_long_names_are_cut_at_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from resnet_spec.cli import predict as command

    monkeypatch.setattr(command, "console", lambda: Console(width=80))
    logits = np.zeros((1, 1000))
    logits[0, [longest := max(range(1000), key=lambda n: len(imagenet_labels()[n])), 7]] = 9, 8
    swapped = logits.copy()
    swapped[0, [longest, 7]] = 8, 9
    arrays = {"torch": logits, "tensorflow": logits, "third": swapped}
    found = Prediction("resnet50", "w.pth", ("a.png",), imagenet_labels(), arrays, allowed=0.5 * float(logits.std()))

    command._print(found, 2)  # pyright: ignore[reportPrivateUsage]

    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0] == "a.png"
    assert lines[1].split() == ["torch", "tensorflow", "third", "|Δ|"]
    assert re.fullmatch(r" 1  (\w[^…]*…  67\.07%  ){2}cock +67\.07%  4\.2e-01 ", lines[2])
    assert lines[3].count("…") == 1
    assert lines[5:] == [
        "torch and tensorflow and third DIFFER: probabilities by 4.2e-01 at most,",
        f"logits by {1 / logits.std():.1e} of their standard deviation (bound 5.0e-01)",
    ]


# -- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("classes", "first", "last"), [(1001, "background", "toilet tissue"), (10, "0", "9")])
def test_labels_follow_the_number_of_classes(thin: Path, classes: int, first: str, last: str) -> None:
    overrides = {"parameters.classes": classes}
    graph = load(thin, overrides).to_graph()
    write_weights("w.safetensors", graph, initialize(graph))

    found = predict(thin, "chelsea.png", "w.safetensors", ["torch"], overrides=overrides, preprocessing="V1")

    assert (len(found.labels), found.labels[0], found.labels[-1]) == (classes, first, last)


def test_labels_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffchat\r\nchien loup\r\n\r\nœuf\r\n\n".encode())

    assert read_labels(tmp_path / "a.txt") == ("chat", "chien loup", "", "œuf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"cat\n\xff\xfe\x00", "is not UTF-8 text"),
        (b"cat\n\x1b[31mdog\n", "line 2: character U+001B is not printable"),
        (b"cat\n" + "\u202edog".encode(), "line 2: character U+202E is not printable"),
        (b"x" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_labels_that_cannot_be_read_are_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.txt"
    if content:
        path.write_bytes(content)

    with pytest.raises(LabelsError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_labels_from_an_endless_device_are_refused() -> None:
    with pytest.raises(LabelsError, match=r"^/dev/zero: larger than 1 MiB$"):
        read_labels("/dev/zero")


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["none.png"], 2, "image 1, none.png: no such file"),
        (["thin.yaml", "camera.png", "dot.txt"], 2, "image 1, thin.yaml: is not an image (known: JPEG, "),
        (["chelsea.png", "--labels", "dot.txt"], 2, "got 1 labels for 1000 classes"),
        (["chelsea.png", "--labels", "none.txt"], 2, "none.txt: No such file or directory"),
        (["chelsea.png", "--backends", "torch,tensorfolw"], 3, "no backend is named 'tensorfolw'; did you mean"),
        (["chelsea.png", "--backends", "tf,tensorflow"], 3, "name at least one backend, and each only once"),
        (["chelsea.png", "--backends", ","], 3, "name at least one backend, and each only once"),
        (["chelsea.png", "--preprocessing", "V9"], 2, "thin has no published weights 'V9'"),
        (["chelsea.png", "--preprocessing", "V3"], 2, "the published weights V3 of thin state no preprocessing"),
        (["chelsea.png", "--preprocessing", "{corp: 3}"], 2, "preprocessing: unknown key 'corp'; did you mean 'crop'?"),
        (["chelsea.png", "--set", "head=null"], 2, "thin ends in 'layer4.1.relu2' of shape [16, 2, 2], not in"),
        (["chelsea.png", "--set", "parameters.classes=9"], 2, "thin.safetensors: "),
        (["chelsea.png", "--strict-graph", "--set", "stages.layer4.stride=9"], 2, "thin.safetensors: was written for"),
        (["chelsea.png", "--top", "0"], 2, "Usage: "),
        (["chelsea.png", "--weights", "none.pth"], 2, "none.pth: no such file"),
        (["chelsea.png", "--weights", "dot.txt"], 2, "dot.txt: "),
        ([], 2, "Usage: "),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("thin")
def test_a_mistake_is_reported_before_a_backend_starts(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, told: str
) -> None:
    monkeypatch.setattr("resnet_spec.vision.prediction.started", None)
    Path("dot.txt").write_text(".", encoding="utf-8")

    done = command("resnet-spec", "predict", "thin.yaml", "--weights", "thin.safetensors", *arguments)

    # The use of another entry's preprocessing is reported first.
    lines = [line for line in done.err.splitlines() if "preprocessed as for" not in line]
    assert (done.status, done.out) == (status, "")
    assert lines[0].startswith(told)


@pytest.mark.usefixtures("thin")
def test_without_weights_nothing_is_guessed(command: Command) -> None:
    thin = command("resnet-spec", "predict", "thin.yaml", "chelsea.png")
    plain = command("resnet-spec", "predict", "cifar/resnet20", "chelsea.png")

    assert (thin.status, plain.status) == (2, 2)
    assert thin.err.splitlines()[-1] == "Error: give --weights, a file or one of V1, V2, V3"
    assert plain.err.splitlines()[-1] == "Error: give --weights, a file; cifar/resnet20 lists no published ones"


def test_weights_that_depend_on_the_size_reject_images_of_another(thin: Path, write: Callable[..., Path]) -> None:
    whole = write("extends: thin.yaml\nhead: {avgpool: null}", "whole.yaml")
    graph = load(whole).to_graph()
    write_weights("whole.safetensors", graph, initialize(graph))

    with pytest.raises(WeightsError, match=r"fc\.weight: has shape \[1000, 64\], not \[1000, 16\]"):
        predict(whole, "chelsea.png", "whole.safetensors", preprocessing=Preprocessing(resize=48, crop=32))


def test_a_sigmoid_at_the_end_is_reported(thin: Path, write: Callable[..., Path]) -> None:
    ending = write("extends: thin.yaml\nhead: {gate: sigmoid}", "ending.yaml")

    with pytest.raises(SpecError, match="ending ends in the sigmoid 'gate', whose classes do not exclude each other"):
        predict(ending, "chelsea.png", "thin.safetensors")


def test_labels_in_one_text_are_refused(lines: Callable[..., list[str]]) -> None:
    """Not read letter by letter, even where there are as many letters as classes."""
    (line,) = lines(lambda: prediction.checked_labels(3, "abc"))

    assert line == "'abc' is one text, not a list of 3 labels; read_labels(PATH) reads them from a file"


def test_one_backend_is_given_as_text() -> None:
    assert prediction.backend_names("tf") == ["tensorflow"]
