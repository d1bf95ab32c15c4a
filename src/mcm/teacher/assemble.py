"""Put the trained parts together as stock diffusers folders."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from pathlib import Path

from diffusers import (
    AutoencoderDC,
    DDIMScheduler,
    UNetMotionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from mcm.backbones.wan import per_frame
from mcm.data.fluent.scene import FPS, FRAME_SIZE, FRAMES
from mcm.teacher.denoiser import SCHEDULER
from mcm.teacher.transformer import SCHEDULER as FLOW_SCHEDULER

_INDEX = {
    "_class_name": "AnimateDiffPipeline",
    "_diffusers_version": "0.35.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "motion_adapter": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNetMotionModel"],
    "vae": ["diffusers", "AutoencoderDC"],
}


def assemble(
    vae: Path,
    text: Path,
    unet: Path,
    output: Path,
    guidance: float = 5.0,
    guidance_range: tuple[float, float] = (3.0, 5.0),
) -> Path:
    """Write the teacher's folder: the text encoder in float32, all else in float16.

    (Stock loaders keep a text encoder's stored type, but raise the others to float32.)

    Args:
        vae: Folder of the autoencoder.
        text: Folder that holds ``tokenizer`` and ``text_encoder``.
        unet: Folder of the ``UNetMotionModel``.
        output: Folder to write; ``AnimateDiffPipeline.from_pretrained`` loads it.
        guidance: Best guidance scale, in diffusers' convention.
        guidance_range: Range of w for distillation.
    """
    output.mkdir(parents=True, exist_ok=True)
    AutoencoderDC.from_pretrained(vae).half().save_pretrained(output / "vae")
    CLIPTextModel.from_pretrained(text / "text_encoder").save_pretrained(output / "text_encoder")
    UNetMotionModel.from_pretrained(unet).half().save_pretrained(output / "unet")
    shutil.copytree(text / "tokenizer", output / "tokenizer", dirs_exist_ok=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(output / "scheduler")
    _write_json(output / "model_index.json", _INDEX)
    _write_native(output, guidance, guidance_range)
    _forget_origin(output)
    return output


def assemble_transformer(
    vae: Path,
    text: Path,
    transformer: Path,
    output: Path,
    guidance: float = 5.0,
    guidance_range: tuple[float, float] = (3.0, 5.0),
    linked: bool = False,
) -> Path:
    """Write the transformer teacher's folder, in the number formats of :func:`assemble`.

    ``WanPipeline.from_pretrained`` loads it; as its autoencoder is one of images, take
    ``output_type="latent"`` and decode the frames.

    Args:
        vae: Folder of the autoencoder.
        text: Folder that holds ``tokenizer`` and ``text_encoder``.
        transformer: Folder of the ``WanTransformer3DModel``.
        output: Folder to write.
        guidance: Best guidance scale, in diffusers' convention.
        guidance_range: Range of w for distillation.
        linked: Link the files that ``vae`` and ``text`` have byte for byte, so that teachers in one
            place share them.
    """
    codec = per_frame(AutoencoderDC.from_pretrained(vae).half())
    WanPipeline(
        tokenizer=CLIPTokenizer.from_pretrained(text / "tokenizer"),
        text_encoder=CLIPTextModel.from_pretrained(text / "text_encoder"),
        vae=codec.autoencoder,
        scheduler=UniPCMultistepScheduler(**FLOW_SCHEDULER),
        transformer=WanTransformer3DModel.from_pretrained(transformer).half(),
    ).save_pretrained(output)
    _write_native(output, guidance, guidance_range)
    _forget_origin(output)
    if linked:
        _link(vae, output / "vae")
        for part in ("text_encoder", "tokenizer"):
            _link(text / part, output / part)
    return output


def copy_all_but_network(teacher: Path, output: Path) -> None:
    """Copy what of an AnimateDiff teacher's folder stays when its network learns on."""
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(teacher / part, output / part, dirs_exist_ok=True)
    shutil.copy(teacher / "model_index.json", output)
    if (native := teacher / "mcm.json").is_file():
        shutil.copy(native, output)


def _link(source: Path, folder: Path) -> None:
    """Replace the files of a folder that another one has as well by relative links to it."""
    for path in folder.iterdir():
        same = source / path.name
        if same.is_file() and filecmp.cmp(same, path, shallow=False):
            path.unlink()
            path.symlink_to(os.path.relpath(same, folder))


def _write_native(output: Path, guidance: float, guidance_range: tuple[float, float]) -> None:
    native = {
        "frames": FRAMES,
        "height": FRAME_SIZE,
        "width": FRAME_SIZE,
        "fps": FPS,
        "guidance": guidance,
        "guidance_range": list(guidance_range),
    }
    _write_json(output / "mcm.json", native)


def _forget_origin(folder: Path) -> None:
    """Drop the paths that saving wrote into configurations; make every file readable."""
    for path in folder.rglob("*.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            _write_json(path, config)
    for path in folder.rglob("*.*"):
        path.chmod(0o644)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
