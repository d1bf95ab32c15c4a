from __future__ import annotations

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


def test_the_best_student_is_kept_and_a_resumed_run_remembers_it(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0])
    kept: list[int] = []
    log = Lines()

    def proxy() -> Proxy:
        return Proxy(lambda: {"score": next(scores)}, kept.append, tmp_path, log, every=10)

    watcher = proxy()
    for step in range(1, 21):
        watcher.after_step(report(step))
    assert kept == [10, 20]
    assert json.loads((tmp_path / "proxy.json").read_text()) == {"step": 20, "score": 1.0}
    proxy().after_step(report(25, last=True))
    assert kept == [10, 20]
    assert [step for step, _ in log.rows] == [10, 20, 25]
    assert log.rows[0][1] == {"proxy/score": 3.0}
