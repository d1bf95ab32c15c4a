import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    DDIMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from tests.backbones.tiny import FRAMES, PROMPTS, WIDTH
from torch import Tensor

from mcm.backbones.adapters import save_adapter
from mcm.backbones.animatediff import AnimateDiff
from mcm.backbones.loading import load_backbone
from mcm.diffusion import NoiseLevel, Prediction, convert, ddim_step, guide
from mcm.doctor.ledger import Ledger


@torch.no_grad()
def stock_prediction(folder: Path, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
    network = UNetMotionModel.from_pretrained(folder / "unet")
    return network(x, t, tokens.repeat_interleave(x.shape[2], 0)).sample


@torch.no_grad()
def test_predicts_as_the_stock_network(
    backbone: AnimateDiff, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    condition = backbone.encode_prompt(PROMPTS)
    stock = stock_prediction(tiny_teacher, latents, timesteps, condition.tokens_bld)
    ours = backbone.predict(latents, timesteps, condition, "v")
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-5)
    level = backbone.schedule.alpha_sigma(timesteps)
    wanted: Prediction
    for wanted in ("x0", "epsilon"):
        expected = convert(stock, latents, *level, "v", wanted)
        ours = backbone.predict(latents, timesteps, condition, wanted)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("teacher", ["tiny_teacher", "tiny_teacher_kl"])
def test_guided_ddim_is_the_stock_pipeline(
    teacher: str, request: pytest.FixtureRequest, latents: Tensor
) -> None:
    folder: Path = request.getfixturevalue(teacher)
    backbone, scale, steps = load_backbone(folder, "cpu", "float32"), 3.0, 4
    pipeline = AnimateDiffPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        PROMPTS[0],
        num_frames=FRAMES,
        num_inference_steps=steps,
        guidance_scale=scale,
        latents=latents[:1],
        output_type="pt",
    ).frames
    both = backbone.encode_prompt([PROMPTS[0], ""])
    x, w = latents[:1], torch.tensor([scale - 1])
    grid = backbone.schedule.spaced_timesteps(steps)
    for index in reversed(range(steps)):
        t = grid[index].expand(2)
        x0, epsilon = (
            guide(*backbone.predict(torch.cat([x, x]), t, both, want).split(1), w)
            for want in ("x0", "epsilon")
        )
        clean = NoiseLevel(torch.ones(1), torch.zeros(1))
        before = backbone.schedule.alpha_sigma(grid[index - 1][None]) if index else clean
        x = ddim_step(x0, epsilon, before)
    ours = (backbone.decode_frames(x) / 2 + 0.5).clamp(0, 1)
    assert ours.std() > 0.05
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_own_pipeline_shares_weights(backbone: AnimateDiff, latents: Tensor) -> None:
    pipeline = backbone.to_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet is backbone.network
    call = {"num_frames": FRAMES, "num_inference_steps": 1, "guidance_scale": 1.0}
    result = pipeline(PROMPTS[0], latents=latents[:1], output_type="latent", **call).frames
    condition = backbone.encode_prompt(PROMPTS[:1])
    expected = backbone.predict(latents[:1], torch.tensor([999]), condition, "x0")
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


def test_text_states_are_those_of_the_stock_pipeline(
    backbone: AnimateDiff, tiny_teacher: Path
) -> None:
    pipeline = AnimateDiffPipeline.from_pretrained(tiny_teacher)
    expected, empty = pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    torch.testing.assert_close(backbone.encode_prompt(PROMPTS).tokens_bld, expected)
    torch.testing.assert_close(backbone.encode_prompt(["", ""]).tokens_bld, empty)
    assert backbone.encode_prompt(PROMPTS).pooled_bd.shape == (2, expected.shape[-1])


def test_motion_modules_are_recomputed(
    backbone: AnimateDiff, latents: Tensor, timesteps: Tensor
) -> None:
    backbone.enable_gradient_checkpointing()
    backbone.add_adapter("student", rank=2, alpha=2.0)
    modules = {
        name: module
        for name, module in backbone.network.named_modules()
        if name.endswith("motion_modules.0.transformer_blocks.0")
    }
    runs = dict.fromkeys(modules, 0)
    for name, module in modules.items():
        module.register_forward_hook(
            lambda *_, name=name: runs.__setitem__(name, runs[name] + 1)  # type: ignore[misc]
        )
    with backbone.using("student"):
        output = backbone.predict(latents, timesteps, backbone.encode_prompt(PROMPTS))
    assert set(runs.values()) == {1}
    output.sum().backward()
    assert {name: runs[name] for name in runs} == dict.fromkeys(modules, 2)
    assert len(modules) == 5


def test_adapters_on_a_half_base_copy_nothing(
    tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    """Casting inputs to float32 first gives the same numbers and takes more memory."""
    backbone = load_backbone(tiny_teacher, "cpu", "bfloat16")
    backbone.add_adapter("student", rank=2, alpha=2.0)
    condition = backbone.encode_prompt(PROMPTS)
    results, peaks = [], []
    for cast in (False, True):
        backbone.variants.cast_inputs(cast)
        with Ledger() as ledger, backbone.using("student"):
            output = backbone.predict(latents, timesteps, condition)
            output.square().sum().backward()
        peaks.append(ledger.peak)
        results.append([output.detach()])
        for parameter in backbone.adapter_parameters("student").values():
            results[-1].append(parameter.grad)
            parameter.grad = None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))
    assert peaks[0] < 0.9 * peaks[1]


