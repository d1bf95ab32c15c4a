import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcm.data.cache import cache_images, cache_videos
from mcm.data.cached import CachedImages, CachedVideos
from mcm.data.sampler import EpochSampler
from mcm.data.samples import Sample, SampleError
from mcm.data.video import read_video
from mcm.errors import UserError

QUIET = {"progress": False, "batch_size": 2, "samples_per_file": 4}


@pytest.fixture
def videos(make_video, greys, list_source):
    """Eleven items: nine good clips of twelve frames, a broken one and one without caption."""
    items: list[Sample | SampleError] = []
    for number in range(11):
        pixels = greys(12) + np.uint8(number)
        path = make_video(f"{number:02}.mkv", pixels, codec="ffv1", pix_fmt="yuv444p")
        if number == 3:
            path.write_text("broken" * 50)
        name = f"clips/{path.name}"
        items.append(Sample(path.stem, f"caption {number % 4}", path, name, {"n": number}))
    items[6] = SampleError("clips/06.mkv", "no caption", "empty")
    return list_source(items)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_cache_holds_what_the_encoders_gave(tmp_path: Path, videos, backbone) -> None:
    summary = cache_videos(videos, backbone, tmp_path / "out", keep_frames=2, **QUIET)
    assert (summary.samples, summary.added, summary.captions, summary.skipped) == (9, 9, 4, 2)
    assert "2 of 11 samples skipped (1 corrupt, 1 no caption)" in str(summary)
    cache = CachedVideos(tmp_path / "out")
    assert len(cache) == 9
    batch = cache.batch([8, 0, 5])
    assert batch.keys == ["10", "00", "07"]
    assert batch.captions == ["caption 2", "caption 0", "caption 3"]
    for row, item in enumerate((videos.items[10], videos.items[0], videos.items[7])):
        clip = read_video(item.media, frames=4, fps=8, size=(16, 24))
        pixels = torch.from_numpy(clip).float().permute(3, 0, 1, 2) / 127.5 - 1
        latents = backbone.encode_video(pixels[None])[0]
        assert torch.equal(batch.latents_bcthw[row], latents.half().float())
        kept = pixels.permute(1, 0, 2, 3)[batch.frame_indices_bl[row]]
        assert torch.allclose(batch.frames_bl3hw[row], kept, atol=1e-6)
    condition = backbone.encode_prompt(batch.captions)
    assert torch.equal(batch.condition.tokens_bld, condition.tokens_bld.half().float())
    assert torch.equal(batch.condition.pooled_bd, condition.pooled_bd.half().float())
    empty = backbone.encode_prompt([""]).tokens_bld.half().float()
    assert torch.equal(cache.unconditional(3).tokens_bld, empty.expand(3, -1, -1))


