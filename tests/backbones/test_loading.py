import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.backbones.family import folder_of
from tests.backbones.tiny import FRAMES, MAX_TOKENS, PROMPTS, SIZE, WIDTH

from mcm.backbones.loading import load_backbone
from mcm.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_teacher: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_teacher, tmp_path / "copy"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_spec_comes_from_the_folder(tiny_teacher: Path) -> None:
    spec = load_backbone(tiny_teacher, "cpu", "float32").spec
    assert (spec.family, spec.prediction) == ("animatediff", "v")
    assert (spec.latent_channels, spec.spatial_factor, spec.temporal_factor) == (4, 4, 1)
    assert (spec.frames, spec.height, spec.width, spec.fps) == (FRAMES, SIZE, SIZE, 8)
    assert (spec.guidance, spec.guidance_range) == (3.0, (1.0, 3.0))
    assert spec.max_tokens == MAX_TOKENS


def test_spec_of_a_folder_that_says_nothing(tiny_teacher_kl: Path) -> None:
    spec = load_backbone(tiny_teacher_kl, "cpu", "float32").spec
    assert (spec.prediction, spec.frames, spec.fps) == ("epsilon", 16, 8)
    assert (spec.guidance, spec.guidance_range) == (7.5, (7.0, 8.0))


def test_schedule_comes_from_the_scheduler(tiny_teacher: Path, tiny_teacher_kl: Path) -> None:
    last = torch.tensor(999)
    with_zero, without = (
        load_backbone(path, "cpu", "float32").schedule.alpha_sigma(last).alpha
        for path in (tiny_teacher, tiny_teacher_kl)
    )
    assert with_zero == 0
    assert without > 0


def test_number_format_is_the_asked_one(tiny_teacher: Path) -> None:
    backbone = load_backbone(tiny_teacher, "cpu", "bfloat16")
    parts = (backbone.network, backbone.codec.autoencoder, backbone.text.encoder)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.bfloat16}


def test_image_model_and_motion_adapter_make_a_teacher(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "unet")
    image = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    image.save_pretrained(folder / "unet")
    index = folder / "model_index.json"
    unet = ["diffusers", "UNet2DConditionModel"]
    edit(index, _class_name="StableDiffusionPipeline", unet=unet)
    with pytest.raises(UserError, match="no motion modules"):
        load_backbone(folder, "cpu", "float32")
    motion = MotionAdapter(
        block_out_channels=(16, 32),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=8,
    )
    motion.save_pretrained(tmp_path / "motion")
    called = load_backbone(folder, "cpu", "float32", motion_adapter=tmp_path / "motion")
    edit(folder / "mcm.json", motion_adapter="../motion")
    named = load_backbone(folder, "cpu", "float32")
    x, t = torch.randn(1, 4, FRAMES, 8, 8), torch.tensor([500])
    condition = called.encode_prompt(PROMPTS[:1])
    assert torch.equal(called.predict(x, t, condition), named.predict(x, t, condition))
    theirs = motion.state_dict()["mid_block.motion_modules.0.proj_in.weight"]
    assert torch.equal(
        named.network.state_dict()["mid_block.motion_modules.0.proj_in.weight"], theirs
    )


def test_unknown_sources() -> None:
    with pytest.raises(UserError, match=r"fluant: no such model.*did you mean fluent"):
        load_backbone("fluant")


def test_missing_embedded_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mcm.backbones.loading._WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=r"fluent: the weights .* not in this installation"):
        load_backbone("fluent")


def drop(path: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / path)


def truncate(folder: Path) -> None:
    file = folder / "vae" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-64])


def lose_a_tensor(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file, metadata={"format": "pt"})


