"""Models of a spec's published weights: their address, hash, size, accuracy and preprocessing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from resnet_spec.errors.validation import Frozen, matching

Positive = Annotated[int, Field(strict=True, ge=1, le=2**16)]
Size = Positive | Annotated[tuple[Positive, Positive], Field(description="Height and width.")]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Triple = tuple[Finite, Finite, Finite]
AboveZero = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

MIB = 2**20

_URL = r"https?://[^\s/?#@]+/[^\s?#]+"
_SIZE = r"[0-9]{1,9}(\.[0-9]{1,3})? MiB"
_HASH = r"sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{8,32}"

Url = Annotated[
    str,
    matching(f"^{_URL}$", "an address that starts with https:// or http:// and has no query"),
    Field(max_length=500),
]
Length = (
    Annotated[int, Field(strict=True, ge=1)]
    | Annotated[str, matching(f"^{_SIZE}$", "bytes, or a text like '97.8 MiB'")]
)
Hash = Annotated[str, matching(f"^({_HASH})$", "'sha256:' or 'md5:' and at least eight hexadecimal digits")]


class Preprocessing(Frozen):
    """From a photograph to the network's input: resize, crop the center, scale to ``range``, normalize.

    Attributes:
        resize: The length of the shorter side in pixels, which keeps the aspect ratio, or [height, width], which does
            not. By default the image keeps its size.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``, antialiased except for ``nearest``.
        crop: The side of the square cut from the center, or [height, width]; an image that is too small is padded with
            black. By default nothing is cut.
        order: The order of the color channels: ``rgb`` or ``bgr``.
        range: The value that 255 is scaled to.
        mean: What is then subtracted: three numbers, in the order of the color channels.
        std: What the rest is divided by: three numbers, in the order of the color channels.
    """

    resize: Size | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop: Size | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    range: AboveZero = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[AboveZero, AboveZero, AboveZero] = (1.0, 1.0, 1.0)


class Accuracy(Frozen):
    """Percent of ImageNet's validation images, as the publisher reports it.

    Attributes:
        top1: Percent of images whose class is the most probable one.
        top5: Percent of images whose class is among the five most probable.
    """

    top1: Annotated[float, Field(strict=True, ge=0, le=100)]
    top5: Annotated[float, Field(strict=True, ge=0, le=100)] | None = None


class Published(Frozen):
    """One file of weights, as its publisher describes it.

    Attributes:
        url: An ``http`` or ``https`` address without a query.
        size: The number of bytes, or text in MiB such as ``97.8 MiB`` if the publisher rounds.
        hash: ``sha256:`` or ``md5:``, followed by the hexadecimal digits or the first eight or more of them.
        classes: The number of classes of the classifier in the file, 0 if it has none.
        license: The license of the weights, such as an SPDX identifier.
        accuracy: Accuracy on the ImageNet validation set, as reported by the publisher.
        preprocessing: How to turn a photograph into the network's input.
    """

    url: Url
    size: Length | None = None
    hash: Hash | None = None
    classes: Annotated[int, Field(strict=True, ge=0, le=2**16)] = 1000
    license: str | None = None
    accuracy: Accuracy | None = None
    preprocessing: Preprocessing | None = None

    def matches_size(self, size: int) -> bool:
        """Whether a size in bytes is the stated one, or rounds to it."""
        if not isinstance(self.size, str):
            return self.size is None or self.size == size
        number = self.size.removesuffix(" MiB")
        return abs(size / MIB - float(number)) <= 0.5 * 10.0 ** -len(number.partition(".")[2])
