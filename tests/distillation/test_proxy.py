from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.backbones.tiny import make_tiny_animatediff
from tests.distillation.test_run import Listed
from tests.evaluation.random_judges import save_features

from mcm.backbones.loading import load_backbone
from mcm.data.cache import cache_images
from mcm.data.fluent.render import decode
from mcm.data.fluent.scene import split_of
from mcm.data.fluent.world import Domain, World
from mcm.data.samples import Sample
from mcm.distillation.callbacks import Report
from mcm.distillation.proxy import _FIRST, Clip, Proxy, Yardstick, images_of
from mcm.errors import UserError
from mcm.evaluation.networks import Judges


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Judges:
    return Judges(save_features(tmp_path_factory.mktemp("judges")))


class Lines:
    """A log in a list."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def scalars(self, step: int, values) -> None:
        self.rows.append((step, dict(values)))


def real(number: int) -> Clip:
    return decode(World().poor_video(_FIRST + number)[0])


def report(step: int, last: bool = False) -> Report:
    return Report(step, 100, {}, 0, last)


def test_it_never_asks_for_what_the_evaluation_asks(judges: Judges) -> None:
    yardstick = Yardstick.of(20, (), 2, judges)
    assert {split_of(named) for named in yardstick.combinations} == {"train"}
    assert len(yardstick.prompts) == 20


def test_real_clips_measure_better_than_frozen_and_dark_ones(judges: Judges) -> None:
    yardstick = Yardstick.of(4, (), 6, judges)

    def spoilt(number: int) -> Clip:
        return np.repeat(real(number)[:1] // 3, 16, axis=0)

    good, bad = yardstick.measure(real), yardstick.measure(spoilt)
    assert good["motion"] == 1 > bad["motion"]
    assert good["fid"] < bad["fid"]
    assert good["fvd"] < bad["fvd"]
    assert good["shift"] == pytest.approx(0)
    assert bad["shift"] > 0.01
    assert good["score"] < bad["score"]


def stills(domain: Domain) -> Iterator[Clip]:
    for number in range(12):
        yield np.asarray(World().still(number, domain).image)[None]


def test_frames_are_held_against_the_images_of_the_recipe(judges: Judges) -> None:
    """Flat clips win where the images are flat drawings, and only there."""
    flat = list(stills("flat"))
    yardsticks = (Yardstick.of(4, stills(domain), 2, judges) for domain in ("flat", "image"))
    to_flat, to_image = (
        yardstick.measure(lambda n: np.repeat(flat[n], 16, axis=0))["fid"]
        for yardstick in yardsticks
    )
    assert to_flat < to_image


def test_images_come_from_the_cache(tmp_path: Path) -> None:
    teacher = load_backbone(make_tiny_animatediff(tmp_path / "teacher"), "cpu", "float32")
    samples = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (32, 32), (80 * number, 10, 20)).save(path)
        samples.append(Sample(str(number), "a star", path, path.name))
    cache_images(Listed(samples), teacher, tmp_path / "images", progress=False)
    found = list(images_of(str(tmp_path / "images"), 2))
    assert [frames.shape for frames in found] == [(1, 32, 32, 3)] * 2
    assert found[1][0, 5, 5].tolist() == [80, 10, 20]


def test_a_missing_network_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcm.evaluation.networks.PACKAGE", tmp_path)
    with pytest.raises(UserError, match="mcm judges clips"):
        Yardstick.of(10**6, (), 10**6)


def proxy(folder: Path, scores: Iterator[float], log: Lines | None = None, **more) -> Proxy:
    """A proxy of given scores, whose students are files."""

    def write(place: Path) -> None:
        (place / "weights").write_text("w")

    return Proxy(
        lambda: {"score": next(scores)}, write, folder / "best", log or Lines(), every=10, **more
    )


def kept(folder: Path) -> int:
    return int(json.loads((folder / "best" / "proxy.json").read_text())["step"])


def test_the_best_student_is_kept_and_a_resumed_run_remembers_it(tmp_path: Path) -> None:
    scores, log = iter([3.0, 1.0, 2.0]), Lines()
    watcher = proxy(tmp_path, scores, log)
    for step in range(1, 21):
        watcher.after_step(report(step))
    facts = json.loads((tmp_path / "best" / "proxy.json").read_text())
    assert facts == {"step": 20, "score": 1.0, "yardstick": ""}
    proxy(tmp_path, scores, log, done=20).after_step(report(25, last=True))
    assert kept(tmp_path) == 20
    assert [step for step, _ in log.rows] == [10, 20, 25]
    assert log.rows[0][1] == {"proxy/score": 3.0}
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("change", [{"done": 10}, {"done": 20, "yardstick": "other images"}])
def test_a_best_of_later_steps_or_another_measure_is_set_aside(
    tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    proxy(tmp_path, iter([1.0])).after_step(report(20))
    proxy(tmp_path, iter([5.0]), **change).after_step(report(30))
    assert kept(tmp_path) == 30
    assert (tmp_path / "set-aside-best" / "weights").is_file()
    assert "set-aside-best" in capsys.readouterr().err


def test_a_student_that_cannot_be_written_leaves_the_best_before(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError("no space")

    watcher = proxy(tmp_path, iter([2.0, 1.0]))
    watcher.after_step(report(10))
    watcher.write = full
    with pytest.raises(OSError, match="no space"):
        watcher.after_step(report(20))
    assert kept(tmp_path) == 10
    assert (tmp_path / "best" / "weights").is_file()


def test_one_image_is_told_before_the_run(judges: Judges) -> None:
    with pytest.raises(UserError, match=r"data\.images holds one image"):
        Yardstick.of(2, itertools.islice(stills("flat"), 1), 2, judges)


def test_the_digest_is_that_of_what_decides_a_score(judges: Judges) -> None:
    def digest(count: int, number: int) -> str:
        return Yardstick.of(count, itertools.islice(stills("flat"), number), 4, judges).digest

    assert digest(2, 3) == digest(2, 3)
    assert len({digest(2, 3), digest(3, 3), digest(2, 4), digest(2, 0)}) == 4
