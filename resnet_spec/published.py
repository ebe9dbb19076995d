"""What a spec says of the weights that were published for it: where they are, what they are, how to feed them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(strict=True, ge=1, le=2**16)]
Size = Positive | Annotated[tuple[Positive, Positive], Field(description="Height and width.")]
Triple = tuple[float, float, float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Frozen):
    """From a photograph to the network's input: resize, crop the centre, scale to ``range``, normalise.

    ``resize`` is the length of the shorter side, or (height, width) to squash to; ``crop`` what is cut from the
    centre. Values of 0 to 255 become 0 to ``range``; then ``mean`` is taken off, and the rest divided by ``std``, in
    the colour ``order`` of the network.
    """

    resize: Size | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop: Size | None = None
    order: Literal["rgb", "bgr"] = "rgb"
    range: Annotated[float, Field(gt=0)] = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class Accuracy(_Frozen):
    """Per cent of ImageNet's validation images, as the publisher reports it."""

    top1: Annotated[float, Field(ge=0, le=100)]
    top5: Annotated[float, Field(ge=0, le=100)] | None = None


class Published(_Frozen):
    """One file of weights, as its publisher describes it.

    ``hash`` is ``sha256:`` or ``md5:`` and hexadecimal digits, of which a publisher may give only the first. ``size``
    is in bytes.
    """

    url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=500)]
    size: Annotated[int, Field(strict=True, ge=1)] | None = None
    hash: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{8,32})$")] | None = None
    classes: Positive = 1000
    licence: str | None = None
    accuracy: Accuracy | None = None
    preprocessing: Preprocessing | None = None
    description: str = ""
