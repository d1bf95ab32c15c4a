"""The demo on a tiny teacher: every part runs, the table tells what happened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.sampling.fake import make_model

from mcm import demo
from mcm.errors import UserError
from mcm.media import read_metadata
from mcm.recipe import resolve
from mcm.sampling.clip import Clip


def moving_square(step: int, blur: bool = False) -> Clip:
    frames = np.zeros((16, 128, 128, 3), np.uint8)
    frames[..., 2] = 200
    for time in range(16):
        x = 90 - step * time
        frames[time, 54:74, x : x + 20] = (255, 200, 0)
    if blur:
        soft = sum(np.roll(frames.astype(float), k, axis=2) for k in range(-4, 5)) / 9
        frames = np.asarray(soft).astype(np.uint8)
    return Clip(frames, 8, demo.PROMPT, 7, {"steps": 4})


def test_quality_is_motion_and_sharpness() -> None:
    clear = demo.Entry("clear", moving_square(4), 1.0)
    soft = demo.Entry("soft", moving_square(4, blur=True), 1.0)
    still = demo.Entry("still", moving_square(0), 1.0)
    assert clear.moved == pytest.approx(60, abs=4)
    assert abs(still.moved) < 4
    assert clear.sharpness > 1.5 * soft.sharpness


def test_packaged_recipe_resolves() -> None:
    recipe = resolve(demo.RECIPE, ["trainer.max_minutes=0.5"])
    assert recipe.model.teacher == demo.TEACHER


def test_an_installation_without_students_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "embedded_models", lambda: ["fluent"])
    with pytest.raises(UserError, match="no embedded student"):
        demo.run_demo(Path("unused"))


def test_demo_writes_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: Any) -> Any:
        return make_model("teacher" if name == demo.TEACHER else "student")

    monkeypatch.setattr(demo, "embedded_models", lambda: ["fluent", "fluent-mcm"])
    monkeypatch.setattr(demo, "load", load)
    monkeypatch.setattr(demo, "_distil", lambda folder, minutes: folder / "fresh")
    monkeypatch.setattr(demo.Entry, "moved", 30.0)
    monkeypatch.setattr(demo.Entry, "sharpness", 8.0)
    video, sheet = demo.run_demo(tmp_path, minutes=1)
    assert (video, sheet) == (tmp_path / "side-by-side.mp4", tmp_path / "sheet.png")
    assert len(read_metadata(video)["models"]) == len(read_metadata(sheet)["models"]) == 3
    out = capsys.readouterr().out
    assert "speed-up" in out
    assert "1.0x" in out
