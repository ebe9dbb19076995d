"""From photographs to a batch: sizes and values worked out by hand, every kind of image, and what is refused."""

from __future__ import annotations

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_spec import ImageError, Preprocessing, SpecError, load, preprocess
from resnet_spec.vision.preprocessing import parse_preprocessing, prepare

Lines = Callable[[Callable[[], object]], list[str]]

PLAIN = Preprocessing(range=255)
"""Values as they are."""


def gradient(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Red counts rows, green columns; blue is 7."""
    image = np.full((height, width, 3), 7, np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return image


# -- arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "crop", "top", "left"),
    [
        (10, 20, 6, 2, 7),
        # Half a row over: 2.5 is rounded to 2, 3.5 to 4.
        (11, 13, 6, 2, 4),
        (9, 9, 9, 0, 0),
        (10, 20, (4, 10), 3, 5),
    ],
)
def test_the_middle_is_cut_out(height: int, width: int, crop: Any, top: int, left: int) -> None:
    batch = prepare(gradient(height, width), Preprocessing(crop=crop, range=255))

    assert (batch[0, 0, 0, 0], batch[0, 1, 0, 0]) == (top, left)
    assert batch.shape[2:] == (crop if isinstance(crop, tuple) else (crop, crop))


def test_beyond_its_edges_an_image_is_black() -> None:
    batch = prepare(np.full((2, 9, 3), 5, np.uint8), Preprocessing(crop=5, range=255))

    # Of three rows that are missing one is above.
    np.testing.assert_array_equal(batch[0, 0], [[0] * 5, [5] * 5, [5] * 5, [0] * 5, [0] * 5])


@pytest.mark.parametrize(
    ("height", "width", "resize", "wanted"),
    [
        (10, 20, 5, (5, 10)),
        (20, 10, 5, (10, 5)),
        # 8 × 30 / 9 = 26.67 is cut, not rounded.
        (9, 30, 8, (8, 26)),
        (30, 9, 8, (26, 8)),
        (10, 20, (7, 3), (7, 3)),
        (1, 1, 6, (6, 6)),
    ],
)
def test_the_shorter_side_is_resized_and_the_longer_follows(
    height: int, width: int, resize: Any, wanted: tuple[int, int]
) -> None:
    assert prepare(gradient(height, width), Preprocessing(resize=resize)).shape == (1, 3, *wanted)


@pytest.mark.parametrize(("interpolation", "wanted"), [("nearest", 40), ("bilinear", 25), ("bicubic", 25)])
def test_what_is_made_smaller_is_averaged_unless_nearest(interpolation: Any, wanted: int) -> None:
    image = np.array([[10, 20], [30, 40]], np.uint8)

    batch = prepare(image, Preprocessing(resize=1, interpolation=interpolation, range=255))

    assert batch.ravel().tolist() == [wanted] * 3


def test_values_are_scaled_shifted_and_divided_in_float32() -> None:
    values = np.arange(256, dtype=np.uint8)[None]

    batch = prepare(values, Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))

    # One rounding a step: times 1 / 255 would be another number for many of them.
    scaled = values.astype(np.float32) / np.float32(255)
    wanted = [(scaled - np.float32(m)) / np.float32(s) for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[0], wanted)


def test_the_mean_is_in_the_order_of_the_network() -> None:
    image = np.array([[[30, 20, 10]]], np.uint8)

    batch = prepare(image, Preprocessing(order="bgr", range=255, mean=(1, 2, 3)))

    assert batch[0, :, 0, 0].tolist() == [9, 18, 27]


# -- kinds of images ---------------------------------------------------------------------------------------------


def test_a_path_an_image_and_an_array_are_the_same(tmp_path: Path) -> None:
    array = gradient(6, 5)
    Image.fromarray(array).save(tmp_path / "a.png")

    one = prepare(array, PLAIN)

    np.testing.assert_array_equal(one, array.transpose(2, 0, 1)[None])
    for other in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png"), [array], array[None]):
        np.testing.assert_array_equal(prepare(other, PLAIN), one)


def test_several_images_are_one_batch_in_their_order(tmp_path: Path) -> None:
    Image.fromarray(gradient(4, 4) + 1).save(tmp_path / "a.png")

    batch = prepare([gradient(4, 4), tmp_path / "a.png"], PLAIN)

    np.testing.assert_array_equal(batch[1], batch[0] + 1)


GREY = np.array([[0, 100], [200, 255]], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        Image.fromarray(GREY),
        Image.fromarray(GREY).convert("P"),
        Image.fromarray(GREY).convert("LA"),
        Image.fromarray(np.dstack([GREY] * 3 + [255 - GREY])),
        # The high byte of 16 bits.
        Image.fromarray(GREY.astype(np.uint16) * 256 + 77),
        Image.merge("CMYK", [Image.fromarray(255 - GREY)] * 3 + [Image.fromarray(0 * GREY)]),
        Image.fromarray(GREY).convert("YCbCr"),
    ],
    ids=["array", "L", "P", "LA", "RGBA", "I;16", "CMYK", "YCbCr"],
)
def test_whatever_is_not_rgb_becomes_so(image: Any) -> None:
    np.testing.assert_array_equal(prepare(image, PLAIN), np.broadcast_to(GREY, (1, 3, 2, 2)))


def test_black_and_white_is_0_and_255() -> None:
    assert prepare(Image.new("1", (1, 1), 1), PLAIN).tolist() == [[[[255]], [[255]], [[255]]]]


def test_sixteen_bits_survive_a_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.tiff"):
        Image.fromarray(GREY.astype(np.uint16) * 256 + 77).save(tmp_path / name)
        np.testing.assert_array_equal(prepare(tmp_path / name, PLAIN)[0, 0], GREY)


def test_a_palette_with_transparency_gives_its_colors_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(GREY).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))

    np.testing.assert_array_equal(prepare(tmp_path / "a.png", PLAIN)[0, 0], GREY)


def test_the_first_picture_of_several_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])

    np.testing.assert_array_equal(prepare(tmp_path / "a.gif", PLAIN)[0, 0], GREY)


def test_a_turned_photograph_is_taken_as_stored_and_that_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient(4, 8)).save(tmp_path / "a.png", exif=exif)

    with caplog.at_level(logging.WARNING, "resnet_spec"):
        batch = prepare(tmp_path / "a.png", PLAIN)

    assert batch.shape == (1, 3, 4, 8)
    assert caplog.messages == [f"{tmp_path / 'a.png'}: is stored turned (EXIF orientation 6) and used as it is stored"]


# -- what is refused ---------------------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def truncated() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()[:-200]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"some text", "is not an image (known: JPEG, PNG, "),
        (b"", "is not an image"),
        (truncated(), "cannot be read (image file is truncated"),
        (png(30_000, 30_000, zlib.compress(b"")), "cannot be read (Image size (900000000 pixels) exceeds limit"),
        (png(8, 8, b"no deflate"), "cannot be read ("),
        (png(0, 8, zlib.compress(b"")), "is not an image"),
        # Pillow would have Ghostscript run it.
        (EPS, "is not an image"),
    ],
    ids=["text", "empty", "truncated", "bomb", "garbage", "no width", "program"],
)
def test_an_incomplete_image_is_reported(tmp_path: Path, lines: Lines, content: bytes, told: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)

    (line,) = lines(lambda: prepare(path, PLAIN))

    assert line.startswith(f"image 1, {path}: {told}")


def test_every_image_that_cannot_be_read_is_reported(tmp_path: Path, lines: Lines) -> None:
    images = [tmp_path / "none.png", gradient(2, 2), tmp_path, np.zeros((2, 2, 3)), np.zeros((2, 0, 3), np.uint8)]
    images += [Image.new("F", (2, 2)), Image.new("I", (2, 2)), tmp_path / "pipe.png"]
    os.mkfifo(tmp_path / "pipe.png")

    assert lines(lambda: prepare(images, PLAIN)) == [
        f"image 1, {tmp_path / 'none.png'}: no such file",
        f"image 3, {tmp_path}: is a folder",
        "image 4: is an array [2, 2, 3] of float64, not (height, width, 3) or (height, width) of uint8",
        "image 5: is an array [2, 0, 3] of uint8, not (height, width, 3) or (height, width) of uint8",
        "image 6: holds numbers without a range (mode F), not colors",
        "image 7: holds numbers without a range (mode I), not colors",
        f"image 8, {tmp_path / 'pipe.png'}: is not a regular file",
    ]


@pytest.mark.parametrize("shape", [(2, 2, 1), (2, 2, 4), (4,), (1, 2, 2, 2, 3)])
def test_an_array_of_another_shape_is_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="image 1: is an array"):
        prepare(np.zeros(shape, np.uint8), PLAIN)


@pytest.mark.parametrize("images", [[], (), np.zeros((0, 4, 4, 3), np.uint8)])
def test_no_image_is_reported(images: Any) -> None:
    with pytest.raises(ImageError, match="no image was given"):
        prepare(images, PLAIN)


def test_images_of_several_sizes_are_no_batch(lines: Lines) -> None:
    images = [gradient(4, 5), gradient(4, 4), gradient(4, 5)]

    assert lines(lambda: prepare(images, PLAIN)) == [
        "image 2: is 4 pixels high and 4 wide, not 4 and 5 as image 1; "
        "preprocessing with 'crop' gives all images one size"
    ]
    assert prepare(images, Preprocessing(crop=3)).shape == (3, 3, 3, 3)


def test_a_thread_is_not_resized_to_a_gigabyte() -> None:
    with pytest.raises(ImageError, match=r"image 1: would become 5120000×256 pixels, more than 178,956,970"):
        prepare(np.zeros((1, 20_000), np.uint8), Preprocessing(resize=256, crop=224))
    with pytest.raises(ImageError, match="would become 65536×65536 pixels"):
        prepare(np.zeros((1, 1), np.uint8), Preprocessing(crop=65536))


# -- a spec's preprocessing --------------------------------------------------------------------------------------

WEIGHTS = """
    extends: resnet18
    weights:
      first: {url: "https://example.org/a.pth", preprocessing: {resize: 8, crop: 6, range: 255}}
      second: {url: "https://example.org/b.pth", preprocessing: {resize: 8, crop: 4, range: 255}}
      silent: {url: "https://example.org/c.pth"}
"""


def test_the_first_published_weights_are_the_default(write: Callable[..., Path]) -> None:
    path = write(WEIGHTS)
    image = gradient(16, 16)

    assert preprocess(path, image).shape == (1, 3, 6, 6)
    assert preprocess(str(path), image, "second").shape == (1, 3, 4, 4)
    assert preprocess(load(path), [image, image], Preprocessing(crop=2)).shape == (2, 3, 2, 2)


def test_weights_without_a_preprocessing_are_reported(write: Callable[..., Path], lines: Lines) -> None:
    path = write(WEIGHTS)

    assert lines(lambda: preprocess(path, gradient(9, 9), "silent")) == [
        "the published weights silent of spec state no preprocessing"
    ]


def test_a_spec_without_published_weights_says_what_to_give(write: Callable[..., Path], lines: Lines) -> None:
    (line,) = lines(lambda: preprocess(write("extends: resnet18"), gradient(9, 9)))

    assert line.startswith("spec lists no published weights, and so no preprocessing; give one, such as {resize")


def test_a_network_that_reads_no_colors_is_reported(write: Callable[..., Path], lines: Lines) -> None:
    gray = write("extends: resnet18\ninput: {channels: 1}", "gray.yaml")

    assert lines(lambda: preprocess(gray, gradient(9, 9), PLAIN)) == ["gray reads 1 channels, not color images"]
    assert lines(lambda: preprocess("mirror/decoder18", gradient(9, 9), PLAIN)) == [
        "mirror/decoder18 reads vectors, not color images"
    ]


def test_a_preprocessing_written_as_yaml() -> None:
    written = parse_preprocessing("{resize: [8, 9], crop: 6, interpolation: bicubic, mean: [0.1, 0.2, 0.3]}")

    assert written == Preprocessing(resize=(8, 9), crop=6, interpolation="bicubic", mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{corp: 6}", ["preprocessing: unknown key 'corp'; did you mean 'crop'?"]),
        ("{range: -1}", ["preprocessing.range: must be greater than 0, not -1"]),
        ("{order: grb}", ["preprocessing.order: must be 'rgb' or 'bgr', not 'grb'"]),
        ("{mean: [1, 2]}", ["preprocessing.mean: must have 3 values, not [1, 2]"]),
        ("{resize: x, crop: 2}", ["preprocessing.resize: must be a whole number or a list, not 'x'"]),
        (
            "{std: [.inf, 0, 1]}",
            [
                "preprocessing.std.0: must be a finite number, not inf",
                "preprocessing.std.1: must be greater than 0, not 0",
            ],
        ),
        ("[1]", ["preprocessing: must be a mapping, not [1]"]),
    ],
)
def test_a_wrong_preprocessing_is_reported(text: str, told: list[str], lines: Lines) -> None:
    assert lines(lambda: parse_preprocessing(text)) == told


def test_a_preprocessing_that_is_not_yaml_is_reported() -> None:
    with pytest.raises(SpecError, match="preprocessing:2:1: not valid YAML"):
        parse_preprocessing("{crop: [1")
