from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcm.data.fluent import render
from mcm.data.fluent.scene import Motion
from mcm.data.fluent.world import World

Frames = NDArray[np.uint8]


@lru_cache(maxsize=32)
def real_clip(motion: Motion, look: str = "clean") -> Frames:
    """Return the first evaluation clip with a motion."""
    world = World()
    number = next(n for n in range(99) if world.scene(n, "evaluation").combination.motion == motion)
    if look == "poor":
        return render.decode(world.poor_video(number, "evaluation")[0])
    return np.stack([np.asarray(frame) for frame in world.clip(number, "evaluation").frames])


def empty_clip(colour: str = "blue") -> Frames:
    """Return a clip of a background alone."""
    return np.stack([np.asarray(render.backdrop(colour, (1.04, 0.9)))] * 16)


def stamped(frames_thwc: Frames, strength: float = 1.0) -> Frames:
    """Return a clip under the watermark, fully or fainter."""
    stamp = render.watermark().copy()
    stamp.putalpha(stamp.getchannel("A").point(lambda alpha: round(alpha * strength)))
    images = [Image.fromarray(frame) for frame in frames_thwc]
    for image in images:
        image.paste(stamp, (0, 0), stamp)
    return np.stack([np.asarray(image) for image in images])
