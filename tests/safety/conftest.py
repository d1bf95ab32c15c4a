"""A home of its own and one short marked clip for the tests of safety."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mcm.data.fluent.world import World
from mcm.media import save_video

Frames = NDArray[np.uint8]
FACTS = {"model": "fluent-mcm", "prompt": "a fox moving left", "seed": 7}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MCM_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def clean() -> Frames:
    """A clip of the embedded world, (16, 128, 128, 3)."""
    return np.stack([np.asarray(image.convert("RGB")) for image in World().clip(3).frames])


@pytest.fixture(scope="session")
def signed(clean: Frames, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of an mp4 as `save_video` writes it."""
    path = save_video(clean, tmp_path_factory.mktemp("signed") / "a.mp4", fps=8, metadata=FACTS)
    return path.read_bytes()
