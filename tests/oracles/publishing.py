"""The weights that libraries publish, according to their own tables.

``python -m tests.oracles.publishing`` writes them into the specs. Each library is asked in its own process, since
two frameworks do not share one. What a library does not state is left out: no accuracy of timm's, which is not in its
package, no license of Keras', no hash where none is given.

- torchvision: its ``*_Weights``. The digits in a file's name are the first of its SHA-256, as ``torch.hub`` checks
  them. The license is the one that timm gives for the same address, if it does.
- timm: every tag of an architecture. The file is the one that timm itself takes first, from Hugging Face or from the
  address that it states.
- keras.applications: the files with the top, their MD5 as ``get_file`` checks it. Images are loaded as
  ``keras.utils.load_img`` does it by default, for the size that the top wants.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import resnet_spec
from resnet_spec.spec.catalog import Catalog
from resnet_spec.spec.published import Published

Entries = dict[str, dict[str, Any]]

# -- asking the libraries ----------------------------------------------------------------------------------------


def torchvision(names: Sequence[str]) -> dict[str, Entries]:
    from .torchvision_original import models

    licenses = {cfg.url: cfg.license for cfg in _timm_cfgs(names)}
    # A function that is not one of torchvision's models, such as the feature pyramid's, has no weights.
    enums = {name: models().get_model_weights(name) for name in names if name in models().list_models()}
    return {
        name: {
            weights.name: _of_torchvision(weights, licenses)
            for weights in sorted(enum, key=lambda weights: weights is not enum.DEFAULT)
        }
        for name in names
        for enum in [enums.get(name, ())]
    }


def _of_torchvision(weights: Any, licenses: Mapping[str, str]) -> dict[str, Any]:
    accuracy = weights.meta["_metrics"].get("ImageNet-1K")
    return {
        "url": weights.url,
        "size": f"{weights.meta['_file_size']} MiB",
        "hash": _hash_in(weights.url),
        "classes": len(weights.meta["categories"]),
        "license": licenses.get(weights.url),
        "accuracy": accuracy and {"top1": accuracy["acc@1"], "top5": accuracy["acc@5"]},
        "preprocessing": _of_transforms(weights.transforms()),
    }


def _hash_in(url: str) -> str | None:
    """The first digits of the SHA-256 that ``torch.hub`` checks, which a file's name may end in."""
    digits = re.search(r"-([0-9a-f]{8,})\.", url)
    return f"sha256:{digits[1]}" if digits else None


def _of_transforms(transforms: Any) -> dict[str, Any] | None:
    if type(transforms).__name__ == "VideoClassification":
        # A video has no preprocessing of photographs.
        return None
    (resize,) = transforms.resize_size
    # Images to segment are not cropped.
    crop = {"crop": transforms.crop_size[0]} if hasattr(transforms, "crop_size") else {}
    return {
        "resize": resize,
        "interpolation": transforms.interpolation.value,
        **crop,
        "mean": transforms.mean,
        "std": transforms.std,
    }


def timm(names: Sequence[str]) -> dict[str, Entries]:
    return {name: {cfg.tag: _of_timm(cfg) for cfg in _timm_cfgs([name])} for name in names}


def _timm_cfgs(names: Sequence[str]) -> list[Any]:
    """What timm records about an architecture's weights, the default ones first."""
    from .torchvision_original import models

    models()
    import timm as library

    found: list[Any] = []
    for name in names:
        cfgs = [library.get_pretrained_cfg(full) for full in library.list_pretrained(f"{name}.*")]
        default = cfgs and library.get_pretrained_cfg(name).tag
        found += sorted((cfg for cfg in cfgs if cfg.architecture == name), key=lambda cfg: cfg.tag != default)
    return found


def _of_timm(cfg: Any) -> dict[str, Any]:
    from timm.data import create_transform, resolve_data_config
    from timm.models._builder import _resolve_pretrained_source

    source, where = _resolve_pretrained_source(cfg.to_dict())
    assert source in ("hf-hub", "url"), cfg
    assert isinstance(where, str), cfg
    assert "@" not in where, cfg
    config = resolve_data_config(pretrained_cfg=cfg.to_dict())
    resize, crop, *_ = create_transform(**config).transforms
    assert isinstance(resize.size, int), cfg
    return {
        "url": where if source == "url" else f"https://huggingface.co/{where}/resolve/main/model.safetensors",
        "hash": _hash_in(where) if source == "url" else None,
        "classes": cfg.num_classes,
        "license": cfg.license,
        "preprocessing": {
            "resize": resize.size,
            "interpolation": resize.interpolation.value,
            "crop": crop.size[0] if crop.size[0] == crop.size[1] else crop.size,
            "mean": config["mean"],
            "std": config["std"],
        },
    }


