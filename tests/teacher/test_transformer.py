"""The transformer teacher: its noise, its supervision, a short run and its folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, WanPipeline
from tests.backbones.tiny import make_autoencoder, make_text_encoder, make_tokenizer
from typer.testing import CliRunner

from mcm.backbones.loading import load_backbone
from mcm.cli.teacher import app
from mcm.data.fluent.scene import MOTIONS
from mcm.diffusion import FlowSchedule
from mcm.sampling.loading import load
from mcm.sampling.pipeline import VideoModel
from mcm.teacher import transformer as room
from mcm.teacher.corpus import ClipCorpus, generator_of
from mcm.teacher.loop import LoopConfig, averaged
from mcm.teacher.transformer import (
    SCHEDULER,
    SupervisedTransformer,
    add_flow_noise,
    make_transformer,
    train_transformer,
)

WIDTH = 32
"""Of the text states of the tiny encoder."""


make_tiny = partial(make_transformer, heads=1, layers=3)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "WIDTH", WIDTH)
    monkeypatch.setattr(room, "make_transformer", make_tiny)


def corpus(clips: int = 6, channels: int = 4, frames: int = 4) -> ClipCorpus:
    generator = generator_of(3)
    return ClipCorpus(
        torch.randn(clips, channels, frames, 8, 8, generator=generator).half(),
        ["a fox moving left on a blue background", "a star going up"] * (clips // 2),
        torch.arange(clips),
        torch.arange(clips) % len(MOTIONS),
        torch.rand(clips, frames, 5, generator=generator) * 60 + 30,
    )


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of a tiny autoencoder and of a text encoder in the teacher's number formats."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "text" / "tokenizer")
    make_text_encoder(tokenizer).save_pretrained(tmp_path / "text" / "text_encoder")
    make_autoencoder("dc").half().save_pretrained(tmp_path / "vae")
    return tmp_path / "vae", tmp_path / "text"


def test_noise_lies_on_straight_lines_and_more_of_it_is_drawn() -> None:
    schedule, x0 = FlowSchedule.from_scheduler_config(SCHEDULER), torch.randn(2000, 1, 1, 1, 1)
    noised = add_flow_noise(schedule, x0, (0, 1))
    t = noised.t_b.view(-1, 1, 1, 1, 1) / 1000
    torch.testing.assert_close(noised.x_t - t * noised.velocity, x0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        noised.x_t + (1 - t) * noised.velocity, x0 + noised.velocity, atol=1e-5, rtol=1e-5
    )
    assert t.min() >= 0 and t.max() <= 1
    assert t.median() == pytest.approx(room.SHIFT / (1 + room.SHIFT), abs=0.03)


def test_tokens_are_asked_in_the_order_of_their_places() -> None:
    """Heads that read a token's own coordinates off its state lose nothing."""
    network = SupervisedTransformer(make_tiny(4), (2, 3), blocks=(0, 2))
    assert len(network.maps) == len(network.own) == 2
    sizes = (5, 2, 3)
    places = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    states = torch.zeros(2, 30, 64)
    for axis, first in zip(places, (0, network.axes[0], network.axes[0] + 2), strict=True):
        states[:, torch.arange(30), first + axis.flatten()] = 50.0
    for number, head in enumerate(network.own):
        head.weight.data.copy_(10 * torch.eye(sum(network.axes), 64))
        head.bias.data.zero_()
        network._see(number, head, (), states)
    assert network._seen[1].shape == (10, 64, 2, 3)
    assert network.own_places_loss(5).item() < 1e-3
    network._see(0, head, (), states.flip(1))
    assert network.own_places_loss(5).item() > 5


def test_a_transformer_begins_at_rest_and_learns_by_all_its_parts() -> None:
    network = SupervisedTransformer(make_tiny(4), (4, 4))
    x, t, text = torch.randn(2, 4, 3, 8, 8), torch.tensor([900.0, 100.0]), torch.randn(2, 5, WIDTH)
    sample, maps, words = network(x, t, text)
    assert not sample.any()
    assert [m.shape for m in maps] == [(6, 3, 4, 4)]
    assert [w.shape for w in words] == [(2, len(MOTIONS) + 1)]
    loss = (sample - x).square().mean() + network.own_places_loss(3)
    (loss + sum(m.square().mean() for m in maps) + sum(w.square().mean() for w in words)).backward()
    missed = {n for n, p in network.named_parameters() if p.grad is None}
    assert missed == set()


@pytest.mark.parametrize("stills", [False, True])
def test_a_run_is_resumed_and_saved(parts: tuple[Path, Path], tmp_path: Path, stills: bool) -> None:
    for steps in (1, 3):
        config = LoopConfig(steps=steps, warmup=1, log_every=1)
        train_transformer(corpus(), parts[1], tmp_path / "run", config, stills, batch_frames=8)
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert rows[0] == "step,seconds,velocity,place,word,own"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3"]
    saved = room.WanTransformer3DModel.from_pretrained(tmp_path / "run" / "transformer")
    again = SupervisedTransformer(make_tiny(4), (4, 4))
    assert averaged(again, tmp_path / "run") == 3
    for name, value in again.network.state_dict().items():
        assert torch.equal(saved.state_dict()[name], value), name


def test_the_folder_is_a_teacher_here_and_in_stock_diffusers(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    vae, text = parts
    network = make_tiny(4)
    torch.nn.init.normal_(network.proj_out.weight, std=0.1)
    network.save_pretrained(tmp_path / "transformer")
    folder = tmp_path / "teacher"
    call = ["assemble", "--vae", vae, "--text", text, "-o", folder, "--link"]
    done = CliRunner().invoke(app, [str(w) for w in [*call, "--transformer", network_at(tmp_path)]])
    assert done.exit_code == 0, done.output
    linked = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink()}
    assert {
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
    } <= linked
    assert not any(path.startswith(("transformer", "vae/config")) for path in linked)
    stock, backbone = WanPipeline.from_pretrained(folder), load_backbone(folder, "cpu", "float32")
    assert (backbone.spec.family, backbone.spec.frames, backbone.spec.max_tokens) == ("wan", 16, 12)
    condition = backbone.encode_prompt(["a star"])
    expected, _ = stock.encode_prompt("a star", max_sequence_length=12)
    torch.testing.assert_close(condition.tokens_bld, expected)
    model: VideoModel = load(folder, "cpu", "float32")
    clip = model.generate("a star", 2, frames=4, size=(32, 32))
    assert clip.frames.shape == (4, 32, 32, 3) and clip.settings["sampler"] == "euler"
    latents = torch.randn(1, 4, 2, 8, 8)
    frames = stock.vae.decode(latents[0].transpose(0, 1) / stock.vae.config.scaling_factor).sample
    torch.testing.assert_close(backbone.decode_frames(latents)[0], frames, atol=1e-4, rtol=1e-4)
    assert isinstance(stock.vae, AutoencoderDC)
    assert np.isfinite(clip.seconds)


def network_at(folder: Path) -> Path:
    return folder / "transformer"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "one of the two"),
        (["--unet", "a", "--transformer", "b"], "one of the two"),
        (["--unet", "a", "--distil-guidance", "3", "2"], "--distil-guidance: is 3 2"),
        (["--unet", "a", "--distil-guidance", "0.5", "2"], "--distil-guidance: is 0.5 2"),
    ],
)
def test_what_cannot_be_put_together(more: list[str], said: str, tmp_path: Path) -> None:
    call = ["assemble", "--vae", "v", "--text", "t", "-o", str(tmp_path / "out"), *more]
    done = CliRunner().invoke(app, call)
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
