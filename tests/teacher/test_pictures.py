import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.backbones.family import folder_of

from mcm.backbones.loading import load_backbone
from mcm.errors import UserError
from mcm.media.containers import write_mp4
from mcm.sampling.catalog import find_model
from mcm.teacher.loop import LoopConfig
from mcm.teacher.pictures import Crops, read_pictures
from mcm.teacher.tuning import tune_decoder


def picture(seed: int, side: int = 128) -> np.ndarray:
    """A smooth bright blob on black, which the embedded world never has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - rng.uniform(40, 88, 2)[:, None, None]
    blob = 255 * np.exp(-(y**2 + x**2) / rng.uniform(200, 600))
    return np.repeat(blob[..., None], 3, 2).astype(np.uint8)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder of two videos and one of three images, with captions."""
    videos, images = (tmp_path_factory.mktemp(name) for name in ("videos", "images"))
    for number in range(2):
        frames = np.stack([picture(number)] * 16)
        write_mp4(videos / f"{number}.mp4", frames, 8, "")
    for number in range(3):
        Image.fromarray(picture(10 + number)).save(images / f"{number}.png")
    for folder in (videos, images):
        names = sorted(path.name for path in folder.iterdir())
        with (folder / "captions.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "caption"), *((name, "a blob") for name in names)])
    return [videos, images]


def test_crops_are_parts_of_the_pictures_on_the_latent_grid() -> None:
    rows, columns = np.mgrid[:48, :64]
    numbered = np.stack([rows, columns, np.full_like(rows, 7)], -1).astype(np.uint8)[None]
    crops = Crops(numbered, side=32, grid=16, batch_size=40)
    batch = crops[3]
    assert torch.equal(batch, crops[3])
    assert not torch.equal(batch, crops[4])
    pixels = ((batch + 1) * 127.5).round().int()
    corners = {(int(crop[0, 0, 0]), int(crop[1, 0, 0])) for crop in pixels}
    assert corners == {(top, left) for top in (0, 16) for left in (0, 16, 32)}
    assert (pixels[:, 0, -1, 0] - pixels[:, 0, 0, 0] == 31).all()


def test_images_and_frames_of_videos_are_read(places: list[Path]) -> None:
    spec = load_backbone(find_model("fluent").teacher, "cpu").spec
    pictures = read_pictures(places, spec)
    assert pictures.shape == (2 * 4 + 3, 128, 128, 3)
    assert np.array_equal(pictures[-3], picture(10))
    assert np.abs(pictures[0].astype(int) - picture(0)).mean() < 3


def test_a_tuned_decoder_fits_the_pictures_better(places: list[Path], tmp_path: Path) -> None:
    teacher, output = find_model("fluent").teacher, tmp_path / "tuned"
    config = LoopConfig(steps=24, lr=1e-3, warmup=2, ema_decay=0.5, weight_decay=0.0)
    assert tune_decoder(teacher, places, output, config) == output
    before, after = (load_backbone(place, "cpu", "float32") for place in (teacher, output))
    shown = torch.from_numpy(np.stack([picture(0)] * 16)).permute(3, 0, 1, 2)[None] / 127.5 - 1
    with torch.no_grad():
        latents = before.encode_video(shown)
        torch.testing.assert_close(after.encode_video(shown), latents)
        errors = [
            (model.decode_frames(latents)[0].transpose(0, 1) - shown[0]).square().mean()
            for model in (before, after)
        ]
    assert errors[1] < 0.5 * errors[0]


def test_other_autoencoders_are_refused(places: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only the decoder of an AutoencoderDC"):
        tune_decoder(folder_of("modelscope"), places, tmp_path / "tuned", LoopConfig(steps=1))
    assert not (tmp_path / "tuned").exists()


def test_a_place_without_data_is_named(tmp_path: Path) -> None:
    spec = load_backbone(find_model("fluent").teacher, "cpu").spec
    with pytest.raises(UserError, match=r"captions\.csv"):
        read_pictures([tmp_path], spec)
