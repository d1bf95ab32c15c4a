"""The corpus holds the clips of the world and where their objects are."""

from pathlib import Path

import torch

from mcm.data.fluent.scene import FRAMES, MOTIONS
from mcm.data.fluent.world import World, scene_metadata, scene_of
from mcm.teacher.autoencoder import LATENT_CHANNELS, make_autoencoder
from mcm.teacher.corpus import encode_corpus, load_corpus


def test_scenes_survive_their_metadata() -> None:
    for number in range(20):
        scene = World().scene(number)
        assert scene_of({**scene_metadata(scene), "split": "train"}) == scene


def test_parts_make_the_corpus_that_one_process_makes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = make_autoencoder().eval()
    vae.register_to_config(scaling_factor=2.0)
    encode_corpus(vae, tmp_path, 3)
    corpus = load_corpus(tmp_path)
    assert corpus.latents_ncthw.shape == (3, LATENT_CHANNELS, FRAMES, 8, 8)
    for number in range(3):
        scene = World().scene(number)
        assert MOTIONS[corpus.motion_n[number]] == scene.combination.motion
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    encode_corpus(vae, tmp_path, 3, part=0, parts=2)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