def test_each_caption_is_encoded_once(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", **QUIET)
    assert sorted(backbone.encoded_prompts) == ["", *(f"caption {n}" for n in range(4))]
    assert backbone.encoded_videos == 9


def test_skipped_samples_are_named(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", **QUIET)
    lines = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    found = [(row["file"], row["reason"]) for row in map(json.loads, lines)]
    assert found == [("clips/03.mkv", "corrupt"), ("clips/06.mkv", "no caption")]


@pytest.mark.parametrize("killed_after", [0, 2, 4, 6, 8])
def test_killed_and_resumed_the_files_are_the_same(
    tmp_path: Path, videos, backbone, other_backbone, killed_after: int
) -> None:
    options = {"keep_frames": 2, "clip": "random", "crop": "random", **QUIET}
    cache_videos(videos, backbone, tmp_path / "whole", **options)
    backbone.encoded_videos, backbone.fail_after = 0, killed_after
    with pytest.raises(KeyboardInterrupt):
        cache_videos(videos, backbone, tmp_path / "killed", **options)
    with pytest.raises(UserError, match=r"no cache here|not finished"):
        CachedVideos(tmp_path / "killed")
    (tmp_path / "killed" / ".samples-00001.safetensors.part").write_bytes(b"half")
    backbone.encoded_videos, backbone.fail_after = 0, None
    summary = cache_videos(videos, backbone, tmp_path / "killed", **options)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert summary.samples == 9
    assert backbone.encoded_videos == summary.added == 9 - killed_after // 4 * 4


@pytest.mark.parametrize("file", range(9))
def test_a_full_disk_at_any_file_loses_nothing(
    tmp_path: Path, videos, backbone, monkeypatch, file: int
) -> None:
    cache_videos(videos, backbone, tmp_path / "whole", **QUIET)
    left = iter([True] * file)

    def write_while_there_is_space(path: Path, content: bytes) -> None:
        if not next(left, False):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        for module in ("cache_files", "samples"):
            patch.setattr(f"mcm.data.{module}.write_atomically", write_while_there_is_space)
        with pytest.raises(OSError, match="No space left"):
            cache_videos(videos, backbone, tmp_path / "full", **QUIET)
    cache_videos(videos, backbone, tmp_path / "full", **QUIET)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_a_finished_cache_is_left_alone(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", **QUIET)
    before, backbone.fail_after = contents(tmp_path / "out"), 0
    summary = cache_videos(videos, backbone, tmp_path / "out", **QUIET)
    assert (summary.samples, summary.added) == (9, 0)
    assert contents(tmp_path / "out") == before


def test_a_limit_can_be_raised_and_data_appended(
    tmp_path: Path, videos, backbone, list_source
) -> None:
    first = list_source(videos.items[:5])
    assert cache_videos(first, backbone, tmp_path / "out", limit=3, **QUIET).samples == 3
    assert cache_videos(first, backbone, tmp_path / "out", limit=3, **QUIET).added == 0
    assert cache_videos(first, backbone, tmp_path / "out", **QUIET).samples == 4
    assert cache_videos(videos, backbone, tmp_path / "out", **QUIET).added == 5
    assert backbone.encoded_videos == 9
    keys = CachedVideos(tmp_path / "out").batch(range(9)).keys
    assert keys == ["00", "01", "02", "04", "05", "07", "08", "09", "10"]


def test_workers_and_file_size_do_not_change_the_samples(tmp_path: Path, videos, backbone) -> None:
    for name, workers, samples_per_file in (("a", 1, 3), ("b", 4, 100)):
        cache_videos(
            videos,
            backbone,
            tmp_path / name,
            keep_frames=1,
            workers=workers,
            samples_per_file=samples_per_file,
            progress=False,
        )
    first, second = (CachedVideos(tmp_path / name).batch(range(9)) for name in "ab")
    assert torch.equal(first.latents_bcthw, second.latents_bcthw)
    assert torch.equal(first.frames_bl3hw, second.frames_bl3hw)
    assert first.captions == second.captions


def test_frame_interval_instead_of_rate(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", frame_interval=3, **QUIET)
    latents = CachedVideos(tmp_path / "out").batch([0]).latents_bcthw
    pixels = (latents[0, 0, :, 0, 0] + 1) * 127.5
    assert pixels.tolist() == pytest.approx([0, 36, 72, 108], abs=1)


def test_another_backbone_is_refused_and_both_are_named(
    tmp_path: Path, videos, backbone, other_backbone
) -> None:
    cache_videos(videos, backbone, tmp_path / "out", limit=1, **QUIET)
    message = r"standin \(vae a1b2.*this one is standin \(vae ffff.*differing: encoders"
    with pytest.raises(UserError, match=message):
        cache_videos(videos, other_backbone, tmp_path / "out", **QUIET)
    cache = CachedVideos(tmp_path / "out")
    cache.check_backbone(backbone)
    with pytest.raises(UserError, match=message):
        cache.check_backbone(other_backbone)


def test_other_settings_are_refused_and_named(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", limit=1, **QUIET)
    with pytest.raises(UserError, match=r"other settings: fps 8.0, now 4.0, seed 0, now 1\."):
        cache_videos(videos, backbone, tmp_path / "out", fps=4, seed=1, **QUIET)


def test_other_data_is_refused_and_named(tmp_path: Path, videos, backbone, list_source) -> None:
    cache_videos(videos, backbone, tmp_path / "out", limit=2, **QUIET)
    changed = list_source([videos.items[0], videos.items[2]])
    with pytest.raises(UserError, match=r"item 2 was clips/01\.mkv, now it is clips/02\.mkv"):
        cache_videos(changed, backbone, tmp_path / "out", **QUIET)
    with pytest.raises(UserError, match="begun with other data"):
        cache_videos(list_source([]), backbone, tmp_path / "out", **QUIET)


def test_mostly_bad_data_stops_and_names_all(tmp_path: Path, videos, backbone, list_source) -> None:
    bad = [SampleError(f"{n}.mp4", "missing", "gone") for n in range(5)]
    source = list_source([*videos.items[:2], *bad])
    with pytest.raises(UserError, match="5 of 7 samples skipped"):
        cache_videos(source, backbone, tmp_path / "out", **QUIET)
    assert len((tmp_path / "out" / "skipped.jsonl").read_text().splitlines()) == 5
    summary = cache_videos(source, backbone, tmp_path / "out", most_bad=0.9, **QUIET)
    assert (summary.samples, summary.skipped) == (2, 5)


def test_data_without_a_usable_sample_is_refused(tmp_path: Path, backbone, list_source) -> None:
    with pytest.raises(UserError, match="no usable sample"):
        cache_videos(list_source([]), backbone, tmp_path / "out", **QUIET)
    bad = list_source([SampleError("a.mp4", "missing", "gone")])
    with pytest.raises(UserError, match="no usable sample"):
        cache_videos(bad, backbone, tmp_path / "out", most_bad=1.0, **QUIET)


def test_cut_captions_are_counted(tmp_path: Path, videos, backbone, list_source) -> None:
    long = [
        Sample(item.key, "one two three four five", item.media, item.file)
        for item in videos.items[:2]
    ]
    summary = cache_videos(list_source(long), backbone, tmp_path / "out", **QUIET)
    assert summary.captions_cut == 1
    assert "1 of the captions cut at the backbone's token limit" in str(summary)


def test_values_too_large_for_the_format_are_refused(tmp_path: Path, videos, backbone) -> None:
    backbone.scale = 1e6
    with pytest.raises(UserError, match="float16 cannot hold; use dtype bfloat16"):
        cache_videos(videos, backbone, tmp_path / "a", **QUIET)
    cache_videos(videos, backbone, tmp_path / "b", dtype="bfloat16", **QUIET)
    assert CachedVideos(tmp_path / "b").batch([0]).latents_bcthw.abs().max() > 1e5


def test_frames_and_size_fit_the_steps_of_the_backbone(tmp_path: Path, videos, backbone) -> None:
    backbone.spec = replace(backbone.spec, temporal_factor=4, temporal_patch=2, spatial_patch=2)
    with pytest.raises(UserError, match=r"frames: got 4, .* then 8 at a time; .* are 1 and 9"):
        cache_videos(videos, backbone, tmp_path / "a", size=(16, 32), **QUIET)
    with pytest.raises(UserError, match=r"size: 24x16 .* multiples of 16; .* 16x16 and 32x16"):
        cache_videos(videos, backbone, tmp_path / "a", frames=9, **QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (16, 20)}, "size: 20x16 .* multiples of 8; .* 16x16 and 24x16"),
        ({"frames": 0}, "frames: got 0"),
        ({"fps": -1.0}, "fps: got -1"),
        ({"fps": 8, "frame_interval": 2}, "got both"),
        ({"frame_interval": 0}, "frame_interval: got 0"),
        ({"keep_frames": 5}, "keep_frames: got 5, expected 0 to 4"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"limit": 0}, "limit: got 0"),
        ({"most_bad": 2.0}, "most_bad: got 2.0"),
    ],
)
def test_impossible_options_are_refused(
    tmp_path: Path, videos, backbone, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        cache_videos(videos, backbone, tmp_path / "out", **{**QUIET, **options})


def test_an_unwritable_folder_is_told_by_name(tmp_path: Path, videos, backbone) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        cache_videos(videos, backbone, tmp_path / "file" / "out", **QUIET)
    assert caught.value.filename == str(tmp_path / "file" / "out")


def draw_images(folder: Path) -> tuple[np.ndarray, list[Sample | SampleError]]:
    """Write three images of noise; return their pixels and the samples."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    items: list[Sample | SampleError] = []
    for number, picture in enumerate(pixels):
        path = folder / f"{number}.png"
        Image.fromarray(picture).save(path)
        items.append(Sample(str(number), f"a cat {number}", path, path.name))
    return pixels, items


def test_images_keep_their_pixels(tmp_path: Path, backbone, list_source) -> None:
    pixels, items = draw_images(tmp_path)
    items.append(Sample("x", "a cat", b"no image", "x.png"))
    source = list_source(items)
    summary = cache_images(source, backbone, tmp_path / "out", latents=True, **QUIET)
    assert (summary.samples, summary.skipped) == (3, 1)
    batch = CachedImages(tmp_path / "out").batch([2, 1])
    expected = torch.from_numpy(pixels[[2, 1]]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(batch.pixels_b3hw, expected, atol=1e-6)
    assert batch.captions == ["a cat 2", "a cat 1"]
    assert batch.keys == ["2", "1"]
    latents = backbone.encode_video(expected[:, :, None])
    assert torch.allclose(batch.latents_bcthw, latents, atol=1e-3)
    cache_images(source, backbone, tmp_path / "plain", **QUIET)
    assert CachedImages(tmp_path / "plain").batch([0]).latents_bcthw is None


def test_images_are_kept_as_the_autoencoder_gives_them_back(
    tmp_path: Path, backbone, list_source
) -> None:
    pixels, items = draw_images(tmp_path)
    source = list_source(items)
    cache_images(source, backbone, tmp_path / "out", reconstruct=True, **QUIET)
    blocks = pixels.reshape(3, 2, 8, 3, 8, 3).mean((2, 4)).repeat(8, 1).repeat(8, 2)
    kept = CachedImages(tmp_path / "out").batch([0, 1, 2]).pixels_b3hw
    expected = torch.from_numpy(blocks).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.allclose(kept, expected, atol=0.6 / 127.5)
    with pytest.raises(UserError, match="other settings: reconstruct True, now None"):
        cache_images(source, backbone, tmp_path / "out", **QUIET)


def test_caches_of_the_other_kind_or_none_are_refused(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", limit=1, **QUIET)
    with pytest.raises(UserError, match="a cache of videos, expected one of images"):
        CachedImages(tmp_path / "out")
    with pytest.raises(UserError, match="no cache here"):
        CachedVideos(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        CachedVideos(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", limit=1, **QUIET)
    (tmp_path / "out" / "samples-00000.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"samples-00000\.safetensors: damaged"):
        CachedVideos(tmp_path / "out").batch([0])


def test_an_epoch_reads_every_sample_once(tmp_path: Path, videos, backbone) -> None:
    cache_videos(videos, backbone, tmp_path / "out", **QUIET)
    cache = CachedVideos(tmp_path / "out")
    sampler = EpochSampler(seed=5, size=len(cache), batch_size=3)
    keys = [key for step in range(3) for key in cache.batch(sampler.indices(step)).keys]
    assert sorted(keys) == sorted(cache.batch(range(9)).keys)
    with pytest.raises(IndexError):
        cache.batch([9])
