from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation.standins import save_clip, save_scripts, save_videomae

from mcm.errors import UserError
from mcm.evaluation.arrays import unpack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.extractors import (
    ClipSimilarity,
    I3dFeatures,
    InceptionFeatures,
    VideoMaeFeatures,
    normalised,
)


def rising(frames: int = 6) -> EvaluationClip:
    """A clip whose frame n is grey of level 10 n."""
    levels = 10 * np.arange(frames, dtype=np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (frames, 24, 32, 3)).copy()
    return EvaluationClip("0", pixels, "a fox moving left on a blue background")


def test_scripts_get_the_pixels_that_they_were_made_for(tmp_path: Path) -> None:
    i3d, inception = save_scripts(tmp_path)
    video = unpack(I3dFeatures(i3d, "cpu").observe(rising())["features"])
    np.testing.assert_allclose(video, [[0, 0, 0, 50, 50, 50]])
    frames = unpack(InceptionFeatures(inception, "cpu").observe(rising())["features"])
    np.testing.assert_allclose(frames[:, 0], [0, 20, 30, 50])


def test_videomae_is_the_mean_of_the_stock_models_states(tmp_path: Path) -> None:
    from transformers import VideoMAEImageProcessor, VideoMAEModel

    observer = VideoMaeFeatures(save_videomae(tmp_path), "cpu")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    seen = unpack(observer.observe(EvaluationClip("0", frames, ""))["features"])
    processor = VideoMAEImageProcessor(
        size={"shortest_edge": 32},
        crop_size=32,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    inputs = processor(list(frames), return_tensors="pt")
    with torch.no_grad():
        states = VideoMAEModel.from_pretrained(tmp_path).eval()(**inputs).last_hidden_state
    np.testing.assert_allclose(seen, states.mean(1).numpy(), atol=5e-3)


def test_clip_similarity_is_a_hundred_cosines(tmp_path: Path) -> None:
    metric = ClipSimilarity(save_clip(tmp_path), "cpu")
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    clip = EvaluationClip("0", frames, rising().prompt)
    network, words = metric.network, metric.tokenizer([clip.prompt], return_tensors="pt")
    with torch.no_grad():
        both = network(
            pixel_values=normalised(
                frames,
                32,
                (0.48145466, 0.4578275, 0.40821073),
                (0.26862954, 0.26130258, 0.27577711),
            ),
            **words,
        )
    expected = (both.image_embeds @ both.text_embeds.T).mean()
    assert metric.score(clip).value == pytest.approx(100 * float(expected), abs=1e-3)
    long = EvaluationClip("0", frames, "a fox " * 50)
    assert np.isfinite(metric.score(long).value)


def test_frames_are_cut_to_the_middle_square() -> None:
    frames = np.zeros((1, 8, 16, 3), np.uint8)
    frames[:, :, 4:12] = 255
    x = normalised(frames, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert x.shape == (1, 3, 4, 4)
    torch.testing.assert_close(x, torch.ones_like(x), atol=0.02, rtol=0)


def test_a_judge_whose_weights_are_not_all_there_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save_videomae(tmp_path) / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "attention.attention" not in k}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"VideoMAEModel: .* random ones would judge"):
        VideoMaeFeatures(tmp_path, "cpu")


def test_a_clip_without_its_words_is_refused(tmp_path: Path) -> None:
    """The library would make a tokenizer to which every letter is unknown."""
    folder = save_clip(tmp_path / "clip")
    for name in ("tokenizer.json", "vocab.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"clip: has no tokenizer \(tokenizer.json or vocab.json\)"):
        ClipSimilarity(folder, "cpu")


def test_long_prompts_are_cut_to_what_the_model_reads(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    (folder / "tokenizer_config.json").unlink()
    long = replace(rising(), prompt="a fox moving left on a blue background and " * 9)
    assert np.isfinite(ClipSimilarity(folder, "cpu").score(long).value)


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", b"\x08"), ("config.json", b"[]"), ("tokenizer.json", b"{}")],
)
def test_broken_files_of_a_clip_are_told_in_one_line(
    tmp_path: Path, file: str, content: bytes
) -> None:
    folder = save_clip(tmp_path / "clip")
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=r"clip: cannot be loaded: .*; expected the folder") as told:
        ClipSimilarity(folder, "cpu")
    assert "\n" not in str(told.value)


def test_other_torchscript_is_told_when_it_is_called(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Identity()).save(str(tmp_path / "identity.pt"))  # type: ignore[no-untyped-call]
    for kind in (I3dFeatures, InceptionFeatures):
        with pytest.raises(UserError, match="is not the TorchScript that the field uses"):
            kind(tmp_path / "identity.pt", "cpu").observe(rising())


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.pt: not TorchScript"):
        I3dFeatures(tmp_path / "bad.pt", "cpu")
    with pytest.raises(UserError, match=r"none\.pt: no such file"):
        InceptionFeatures(tmp_path / "none.pt", "cpu")
    with pytest.raises(UserError, match="no such folder"):
        ClipSimilarity(tmp_path / "none", "cpu")
    with pytest.raises(UserError, match="cannot be loaded"):
        VideoMaeFeatures(tmp_path, "cpu")
