"""Preprocesses photographs as the weights were trained with, in Pillow and NumPy, once for all backends.

Images are resized and cut as the original libraries do it, as 8-bit images by Pillow, and become float32 only then;
the order of the operations below is theirs too, so that the result is theirs to the bit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from resnet_spec.errors import ImageError, Problem, SpecError
from resnet_spec.errors.extras import needs
from resnet_spec.spec.loader import load
from resnet_spec.spec.published import Preprocessing
from resnet_spec.spec.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Photograph: TypeAlias = str | Path | Image | NDArray[np.uint8]
    Photographs: TypeAlias = Photograph | Sequence[Photograph]

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "JPEG2000", "AVIF")
"""The formats that are read; for some others Pillow starts programs."""

MAX_PIXELS = 2 * 89_478_485
"""Pixels of an image, also while it is resized; Pillow's own limit."""

_ORIENTATION = 0x0112


def preprocess(
    spec: str | Path | Spec, images: Photographs, weights: str | Preprocessing | None = None
) -> NDArray[np.float32]:
    """Prepare photographs as a network's weights expect them.

    As in torchvision, timm and Keras, an image is used as it is stored, whatever orientation its EXIF data state. Gray,
    palette, CMYK and 16-bit images become RGB, and transparency is dropped.

    Args:
        spec: A shipped name, a path that ends in .yaml or .yml, or a loaded spec.
        images: A path, a Pillow image or a uint8 array (height, width, 3) or (height, width), or several of them.
        weights: The name of the published weights whose preprocessing to use, by default the spec's first; or a
            ``Preprocessing``.

    Returns:
        A float32 array (batch, channels, height, width), the same for every backend.

    Raises:
        ImageError: An image cannot be read, or the images differ in size after preprocessing.
        SpecError: The spec states no preprocessing, or does not read images of as many channels.
        WeightsError: The spec has no published weights of that name.

    Examples:
        >>> import numpy as np
        >>> photograph = np.zeros((300, 400, 3), np.uint8)
        >>> preprocess("resnet50", photograph).shape
        (1, 3, 224, 224)
    """
    spec = spec if isinstance(spec, Spec) else load(spec)
    check_reads_images(spec)
    chosen = weights if isinstance(weights, Preprocessing) else preprocessing_of(spec, weights)
    if spec.input.channels != len(chosen.mean):
        raise SpecError(f"{spec.name} reads {spec.input.channels} channels, not color images")
    return prepare(images, chosen)


def check_reads_images(spec: Spec) -> None:
    """Raise SpecError for a network of vectors, signals or volumes."""
    positions = len(spec.input.positions)
    if positions != 2:
        what = {0: "vectors", 1: "signals", 3: "volumes"}[positions]
        raise SpecError(f"{spec.name} reads {what}, not color images")


def preprocessing_of(spec: Spec, weights: str | None = None) -> Preprocessing:
    """The preprocessing of published weights, by default of the spec's first.

    Raises SpecError if there are none or they state no preprocessing, WeightsError if none has that name.
    """
    from resnet_spec.weights.published_lookup import find

    if weights is None and not spec.weights:
        raise SpecError(
            f"{spec.name} lists no published weights, and so no preprocessing; "
            "give one, such as {resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
        )
    name = next(iter(spec.weights)) if weights is None else weights
    chosen = find(spec, name).preprocessing
    if chosen is None:
        raise SpecError(f"the published weights {name} of {spec.name} state no preprocessing")
    return chosen


def parse_preprocessing(text: str) -> Preprocessing:
    """A preprocessing written as YAML, such as ``{resize: 256, crop: 224}``; raises SpecError with every mistake."""
    from resnet_spec.document.parser import parse

    return checked_preprocessing(parse(text, "preprocessing").data)


def checked_preprocessing(data: Any) -> Preprocessing:
    """A preprocessing given as plain data; raises SpecError with every mistake."""
    from pydantic import ValidationError

    from resnet_spec.errors.validation import invalid_values

    try:
        return Preprocessing.model_validate(data)
    except ValidationError as error:
        problems = [invalid.problem() for invalid in invalid_values(error, data, Preprocessing)]
        paths = [".".join(filter(None, ("preprocessing", problem.path))) for problem in problems]
        raise SpecError([Problem(p.message, path) for p, path in zip(problems, paths, strict=True)]) from None


def load_rgb(photograph: Photograph) -> Image:
    """Decode an image as RGB, of 8 bits a color; raises ImageError if it cannot be read."""
    try:
        return _rgb(photograph)
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        # Whatever a broken file makes Pillow raise: OSError, SyntaxError, struct.error and others.
        raise ImageError(f"cannot be read ({error})") from error