def test_says_what_of_a_prompt_is_cut(backbone: AnimateDiff) -> None:
    assert backbone.cut_prompt("a star going up") == ""
    long = "a fox moving left " * 5
    cut = backbone.cut_prompt(long)
    assert cut
    assert long.strip().endswith(cut)
    kept = long.strip().removesuffix(cut)
    same = backbone.encode_prompt([long, kept]).tokens_bld
    torch.testing.assert_close(same[0], same[1])


def test_encoders_can_be_freed(backbone: AnimateDiff, latents: Tensor) -> None:
    before = backbone.fingerprint()
    frames = backbone.decode_frames(latents)
    backbone.free_encoders()
    assert backbone.fingerprint() == before
    torch.testing.assert_close(backbone.decode_frames(latents), frames)
    with pytest.raises(AssertionError, match="freed"):
        backbone.encode_prompt(["a star"])
    with pytest.raises(AssertionError, match="freed"):
        backbone.encode_video(torch.zeros(1, 3, 1, 32, 32))


def test_fingerprint_tells_encoders_apart(
    backbone: AnimateDiff, tiny_teacher: Path, tiny_teacher_kl: Path
) -> None:
    again = load_backbone(tiny_teacher, "cpu", "bfloat16").fingerprint()
    other = load_backbone(tiny_teacher_kl, "cpu", "float32").fingerprint()
    assert backbone.fingerprint() == again
    assert backbone.fingerprint()["autoencoder"] != other["autoencoder"]


def test_bfloat16_stays_close(
    backbone: AnimateDiff, tiny_teacher: Path, latents: Tensor, timesteps: Tensor
) -> None:
    half = load_backbone(tiny_teacher, "cpu", "bfloat16")
    half.add_adapter("student", 2, 2.0)
    condition = backbone.encode_prompt(PROMPTS)
    with half.using("student"):
        output = half.predict(latents, timesteps, condition, "v")
    exact = backbone.predict(latents, timesteps, condition, "v")
    assert output.dtype == torch.float32
    assert (output - exact).square().mean() < 1e-3 * exact.square().mean()
    output.sum().backward()
    grads = {
        p.grad.dtype for p in half.adapter_parameters("student").values() if p.grad is not None
    }
    assert grads == {torch.float32}


@pytest.fixture
def stable_diffusion(tiny_teacher_kl: Path, tmp_path: Path) -> Path:
    """A folder of an image model as Stable Diffusion 1.5 has it: scaled-linear betas."""
    folder = Path(shutil.copytree(tiny_teacher_kl, tmp_path / "sd"))
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    ).save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def motion_modules(folder: Path, middle: bool) -> Path:
    """Write motion modules as v1-5-2 (with a middle block) or v1-5-3 (without) has them."""
    motion = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
        use_motion_mid_block=middle,
        motion_max_seq_length=16,
    )
    for parameter in motion.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    motion.save_pretrained(folder)
    return folder


@torch.no_grad()
@pytest.mark.parametrize("middle", [True, False])
def test_stable_diffusion_with_motion_modules_is_the_stock_pipeline(
    stable_diffusion: Path, tmp_path: Path, latents: Tensor, timesteps: Tensor, middle: bool
) -> None:
    motion = motion_modules(tmp_path / "motion", middle)
    backbone = load_backbone(stable_diffusion, "cpu", "float32", motion_adapter=motion)
    scheduler = DDIMScheduler.from_pretrained(
        stable_diffusion / "scheduler",
        beta_schedule="linear",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="linspace",
    )
    stock = AnimateDiffPipeline.from_pretrained(
        stable_diffusion, motion_adapter=MotionAdapter.from_pretrained(motion), scheduler=scheduler
    )
    states = backbone.encode_prompt(PROMPTS)
    per_frame = states.tokens_bld.repeat_interleave(FRAMES, 0)
    expected = stock.unet(latents, timesteps, per_frame).sample
    ours = backbone.predict(latents, timesteps, states, "epsilon")
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    alpha, _ = backbone.schedule.alpha_sigma(torch.arange(1000))
    torch.testing.assert_close(alpha**2, scheduler.alphas_cumprod)
    names = ("beta_schedule", "beta_start", "clip_sample", "steps_offset", "timestep_spacing")
    again = backbone.to_pipeline().scheduler
    assert isinstance(again, DDIMScheduler)
    assert all(again.config[name] == scheduler.config[name] for name in names)
    with_middle = hasattr(backbone.network.mid_block, "motion_modules")
    assert with_middle == middle


@pytest.mark.parametrize("middle", [True, False])
def test_adapters_over_motion_modules_load_in_the_stock_pipeline(
    stable_diffusion: Path, tmp_path: Path, middle: bool
) -> None:
    motion = motion_modules(tmp_path / "motion", middle)
    backbone = load_backbone(stable_diffusion, "cpu", "float32", motion_adapter=motion)
    backbone.add_adapter("student", 2, 2.0)
    save_adapter(backbone, "student", tmp_path / "student")
    stock = AnimateDiffPipeline.from_pretrained(
        stable_diffusion, motion_adapter=MotionAdapter.from_pretrained(motion)
    )
    stock.load_lora_weights(tmp_path / "student")
    assert stock.get_list_adapters()["unet"]
