"""Preprocessing beside the originals': torchvision's and timm's transforms, and keras.applications', to the bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from resnet_spec.preprocessing import prepare
from resnet_spec.published import Preprocessing

from .torchvision_original import models

# timm imports torchvision, which has to be told of its operators first.
WEIGHTS = models().ResNet50_Weights

import timm.data  # noqa: E402

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

PHOTOGRAPHS = {
    "astronaut": data.astronaut,  # 512×512
    "coffee": data.coffee,  # 400 high, 600 wide
    "chelsea": data.chelsea,  # 300 high, 451 wide
    "rocket": data.rocket,  # 427 high, 640 wide
    "camera": data.camera,  # grey
}


def photographs() -> dict[str, Image.Image]:
    """Real photographs, wide and high, of even and odd sides, also smaller than what is cut out of them."""
    found = {name: Image.fromarray(read()) for name, read in PHOTOGRAPHS.items()}
    found["high"] = found["chelsea"].transpose(Image.Transpose.ROTATE_90)
    found["odd"] = found["coffee"].crop((0, 0, 333, 257))
    found["small"] = found["astronaut"].crop((100, 100, 201, 163))
    found["narrow"] = found["rocket"].crop((0, 0, 31, 400))
    return found


PHOTOS = photographs()


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("version", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_torchvisions_transforms(version: str, name: str) -> None:
    preset = WEIGHTS[version].transforms()
    (resize,), (crop,) = preset.resize_size, preset.crop_size
    interpolation = preset.interpolation.value
    ours = Preprocessing(resize=resize, crop=crop, interpolation=interpolation, mean=preset.mean, std=preset.std)

    wanted = preset(PHOTOS[name].convert("RGB")).numpy()

    np.testing.assert_array_equal(prepare(PHOTOS[name], ours), wanted[None])


# size, crop_pct, interpolation, statistics; 0.965 of 224 is rounded down, and 160 is the size of one shipped network.
TIMM = [
    (224, 0.875, "bicubic", IMAGENET),
    (224, 0.875, "bilinear", IMAGENET),
    (224, 0.95, "bicubic", HALVES),
    (224, 0.965, "bicubic", IMAGENET),
    (288, 1.0, "bicubic", IMAGENET),
    (160, 0.9, "bicubic", HALVES),
    (199, 0.875, "bilinear", HALVES),
    (448, 1.0, "bilinear", HALVES),
]


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(("size", "crop_pct", "interpolation", "statistics"), TIMM)
def test_timms_transforms(size: int, crop_pct: float, interpolation: str, statistics: dict[str, Any], name: str) -> None:
    config: dict[str, Any] = {"input_size": (3, size, size), "crop_pct": crop_pct, "interpolation": interpolation}
    resolved = timm.data.resolve_data_config({}, pretrained_cfg=config | statistics)
    transform = timm.data.create_transform(**resolved, is_training=False)
    ours = Preprocessing(resize=int(size // crop_pct), crop=size, interpolation=interpolation, **statistics)  # type: ignore[arg-type]

    wanted = transform(PHOTOS[name].convert("RGB")).numpy()

    np.testing.assert_array_equal(prepare(PHOTOS[name], ours), wanted[None])


@pytest.mark.parametrize("name", PHOTOS)
def test_timms_squashing(name: str) -> None:
    config = {"input_size": (3, 176, 224), "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bicubic"}
    resolved = timm.data.resolve_data_config({}, pretrained_cfg=config | IMAGENET)
    transform = timm.data.create_transform(**resolved, is_training=False)
    ours = Preprocessing(resize=(195, 248), crop=(176, 224), interpolation="bicubic", **IMAGENET)

    wanted = transform(PHOTOS[name].convert("RGB")).numpy()

    np.testing.assert_array_equal(prepare(PHOTOS[name], ours), wanted[None])


KERAS = {
    "resnet": Preprocessing(order="bgr", range=255, mean=(103.939, 116.779, 123.68)),
    "resnet_v2": Preprocessing(range=2, mean=(1, 1, 1)),
}

# Loads each photograph as Keras' users do, squashed, and leaves what preprocess_input makes of it.
ORIGINAL = """
import sys
from pathlib import Path
import numpy as np
from keras.applications import resnet, resnet_v2
from keras.utils import img_to_array, load_img

folder = Path(sys.argv[1])
for path in folder.glob("*.png"):
    for name, module in {"resnet": resnet, "resnet_v2": resnet_v2}.items():
        for kind in ("nearest", "bilinear"):
            image = load_img(path, target_size=(224, 199), interpolation=kind)
            np.save(folder / f"{path.stem} {name} {kind}.npy", module.preprocess_input(img_to_array(image)[None]))
"""


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Keras makes of the photographs, in a process of its own: TensorFlow must not meet torch."""
    folder = tmp_path_factory.mktemp("keras")
    for name, photograph in PHOTOS.items():
        photograph.save(folder / f"{name}.png")
    done = subprocess.run([sys.executable, "-c", ORIGINAL, str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("network", KERAS)
def test_keras_preprocess_input(keras: Path, network: str, interpolation: str, name: str) -> None:
    ours = KERAS[network].model_copy(update={"resize": (224, 199), "interpolation": interpolation})
    wanted: NDArray[np.float32] = np.load(keras / f"{name} {network} {interpolation}.npy")

    np.testing.assert_array_equal(prepare(keras / f"{name}.png", ours), wanted.transpose(0, 3, 1, 2))
