"""Preprocessing beside the originals': torchvision's and timm's transforms, and keras.applications', to the bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from resnet_spec import Preprocessing, available, load, preprocess
from resnet_spec.vision.prediction import imagenet_labels
from resnet_spec.vision.preprocessing import prepare

from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
WEIGHTS = models()

import timm  # noqa: E402
import timm.data  # noqa: E402
from torchvision.transforms.functional import center_crop  # noqa: E402

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def photographs() -> dict[str, Image.Image]:
    """Real photographs, wide and high, of even and odd sides, also smaller than what is cut out of them."""
    # 512×512; 400 high and 600 wide; 300 and 451; 427 and 640; gray.
    names = ("astronaut", "coffee", "chelsea", "rocket", "camera")
    found = {name: Image.fromarray(getattr(data, name)()) for name in names}
    found["high"] = found["chelsea"].transpose(Image.Transpose.ROTATE_90)
    found["odd"] = found["coffee"].crop((0, 0, 333, 257))
    found["small"] = found["astronaut"].crop((100, 100, 201, 163))
    found["narrow"] = found["rocket"].crop((0, 0, 31, 400))
    return found


PHOTOS = photographs()


def assert_same(ours: NDArray[np.float32], transform: Callable[[Image.Image], torch.Tensor], name: str) -> None:
    """Hold a batch of one to an original's transform, which is given the photograph as its library loads it."""
    np.testing.assert_array_equal(ours, transform(PHOTOS[name].convert("RGB")).numpy()[None])


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("version", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_torchvisions_transforms(version: str, name: str) -> None:
    transform = WEIGHTS.ResNet50_Weights[version].transforms()

    assert_same(preprocess("torchvision/resnet50", PHOTOS[name], version), transform, name)


@pytest.mark.parametrize("size", [(64, 102), (100, 100), (65, 33), (300, 300), (62, 103)])
def test_torchvisions_crop_of_what_is_smaller(size: tuple[int, int]) -> None:
    cut = center_crop(PHOTOS["small"], list(size))

    ours = prepare(PHOTOS["small"], Preprocessing(crop=size, range=255))

    np.testing.assert_array_equal(ours[0].transpose(1, 2, 0), np.asarray(cut))


def timms(config: dict[str, Any]) -> Callable[[Image.Image], torch.Tensor]:
    """What timm does with a photograph for a network of a configuration."""
    resolved = timm.data.resolve_data_config({}, pretrained_cfg=config)
    return timm.data.create_transform(**resolved, is_training=False)


# size, crop_pct, interpolation, statistics; resized to 232 (232.1), 235 (235.8) and 177 (177.8) among others.
TIMM = [
    (224, 0.875, "bicubic", IMAGENET),
    (224, 0.875, "bilinear", HALVES),
    (224, 0.95, "bicubic", HALVES),
    (224, 0.965, "nearest", IMAGENET),
    (288, 1.0, "bicubic", IMAGENET),
    (160, 0.9, "bicubic", HALVES),
    (199, 0.875, "bilinear", HALVES),
    (448, 1.0, "bilinear", HALVES),
]


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(("size", "crop_pct", "interpolation", "statistics"), TIMM)
def test_timms_transforms(
    size: int, crop_pct: float, interpolation: Any, statistics: dict[str, Any], name: str
) -> None:
    config: dict[str, Any] = {"input_size": (3, size, size), "crop_pct": crop_pct, "interpolation": interpolation}
    ours = Preprocessing(resize=int(size / crop_pct), crop=size, interpolation=interpolation, **statistics)

    assert_same(prepare(PHOTOS[name], ours), timms(config | statistics), name)


@pytest.mark.parametrize("name", PHOTOS)
def test_timms_squashing(name: str) -> None:
    config = {"input_size": (3, 176, 224), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"}
    ours = Preprocessing(resize=(195, 248), crop=(176, 224), interpolation="bicubic", **IMAGENET)

    assert_same(prepare(PHOTOS[name], ours), timms(config | IMAGENET), name)


def of_timm() -> dict[Preprocessing, tuple[str, str]]:
    """Every preprocessing that a shipped spec of timm's states, with one network that it is for."""
    found: dict[Preprocessing, tuple[str, str]] = {}
    for spec in available():
        if spec.startswith("timm/"):
            for tag, published in load(spec).weights.items():
                assert published.preprocessing is not None
                found.setdefault(published.preprocessing, (spec, tag))
    return found


@pytest.mark.parametrize(("spec", "tag"), of_timm().values())
def test_the_transforms_of_timms_networks(spec: str, tag: str) -> None:
    config = timm.get_pretrained_cfg(f"{spec.removeprefix('timm/')}.{tag}").to_dict()

    assert_same(preprocess(spec, PHOTOS["chelsea"], tag), timms(config), "chelsea")


# Loads each photograph as Keras' users do, and leaves what preprocess_input makes of it.
KERAS = """
import sys
from pathlib import Path
import numpy as np
from keras.applications import resnet, resnet_v2
from keras.utils import img_to_array, load_img

folder = Path(sys.argv[1])
for path in folder.glob("*.png"):
    image = img_to_array(load_img(path, target_size=(224, 224)))[None]
    np.save(folder / f"{path.stem} resnet50.npy", resnet.preprocess_input(image.copy()))
    np.save(folder / f"{path.stem} resnet50v2.npy", resnet_v2.preprocess_input(image.copy()))
"""


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Keras makes of the photographs, in a separate process: TensorFlow and torch must not share one."""
    folder = tmp_path_factory.mktemp("keras")
    for name, photograph in PHOTOS.items():
        photograph.save(folder / f"{name}.png")
    done = subprocess.run([sys.executable, "-c", KERAS, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("network", ["resnet50", "resnet50v2"])
def test_kerass_preprocess_input(keras: Path, network: str, name: str) -> None:
    wanted: NDArray[np.float32] = np.load(keras / f"{name} {network}.npy")

    ours = preprocess(f"keras/{network}", keras / f"{name}.png", "imagenet")

    np.testing.assert_array_equal(ours, wanted.transpose(0, 3, 1, 2))


def test_the_labels_are_torchvisions() -> None:
    assert list(imagenet_labels()) == WEIGHTS.ResNet50_Weights.DEFAULT.meta["categories"]
