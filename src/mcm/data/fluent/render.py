"""Drawing scenes: sprites over shaded backgrounds, and the flaws of stock video."""

from __future__ import annotations

import io
from functools import lru_cache

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mcm.data.fluent.scene import BACKGROUNDS, FPS, FRAME_SIZE, Placement

Frames = NDArray[np.uint8]
"""RGB frames, (t, h, w, 3)."""

BLUR_SIZE = 56
"""Poor video is resampled through this many pixels."""

WATERMARK_TEXT = "fluentstock"
_WATERMARK_BOX = (0, 84, FRAME_SIZE, 104)
_CRF = 30

EDGE_WIDTH = 0.1
"""A turning object seen from its edge is this wide, relative to its side."""


def draw(sprite: Image.Image, place: Placement, backdrop: Image.Image) -> Image.Image:
    """Return the backdrop (RGB) with the sprite (RGBA) drawn over it with sub-pixel accuracy."""
    side = max(round(place.size), 2)
    small = sprite.resize((side, side), Image.Resampling.LANCZOS)
    layer = small.transform(
        backdrop.size,
        Image.Transform.AFFINE,
        _inverse_affine(place, side),
        Image.Resampling.BICUBIC,
    )
    frame = backdrop.copy()
    frame.paste(layer, (0, 0), layer)
    return frame


def _inverse_affine(place: Placement, side: int) -> tuple[float, ...]:
    """Map a frame's pixel to the pixel of a sprite of ``side``: rotation, scale, shift."""
    scale = side / place.size
    across = scale / shown_width(place.turn)
    cos, sin = np.cos(np.radians(place.angle)), np.sin(np.radians(place.angle))
    half = side / 2
    return (
        across * cos,
        across * sin,
        half - across * (cos * place.x + sin * place.y),
        -scale * sin,
        scale * cos,
        half + scale * (sin * place.x - cos * place.y),
    )


def shown_width(turn: float) -> float:
    """Return an object's width over its side after a turn in degrees; negative when mirrored."""
    width = float(np.cos(np.radians(turn)))
    return float(np.copysign(max(abs(width), EDGE_WIDTH), width))


def backdrop(colour: str, shade: tuple[float, float], size: int = FRAME_SIZE) -> Image.Image:
    """Return a background of the named colour with a vertical shade."""
    rows = np.linspace(shade[0], shade[1], size)[:, None, None]
    pixels = np.asarray(BACKGROUNDS[colour], dtype=np.float64)[None, None] * rows
    image = np.broadcast_to(pixels, (size, size, 3)).clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(image), "RGB")


def spoil(frame: Image.Image) -> Image.Image:
    """Blur a frame by resampling and stamp the stock watermark on it."""
    small = frame.resize((BLUR_SIZE, BLUR_SIZE), Image.Resampling.BILINEAR)
    blurred = small.resize(frame.size, Image.Resampling.BILINEAR)
    stamp = watermark(frame.size[0])
    blurred.paste(stamp, (0, 0), stamp)
    return blurred


@lru_cache(maxsize=4)
def watermark(size: int = FRAME_SIZE) -> Image.Image:
    """Return the translucent stock-agency bar as an RGBA layer."""
    layer = Image.new("RGBA", (FRAME_SIZE, FRAME_SIZE), (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    pen.rectangle(_WATERMARK_BOX, fill=(40, 40, 48, 96))
    font = ImageFont.load_default(18)
    x, y = FRAME_SIZE / 2, (_WATERMARK_BOX[1] + _WATERMARK_BOX[3]) / 2
    pen.text((x, y), WATERMARK_TEXT, font=font, anchor="mm", fill=(255, 255, 255, 190))
    return layer.resize((size, size), Image.Resampling.LANCZOS)


def encode_poor(frames: list[Image.Image]) -> bytes:
    """Encode frames as a heavily compressed H.264 mp4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(_CRF), "preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode(video: bytes) -> Frames:
    """Decode a video held in memory to RGB frames (t, h, w, 3)."""
    with av.open(io.BytesIO(video), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8, copy=False)


def encode_image(image: Image.Image) -> bytes:
    """Encode a still without loss."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=2)
    return buffer.getvalue()