def prepare(images: Photographs, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Preprocess images for any network: (batch, 3, height, width). Raises ImageError with every mistake."""
    import numpy as np

    pixels: dict[str, NDArray[np.uint8]] = {}
    problems: list[Problem] = []
    photographs = listed(images)
    for number, photograph in enumerate(photographs, start=1):
        name = f"image {number}" + (f", {path}" if (path := path_of(photograph)) else "")
        try:
            pixels[name] = np.asarray(_resized_and_cropped(load_rgb(photograph), preprocessing))
        except ImageError as error:
            problems += [problem._replace(path=name) for problem in error.problems]
    if problems:
        raise ImageError(problems)
    _check_sizes(pixels)
    return _normalized(np.stack(list(pixels.values())), preprocessing)


def path_of(photograph: Photograph) -> str:
    """The file of an image, or an empty text."""
    if isinstance(photograph, str | Path):
        return str(photograph)
    return os.fsdecode(getattr(photograph, "filename", "") or "")


def listed(images: Photographs) -> Sequence[Photograph]:
    """A sequence of images, also for a single one."""
    if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
        if not len(cast("Sequence[Photograph]", images)):
            raise ImageError("no image was given")
        return cast("Sequence[Photograph]", images)
    return [cast("Photograph", images)]


def _rgb(photograph: Photograph) -> Image:
    """An image decoded as RGB, of 8 bits a color."""
    import numpy as np

    with needs("images", "a photograph"):
        from PIL import Image, UnidentifiedImageError

    if isinstance(photograph, np.ndarray):
        return _from_array(photograph)
    if isinstance(photograph, Image.Image):
        return _converted(photograph)
    if not os.path.isfile(photograph):
        what = "is a folder" if os.path.isdir(photograph) else "is not a regular file"
        raise ImageError(what if os.path.exists(photograph) else "no such file")
    try:
        with Image.open(photograph, formats=FORMATS) as image:
            return _converted(image)
    except UnidentifiedImageError:
        raise ImageError(f"is not an image (known: {', '.join(FORMATS)})") from None


def _from_array(array: NDArray[Any]) -> Image:
    import numpy as np
    from PIL import Image

    if array.dtype != np.uint8 or array.shape[2:] not in ((), (3,)) or array.ndim < 2 or not array.size:
        raise ImageError(
            f"is an array {list(array.shape)} of {array.dtype}, not (height, width, 3) or (height, width) of uint8"
        )
    return Image.fromarray(array).convert("RGB")


def _converted(image: Image) -> Image:
    import numpy as np
    from PIL import Image

    image.load()
    turned = image.getexif().get(_ORIENTATION, 1)
    if turned != 1:
        log.warning(
            "%s: is stored turned (EXIF orientation %s) and used as it is stored", path_of(image) or "an image", turned
        )
    if image.mode.startswith("I;16"):
        # Pillow would cut off at 255. Of a color of 16 bits it takes the high byte, and so do we.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(f"holds numbers without a range (mode {image.mode}), not colors")
    if "transparency" in image.info:
        # The same colors; straight to RGB, Pillow warns of a palette with transparency.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _resized_and_cropped(image: Image, preprocessing: Preprocessing) -> Image:
    """Resized and cut."""
    from PIL.Image import Resampling

    if preprocessing.resize is not None:
        size = _resized(image.size, preprocessing.resize)
        _check_size(size)
        if size != image.size:
            image = image.resize(size, Resampling[preprocessing.interpolation.upper()])
    if preprocessing.crop is not None:
        height, width = _pair(preprocessing.crop)
        _check_size((width, height))
        left, top = _offset(image.width, width), _offset(image.height, height)
        # Beyond its edges an image is black.
        image = image.crop((left, top, left + width, top + height))
    return image


def _resized(size: tuple[int, int], wanted: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) whose shorter side is ``wanted``, the longer one rounded down; or the (height, width) wanted."""
    if not isinstance(wanted, int):
        return wanted[1], wanted[0]
    width, height = size
    if width <= height:
        return wanted, int(wanted * height / width)
    return int(wanted * width / height), wanted


def _offset(length: int, wanted: int) -> int:
    """Where the middle part of a side begins: a half rounded to even, or, of a side too short, up."""
    return round((length - wanted) / 2) if length >= wanted else -((wanted - length) // 2)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(f"would become {size[0]}×{size[1]} pixels, more than {MAX_PIXELS:,}")


def _check_sizes(pixels: dict[str, NDArray[np.uint8]]) -> None:
    shapes = {name: array.shape[:2] for name, array in pixels.items()}
    first, wanted = next(iter(shapes.items()))
    message = "is {} pixels high and {} wide, not {} and {} as {}; preprocessing with 'crop' gives all images one size"
    problems = [Problem(message.format(*s, *wanted, first), name) for name, s in shapes.items() if s != wanted]
    if problems:
        raise ImageError(problems)


def _normalized(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """(batch, height, width, 3) of 0 to 255, RGB, as the network's (batch, 3, height, width)."""
    import numpy as np

    ordered = pixels if preprocessing.order == "rgb" else pixels[..., ::-1]
    batch = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    # Divided, not multiplied by the inverse, which is off by one in the last place for some values.
    batch /= np.float32(255 / preprocessing.range)
    batch -= mean
    batch /= std
    return batch