KERAS_VALUES = (
    {"order": "bgr", "range": 255.0, "mean": [103.939, 116.779, 123.68], "std": [1.0, 1.0, 1.0]},
    {"order": "rgb", "range": 2.0, "mean": [1.0, 1.0, 1.0], "std": [1.0, 1.0, 1.0]},
)
"""What Keras' modes "caffe" and "tf" do, in our words and its own steps; its own functions determine which."""


def keras(names: Sequence[str]) -> dict[str, Entries]:
    from keras.src.applications import resnet, resnet_v2

    modules: Mapping[str, Any] = {name: resnet_v2 if name.endswith("v2") else resnet for name in names}
    return {name: {"imagenet": _of_keras(name, module)} for name, module in modules.items()}


def _of_keras(name: str, module: Any) -> dict[str, Any]:
    from keras.src.applications import resnet
    from keras.utils import load_img

    build = {key.lower(): value for key, value in vars(module).items()}[name]
    found = re.search(r"default_size=(\d+)", inspect.getsource(resnet.ResNet))
    assert found
    loading = _defaults(load_img)
    assert not loading["keep_aspect_ratio"]
    assert loading["color_mode"] == "rgb"
    return {
        "url": f"{resnet.BASE_WEIGHTS_PATH}{name}_weights_tf_dim_ordering_tf_kernels.h5",
        "hash": f"md5:{resnet.WEIGHTS_HASHES[name][0]}",
        "classes": _defaults(build)["classes"],
        "preprocessing": {"resize": [int(found[1])] * 2, "interpolation": loading["interpolation"]}
        | _keras_values(module.preprocess_input),
    }


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def _keras_values(preprocess_input: Callable[..., Any]) -> dict[str, Any]:
    """What Keras does with the values of an image, found by doing it."""
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.float64)
    wanted = preprocess_input(image.copy())
    (values,) = (values for values in KERAS_VALUES if np.allclose(_prepared(image, **values), wanted, 1e-6, 1e-4))
    return values


def _prepared(image: Any, order: str, range: float, mean: list[float], std: list[float]) -> Any:
    ordered = image if order == "rgb" else image[..., ::-1]
    return (ordered * range / 255 - mean) / std


LIBRARIES: Mapping[str, Callable[[Sequence[str]], dict[str, Entries]]] = {
    "keras": keras,
    "timm": timm,
    "torchvision": torchvision,
}
"""The families whose original publishes weights, and states them in its package."""


def gathered(library: str) -> dict[str, Entries]:
    """What a library publishes for each of its shipped networks, by the spec's name, in its own process."""
    line = [sys.executable, "-m", __spec__.name, library]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    return json.loads(done.stdout)


def _gather(library: str) -> dict[str, Entries]:
    names = [name.removeprefix(f"{library}/") for name in resnet_spec.available() if name.startswith(f"{library}/")]
    return {
        f"{library}/{name}": {tag: _checked(entry) for tag, entry in entries.items()}
        for name, entries in LIBRARIES[library](names).items()
    }


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what is the default in a spec."""
    return Published.model_validate(entry).model_dump(mode="json", exclude_defaults=True)


# -- writing the specs -------------------------------------------------------------------------------------------

GLUE = "\0"
"""A space that no line breaks at."""

PUBLISHED = re.compile(r"^weights:\n(?:  .*\n)+", re.MULTILINE)
"""The part of a spec's file that is written here."""


def rewritten(text: str, entries: Entries) -> str:
    """A spec's text with these entries at its end; the rest stays as it is, byte for byte."""
    rest = PUBLISHED.sub("", text)
    lines = [line for name, entry in entries.items() for line in _lines(name, entry)]
    return rest + "".join(f"{line}\n" for line in ["weights:", *lines]) if lines else rest


def _lines(name: str, entry: Mapping[str, Any]) -> list[str]:
    # Lines break in front of keys, never in a list, and in front of an address that is too long.
    text = f"{name}:{GLUE}{_flow(entry)}".replace(f"url:{GLUE}", "url: ", 1)
    lines = textwrap.wrap(
        text, 120, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(GLUE, " ") for line in lines]


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}:{GLUE}{_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + f",{GLUE}".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value) if ":" in value else value.replace(" ", GLUE)
    return f"{value:.10g}"


def main() -> None:
    """Write every library's tables into the specs; with a library's name, print them as JSON."""
    if sys.argv[1:]:
        json.dump(_gather(sys.argv[1]), sys.stdout)
        return
    root = Catalog.shipped().root
    for library in LIBRARIES:
        for name, entries in gathered(library).items():
            path = root / f"{name}.yaml"
            path.write_text(rewritten(path.read_text("utf-8"), entries), "utf-8")


if __name__ == "__main__":
    main()
