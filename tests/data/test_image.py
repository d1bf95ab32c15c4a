import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from mcm.data.image import read_image
from mcm.data.samples import SampleError


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    assert (read_image(path) == pixels).all()
    assert (read_image(path.read_bytes()) == pixels).all()


def test_exif_orientation_turns_the_image() -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = read_image(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95))
    assert shown.shape == (32, 16, 3)
    assert shown[:14, 10:].min() > 200
    assert shown[18:].max() < 50


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    shown = read_image(encoded(Image.fromarray(pixels).convert(mode)))
    assert shown[:2].max() == 0
    assert shown[2:].min() == 255


def test_half_transparency_is_mixed() -> None:
    pixels = np.full((1, 1, 4), (200, 100, 0, 128), np.uint8)
    assert read_image(encoded(Image.fromarray(pixels)))[0, 0].tolist() == [227, 177, 127]


def test_greyscale_of_8_and_16_bits_agree() -> None:
    levels = np.array([[0, 1, 128, 255]], np.uint8)
    deep = Image.fromarray(levels.astype(np.uint16) * 257)
    expected = np.repeat(levels[..., None], 3, -1)
    assert (read_image(encoded(Image.fromarray(levels))) == expected).all()
    assert (read_image(encoded(deep)) == expected).all()
    assert (read_image(encoded(deep, "TIFF")) == expected).all()


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    shown = read_image(encoded(red, "JPEG", quality=95))
    assert shown.shape == (8, 8, 3)
    assert shown[..., 0].min() > 240
    assert shown[..., 1:].max() < 15


def test_resizing_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = read_image(encoded(Image.fromarray(stripes)), size=(16, 16))
    assert small.shape == (16, 16, 3)
    assert (np.abs(small[:, 1:-1].astype(int) - 127) <= 2).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero-length"),
        (b"This is no image.", "corrupt"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:400], "corrupt"),
        (encoded(Image.effect_noise((64, 64), 50))[:1500], "corrupt"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(SampleError, match=f"^a.png: {reason}: ") as caught:
        read_image(content, file="a.png")
    assert caught.value.reason == reason


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"gone\.png: missing"):
        read_image(tmp_path / "gone.png")


def test_floats_are_clipped_at_0_and_1(tmp_path: Path) -> None:
    levels = np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan]], np.float32)
    shown = read_image(encoded(Image.fromarray(levels), "TIFF"))
    assert shown[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]


def test_too_many_pixels_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = encoded(Image.new("1", (8193, 8192)))

    def load(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(SampleError, match="too large: 8193x8192 pixels, expected 67108864 in all"):
        read_image(huge, size=(8, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**20)
    with pytest.raises(SampleError, match="too large: far more pixels, expected 67108864"):
        read_image(huge, size=(8, 8))


def test_transparency_is_laid_over_the_ground_when_small() -> None:
    """What is transparent has no colour: a red that cannot be seen does not show at an edge."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (0, 0, 255, 255)
    pixels[:, 32:] = (255, 0, 0, 0)
    content = encoded(Image.fromarray(pixels))
    for ground in (0, 255):
        shown = read_image(content, size=(16, 16), ground=ground)
        assert np.abs(shown[:, :7].astype(int) - (0, 0, 255)).max() <= 12
        assert np.abs(shown[:, 9:].astype(int) - ground).max() <= 12
        assert (shown[..., 0].astype(int) <= shown[..., 1].astype(int) + 1).all()