def reshape_a_tensor(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    weights = load_file(file) | {"conv_in.weight": torch.zeros(16, 5, 3, 3)}
    save_file(weights, file, metadata={"format": "pt"})


def lose_text_weights(folder: Path) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    weights.pop(next(key for key in weights if key.endswith("final_layer_norm.bias")))
    save_file(weights, file, metadata={"format": "pt"})


def pickle_the_network(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    torch.save(load_file(file), folder / "unet" / "diffusion_pytorch_model.bin")
    file.unlink()


def lose_a_shard(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    weights = load_file(file)
    names = [WEIGHTS.replace(".", f"-0000{n}-of-00002.", 1) for n in (1, 2)]
    places = {key: names[number % 2] for number, key in enumerate(weights)}
    for name in names[:1]:
        part = {key: value for key, value in weights.items() if places[key] == name}
        save_file(part, folder / "unet" / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    file.unlink()


def point_to_the_weights(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "unet" / WEIGHTS).write_text(text)


def quantise(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    weights = load_file(file)
    weights["conv_in.weight"] = weights["conv_in.weight"].to(torch.int8)
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop("vae"), r"component vae \(AutoencoderDC\) is missing"),
        (drop("text_encoder"), r"component text_encoder \(CLIPTextModel\) is missing"),
        (drop("scheduler"), "scheduler_config.json: no such file"),
        (truncate, r"component vae \(AutoencoderDC\) cannot be loaded"),
        (lose_a_tensor, r"component unet \(UNetMotionModel\) .*incomplete.*conv_in.weight"),
        (reshape_a_tensor, r"component unet \(UNetMotionModel\) .*conv_in.weight"),
        (lose_text_weights, r"component text_encoder .*incomplete.*final_layer_norm.bias"),
        (pickle_the_network, r"unet \(UNetMotionModel\): .*model.bin: not a safe.*convert it: py"),
        (lose_a_shard, r"component unet \(UNetMotionModel\) cannot be loaded: .*-00002-of-00002"),
        (point_to_the_weights, r"component unet \(UNetMotionModel\) cannot be loaded"),
        (quantise, r"component unet .*conv_in.weight is of I8; expected float32"),
        (lambda f: (f / "tokenizer" / "tokenizer.json").unlink(), "component tokenizer"),
        (lambda f: (f / "model_index.json").unlink(), "model_index.json: no such file"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json: cannot be read"),
        (lambda f: edit(f / "model_index.json", _class_name="X"), "_class_name: got 'X'"),
        (lambda f: edit(f / "model_index.json", vae=["x", "VAE"]), "component vae is a VAE"),
        (lambda f: edit(f / "model_index.json", vae=None), "component vae: got None"),
        (lambda f: edit(f / "mcm.json", frame=3), "frame: unknown key; .*key is frames"),
        (lambda f: edit(f / "mcm.json", frames="16"), "frames: got '16', expected a whole number"),
        (lambda f: edit(f / "mcm.json", guidance_range=[5, 3]), "two numbers, the least first"),
        (
            lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type="x"),
            "prediction_type: got 'x'",
        ),
        (
            lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type=["x"]),
            r"prediction_type: got \['x'\]",
        ),
        (
            lambda f: edit(f / "scheduler" / "scheduler_config.json", beta_start="0.1"),
            "scheduler_config.json: beta_start: got '0.1', expected a number above 0 and below 1",
        ),
        (lambda f: edit(f / "model_index.json", _class_name=["X"]), r"_class_name: got \['X'\]"),
        (lambda f: edit(f / "mcm.json", frames=400), "frames in mcm.json: got 400, but its motion"),
        (lambda f: edit(f / "mcm.json", height=33), "mcm.json: height and width: got 33 and"),
        (lambda f: edit(f / "mcm.json", guidance=0.5), "guidance: got 0.5, expected 1 .none. or"),
        (lambda f: edit(f / "mcm.json", motion_adapter="x"), "has motion modules already"),
        (lambda f: edit(f / "mcm.json", guidance_range=[1, math.inf]), "Infinity is no number"),
    ],
)
def test_spoilt_folders_are_explained(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(folder, "cpu", "float32")
    assert str(folder) in str(caught.value)


def test_weights_in_half_precision_alone_are_taken(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    expected = load_backbone(folder, "cpu", "float16").network.state_dict()
    weights = {key: value.half() for key, value in load_file(file).items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    file.unlink()
    found = load_backbone(folder, "cpu", "float16").network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_components_of_different_models_are_told(folder: Path, tiny_teacher_kl: Path) -> None:
    from diffusers import AutoencoderKL

    shutil.rmtree(folder / "vae")
    AutoencoderKL(latent_channels=8, block_out_channels=(32,)).save_pretrained(folder / "vae")
    edit(folder / "model_index.json", vae=["diffusers", "AutoencoderKL"])
    with pytest.raises(UserError, match="unet: in_channels is 4, but component vae gives 8"):
        load_backbone(folder, "cpu", "float32")


def test_motion_modules_are_for_animatediff_alone() -> None:
    with pytest.raises(UserError, match="is of family wan; only animatediff takes one"):
        load_backbone(folder_of("wan"), "cpu", "float32", motion_adapter="motion")


def test_a_sentencepiece_vocabulary_is_read(tmp_path: Path) -> None:
    """As in the published folders of CogVideoX and LTX, which have no tokenizer.json."""
    from sentencepiece import SentencePieceTrainer

    folder = Path(shutil.copytree(folder_of("ltx"), tmp_path / "copy"))
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "texts.txt").write_text("\n".join(PROMPTS * 50))
    SentencePieceTrainer.train(
        input=str(tmp_path / "texts.txt"),
        model_prefix=str(folder / "tokenizer" / "spiece"),
        vocab_size=32,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = load_backbone(folder, "cpu", "float32").text.tokenizer
    ids = tokenizer("a fox moving left").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a fox moving left"
