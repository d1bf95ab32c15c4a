from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from PIL import Image
from tests.evaluation.small import Painter
from tests.evaluation.standins import save_clip, save_scripts

from mcm.errors import UserError
from mcm.evaluation.arrays import pack
from mcm.evaluation.clips import EvaluationClip
from mcm.evaluation.embedded import Request
from mcm.evaluation.gallery import Gallery
from mcm.evaluation.list_protocol import ListProtocol
from mcm.evaluation.protocol import Protocol
from mcm.evaluation.suite import Part, Suite
from mcm.sampling.options import ModelWarning


class Grey(Painter):
    """Generates clips of one grey level."""

    def __init__(self, level: int) -> None:
        super().__init__(f"grey-{level}", level=level)

    def make(self, request: Request, steps: int, protocol: Protocol) -> EvaluationClip:
        assert protocol.size is not None and protocol.frames is not None
        noise = np.random.default_rng(request.seed).integers(-9, 9, (protocol.frames, 1, 1, 3))
        pixels = np.broadcast_to(self.level + noise, (protocol.frames, *protocol.size, 3))
        return EvaluationClip(request.key, pixels.astype(np.uint8), request.prompt, seconds=1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A world of grey videos and white images, with prompts and every network."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "images").mkdir()
    rows, stills = ["file,caption"], ["file,caption"]
    for number in range(3):
        with av.open(str(tmp_path / "videos" / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for _ in range(6):
                pixels = np.full((48, 64, 3), 120 + 5 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        Image.new("RGB", (40, 40), (250 - number,) * 3).save(tmp_path / "images" / f"{number}.png")
        rows.append(f"{number}.mp4,a video {number}")
        stills.append(f"{number}.png,an image {number}")
    (tmp_path / "videos" / "captions.csv").write_text("\n".join(rows))
    (tmp_path / "images" / "captions.csv").write_text("\n".join(stills))
    (tmp_path / "prompts.txt").write_text("a fox\na star\na cat\n")
    return tmp_path


def write(folder: Path, **fields: Any) -> Path:
    values: dict[str, Any] = {
        "name": "greys",
        "prompts": str(folder / "prompts.txt"),
        "frames": 4,
        "size": [32, 32],
        **fields,
    }
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_real_protocol_from_file_to_table(folder: Path) -> None:
    i3d, inception = save_scripts(folder)
    path = write(
        folder,
        videos=str(folder / "videos"),
        images=str(folder / "images"),
        video_extractor={"kind": "i3d", "weights": str(i3d)},
        inception=str(inception),
        clip=str(save_clip(folder / "clip")),
    )
    some: Any = (Grey(125), Grey(245))
    suite = Suite(folder / "out", ListProtocol.load(path), some)
    suite.run(Part(), lambda _: lambda done, of: None, Gallery(folder / "out", ("00001",)))
    assert suite.complete()
    near, bright, videos, images = (row.results for row in suite.table())
    assert near["fvd"].value < bright["fvd"].value
    assert near["fid_video"].value < bright["fid_video"].value
    assert near["fid_image"].value > bright["fid_image"].value
    assert near["clipsim"].count == 3
    assert near["flow_agreement"].count == 0
    assert near["diversity"].count == 0  # needs eleven clips
    assert videos["fvd"].count == videos["flow_agreement"].count == images["clipsim"].count - 3 == 0
    assert videos["clipsim"].count == 3
    assert videos["fid_image"].value > 0
    assert (folder / "out" / "clips" / "00001" / "grey-125-04.webp").is_file()


def test_without_networks_only_what_needs_none_is_measured(folder: Path) -> None:
    protocol = ListProtocol.load(write(folder))
    names = {metric.name for metric in protocol.metrics()}
    flow = {"warping_error", "flow_agreement", "flow_error"}
    assert names == flow | {"near_black", "refused", "sharpness", "seconds"}
    assert [request.prompt for request in protocol.requests()] == ["a fox", "a star", "a cat"]
    assert len(protocol.requests(2)) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "x"}, "prompt: unknown key; the nearest valid key is prompts"),
        ({"inception": "x"}, "videos: missing"),
        ({"video_extractor": {"kind": "i3d", "weights": "x"}, "images": "x"}, "videos: missing"),
        ({"frames": 0}, "frames: got 0"),
    ],
)
def test_mistakes_in_the_file_are_named(folder: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ListProtocol.load(write(folder, **fields))


def test_too_few_real_videos_are_refused(folder: Path) -> None:
    (folder / "videos" / "captions.csv").write_text("file,caption\n0.mp4,one\n")
    i3d, _ = save_scripts(folder)
    extractor = {"kind": "i3d", "weights": str(i3d)}
    path = write(folder, videos=str(folder / "videos"), video_extractor=extractor)
    with pytest.raises(UserError, match="holds 1 usable samples"):
        ListProtocol.load(path).references()


def test_diversity_is_that_of_clips_against_real_ones(folder: Path) -> None:
    i3d, _ = save_scripts(folder)
    extractor = {"kind": "i3d", "weights": str(i3d)}
    path = write(folder, videos=str(folder / "videos"), video_extractor=extractor)
    (metric,) = [m for m in ListProtocol.load(path).metrics() if m.name == "diversity"]
    assert (metric.observer, metric.reference) == ("video_features", "real-videos")
    rng = np.random.default_rng(0)

    def run(spread: float) -> dict[str, Any]:
        rows = rng.normal(size=(20, 1, 6)) * spread
        return {f"{n:03}": {"features": pack(row)} for n, row in enumerate(rows)}

    assert metric.compute(run(0.5), run(1.0)).value == pytest.approx(0.5, abs=0.15)


def test_facts_change_with_prompts_and_networks_but_not_with_places(folder: Path) -> None:
    first, second = (save_scripts(make(folder / name)) for name in ("a", "b"))
    extractor = {"kind": "i3d", "weights": str(first[0])}
    videos = {"videos": str(folder / "videos")}
    before = ListProtocol.load(write(folder, video_extractor=extractor, **videos)).facts()
    extractor["weights"] = str(shutil.copy(first[0], folder / "c" / "i3d.pt"))
    moved = ListProtocol.load(write(folder, video_extractor=extractor, **videos)).facts()
    assert moved == before
    Path(extractor["weights"]).write_bytes(second[1].read_bytes())
    changed = ListProtocol.load(write(folder, video_extractor=extractor, **videos)).facts()
    assert changed["judges"] != before["judges"]
    (folder / "prompts.txt").write_text("a dog\na star\n")
    assert ListProtocol.load(write(folder, **videos)).facts()["prompts"] != before["prompts"]


def test_other_videos_under_the_same_names_are_others(folder: Path) -> None:
    path = write(folder, videos=str(folder / "videos"))
    before = ListProtocol.load(path).facts()
    shutil.copy(folder / "videos" / "0.mp4", folder / "videos" / "1.mp4")
    assert ListProtocol.load(path).facts()["videos"] != before["videos"]


def make(folder: Path) -> Path:
    folder.mkdir()
    (folder.parent / "c").mkdir(exist_ok=True)
    return folder


def test_a_damaged_video_is_told_before_any_clip_is_made(folder: Path) -> None:
    (folder / "videos" / "1.mp4").write_bytes(b"no video")
    suite = Suite(
        folder / "out", ListProtocol.load(write(folder, videos=str(folder / "videos"))), (Grey(9),)
    )
    with pytest.raises(UserError, match=r"1\.mp4"):
        suite.run(Part(), lambda _: lambda done, of: None, Gallery(folder / "out", ()))
    assert not list((folder / "out" / "runs").glob("grey*"))


def test_a_video_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "videos" / "1.mp4").unlink()
    protocol = ListProtocol.load(write(folder, videos=str(folder / "videos")))
    with pytest.warns(ModelWarning, match=r"1 of 3 samples are left out, the first is .*1\.mp4"):
        assert protocol.references()["real-videos"].count == 2
