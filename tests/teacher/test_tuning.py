"""A tuned teacher is a whole teacher that caches of the old one still fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mcm.teacher import tuning
from mcm.teacher.corpus import ClipCorpus
from mcm.teacher.loop import LoopConfig
from mcm.teacher.motion import ClipSettings

PARTS = ("vae", "text_encoder", "tokenizer", "scheduler", "unet")


class Batch:
    def __init__(self, latents_bcthw: Tensor, captions: list[str]) -> None:
        self.latents_bcthw, self.captions = latents_bcthw, captions


class Cache:
    """Five clips; latent values and captions are their numbers."""

    def __init__(self, folder: Path) -> None:
        self.checked: list[Any] = []

    def __len__(self) -> int:
        return 5

    def check_backbone(self, backbone: Any) -> None:
        assert backbone == "backbone of teacher"

    def batch(self, indices: range) -> Batch:
        numbers = torch.tensor(list(indices), dtype=torch.float32)
        latents = numbers.view(-1, 1, 1, 1, 1).expand(-1, 2, 3, 4, 4)
        return Batch(latents, [f"clip {number}" for number in indices])


def test_all_clips_are_taken_in_their_order() -> None:
    corpus = tuning.corpus_of(Cache(Path()), at_once=2)  # type: ignore[arg-type]
    assert corpus.latents_ncthw.shape == (5, 2, 3, 4, 4)
    assert corpus.latents_ncthw[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert corpus.captions == [f"clip {number}" for number in range(5)]


def test_the_new_teacher_keeps_all_but_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, output = tmp_path / "teacher", tmp_path / "tuned"
    for part in PARTS:
        (teacher / part).mkdir(parents=True)
        (teacher / part / "weights").write_text(f"old {part}")
    (teacher / "model_index.json").write_text("{}")
    seen: dict[str, Any] = {}

    def train(corpus: ClipCorpus, text: Path, start: Path, run: Path, *rest: Any, **_: Any) -> None:
        seen.update(corpus=corpus, text=text, start=start, settings=rest[1])
        (run / "motion_unet").mkdir(parents=True)
        (run / "motion_unet" / "weights").write_text("new unet")

    monkeypatch.setattr(tuning, "train_motion", train)
    monkeypatch.setattr(tuning, "CachedVideos", Cache)
    monkeypatch.setattr(tuning, "load_backbone", lambda place, device: f"backbone of {place.name}")
    made = tuning.tune_to_videos(teacher, tmp_path, output, LoopConfig(steps=1), batch_size=4)
    assert made == output
    assert (seen["text"], seen["start"]) == (teacher, teacher / "unet")
    assert seen["settings"] == ClipSettings(frames=(3,), batch_frames=12)
    kept = {part: (output / part / "weights").read_text() for part in PARTS}
    assert kept == {part: f"{'new' if part == 'unet' else 'old'} {part}" for part in PARTS}
    assert (output / "model_index.json").read_text() == "{}"
