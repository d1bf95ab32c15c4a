"""The composer: determinism, domains, captions, shards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mcm.data.fluent import captions, render
from mcm.data.fluent.concepts import CONCEPTS
from mcm.data.fluent.pack import Pack
from mcm.data.fluent.scene import BACKGROUNDS, Combination, combinations, split_of
from mcm.data.fluent.shards import write_shards
from mcm.data.fluent.sheet import world_sheet
from mcm.data.fluent.world import World
from mcm.data.samples import Sample
from mcm.data.sources import open_source
from mcm.errors import UserError


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def pixels(world: World, number: int) -> np.ndarray:
    return np.stack([np.asarray(frame) for frame in world.clip(number).frames])


def test_a_number_is_always_the_same_clip(world: World) -> None:
    assert np.array_equal(pixels(world, 5), pixels(World(), 5))
    assert not np.array_equal(pixels(world, 5), pixels(World(seed=1), 5))


def test_scenes_pass_through_all_combinations(world: World) -> None:
    pool = combinations("evaluation")
    first = [world.scene(number, "evaluation").combination for number in range(len(pool))]
    second = [world.scene(len(pool) + n, "evaluation").combination for n in range(len(pool))]
    assert set(first) == set(second) == set(pool)
    assert first != second


def test_training_never_shows_an_evaluation_combination(world: World) -> None:
    assert all(split_of(world.scene(number).combination) == "train" for number in range(500))


def test_poor_video_is_blurred_stamped_and_playable(world: World) -> None:
    video, caption, facts = world.poor_video(3)
    poor = render.decode(video)
    clean = pixels(world, 3)
    assert poor.shape == clean.shape == (16, 128, 128, 3)
    assert facts["concept_name"] in caption
    detail = [np.abs(np.diff(x.astype(float), axis=2))[:, :80].mean() for x in (poor, clean)]
    assert detail[0] < 0.8 * detail[1]
    bar = [x[:, 94, 2, :].astype(float).mean() for x in (poor, clean)]
    assert bar[0] < bar[1] - 15


def test_stills_are_clean_and_never_stamped(world: World) -> None:
    for domain in ("image", "flat"):
        still = world.still(11, domain)
        frame = np.asarray(still.image).astype(float)
        assert frame.shape == (128, 128, 3)
        assert still.noun in still.caption
        assert np.abs(np.diff(frame[:, 1].mean(1))).max() < 6


def test_flat_and_clean_stills_share_nouns(world: World) -> None:
    names = {concept.name for concept in CONCEPTS}
    assert {world.still(number, "flat").noun for number in range(50)} <= names
    assert set(world.pack.index.flat.values()) == names
    assert names <= set(world.pack.index.stills.values())


def test_captions_say_everything_in_varied_words() -> None:
    rng = np.random.default_rng(0)
    combination = Combination(CONCEPTS.index(CONCEPTS[-1]), "spin", "pink")
    wordings = {captions.video_caption(combination, rng) for _ in range(100)}
    assert len(wordings) > 10
    assert all(CONCEPTS[-1].name in wording and "pink" in wording for wording in wordings)
    assert captions.prompt(Combination(0, "left", "blue")) == (
        "a rat moving left on a blue background"
    )


def test_prompts_are_unique() -> None:
    prompts = [captions.prompt(combination) for combination in combinations("train")]
    assert len(set(prompts)) == len(prompts)


def test_shards_are_read_back_by_the_common_reader(tmp_path: Path) -> None:
    write_shards(tmp_path, "video", 3)
    write_shards(tmp_path, "image", 2)
    samples = [sample for sample in open_source(tmp_path) if isinstance(sample, Sample)]
    assert [sample.suffix for sample in samples] == ["webp", "webp", "mp4", "mp4", "mp4"]
    assert samples[-1].metadata["background"] in BACKGROUNDS
    digest = hashlib.sha256(next(tmp_path.glob("video*")).read_bytes()).hexdigest()
    write_shards(tmp_path / "again", "video", 3)
    again = next((tmp_path / "again").glob("video*")).read_bytes()
    assert hashlib.sha256(again).hexdigest() == digest


def test_contact_sheet_shows_every_domain(world: World) -> None:
    rows, columns = 5, 16
    shape = (rows * 132 - 4, columns * 132 - 4, 3)
    assert world_sheet(1, world=world).shape == shape


def test_missing_pack_names_file_and_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mcm data fluent pack"):
        Pack(tmp_path / "none.zip")
